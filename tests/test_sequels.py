"""The audit of jobs that are due after others."""

from __future__ import annotations

import json
from typing import Any

from stsd.audit import audit
from stsd.books import Books, Kind
from stsd.model import After, Job, Outcome, Overlap, Run, ShellTask, When
from stsd.records import Begun, encode
from tests.simulation.world import START, Fate, World, jobfile

A = Job("a", ShellTask("true"), When(every=10))
B = Job("b", ShellTask("true"), When(after=(After("a"),)))
Records = list[dict[str, Any]]


def history(*jobs: Job, seconds: float = 45) -> Records:
    """What a daemon records of these jobs; a run takes a second."""

    def fate(run: Run, attempt: int) -> Fate:
        return Fate(duration=25 if run.job.overlap is Overlap.QUEUE else 1)

    world = World(jobfile(*jobs), fate).begin()
    world.run_for(seconds)
    records = [Begun(1, "boot", "1", float(START)), *world.records]
    return [json.loads(encode(record)) for record in records]


def audited(records: Records, job: str | None = None) -> Books:
    return audit(records, START + 45, lives=lambda pid, born: True, job=job)


def faults(books: Books) -> list[tuple[str, Kind, int]]:
    return [(each.job, each.kind, each.first - START) for each in books.discrepancies]


def without(records: Records, job: str, scheduled: str) -> Records:
    return [r for r in records if (r.get("job"), r.get("scheduled")) != (job, scheduled)]


def test_the_books_of_a_chain_balance_and_count_its_runs() -> None:
    books = audited(history(A, B))
    assert books.balanced
    assert books.jobs["b"].demanded == books.jobs["b"].run == 4


def test_a_run_that_did_not_follow_is_pending_while_it_may_still_come() -> None:
    records = without(history(A, B), "b", "2027-01-15T08:00:41Z")
    books = audited(records)
    assert books.balanced
    assert (books.jobs["b"].run, books.jobs["b"].pending) == (3, 1)


def test_a_run_that_did_not_follow_is_lost_once_a_later_one_has_started() -> None:
    records = without(history(A, B), "b", "2027-01-15T08:00:21Z")
    assert faults(audited(records)) == [("b", Kind.LOST, 21)]


def test_a_run_that_followed_nothing_is_one_too_many() -> None:
    records = history(A, B)
    cut = [
        r for r in records if not (r["event"] == "finished" and r["run"] == "a@20270115T080020Z")
    ]
    assert ("b", Kind.SURPLUS, 21) in faults(audited(cut))


def test_what_was_skipped_is_accounted_for() -> None:
    slow = Job("b", ShellTask("true"), B.when, overlap=Overlap.SKIP, max_running=1)
    follower = Job("c", ShellTask("true"), When(after=(After("b"),)), overlap=Overlap.QUEUE)
    books = audited(history(A, slow, follower, seconds=120))
    assert books.balanced
    assert books.jobs["c"].demanded == books.jobs["c"].run + books.jobs["c"].pending


def test_an_audit_of_one_job_knows_the_ends_that_it_follows() -> None:
    books = audited(history(A, B), job="b")
    assert books.balanced
    assert books.jobs["b"].run == 4


def test_an_outcome_that_was_not_asked_for_demands_nothing() -> None:
    alarm = Job("b", ShellTask("true"), When(after=(After("a", frozenset({Outcome.FAILED})),)))
    books = audited(history(A, alarm))
    assert books.balanced
    assert "b" not in books.jobs or books.jobs["b"].demanded == 0
