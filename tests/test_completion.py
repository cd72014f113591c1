"""Completion scripts, in the real shells: what the TAB key makes of a line."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stsd.cli import main
from stsd.cli.completion import SHELLS
from tests.support import DEADLINE_S, clean_environment

JOBFILE = """
[daemon]
include = ["more.toml"]
[jobs.backup]
command = "true"
[jobs.rates]
every = "this is wrong, and yet a job"
"""
ESCAPES = re.compile(r"\x1b(\[[0-9;?]*[A-Za-z]|[=>]|\([A-Z0-9]|\][^\x07]*\x07)")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with two jobfiles, and `stsd` on the path of commands."""
    (tmp_path / "jobs.toml").write_text(JOBFILE)
    (tmp_path / "more.toml").write_text('[jobs.report]\ncommand = "true"\n')
    (tmp_path / "other.toml").write_text('[jobs.elsewhere]\ncommand = "true"\n')
    program = tmp_path / "bin" / "stsd"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m stsd "$@"\n')
    program.chmod(0o755)
    return tmp_path


def need(shell: str) -> str:
    """The shell's path; the test is skipped where it is not installed."""
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"needs {shell} (apt-get install {shell})")
    return path


def environment(home: Path) -> dict[str, str]:
    path = f"{home / 'bin'}:{os.environ['PATH']}"
    own = {"HOME": str(home), "PATH": path, "TERM": "xterm", "PS1": "> ", "LC_ALL": "C.UTF-8"}
    return clean_environment() | own


class Terminal:
    """A shell on a terminal, to which keys are sent."""

    def __init__(self, home: Path, command: list[str]) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (50, 200))
        self._process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(home),
            cwd=home,
            start_new_session=True,
        )
        os.close(theirs)
        self._shown = ""

    def press(self, keys: str) -> None:
        """Types, and forgets what was shown before."""
        self._shown = ""
        os.write(self._ours, keys.encode())

    def shows(self, text: str) -> str:
        """What has been shown since the last keys, once the text is in it."""
        end = time.monotonic() + DEADLINE_S
        while text not in self.plain():
            ready, _, _ = select.select([self._ours], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise AssertionError(f"{text!r} was not shown in {self._shown!r}")
            self._shown += os.read(self._ours, 4096).decode(errors="replace")
        return self.plain()

    def plain(self) -> str:
        return ESCAPES.sub("", self._shown)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._ours)


def script_of(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.fixture(params=["bash", "zsh"])
def terminal(
    request: pytest.FixtureRequest, home: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Terminal]:
    """bash and zsh, set up as `stsd completion --help` says."""
    shell = request.param
    program = need(shell)
    if shell == "bash":
        (home / "script").write_text(script_of(shell, capsys))
        opened = Terminal(home, [program, "--norc", "--noprofile", "-i"])
        opened.press("bind 'set show-all-if-ambiguous on'; . ./script; echo rea''dy\n")
    else:
        (home / ".zfunc").mkdir()
        (home / ".zfunc" / "_stsd").write_text(script_of(shell, capsys))
        opened = Terminal(home, [program, "-f", "-i"])
        opened.press("fpath+=~/.zfunc; autoload -U compinit; compinit -u -D; echo rea''dy\n")
    opened.shows("ready\r\n")
    yield opened
    opened.end()


@pytest.mark.slow
def test_tab_completes_a_command(terminal: Terminal) -> None:
    terminal.press("stsd hist\t")
    terminal.shows("stsd history ")


@pytest.mark.slow
def test_tab_completes_an_option(terminal: Terminal) -> None:
    terminal.press("stsd history --outc\t")
    terminal.shows("stsd history --outcome")


@pytest.mark.slow
def test_tab_completes_the_value_of_an_option(terminal: Terminal) -> None:
    terminal.press("stsd history --outcome spawn\t")
    terminal.shows("--outcome spawn_failed ")


@pytest.mark.slow
def test_tab_completes_a_job_of_the_jobfile(terminal: Terminal) -> None:
    terminal.press("stsd history back\t")
    terminal.shows("stsd history backup ")


@pytest.mark.slow
def test_tab_completes_one_job_after_another(terminal: Terminal) -> None:
    terminal.press("stsd next backup rat\t")
    terminal.shows("stsd next backup rates ")


@pytest.mark.slow
def test_tab_shows_all_jobs_there_are(terminal: Terminal) -> None:
    terminal.press("stsd logs \t\t")
    shown = terminal.shows("report")
    assert "backup" in shown
    assert "elsewhere" not in shown


@pytest.mark.slow
def test_tab_completes_a_job_of_the_jobfile_that_is_named_before(terminal: Terminal) -> None:
    terminal.press("stsd history -c ~/other.toml else\t")
    terminal.shows("elsewhere ")


@pytest.mark.slow
def test_tab_completes_the_name_of_a_jobfile(terminal: Terminal) -> None:
    terminal.press("stsd check -c oth\t")
    terminal.shows("stsd check -c other.toml ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("stsd hist", {"history"}),
        ("stsd history --outc", {"--outcome"}),
        ("stsd history --outcome spawn", {"spawn_failed"}),
        ("stsd history back", {"backup"}),
        ("stsd next backup rat", {"rates"}),
        ("stsd logs ", {"backup", "rates", "report"}),
        ("stsd history -c ~/other.toml ", {"elsewhere"}),
        ("stsd check -c oth", {"other.toml"}),
    ],
)
def test_fish_completes(
    line: str, expected: set[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program = need("fish")
    (home / "script").write_text(script_of("fish", capsys))
    done = subprocess.run(
        [program, "--no-config", "-c", f"source script; complete -C '{line}'"],
        capture_output=True,
        text=True,
        env=environment(home),
        cwd=home,
        timeout=DEADLINE_S,
        check=True,
    )
    assert done.stderr == ""
    assert {word.partition("\t")[0] for word in done.stdout.splitlines()} == expected


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    from stsd.cli import COMMANDS

    script = script_of(shell, capsys)
    assert [name for name in COMMANDS if not re.search(rf"\b{name}\b", script)] == []


def test_jobs_are_named_though_the_jobfile_is_wrong(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    assert main(["completion", "--jobs"]) == 0
    assert capsys.readouterr().out.split() == ["backup", "rates", "report"]


def test_where_there_is_no_jobfile_no_job_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "--jobs", "-c", str(tmp_path / "none.toml")]) == 2
    assert capsys.readouterr().out == ""


def test_completion_without_a_shell_says_which_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["completion"]) == 2
    assert capsys.readouterr().err == "stsd: name a shell: bash, zsh, fish\n"
