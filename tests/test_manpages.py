"""The man pages: what is committed, against what the code says and what man(1) makes of it."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from stsd.cli import COMMANDS, main
from stsd.keys import DAEMON_KEYS, JOB_KEYS
from tests.support import DEADLINE_S

REPOSITORY = Path(__file__).parent.parent
FOLDER = REPOSITORY / "man"
NAMES = ("stsd.1", "stsd.toml.5")


@pytest.fixture
def manpages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """docs/manpages.py, with its neighbours."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs"))
    return importlib.import_module("manpages")


@pytest.fixture
def roff(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(REPOSITORY / "docs"))
    return importlib.import_module("roff")


def output(*command: str | Path, package: str) -> str:
    """Both outputs of a command; the test is skipped where it is not installed."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]} (apt-get install {package})")
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_what_the_code_says(name: str, manpages: ModuleType) -> None:
    assert sorted(manpages.PAGES) == sorted(NAMES)
    assert (FOLDER / name).read_text() == manpages.PAGES[name](), "run make generate"


@pytest.mark.parametrize("name", NAMES)
def test_mandoc_has_nothing_to_say_against_a_page(name: str) -> None:
    assert output("mandoc", "-Tlint", "-Wall", FOLDER / name, package="mandoc") == ""


@pytest.mark.parametrize("name", NAMES)
def test_groff_has_nothing_to_say_against_a_page(name: str) -> None:
    assert output("groff", "-man", "-ww", "-z", "-Tutf8", FOLDER / name, package="groff") == ""


def test_stsd_1_tells_every_command_and_its_options(
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = output("mandoc", "-Tutf8", "-Owidth=200", FOLDER / "stsd.1", package="mandoc")
    plain = re.sub(r".\x08", "", shown)
    sections = dict(re.findall(r"^   stsd (\S+)\n(.*?)(?=^ {0,3}\S)", plain, re.M | re.S))
    assert list(sections) == list(COMMANDS)
    for name, text in sections.items():
        with pytest.raises(SystemExit):
            main([name, "--help"])
        options = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--help", "--config"}
        assert [option for option in options if option not in text] == []


def test_stsd_toml_5_tells_every_key() -> None:
    shown = output("mandoc", "-Tutf8", FOLDER / "stsd.toml.5", package="mandoc")
    plain = re.sub(r".\x08", "", shown)
    for key in (*DAEMON_KEYS.values(), *JOB_KEYS.values()):
        assert re.search(rf"^ {{5,7}}{key.name}\b", plain, re.M), key.name


def test_what_roff_would_take_for_a_request_is_text(roff: ModuleType) -> None:
    assert roff.verbatim([".TH", "'x", "a\\b"])[3:-2] == [r"\&.TH", r"\(aqx", r"a\eb"]
    assert roff.wrapped("x" * 78 + " .br") == ["x" * 78, r"\&.br"]


def test_markdown_becomes_macros(roff: ModuleType) -> None:
    assert roff.markdown(
        "## A b\n\nOne `x-y`. Two **z**.\n\n- p\n- q\n\n```toml\na\n\nb\n```\n"
    ) == [
        ".SH A B",
        ".PP",
        r"One \fBx\-y\fR.",
        r"Two \fBz\fR.",
        *(r".IP \(bu 2", "p", r".IP \(bu 2", "q"),
        *(".PP", ".RS 4", ".EX", "a", "", "b", ".EE", ".RE"),
    ]
