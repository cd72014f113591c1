"""What the commands share: which jobfile, colours, tables, instants as a person writes them."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from zoneinfo import ZoneInfo

from stsd.errors import StsdError, UsageError
from stsd.places import places
from stsd.units import parse_duration

SYSTEM_JOBFILE = Path("/etc/stsd/jobs.toml")
_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}
_LONGEST_LINE = 120
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def config_path(arguments: argparse.Namespace) -> Path:
    """The jobfile: `-c`, else $STSD_CONFIG, else ./jobs.toml, else /etc/stsd/jobs.toml."""
    named = arguments.config or os.environ.get("STSD_CONFIG")
    if named:
        return Path(named)
    here = Path("jobs.toml")
    return here if here.exists() else SYSTEM_JOBFILE


def log_dir_of(arguments: argparse.Namespace) -> Path:
    """The log folder of the daemon that runs this jobfile."""
    from stsd.jobfile import load_settings

    return places(load_settings(config_path(arguments)), os.environ).log_dir


def tell_damage(segment: Path, line: bytes) -> None:
    """Warn of a line of the history that is no record."""
    told = f"stsd: {segment}: a damaged line is passed over: {visible(repr(line[:60]))}"
    print(style(told, "yellow", sys.stderr), file=sys.stderr)


def style(text: str, name: str, stream: TextIO) -> str:
    """The text in a colour or weight; as it is off a terminal, or with $NO_COLOR set."""
    if not stream.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return f"\x1b[{_CODES[name]}m{text}\x1b[0m"


def visible(text: str) -> str:
    """Text from outside, with its control characters shown instead of obeyed."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def caret_under(text: str, column: int) -> tuple[str, str]:
    """One line of text from outside, cut to what a screen holds, and the line beneath it with a
    caret under the column (from 1)."""
    first = max(0, column - _LONGEST_LINE // 2) if len(text) > _LONGEST_LINE else 0
    before = visible(text[first : column - 1].replace("\t", " "))
    after = visible(text[column - 1 : first + _LONGEST_LINE].replace("\t", " "))
    return f"{before}{after}", f"{' ' * len(before)}^"


def print_json(record: Mapping[str, Any]) -> None:
    """One JSON line on standard output."""
    print(json.dumps(record, ensure_ascii=True))


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], colours: Mapping[str, str]
) -> None:
    """Columns on standard output, as wide as their widest cell; `colours` by a cell's text."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for number, row in enumerate([head, *rows]):
        cells = []
        for text, width in zip(row, widths, strict=True):
            shade = "dim" if number == 0 else colours.get(text)
            padded = text.ljust(width)
            cells.append(style(padded, shade, sys.stdout) if shade else padded)
        print("  ".join(cells).rstrip())


def parse_instant(text: str, now: float, zone: str | None = None) -> float:
    """Seconds since the epoch of `2026-11-21`, `2026-11-21T02:30Z`, `2h ago` or `in 2h`.

    A bare duration lies in the past. A time without an offset is one of `zone`, an IANA name, by
    default the machine's. Raises UsageError.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return now + _distance(text)
    if moment.tzinfo is None and zone is not None:
        moment = moment.replace(tzinfo=ZoneInfo(zone))
    return moment.timestamp()


def _distance(text: str) -> float:
    words = text.strip()
    try:
        if words.startswith("in "):
            return parse_duration(words[3:])
        return -parse_duration(words.removesuffix("ago"))
    except StsdError:
        raise UsageError(
            f"{text!r} is not a time (write 2026-11-21, 2026-11-21T02:30, 2h ago, or in 2h)"
        ) from None


def local_time(instant: float) -> str:
    """An instant for a reader on this machine: `2026-11-21 02:30:00`."""
    return f"{datetime.fromtimestamp(instant, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
