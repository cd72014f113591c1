"""The words of an audit, as frozen values: marks, discrepancies, tallies, and the books."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What can be wrong with the books."""

    LOST = "lost"
    TWICE = "twice"
    SURPLUS = "surplus"
    MISCOUNTED = "miscounted"
    UNFINISHED = "unfinished"
    GAP = "gap in attempts"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One fault of the books: `count` occurrences or records from the instant `first` to `last`;
    `run` is the id of the run whose attempts are at fault."""

    job: str
    kind: Kind
    first: int
    last: int
    count: int
    details: str
    run: str | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """What the state says of a job: by the schedule in force later than `since`, every demanded
    instant up to and including `upto` is accounted for."""

    since: int
    upto: int


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of all jobs on the daemon's agenda, as they stood at the instant `at`."""

    at: float
    jobs: Mapping[str, Mark]

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Marks:
        """Those of the daemon's state, a JSON object. Raises KeyError, TypeError or ValueError for
        anything else."""
        jobs = state["jobs"].items() if isinstance(state["jobs"], dict) else ()
        marks = {name: Mark(int(book["since"]), int(book["mark"])) for name, book in jobs}
        return cls(datetime.fromisoformat(state["at"]).timestamp(), marks)


@dataclass(frozen=True, slots=True)
class Tally:
    """The occurrences of one job, or of several, later than `since`. Those `demanded` are `run`,
    `skipped`, `missed`, `pending` or lost; `running` counts attempts, by whatever trigger."""

    since: int
    demanded: int = 0
    run: int = 0
    skipped: int = 0
    missed: int = 0
    pending: int = 0
    running: int = 0
    discrepancies: int = 0


@dataclass(frozen=True, slots=True)
class Books:
    """The outcome of an audit: tallies by job name; the discrepancies by time, then by job."""

    jobs: Mapping[str, Tally]
    discrepancies: tuple[Discrepancy, ...] = ()

    @property
    def balanced(self) -> bool:
        """Whether there is nothing to complain of."""
        return not self.discrepancies

    def total(self) -> Tally:
        """All jobs together, since the first of their beginnings. Raises ValueError without any."""
        tallies = self.jobs.values()
        return Tally(
            since=min(tally.since for tally in tallies),
            demanded=sum(tally.demanded for tally in tallies),
            run=sum(tally.run for tally in tallies),
            skipped=sum(tally.skipped for tally in tallies),
            missed=sum(tally.missed for tally in tallies),
            pending=sum(tally.pending for tally in tallies),
            running=sum(tally.running for tally in tallies),
            discrepancies=sum(tally.discrepancies for tally in tallies),
        )
