"""`stsd import-crontab`, as its user sees it."""

from __future__ import annotations

import io
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from stsd.cli import main
from tests.support import Stsd

Captured = pytest.CaptureFixture[str]

TAB = """\
MAILTO=ops@example.com

# Nightly dump
30 2 * * * dump
0 22 * * 1-5 mail -s "It's ten" joe%Joe,%%Where are your kids?%
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "Europe/Berlin")


def imported(*words: str) -> int:
    return main(["import-crontab", *words])


def test_the_jobfile_comes_on_standard_output_and_the_report_on_the_other(capsys: Captured) -> None:
    Path("tab").write_text(TAB)
    assert imported("tab") == 0
    told = capsys.readouterr()
    assert told.out.startswith("# Made of tab by `stsd import-crontab`.")
    assert '[jobs.dump]\ndescription = "Nightly dump"\ncommand = "dump"\n' in told.out
    assert told.err == (
        "tab:1: cron mailed all output to ops@example.com; stsd mails when a job fails, and keeps"
        " it (stsd logs JOB)\n2 jobs\n"
    )


def test_what_it_writes_passes_check(capsys: Captured) -> None:
    Path("tab").write_text(TAB)
    assert imported("tab", "-o", "jobs.toml", "--verify") == 0
    verdict = r"\n2 jobs in jobs.toml\nverified: 62\d occurrences of 2 jobs in a year are as Debian"
    assert re.search(verdict, capsys.readouterr().err)
    assert main(["check", "-c", "jobs.toml"]) == 0
    assert capsys.readouterr().out.startswith("jobs.toml: 2 jobs, no problems")


def test_the_jobfile_is_for_its_owner_alone() -> None:
    Path("tab").write_text("PASSWORD=secret\n* * * * * run\n")
    imported("tab", "-o", "jobs.toml")
    assert stat.S_IMODE(Path("jobs.toml").stat().st_mode) == 0o600
    assert sorted(os.listdir()) == ["jobs.toml", "tab"]


def test_a_jobfile_that_is_there_is_not_replaced_unasked(capsys: Captured) -> None:
    Path("tab").write_text(TAB)
    Path("jobs.toml").write_text("# mine\n")
    assert imported("tab", "-o", "jobs.toml") == 2
    assert capsys.readouterr().err == "stsd: jobs.toml is there already (--force replaces it)\n"
    assert Path("jobs.toml").read_text() == "# mine\n"
    assert imported("tab", "-o", "jobs.toml", "--force") == 0
    assert "[jobs.dump]" in Path("jobs.toml").read_text()


def test_a_line_that_is_lost_is_told_and_the_rest_is_written(capsys: Captured) -> None:
    Path("tab").write_text("61 * * * * never\n5 4 * * * run\n")
    assert imported("tab") == 1
    told = capsys.readouterr()
    assert "[jobs.run]" in told.out
    assert "tab:1: not carried over: the minute `61` is not valid (0-59)\n" in told.err
    assert told.err.endswith("1 job; 1 line could not be carried over\n")


def test_a_dash_reads_standard_input(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"5 4 * * * run\n")))
    assert imported("-") == 0
    assert "[jobs.run]" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["etc/crontab", "etc/cron.d/shop", "var/cron.d/shop"])
def test_system_crontabs_are_known_by_their_place(name: str, capsys: Captured) -> None:
    Path(name).parent.mkdir(parents=True)
    Path(name).write_text("5 4 * * * root run\n")
    assert imported(name) == 0
    assert 'user = "root"' in capsys.readouterr().out


def test_a_copy_of_a_system_crontab_raises_a_doubt_and_system_settles_it(capsys: Captured) -> None:
    Path("copy").write_text("5 4 * * * root run\n")
    assert imported("copy") == 0
    assert "name of a user, such as root (was --system meant?)" in capsys.readouterr().err
    assert imported("copy", "--system") == 0
    told = capsys.readouterr()
    assert 'command = "run"' in told.out
    assert "--system" not in told.err


def test_a_folder_of_crontabs_is_read_as_cron_reads_it(capsys: Captured) -> None:
    Path("cron.d").mkdir()
    Path("cron.d/shop").write_text("5 4 * * * root run\n")
    Path("cron.d/mill").write_text("5 4 * * * root run\n")
    Path("cron.d/shop.dpkg-old").write_text("5 4 * * * root old\n")
    Path("cron.d/.placeholder").write_text("x\n")
    assert imported("cron.d") == 0
    told = capsys.readouterr()
    assert "[jobs.run]" in told.out
    assert "[jobs.shop-run]" in told.out
    assert "old" not in told.out
    assert "cron.d/shop.dpkg-old: passed over" in told.err


def test_a_folder_of_users_crontabs_has_its_users_from_the_names(capsys: Captured) -> None:
    Path("crontabs").mkdir()
    Path("crontabs/nobody").write_text("5 4 * * * run\n")
    assert imported("crontabs") == 0
    assert 'user = "nobody"' in capsys.readouterr().out


def with_crontab(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A crontab(1) of the test's own, before any other."""
    program = Path("bin/crontab")
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent.absolute()}:/usr/bin:/bin")


def test_without_a_file_the_crontab_of_the_user_is_listed(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_crontab(monkeypatch, 'echo "5 4 * * * run $*"')
    assert imported() == 0
    assert 'command = "run -l"' in capsys.readouterr().out
    assert imported("-u", "nobody") == 0
    told = capsys.readouterr().out
    assert 'command = "run -u nobody -l"' in told
    assert 'user = "nobody"' in told


def test_no_crontab_is_told_in_its_own_words(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_crontab(monkeypatch, "echo no crontab for ann >&2; exit 1")
    assert imported() == 1
    assert capsys.readouterr().err == "stsd: no crontab for ann\n"


def test_a_machine_without_cron_is_told_to_name_a_file(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert imported() == 2
    assert "name a FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: No such file"),
        (["--system"], "--system goes with a file"),
        (["--system", "-u", "root", "x"], "leave out --user"),
        (["--force", "x"], "--force goes with --output"),
    ],
)
def test_wrong_usage_is_refused_in_a_sentence(
    words: list[str], said: str, capsys: Captured
) -> None:
    assert imported(*words) == 2
    assert said in capsys.readouterr().err


def test_an_escape_in_a_crontab_never_reaches_the_terminal_as_one(capsys: Captured) -> None:
    Path("tab").write_text("MAILTO=\x1b[31mx\n\x1b[2J * * * * run\n# \x1b]0;x\n5 4 * * * e\x1b\n")
    assert imported("tab") == 1
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err


def test_where_the_clocks_change_is_told_and_is_no_failure(capsys: Captured) -> None:
    Path("tab").write_text("0,30 2 * * * run\n")
    assert imported("tab", "--verify") == 0
    told = capsys.readouterr().err
    assert "tab:1: run: where the clocks change: on 2" in told
    assert "03:00+02:00 cron runs it twice, stsd once" in told


@pytest.mark.slow
def test_an_imported_job_runs_as_it_did_under_cron(stsd: Stsd, capsys: Captured) -> None:
    Path("tab").write_text("WHO=you\n@reboot cat; echo $WHO $PATH; pwd%50\\% off%today\n")
    assert imported("tab") == 0
    stsd.write(capsys.readouterr().out)
    stsd.start()
    finished = stsd.wait_for_record("finished", "cat")
    assert finished["outcome"] == "succeeded"
    home = os.path.expanduser("~")
    assert stsd.output_of(finished) == f"50% off\ntoday\nyou /usr/bin:/bin\n{home}\n"
