"""Reading the segments of the run history, plain and compressed, from either end.

One segment a UTC day: `LOG_DIR/history/2026-11-21.jsonl`, and `2026-11-21.jsonl.gz` when it has
been compressed. Never changes a file. Segments may be compressed and removed (`stsd.retention`)
while they are read here: whatever is left is read once, and in order.

The first lines of a segment may be older than its day: what is still in force of the segments
that have been removed (`stsd.carry`). They count in the oldest segment alone; elsewhere they repeat
what an older one says itself.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO, Any, Protocol

Record = dict[str, Any]
Damaged = Callable[[Path, bytes], None]
"""Is told of the file and of a line in it that is no record."""
Position = tuple[str, int]
"""The name of a plain segment, and an offset in it that is the beginning of a line."""

_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\.jsonl(\.gz)?", re.ASCII)
_BLOCK = 1 << 16
_IN_MEMORY = 1 << 26
UNREADABLE = (EOFError, zlib.error, gzip.BadGzipFile)


@dataclass(frozen=True, slots=True)
class Segment:
    """What there is of one day: its files, in the order in which they were written."""

    day: date
    parts: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Records:
    """Records to be gone through once. `began` is None for the whole history, else the position
    behind which they stand."""

    records: Iterator[Record]
    began: Position | None

    def __iter__(self) -> Iterator[Record]:
        return self.records


def segments(log_dir: Path) -> list[Segment]:
    """The segments there are, the oldest first."""
    days: dict[date, dict[bool, Path]] = {}
    try:
        entries = os.listdir(log_dir / "history")
    except FileNotFoundError:
        return []
    for name in entries:
        path = log_dir / "history" / name
        day = _day_of(name)
        if day is not None and path.is_file():
            days.setdefault(day, {})[name.endswith(".gz")] = path
    found = [Segment(day, _parts(day, days[day])) for day in sorted(days)]
    return [segment for segment in found if segment.parts]


def oldest_first(log_dir: Path, damaged: Damaged, start: Position | None = None) -> Records:
    """Every record as a JSON object, in the order in which they were written.

    Lines that are no record are handed to `damaged` and passed over; a last line that is being
    written is left alone. With a `start`, only what stands behind it, unless its segment is gone,
    compressed or too short: then the whole history, and `began` is None.
    """
    file = None if start is None else _opened_at(log_dir, start)
    if start is None or file is None:
        return Records(_forwards(log_dir, damaged, None), None)
    return Records(_resumed(log_dir, damaged, log_dir / "history" / start[0], file), start)


def newest_first(log_dir: Path, damaged: Damaged, first: date = date.min) -> Iterator[Record]:
    """Every record as a JSON object, the last written one first; else as `oldest_first`. Segments
    of days before the `first` are not read; no record in them is of a later day."""
    earlier = segments(log_dir)
    newest = True
    while earlier and earlier[-1].day >= first:
        segment = earlier[-1]
        with ExitStack() as stack:
            try:
                files = [(path, stack.enter_context(path.open("rb"))) for path in segment.parts]
            except FileNotFoundError:  # compressed or removed since
                earlier = [other for other in segments(log_dir) if other.day <= segment.day]
                continue
            yield from _backwards(log_dir, segment.day, files, damaged, newest)
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
            for lines in _readable(path, batches(path, file), _unheard):
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
        return [_parsed_alone(line) for line in lines]
    if len(found) == len(lines) and all(map(_is_record, found)):
        return found
    return [_parsed_alone(line) for line in lines]


def is_carried(record: Record | None, day: date) -> bool:
    """Whether a record at the head of a day's segment comes from an older one."""
    return record is not None and str(record.get("at", "9"))[:10] < day.isoformat()


def _forwards(log_dir: Path, damaged: Damaged, after: date | None) -> Iterator[Record]:
    """Every record of the days behind `after`."""
    while True:
        found = segments(log_dir)
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
                lines = _readable(path, batches(path, file), damaged)
                partial_is_fine = newest and number == len(files)
                for record in _records(path, lines, damaged, partial_is_fine):
                    if at_head and is_carried(record, segment.day):
                        continue
                    at_head = False
                    yield record
        after = segment.day


def _resumed(log_dir: Path, damaged: Damaged, path: Path, file: IO[bytes]) -> Iterator[Record]:
    """What stands behind the position of an open plain segment, and all later ones."""
    day = _day_of(path.name)
    with file:
        newest = segments(log_dir)[-1:]
        partial_is_fine = not newest or newest[0].day == day
        yield from _records(path, batches(path, file), damaged, partial_is_fine)
    yield from _forwards(log_dir, damaged, day)


def _backwards(
    log_dir: Path,
    day: date,
    files: Sequence[tuple[Path, IO[bytes]]],
    damaged: Damaged,
    newest: bool,
) -> Iterator[Record]:
    """Every record of one day, the last one first."""
    partial_is_fine = newest
    for number, (path, file) in reversed(list(enumerate(files))):
        with _seekable(path, file, damaged) as plain:
            has_head = number == 0 and any(other.day < day for other in segments(log_dir))
            begin = _head_size(plain, day) if has_head else 0
            for lines in _batches_backwards(plain, begin):
                found = list(_records(path, [lines], damaged, partial_is_fine))
                partial_is_fine = False
                yield from reversed(found)
        partial_is_fine = False


def _records(
    path: Path, batched: Iterable[list[bytes]], damaged: Damaged, partial_is_fine: bool
) -> Iterator[Record]:
    """The records of some lines; a partial line at their end may be one that is being written."""
    for lines in batched:
        if partial_is_fine and not lines[-1].endswith(b"\n"):
            lines.pop()
        for line, record in zip(lines, parsed(lines), strict=True):
            if record is None:
                damaged(path, line.rstrip(b"\n"))
            else:
                yield record


def _readable(
    path: Path, batched: Iterator[list[bytes]], damaged: Damaged
) -> Iterator[list[bytes]]:
    """As many lines as a compressed segment has that is damaged itself."""
    try:
        yield from batched
    except UNREADABLE as error:
        damaged(path, str(error).encode())


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
    while is_carried(_parsed_alone(line := file.readline()), day):
        size += len(line)
    return size


def _head_length(lines: Sequence[bytes], day: date) -> int:
    """How many of these lines come from older segments, before one that does not."""
    own = (n for n, line in enumerate(lines) if not is_carried(_parsed_alone(line), day))
    return next(own, len(lines))


@contextmanager
def _seekable(path: Path, file: IO[bytes], damaged: Damaged) -> Iterator[IO[bytes]]:
    """The bytes of a segment; of a compressed one those that can be read, in a file for now."""
    if path.suffix != ".gz":
        yield file
        return
    from tempfile import SpooledTemporaryFile

    with SpooledTemporaryFile(max_size=_IN_MEMORY) as plain:
        for lines in _readable(path, batches(path, file), damaged):
            plain.writelines(lines)
        yield plain


class _Source(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _unpacked(path: Path, file: IO[bytes]) -> _Source:
    return gzip.open(file) if path.suffix == ".gz" else file


def _is_record(found: object) -> bool:
    return type(found) is dict and "event" in found


def _parsed_alone(line: bytes) -> Record | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if _is_record(found) else None


def _day_of(name: str) -> date | None:
    match = _NAME.fullmatch(name)
    try:
        return date.fromisoformat(match[1]) if match else None
    except ValueError:
        return None


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
        for lines in _readable(packed, batches(packed, file), _unheard):
            for other in lines:
                if other == line:
                    return number
                if number or not is_carried(_parsed_alone(other), day):
                    number += 1
    return None


def _unheard(path: Path, line: bytes) -> None:
    """Of damage only whoever reads the records is told."""
