"""What the times of a crontab mean to Debian's cron, as crontab(5) and its source have it.

A second opinion beside `stsd.cron`, so it shares no code with that room, nor with `triggers` and
`wallclock`: it plays cron's loop, minute by minute of the wall clock, through the changes of the
clock. It must never be mended to agree with stsd.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from stsd.errors import ScheduleError

REBOOT = "@reboot"
NICKNAMES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_MINUTES_A_DAY = 1440
_EPOCH = date(1970, 1, 1).toordinal()
# cron.c: what cron makes of a clock that is not one minute later, in minutes.
_LATE, _CORRECTION = 5, 180


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS),
)


@dataclass(frozen=True, slots=True)
class Times:
    """The five fields of a line.

    `both`: a day has to match both day fields, since one of them begins with a star; else either
    is enough. `wild`: minute or hour begins with a star, and so the job follows real time through
    a change of the clocks. Sunday is 0.
    """

    minutes: frozenset[int]
    hours: frozenset[int]
    month_days: frozenset[int]
    months: frozenset[int]
    week_days: frozenset[int]
    both: bool
    wild: bool

    @property
    def never(self) -> bool:
        """Whether no month has such a day: cron takes `0 0 31 2 *`, and never runs it."""
        if not self.both:
            return False
        return all(day > _LENGTHS[month - 1] for month in self.months for day in self.month_days)

    def on(self, ordinal: int) -> bool:
        """Whether the day of this proleptic Gregorian ordinal is one of them."""
        day = date.fromordinal(ordinal)
        if day.month not in self.months:
            return False
        of_month, of_week = day.day in self.month_days, ordinal % 7 in self.week_days
        return of_month and of_week if self.both else of_month or of_week


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a zone's clock: at which instant, and by how many minutes."""

    at: int
    minutes: int


def times_of(when: str) -> Times:
    """What five fields with blanks between them mean, or a nickname other than @reboot.

    Raises ScheduleError for what Debian's cron refuses, and for two things that it passes over
    without a word: a range that runs backwards, and what follows a value in its field (`5.`).
    """
    if when.startswith("@"):
        if when not in NICKNAMES:
            close = when.lower() if when.lower() in NICKNAMES else ""
            remedy = f"write {close}" if close else f"cron knows {', '.join([REBOOT, *NICKNAMES])}"
            raise ScheduleError("cron", f"{when} is no time that cron knows", remedy)
        when = NICKNAMES[when]
    texts = when.split()
    minutes, hours, month_days, months, week_days = (
        _values(text, field) for text, field in zip(texts, _FIELDS, strict=True)
    )
    starred = [text.startswith("*") for text in texts]
    return Times(
        minutes=minutes,
        hours=hours,
        month_days=month_days,
        months=months,
        week_days=frozenset(day % 7 for day in week_days),
        both=starred[2] or starred[4],
        wild=starred[0] or starred[1],
    )


def runs(times: Times, zone: ZoneInfo, begin: int, end: int) -> list[int]:
    """The instants from `begin` until before `end` at which cron starts a job, in order; one that
    it starts twice, seconds apart, is there twice. Instants are seconds since the epoch.

    cron is taken to have been up all the time, and never to be late.
    """
    begin_day_before = begin - _MINUTES_A_DAY * 60
    found: list[int] = []
    done: int | None = None  # the last minute of the wall clock of which all jobs were run
    for start, stop, offset in _stretches(zone, begin_day_before, end):
        first, last = (start + offset) // 60, (stop + offset) // 60 - 1
        if done is None:
            done = first - 1
        due, done = _played(times, done, first, last)
        found += [start + max(0, minute - first) * 60 for minute in due]
    return [instant for instant in found if begin <= instant < end]


def changes(zone: ZoneInfo, begin: int, end: int) -> list[Change]:
    """The changes of a zone's clock between two instants."""
    return [
        Change(late[0], (late[2] - early[2]) // 60)
        for early, late in pairwise(_stretches(zone, begin, end))
    ]


def _played(times: Times, done: int, first: int, last: int) -> tuple[list[int], int]:
    """What cron starts while the clock goes from `first` to `last` without a change, having done
    all until `done`: the wall times, and until where all is done then. (cron.c, main)"""
    jump = first - done
    if -_CORRECTION < jump <= 0:  # the clock went back: only what follows real time runs again
        again = list(_matches(times, first, min(done, last))) if times.wild else []
        return again + list(_matches(times, done + 1, last)), max(done, last)
    if jump > _CORRECTION or jump <= -_CORRECTION:
        return list(_matches(times, first, last)), last
    if jump > _LATE and times.wild:
        return list(_matches(times, first, last)), last
    return list(_matches(times, done + 1, last)), last


def _matches(times: Times, first: int, last: int) -> Iterator[int]:
    """The matching minutes of the wall clock from `first` to `last`."""
    of_day = sorted(hour * 60 + minute for hour in times.hours for minute in times.minutes)
    for day in range(first // _MINUTES_A_DAY, last // _MINUTES_A_DAY + 1):
        if not times.on(_EPOCH + day):
            continue
        midnight = day * _MINUTES_A_DAY
        if first <= midnight and midnight + _MINUTES_A_DAY <= last:
            yield from (midnight + each for each in of_day)
        else:
            yield from (midnight + each for each in of_day if first <= midnight + each <= last)


@lru_cache(maxsize=64)
def _stretches(zone: ZoneInfo, begin: int, end: int) -> tuple[tuple[int, int, int], ...]:
    """The spans without a change of the clock: start, end, and offset in seconds."""
    found: list[tuple[int, int, int]] = []
    start, offset = begin, _offset(zone, begin)
    at = begin
    while at < end:
        following = min(at + 3600, end)
        if _offset(zone, following) != offset:
            following = _first_with(zone, at, following, offset)
            found.append((start, following, offset))
            start, offset = following, _offset(zone, following)
        at = following
    return (*found, (start, end, offset)) if start < end else tuple(found)


def _first_with(zone: ZoneInfo, low: int, high: int, offset: int) -> int:
    """The first whole minute later than `low` that has another offset, as `high` has."""
    while high - low > 60:
        middle = low + (high - low) // 120 * 60
        if _offset(zone, middle) == offset:
            low = middle
        else:
            high = middle
    return high


def _offset(zone: ZoneInfo, instant: int) -> int:
    shown = datetime.fromtimestamp(instant, zone).replace(tzinfo=UTC, fold=0)
    return int(shown.timestamp()) - instant


def _values(text: str, field: _Field) -> frozenset[int]:
    values: set[int] = set()
    for item in text.split(","):
        values.update(_range(item, text, field))
    return frozenset(values)


def _range(item: str, text: str, field: _Field) -> Sequence[int]:
    """The values of `*`, `a`, `a-b`, `*/s` or `a-b/s`."""
    body, slash, step_text = item.partition("/")
    low_text, dash, high_text = body.partition("-")
    if body == "*":
        low, high = field.low, field.high
    elif dash:
        low, high = _number(low_text, text, field), _number(high_text, text, field)
    else:
        low = high = _number(body, text, field)
        if slash:
            remedy = f"write {low}-{field.high}/{step_text}"
            raise _refusal(text, field, "has a step without a range", remedy)
    if low > high:
        rest = f"{field.low}-{high}" if high > field.low else str(high)
        whole = field.high == 7 and high == 0  # on Sunday the week ends, too
        remedy = f"write {low}-{field.high}" if whole else f"write {low}-{field.high},{rest}"
        raise _refusal(text, field, "runs backwards, of which cron makes nothing", remedy)
    if not slash:
        return range(low, high + 1)
    if not _is_number(step_text) or int(step_text) == 0:
        raise _refusal(text, field, "has a step that is no number from 1", "such as */5")
    return range(low, high + 1, int(step_text))


def _number(word: str, text: str, field: _Field) -> int:
    if word.lower() in field.names:
        return field.names.index(word.lower()) + field.low
    if not _is_number(word) or not field.low <= int(word) <= field.high:
        names = f" or {field.names[0]}-{field.names[-1]}" if field.names else ""
        raise _refusal(text, field, "is not valid", f"{field.low}-{field.high}{names}")
    return int(word)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6


def _refusal(text: str, field: _Field, message: str, remedy: str) -> ScheduleError:
    shown = text if len(text) <= 40 else f"{text[:37]}..."
    return ScheduleError("cron", f"the {field.name} `{shown}` {message}", remedy)
