"""Quiet hours: whether an instant lies in them, and when they end.

They are what the clock on the wall says: where it is set forward over their end they end there, and
what it shows twice is quiet twice. Asks no clock what time it is now.
"""

from __future__ import annotations

import math

from stsd.notices import Quiet
from stsd.wallclock import DAY, clock


def quiet_until(quiet: Quiet, zone: str, instant: float) -> float | None:
    """The instant at which the quiet hours end that this one lies in; None if it lies in none.
    Raises ScheduleError for no such zone."""
    wall_clock = clock(zone)
    at = math.floor(instant)
    while True:
        stretch = wall_clock.stretch(at)
        of_day = (at + stretch.offset) % DAY
        if not _within(quiet, of_day):
            return None if at <= instant else float(at)
        end = at + (quiet.end - of_day) % DAY
        if end < stretch.end:
            return float(end)
        at = stretch.end


def _within(quiet: Quiet, of_day: int) -> bool:
    if quiet.begin < quiet.end:
        return quiet.begin <= of_day < quiet.end
    return of_day >= quiet.begin or of_day < quiet.end
