"""`stsd next`, as its user sees it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from stsd.cli import main
from tests.support import DEADLINE_S, STSD, clean_environment

FROM = ["--from", "2026-03-07T12:00", "--timezone", "America/New_York"]
LONG = "a-name-of-sixty-four-characters-that-no-screen-of-eighty-can-hold"[:64]
JOBS = f"""
[jobs.{LONG}]
command = "true"
at = "12:00"
timezone = "Europe/Berlin"
[jobs.backup]
command = "true"
cron = "30 2 * * *"
timezone = "America/New_York"
[jobs.boot]
command = "true"
on_start = true
[jobs.off]
command = "true"
enabled = false
every = "1h"
"""


class Terminal:
    """What a command prints on a terminal of eighty columns."""

    def __init__(self, words: list[str], **environ: str) -> None:
        ours, theirs = pty.openpty()
        environment = clean_environment() | {"TERM": "xterm", "COLUMNS": "80"} | environ
        environment = {name: value for name, value in environment.items() if value}
        with subprocess.Popen(
            [*STSD, "next", *words], stdout=theirs, stderr=theirs, stdin=theirs, env=environment
        ) as process:
            os.close(theirs)
            printed = b""
            try:
                while block := os.read(ours, 4096):
                    printed += block
            except OSError:  # the terminal's other end is closed: all is read
                pass
            os.close(ours)
            assert process.wait(DEADLINE_S) == 0
        self.lines = printed.decode().replace("\r\n", "\n").splitlines()


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_jobfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")
    path = Path("jobs.toml")
    path.write_text(JOBS)
    path.chmod(0o644)


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> Told:
    return Told(capsys)


class Told:
    """Runs the command within this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.code = 0
        self.errors = ""

    def by(self, *words: str) -> list[str]:
        """The lines on standard output."""
        self.code = main(["next", *words])
        out, self.errors = self._capsys.readouterr()
        return out.splitlines()

    def instants(self, *words: str) -> list[str]:
        """The occurrences of `--json`."""
        return [json.loads(line)["at"] for line in self.by(*words, "--json")]


# -- a wrong expression


@pytest.mark.parametrize(
    ("words", "pointed"),
    [
        (["--cron", "*/5 61 * * *"], ("*/5 61 * * *", "    ^")),
        (["--cron", "0 0 * * mon-fry"], ("0 0 * * mon-fry", "            ^")),
        (["--at", "10:30", "--at", "mon,sunda 10:30"], ("mon,sunda 10:30", "    ^")),
        (["--cron", "@hourly", "--cron", "@every 5x"], ("@every 5x", "^")),
    ],
)
def test_a_wrong_expression_is_shown_with_a_caret_under_the_fault(
    told: Told, words: list[str], pointed: tuple[str, str]
) -> None:
    assert told.by(*words) == []
    assert told.code == 2
    message, *place = told.errors.splitlines()
    assert message.startswith(f"stsd: {words[-2]}: ")
    assert place == [f"  {line}" for line in pointed]


def test_escapes_in_an_expression_are_shown_and_not_obeyed(told: Told) -> None:
    told.by("--cron", "0 0 \x1b[31m * *")
    assert "\x1b" not in told.errors
    shown, caret = told.errors.splitlines()[1:]
    assert shown[caret.index("^") :].startswith("\\x1b[31m")


def test_in_a_long_expression_the_caret_stays_on_the_screen(told: Told) -> None:
    told.by("--cron", f"0 0 1-5{',7' * 50} * 9")
    shown, caret = told.errors.splitlines()[1:]
    assert shown[caret.index("^")] == "9"
    assert len(shown) < 125


def test_a_wrong_zone_is_told_without_a_caret(told: Told) -> None:
    told.by("--cron", "0 0 * * *", "--timezone", "Europe/Berln")
    assert told.code == 2
    [line] = told.errors.splitlines()
    assert "Europe/Berlin" in line


# -- what is asked for


def test_cron_at_and_every_in_one_call_are_one_schedule(told: Told) -> None:
    words = ["--cron", "0 6 * * *", "--at", "07:30", "--at", "12:00", "--every", "6h"]
    assert told.instants(*words, "--from", "2026-11-21", "--timezone", "UTC", "-n", "5") == [
        "2026-11-21T06:00:00+00:00",
        "2026-11-21T07:30:00+00:00",
        "2026-11-21T12:00:00+00:00",
        "2026-11-21T18:00:00+00:00",
        "2026-11-22T00:00:00+00:00",
    ]


@pytest.mark.parametrize(
    ("duration", "second"), [("90", "00:01:30"), ("1h30m", "01:30:00"), ("1d", "00:00:00")]
)
def test_every_takes_what_the_jobfile_takes(told: Told, duration: str, second: str) -> None:
    words = ["--every", duration, "--from", "2026-11-21T00:00Z", "--timezone", "UTC", "-n", "1"]
    assert told.instants(*words)[0][11:19] == second


@pytest.mark.parametrize("duration", ["0.5s", "0", "-5", "soon", "nan", "9" * 5000])
def test_every_refuses_what_the_jobfile_refuses(told: Told, duration: str) -> None:
    assert told.by(f"--every={duration}") == []
    assert told.code == 2
    assert told.errors.startswith("stsd: --every: ")


def test_a_second_every_is_refused_and_not_preferred(told: Told) -> None:
    told.by("--every", "1h", "--every", "2h")
    assert told.code == 2


def test_n_and_until_limit_together(told: Told) -> None:
    words = ["--every", "1h", "--from", "2026-11-21T00:00Z", "--until", "2026-11-21T05:00Z"]
    assert len(told.instants(*words)) == 5
    assert len(told.instants(*words, "-n", "3")) == 3
    assert len(told.instants(*words, "-n", "30")) == 5


def test_an_until_that_comes_first_is_a_mistake(told: Told) -> None:
    told.by("--every", "1h", "--until", "2020-01-01")
    assert (told.code, told.errors) == (2, "stsd: --until 2020-01-01 is not after now\n")


def test_a_time_without_an_offset_is_one_of_the_zone(told: Told) -> None:
    assert told.instants("--at", "12:01", *FROM, "-n", "1") == ["2026-03-07T12:01:00-05:00"]


@pytest.mark.parametrize("moment", ["0001-01-01", "9999-12-31T23:59", "0001-01-01T00:00+14:00"])
def test_the_ends_of_the_calendar_are_no_accident(told: Told, moment: str) -> None:
    words = ["--cron", "0 0 * * *", "--timezone", "Asia/Tokyo", "--from", moment]
    assert told.by(*words) == [] or moment.startswith("0001")
    assert told.code == 0


def test_a_named_job_is_shown_once_however_often_it_is_named(told: Told) -> None:
    words = ["backup", "backup", "--from", "2026-11-21T00:00Z", "-n", "2"]
    assert told.instants(*words) == ["2026-11-21T02:30:00-05:00", "2026-11-22T02:30:00-05:00"]


def test_a_misspelt_job_is_told_which_one_may_be_meant(told: Told) -> None:
    told.by("bakcup")
    assert told.code == 2
    assert "did you mean `backup`?" in told.errors


def test_what_never_comes_by_time_says_how_it_comes(told: Told) -> None:
    assert told.by("boot") == []
    assert told.errors == "boot is started when stsd starts\nnothing comes\n"
    assert told.by("--cron", "@reboot") == []
    assert told.errors == "@reboot: when stsd starts\nnothing comes\n"


def test_a_job_that_is_not_enabled_is_shown_when_named_and_says_so(told: Told) -> None:
    rows = told.by("off", "-n", "1")
    assert rows[1].split()[-1] == "off"
    assert "not enabled" in told.errors


# -- the table


def test_the_table_names_the_zone_and_has_the_mark_in_a_column_of_its_own(told: Told) -> None:
    rows = told.by("--cron", "30 2 * * *", *FROM, "-n", "2")
    assert rows[0].split() == ["WHEN", "(America/New_York)", "FROM", "NOW", "NOTE"]
    note = rows[0].index("NOTE")
    assert rows[1].startswith("Sun 2026-03-08 03:00:00 -04:00")
    assert rows[1][note:] == "02:30 does not exist, moved to 03:00"
    assert len(rows[2]) <= note
    assert max(map(len, rows)) <= 80


def test_jobs_of_several_zones_have_the_zone_in_each_row(told: Told) -> None:
    rows = told.by("--from", "2026-11-21T00:00Z", "-n", "2")
    assert [row[:35].strip() for row in rows] == [
        "WHEN",
        "Sat 2026-11-21 02:30:00 -05:00 EST",
        "Sat 2026-11-21 12:00:00 +01:00 CET",
    ]
    assert rows[2].endswith(LONG)


def test_a_table_of_many_rows_comes_row_by_row() -> None:
    words = ["next", "--every", "1s", "-n", "1000000"]
    command = [*STSD, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"WHEN")
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 0


def test_in_a_terminal_long_names_are_cut_to_its_width() -> None:
    lines = Terminal(["--from", "2026-11-21T00:00Z", "-n", "2"], NO_COLOR="1").lines
    assert max(map(len, lines)) <= 80
    assert lines[2].endswith("…")


def test_in_a_terminal_marks_are_coloured_unless_no_color_is_set() -> None:
    words = ["--cron", "30 2 * * *", *FROM, "-n", "1"]
    assert "\x1b[33m02:30 does not exist" in Terminal(words).lines[-1]
    assert not [line for line in Terminal(words, NO_COLOR="1").lines if "\x1b" in line]


# -- in words


def test_each_part_of_the_schedule_is_told_in_words_beside_the_table(told: Told) -> None:
    told.by("--cron", "30 2 * * *", "--cron", "@every 90s", "--at", "sunday 10:30", "-n", "1")
    assert told.errors.splitlines() == [
        "30 2 * * *: at 02:30",
        "sunday 10:30: at 10:30 on Sunday",
        "every 1m30s of elapsed time, whatever the clocks do",
    ]
    told.by("--every", "1h", "--json", "-n", "1")
    assert told.errors == ""


def test_h_is_told_as_it_is_in_the_table_and_that_it_differs_from_job_to_job(told: Told) -> None:
    rows = told.by("--cron", "H H * * *", "--timezone", "UTC", "-n", "1")
    words, hint = told.errors.splitlines()
    assert words.removeprefix("H H * * *: at ") == rows[1][15:20]
    assert "each job's name" in hint
