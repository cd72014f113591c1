"""Which jobs are due, and which occurrences have passed unseen.

Jobs with the same schedule share one entry on the timeline, so that the next instant is computed
once for all of them, always from the last one and never from the clock's "now".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil, floor

from stsd.model import Job
from stsd.timeline import Timeline
from stsd.triggers import Due, Schedule, schedule_for

# Behind by no more than this, an occurrence is merely late; further back it has passed while the
# machine slept or the clock was set forward.
LATE_S = 5.0
# How far back the latest of the passed occurrences may lie to be caught up with.
CATCH_UP_WINDOW_S = 3600.0


@dataclass(frozen=True, slots=True)
class Passed:
    """`count` occurrences from `first` to `last` that are not to be run."""

    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class Demand:
    """What a job's schedule asks for now: the instants to run for, and those that are missed."""

    job: Job
    due: tuple[Due, ...]
    missed: Passed | None


@dataclass(slots=True)
class _Entry:
    """The jobs of one schedule, by name; `mark` is the last instant that was accounted for."""

    jobs: dict[str, Job] = field(default_factory=dict)
    mark: int = 0
    next: Due | None = None


class Agenda:
    """The schedules of all jobs on one timeline."""

    def __init__(self) -> None:
        self._timeline: Timeline[Schedule, float] = Timeline()
        self._entries: dict[Schedule, _Entry] = {}

    def earliest(self) -> float | None:
        """The next instant at which anything is due."""
        return self._timeline.earliest()

    def next_of(self, job: Job) -> Due | None:
        """The job's next occurrence."""
        entry = self._entries.get(schedule_for(job.when, job.name))
        return entry.next if entry and job.name in entry.jobs else None

    def enter(self, jobs: Iterable[Job], now: float) -> None:
        """Put these jobs, and no others, on the agenda; for none does a time that has passed count.

        A schedule that was on it before keeps its mark: after a small step back of the clock its
        occurrences do not come again. Every next instant is computed anew, since the time-zone
        data may have changed.
        """
        before = self._entries
        self._entries, self._timeline = {}, Timeline()
        for job in jobs:
            self._entries.setdefault(schedule_for(job.when, job.name), _Entry()).jobs[job.name] = (
                job
            )
        for schedule, entry in self._entries.items():
            known = before.get(schedule)
            kept = known is not None and not known.jobs.keys().isdisjoint(entry.jobs)
            entry.mark = max(floor(now), known.mark if known and kept else floor(now))
            self._plan(schedule, entry)

    def rewind(self, now: float) -> None:
        """The clock was set back for good: plan everything from `now` on."""
        for schedule, entry in self._entries.items():
            entry.mark = floor(now)
            self._plan(schedule, entry)

    def pop_due(self, now: float) -> list[Demand]:
        """What has fallen due up to `now`, the earliest first; the agenda moves on past it."""
        demands = []
        while (schedule := self._timeline.pop_due(now)) is not None:
            entry = self._entries[schedule]
            due, missed = self._advance(schedule, entry, now)
            self._plan(schedule, entry)
            demands += [Demand(job, due, missed) for job in entry.jobs.values()]
        return demands

    def _plan(self, schedule: Schedule, entry: _Entry) -> None:
        entry.next = schedule.next_after(entry.mark)
        if entry.next is None:
            self._timeline.drop(schedule)
        else:
            self._timeline.set(schedule, entry.next.at)

    def _advance(
        self, schedule: Schedule, entry: _Entry, now: float
    ) -> tuple[tuple[Due, ...], Passed | None]:
        """Move the mark up to `now`; only the latest of what passed unseen is caught up with."""
        begun = entry.mark
        stale = schedule.last(begun, ceil(now - LATE_S) - 1)
        if stale is not None:
            entry.mark = stale.at
        fresh: list[Due] = []
        while (due := schedule.next_after(entry.mark)) is not None and due.at <= now:
            fresh.append(due)
            entry.mark = due.at
        if stale is None:
            return tuple(fresh), None
        if not fresh and stale.at >= now - CATCH_UP_WINDOW_S:
            return (stale,), _passed(schedule, begun, stale.at - 1)
        return tuple(fresh), _passed(schedule, begun, stale.at)


def _passed(schedule: Schedule, after: int, until: int) -> Passed | None:
    """The occurrences later than `after` and not later than `until`."""
    first, last = schedule.next_after(after), schedule.last(after, until)
    if first is None or last is None:
        return None
    return Passed(first.at, last.at, schedule.count(after, until))
