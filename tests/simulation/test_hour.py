"""A thousand jobs and one hour: the real core in a simulated world, against plain enumeration."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from stsd.model import Job, Overlap, Run, ShellTask, When
from stsd.units import compact
from tests.simulation.world import START, Fate, World, jobfile

pytestmark = pytest.mark.slow

HOUR = range(START + 1, START + 3600)


def drawn_job(number: int, draw: random.Random) -> tuple[Job, set[int]]:
    """A job, and by enumeration the instants of the hour at which it is due."""
    kind = draw.choice(["every", "minutes", "seconds", "at"])
    if kind == "every":
        every, anchor = draw.choice([1, 7, 30, 60, 90, 600]), draw.randrange(1000)
        when = When(every=every, anchor=anchor)
        due = {instant for instant in HOUR if (instant - anchor) % every == 0}
    elif kind == "minutes":
        minutes = sorted(draw.sample(range(60), draw.randint(1, 12)))
        when = When(cron=(f"{','.join(map(str, minutes))} * * * *",))
        due = {i for i in HOUR if i % 60 == 0 and i // 60 % 60 in minutes}
    elif kind == "seconds":
        second, minute = draw.randrange(60), draw.randrange(60)
        when = When(cron=(f"{second} {minute} * * * *",), timezone="Asia/Kathmandu")
        due = {i for i in HOUR if i % 60 == second and (i // 60 + 45) % 60 == minute}
    else:
        minute = draw.randrange(60)
        when = When(at=(f"08:{minute:02}",), timezone="UTC")
        due = {i for i in HOUR if i == START + 60 * minute}
    return Job(f"job{number}", ShellTask("true"), when, overlap=Overlap.QUEUE), due


def test_every_occurrence_of_a_thousand_jobs_starts_exactly_once_and_in_order() -> None:
    draw = random.Random(20270115)
    drawn = [drawn_job(number, draw) for number in range(1000)]
    demanded = {f"{job.name}@{compact(at)}": at for job, due in drawn for at in due}

    def brief(run: Run, attempt: int) -> Fate:
        return Fate(draw.uniform(0.001, 0.3))

    world = World(jobfile(*(job for job, _ in drawn), max_running=10_000), brief).begin()
    world.run_for(3600 - 0.5)

    started = Counter(record.run for record in world.started())
    assert len(demanded) > 100_000
    assert started == Counter(demanded.keys())
    instants = [record.scheduled for record in world.started()]
    assert instants == sorted(instants)
    assert {record.late_s for record in world.started()} == {0.0}
    assert [
        record for record in world.records if record.fields()["event"] in ("skipped", "missed")
    ] == []
