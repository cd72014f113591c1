"""Which jobs are due, and which occurrences have passed unseen.

Jobs with the same schedule share one entry on the timeline, so that the next instant is computed
once for all of them, always from the last one and never from the clock's "now".
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Set
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


@dataclass(slots=True, eq=False)
class _Entry:
    """Jobs that have the same schedule and went on from the same instant when they were entered;
    `mark` is the last one that was popped."""

    schedule: Schedule
    mark: int
    jobs: list[Job] = field(default_factory=list)
    next: Due | None = None


class Agenda:
    """The schedules of jobs on one timeline. Jobs that were entered together share entries."""

    def __init__(self) -> None:
        self._timeline: Timeline[_Entry] = Timeline()
        self._entries: dict[_Entry, None] = {}

    def earliest(self) -> float | None:
        """The next instant at which anything is due."""
        return self._timeline.earliest()

    def jobs(self) -> list[Job]:
        """All jobs on the agenda."""
        return [job for entry in self._entries for job in entry.jobs]

    def settled(self) -> Iterator[tuple[Job, Schedule, int]]:
        """Each job with its schedule and the last instant that was popped."""
        for entry in self._entries:
            for job in entry.jobs:
                yield job, entry.schedule, entry.mark

    def leave(self, names: Container[str], zones: Set[str]) -> dict[str, int]:
        """Take off the jobs of these names, and those whose schedules have to do with these zones;
        returns the last instant that was popped, by job."""
        marks: dict[str, int] = {}
        for entry in list(self._entries):
            if zones and entry.schedule.zones & zones:
                gone = entry.jobs
            else:
                gone = [job for job in entry.jobs if job.name in names]
            if not gone:
                continue
            marks |= {job.name: entry.mark for job in gone}
            entry.jobs = [job for job in entry.jobs if job.name not in marks]
            if not entry.jobs:
                del self._entries[entry]
                self._timeline.drop(entry)
        return marks

    def enter(self, jobs: Iterable[Job], now: float, marks: Mapping[str, int]) -> None:
        """Put these jobs on the agenda, too; for none does a time that has passed count.

        `marks` are instants, by job, up to which all is settled: after a small step back of the
        clock they lie ahead, and occurrences must not come again.
        """
        begin = floor(now)  # one number, and not one for each of many jobs
        entries: dict[tuple[Schedule, int], _Entry] = {}
        for job in jobs:
            key = (schedule_for(job.when, job.name), max(begin, marks.get(job.name, begin)))
            if key not in entries:
                entries[key] = _Entry(*key)
            entries[key].jobs.append(job)
        for entry in entries.values():
            self._entries[entry] = None
            self._plan(entry)

    def rewind(self, now: float) -> None:
        """The clock was set back for good: plan everything from `now` on."""
        for entry in self._entries:
            entry.mark = floor(now)
            self._plan(entry)

    def pop_due(self, now: float) -> list[Demand]:
        """What has fallen due up to `now`, the earliest first; the agenda moves on past it."""
        demands: list[Demand] = []
        while (entry := self._timeline.pop_due(now)) is not None:
            demands += _advance(entry, now)
            self._plan(entry)
        return demands

    def _plan(self, entry: _Entry) -> None:
        entry.next = entry.schedule.next_after(entry.mark)
        if entry.next is None:
            self._timeline.drop(entry)
        else:
            self._timeline.set(entry, entry.next.at)


def _advance(entry: _Entry, now: float) -> list[Demand]:
    """Move the mark up to `now`; what is merely late is run, what has passed is caught up with."""
    schedule, begun, stale = entry.schedule, entry.mark, None
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
    if stale is None:
        return [Demand(job, tuple(fresh), 0, None) for job in entry.jobs]
    passed = Unsettled((), begun, stale.at)
    return [_caught_up(job, schedule, passed, fresh, now) for job in entry.jobs]


def _caught_up(
    job: Job, schedule: Schedule, passed: Unsettled, fresh: list[Due], now: float
) -> Demand:
    overtaken = bool(fresh) and job.catch_up is CatchUp.LATEST
    limit = 0 if overtaken else limit_of(job)
    run, missed = settle(schedule, passed, limit, now - job.catch_up_window)
    return Demand(job, (*run, *fresh), len(run), missed)
