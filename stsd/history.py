"""The run history: appended whole line by whole line, read back newest first.

One segment a UTC day, `LOG_DIR/history/2026-11-21.jsonl`. The one place that writes it, and the
one that reads it.
"""

from __future__ import annotations

import errno
import json
import os
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from stsd.records import Record, encode

_BLOCK = 1 << 16


class History:
    """Appends records. What the disk does not take is kept, in order, for the next `flush`."""

    def __init__(self, log_dir: Path) -> None:
        self._folder = log_dir / "history"
        self._pending: deque[tuple[date, bytes]] = deque()
        self._day: date | None = None
        self._fd = -1

    def append(self, record: Record) -> None:
        """Put the record behind those that wait to be written; `flush` writes them."""
        self._pending.append((datetime.fromtimestamp(record.at, UTC).date(), encode(record)))

    def flush(self) -> None:
        """Write all that waits. Raises OSError; whatever was not written still waits."""
        while self._pending:
            day, line = self._pending[0]
            self._write(self._segment(day), line)
            self._pending.popleft()

    @property
    def waiting(self) -> int:
        """How many records are not on the disk."""
        return len(self._pending)

    def reopen(self) -> None:
        """Let go of the open segment; the next record opens it by name again."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._day = -1, None

    def _segment(self, day: date) -> int:
        if day != self._day:
            self.reopen()
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
            self._fd = os.open(self._folder / f"{day}.jsonl", flags, 0o600)
            self._day = day
            _cut_torn_tail(self._fd)
        return self._fd

    @staticmethod
    def _write(fd: int, line: bytes) -> None:
        written = os.write(fd, line)
        if written < len(line):
            os.ftruncate(fd, os.fstat(fd).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _cut_torn_tail(fd: int) -> None:
    """Take away what follows the last newline: a record of which only a part was written."""
    end = size = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(fd, end)


def newest_first(log_dir: Path, damaged: Callable[[Path, bytes], None]) -> Iterator[dict[str, Any]]:
    """Every record of the history as a JSON object, the last written one first.

    Lines that are no record are handed to `damaged` with their file, and passed over.
    """
    for segment in sorted((log_dir / "history").glob("????-??-??.jsonl"), reverse=True):
        for line in _lines_backwards(segment):
            record = _parsed(line)
            if record is None:
                damaged(segment, line)
            else:
                yield record


def _lines_backwards(path: Path) -> Iterator[bytes]:
    """The lines of a file from its end, without a partial one that is being written."""
    with path.open("rb") as file:
        position = file.seek(0, os.SEEK_END)
        rest = b""
        whole = False  # what follows the last newline is not a line yet
        while position > 0:
            step = min(_BLOCK, position)
            position -= step
            file.seek(position)
            lines = (file.read(step) + rest).split(b"\n")
            rest = lines[0]
            for line in reversed(lines[1:]):
                if whole:
                    yield line
                whole = True
        if rest and whole:
            yield rest


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and "event" in record else None
