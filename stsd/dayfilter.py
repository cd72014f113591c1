"""The days on which a job may fire at all: `start`, `end`, `skip_dates`, `skip_holidays`.

Days are those of the job's zone. The holidays package is imported only where it is asked for.
"""

from __future__ import annotations

import difflib
from collections.abc import Container
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import lru_cache

from stsd.calendar import day_number
from stsd.errors import ScheduleError
from stsd.model import When
from stsd.wallclock import DAY, FIRST_INSTANT, LAST_INSTANT, Clock, Stretch

_PROBE_FROM = date(2000, 1, 1)
_PATIENCE = 60 * 366 * DAY  # the rarest days come every 40 years
_MARGIN = 2 * DAY


@dataclass(frozen=True, slots=True)
class DayFilter:
    """First and last day (counted from 1970-01-01), single days and a country's holidays."""

    clock: Clock
    start: int | None = None
    end: int | None = None
    skipped: frozenset[int] = frozenset()
    holidays: str = ""

    @classmethod
    def of(cls, when: When, clock: Clock) -> DayFilter | None:
        """The filter of a schedule; None where every day is allowed. Raises ScheduleError."""
        if when.start and when.end and when.end < when.start:
            message = f"{when.end} is before the start, {when.start}"
            raise ScheduleError("end", message, "a day on or after `start`")
        if when.skip_holidays:
            _calendar(when.skip_holidays)
        if not (when.start or when.end or when.skip_dates or when.skip_holidays):
            return None
        return cls(
            clock,
            None if when.start is None else day_number(when.start),
            None if when.end is None else day_number(when.end),
            frozenset(map(day_number, when.skip_dates)),
            when.skip_holidays,
        )

    @property
    def first_instant(self) -> int:
        """An instant before every one that is allowed; without a start and with holidays, one of
        this age, since none are known of others."""
        if self.start is None:
            return day_number(_PROBE_FROM) * DAY if self.holidays else FIRST_INSTANT
        return max(self.start * DAY - _MARGIN, FIRST_INSTANT)

    def give_up_after(self, instant: int) -> int:
        """The instant beyond which nobody need look for an occurrence after `instant`."""
        if not self.holidays:
            return LAST_INSTANT
        return min(max(instant, self.first_instant) + _PATIENCE, LAST_INSTANT)

    def resume(self, instant: int) -> int | None:
        """The instant itself where its day is allowed, else the first later one that is worth a
        look; None: no day from here on is allowed."""
        stretch = self.clock.stretch(instant)
        day = (instant + stretch.offset) // DAY
        if self.start is not None and day < self.start:
            return max(self.start * DAY - _MARGIN, self._day_ends(day, stretch))
        if self.end is not None and day > self.end:
            # A clock set back over midnight brings the last day back once more.
            over = instant > self.end * DAY + DAY + _MARGIN
            return None if over else self._day_ends(day, stretch)
        if day in self.skipped or (self.holidays and self._is_holiday(day)):
            return self._day_ends(day, stretch)
        return instant

    def _day_ends(self, day: int, stretch: Stretch) -> int:
        return min((day + 1) * DAY - stretch.offset, stretch.end)

    def _is_holiday(self, day: int) -> bool:
        return datetime.fromtimestamp(day * DAY, UTC).date() in _calendar(self.holidays)


@lru_cache(maxsize=64)
def _calendar(country: str) -> Container[date]:
    """The public holidays of a country (`DE`) or a part of one (`DE-BY`)."""
    try:
        import holidays
    except ImportError as error:
        message = "public holidays are not known to this installation"
        raise ScheduleError("skip_holidays", message, "pip install 'stsd[holidays]'") from error
    code, _, part = country.strip().upper().partition("-")
    countries = holidays.list_supported_countries(include_aliases=True)
    if code not in countries:
        close = difflib.get_close_matches(code, countries, n=1)
        remedy = f"did you mean {close[0]}?" if close else "write a code such as DE, US or DE-BY"
        raise ScheduleError("skip_holidays", f"{country!a} is not a country", remedy)
    parts = countries[code]
    if part and part not in parts:
        remedy = f"known are {', '.join(parts)}" if parts else f"write {code}"
        raise ScheduleError("skip_holidays", f"{part!a} is not a part of {code}", remedy)
    calendar: Container[date] = holidays.country_holidays(code, subdiv=part or None)
    return calendar
