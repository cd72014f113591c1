"""Reading the run history from either end.

Never changes a file. Segments (`stsd.segments`) may be compressed and removed (`stsd.retention`)
while they are read here: whatever is left is read once, and in order.

The first lines of a segment may be older than its day: what is still in force of the segments
that have been removed (`stsd.carry`). They count in the oldest segment alone; elsewhere they repeat
what an older one says itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO

from stsd.segments import (
    Damaged,
    Record,
    batches,
    day_of,
    is_carried,
    parsed,
    parsed_alone,
    readable,
    segments,
)

Wanted = Callable[[bytes], object]
"""Is true of a line that is worth parsing, which is most of the cost of reading."""
Position = tuple[str, int]
"""The name of a plain segment, and an offset in it that is the beginning of a line."""

_BLOCK = 1 << 16
_IN_MEMORY = 1 << 26


@dataclass(frozen=True, slots=True)
class Records:
    """Records to be gone through once. `began` is None for the whole history, else the position
    behind which they stand."""

    records: Iterator[Record]
    began: Position | None

    def __iter__(self) -> Iterator[Record]:
        return self.records


def oldest_first(
    log_dir: Path,
    damaged: Damaged,
    start: Position | None = None,
    wanted: Wanted | None = None,
) -> Records:
    """Every record as a JSON object, in the order in which they were written.

    Lines that are no record are handed to `damaged` and passed over; a last line that is being
    written is left alone. With a `start`, only what stands behind it, unless its segment is gone,
    compressed or too short: then the whole history, and `began` is None. Lines that are not
    `wanted` are passed over unread.
    """
    reading = _Reading(log_dir, damaged, wanted)
    file = None if start is None else _opened_at(log_dir, start)
    if start is None or file is None:
        return Records(_forwards(reading, None), None)
    return Records(_resumed(reading, log_dir / "history" / start[0], file), start)


def newest_first(
    log_dir: Path,
    damaged: Damaged,
    first: date = date.min,
    last: date = date.max,
    wanted: Wanted | None = None,
) -> Iterator[Record]:
    """Every record as a JSON object, the last written one first; else as `oldest_first`. Segments
    of days before the `first` are not read; no record in them is of a later day. Those of days
    behind the `last` are not read either; a record in them is of an earlier day only where the
    clock was set back."""
    reading = _Reading(log_dir, damaged, wanted)
    found = segments(log_dir)
    earlier = [segment for segment in found if segment.day <= last]
    newest = len(earlier) == len(found)
    while earlier and earlier[-1].day >= first:
        segment = earlier[-1]
        with ExitStack() as stack:
            try:
                files = [(path, stack.enter_context(path.open("rb"))) for path in segment.parts]
            except FileNotFoundError:  # compressed or removed since
                earlier = [other for other in segments(log_dir) if other.day <= segment.day]
                continue
            yield from _backwards(reading, segment.day, files, newest)
        newest = False
        earlier = [other for other in segments(log_dir) if other.day < segment.day]


def tail_position(log_dir: Path) -> Position | None:
    """The end of the newest segment, for `oldest_first` to start behind; None if that is
    compressed, or if there is none. A line that is not complete stands behind it."""
    found = segments(log_dir)
    if not found or found[-1].parts[-1].suffix == ".gz":
        return None
    path = found[-1].parts[-1]
    with path.open("rb") as file:
        last = next(_batches_backwards(file), [b""])[-1]
        return path.name, file.seek(0, os.SEEK_END) - (0 if last.endswith(b"\n") else len(last))


@dataclass(frozen=True, slots=True)
class _Reading:
    """What is read, by whom; see `oldest_first`."""

    log_dir: Path
    damaged: Damaged
    wanted: Wanted | None


def _forwards(reading: _Reading, after: date | None) -> Iterator[Record]:
    """Every record of the days behind `after`."""
    while True:
        found = segments(reading.log_dir)
        later = [segment for segment in found if after is None or segment.day > after]
        if not later:
            return
        segment = later[0]
        with ExitStack() as stack:
            try:
                files = [(path, stack.enter_context(path.open("rb"))) for path in segment.parts]
            except FileNotFoundError:  # compressed or removed since
                continue
            at_head = segment is not found[0] or after is not None
            newest = segment is found[-1]
            for number, (path, file) in enumerate(files, 1):
                lines = readable(path, batches(path, file), reading.damaged)
                partial_is_fine = newest and number == len(files)
                for record in _records(reading, path, lines, partial_is_fine):
                    if at_head and is_carried(record, segment.day):
                        continue
                    at_head = False
                    yield record
        after = segment.day


def _resumed(reading: _Reading, path: Path, file: IO[bytes]) -> Iterator[Record]:
    """What stands behind the position of an open plain segment, and all later ones."""
    day = day_of(path.name)
    with file:
        newest = segments(reading.log_dir)[-1:]
        partial_is_fine = not newest or newest[0].day == day
        yield from _records(reading, path, batches(path, file), partial_is_fine)
    yield from _forwards(reading, day)


def _backwards(
    reading: _Reading, day: date, files: Sequence[tuple[Path, IO[bytes]]], newest: bool
) -> Iterator[Record]:
    """Every record of one day, the last one first."""
    partial_is_fine = newest
    for number, (path, file) in reversed(list(enumerate(files))):
        with _seekable(path, file, reading.damaged) as plain:
            has_head = number == 0 and any(other.day < day for other in segments(reading.log_dir))
            begin = _head_size(plain, day) if has_head else 0
            for lines in _batches_backwards(plain, begin):
                found = list(_records(reading, path, [lines], partial_is_fine))
                partial_is_fine = False
                yield from reversed(found)
        partial_is_fine = False


def _records(
    reading: _Reading, path: Path, batched: Iterable[list[bytes]], partial_is_fine: bool
) -> Iterator[Record]:
    """The records of some lines; a partial line at their end may be one that is being written."""
    for lines in batched:
        if partial_is_fine and not lines[-1].endswith(b"\n"):
            lines.pop()
        if reading.wanted is not None:
            lines = list(filter(reading.wanted, lines))
        for line, record in zip(lines, parsed(lines), strict=True):
            if record is None:
                reading.damaged(path, line.rstrip(b"\n"))
            else:
                yield record


def _batches_backwards(file: IO[bytes], begin: int = 0) -> Iterator[list[bytes]]:
    """The lines of a file from an offset on, some at a time from its end, each list in the order
    of the file."""
    position = file.seek(0, os.SEEK_END)
    pieces: list[bytes] = []  # of a line that begins further ahead, the last one first
    while position > begin:
        step = min(_BLOCK, position - begin)
        position -= step
        file.seek(position)
        block = file.read(step)
        pieces.append(block)
        if b"\n" in block or position == begin:
            lines = b"".join(reversed(pieces)).splitlines(keepends=True)
            pieces = lines[:1]
            if position == begin:
                yield lines
            elif len(lines) > 1:
                yield lines[1:]


def _head_size(file: IO[bytes], day: date) -> int:
    """How many bytes at the head of a day's segment come from older ones."""
    file.seek(0)
    size = 0
    while is_carried(parsed_alone(line := file.readline()), day):
        size += len(line)
    return size


@contextmanager
def _seekable(path: Path, file: IO[bytes], damaged: Damaged) -> Iterator[IO[bytes]]:
    """The bytes of a segment; of a compressed one those that can be read, in a file for now."""
    if path.suffix != ".gz":
        yield file
        return
    from tempfile import SpooledTemporaryFile

    with SpooledTemporaryFile(max_size=_IN_MEMORY) as plain:
        for lines in readable(path, batches(path, file), damaged):
            plain.writelines(lines)
        yield plain


def _opened_at(log_dir: Path, start: Position) -> IO[bytes] | None:
    """The plain segment of that name, at that offset, if that is the beginning of a line."""
    name, offset = start
    path = log_dir / "history" / name
    if all(segment.parts != (path,) for segment in segments(log_dir)) or path.suffix == ".gz":
        return None
    file = path.open("rb")
    if offset > 0:
        file.seek(offset - 1)
        if file.read(1) != b"\n":
            file.close()
            return None
    return file
