"""The history in numbers."""

from __future__ import annotations

import random
import statistics
from math import ceil

import pytest

from stsd.model import Outcome
from stsd.summary import Durations, Sums, summed
from tests.support_audit import Past, minute


def test_runs_are_counted_by_how_their_last_attempt_ended() -> None:
    past = Past().run(minute(1), minute(2))
    past.finished(minute(3), outcome=Outcome.FAILED, exit_code=4, will_retry_at=minute(3) + 9.0)
    past.finished(minute(3), attempt=2, outcome=Outcome.TIMED_OUT)
    (sums,) = summed(past.records()).values()
    assert sums.outcomes == {Outcome.SUCCEEDED: 2, Outcome.TIMED_OUT: 1}
    assert (sums.runs, sums.retries) == (3, 1)
    assert sums.success_rate == pytest.approx(2 / 3)


def test_skipped_are_counted_by_the_record_and_missed_by_their_number() -> None:
    past = Past().skipped(minute(1)).skipped(minute(2)).missed(minute(3), minute(7), 5)
    (sums,) = summed(past.records()).values()
    assert (sums.skipped, sums.missed, sums.runs, sums.success_rate) == (2, 5, 0, None)


def test_jobs_are_told_apart_and_summed_up() -> None:
    lines = Past("b").run(minute(1)).records() + Past("a").run(minute(1), minute(2)).records()
    jobs = summed(lines)
    assert list(jobs) == ["a", "b"]
    total = Sums()
    for sums in jobs.values():
        total.update(sums)
    assert total.runs == 3


def test_what_has_lost_a_field_is_passed_over() -> None:
    assert summed([{"event": "finished", "job": "a"}, {"event": "missed", "job": 3}]) == {}
    odd = {"event": "finished", "job": "a", "outcome": "finished", "duration_s": 1}
    assert summed([odd])["a"].runs == 0


@pytest.mark.parametrize("scale_s", [0.1, 3.0, 250.0, 90_000.0])
def test_percentiles_are_within_half_a_percent(scale_s: float) -> None:
    dice = random.Random(4)
    taken = sorted(round(dice.lognormvariate(0, 1) * scale_s, 3) for _ in range(5000))
    durations = Durations()
    for took in taken:
        durations.add(took)
    for share in (0.5, 0.95, 1.0):
        exact = taken[ceil(share * 5000) - 1]
        assert durations.percentile(share) == pytest.approx(exact, rel=0.0051)


def test_below_a_second_percentiles_are_exact() -> None:
    durations = Durations()
    for milliseconds in range(1, 1000):
        durations.add(milliseconds / 1000)
    assert durations.percentile(0.5) == statistics.median_low(range(1, 1000)) / 1000
    assert durations.percentile(0.95) == 0.95
    assert Durations().percentile(0.5) is None


def test_the_counts_do_not_grow_with_the_runs() -> None:
    durations = Durations()
    dice = random.Random(1)
    for _ in range(200_000):
        durations.add(round(dice.uniform(0, 100), 3))
    assert len(durations._counts) < 3000
