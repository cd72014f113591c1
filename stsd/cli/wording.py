"""Times, durations and counts as people read them. The present is handed in; the zone is the
machine's."""

from __future__ import annotations

import time
from datetime import datetime

from stsd.units import format_duration

_DAY = 86400


def instant_of(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 instant. Raises ValueError for anything else."""
    return datetime.fromisoformat(text).timestamp()


def span(seconds: float) -> str:
    """A duration at a glance: `0.04s`, `4s`, `5m12s`, `2d4h`."""
    return (
        format_duration(round(seconds)) if seconds >= 1 else f"{max(0.0, round(seconds, 3)):.2g}s"
    )


def ago(seconds: float) -> str:
    """How long something is past: `just now`, `3m5s ago`."""
    return "just now" if seconds < 1 else f"{span(seconds)} ago"


def coming(seconds: float) -> str:
    """How long something is ahead: `in 2h30m`, `now` when its time has come."""
    return "now" if seconds < 1 else f"in {span(seconds)}"


def clock_time(instant: float, now: float) -> str:
    """An instant for a reader on this machine, no longer than it has to be: `02:30:00` for one of
    today, `Sun 02:30` for one of the days around, else `2026-11-21 02:30`."""
    moment = time.localtime(instant)
    if moment[:3] == time.localtime(now)[:3]:
        return time.strftime("%H:%M:%S", moment)
    return time.strftime("%a %H:%M" if abs(instant - now) < 6 * _DAY else "%Y-%m-%d %H:%M", moment)


def counted(number: int, thing: str, things: str = "") -> str:
    """A number of things: `1 job`, `1,000 jobs`; `things` is a plural that is not made by an s."""
    return f"{number:,} {thing if number == 1 else things or f'{thing}s'}"


def listed(words: list[str]) -> str:
    """Words as a sentence has them: `a, b and c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
