"""Deadlines: the instants by which a job is to have succeeded, and which of them it has not met.

A deadline is a time of the day in the job's zone; as with `at`, one that the clock skips is the
first instant after the gap, and of one that is repeated the first pass counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from stsd.model import Job, When
from stsd.triggers import Schedule, schedule_for
from stsd.wallclock import CORRECTION, DAY

# Behind the longest span between two of them: a zone may leave out a day.
_SPAN = 3 * DAY


@dataclass(frozen=True, slots=True)
class Held:
    """What a job is held to its deadlines by: the end of its last `success`, since when it has
    been `watched` (it was not due before, or nobody cared), and up to when it has been `judged`.
    """

    success: float | None
    watched: float
    judged: float


def next_deadline(job: Job, after: float) -> int | None:
    """The first one that is strictly later; None: the job has none."""
    if job.deadline is None:
        return None
    due = _deadlines(job.deadline, job.when.timezone).next_after(floor(after))
    return None if due is None else due.at


def unmet(job: Job, held: Held, until: int) -> int | None:
    """The last deadline that has not been judged, not later than `until`, and that was not met: the
    job was due since the one before, and no success has ended since then. A job that no time makes
    due is due each day, from the first full one on. Hardly any cost grows with the span."""
    if job.deadline is None:
        return None
    deadlines = _deadlines(job.deadline, job.when.timezone)
    first = deadlines.next_after(floor(held.judged))
    if first is None or first.at > until:
        return None
    latest = deadlines.last(max(first.at, until - _SPAN), until) or first
    schedule = schedule_for(job.when, job.name)
    asked = _last_asked(schedule, deadlines, held.watched, first.at, latest.at)
    if asked is None or (held.success is not None and held.success > _before(deadlines, asked)):
        return None
    return asked


def _last_asked(
    schedule: Schedule, deadlines: Schedule, watched: float, first: int, latest: int
) -> int | None:
    """The last one, from `first` to `latest`, by which something is asked of the job."""
    begin = _before(deadlines, latest)
    if not schedule.parts:
        return latest if watched <= begin else None
    due = schedule.next_after(max(begin - 1, floor(watched)))
    if due is not None and due.at < latest:
        return latest
    earliest = max(_before(deadlines, first) - 1, floor(watched))
    earlier = schedule.last(earliest, begin - 1) if earliest < begin else None
    after = None if earlier is None else deadlines.next_after(earlier.at)
    return None if after is None else after.at


def _before(deadlines: Schedule, deadline: int) -> int:
    """The deadline before; what has no other begins a day earlier."""
    # A day may be longer by a change of the clock, but no two deadlines can be closer than this.
    near = deadlines.next_after(deadline - DAY - CORRECTION - 1)
    if near is not None and near.at < deadline:
        return near.at
    before = deadlines.last(deadline - _SPAN, deadline - 1)
    return deadline - DAY if before is None else before.at


def _deadlines(second: int, zone: str) -> Schedule:
    time = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    return schedule_for(When(at=(time,), timezone=zone), "")
