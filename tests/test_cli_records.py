"""`stsd history` and `stsd logs` on a history that is written by hand."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest

from stsd import cli
from stsd.model import Outcome, SkipReason, TriggerKind, When
from stsd.output import output_name
from stsd.records import Begun, Finished, Intent, Planned, Record, Skipped, Started, encode
from tests.support import Stsd

AT = 1_700_000_000
RUN = "job@20231114T221320Z"
INTENT = Intent(RUN, "job", AT, TriggerKind.CRON, 1, AT + 0.01)
STARTED = Started(RUN, "job", AT, TriggerKind.CRON, 1, AT + 0.02, 0.02, 4711, 99)
FINISHED = Finished(RUN, "job", AT, TriggerKind.CRON, 1, Outcome.SUCCEEDED, AT + 1.0, 0)
PRINTED = replace(FINISHED, output_bytes=10)
OTHERS = (
    Begun(1, "boot", "1.0", float(AT)),
    Planned("job", When(every=60), AT - 1, float(AT)),
)


def segment(stsd: Stsd, name: str = "2023-11-14") -> Path:
    folder = stsd.folder / "log" / "history"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.jsonl"


def write(stsd: Stsd, *records: Record) -> None:
    segment(stsd).write_bytes(b"".join(map(encode, records)))


def rows(stsd: Stsd, *words: str) -> list[list[str]]:
    """The rows of the table, from the job's name on."""
    done = stsd.run("history", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return [line.split()[2:] for line in done.stdout.splitlines()[1:]]


def printed(stsd: Stsd, attempt: int, text: str, run: str = RUN) -> None:
    path = stsd.folder / "log" / output_name("job", run, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# -- the table


def test_the_table_has_one_row_an_attempt_and_leaves_out_what_is_no_run(stsd: Stsd) -> None:
    write(stsd, *OTHERS, INTENT, STARTED, FINISHED, *OTHERS)
    assert rows(stsd) == [["job", "succeeded"]]


def test_records_that_are_no_rows_do_not_count(stsd: Stsd) -> None:
    second = [replace(record, attempt=2) for record in (INTENT, STARTED, FINISHED)]
    write(stsd, INTENT, STARTED, FINISHED, *second, *OTHERS * 20)
    assert rows(stsd, "-n", "1") == [["job", "succeeded", "attempt", "2"]]
    assert len(rows(stsd, "-n", "2")) == 2


def test_an_attempt_that_is_only_known_to_be_about_to_start_is_shown_as_started(
    stsd: Stsd,
) -> None:
    write(stsd, INTENT)
    assert rows(stsd)[0][:2] == ["job", "started"]
    write(stsd, INTENT, STARTED)
    assert rows(stsd) == [["job", "started", "pid", "4711"]]
    write(stsd, INTENT, replace(FINISHED, outcome=Outcome.SPAWN_FAILED, error="no"))
    assert rows(stsd) == [["job", "spawn_failed", "no"]]


def test_json_has_the_records_of_every_kind_as_they_stand(stsd: Stsd) -> None:
    records = (*OTHERS, INTENT, STARTED, FINISHED)
    write(stsd, *records)
    assert stsd.history() == [json.loads(encode(record)) for record in records]
    assert stsd.history("job") == [json.loads(encode(record)) for record in records[1:]]


def test_compressed_segments_are_shown_as_well(stsd: Stsd) -> None:
    write(stsd, INTENT, STARTED, FINISHED)
    plain = segment(stsd)
    plain.with_suffix(".jsonl.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()
    assert rows(stsd) == [["job", "succeeded"]]


def test_a_record_that_lost_a_field_is_told_of_and_passed_over(stsd: Stsd) -> None:
    damaged = encode(FINISHED).replace(b'"outcome"', b'"outcpme"')
    segment(stsd).write_bytes(
        encode(Skipped("job", AT, SkipReason.OVERLAP, float(AT), TriggerKind.CRON)) + damaged
    )
    done = stsd.run("history", "--since", "2023-01-01")
    assert done.returncode == 0
    assert [line.split()[3] for line in done.stdout.splitlines()[1:]] == ["skipped"]
    assert "damaged" in done.stderr


def test_a_bound_in_time_spares_the_older_segments(stsd: Stsd) -> None:
    write(stsd, INTENT, STARTED, FINISHED)
    segment(stsd, "2023-11-13").write_bytes(b"would be told of as damaged\n")
    assert len(rows(stsd, "-n", "1")) == 1
    assert len(rows(stsd, "--since", "2023-11-14T00:00Z")) == 1
    assert "damaged" in stsd.run("history", "--since", "2023-11-13T23:59:59Z").stderr


# -- output that is not there any more


def test_logs_say_that_output_has_been_removed(stsd: Stsd) -> None:
    write(stsd, INTENT, STARTED, PRINTED)
    for subject in (["job"], [RUN], []):
        done = stsd.run("logs", *subject)
        assert done.returncode == 1
        assert f"the output of {RUN} has been removed" in done.stderr
        assert done.stdout == ""


def test_logs_of_the_attempts_that_are_left(stsd: Stsd) -> None:
    second = [replace(record, attempt=2) for record in (INTENT, STARTED, PRINTED)]
    write(stsd, INTENT, STARTED, PRINTED, *second)
    printed(stsd, 2, "second\n")
    for subject in ("job", RUN):
        done = stsd.run("logs", subject)
        assert (done.returncode, done.stdout) == (0, "second\n")


def test_logs_of_several_runs_name_those_whose_output_is_gone(stsd: Stsd) -> None:
    later = "job@20231114T221420Z"
    write(stsd, STARTED, PRINTED, replace(STARTED, run=later), replace(PRINTED, run=later))
    printed(stsd, 1, "later\n", later)
    done = stsd.run("logs", "job", "-n", "2")
    assert (done.returncode, done.stdout) == (0, "later\n")
    assert done.stderr == f"stsd: the output of {RUN} has been removed\n"


def test_logs_of_a_silent_run_say_so_and_it_is_no_error(stsd: Stsd) -> None:
    write(stsd, INTENT, STARTED, FINISHED)
    for subject in (["job"], [RUN], []):
        done = stsd.run("logs", *subject)
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == f"stsd: {RUN} has printed nothing\n"


def test_logs_tell_a_silent_attempt_from_one_whose_output_is_gone(stsd: Stsd) -> None:
    second = [replace(record, attempt=2) for record in (INTENT, STARTED, FINISHED)]
    write(stsd, INTENT, STARTED, PRINTED, *second)
    done = stsd.run("logs", "job")
    assert done.returncode == 1
    assert f"the output of {RUN} has been removed" in done.stderr
    assert "printed nothing" not in done.stderr


def test_the_table_tells_how_much_of_an_output_was_left_out(stsd: Stsd) -> None:
    write(stsd, INTENT, STARTED, replace(PRINTED, output_discarded=5 << 20))
    assert rows(stsd) == [["job", "succeeded", "5.0", "MiB", "of", "output", "left", "out"]]


def test_records_of_before_output_was_bounded_are_shown(stsd: Stsd) -> None:
    old = encode(PRINTED).replace(b'"output_discarded":0,', b"")
    assert old != encode(PRINTED)
    segment(stsd).write_bytes(encode(INTENT) + encode(STARTED) + old)
    assert rows(stsd) == [["job", "succeeded"]]


@pytest.mark.parametrize("subject", ["job@20000101T000000Z", "nobody"])
def test_logs_of_what_never_ran_are_not_said_to_be_removed(stsd: Stsd, subject: str) -> None:
    write(stsd, INTENT, STARTED, FINISHED)
    done = stsd.run("logs", subject)
    assert done.returncode == 1
    assert f"no output of {subject}" in done.stderr


# -- which runs


LATER = "job@20231114T221420Z"


def two_runs(stsd: Stsd) -> None:
    """The first run has two attempts, the second one is a minute later."""
    second = [replace(record, attempt=2, at=AT + 5.0) for record in (INTENT, STARTED, PRINTED)]
    later = [
        replace(record, run=LATER, scheduled=AT + 60, at=AT + 61.0)
        for record in (INTENT, STARTED, PRINTED)
    ]
    write(stsd, INTENT, STARTED, PRINTED, *second, *later)
    printed(stsd, 1, "one\n")
    printed(stsd, 2, "two\n")
    printed(stsd, 1, "later\n", LATER)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["job"], "later\n"),
        (["job", "--attempt", "1"], "later\n"),
        ([RUN, "--attempt", "2"], "two\n"),
        (["job", "--since", "2023-11-14T22:14:00Z"], "later\n"),
        (
            ["job", "--since", "2023-11-14T22:13:00Z"],
            f"==> {RUN} attempt 1 <==\none\n==> {RUN} attempt 2 <==\ntwo\n"
            f"==> {LATER} attempt 1 <==\nlater\n",
        ),
        (["j*", "-n", "1"], "later\n"),
        ([LATER, RUN, "--attempt", "1"], f"==> {LATER} attempt 1 <==\nlater\n==> {RUN} attempt 1"),
    ],
)
def test_logs_of_the_runs_and_attempts_that_are_asked_for(
    stsd: Stsd, capfd: pytest.CaptureFixture[str], words: list[str], expected: str
) -> None:
    two_runs(stsd)
    assert cli.main(["logs", "-c", str(stsd.jobfile), *words]) == 0
    assert capfd.readouterr().out.startswith(expected)


def test_logs_of_an_attempt_that_was_not_made_say_so(
    stsd: Stsd, capfd: pytest.CaptureFixture[str]
) -> None:
    two_runs(stsd)
    assert cli.main(["logs", "-c", str(stsd.jobfile), "job", "--attempt", "3"]) == 1
    assert "no output of attempt 3 of job in" in capfd.readouterr().err
    assert cli.main(["logs", "-c", str(stsd.jobfile), "job", "--attempt", "0"]) == 2
