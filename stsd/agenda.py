"""Which jobs are due, and which occurrences have passed unseen.

Jobs with the same schedule share one entry on the timeline, so that the next instant is computed
once for all of them, always from the last one and never from the clock's "now".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, floor

from stsd.catchup import Passed, Unsettled, limit_of, settle
from stsd.model import CatchUp, Job
from stsd.timeline import Timeline
from stsd.triggers import Due, Schedule, schedule_for

# Behind by no more than this, an occurrence is merely late; further back it has passed while the
# machine slept, the clock was set forward, or nothing could be recorded.
LATE_S = 5.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What a job's schedule asks for now: the instants to run for, and those that are missed.
    `late` of the instants, the first ones, are being caught up with."""

    job: Job
    due: tuple[Due, ...]
    late: int
    missed: Passed | None


@dataclass(slots=True)
class _Entry:
    """The jobs of one schedule, by name; `mark` is the last instant that was popped."""

    jobs: dict[str, Job] = field(default_factory=dict)
    mark: int = 0
    next: Due | None = None


# Jobs share an entry when they have the same schedule and go on from the same instant.
_Key = tuple[Schedule, int]


class Agenda:
    """The schedules of jobs on one timeline."""

    def __init__(self) -> None:
        self._timeline: Timeline[_Key] = Timeline()
        self._entries: dict[_Key, _Entry] = {}
        self._of_job: dict[str, _Key] = {}

    def earliest(self) -> float | None:
        """The next instant at which anything is due."""
        return self._timeline.earliest()

    def schedule_of(self, job: str) -> Schedule:
        """The schedule of a job that is on the agenda."""
        return self._of_job[job][0]

    def jobs(self) -> list[Job]:
        """All jobs on the agenda."""
        return [job for entry in self._entries.values() for job in entry.jobs.values()]

    @property
    def marks(self) -> dict[str, int]:
        """The last instant that was popped, by job."""
        return {name: self._entries[at].mark for name, at in self._of_job.items()}

    def enter(self, jobs: Iterable[Job], now: float, marks: Mapping[str, int]) -> None:
        """Put these jobs, and no others, on the agenda; for none does a time that has passed count.

        `marks` are instants, by job, up to which all is settled: after a small step back of the
        clock they lie ahead, and occurrences must not come again. Every next instant is computed
        anew, since the time-zone data may have changed.
        """
        self._entries, self._timeline, self._of_job = {}, Timeline(), {}
        for job in jobs:
            mark = max(floor(now), marks.get(job.name, floor(now)))
            key = (schedule_for(job.when, job.name), mark)
            self._entries.setdefault(key, _Entry(mark=mark)).jobs[job.name] = job
            self._of_job[job.name] = key
        for key, entry in self._entries.items():
            self._plan(key, entry)

    def rewind(self, now: float) -> None:
        """The clock was set back for good: plan everything from `now` on."""
        for key, entry in self._entries.items():
            entry.mark = floor(now)
            self._plan(key, entry)

    def pop_due(self, now: float) -> list[Demand]:
        """What has fallen due up to `now`, the earliest first; the agenda moves on past it."""
        demands: list[Demand] = []
        while (key := self._timeline.pop_due(now)) is not None:
            entry = self._entries[key]
            demands += _advance(key[0], entry, now)
            self._plan(key, entry)
        return demands

    def _plan(self, key: _Key, entry: _Entry) -> None:
        entry.next = key[0].next_after(entry.mark)
        if entry.next is None:
            self._timeline.drop(key)
        else:
            self._timeline.set(key, entry.next.at)


def _advance(schedule: Schedule, entry: _Entry, now: float) -> list[Demand]:
    """Move the mark up to `now`; what is merely late is run, what has passed is caught up with."""
    begun, stale = entry.mark, None
    if entry.next is not None and entry.next.at < now - LATE_S:
        stale = schedule.last(begun, ceil(now - LATE_S) - 1)
    if stale is not None:
        entry.mark = stale.at
    fresh: list[Due] = []
    due = schedule.next_after(entry.mark) if stale else entry.next
    while due is not None and due.at <= now:
        fresh.append(due)
        entry.mark = due.at
        due = schedule.next_after(due.at)
    jobs = entry.jobs.values()
    if stale is None:
        return [Demand(job, tuple(fresh), 0, None) for job in jobs]
    passed = Unsettled((), begun, stale.at)
    return [_caught_up(job, schedule, passed, fresh, now) for job in jobs]


def _caught_up(
    job: Job, schedule: Schedule, passed: Unsettled, fresh: list[Due], now: float
) -> Demand:
    overtaken = bool(fresh) and job.catch_up is CatchUp.LATEST
    limit = 0 if overtaken else limit_of(job)
    run, missed = settle(schedule, passed, limit, now - job.catch_up_window)
    return Demand(job, (*run, *fresh), len(run), missed)
