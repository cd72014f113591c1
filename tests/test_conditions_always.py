"""What holds of conditions whatever happens to a job, and what they cost."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stsd.conditions import Conditions
from stsd.model import Job, Outcome, Overlap, SkipReason, When
from stsd.notices import Event, Notice, Notify, Slow
from tests.support_story import DAILY, NOBODY, Story, a_job, instant

pytestmark = pytest.mark.slow

BEGIN = instant("2026-03-27T12:00:00Z")
HOUR = 3600.0
FULL: dict[str, Any] = {
    "deadline": 9000,
    "max_age": 30 * HOUR,
    "slow": Slow(seconds=2 * HOUR),
    "min_output": 100,
    "overlap": Overlap.ALLOW,
}
REMINDED = Notify((NOBODY,), frozenset(Event), remind=5 * HOUR)
JOBS: list[Job] = [
    a_job(**FULL),
    a_job(**FULL, notify=REMINDED),
    a_job(**(FULL | {"slow": Slow(factor=2.0), "deadline": 18000, "max_age": 3 * HOUR})),
    a_job(when=When(every=1800)),
    a_job(**FULL, enabled=False),
]

Step = Callable[[Story], list[Notice]]


def _end(outcome: Outcome, **more: Any) -> Step:
    return lambda story: story.end(outcome, **({"run": "a@1"} | more))


def _waiting(seconds: float) -> Step:
    return lambda story: story.wait(seconds)


def _reloading(job: Job) -> Step:
    def step(story: Story) -> list[Notice]:
        story.reload(job)
        return []

    return step


ENDS: list[Step] = [
    _end(Outcome.SUCCEEDED),
    _end(Outcome.SUCCEEDED, output_bytes=3),
    _end(Outcome.SUCCEEDED, run="a@2"),
    _end(Outcome.FAILED),
    _end(Outcome.FAILED, will_retry_at=BEGIN),
    _end(Outcome.INTERRUPTED, error="exit status unknown"),
    _end(Outcome.CANCELLED),
]
RECORDS: list[Step] = [
    *ENDS,
    lambda story: story.start(run="a@1"),
    lambda story: story.start(run="a@2"),
    lambda story: story.skip(SkipReason.OVERLAP),
    lambda story: story.skip(SkipReason.PAUSED),
    lambda story: story.miss(story.now - HOUR, story.now, 3),
    lambda story: story.plan(),
    lambda story: story.pause(),
    lambda story: story.resume(),
]
waits = st.sampled_from([0.0, 1.0, 60.0, HOUR, 2.5 * HOUR, 7 * HOUR, 24 * HOUR, 100 * HOUR])
steps = st.one_of(
    st.sampled_from(RECORDS),
    waits.map(_waiting),
    st.sampled_from(
        [
            lambda story: story.held("no space"),
            lambda story: story.held(None),
            *map(_reloading, JOBS),
        ]
    ),
)


@settings(deadline=None)
@given(st.sampled_from(JOBS), st.lists(steps, max_size=25))
def test_who_was_told_of_an_end_had_been_told_of_the_beginning(
    job: Job, happens: list[Step]
) -> None:
    story = Story(job, now=BEGIN)  # which is saved and read back at each step
    told: set[Event] = set()
    for notice in (notice for step in happens for notice in step(story)):
        if notice.event is Event.RECOVERED:
            assert notice.ended
            assert told >= set(notice.ended)
            told -= set(notice.ended)
        else:
            assert notice.event in told or notice.reminder == 0
            told.add(notice.event)
        assert notice.since is not None
        assert notice.since <= story.now


@settings(deadline=None)
@given(st.lists(st.tuples(waits, st.sampled_from(RECORDS)), max_size=20))
def test_people_are_told_the_same_whether_the_records_are_read_at_once_or_days_later(
    happens: list[tuple[float, Step]],
) -> None:
    story = Story(JOBS[0], now=BEGIN)
    told: list[Notice] = []
    for seconds, step in happens:
        told += story.wait(seconds)
        told += step(story)
    end = story.now + 3 * HOUR
    told += story.wait_until(end)

    later = Conditions(story.jobs, None, BEGIN)
    late = [notice for record in story.records for notice in later.take(record, end)]
    late += later.tick(end)
    assert Counter(each.event for each in late) == Counter(each.event for each in told)
    assert later.standing() == story.conditions.standing()


def _cheapest(do: Callable[[], object]) -> float:
    """Of three times, in seconds of processor time."""
    spent = []
    for _ in range(3):
        begin = time.process_time()
        do()
        spent.append(time.process_time() - begin)
    return min(spent)


def test_taking_a_record_costs_no_more_than_a_few_times_what_reading_it_does() -> None:
    lines = [
        json.dumps(
            {
                "event": "finished",
                "run": f"a{number % 100}@{number}",
                "job": f"a{number % 100}",
                "scheduled": "2026-03-27T12:00:00Z",
                "trigger": "cron",
                "attempt": 1,
                "outcome": "succeeded",
                "exit_code": 0,
                "signal": None,
                "started": "2026-03-27T12:00:00.004Z",
                "at": "2026-03-27T12:00:01.500Z",
                "duration_s": 1.496,
                "output": "output/a.log",
                "output_bytes": 812,
                "error": None,
                "will_retry_at": None,
            }
        )
        for number in range(4000)
    ]
    records = [json.loads(line) for line in lines]
    jobs = {f"a{number}": a_job(name=f"a{number}", **FULL) for number in range(100)}

    def take_all() -> None:
        conditions = Conditions(jobs, None, BEGIN)
        for record in records:
            conditions.take(record, BEGIN)

    reading = _cheapest(lambda: [json.loads(line) for line in lines])
    assert _cheapest(take_all) < 8 * reading


def test_asking_when_to_look_costs_the_same_with_ten_thousand_jobs() -> None:
    def asked(number: int) -> float:
        jobs = {f"a{i}": a_job(name=f"a{i}", when=DAILY, max_age=HOUR) for i in range(number)}
        conditions = Conditions(jobs, None, BEGIN)
        return _cheapest(lambda: [conditions.due() for _ in range(20_000)])

    assert asked(10_000) < 10 * asked(10)
