"""The times of day, weekdays and dates of `at`: from their text to the wall times they name."""

from __future__ import annotations

import difflib
import re
from datetime import date
from functools import lru_cache

from stsd.calendar import DayRule, OneDay, WallTimes, WeekDays, day_number
from stsd.errors import ScheduleError

_NAMES = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
_WEEKDAYS = {name: number for number, name in enumerate(_NAMES)}
_WEEKDAYS |= {name[:3]: number for number, name in enumerate(_NAMES)}
_TIME = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?", re.ASCII)
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})", re.ASCII)
_LONGEST_TEXT = 200
_REMEDY = 'write "10:30", "10:30:15", "sunday 10:30", "mon-fri 09:00" or "2027-01-31 12:00"'


@lru_cache(maxsize=4096)
def parse(text: str) -> WallTimes:
    """The wall times of one `at`: every day, on weekdays, or once.

    Raises ScheduleError for anything else, and for a date that the calendar does not have.
    """
    if len(text) > _LONGEST_TEXT:
        raise _error(f"a time of {len(text)} characters", _REMEDY, 0)
    start = len(text) - len(text.lstrip(" \t"))
    words = text.strip(" \t")
    day, gap, time = _divide(words)
    if not gap and _DATE.fullmatch(time):
        raise _error(f"`{time}` has no time of day", f'write "{time} 00:00"', start)
    minute, second = _time(time, start + len(day) + len(gap))
    rule: DayRule | OneDay
    if not day:
        rule = DayRule()
    elif day[0].isdigit():
        rule = _date(day, start)
    else:
        rule = DayRule(week_days=_weekdays(day, start))
        if rule.week_days == WeekDays(tuple(range(7))):
            rule = DayRule()
    return WallTimes((minute,), (second,), rule)


def _divide(words: str) -> tuple[str, str, str]:
    """The words for the day, the space, and the time of day."""
    match = re.fullmatch(r"(.*?[^ \t])([ \t]+|(?<=\d)[Tt](?=\d))([^ \tTt]+)", words, re.DOTALL)
    return (match[1], match[2], match[3]) if match else ("", "", words)


def _time(text: str, column: int) -> tuple[int, int]:
    """Minute of the day and second of the minute."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise _error(f"`{_cut(text)}` is not a time of day", _REMEDY, column)
    hour, minute, second = int(match[1]), int(match[2]), int(match[3] or 0)
    if (hour, minute, second) == (24, 0, 0):
        raise _error(f"`{text}` is not a time of day", "write 00:00 of the day after", column)
    if hour > 23 or minute > 59 or second > 59:
        raise _error(f"`{text}` is not a time of day", "00:00 to 23:59:59", column)
    return hour * 60 + minute, second


def _date(text: str, column: int) -> OneDay:
    match = _DATE.fullmatch(text)
    if match is None:
        raise _error(f"`{_cut(text)}` is not a date", "write it as 2027-01-31", column)
    try:
        day = date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        message = f"`{text}` is not a day of the calendar"
        raise _error(message, "write a date that exists, as year-month-day", column) from None
    return OneDay(day_number(day))


def _weekdays(text: str, column: int) -> WeekDays:
    days: set[int] = set()
    for item in text.split(","):
        indent = len(item) - len(item.lstrip(" \t"))
        days |= _span(item.strip(" \t"), column + indent)
        column += len(item) + 1
    return WeekDays(tuple(sorted(days)))


def _span(item: str, column: int) -> set[int]:
    first, dash, last = (piece.strip(" \t") for piece in item.partition("-"))
    low = _weekday(first, column)
    if not dash:
        return {low}
    high = _weekday(last, column + len(item) - len(last))
    return {day % 7 for day in range(low, high + 1 if low <= high else high + 8)}


def _weekday(name: str, column: int) -> int:
    number = _WEEKDAYS.get(name.lower())
    if number is None:
        close = difflib.get_close_matches(name.lower()[:20], _WEEKDAYS, n=1)
        remedy = f"did you mean `{close[0]}`?" if close else _REMEDY
        raise _error(f"`{_cut(name)}` is not a day of the week", remedy, column)
    return number


def _error(message: str, remedy: str, index: int) -> ScheduleError:
    return ScheduleError("at", message, remedy, index + 1)


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."
