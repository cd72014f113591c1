"""`stsd pause`, `resume`, `cancel` and `reload`: what they ask for, and what they say of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stsd.cli import main
from stsd.cli.planview import difference
from stsd.cli.terminal import Terminal
from stsd.cli.wording import instant_of
from stsd.protocol import Trouble
from stsd.replies import Reply, Request
from tests.support_commands import ControlAlone, done, refused
from tests.support_golden import assert_golden, shown

NOW = instant_of("2026-11-21T12:00:00Z")
NOTHING: dict[str, Any] = {
    "added": [],
    "removed": [],
    "changed": [],
    "settings": [],
    "unchanged": 3,
}
PLAN: dict[str, Any] = {
    "added": [{"job": "new", "next": "2026-11-21T13:00:00Z"}],
    "removed": [
        {"job": "old", "next": "2026-11-22T02:30:00+01:00"},
        {"job": "by-hand", "next": None},
    ],
    "changed": [
        {
            "job": "rates",
            "keys": [
                {"key": "every", "before": 5, "after": 600},
                {"key": "retry.max", "before": None, "after": 3},
                {"key": "limits.memory", "before": 536870912, "after": None},
                {"key": "tags", "before": [], "after": ["a", "b"]},
                {"key": "warm", "before": False, "after": True},
                {"key": "command", "before": "echo \x1b[2J", "after": ""},
            ],
            "next_before": "2026-11-21T12:00:05Z",
            "next_after": "2026-11-21T12:10:00Z",
        },
        {
            "job": "report",
            "keys": [{"key": "description", "before": None, "after": "The week"}],
            "next_before": None,
            "next_after": None,
        },
    ],
    "settings": [{"key": "max_running", "before": 16, "after": 32}],
    "unchanged": 1000,
}


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def jobfile(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.toml"
    path.write_text('[jobs.backup]\ncommand = "true"\n')
    return path


@contextmanager
def answering(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, **answers: Callable[[Request], Reply]
) -> Iterator[ControlAlone]:
    with ControlAlone(jobfile.parent / "run", answers, jobfile) as alone:
        monkeypatch.setenv("STSD_SOCKET", str(alone.path))
        monkeypatch.setenv("STSD_CONFIG", str(jobfile))
        yield alone


# -- pause and resume


def test_a_pause_has_an_end_and_a_reason(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(jobfile, monkeypatch, pause=done(paused=["backup", "sync"])) as alone:
        words = ["pause", "backup", "--tag", "t", "--for", "1h30m", "--reason", "a new disk"]
        assert main(words) == 0
        asked = alone.wait_until_asked("pause")
    assert (asked["jobs"], asked["tags"]) == (("backup",), ("t",))
    assert (asked["for_s"], asked["reason"]) == (5400.0, "a new disk")
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" until ")[0] for line in lines] == [
        "backup is paused",
        "sync is paused",
    ]
    assert lines[0].endswith("(in 1h30m)")


def test_a_pause_without_an_end_lasts_until_the_job_is_resumed(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(jobfile, monkeypatch, pause=done(paused=["backup"])) as alone:
        assert main(["pause", "backup"]) == 0
        assert alone.wait_until_asked("pause")["for_s"] is None
    assert capsys.readouterr().out == "backup is paused until it is resumed\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["pause"], "name jobs, or give a --tag"),
        (["resume"], "name jobs, or give a --tag"),
        (["pause", "a", "--for", "soon"], '--for: "soon" is not a duration'),
        (["cancel"], "name a run or a job"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert complaint in capsys.readouterr().err


def test_resuming_a_job_that_is_not_paused_is_no_error(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(jobfile, monkeypatch, resume=done(resumed=["backup"])):
        assert main(["resume", "backup", "sync"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "backup is resumed\n"
    assert printed.err == "sync was not paused\n"


# -- cancel


def test_cancel_prints_the_runs_that_are_called_off(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(jobfile, monkeypatch, cancel=done(cancelled=["backup@x", "sync@y"])) as alone:
        assert main(["cancel", "backup@x", "sync", "sync"]) == 0
        assert alone.wait_until_asked("cancel")["runs"] == ("backup@x", "sync")
    assert capsys.readouterr().out == "backup@x\nsync@y\n"


def test_with_nothing_to_cancel_it_fails(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(jobfile, monkeypatch, cancel=done(cancelled=[])):
        assert main(["cancel", "backup"]) == 1
    assert "no run of backup is going on" in capsys.readouterr().err


def test_a_run_that_is_over_is_a_failure_and_a_job_that_nobody_knows_a_wrong_usage(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for kind, code in ((Trouble.UNKNOWN_RUN, 1), (Trouble.UNKNOWN_JOB, 2), (Trouble.FORBIDDEN, 1)):
        with answering(jobfile, monkeypatch, cancel=refused(kind, "as you see")):
            assert main(["cancel", "backup"]) == code
        assert capsys.readouterr().err == "stsd: as you see\n"


# -- reload


def test_the_difference_has_words_beside_its_signs() -> None:
    screen = Terminal(live=True, glyphs=True, columns=100)
    assert_golden("reload", shown(difference(PLAN, NOW, screen), screen))
    assert shown(difference(PLAN, NOW, Terminal()), Terminal()).isascii()


def test_a_dry_run_asks_for_the_plan_and_a_reload_for_more(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(jobfile, monkeypatch, plan=done(plan=PLAN), reload=done(plan=PLAN)) as alone:
        assert main(["reload", "--dry-run"]) == 0
        assert main(["reload"]) == 0
        assert [do for do, _ in alone.asked] == ["plan", "reload"]
    sums = "1 job added, 2 jobs removed, 2 jobs changed, 1 setting changed, 1,000 jobs unchanged"
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if sums in line] == [
        f"a reload would do: {sums}",
        f"reloaded: {sums}",
    ]


def test_nothing_new_is_said_as_such(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(jobfile, monkeypatch, reload=done(plan=NOTHING)):
        assert main(["reload"]) == 0
    assert capsys.readouterr().out == "reloaded: nothing differs, 3 jobs unchanged\n"


def test_as_json_each_difference_is_a_line(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(jobfile, monkeypatch, plan=done(plan=PLAN)):
        assert main(["reload", "--dry-run", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["change"], line.get("job")) for line in lines] == [
        ("added", "new"),
        ("removed", "old"),
        ("removed", "by-hand"),
        ("changed", "rates"),
        ("changed", "report"),
        ("setting", None),
    ]


def test_an_invalid_jobfile_is_told_with_every_problem(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = refused(Trouble.INVALID_JOBFILE, "nothing was changed:", "a:1:1: x", "a:2:1: y")
    with answering(jobfile, monkeypatch, reload=refusal):
        assert main(["reload"]) == 2
    assert capsys.readouterr().err == "stsd: nothing was changed:\na:1:1: x\na:2:1: y\n"


def test_without_a_daemon_a_dry_run_checks_the_file_at_least(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STSD_SOCKET", str(jobfile.parent / "none.sock"))
    words = ["reload", "--dry-run", "-c", str(jobfile)]
    assert main(words) == 3
    printed = capsys.readouterr()
    assert "1 job, no problems" in printed.out
    assert "no daemon runs" in printed.err
    jobfile.write_text("[jobs.backup]\n")
    assert main(words) == 2
    assert "jobs.backup" in capsys.readouterr().err
    assert main(words[:1] + words[2:]) == 3
    assert capsys.readouterr().out == ""


# -- all of them


@pytest.mark.parametrize("command", ["status", "trigger", "cancel", "pause", "resume", "reload"])
def test_each_has_help_with_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"examples:\n  stsd {command}" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["cancel", "a"], ["pause", "a"], ["resume", "a"], ["reload"]])
def test_without_a_daemon_the_exit_code_is_3(
    words: list[str], jobfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STSD_SOCKET", str(jobfile.parent / "none.sock"))
    assert main([*words, "-c", str(jobfile)]) == 3
