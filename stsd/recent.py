"""How the last runs of a job have ended: what a person sees of it at a glance.

Kept for every job of a daemon, and therefore small. Values only.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan, nan
from statistics import median
from typing import Any

from stsd.model import Outcome

KEPT = 10


@dataclass(frozen=True, slots=True)
class Recent:
    """The last runs of a job that have ended, by their last attempts: the outcomes, the durations
    in seconds (NaN: it never had a process), and when the last one ended (wall clock)."""

    at: float
    outcomes: tuple[Outcome, ...]
    durations: array[float]

    @property
    def usual_s(self) -> float | None:
        """How long the runs that succeeded have taken, half of them less; None: none has."""
        pairs = zip(self.outcomes, self.durations, strict=True)
        known = [
            seconds
            for outcome, seconds in pairs
            if outcome is Outcome.SUCCEEDED and not isnan(seconds)
        ]
        return round(median(known), 3) if known else None

    def pairs(self) -> list[tuple[Outcome, float | None]]:
        """Each outcome with its duration, the oldest first."""
        return [
            (outcome, None if isnan(seconds) else round(seconds, 3))
            for outcome, seconds in zip(self.outcomes, self.durations, strict=True)
        ]


def followed(
    before: Recent | None, outcome: Outcome, at: float, duration_s: float | None
) -> Recent:
    """What is kept after one more run."""
    outcomes = () if before is None else before.outcomes[1 - KEPT :]
    durations = array("f") if before is None else before.durations[1 - KEPT :]
    durations.append(nan if duration_s is None else duration_s)
    return Recent(at, _one((*outcomes, outcome)), durations)


def fields_of(recent: Recent) -> list[object]:
    """As a JSON value."""
    return [recent.at, *recent.pairs()]


def recent_of(fields: Sequence[Any]) -> Recent:
    """What `fields_of` gave. Raises IndexError, TypeError or ValueError for anything else."""
    at, pairs = fields[0], fields[1:]
    durations = array("f", [nan if seconds is None else seconds for _, seconds in pairs])
    return Recent(float(at), _one(tuple(Outcome(outcome) for outcome, _ in pairs)), durations)


@lru_cache(maxsize=1024)
def _one(outcomes: tuple[Outcome, ...]) -> tuple[Outcome, ...]:
    """The first of equal outcomes: nearly all jobs go on ending as they have always ended."""
    return outcomes
