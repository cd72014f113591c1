"""Times as a person types them: `--since`, `--until`, `--from`, `--at`.

Each is read as far as it was written: `2026-11-21` is a day, `02:30` a minute. The present is
handed in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from stsd.errors import ScheduleError, StsdError, UsageError
from stsd.units import parse_duration, shown
from stsd.wallclock import check_zone

HELP = "2026-11-21, 2026-11-21T02:30, 02:30, yesterday 14:00, 2h ago, in 2h"

_TIME_OF_DAY = re.compile(r"[0-9]{2}:[0-9]{2}(:[0-9]{2})?")
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_DAY, _MINUTE, _SECOND = 86400, 60, 1


@dataclass(frozen=True, slots=True)
class Moment:
    """What was typed: from `begin` up to, and without, `end`; seconds since the epoch."""

    begin: float
    end: float


def parse_instant(text: str, now: float, zone: str | None = None) -> float:
    """Seconds since the epoch at which the typed time begins; see `parse_moment`."""
    return parse_moment(text, now, zone).begin


def parse_moment(text: str, now: float, zone: str | None = None) -> Moment:
    """A day (`2026-11-21`, `yesterday`), a minute (`02:30`, `today 02:30`, `2026-11-21T02:30`), a
    second, or a distance from now (`2h ago`, `in 2h`; a bare duration lies in the past).

    A time with neither an offset nor a zone's name behind it (`02:30 Europe/Berlin`) is one of
    `zone`, an IANA name, by default the machine's. Raises UsageError.
    """
    words = text.split() or [text]
    try:
        where: tzinfo | None = ZoneInfo(zone) if zone else None
        if len(words) > 1 and ("/" in words[-1] or words[-1] == "UTC"):
            check_zone(words[-1])
            where = ZoneInfo(words.pop())
        if words == ["now"]:
            return Moment(now, now + 1)
        found = _on_the_clock(words, datetime.fromtimestamp(now, where).astimezone(where))
        return _distance(words, now) if found is None else found
    except ScheduleError as error:
        raise UsageError(f"{shown(text)} is not a time: {error}") from error
    except (StsdError, ValueError, OverflowError):
        raise UsageError(f"{shown(text)} is not a time (write {HELP})") from None


def _on_the_clock(words: list[str], today: datetime) -> Moment | None:
    """A moment named by its day, its time or both; None for anything else."""
    day = today
    if words[0] in _DAYS:
        day = today + timedelta(days=_DAYS[words[0]])
        words = words[1:]
        if not words:
            return _span(_of_day(day, "00:00"), _DAY)
    if len(words) == 1 and _TIME_OF_DAY.fullmatch(words[0]):
        return _span(_of_day(day, words[0]), _MINUTE if len(words[0]) == 5 else _SECOND)
    if day is not today:
        return None
    try:
        moment = datetime.fromisoformat(" ".join(words))
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=today.tzinfo if isinstance(today.tzinfo, ZoneInfo) else None)
    return _span(moment, _width(" ".join(words)))


def _width(text: str) -> int:
    """How many seconds the moment lasts that a text in ISO 8601 names."""
    time_of_day = re.split("[T ]", text)[1:]
    if not time_of_day:
        return _DAY
    plain = re.split("[+Z-]", time_of_day[0])[0].replace(":", "")
    return _MINUTE if len(plain) <= 4 else _SECOND


def _of_day(day: datetime, time_of_day: str) -> datetime:
    zone = day.tzinfo if isinstance(day.tzinfo, ZoneInfo) else None
    return datetime.fromisoformat(f"{day:%Y-%m-%d}T{time_of_day}").replace(tzinfo=zone)


def _span(begin: datetime, width: int) -> Moment:
    """A day is as long as the zone's clock makes it."""
    if width == _DAY:
        return Moment(begin.timestamp(), (begin + timedelta(days=1)).timestamp())
    return Moment(begin.timestamp(), begin.timestamp() + width)


def _distance(words: list[str], now: float) -> Moment:
    """A distance is not meant to the second: it is the minute that begins there, up to now."""
    if words[0] == "in":
        at = now + parse_duration("".join(words[1:]))
        return Moment(at, at + _MINUTE)
    at = now - parse_duration("".join(words[: len(words) - (words[-1] == "ago")]))
    return Moment(at, min(at + _MINUTE, now))
