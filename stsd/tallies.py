"""What metrics tell of each job: how its runs ended, how long they took, how late they started.

Counts the records of the history, each once, in the order in which they were written. What it keeps
is bounded by the number of jobs: labels are the names of jobs and words of ours. Its state is JSON,
so that counters go on after a restart. Reads neither file nor clock.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

from stsd.model import MissReason, Outcome, SkipReason
from stsd.units import from_rfc3339

DURATIONS = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0)
LATENESSES = (0.01, 0.1, 1.0, 5.0, 30.0, 300.0, 3600.0)
"""The upper bounds of the buckets, in seconds; one more takes what is above them all."""


@dataclass(slots=True)
class Spread:
    """Seconds, counted by `bounds`: `counts` has one more than these, and each of them is of what
    was above the bound before and not above its own. `sum_s` is all of them together."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        if not self.counts:
            self.counts = [0] * (len(self.bounds) + 1)

    def add(self, seconds: float) -> None:
        """One more."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum_s = round(self.sum_s + seconds, 3)  # records tell milliseconds

    def fields(self) -> list[object]:
        """As a JSON value: the sum, and what has been counted, by its bound."""
        counted = zip((*self.bounds, inf), self.counts, strict=True)
        return [self.sum_s, {str(bound): count for bound, count in counted if count}]


@dataclass(slots=True)
class Tally:
    """What became of one job, in numbers.

    `runs` are counted by how their last attempt ended, `retries` are attempts that another one
    followed. `durations` are those of last attempts that had a process, `latenesses` those of all
    attempts, as the `late_s` of the history. Instants are seconds of the wall clock: the end of the
    last run that succeeded, and of the last run. `well` is whether the last run that nobody
    cancelled succeeded.
    """

    runs: Counter[Outcome] = field(default_factory=Counter)
    retries: int = 0
    skipped: Counter[SkipReason] = field(default_factory=Counter)
    missed: Counter[MissReason] = field(default_factory=Counter)
    durations: Spread = field(default_factory=lambda: Spread(DURATIONS))
    latenesses: Spread = field(default_factory=lambda: Spread(LATENESSES))
    last_success: float | None = None
    last_run: float | None = None
    well: bool | None = None

    def fields(self) -> dict[str, object]:
        """As a JSON value."""
        return {
            "runs": dict(self.runs),
            "retries": self.retries,
            "skipped": dict(self.skipped),
            "missed": dict(self.missed),
            "durations": self.durations.fields(),
            "latenesses": self.latenesses.fields(),
            "last_success": self.last_success,
            "last_run": self.last_run,
            "well": self.well,
        }


def tally_of(fields: Any) -> Tally:
    """What `Tally.fields` gave, after JSON. Raises KeyError, TypeError, ValueError or
    AttributeError for anything else. Seconds that were counted by other bounds begin anew."""
    return Tally(
        runs=Counter({Outcome(name): int(count) for name, count in fields["runs"].items()}),
        retries=int(fields["retries"]),
        skipped=Counter({SkipReason(name): int(n) for name, n in fields["skipped"].items()}),
        missed=Counter({MissReason(name): int(n) for name, n in fields["missed"].items()}),
        durations=_spread_of(DURATIONS, *fields["durations"]),
        latenesses=_spread_of(LATENESSES, *fields["latenesses"]),
        last_success=_float_or_none(fields["last_success"]),
        last_run=_float_or_none(fields["last_run"]),
        well=None if fields["well"] is None else bool(fields["well"]),
    )


class Tallies:
    """The tallies of all jobs, by name. `known` is what `changed` has given, of all times put
    together; `damaged` are the jobs of which that could not be read, and which count from zero."""

    def __init__(self, known: Mapping[str, object]) -> None:
        self.damaged: list[str] = []
        self._by_job: dict[str, Tally] = {}
        self._changed: set[str] = set()
        for job, fields in known.items():
            try:
                self._by_job[job] = tally_of(fields)
            except (KeyError, TypeError, ValueError, AttributeError):
                self.damaged.append(job)
                self._changed.add(job)

    def __len__(self) -> int:
        return len(self._by_job)

    def items(self) -> Iterator[tuple[str, Tally]]:
        """Each job with its tally, in the order of the alphabet."""
        return iter(sorted(self._by_job.items()))

    def take(self, record: Mapping[str, Any]) -> None:
        """Count one record of the history. Those that tell of no run are passed over, and so are
        those that have lost a field."""
        match record:
            case {"event": "started", "job": str(job), "late_s": int() | float() as late_s}:
                self._of(job).latenesses.add(max(0.0, late_s))  # the clock may have been set back
            case {"event": "finished", "job": str(job), "outcome": str(outcome)}:
                if outcome in _OUTCOMES:
                    _finish(self._of(job), Outcome(outcome), record)
            case {"event": "skipped", "job": str(job), "reason": str(reason)}:
                if reason in _SKIP_REASONS:
                    self._of(job).skipped[SkipReason(reason)] += 1
            case {"event": "missed", "job": str(job), "reason": str(reason), "count": int(count)}:
                if reason in _MISS_REASONS:
                    self._of(job).missed[MissReason(reason)] += count

    def reload(self, jobs: Collection[str]) -> None:
        """These are the jobs there are: forget all others, and tell of these from now on, also
        before their first run."""
        for job in self._by_job.keys() - set(jobs):
            del self._by_job[job]
            self._changed.add(job)
        for job in jobs:
            self._by_job.setdefault(job, Tally())

    def changed(self) -> dict[str, object]:
        """The state of each job of which anything has changed since the last call, as JSON values;
        None for those that are forgotten."""
        gone = (job for job in self._changed if job not in self._by_job)
        kept = (job for job in self._changed if job in self._by_job)
        told: dict[str, object] = dict.fromkeys(gone)
        told.update((job, self._by_job[job].fields()) for job in kept)
        self._changed.clear()
        return told

    def _of(self, job: str) -> Tally:
        self._changed.add(job)
        return self._by_job.setdefault(job, Tally())


_OUTCOMES = frozenset(Outcome)
_SKIP_REASONS = frozenset(SkipReason)
_MISS_REASONS = frozenset(MissReason)


def _finish(tally: Tally, outcome: Outcome, record: Mapping[str, Any]) -> None:
    if record.get("will_retry_at") is not None:
        tally.retries += 1
        return
    tally.runs[outcome] += 1
    took = record.get("duration_s")
    if isinstance(took, int | float):
        tally.durations.add(took)
    tally.last_run = _instant(record)
    if outcome is Outcome.CANCELLED:  # a person's wish, of which the job knows nothing
        return
    tally.well = outcome is Outcome.SUCCEEDED
    if tally.well:
        tally.last_success = tally.last_run


def _instant(record: Mapping[str, Any]) -> float | None:
    """When a record was written; None where that cannot be read."""
    try:
        return from_rfc3339(record["at"])
    except (KeyError, TypeError, ValueError):
        return None


def _spread_of(bounds: tuple[float, ...], sum_s: float, counted: Mapping[str, int]) -> Spread:
    places = {str(bound): place for place, bound in enumerate((*bounds, inf))}
    if not counted.keys() <= places.keys():
        return Spread(bounds)
    counts = [0] * len(places)
    for bound, count in counted.items():
        counts[places[bound]] = int(count)
    return Spread(bounds, counts, float(sum_s))


def _float_or_none(value: Any) -> float | None:
    return None if value is None else float(value)
