"""Triggers: what makes a job due, behind one method, `next_after`.

A pure function of the schedule and an instant: nothing here reads a clock or rolls dice, and a
question is answered the same whenever it is asked.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from typing import Protocol

from stsd import at, cron
from stsd.calendar import OneDay, WallTimes
from stsd.dayfilter import DayFilter
from stsd.errors import ScheduleError, UnitError
from stsd.model import Fold, Gap, TriggerKind, When
from stsd.units import parse_duration
from stsd.wallclock import CORRECTION, DAY, FIRST_INSTANT, LAST_INSTANT, Clock, Stretch, clock

_LONGEST_SHIFT = 2 * DAY


class Trigger(Protocol):
    """Whatever can name its next instant. Instants are seconds since the epoch, in UTC."""

    def next_after(self, instant: int) -> int | None:
        """The first instant at which it fires that is strictly later; None: never again."""


class ShiftKind(StrEnum):
    """What a change of the clock did to an occurrence."""

    MOVED = "moved"
    # The linter takes what has "pass" in its name for a password.
    FIRST_PASS = "first_pass"  # noqa: S105
    SECOND_PASS = "second_pass"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Shift:
    """An occurrence that a gap has moved, or that stands in a fold.

    `asked` is the (first) wall time that the schedule asks for, `fires` the one at which it
    fires; both in the job's zone, `asked` one that does not exist if the occurrence was moved.
    """

    kind: ShiftKind
    asked: datetime
    fires: datetime

    def __str__(self) -> str:
        asked, fires = _time_of_day(self.asked), _time_of_day(self.fires)
        if self.kind is ShiftKind.MOVED:
            return f"{asked} does not exist, moved to {fires}"
        which = "first" if self.kind is ShiftKind.FIRST_PASS else "second"
        return f"{asked} happens twice, {which} pass"


@dataclass(frozen=True, slots=True)
class Due:
    """A job falls due: at which instant, and by which kind of trigger."""

    at: int
    kind: TriggerKind


@dataclass(frozen=True, slots=True)
class Every:
    """A grid of `period` seconds through `anchor`; it knows no daylight saving."""

    period: int
    anchor: int = 0

    @property
    def kind(self) -> TriggerKind:
        """The name under which its runs are recorded."""
        return TriggerKind.EVERY

    def next_after(self, instant: int) -> int | None:
        """The next point of the grid."""
        following = instant + self.period - (instant - self.anchor) % self.period
        return following if following <= LAST_INSTANT else None

    def count(self, after: int, until: int) -> int:
        """How many points of the grid are later than `after` and not later than `until`."""
        until = min(until, LAST_INSTANT)
        return max(0, (until - self.anchor) // self.period - (after - self.anchor) // self.period)

    def explain(self, instant: int) -> Shift | None:
        """Elapsed time is never moved."""


@dataclass(frozen=True, slots=True)
class OnTheClock:
    """Wall times on a zone's clock, by cron or by `at`.

    A wildcard job fires at every instant whose wall time matches. Any other, after a shift of at
    most three hours, makes up for the skipped times at the first instant after the gap (unless
    `gap` says otherwise), and fires at the first pass of the repeated ones (unless `fold` does).
    """

    kind: TriggerKind
    times: WallTimes
    clock: Clock
    wildcard: bool = False
    gap: Gap = Gap.AFTER
    fold: Fold = Fold.FIRST

    def next_after(self, instant: int) -> int | None:
        """The first matching instant that is strictly later."""
        moment = max(instant + 1, FIRST_INSTANT)
        horizon = moment + _LONGEST_SHIFT
        while moment <= LAST_INSTANT:
            stretch = self.clock.stretch(moment)
            if stretch.begin == moment and self.skipped(stretch) is not None:
                return moment
            wall = self._first_wall(stretch, moment)
            found = self.times.next_from(wall)
            if found is not None and found - stretch.offset < stretch.end:
                following = found - stretch.offset
                return following if following <= LAST_INSTANT else None
            moment = stretch.end
            if found is None:
                if moment > horizon:  # too late for a fold to bring back a wall time
                    return None
            elif moment > horizon:
                moment = max(moment, found - stretch.offset - _LONGEST_SHIFT)
        return None

    def count(self, after: int, until: int) -> int:
        """How many matching instants are later than `after` and not later than `until`."""
        moment, end = max(after + 1, FIRST_INSTANT), min(until, LAST_INSTANT) + 1
        total = 0
        while moment < end:
            stretch = self.clock.stretch(moment)
            low, high = self._first_wall(stretch, moment), min(stretch.end, end) + stretch.offset
            total += self.times.count(low, high) if low < high else 0
            if stretch.begin == moment and self.skipped(stretch) is not None:
                total += self.times.next_from(low) != low
            moment = stretch.end
        return total

    def explain(self, instant: int) -> Shift | None:
        """What a change of the clock has to do with the occurrence at `instant`, if anything."""
        stretch = self.clock.stretch(instant)
        wall = instant + stretch.offset
        fires = datetime.fromtimestamp(instant, self.clock.zone)
        if instant == stretch.begin and self.times.next_from(wall) != wall:
            skipped = self.skipped(stretch)
            asked = fires if skipped is None else self.clock.aware(skipped)
            return None if skipped is None else Shift(ShiftKind.MOVED, asked, fires)
        if wall < stretch.begin + stretch.before:
            return Shift(ShiftKind.SECOND_PASS, fires, fires)
        following = self.clock.stretch(stretch.end)
        if wall >= stretch.end + following.offset:
            return Shift(ShiftKind.FIRST_PASS, fires, fires)
        return None

    def skipped(self, stretch: Stretch) -> int | None:
        """The first wall time skipped where the stretch begins that is made up for there."""
        fixed = not self.wildcard and self.gap is Gap.AFTER
        if not fixed or not 0 < stretch.shift <= CORRECTION:
            return None
        found = self.times.next_from(stretch.begin + stretch.before)
        if found is None or found >= stretch.begin + stretch.offset:
            return None
        return found

    def passes_over(self, stretch: Stretch) -> bool:
        """Whether the wall times that repeat where the stretch begins do not fire again."""
        fixed = not self.wildcard and self.fold is Fold.FIRST
        return fixed and -CORRECTION <= stretch.shift < 0

    def _first_wall(self, stretch: Stretch, moment: int) -> int:
        """The first wall time of the stretch, from `moment` on, that is not a mere repetition."""
        wall = moment + stretch.offset
        return max(wall, stretch.begin + stretch.before) if self.passes_over(stretch) else wall


Part = Every | OnTheClock


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """All that makes a job due by time: its parts, what the calendar takes away, and the splay.

    Schedules are equal when they mean the same, whatever the order in which it was written.
    `splay` is this job's own offset in seconds, added to each instant.
    """

    parts: tuple[Part, ...] = ()
    splay: int = 0
    days: DayFilter | None = None
    _hash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        meaning = (frozenset(self.parts), self.splay, self.days)
        object.__setattr__(self, "_hash", hash(meaning))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return (
            isinstance(other, Schedule)
            and self._hash == other._hash
            and (self.splay, self.days) == (other.splay, other.days)
            and (self.parts == other.parts or frozenset(self.parts) == frozenset(other.parts))
        )

    @property
    def zones(self) -> frozenset[str]:
        """The names of the zones on whose clocks it is."""
        clocks = [part.clock for part in self.parts if isinstance(part, OnTheClock)]
        clocks += [self.days.clock] if self.days is not None else []
        return frozenset(clock.name for clock in clocks)

    def next_after(self, instant: int) -> Due | None:
        """The first occurrence that is strictly later; None: never again."""
        due = self._earliest(instant - self.splay)
        if due is not None and self.days is not None:
            due = self._allowed(due, self.days)
        if due is None or not self.splay:
            return due
        return Due(due.at + self.splay, due.kind)

    def last(self, after: int, until: int) -> Due | None:
        """The last occurrence later than `after` and not later than `until`, if there is one; at
        a cost that hardly grows with the span."""
        low, high = after, until
        found = self.next_after(low)
        if found is None or found.at > until:
            return None
        while found is not None and high - low > 1:
            middle = (low + high) // 2
            due = self.next_after(middle)
            if due is None or due.at > until:
                high = middle
            else:
                low, found = due.at - 1, due
        return found

    def count(self, after: int, until: int) -> int:
        """How many occurrences are later than `after` and not later than `until`. A single
        part without exceptions is reckoned, at hardly any cost; anything else is enumerated."""
        if len(self.parts) == 1 and self.days is None:
            return self.parts[0].count(after - self.splay, until - self.splay)
        total = 0
        due = self.next_after(after)
        while due is not None and due.at <= until:
            total += 1
            due = self.next_after(due.at)
        return total

    def explain(self, at: int) -> Shift | None:
        """What a change of the clock has to do with the occurrence at `at`, if anything: it was
        moved by a gap, or its wall time comes twice."""
        instant = at - self.splay
        for part in self.parts:
            if part.next_after(instant - 1) == instant:
                return part.explain(instant)
        return None

    def _allowed(self, due: Due | None, days: DayFilter) -> Due | None:
        """The first occurrence from `due` on that falls on a day that is allowed."""
        limit = LAST_INSTANT if due is None else days.give_up_after(due.at)
        while due is not None and due.at <= limit:
            resume = days.resume(due.at)
            if resume is None or resume == due.at:
                return None if resume is None else due
            due = self._earliest(resume - 1)
        return None

    def _earliest(self, after: int) -> Due | None:
        first, kind = None, TriggerKind.EVERY
        for part in self.parts:
            instant = part.next_after(after)
            if instant is not None and (first is None or instant < first):
                first, kind = instant, part.kind
        return None if first is None else Due(first, kind)


def schedule_for(when: When, job_name: str) -> Schedule:
    """The schedule that a job's `When` means; one object for all jobs for which it is the same,
    and of those that differ in their splay alone everything but that is shared.

    Raises ScheduleError, with the jobfile key at fault, for what cannot be read and for what can
    never fire. A When that time has no part in gives a schedule without occurrences.
    """
    personal = any(cron.is_hashed(text) for text in when.cron)
    shared = _schedule(when, job_name if personal else "", clock(when.timezone))
    offset = _offset(job_name, when.splay)
    return Schedule(shared.parts, offset, shared.days) if offset else shared


def expand(when: When) -> When:
    """The same schedule without the macros that stand for other keys: `@reboot` in `cron` is
    `on_start`, `@every 5m` is `every`. Raises ScheduleError where that cannot be."""
    kept: list[str] = []
    for text in when.cron:
        words = text.split()
        macro = words[0].lower() if words and len(text) <= 100 else ""
        if macro == "@reboot" and len(words) == 1:
            when = replace(when, on_start=True)
        elif macro == "@every":
            when = replace(when, every=_one_period(when, _period(text, words)))
        else:
            kept.append(text)
    return replace(when, cron=tuple(kept)) if len(kept) < len(when.cron) else when


def _period(text: str, words: list[str]) -> int:
    remedy = "write @every 5m, in whole seconds"
    try:
        seconds = parse_duration("".join(words[1:]))
    except UnitError as error:
        raise ScheduleError("cron", f"`{text}` is not a period", remedy, 1) from error
    if seconds != int(seconds):
        raise ScheduleError("cron", f"`{text}` is not in whole seconds", remedy, 1)
    return int(seconds)


def _one_period(when: When, period: int) -> int:
    if when.every not in (None, period):
        message = f"@every beside another period of {when.every} s"
        raise ScheduleError("cron", message, "a job has one period", 1)
    return period


def _time_of_day(moment: datetime) -> str:
    return f"{moment:%H:%M:%S}" if moment.second else f"{moment:%H:%M}"


@lru_cache(maxsize=65536)
def _schedule(when: When, job_name: str, on: Clock) -> Schedule:
    """The schedule without its splay; `job_name` is what `H` stands for, else empty."""
    when = expand(when)
    _check_numbers(when)
    days = DayFilter.of(when, on)
    parts: list[Part] = [_cron_part(text, when, job_name, on) for text in when.cron]
    if when.every is not None:
        parts.append(Every(when.every, when.anchor % when.every))
    parts += [_at_part(text, when, on) for text in when.at]
    unique = tuple(dict.fromkeys(parts))
    _check_occurrence(unique, days)
    return Schedule(unique, 0, days)


def _check_numbers(when: When) -> None:
    if when.every is not None and when.every < 1:
        raise ScheduleError("every", f"{when.every} is not a period", "at least one second")
    if when.splay < 0:
        raise ScheduleError("splay", f"{when.splay} is not a span", "a positive duration")


def _cron_part(text: str, when: When, job_name: str, on: Clock) -> OnTheClock:
    expression = cron.parse(text, job_name)
    return _shared(TriggerKind.CRON, expression.times, on, expression.wildcard, when.gap, when.fold)


def _at_part(text: str, when: When, on: Clock) -> OnTheClock:
    part = _shared(TriggerKind.AT, at.parse(text), on, False, when.gap, when.fold)
    if isinstance(part.times.days, OneDay):
        start = part.times.days.day * DAY
        if part.next_after(start - _LONGEST_SHIFT) is None:
            remedy = "its clock skips that time; write another one"
            raise ScheduleError("at", f"`{text}` does not exist in {on.name}", remedy, 1)
    return part


@lru_cache(maxsize=65536)
def _shared(
    kind: TriggerKind, times: WallTimes, on: Clock, wildcard: bool, gap: Gap, fold: Fold
) -> OnTheClock:
    """One trigger for all jobs with the same expression and zone."""
    return OnTheClock(kind, times, on, wildcard, gap, fold)


def _check_occurrence(parts: tuple[Part, ...], days: DayFilter | None) -> None:
    """Each part must fire at least once within what the calendar leaves."""
    if days is None:
        return
    for part in parts:
        if Schedule((part,), 0, days).next_after(days.first_instant - 1) is None:
            remedy = "no occurrence is left by `start`, `end`, `skip_dates` and `skip_holidays`"
            raise ScheduleError(part.kind, "this never fires", remedy)


def _offset(job_name: str, splay: int) -> int:
    """A job's own offset within its splay: a hash of its name, and of nothing else."""
    if splay <= 1:
        return 0
    digest = hashlib.sha256(f"{job_name}\0splay".encode()).digest()
    return int.from_bytes(digest[:8]) % splay
