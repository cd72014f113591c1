"""The hour of docs/tutorial.md: its commands, in one shell of the container, say what the page
shows."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.system.support import Container

pytestmark = pytest.mark.system

PAGE = Path(__file__).parent.parent.parent / "docs" / "tutorial.md"
HOME = "/root/tutorial"
NEWEST_SYSTEMD = 252
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
MARK = "\036"
# As on a terminal, errors are where the output is; a command finds the exit status of the one
# before it; and the journal has taken in all that was sent to it, and shows nothing older.
PRELUDE = f"""
exec 2>&1
mark() {{ local status=$?; printf '{MARK}'; return $status; }}
began=$(date +%s.%6N)
journalctl() {{ command journalctl --sync && command journalctl --since "@$began" "$@"; }}
"""

# What differs from one hour to the next, and what is put in its place; in this order.
CHANGES = tuple(
    (re.compile(pattern), instead)
    for pattern, instead in (
        (r"\d{8}T\d{6}(\.\d+)?Z", "STAMP"),
        (r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun|yesterday|tomorrow) (?=\d)", ""),
        (r"\b\d{4}-\d\d-\d\d\b", "DATE"),
        (r"\b\d\d:\d\d(:\d\d)?(\.\d+)?\b( ?[+-]\d\d:\d\d\b| [A-Z]{3,5}(?=;))?", "TIME"),
        (r"DATE[ T]TIME", "TIME"),
        (r"\((Etc/)?UTC\)|\([A-Z]\w+/\w+\)", "(ZONE)"),
        (r"\b(\d+(\.\d+)?(w|d|h|min|ms|m|s) ?)+\b", "SPAN "),
        (r"\b(just now|now|(in )?SPAN *(ago)?)(?!\w)", "SPAN"),
        (r"\b(pid[ =]|PID: )\d+", r"\1PID"),
        (r"\bstsd \d+\.\d+\.\d+\w*", "stsd VERSION"),
        (r"_s=[0-9.]+", "_s=SECONDS"),
        (r"\b[0-9.]+ [KMG]iB\b|\bPEAK\b", ""),  # of a short run it is not always known
        (r"\b[0-9.]+[KMGT]\b", "SIZE"),
        (r"\b\d+%", "PERCENT"),
        (r"\d+,\d+ occurrences", "N occurrences"),
        (r" \d+ occurrences", " N occurrences"),
        # A line of the audit: what is run, skipped and missed takes its time.
        (r"^(beat|all \d+) +\d+ +\d+ +\d+ +\d+ +\d+ +(\d+)$", r"\1 ... \2"),
        (r"\bdown: \d+ from", "down: N from"),
        (r"\s+", " "),
    )
)


@dataclass(frozen=True)
class Step:
    """A command of the page, and the lines that it shows below it."""

    command: str
    shown: tuple[str, ...]


def steps() -> Iterator[Step]:
    for block in CONSOLE.findall(PAGE.read_text()):
        for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
            command, *shown = part.splitlines()
            yield Step(command, tuple(shown))


def program(commands: list[str]) -> str:
    """A shell program that runs them one after the other, each with a mark before its output."""
    return "\n".join([PRELUDE, *(f"mark\n{command}" for command in commands)])


def normal(line: str) -> str:
    """The line without what another hour makes different."""
    for pattern, instead in CHANGES:
        line = pattern.sub(instead, line)
    return line.strip()


@pytest.fixture
def hour(unit: Container) -> Iterator[Container]:
    """The machine as the reader has it: a crontab, and a folder for the backups."""
    version = unit.run("systemctl", "--version").stdout.split()[1]
    if int(version) > NEWEST_SYSTEMD:
        pytest.skip(f"the page shows what systemd {NEWEST_SYSTEMD} says (Debian 12)")
    unit.run("systemctl", "disable", "--now", "stsd")
    unit.run("rm", "-f", "/etc/systemd/system/stsd.service")
    unit.run("mkdir", "-p", HOME, "/srv/backup")
    first = next(step for step in steps() if step.command == "cat crontab")
    unit.write(f"{HOME}/crontab", "\n".join([*first.shown, ""]))
    yield unit
    unit.run("systemctl", "disable", "--now", "stsd", check=False)
    unit.run("/opt/stsd/bin/stsd", "init", "--systemd", "--force")
    unit.run("rm", "-rf", HOME, "/srv/backup", "/usr/local/bin/stsd", "/root/.local/state/stsd")


def test_the_page_says_what_the_commands_say(hour: Container) -> None:
    page = list(steps())
    shell = ("env", "-C", HOME, "-i", "HOME=/root", "PATH=/usr/local/bin:/usr/bin:/bin", "bash")
    done = hour.run(*shell, "-c", program([step.command for step in page]))
    said = done.stdout.split(MARK)[1:]
    assert len(said) == len(page)
    for step, output in zip(page, said, strict=True):
        expected = [normal(line) for line in step.shown]
        found = [normal(line) for line in output.splitlines()]
        difference = difflib.unified_diff(expected, found, f"$ {step.command}", "said", lineterm="")
        assert found == expected, "\n".join(difference)
