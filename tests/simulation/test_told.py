"""What people are told of a day of the real core, against a reckoning over the finished records."""

from __future__ import annotations

import random
from itertools import groupby, pairwise

import pytest

from stsd.conditions import GRACE_S, Conditions
from stsd.messages import PauseJobs, ResumeJobs
from stsd.model import Job, Outcome, Overlap, Retry, Run, ShellTask, SkipReason, When
from stsd.notices import Event, Means, Notice, Notify, Target
from stsd.records import Finished, Record, Skipped, Started
from tests.simulation.world import START, Fate, World, jobfile

pytestmark = pytest.mark.slow

DAY = 86400
MAX_AGE = 5000.0
EVERYTHING = Notify((Target(Means.COMMAND, argv=("true",)),), frozenset(Event))


def a_job(number: int) -> Job:
    return Job(
        f"job{number}",
        ShellTask("true"),
        When(every=600 + 60 * number),
        retry=Retry(max=number % 3, delay=20.0),
        overlap=Overlap.SKIP,
        timeout=900.0,
        notify=EVERYTHING,
        max_age=MAX_AGE,
    )


def a_day(seed: int) -> tuple[World, list[Notice]]:
    """The world after a day, and all that was told in it by one who looks each minute."""
    draw = random.Random(seed)
    jobs = [a_job(number) for number in range(12)]

    def fate(run: Run, attempt: int) -> Fate:
        # Bad and good hours, so that there are rows of failures.
        is_bad = (run.scheduled // 7200 + int(run.job.name[3:])) % 3 == 0
        fails = draw.random() < (0.9 if is_bad else 0.05)
        return Fate(draw.choice([1.0, 30.0, 800.0, 1000.0]), 2 if fails else 0)

    world = World(jobfile(*jobs), fate).begin()
    conditions = Conditions({job.name: job for job in jobs}, None, float(START))
    told: list[Notice] = []
    read = 0
    for minute in range(DAY // 60):
        world.run_for(60)
        if minute == 300:
            world.give(PauseJobs(("job11",)))
        if minute == 600:
            world.give(ResumeJobs(("job11",)))
        for record in world.records[read:]:
            told += conditions.take(record.fields(), world.now.wall)
        read = len(world.records)
        told += conditions.tick(world.now.wall)
    return world, told


def final(world: World, job: str) -> list[Finished]:
    """The ends of a job's runs."""
    return [end for end in world.finished(job) if end.will_retry_at is None]


def test_each_row_of_failures_is_told_once_and_so_is_its_end() -> None:
    world, told = a_day(1)
    rows = 0
    for number in range(12):
        name = f"job{number}"
        expected: list[tuple[str, str | None, int]] = []
        groups = groupby(final(world, name), lambda end: end.outcome is Outcome.SUCCEEDED)
        failures: list[Finished] = []
        for is_good, ends in groups:
            row = list(ends)
            if is_good:
                expected += [("recovered", row[0].run, len(failures))] if failures else []
            else:
                failures = row
                expected.append(("failed", row[0].run, 1))
        said = [
            (str(each.event), each.run, each.count)
            for each in told
            if each.job == name and (each.event is Event.FAILED or Event.FAILED in each.ended)
        ]
        assert said == expected
        rows += len(expected)
    assert rows > 50


def test_each_gap_between_successes_that_is_too_long_is_told_once() -> None:
    world, told = a_day(2)
    gaps = 0
    for number in range(11):  # the last one is paused for a while
        name = f"job{number}"
        goods = [end.at for end in final(world, name) if end.outcome is Outcome.SUCCEEDED]
        instants = [float(START), *goods, world.now.wall - GRACE_S]
        gone = [
            before + MAX_AGE for before, after in pairwise(instants) if after - before > MAX_AGE
        ]
        said = [each.at for each in told if each.job == name and each.event is Event.SILENT]
        assert said == gone
        gaps += len(gone)
    assert gaps > 5


def events_of(told: list[Notice], name: str) -> list[Event]:
    return [each.event for each in told if each.job == name]


def is_told_skip(record: Record) -> bool:
    return isinstance(record, Skipped) and record.reason is not SkipReason.PAUSED


def test_a_job_is_told_as_skipped_once_until_it_starts_again() -> None:
    world, told = a_day(3)
    rows = 0
    for number in range(12):
        name = f"job{number}"
        skips = [
            is_told_skip(record)
            for record in world.records
            if isinstance(record, Started | Skipped) and record.job == name
            if isinstance(record, Started) or is_told_skip(record)
        ]
        expected = [is_skip for is_skip, _ in groupby(skips)].count(True)
        assert events_of(told, name).count(Event.SKIPPED) == expected
        rows += expected
    assert rows > 20
