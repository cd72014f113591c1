"""The history from a position that outlives a process: the records behind it, some at a time, and
then those that are added.

The position holds while segments are compressed, removed, rotated or cut back: where its place is
gone, its line is looked for, and where that is gone too, its time counts. Waits for nothing and
changes no file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import islice
from pathlib import Path
from typing import IO, Any

from stsd.archive import tail_position
from stsd.segments import (
    Damaged,
    Record,
    Segment,
    batches,
    is_carried,
    parsed,
    parsed_alone,
    read_lines,
    readable,
    segments,
)

_BLOCK = 1 << 18
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Cursor:
    """Behind a line of the history: the `day` of its segment, how many bytes of that day's own
    lines end there (0: none has been read of it), the length and the digest of that line, and `at`
    of the last record."""

    day: date
    offset: int
    length: int
    digest: str
    at: str

    def value(self) -> list[object]:
        """As a JSON value."""
        return [self.day.isoformat(), self.offset, self.length, self.digest, self.at]


def cursor_of(value: Any) -> Cursor:
    """What `Cursor.value` gave. Raises TypeError or ValueError for anything else."""
    day, offset, length, digest, at = value
    return Cursor(date.fromisoformat(day), int(offset), int(length), str(digest), str(at))


def end_of(log_dir: Path) -> Cursor | None:
    """Behind the last line that there is; None: there is none, and the beginning is the end. Raises
    OSError."""
    while True:
        found = segments(log_dir)
        if not found:
            return None
        try:
            return _end_in(log_dir, found[-1])
        except FileNotFoundError:  # compressed or removed since
            continue


class Follower:
    """Follows the history of one log folder from behind a cursor, or from its beginning."""

    def __init__(self, log_dir: Path, damaged: Damaged, cursor: Cursor | None = None) -> None:
        self._log_dir = log_dir
        self._damaged = damaged
        self._cursor = cursor
        self._page: _Plain | _Packed | None = None
        self._offset = 0
        self._at_head = False
        self._floor = ""
        self._by_time = False

    @property
    def cursor(self) -> Cursor | None:
        """Behind the last record that `batch` gave; None: nothing has been read."""
        return self._cursor

    def batch(self, limit: int) -> list[Record]:
        """The next records, in the order in which they were written, at most so many; none: that
        is all there is by now. Raises OSError, which loses nothing: the next call goes on from the
        cursor."""
        records: list[Record] = []
        try:
            if self._page is not None and not self._page.holds(self._cursor):
                self.close()
            while len(records) < limit:
                more = self._more(limit - len(records))
                if more is None:
                    break
                records += more
        except OSError:
            self.close()
            if not records:
                raise
        return records

    def news(self) -> Iterator[Record]:
        """All records that there are behind the cursor by now. Raises OSError."""
        while records := self.batch(_BATCH):
            yield from records

    def close(self) -> None:
        """Let go of the segment that is open."""
        if self._page is not None:
            self._page.close()
            self._page = None

    def _more(self, limit: int) -> list[Record] | None:
        """Some more records, be it none of the lines that were read; None: that is all."""
        page = self._page or self._find()
        if page is None:
            return None
        lines = page.lines(limit)
        if not lines:
            following = self._following(page)
            if following is None:
                return None
            lines = page.lines(limit)  # to which nobody appends any more
            if not lines:
                self._turn_to(*following)
                return []
        return self._taken(page, lines)

    def _taken(self, page: _Plain | _Packed, lines: list[bytes]) -> list[Record]:
        """The records of these lines that have not been read before; the cursor is behind them."""
        records = []
        last = b""
        at = "" if self._cursor is None else self._cursor.at
        for line, record in zip(lines, parsed(lines), strict=True):
            carried = self._at_head and is_carried(record, page.day)
            if not carried:
                self._at_head = False
                self._offset += len(line)
                last = line
            if record is None:
                self._damaged(page.path, line)
            elif not self._was_read(said := str(record.get("at", "")), carried):
                records.append(record)
                at = said
        if not self._by_time:  # else its line may yet come back
            self._cursor = _cursor_behind(last, page.day, self._offset, at)
        return records

    def _was_read(self, at: str, carried: bool) -> bool:
        if not carried and not self._by_time:
            return False
        if at <= self._floor:
            return True
        self._by_time = self._by_time and carried
        return False

    # -- places

    def _find(self) -> _Plain | _Packed | None:
        """Open the history where the cursor is; None if there is nothing behind it."""
        while True:
            day = date.min if self._cursor is None else self._cursor.day
            segment = next((each for each in segments(self._log_dir) if each.day >= day), None)
            if segment is None:
                return None
            try:
                return self._find_in(segment)
            except FileNotFoundError:  # compressed or removed since
                continue

    def _find_in(self, segment: Segment) -> _Plain | _Packed:
        cursor = self._cursor
        offset: int | None = 0
        if cursor is not None and segment.day == cursor.day:
            offset = _place(segment, cursor)
        page = self._open(segment.day, segment.parts[0], offset or 0)
        self._offset = offset or 0
        self._by_time = offset is None
        return page

    def _following(self, page: _Plain | _Packed) -> tuple[date, Path, int] | None:
        """Where it goes on behind a page that has been read: the day, the file, and an offset."""
        if page.is_replaced():
            return page.day, page.path, 0
        if isinstance(page, _Plain) and not self._may_go_on(page.day):
            return None
        for segment in segments(self._log_dir):
            if segment.day > page.day:
                return segment.day, segment.parts[0], 0
            plain = segment.parts[-1]
            if segment.day == page.day and isinstance(page, _Packed) and plain.suffix != ".gz":
                return page.day, plain, page.beyond if len(segment.parts) > 1 else self._offset
        return None

    def _may_go_on(self, day: date) -> bool:
        """Whether a look at all segments is worth its time, which it mostly is not."""
        try:
            names = os.listdir(self._log_dir / "history")
        except FileNotFoundError:
            return False
        return max(names, default="")[:10] > day.isoformat()

    def _turn_to(self, day: date, path: Path, offset: int) -> None:
        before = self._page
        self.close()
        if isinstance(before, _Plain) and before.rest:
            self._damaged(before.path, before.rest)
        try:
            self._open(day, path, offset)
        except FileNotFoundError:  # compressed or removed since; the cursor is still right
            return
        if before is None or day != before.day:
            self._offset = 0

    def _open(self, day: date, path: Path, offset: int) -> _Plain | _Packed:
        packed = path.suffix == ".gz"
        page = _Packed(day, path, offset, self._damaged) if packed else _Plain(day, path, offset)
        self._page = page
        self._at_head = packed and not offset
        self._floor = "" if self._cursor is None else self._cursor.at
        return page


class _Plain:
    """A plain file of a day, open at an offset; it may still grow."""

    def __init__(self, day: date, path: Path, offset: int) -> None:
        self.day = day
        self.path = path
        self.rest = b""
        self._file = path.open("rb")
        self._position = offset

    def lines(self, limit: int) -> list[bytes]:
        """The next complete lines; what follows the last of all is in `rest`."""
        data = self._read()
        end = data.rfind(b"\n") + 1
        self.rest = data[end:]
        lines = data[:end].splitlines(keepends=True)[:limit]
        self._position += sum(map(len, lines))
        return lines

    def _read(self) -> bytes:
        self._file.seek(self._position)
        data = self._file.read(_BLOCK)
        while data and b"\n" not in data and (more := self._file.read(_BLOCK)):
            data += more
        return data

    def holds(self, cursor: Cursor | None) -> bool:
        """Whether the line before the cursor is still there."""
        if cursor is None or not self._position:
            return True
        return _ends_with(self._file, self._position, cursor)

    def is_replaced(self) -> bool:
        """Whether there is another file of this name."""
        ours = os.fstat(self._file.fileno())
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return False
        return (ours.st_dev, ours.st_ino) != (named.st_dev, named.st_ino)

    def close(self) -> None:
        self._file.close()


class _Packed:
    """A compressed file of a day, open behind so many bytes of the day's own lines; `beyond` counts
    those that it does not have. It does not change."""

    def __init__(self, day: date, path: Path, offset: int, damaged: Damaged) -> None:
        self.day = day
        self.path = path
        self.beyond = offset
        self._file = path.open("rb")
        self._lines = self._behind(damaged)

    def lines(self, limit: int) -> list[bytes]:
        """The next lines."""
        return list(islice(self._lines, limit))

    def holds(self, cursor: Cursor | None) -> bool:
        """It does."""
        return True

    def is_replaced(self) -> bool:
        """If it is, the lines are the same."""
        return False

    def close(self) -> None:
        self._file.close()

    def _behind(self, damaged: Damaged) -> Iterator[bytes]:
        """The lines behind the offset; the head, too, if that is the beginning."""
        from_begin = not self.beyond
        at_head = True
        for lines in readable(self.path, batches(self.path, self._file), damaged):
            for line in lines:
                at_head = at_head and is_carried(parsed_alone(line), self.day)
                if self.beyond and not at_head:
                    self.beyond = max(0, self.beyond - len(line))
                elif from_begin or not at_head:
                    yield line


def _end_in(log_dir: Path, segment: Segment) -> Cursor:
    position = tail_position(log_dir)
    if position is not None and len(segment.parts) == 1 and segment.parts[0].name == position[0]:
        with segment.parts[0].open("rb") as file:
            return _cursor_behind(_line_before(file, position[1]), segment.day, position[1])
    size, last = 0, b""
    for lines in read_lines(segment, head=False):
        size += sum(map(len, lines))
        last = lines[-1]
    return _cursor_behind(last, segment.day, size)


def _cursor_behind(line: bytes, day: date, offset: int, at: str | None = None) -> Cursor:
    """A cursor behind a line; empty: behind none of that day's own."""
    if at is None:
        at = str((parsed_alone(line) or {}).get("at", ""))
    return Cursor(day, offset, len(line), _digest(line) if line else "", at)


def _line_before(file: IO[bytes], end: int) -> bytes:
    """The line that ends at an offset."""
    data, begin = b"", end
    while begin > 0 and b"\n" not in data[:-1]:
        step = min(_BLOCK, begin)
        begin -= step
        data = os.pread(file.fileno(), step, begin) + data
    return data[data.rfind(b"\n", 0, -1) + 1 :]


def _place(segment: Segment, cursor: Cursor) -> int | None:
    """How many bytes of its own lines a day has up to the cursor's line; None: it has no such
    line. Raises OSError."""
    if not cursor.offset:
        return 0
    if len(segment.parts) == 1 and segment.parts[0].suffix != ".gz":
        with segment.parts[0].open("rb") as file:
            if _ends_with(file, cursor.offset, cursor):
                return cursor.offset
    size, place = 0, None
    for lines in read_lines(segment, head=False):
        for line in lines:
            size += len(line)
            if len(line) == cursor.length and _digest(line) == cursor.digest:
                place = size
    return place


def _ends_with(file: IO[bytes], offset: int, cursor: Cursor) -> bool:
    """Whether the cursor's line is what ends at an offset."""
    begin = max(0, offset - cursor.length)
    return _digest(os.pread(file.fileno(), offset - begin, begin)) == cursor.digest


def _digest(line: bytes) -> str:
    return hashlib.blake2b(line, digest_size=8).hexdigest()
