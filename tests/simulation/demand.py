"""Which occurrences a schedule demands, by plain enumeration. Shares no code with stsd.

A `Form` says a schedule in sets of numbers; the text that stsd reads is written from it.
"""

from __future__ import annotations

import calendar
import hashlib
import itertools
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from stsd.model import When

SLOT_S = 900  # no zone changes its clock but at a quarter of an hour


@dataclass(frozen=True)
class Form:
    """Either a grid (`every`), or wall times: minutes and hours of the days that match. `days_of`
    names the field that `days` are of: `week` (Sunday is 0), `month`, or none."""

    every: int = 0
    anchor: int = 0
    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days_of: str = ""
    days: frozenset[int] = frozenset()
    once: date | None = None
    wildcard: bool = False
    zone: str = "UTC"
    start: date | None = None
    end: date | None = None
    splay: int = 0


@lru_cache(maxsize=4096)
def demanded(form: Form, job: str, first: int, last: int) -> tuple[int, ...]:
    """Every instant between two days (UTC midnights) at which the job is due. `job` matters only
    where there is a splay."""
    if form.every:
        low = first + (form.anchor - first) % form.every
        found = set(range(low, last, form.every))
    else:
        found = _on_the_clock(form, first, last)
    if form.start or form.end:
        low_day, high_day = form.start or date.min, form.end or date.max
        tz = ZoneInfo(form.zone)
        found = {at for at in found if low_day <= datetime.fromtimestamp(at, tz).date() <= high_day}
    shift = 0
    if form.splay > 1:
        digest = hashlib.sha256(f"{job}\0splay".encode()).digest()
        shift = int.from_bytes(digest[:8], "big") % form.splay
    return tuple(sorted(at + shift for at in found))


def _on_the_clock(form: Form, first: int, last: int) -> set[int]:
    offsets, changes = _clock(form.zone, first, last)
    found: set[int] = set()
    walls = _walls(form, first, last)
    shifts = sorted(set(offsets), reverse=True)
    for wall in walls:
        hits = [wall - shift for shift in shifts]
        hits = [
            at for at in hits if first <= at < last and at + offsets[(at - first) // SLOT_S] == wall
        ]
        found.update(hits if form.wildcard else hits[:1])
    if not form.wildcard:
        for instant, before, after in changes:
            skipped = range(instant + before, instant + after, 60)
            if any(wall in walls for wall in skipped):
                found.add(instant)
    return found


def _walls(form: Form, first: int, last: int) -> set[int]:
    walls = set()
    day = datetime.fromtimestamp(first, UTC).date() - timedelta(days=1)
    end = datetime.fromtimestamp(last, UTC).date() + timedelta(days=1)
    if form.start and form.end:  # with a day to spare on either side, for the zone
        day = max(day, form.start - timedelta(days=2))
        end = min(end, form.end + timedelta(days=2))
    while day <= end:
        if _matches(form, day):
            midnight = calendar.timegm(day.timetuple())
            walls |= {midnight + 3600 * h + 60 * m for h in form.hours for m in form.minutes}
        day += timedelta(days=1)
    return walls


def _matches(form: Form, day: date) -> bool:
    if form.once is not None:
        return day == form.once
    if form.days_of == "week":
        return day.isoweekday() % 7 in form.days
    return day.day in form.days if form.days_of == "month" else True


@lru_cache(maxsize=64)
def _clock(zone: str, first: int, last: int) -> tuple[list[int], list[tuple[int, int, int]]]:
    """The offset of each slot, and each change: its instant, the offset before and after."""
    tz = ZoneInfo(zone)
    offsets = []
    for at in range(first, last, SLOT_S):
        shift = datetime.fromtimestamp(at, tz).utcoffset()
        assert shift is not None
        offsets.append(int(shift.total_seconds()))
    changes = [
        (first + SLOT_S * index, before, after)
        for index, (before, after) in enumerate(itertools.pairwise(offsets), 1)
        if before != after
    ]
    return offsets, changes


def between(instants: tuple[int, ...], after: int, until: int) -> tuple[int, ...]:
    """Those later than `after` and not later than `until`."""
    return instants[bisect_right(instants, after) : bisect_right(instants, until)]


def when_of(form: Form, as_at: bool) -> When:
    """The schedule as a user would write it; as `at` where that can say it."""
    base = When(timezone=form.zone, start=form.start, end=form.end, splay=form.splay)
    fields = {name: getattr(base, name) for name in ("timezone", "start", "end", "splay")}
    if form.every:
        return When(every=form.every, anchor=form.anchor, **fields)
    times = [f"{h:02}:{m:02}" for h in sorted(form.hours) for m in sorted(form.minutes)]
    if form.once is not None:
        return When(at=tuple(f"{form.once} {time}" for time in times), **fields)
    if as_at and not form.wildcard and form.days_of != "month" and len(times) < 9:
        names = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]
        days = [names[day] for day in sorted(form.days)] if form.days_of else [""]
        return When(at=tuple(f"{day} {time}".strip() for day in days for time in times), **fields)
    minute = _field(form.minutes, 60, form.wildcard)
    hour = _field(form.hours, 24, False)
    dom = ",".join(map(str, sorted(form.days))) if form.days_of == "month" else "*"
    dow = ",".join(map(str, sorted(form.days))) if form.days_of == "week" else "*"
    return When(cron=(f"{minute} {hour} {dom} * {dow}",), **fields)


def _field(values: frozenset[int], size: int, wildcard: bool) -> str:
    if wildcard:
        step = size // len(values)
        assert values == frozenset(range(0, size, step))
        return f"*/{step}" if step > 1 else "*"
    if len(values) == size:
        return f"0-{size - 1}"
    return ",".join(map(str, sorted(values)))
