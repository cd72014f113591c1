"""What a valid jobfile will do that its author may not expect: times that a change of the clocks
moves, drops or doubles, and schedules that work against themselves.

It is told the time, and only warns; nothing here makes a jobfile invalid.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time, timedelta
from itertools import islice, pairwise

from stsd.calendar import OneDay
from stsd.forecast import ClockChange, Effect, clock_changes
from stsd.model import (
    CatchUp,
    Fold,
    Gap,
    Job,
    Overlap,
    TriggerKind,
    When,
)
from stsd.settings import Jobfile
from stsd.triggers import OnTheClock, Schedule, schedule_for
from stsd.units import format_duration, time_of_day
from stsd.wallclock import local

TWO_YEARS = 2 * 366 * 86400
# A service manager's pause (RestartSec=2s in our unit), a stop that waits for nothing, and a start.
RESTART_S = 10.0
_LOOKED_AT = 20
_STEPS = 60
_REMEDIES = {
    Effect.MOVED: 'dst = { gap = "skip" } leaves it out',
    Effect.DROPPED: "choose times that the clock does not skip",
    Effect.DOUBLED: "choose times that the clock does not repeat",
}


@dataclass(frozen=True, slots=True)
class Warned:
    """What is to be said of a key of a job."""

    job: str
    key: str
    message: str
    remedy: str


class Outlook:
    """The look ahead from one instant; jobs that share a schedule share its cost."""

    def __init__(self, now: int) -> None:
        self._now = now
        self._over: dict[Schedule, bool] = {}
        self._changes: dict[Schedule, list[ClockChange]] = {}
        self._gaps: dict[Schedule, int | None] = {}
        self._pauses: dict[tuple[Schedule, float], int | None] = {}

    def of(self, jobfile: Jobfile) -> Iterator[Warned]:
        """What there is to warn of, in the order of the jobs; of jobs that are enabled."""
        for job in jobfile.jobs.values():
            if job.enabled and (job.when.cron or job.when.at or job.when.every):
                schedule = schedule_for(job.when, job.name)
                if self._is_over(schedule):
                    yield _over(job)
                    continue
                yield from self._passed(job, schedule)
                yield from self._clock_changes(job, schedule)
                yield from self._pile_up(job, schedule)
                yield from _too_narrow(job)
                yield from self._seldom(job, schedule)
                yield from self._too_late(job, schedule)

    def _is_over(self, schedule: Schedule) -> bool:
        """Whether none of its times is still to come."""
        if schedule not in self._over:
            self._over[schedule] = schedule.next_after(self._now) is None
        return self._over[schedule]

    def _passed(self, job: Job, schedule: Schedule) -> Iterator[Warned]:
        """Single days that are over, beside times that are still to come."""
        for part in schedule.parts:
            if not isinstance(part, OnTheClock) or not isinstance(part.times.days, OneDay):
                continue
            if part.next_after(self._now - schedule.splay) is None:
                day = date(1970, 1, 1) + timedelta(days=part.times.days.day)
                yield Warned(job.name, part.kind, f"{day} has passed", "take it out")

    def _clock_changes(self, job: Job, schedule: Schedule) -> Iterator[Warned]:
        """The changes of the next two years, one warning for each effect on a time of day."""
        if schedule not in self._changes:
            until = self._now + TWO_YEARS
            self._changes[schedule] = clock_changes(schedule, job.name, self._now, until)
        alike: dict[tuple[TriggerKind, Effect, time], list[ClockChange]] = {}
        for change in self._changes[schedule]:
            alike.setdefault((change.kind, change.effect, change.asked.time()), []).append(change)
        for (kind, _, _), changes in alike.items():
            days = list(dict.fromkeys(f"{each.asked:%Y-%m-%d}" for each in changes))
            later = f"; likewise on {', '.join(days[1:])}" if days[1:] else ""
            yield Warned(job.name, kind, f"{changes[0]}{later}", _remedy(changes[0], job.when))

    def _pile_up(self, job: Job, schedule: Schedule) -> Iterator[Warned]:
        """A queue that grows while each run takes as long as it may."""
        if job.overlap is not Overlap.QUEUE or job.timeout is None:
            return
        if schedule not in self._gaps:
            self._gaps[schedule] = _shortest_gap(schedule, self._now)
        gap = self._gaps[schedule]
        if gap is not None and gap < job.timeout:
            often, long = format_duration(gap), format_duration(job.timeout)
            message = f'runs pile up: due after {often}, each may take {long}, overlap is "queue"'
            yield Warned(job.name, "timeout", message, 'a shorter timeout, or overlap = "skip"')

    def _seldom(self, job: Job, schedule: Schedule) -> Iterator[Warned]:
        """A `max_age` that the schedule itself exceeds."""
        if job.max_age is None or job.when.after:
            return
        slot = (schedule, job.max_age)
        if slot not in self._pauses:
            self._pauses[slot] = _pause_of(schedule, job.max_age, self._now)
        pause = self._pauses[slot]
        if pause is not None:
            often, age = format_duration(pause), format_duration(job.max_age)
            message = f"it is due only after {often} at times: {age} pass without a success"
            yield Warned(job.name, "max_age", message, "let it be longer than that and a run")

    def _too_late(self, job: Job, schedule: Schedule) -> Iterator[Warned]:
        """A `deadline` at the very time at which the job is due."""
        if job.deadline is None or job.when.after:
            return
        instants = islice(_coming(schedule, self._now), _LOOKED_AT)
        if all(_second_of_day(at, job.when.timezone) == job.deadline for at in instants):
            time_then = time_of_day(job.deadline)
            message = f"it is due at {time_then}, and so never succeeds by then"
            yield Warned(job.name, "deadline", message, "leave it the time that it takes")


def _too_narrow(job: Job) -> Iterator[Warned]:
    """A window in which nothing is caught up with, however short the way down."""
    if job.catch_up is not CatchUp.NONE and job.catch_up_window < RESTART_S:
        short, long = format_duration(job.catch_up_window), format_duration(RESTART_S)
        message = f"{short} is less than a restart may take ({long}): nothing is caught up with"
        yield Warned(job.name, "catch_up_window", message, 'a longer one, or catch_up = "none"')


def _remedy(change: ClockChange, when: When) -> str:
    if change.effect is Effect.DROPPED and not change.wildcard and when.gap is Gap.SKIP:
        return 'dst = { gap = "after" } runs it after the gap'
    if change.effect is Effect.DOUBLED and not change.wildcard and when.fold is Fold.BOTH:
        return 'dst = { fold = "first" } runs it once'
    return _REMEDIES[change.effect]


def _shortest_gap(schedule: Schedule, now: int) -> int | None:
    """The least time between two of the coming occurrences, in seconds."""
    instants = islice(_coming(schedule, now), _LOOKED_AT)
    return min((later - earlier for earlier, later in pairwise(instants)), default=None)


def _coming(schedule: Schedule, now: int) -> Iterator[int]:
    """The instants of the coming occurrences."""
    due = schedule.next_after(now)
    while due is not None:
        yield due.at
        due = schedule.next_after(due.at)


def _pause_of(schedule: Schedule, age: float, now: int) -> int | None:
    """A time between two coming occurrences, in seconds, that is no shorter than `age`; found by
    steps of half that age or more, so that a schedule of every second costs no more than others.
    """
    due = schedule.next_after(now)
    for _ in range(_STEPS):
        following = schedule.next_after(due.at) if due is not None else None
        if due is None or following is None:
            return None
        if following.at - due.at >= age:
            return following.at - due.at
        until = due.at + int(age)
        later = schedule.next_after(due.at + int(age) // 2)
        is_within = later is not None and later.at <= until
        due = later if is_within else schedule.last(due.at, until)
    return None


def _second_of_day(instant: int, zone: str) -> int:
    moment = local(instant, zone)
    return moment.hour * 3600 + moment.minute * 60 + moment.second


def _over(job: Job) -> Warned:
    key = "end" if job.when.end else "cron" if job.when.cron else "at"
    return Warned(job.name, key, "all its times have passed: it never runs again", "take it out")
