"""Which days a rule names, and which wall times of those days: the calendar, without a zone.

Days are counted from 1970-01-01, wall times in seconds from its midnight. Whether a rule names
any day at all is read off the shapes that a month can have; nothing here searches for years.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from datetime import date

_EPOCH = date(1970, 1, 1).toordinal()
_FIRST_DAY = date(1, 1, 1).toordinal() - _EPOCH
_LAST_DAY = date(9999, 12, 30).toordinal() - _EPOCH
LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
EVERY_MONTH = tuple(range(1, 13))


def day_number(day: date) -> int:
    """Days from 1970-01-01 to `day`."""
    return day.toordinal() - _EPOCH


@dataclass(frozen=True, slots=True)
class MonthDays:
    """A day-of-month field: `numbers`; `before_last` counts back from the last day (0 is `L`);
    `nearest` are the days whose nearest weekday is meant (`15W`); `last_weekday` is `LW`."""

    numbers: tuple[int, ...] = ()
    before_last: tuple[int, ...] = ()
    nearest: tuple[int, ...] = ()
    last_weekday: bool = False

    @property
    def plain(self) -> bool:
        """Only numbers."""
        return not (self.before_last or self.nearest or self.last_weekday)

    def days(self, length: int, first: int) -> frozenset[int]:
        """The days named in a month of `length` days whose first is weekday `first` (Sunday 0)."""
        days = {day for day in self.numbers if day <= length}
        days.update(length - back for back in self.before_last if back < length)
        days.update(_nearest_weekday(day, length, first) for day in self.nearest if day <= length)
        if self.last_weekday:
            days.add(_nearest_weekday(length, length, first))
        return frozenset(days)


@dataclass(frozen=True, slots=True)
class WeekDays:
    """A day-of-week field, Sunday 0: `numbers`; `nth` pairs a weekday with its number in the
    month (`mon#1`); `last` are weekdays of which the month's last is meant (`5L`)."""

    numbers: tuple[int, ...] = ()
    nth: tuple[tuple[int, int], ...] = ()
    last: tuple[int, ...] = ()

    @property
    def plain(self) -> bool:
        """Only numbers."""
        return not (self.nth or self.last)

    def days(self, length: int, first: int) -> frozenset[int]:
        """The days named in a month of `length` days whose first is weekday `first` (Sunday 0)."""
        named = set()
        for day in range(1, length + 1):
            weekday = (first + day - 1) % 7
            if (
                weekday in self.numbers
                or (weekday, (day + 6) // 7) in self.nth
                or (weekday in self.last and day + 7 > length)
            ):
                named.add(day)
        return frozenset(named)


@dataclass(frozen=True, slots=True)
class DayRule:
    """The three day fields of a cron expression; None stands for any day.

    `both` tells whether a day must match both day fields or either. `_shapes` remembers the days
    of each shape of a month, of which there are 28: four lengths, seven weekdays to begin with.
    """

    months: tuple[int, ...] = EVERY_MONTH
    month_days: MonthDays | None = None
    week_days: WeekDays | None = None
    both: bool = True
    _shapes: dict[tuple[int, int], tuple[int, ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def next_from(self, day: int) -> int | None:
        """The first day named that is `day` or later; None past the end of the calendar."""
        if not _FIRST_DAY <= day <= _LAST_DAY:
            return self.next_from(_FIRST_DAY) if day < _FIRST_DAY else None
        if self._any_day:
            return day
        start = date.fromordinal(day + _EPOCH)
        year, month, earliest = start.year, start.month, start.day
        while year <= 9999:
            if month in self.months:
                begin = date(year, month, 1)
                days = self._days_of(begin)
                index = bisect_left(days, earliest)
                if index < len(days):
                    found = begin.toordinal() - _EPOCH + days[index] - 1
                    return found if found <= _LAST_DAY else None
            earliest = 1
            month += 1
            if month > 12:
                year, month = year + 1, 1
        return None

    def count(self, first: int, end: int) -> int:
        """How many days it names from `first` on, before `end`."""
        if self._any_day:
            return max(0, end - first)
        total = 0
        day = self.next_from(first)
        while day is not None and day < end:
            total += 1
            day = self.next_from(day + 1)
        return total

    @property
    def _any_day(self) -> bool:
        return self.month_days is None and self.week_days is None and self.months is EVERY_MONTH

    def ever(self) -> bool:
        """Whether there is such a day: within 400 years, each month of each length it can have
        begins on each weekday."""
        if self._names_a_common_day():
            return True
        lengths = {LONGEST[month - 1] for month in self.months}
        if 2 in self.months:
            lengths.add(28)
        return any(self._shape(length, first) for length in sorted(lengths) for first in range(7))

    def _names_a_common_day(self) -> bool:
        """Whether it is plain at a glance that the rule fires; spares most rules the question."""
        if self.month_days is None or (self.week_days is not None and not self.both):
            return self.week_days is None or bool(self.week_days.numbers or self.week_days.last)
        numbers = self.month_days.numbers
        return bool(numbers) and numbers[0] <= 28 and self.week_days is None

    def _days_of(self, begin: date) -> tuple[int, ...]:
        following = begin.month % 12 + 1
        if following == 3:
            length = 29 if _is_leap(begin.year) else 28
        else:
            length = LONGEST[begin.month - 1]
        return self._shape(length, begin.isoweekday() % 7)

    def _shape(self, length: int, first: int) -> tuple[int, ...]:
        days = self._shapes.get((length, first))
        if days is None:
            days = self._shapes[length, first] = self._find(length, first)
        return days

    def _find(self, length: int, first: int) -> tuple[int, ...]:
        if self.month_days is not None and self.week_days is not None:
            by_month = self.month_days.days(length, first)
            by_week = self.week_days.days(length, first)
            return tuple(sorted(by_month & by_week if self.both else by_month | by_week))
        side = self.month_days or self.week_days
        if side is None:
            return tuple(range(1, length + 1))
        return tuple(sorted(side.days(length, first)))


@dataclass(frozen=True, slots=True)
class OneDay:
    """A rule that names a single day."""

    day: int

    def next_from(self, day: int) -> int | None:
        """The day, unless it is before `day`."""
        return self.day if day <= self.day else None

    def count(self, first: int, end: int) -> int:
        """One, if the day is among those from `first` on, before `end`."""
        return int(first <= self.day < end)


@dataclass(frozen=True, slots=True)
class WallTimes:
    """Wall times: on the days of `days`, in each of `minutes` (of the day), at each of `seconds`
    (of the minute); both sorted and not empty."""

    minutes: tuple[int, ...]
    seconds: tuple[int, ...]
    days: DayRule | OneDay
    _hash: int = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.minutes, self.seconds, self.days)))

    def __hash__(self) -> int:
        return self._hash

    def next_from(self, wall: int) -> int | None:
        """The first of them that is `wall` or later; None past the last."""
        day, second_of_day = divmod(wall, 86400)
        found = self.days.next_from(day)
        if found == day:
            minute, second = divmod(second_of_day, 60)
            index = bisect_left(self.minutes, minute)
            if index < len(self.minutes) and self.minutes[index] == minute:
                if second <= self.seconds[-1]:
                    second = self.seconds[bisect_left(self.seconds, second)]
                    return wall - second_of_day + minute * 60 + second
                index += 1
            if index < len(self.minutes):
                return wall - second_of_day + self.minutes[index] * 60 + self.seconds[0]
            found = self.days.next_from(day + 1)
        if found is None:
            return None
        return found * 86400 + self.minutes[0] * 60 + self.seconds[0]

    def count(self, low: int, high: int) -> int:
        """How many of them are `low` or later and before `high`."""
        first, after_first = divmod(low, 86400)
        last, after_last = divmod(high, 86400)
        total = self.days.count(first, last) * len(self.minutes) * len(self.seconds)
        if self.days.next_from(first) == first:
            total -= self._before(after_first)
        if self.days.next_from(last) == last:
            total += self._before(after_last)
        return total

    def _before(self, second_of_day: int) -> int:
        """How many there are in a day before a second of it."""
        minute, second = divmod(second_of_day, 60)
        index = bisect_left(self.minutes, minute)
        before = index * len(self.seconds)
        if index < len(self.minutes) and self.minutes[index] == minute:
            before += bisect_left(self.seconds, second)
        return before


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _nearest_weekday(day: int, length: int, first: int) -> int:
    """The Monday to Friday nearest to a day, within its month."""
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day
