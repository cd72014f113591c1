"""How long the last runs of a job have taken that succeeded, and what therefore is slow."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from math import ceil
from statistics import median

from stsd.model import Job

KEPT = 100
ENOUGH = 10
"""Of fewer runs nobody can say what is usual."""


class Durations:
    """Seconds, of the last KEPT ones."""

    __slots__ = ("_seconds",)

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._seconds = array("d", seconds)

    def add(self, seconds: float) -> None:
        """One more; the oldest goes where there are too many."""
        self._seconds.append(seconds)
        if len(self._seconds) > KEPT:
            del self._seconds[0]

    def usual(self) -> float | None:
        """What half of them are shorter than; None where there is none."""
        return round(median(self._seconds), 3) if self._seconds else None

    def most(self) -> float | None:
        """What 95 of 100 do not exceed, by the nearest rank; None where too few are known."""
        count = len(self._seconds)
        return sorted(self._seconds)[ceil(count * 95 / 100) - 1] if count >= ENOUGH else None

    def fields(self) -> list[float]:
        """As a JSON value, the oldest first."""
        return self._seconds.tolist()


def slow_after(job: Job, durations: Durations) -> float | None:
    """After how many seconds a run of the job is slow; None: that is not asked for, or not known
    yet."""
    slow = job.slow
    if slow is None or slow.factor is None:
        return None if slow is None else slow.seconds
    most = durations.most()
    return None if most is None else slow.factor * most
