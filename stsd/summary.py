"""The history in numbers, job by job: how runs ended, how many were skipped or missed, how long
attempts took.

Goes over the records once, in any order, and keeps counts alone: what it costs in memory grows
with the number of jobs, not of records. Reads no file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from stsd.model import Outcome


@dataclass(slots=True)
class Durations:
    """Seconds, counted by their first three digits: exact for what took less than a second, since
    records tell milliseconds, and else within 0.5 %. A few thousand counts cover all durations."""

    _counts: Counter[float] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        """One duration more."""
        self._counts[float(f"{seconds:.3g}")] += 1

    def update(self, other: Durations) -> None:
        """All of another's."""
        self._counts.update(other._counts)

    def percentile(self, share: float) -> float | None:
        """The least duration that so large a share of all does not exceed (nearest rank); None
        without any."""
        left = ceil(share * self._counts.total())
        for seconds in sorted(self._counts):
            left -= self._counts[seconds]
            if left <= 0:
                return seconds
        return None


@dataclass(slots=True)
class Sums:
    """What became of one job, or of several.

    `outcomes` counts runs, by how their last attempt ended; `retries` the attempts that another
    one followed. `durations` are those of all attempts that had a process.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    retries: int = 0
    skipped: int = 0
    missed: int = 0
    durations: Durations = field(default_factory=Durations)

    @property
    def runs(self) -> int:
        """How many have ended."""
        return self.outcomes.total()

    @property
    def success_rate(self) -> float | None:
        """The share of the runs that succeeded, from 0 to 1; None without any."""
        return self.outcomes[Outcome.SUCCEEDED] / self.runs if self.runs else None

    def update(self, other: Sums) -> None:
        """All of another's."""
        self.outcomes.update(other.outcomes)
        self.retries += other.retries
        self.skipped += other.skipped
        self.missed += other.missed
        self.durations.update(other.durations)


def summed(records: Iterable[Mapping[str, Any]]) -> dict[str, Sums]:
    """The sums of each job, by name in the order of the alphabet. Records of other kinds are
    passed over, and so are those that have lost a field."""
    found: dict[str, Sums] = {}
    for record in records:
        match record:
            case {"event": "finished", "job": str(job), "outcome": str(outcome)}:
                _finish(found.setdefault(job, Sums()), outcome, record)
            case {"event": "skipped", "job": str(job)}:
                found.setdefault(job, Sums()).skipped += 1
            case {"event": "missed", "job": str(job), "count": int(count)}:
                found.setdefault(job, Sums()).missed += count
    return dict(sorted(found.items()))


def _finish(sums: Sums, outcome: str, record: Mapping[str, Any]) -> None:
    if outcome not in set(Outcome):
        return
    if record.get("will_retry_at") is None:
        sums.outcomes[Outcome(outcome)] += 1
    else:
        sums.retries += 1
    took = record.get("duration_s")
    if isinstance(took, int | float):
        sums.durations.add(took)
