"""Zones of the IANA database, and how their clocks run: stretches of a constant offset.

A wall time is written here as an `int`: the seconds of its calendar date and time since
1970-01-01 00:00 of the same clock. Within one stretch a wall time is the instant plus the
offset, so gaps and folds are nothing but the places where two stretches meet.

It never asks what time it is now, and never takes a path for a zone.
"""

from __future__ import annotations

import difflib
import importlib.resources
import io
import re
import zoneinfo
from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

from stsd.errors import ScheduleError

DAY = 86400
FIRST_INSTANT = -62135510400  # 0001-01-02: a day's room for every offset
LAST_INSTANT = 253402128000  # 9999-12-30
CORRECTION = 3 * 3600
_CHUNK = 1 << 25  # about 388 days
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*", re.ASCII)
_NOT_ZONES = frozenset({"localtime", "posixrules"})


class Stretch(NamedTuple):
    """The instants `begin` <= i < `end` with one `offset` of the clock, in seconds.

    `before` is the offset that ended at `begin`; equal to `offset` where nothing changed there
    and the stretch was only cut for convenience.
    """

    begin: int
    end: int
    offset: int
    before: int

    @property
    def shift(self) -> int:
        """By how many seconds the clock was set forward (back: negative) at `begin`."""
        return self.offset - self.before


class Clock:
    """The wall clock of one zone. Two clocks are equal if name and zone data are."""

    __slots__ = ("_chunks", "data", "name", "zone")

    def __init__(self, name: str, data: bytes) -> None:
        self.name = name
        self.zone = ZoneInfo.from_file(io.BytesIO(data), key=name)
        self.data = data
        self._chunks: dict[int, tuple[list[int], list[Stretch]]] = {}

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return isinstance(other, Clock) and (self.name, self.data) == (other.name, other.data)

    def __hash__(self) -> int:
        return hash((self.name, self.data))

    def __repr__(self) -> str:
        return f"Clock({self.name!r})"

    def offset(self, instant: int) -> int:
        """Seconds by which the wall clock is ahead of UTC at an instant."""
        delta = datetime.fromtimestamp(instant, self.zone).utcoffset()
        return 0 if delta is None else delta.days * DAY + delta.seconds

    def stretch(self, instant: int) -> Stretch:
        """The stretch in which an instant of FIRST_INSTANT to LAST_INSTANT lies."""
        number = instant // _CHUNK
        chunk = self._chunks.get(number)
        if chunk is None:
            chunk = self._chunks[number] = self._survey(number)
        begins, stretches = chunk
        return stretches[bisect_right(begins, instant) - 1]

    def aware(self, wall: int) -> datetime:
        """A wall time as a datetime of this zone, at its first pass; it may be a skipped one."""
        return datetime.fromtimestamp(wall, UTC).replace(tzinfo=self.zone)

    def _survey(self, number: int) -> tuple[list[int], list[Stretch]]:
        """The stretches of one chunk. They begin two days early, so that a change of the clock
        just before the chunk is known to the stretch it began."""
        first = max(number * _CHUNK - 2 * DAY, FIRST_INSTANT)
        last = min((number + 1) * _CHUNK, LAST_INSTANT + DAY)
        changes = self._changes(first, last)
        begins = [first, *changes]
        ends = [*changes, last]
        stretches = []
        before = self.offset(first)
        for begin, end in zip(begins, ends, strict=True):
            offset = self.offset(begin)
            stretches.append(Stretch(begin, end, offset, before))
            before = offset
        return begins, stretches

    def _changes(self, first: int, last: int) -> list[int]:
        """The instants in first < i < last at which the offset changes, by a look at each day
        and bisection; no zone has ever changed its clock forth and back within a day."""
        changes = []
        low, offset = first, self.offset(first)
        while low < last - 1:
            high = min(low + DAY, last - 1)
            there = self.offset(high)
            if there != offset:
                high = self._bisect(low, high, offset)
                changes.append(high)
                there = self.offset(high)
            low, offset = high, there
        return changes

    def _bisect(self, low: int, high: int, offset: int) -> int:
        """The first instant after `low` at which the offset is no longer `offset`."""
        while high - low > 1:
            middle = (low + high) // 2
            if self.offset(middle) == offset:
                low = middle
            else:
                high = middle
        return high


def check_zone(name: str) -> None:
    """Raises ScheduleError unless `name` is that of a zone of the IANA database."""
    if name in _listed() or (_NAME.fullmatch(name) and name in _available()):
        return
    remedy = 'write the name of a zone, such as "Europe/Berlin" or "UTC"'
    close = _similar(name)
    if close:
        remedy = f"did you mean {close}?"
    raise ScheduleError("timezone", f"{_shown(name)} is not a time zone", remedy)


def clock(name: str) -> Clock:
    """The clock of a zone; one object for all who ask. Raises ScheduleError for no such zone."""
    found = _clocks.get(name)
    if found is None:
        check_zone(name)
        found = _clocks[name] = Clock(name, _data(name))
    return found


def zone(name: str) -> ZoneInfo:
    """The zone of that name, for use with datetimes. Raises ScheduleError for no such zone."""
    return clock(name).zone


def local(instant: int, zone_name: str) -> datetime:
    """An instant as an aware datetime of a zone."""
    return datetime.fromtimestamp(instant, zone(zone_name))


def reread() -> None:
    """Forget all zone data, so that schedules built from now on see what is on disk then."""
    renew({})
    _clocks.clear()


def known() -> dict[str, bytes]:
    """The data of each zone that anybody has asked for."""
    return {name: clock.data for name, clock in _clocks.items()}


def renew(data: Mapping[str, bytes]) -> None:
    """Schedules built from now on go by these data, of zones that were found to be right; the
    other zones that are known stay as they are."""
    _listed.cache_clear()
    _available.cache_clear()
    _clocks.update({name: Clock(name, each) for name, each in data.items()})


_clocks: dict[str, Clock] = {}


@lru_cache(maxsize=1)
def _listed() -> frozenset[str]:
    """The zones of the tzdata package: one small file, where a walk through the system's zone
    folders opens six hundred."""
    names = importlib.resources.files("tzdata").joinpath("zones").read_text("ascii").split()
    return frozenset(names)


@lru_cache(maxsize=1)
def _available() -> frozenset[str]:
    """Every zone of the system and of the tzdata package."""
    return frozenset(zoneinfo.available_timezones() - _NOT_ZONES)


def _data(name: str) -> bytes:
    """The data of a zone whose name has been checked; the system's go first, as in zoneinfo."""
    for folder in zoneinfo.TZPATH:
        path = Path(folder, name)
        if path.is_file():
            return path.read_bytes()
    return importlib.resources.files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()


def _similar(name: str) -> str:
    """The zone that somebody who wrote `name` most likely had in mind, or nothing."""
    wanted = name[:64].strip().replace(" ", "_").casefold()
    if not wanted:
        return ""
    known = {each.casefold(): each for each in sorted(_available())}
    if wanted in known:
        return known[wanted]
    cities = {each.rpartition("/")[2]: each for each in known}
    if wanted in cities:
        return known[cities[wanted]]
    close = difflib.get_close_matches(wanted, known, n=1, cutoff=0.75)
    if close:
        return known[close[0]]
    close = difflib.get_close_matches(wanted, cities, n=1, cutoff=0.8)
    return known[cities[close[0]]] if close else ""


def _shown(name: str) -> str:
    return ascii(name if len(name) <= 60 else f"{name[:57]}...")
