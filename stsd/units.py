"""Durations, sizes and instants: from a user's text to numbers, and back for a reader.

The parsers accept exactly what they document and raise `UnitError` with what would be right.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from functools import lru_cache

from stsd.errors import UnitError

_SECONDS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
DURATION = re.compile("".join(f"(?:{_NUMBER}{unit})?" for unit in _SECONDS))
SIZE = re.compile(f"{_NUMBER}([KMGT]?)(?:i?B)?")
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_DURATION_REMEDY = 'write a duration such as "90s", "5m" or "1h30m", or a number of seconds'
_SIZE_REMEDY = 'write a size such as "512M" or "2G", or a number of bytes'
LONGEST_SECONDS = 100 * 366 * 86400
LARGEST_SIZE = 1 << 60


def parse_duration(value: object) -> float:
    """Seconds of a duration: `"90s"`, `"5m"`, `"1h30m"`, `"2d"`, `"1w"`, `"250ms"` or a number.

    Raises UnitError unless it is finite, positive and at most a hundred years.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UnitError(f"a duration cannot be {shown(value)}", _DURATION_REMEDY)
    if isinstance(value, str):
        match = DURATION.fullmatch(value.strip()) if len(value) <= 64 else None
        if match is None or not any(match.groups()):
            raise UnitError(f"{shown(value)} is not a duration", _DURATION_REMEDY)
        seconds = sum(
            float(number) * factor
            for number, factor in zip(match.groups(), _SECONDS.values(), strict=True)
            if number
        )
    else:
        seconds = value
    if not 0 < seconds <= LONGEST_SECONDS:  # nan is neither
        raise UnitError(
            f"a duration of {shown(value)} is not between 0 and 100 years", _DURATION_REMEDY
        )
    return float(seconds)


def parse_size(value: object) -> int:
    """Bytes of a size: `"512M"`, `"2G"`, `"1.5GiB"` (powers of 1024) or a number of bytes.

    Raises UnitError unless it is positive and at most 2**60.
    """
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise UnitError(f"a size cannot be {shown(value)}", _SIZE_REMEDY)
    if isinstance(value, str):
        match = SIZE.fullmatch(value.strip()) if len(value) <= 64 else None
        if match is None:
            raise UnitError(f"{shown(value)} is not a size", _SIZE_REMEDY)
        size = int(float(match[1]) * _BYTES[match[2]])
    else:
        size = value
    if not 0 < size <= LARGEST_SIZE:
        raise UnitError(f"a size of {shown(value)} is out of range", _SIZE_REMEDY)
    return size


def format_duration(seconds: float) -> str:
    """A duration for a reader, at most two units: `3.2s`, `5m`, `1h30m`, `2d4h`."""
    if seconds < 60:
        return f"{seconds:.3g}s" if seconds < 59.95 else "1m"
    whole = round(seconds)
    parts: list[str] = []
    for unit in ("w", "d", "h", "m", "s"):
        count, whole = divmod(whole, int(_SECONDS[unit]))
        if count or parts:
            parts.append(f"{count}{unit}" if count else "")
    return "".join(parts[:2])


def format_size(size: int) -> str:
    """A size for a reader: `812 B`, `9.0 MiB`."""
    scaled = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if scaled < 1024:
            return f"{size} B" if unit == "B" else f"{scaled:.1f} {unit}"
        scaled /= 1024
    return f"{scaled:.1f} TiB"


def rfc3339(instant: float) -> str:
    """An instant as RFC 3339 in UTC: whole seconds for an `int`, milliseconds for a `float`."""
    if isinstance(instant, int):
        return f"{_second(instant)}Z"
    milliseconds = round(instant * 1000)
    return f"{_second(milliseconds // 1000)}.{milliseconds % 1000:03d}Z"


@lru_cache(maxsize=256)
def _second(instant: int) -> str:
    """All that a start says of itself is of the same few seconds."""
    return f"{datetime.fromtimestamp(instant, UTC):%Y-%m-%dT%H:%M:%S}"


def from_rfc3339(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 instant. Raises ValueError unless it has an offset,
    and TypeError for what is no text."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return moment.timestamp()


def time_of_day(second: int) -> str:
    """A second of the day as a jobfile has it: `06:00`, `06:00:30`."""
    hours, rest = divmod(second, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours:02d}:{minutes:02d}" + (f":{seconds:02d}" if seconds else "")


def compact(instant: int) -> str:
    """An instant as it stands in a run's id: `20261121T023000Z`."""
    return f"{datetime.fromtimestamp(instant, UTC):%Y%m%dT%H%M%SZ}"


def shown(value: object) -> str:
    """A jobfile's value as it is quoted in an error: as TOML would have it, control characters
    escaped, cut to a readable length; of tables and arrays only the kind."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _cut(f'"{escaped(value[:80])}"')
        case int() if abs(value) >> 200:
            return "a number of more than sixty digits"
        case dict():
            return "a table"
        case list():
            return "an array"
        case date() | time():
            return value.isoformat()
        case _:
            return _cut(repr(value))


def escaped(text: str) -> str:
    """The text with whatever a terminal would not print as it stands written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text
    )


def _cut(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}..."
