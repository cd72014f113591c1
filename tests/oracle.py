"""What a cron expression means, told by brute force. It shares no code with stsd.

Every minute of a window is enumerated in UTC, mapped to wall time with zoneinfo, and tested
for membership in each field of the text; the rule of daylight saving follows from looking at
what the wall clock shows from one minute to the next. Slow and plain on purpose.
"""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
THREE_HOURS = 180  # minutes


class Minute(NamedTuple):
    """A minute of UTC and what the wall clock shows in it."""

    instant: int
    day: date
    minute_of_day: int
    wall: int  # minutes of the wall clock since 1970


def number(text: str, names: list[str], base: int) -> int:
    return names.index(text.lower()) + base if text.lower() in names else int(text)


def simple_item(item: str, low: int, high: int, names: list[str]) -> set[int]:
    body, _, step_text = item.partition("/")
    step = int(step_text or 1)
    if body in ("*", "?"):
        first, last = low, high
    elif "-" in body:
        left, right = body.split("-")
        first, last = number(left, names, low), number(right, names, low)
        if names is DAYS and first == 7 > last:
            first = 0
    else:
        first = number(body, names, low)
        last = high if step_text else first
    span = high - low + 1
    values: list[int] = []
    value = first
    while value != last and len(values) < 2 * span:  # walk forward, round the corner if need be
        values.append(value)
        value = value + 1 if value < max(high, last) else low
    values.append(last)
    return set(values[::step])


def simple_field(text: str, low: int, high: int, names: list[str]) -> set[int]:
    return set().union(*(simple_item(item, low, high, names) for item in text.split(",")))


def month_length(day: date) -> int:
    return calendar.monthrange(day.year, day.month)[1]


def nearest_weekday(year: int, month: int, wanted: int) -> date:
    """Of the month's weekdays, the one with the least distance."""
    length = calendar.monthrange(year, month)[1]
    weekdays = [
        date(year, month, d) for d in range(1, length + 1) if date(year, month, d).weekday() < 5
    ]
    return min(weekdays, key=lambda each: abs(each.day - wanted))


def day_of_month_matches(text: str, day: date) -> bool:
    for item in text.upper().split(","):
        if item == "LW":
            hit = nearest_weekday(day.year, day.month, month_length(day)) == day
        elif item == "L":
            hit = (day + timedelta(days=1)).day == 1
        elif item.startswith("L-"):
            hit = month_length(day) - int(item[2:]) == day.day
        elif item.endswith("W"):
            wanted = int(item[:-1])
            hit = wanted <= month_length(day) and (
                nearest_weekday(day.year, day.month, wanted) == day
            )
        else:
            hit = day.day in simple_item(item, 1, 31, [])
        if hit:
            return True
    return False


def day_of_week_matches(text: str, day: date) -> bool:
    weekday = day.isoweekday()  # Sunday is 7
    for item in text.split(","):
        if "#" in item:
            name, which = item.split("#")
            same = number(name, DAYS, 0) % 7 == weekday % 7
            hit = same and len(range(day.day, 0, -7)) == int(which)
        elif item.upper().endswith("L"):
            same = number(item[:-1], DAYS, 0) % 7 == weekday % 7
            hit = same and (day + timedelta(days=7)).month != day.month
        else:
            hit = bool(simple_item(item, 0, 6, DAYS) & {weekday, weekday % 7})
        if hit:
            return True
    return False


class Oracle:
    """One expression of five or six fields, told day by day and minute by minute."""

    def __init__(self, expression: str) -> None:
        fields = expression.split()
        if len(fields) == 5:
            fields = ["0", *fields]
        second, minute, hour, self.dom, month, self.dow = fields
        self.seconds = sorted(simple_field(second, 0, 59, []))
        minutes = simple_field(minute, 0, 59, [])
        hours = simple_field(hour, 0, 23, [])
        self.mask = bytearray(1440)
        for each in hours:
            for other in minutes:
                self.mask[each * 60 + other] = 1
        self.months = simple_field(month, 1, 12, MONTHS)
        self.wildcard = minute[0] == "*" or hour[0] == "*"
        self.intersect = self.dom[0] in "*?" or self.dow[0] in "*?"
        self._days: dict[date, bool] = {}

    def day(self, day: date) -> bool:
        known = self._days.get(day)
        if known is None:
            known = self._days[day] = self._day(day)
        return known

    def _day(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        hits = (day_of_month_matches(self.dom, day), day_of_week_matches(self.dow, day))
        return all(hits) if self.intersect else any(hits)

    def wall(self, wall: int) -> bool:
        days, minute = divmod(wall, 1440)
        return bool(self.mask[minute]) and self.day(date(1970, 1, 1) + timedelta(days=days))

    def instants(self, zone: str, first: date, last: date) -> list[int]:
        """Every instant at which it fires from midnight UTC of one day to that of another."""
        view = minutes(zone, first, last)
        fires: list[int] = []
        seconds = self.seconds
        repeated_until = -1
        mask, day_of, fixed = self.mask, self.day, not self.wildcard
        jumps = leaps(zone, first, last)
        for index, (instant, day, minute, wall) in enumerate(view):
            if index in jumps:
                before = view[index - 1].wall
                gone = wall - before - 1
                if fixed and 0 < gone <= THREE_HOURS:
                    if any(self.wall(each) for each in range(before + 1, wall)):
                        fires.append(instant)
                elif fixed and -THREE_HOURS <= gone < 0:
                    repeated_until = before
            if mask[minute] and wall > repeated_until and day_of(day):
                fires.extend(instant + second for second in seconds)
        return sorted(set(fires))


@cache
def minutes(zone: str, first: date, last: date) -> list[Minute]:
    tz = ZoneInfo(zone)
    begin = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())
    end = int(datetime(last.year, last.month, last.day, tzinfo=UTC).timestamp())
    shown = []
    for instant in range(begin, end, 60):
        moment = datetime.fromtimestamp(instant, tz)
        assert moment.second == 0, "the oracle counts in minutes"
        day = moment.date()
        of_day = moment.hour * 60 + moment.minute
        shown.append(Minute(instant, day, of_day, (day - date(1970, 1, 1)).days * 1440 + of_day))
    return shown


@cache
def leaps(zone: str, first: date, last: date) -> frozenset[int]:
    """The minutes at which the wall clock does not go on by one minute."""
    view = minutes(zone, first, last)
    return frozenset(
        index for index in range(1, len(view)) if view[index].wall != view[index - 1].wall + 1
    )
