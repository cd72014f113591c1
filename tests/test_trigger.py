"""`stsd trigger`: what it asks for, and what it shows while it waits."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stsd.cli import main
from stsd.model import Outcome, SkipReason, TriggerKind
from stsd.output import output_name
from stsd.protocol import Trouble
from stsd.records import Finished, Record, Skipped, Started
from stsd.replies import Reply, Request, Waiting
from tests.support import DEADLINE_S, STSD
from tests.support_commands import ControlAlone, done, refused

RUN = "backup@manual-20261121T120000Z"
OTHER = "rates@manual-20261121T120000Z"
AT = 1795262400


def started(run: str = RUN, attempt: int = 1) -> Started:
    job = run.partition("@")[0]
    return Started(run, job, AT, TriggerKind.MANUAL, attempt, float(AT), 0.0, 4712, 1)


def finished(outcome: Outcome, run: str = RUN, attempt: int = 1, **fields: Any) -> Finished:
    job = run.partition("@")[0]
    return Finished(
        run, job, AT, TriggerKind.MANUAL, attempt, outcome, float(AT), duration_s=3.2, **fields
    )


@pytest.fixture
def jobfile(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.toml"
    path.write_text('[jobs.backup]\ncommand = "true"\n')
    return path


@contextmanager
def answering(
    jobfile: Path, answer: Callable[[Request], Reply], monkeypatch: pytest.MonkeyPatch
) -> Iterator[ControlAlone]:
    with ControlAlone(jobfile.parent / "run", {"trigger": answer}, jobfile) as alone:
        monkeypatch.setenv("STSD_SOCKET", str(alone.path))
        monkeypatch.setenv("STSD_CONFIG", str(jobfile))
        yield alone


@contextmanager
def going(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, *records: Record, runs: tuple[str, ...] = (RUN,)
) -> Iterator[ControlAlone]:
    """A daemon that tells these records of the runs as soon as they are waited for."""

    def answer(request: Request) -> Reply:
        for record in records:
            alone.publish(record)
        return Waiting(runs)

    with answering(jobfile, answer, monkeypatch) as alone:
        yield alone


def prints(alone: ControlAlone, text: str, run: str = RUN, attempt: int = 1) -> None:
    """As the scribe does with what an attempt prints."""
    path = alone.log_dir / output_name(run.partition("@")[0], run, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(text)


# -- what is asked for


def test_it_prints_the_ids_of_the_runs(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(jobfile, done(runs=[RUN, OTHER], skipped=[]), monkeypatch) as alone:
        assert main(["trigger", "backup", "rates", "backup", "--tag", "nightly"]) == 0
        assert capsys.readouterr().out == f"{RUN}\n{OTHER}\n"
        asked = alone.wait_until_asked("trigger")
    assert asked["jobs"] == ("backup", "rates")
    assert asked["tags"] == ("nightly",)
    assert not asked["wait"]


def test_a_job_that_is_skipped_is_told_and_the_exit_code_is_1(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with answering(jobfile, done(runs=[RUN], skipped=["rates"]), monkeypatch):
        assert main(["trigger", "backup", "rates"]) == 1
    printed = capsys.readouterr()
    assert printed.out == f"{RUN}\n"
    assert printed.err == "rates is skipped: it has as many runs as it may have at once\n"


def test_values_are_toml_and_bare_words_are_text(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["kwargs.n=7", "kwargs.base=EUR", "kwargs.on=true", 'kwargs.t.list=["a", 1.5]']
    words += ["kwargs.t.day=2026-11-21", "kwargs.empty=", "kwargs.q='7'", "kwargs.x=nan"]
    with answering(jobfile, done(runs=[RUN], skipped=[]), monkeypatch) as alone:
        assert main(["trigger", "backup", *(w for word in words for w in ("--set", word))]) == 0
        assert alone.wait_until_asked("trigger")["kwargs"] == {
            "n": 7,
            "base": "EUR",
            "on": True,
            "t": {"list": ["a", 1.5], "day": "2026-11-21"},
            "empty": "",
            "q": "7",
            "x": "nan",
        }


def test_variables_are_passed_as_they_are(jobfile: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(jobfile, done(runs=[RUN], skipped=[]), monkeypatch) as alone:
        assert main(["trigger", "backup", "--env", "A=b=c", "--env", "EMPTY="]) == 0
        assert alone.wait_until_asked("trigger")["env"] == {"A": "b=c", "EMPTY": ""}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "name jobs, or give a --tag"),
        (["backup", "--set", "x=1"], "not of the form kwargs.NAME=VALUE"),
        (["backup", "--set", "kwargs.x"], "not of the form kwargs.NAME=VALUE"),
        (["backup", "--set", "kwargs.x=[1,"], "has no TOML value"),
        (["backup", "--set", 'kwargs.x="a'], "has no TOML value"),
        (["backup", "--set", "kwargs.x=1", "--set", "kwargs.x=2"], "x is given twice"),
        (["backup", "--set", "kwargs.x=1", "--set", "kwargs.x.y=2"], "x has a value already"),
        (["backup", "--env", "A"], "not of the form NAME=VALUE"),
        (["backup", "--env", "=A"], "not of the form NAME=VALUE"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(
    words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trigger", *words]) == 2
    assert complaint in capsys.readouterr().err


def test_what_the_daemon_refuses_is_told(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for wait in ([], ["--wait"]):
        with answering(jobfile, refused(Trouble.STOPPING, "stsd is stopping"), monkeypatch):
            assert main(["trigger", "backup", *wait]) == 1
        assert capsys.readouterr().err == "stsd: stsd is stopping\n"


def test_without_a_daemon_the_exit_code_is_3(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STSD_SOCKET", str(jobfile.parent / "none.sock"))
    for wait in ([], ["--wait"]):
        assert main(["trigger", "-c", str(jobfile), "backup", *wait]) == 3
        assert f"no daemon runs {jobfile}" in capsys.readouterr().err


# -- while it waits


def test_a_job_that_is_skipped_is_no_success_of_those_that_are_waited_for(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(request: Request) -> Reply:
        alone.publish(started())
        alone.publish(finished(Outcome.SUCCEEDED))
        return Waiting((RUN,), ("rates",))

    with answering(jobfile, answer, monkeypatch) as alone:
        assert main(["trigger", "backup", "rates", "--wait"]) == 1
    assert "rates is skipped" in capsys.readouterr().err


def test_the_output_is_standard_output_and_success_is_0(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = (started(), finished(Outcome.SUCCEEDED))
    with going(jobfile, monkeypatch, *records) as alone:
        prints(alone, "one\ntwo")
        assert main(["trigger", "backup", "--wait"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "one\ntwo"
    assert printed.err == f"triggered {RUN}\n{RUN} succeeded after 3s\n"


def test_retries_are_told_and_the_last_attempt_decides(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = finished(Outcome.FAILED, exit_code=4, will_retry_at=float(AT + 10))
    records = (started(), again, started(attempt=2), finished(Outcome.SUCCEEDED, attempt=2))
    with going(jobfile, monkeypatch, *records) as alone:
        prints(alone, "first\n")
        prints(alone, "second\n", attempt=2)
        assert main(["trigger", "backup", "--wait"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "first\nsecond\n"
    told = printed.err.splitlines()
    assert told[1].startswith(f"{RUN} failed after 3s: exit 4; attempt 2 ")
    assert told[2] == f"{RUN} attempt 2 succeeded after 3s"


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (finished(Outcome.FAILED, exit_code=4), "failed after 3s: exit 4"),
        (finished(Outcome.CANCELLED, signal="TERM"), "cancelled after 3s: ended by TERM"),
        (
            finished(Outcome.TIMED_OUT, error="took too \x1blong"),
            "timed_out after 3s: took too \\x1blong",
        ),
        (
            Skipped("backup", AT, SkipReason.OVERLAP, float(AT), TriggerKind.MANUAL, run=RUN),
            f"{RUN} was skipped: overlap",
        ),
    ],
)
def test_whatever_is_no_success_is_1_and_says_why(
    record: Record,
    told: str,
    jobfile: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with going(jobfile, monkeypatch, started(), record):
        assert main(["trigger", "backup", "--wait"]) == 1
    assert told in capsys.readouterr().err


def test_the_output_of_several_jobs_is_told_apart_by_their_names(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = (
        *(started(), started(OTHER)),
        *(finished(Outcome.SUCCEEDED), finished(Outcome.FAILED, OTHER, exit_code=1)),
    )
    with going(jobfile, monkeypatch, *records, runs=(RUN, OTHER)) as alone:
        prints(alone, "a\nb")
        prints(alone, "c\n", OTHER)
        assert main(["trigger", "backup", "rates", "--wait"]) == 1
    assert sorted(capsys.readouterr().out.splitlines()) == [
        "backup | a",
        "backup | b",
        "rates  | c",
    ]


def waiting_process() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*STSD, "trigger", "backup", "--wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_output_is_shown_while_the_run_goes_on(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with going(jobfile, monkeypatch, started()) as alone:
        process = waiting_process()
        assert process.stdout is not None
        alone.wait_until_asked("trigger")
        for text in ("early\n", "later\n"):
            prints(alone, text)
            assert process.stdout.readline() == text
        prints(alone, "last\n")
        alone.publish(finished(Outcome.SUCCEEDED))
        assert process.communicate(timeout=DEADLINE_S)[0] == "last\n"
        assert process.returncode == 0


def test_ctrl_c_leaves_the_run_running_and_says_how_to_end_it(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with going(jobfile, monkeypatch, started()) as alone:
        process = waiting_process()
        assert process.stderr is not None
        assert process.stderr.readline() == f"triggered {RUN}\n"
        process.send_signal(signal.SIGINT)
        told = process.communicate(timeout=DEADLINE_S)[1]
        assert told == f"{RUN} goes on (to end it: stsd cancel {RUN})\n"
        assert process.returncode == 130
        assert [name for name, _ in alone.asked] == ["trigger"]


def test_a_daemon_that_goes_away_meanwhile_is_told(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with going(jobfile, monkeypatch, started()) as alone:
        process = waiting_process()
        alone.wait_until_asked("trigger")
        assert process.stderr is not None
        process.stderr.readline()
    told = process.communicate(timeout=DEADLINE_S)[1]
    assert "has hung up" in told
    assert f"stsd history --run {RUN}" in told
    assert process.returncode == 3
