"""What the last runs have taken, and what is slow."""

from __future__ import annotations

import pytest

from stsd.durations import KEPT, Durations, slow_after
from stsd.model import Job, ShellTask
from stsd.notices import Slow


def a_job(slow: Slow | None) -> Job:
    return Job("a", ShellTask("true"), slow=slow)


@pytest.mark.parametrize(
    ("seconds", "most"),
    [
        (range(9), None),
        (range(1, 11), 10.0),
        (range(1, 21), 19.0),
        (range(1, 101), 95.0),
        (range(1, 201), 195.0),
        ([5.0] * 99 + [900.0], 5.0),
    ],
)
def test_what_95_of_100_do_not_exceed_is_a_duration_that_was_there(
    seconds: range | list[float], most: float | None
) -> None:
    durations = Durations()
    for each in seconds:
        durations.add(float(each))
    assert durations.most() == most


def test_only_the_last_hundred_are_kept_and_the_oldest_goes_first() -> None:
    durations = Durations()
    for number in range(KEPT + 5):
        durations.add(float(number))
    assert durations.fields() == [float(number) for number in range(5, KEPT + 5)]
    assert Durations(durations.fields()).fields() == durations.fields()


def test_usual_is_the_median() -> None:
    assert Durations().usual() is None
    assert Durations([3.0, 1.0, 1000.0]).usual() == 3.0
    assert Durations([1.0, 2.0005]).usual() == 1.5


def test_slow_is_what_the_job_says_it_is() -> None:
    known = Durations([2.0] * 10)
    assert slow_after(a_job(None), known) is None
    assert slow_after(a_job(Slow(seconds=7.0)), Durations()) == 7.0
    assert slow_after(a_job(Slow(factor=1.5)), known) == 3.0
    assert slow_after(a_job(Slow(factor=1.5)), Durations([2.0] * 9)) is None
