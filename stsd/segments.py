"""The segments of the run history: which there are, and their lines, plain and compressed.

One segment a UTC day: `LOG_DIR/history/2026-11-21.jsonl`, and `2026-11-21.jsonl.gz` when it has
been compressed. Never changes a file.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any, Protocol

Record = dict[str, Any]
Damaged = Callable[[Path, bytes], None]
"""Is told of the file and of a line in it that is no record."""

_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl(\.gz)?", re.ASCII)
_BLOCK = 1 << 16
UNREADABLE = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class Segment:
    """What there is of one day: its files, in the order in which they were written."""

    day: date
    parts: tuple[Path, ...]


def segments(log_dir: Path) -> list[Segment]:
    """The segments there are, the oldest first."""
    days: dict[date, dict[bool, Path]] = {}
    try:
        entries = os.listdir(log_dir / "history")
    except FileNotFoundError:
        return []
    for name in entries:
        path = log_dir / "history" / name
        day = day_of(name)
        if day is not None and path.is_file():
            days.setdefault(day, {})[name.endswith(".gz")] = path
    found = [Segment(day, _parts(day, days[day])) for day in sorted(days)]
    return [segment for segment in found if segment.parts]


def batches(path: Path, file: IO[bytes]) -> Iterator[list[bytes]]:
    """The lines of an open segment, some at a time, each with its newline; at the end of the file
    there may be one without.

    Raises EOFError, zlib.error or gzip.BadGzipFile behind the last line that can be read.
    """
    source = _unpacked(path, file)
    pieces: list[bytes] = []
    trouble: Exception | None = None
    while True:
        try:
            block = source.read(_BLOCK)
        except UNREADABLE as error:
            trouble, block = error, b""
        if not block:
            break
        pieces.append(block)
        if b"\n" in block:
            lines = b"".join(pieces).splitlines(keepends=True)
            pieces = [] if lines[-1].endswith(b"\n") else [lines.pop()]
            yield lines
    if pieces:
        yield [b"".join(pieces)]
    if trouble is not None:
        raise trouble


def read_lines(segment: Segment, *, head: bool = True) -> Iterator[list[bytes]]:
    """The lines of a segment as they stand, as `batches` gives them; without its `head`, those of
    its own day alone. Of a damaged file as much as can be read. Raises OSError."""
    at_head = not head
    for path in segment.parts:
        with path.open("rb") as file:
            for lines in readable(path, batches(path, file), _unheard):
                start = _head_length(lines, segment.day) if at_head else 0
                at_head = at_head and start == len(lines)
                if lines[start:]:
                    yield lines[start:]


def parsed(lines: list[bytes]) -> list[Record | None]:
    """The record of each line, None for what is none.

    Parsed together, which takes a third of the time. A line break is no part of a JSON string, so
    that the halves of a broken line do not become one.
    """
    try:
        found: list[Any] = json.loads(b"[" + b",".join(lines) + b"]")
    except (ValueError, RecursionError):
        return [parsed_alone(line) for line in lines]
    if len(found) == len(lines) and all(map(_is_record, found)):
        return found
    return [parsed_alone(line) for line in lines]


def is_carried(record: Record | None, day: date) -> bool:
    """Whether a record at the head of a day's segment comes from an older one."""
    return record is not None and str(record.get("at", "9"))[:10] < day.isoformat()


def readable(path: Path, batched: Iterator[list[bytes]], damaged: Damaged) -> Iterator[list[bytes]]:
    """As many lines as a compressed segment has that is damaged itself."""
    try:
        yield from batched
    except UNREADABLE as error:
        damaged(path, str(error).encode())


def _head_length(lines: Sequence[bytes], day: date) -> int:
    """How many of these lines come from older segments, before one that does not."""
    own = (n for n, line in enumerate(lines) if not is_carried(parsed_alone(line), day))
    return next(own, len(lines))


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _unpacked(path: Path, file: IO[bytes]) -> _Source:
    return gzip.open(file) if path.suffix == ".gz" else file


def _is_record(found: object) -> bool:
    return type(found) is dict and "event" in found


def parsed_alone(line: bytes) -> Record | None:
    """The record of one line, None for what is none."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if _is_record(found) else None


def day_of(name: str) -> date | None:
    """The day of the segment that bears this name; None for the name of anything else."""
    match = _NAME.fullmatch(name)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None


# -- a day with two files


def _parts(day: date, files: dict[bool, Path]) -> tuple[Path, ...]:
    """The files of a day that count.

    If there is a plain and a compressed one, then either stsd was killed between the making of the
    one and the removal of the other, or records of that day were written after it had been
    compressed. Which it was is told by where the first line of the plain one is found.
    """
    if len(files) == 1:
        return tuple(files.values())
    plain, packed = files[False], files[True]
    try:
        with plain.open("rb") as file:
            first = file.readline()
        if not first:
            return (packed,)
        number = _number_of(first, packed, day)
    except FileNotFoundError:  # one of them is gone by now
        return tuple(path for path in (packed, plain) if path.exists())
    if number is None:
        return packed, plain
    return (plain,) if number == 0 else (packed,)


def _number_of(line: bytes, packed: Path, day: date) -> int | None:
    """How many lines of its own day a compressed segment has before this one, if it has it."""
    number = 0
    with packed.open("rb") as file:
        for lines in readable(packed, batches(packed, file), _unheard):
            for other in lines:
                if other == line:
                    return number
                if number or not is_carried(parsed_alone(other), day):
                    number += 1
    return None


def _unheard(path: Path, line: bytes) -> None:
    """Of damage only whoever reads the records is told."""
