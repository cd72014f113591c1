"""`stsd history` and `stsd why` as a user calls them, on a history written by hand."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stsd import cli
from stsd.model import Outcome, TriggerKind, When
from tests.support import DEADLINE_S, STSD, Stsd, clean_environment, wait_for
from tests.support_audit import MINUTELY, T0, Past, minute

GOLDEN = Path(__file__).parent / "golden"
JOBS = """
[jobs.backup]
command = "true"
cron = "* * * * *"
timezone = "UTC"
tags = ["nightly"]
[jobs.web-1]
command = "true"
cron = "* * * * *"
timezone = "UTC"
[jobs.web-2]
command = "true"
tags = ["nightly"]
enabled = false
cron = "0 3 * * *"
timezone = "UTC"
"""


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("STSD_CONFIG", "STSD_SOCKET", "RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def past(stsd: Stsd) -> Stsd:
    """Five minutes of three jobs."""
    stsd.write(JOBS)
    backup = Past("backup").daemon().plan(MINUTELY)
    for due in (minute(1), minute(2)):
        backup.intent(due).started(due).finished(due, duration_s=3.2)
    backup.intent(minute(3)).started(minute(3))
    backup.finished(
        minute(3),
        outcome=Outcome.FAILED,
        exit_code=4,
        duration_s=0.5,
        will_retry_at=minute(3) + 9.0,
    )
    backup.intent(minute(3), 2, at=minute(3) + 9.0).started(minute(3), 2, at=minute(3) + 9.0)
    backup.finished(minute(3), 2, outcome=Outcome.TIMED_OUT, duration_s=40.0, at=minute(3) + 50.0)
    web = Past("web-1").plan(MINUTELY).run(minute(4)).skipped(minute(5))
    web.run(minute(5) + 7, run="web-1@manual-x", trigger=TriggerKind.MANUAL)
    web.missed(minute(6), minute(9), 4)
    lines = sorted([*backup.lines, *web.lines], key=lambda line: str(json.loads(line)["at"]))
    Past(lines=lines).write(stsd.folder / "log")
    return stsd


def said(stsd: Stsd, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main([words[0], "-c", str(stsd.jobfile), *words[1:]]) == 0
    return capsys.readouterr().out


def rows(stsd: Stsd, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """Minute, job and outcome of each row."""
    lines = said(stsd, capsys, "history", *words).splitlines()[1:]
    return [" ".join([line.split()[1][3:5], *line.split()[2:4]]) for line in lines]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["backup", "-n", "2"], ["03 backup timed_out", "03 backup failed"]),
        (["web-*", "--outcome", "succeeded"], ["05 web-1 succeeded", "04 web-1 succeeded"]),
        (["--failed"], ["03 backup timed_out", "03 backup failed"]),
        (["--outcome", "skipped", "--outcome", "missed"], ["09 web-1 missed", "05 web-1 skipped"]),
        (["--trigger", "manual"], ["05 web-1 succeeded"]),
        (["--run", "backup@20261121T100200Z"], ["02 backup succeeded"]),
        (["--slow", "30s"], ["03 backup timed_out"]),
        (["--tag", "nightly", "-n", "1"], ["03 backup timed_out"]),
        (["--until", "2026-11-21T10:02", "--outcome", "succeeded"], ["01 backup succeeded"]),
        (
            ["--since", "2026-11-21T10:02", "--until", "2026-11-21T10:04", "--failed"],
            ["03 backup timed_out", "03 backup failed"],
        ),
        (["web-1", "backup", "--failed", "-n", "1"], ["03 backup timed_out"]),
    ],
)
def test_history_finds_what_is_asked_for(
    past: Stsd, capsys: pytest.CaptureFixture[str], words: list[str], found: list[str]
) -> None:
    assert rows(past, capsys, *words) == found


def test_history_says_that_there_is_more_where_the_number_was_not_asked_for(
    stsd: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    Past().run(*range(T0, T0 + 30)).write(stsd.folder / "log")
    assert cli.main(["history", "-c", str(stsd.jobfile), "--since", "2026-01-01"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 21
    assert "-n shows more" in err
    cli.main(["history", "-c", str(stsd.jobfile), "--since", "2026-01-01", "-n", "5"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--tag", "nightl"], "did you mean `nightly`?"),
        (["--since", "2026-11-21", "--until", "2026-11-20"], "is not after"),
        (["--slow", "soon"], "soon"),
        (["--summary", "-n", "3"], "--summary counts all"),
        (["-n", "0"], "-n counts from 1"),
    ],
)
def test_history_refuses_in_a_sentence(
    past: Stsd, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert cli.main(["history", "-c", str(past.jobfile), *words]) == 2
    assert complaint in capsys.readouterr().err


def test_a_summary_is_a_row_a_job_and_one_of_all(
    past: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [line.split() for line in said(past, capsys, "history", "--summary").splitlines()]
    assert lines == [
        ["JOB", "RUNS", "OK", "RATE", "TIMED", "OUT", "RETRIES", "SKIPPED", "MISSED", "P50", "P95"],
        ["backup", "3", "2", "66.67%", "1", "1", "3.2s", "40s"],
        ["web-1", "2", "2", "100%", "1", "4"],
        ["all", "2", "5", "4", "80%", "1", "1", "1", "4", "3.2s", "40s"],
    ]


def test_a_summary_as_json_has_every_outcome(
    past: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    text = said(past, capsys, "history", "--summary", "--json", "backup")
    assert json.loads(text) == {
        "job": "backup",
        "runs": 3,
        "succeeded": 2,
        "failed": 0,
        "timed_out": 1,
        "cancelled": 0,
        "interrupted": 0,
        "spawn_failed": 0,
        "retries": 1,
        "skipped": 0,
        "missed": 0,
        "success_rate": 0.6667,
        "p50_s": 3.2,
        "p95_s": 40.0,
    }


def test_a_rate_of_all_but_one_is_not_said_to_be_all(
    stsd: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    past = Past().run(*range(T0, T0 + 999)).finished(T0 + 999, outcome=Outcome.FAILED)
    past.write(stsd.folder / "log")
    assert "99.9%" in said(stsd, capsys, "history", "--summary")


# -- why


def why(stsd: Stsd, capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in said(stsd, capsys, "why", "--json", *words).splitlines()]


def test_why_answers_for_a_minute_with_the_records_that_tell_so(
    past: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    (answer,) = why(past, capsys, "backup", "--at", "2026-11-21T10:03")
    assert answer["verdict"] == "ran"
    assert answer["at"] == "2026-11-21T10:03:00Z"
    assert answer["run"] == "backup@20261121T100300Z"
    assert [record["event"] for record in answer["evidence"]].count("finished") == 2


def test_why_of_a_missed_one_finds_out_since_when_stsd_was_down(
    stsd: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    stsd.write(JOBS)
    past = Past("backup").daemon().plan(MINUTELY).run(minute(1))
    past.lines += Past("other").run(minute(2)).lines
    past.daemon("boot-2", minute(9) + 2.0).missed(minute(2), minute(9), 8, minute(9) + 2.0)
    past.write(stsd.folder / "log")
    (answer,) = why(stsd, capsys, "backup", "--at", "2026-11-21T10:05")
    assert answer["verdict"] == "missed"
    assert answer["details"][0] == (
        "its last sign before is of 2026-11-21 10:02:01; it started at 2026-11-21 10:09:02"
    )


def test_why_without_a_time_is_about_the_last_one_and_the_next(
    stsd: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    stsd.write(JOBS)
    daily = When(cron=("0 3 * * *",))
    past = Past("backup").daemon().plan(daily)
    past.write(stsd.folder / "log")
    verdicts = [answer["verdict"] for answer in why(stsd, capsys, "backup")]
    assert verdicts[-1] == "to come"
    assert set(verdicts[:-1]) <= {"not accounted for yet"}


def test_why_of_a_job_without_times_is_about_its_last_run(
    stsd: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    stsd.write('[jobs.hand]\ncommand = "true"\n')
    past = Past("hand").run(minute(5), run="hand@manual-x", trigger=TriggerKind.MANUAL)
    past.write(stsd.folder / "log")
    (answer,) = why(stsd, capsys, "hand")
    assert answer["because"] == "it ran by hand, and succeeded"


def test_why_of_a_job_that_nobody_knows_is_a_wrong_usage(
    past: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["why", "-c", str(past.jobfile), "bakup"]) == 2
    assert "did you mean `backup`?" in capsys.readouterr().err


def test_why_goes_without_a_jobfile_that_is_invalid_and_says_so(
    past: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    past.write(JOBS + '[jobs.broken]\ncommand = "x"\nevery = "never"\n')
    words = ["why", "-c", str(past.jobfile), "web-1", "--at", "2026-11-21T10:05"]
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert "answered without the jobfile" in err
    assert "it was skipped: an earlier run had not ended" in out


@pytest.mark.parametrize("columns", [60, 100, 160])
@pytest.mark.parametrize("command", ["history", "summary", "why"])
def test_what_is_shown_fits_the_screen_and_stays_as_it_is(
    past: Stsd,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    columns: int,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    words = {
        "history": ["history"],
        "summary": ["history", "--summary"],
        "why": ["why", "web-1", "--at", "2026-11-21T10:05"],
    }[command]
    shown = said(past, capsys, *words)
    assert max(map(len, shown.splitlines())) <= columns
    assert shown == (GOLDEN / f"{command}-{columns}.txt").read_text()


def test_a_clock_that_was_set_back_a_little_hides_nothing(
    stsd: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    past = Past().run(minute(60)).run(minute(30), minute(90))
    past.write(stsd.folder / "log")
    found = rows(stsd, capsys, "--since", "2026-11-21T10:45")
    assert found == ["30 job succeeded", "00 job succeeded"]


def test_a_damaged_line_does_not_end_the_search(
    stsd: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    (stsd.folder / "log" / "history").mkdir(parents=True)
    lines = [*Past().run(minute(1)).lines, b"no record at all\n", *Past().run(minute(2)).lines]
    (stsd.folder / "log" / "history" / "2026-11-21.jsonl").write_bytes(b"".join(lines))
    assert rows(stsd, capsys) == ["02 job succeeded", "01 job succeeded"]


def test_a_folder_that_is_not_for_this_user_is_told_in_a_sentence(
    past: Stsd, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(log_dir: Path, selection: object) -> list[dict[str, Any]]:
        raise PermissionError(13, "Permission denied", "/var/log/stsd/history")

    monkeypatch.setattr("stsd.cli.history.newest", refuse)
    assert cli.main(["history", "-c", str(past.jobfile)]) == 1
    assert capsys.readouterr().err.startswith("stsd: /var/log/stsd/history: permission denied (")


def test_a_daemon_is_asked_where_its_history_is_if_nothing_else_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stsd = Stsd(tmp_path)
    head = f'[daemon]\nstate_dir = "{tmp_path}/state"\n'
    stsd.jobfile.write_text(head + '[jobs.now]\ncommand = "true"\non_start = true\n')
    monkeypatch.setenv("STSD_SOCKET", str(tmp_path / "runtime" / "control.sock"))
    monkeypatch.delenv("LOGS_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "elsewhere"))
    environment = clean_environment() | {
        "LOGS_DIRECTORY": str(tmp_path / "log"),
        "RUNTIME_DIRECTORY": str(tmp_path / "runtime"),
    }
    (tmp_path / "runtime").mkdir()
    command = [*STSD, "run", "-c", str(stsd.jobfile)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: stsd.records("finished"), "the run is on record")
        assert cli.main(["history", "-c", str(stsd.jobfile)]) == 0
        assert "now" in capsys.readouterr().out
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
