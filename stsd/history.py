"""The run history: appended whole line by whole line, and brought to the disk for good.

One segment a UTC day, `LOG_DIR/history/2026-11-21.jsonl`. The one place that appends to it.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections import deque
from datetime import UTC, date, datetime
from pathlib import Path

from stsd.records import Record, line_of

_BLOCK = 1 << 16


class History:
    """Appends records. What the disk does not take is kept, in order, for the next try.

    A record is safe once `sync` has returned. A failed fdatasync is never trusted again on the
    same descriptor: the kernel may have marked pages clean that it could not write, so the file
    is cut back to what was safe, opened anew, and the rest written once more.
    """

    def __init__(self, log_dir: Path) -> None:
        self._folder = log_dir / "history"
        self._pending: deque[tuple[date, bytes]] = deque()
        self._unsafe: list[tuple[date, bytes]] = []
        self._day: date | None = None
        self._newest = _newest_day(self._folder)
        self._midnight = _begin_of(self._newest)
        self._fd = -1
        self._safe_size = 0
        self._distrusted = False

    @property
    def waiting(self) -> int:
        """How many records are not in the file."""
        return len(self._pending)

    @property
    def unsafe(self) -> bool:
        """Whether any record would not outlast a power cut."""
        return bool(self._pending or self._unsafe)

    def append(self, record: Record) -> dict[str, object]:
        """Put the record behind those that wait to be written, and return its fields. When the
        clock is set back the newest segment goes on: the order of the lines is the order in which
        things happened."""
        if record.at >= self._midnight:
            self._newest = max(self._newest, datetime.fromtimestamp(record.at, UTC).date())
            self._midnight = _begin_of(self._newest) + 86400.0
        fields = record.fields()
        self._pending.append((self._newest, line_of(fields)))
        return fields

    def flush(self) -> None:
        """Write all that waits. Raises OSError; whatever was not written still waits."""
        if self._distrusted:
            self._take_back()
        if self._pending and self._fd >= 0 and self._displaced():
            self._let_go()
        while self._pending:
            day, line = self._pending[0]
            self._write(self._segment(day), line)
            self._unsafe.append(self._pending.popleft())

    def sync(self) -> None:
        """Write all that waits, and see it safe on the disk. Raises OSError; whatever is not safe
        is tried again by the next call."""
        self.flush()
        if self._unsafe:
            self._sync_segment()

    def position(self) -> tuple[str, int] | None:
        """The segment that is open and how much of it is safe; None if none is."""
        return None if self._day is None else (f"{self._day}.jsonl", self._safe_size)

    def reopen(self) -> None:
        """Let go of the open segment; the next record opens it by name again. Raises OSError."""
        if self._unsafe:
            self.sync()
        self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._day = -1, None

    def _segment(self, day: date) -> int:
        if day != self._day:
            if self._unsafe:
                self._sync_segment()
            self._close()
            self._open(day)
        return self._fd

    def _open(self, day: date) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.open(self._folder / f"{day}.jsonl", flags, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_SH)  # retention leaves alone what somebody appends to
        if os.fstat(self._fd).st_nlink == 0:  # it was removed between the two
            os.close(self._fd)
            self._fd = os.open(self._folder / f"{day}.jsonl", flags, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_SH)
        self._day = day
        try:
            self._safe_size = _cut_torn_tail(self._fd)
            if not self._safe_size:
                sync_folder(self._folder)
        except OSError:
            self._close()  # what is not safe to append to is opened anew by the next try
            raise

    def _sync_segment(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError:
            self._distrusted = True
            raise
        self._safe_size = os.fstat(self._fd).st_size
        self._unsafe.clear()

    def _take_back(self) -> None:
        """Cut the file back to what is safe, through a new descriptor, and write the rest anew.
        Raises OSError, with nothing forgotten of what is not safe."""
        day, safe, old = self._day, self._safe_size, self._fd
        if day is not None:
            try:
                self._open(day)
            except OSError:
                self._fd, self._day = old, day
                raise
            self._safe_size = safe
            os.close(old)
            os.ftruncate(self._fd, min(safe, os.fstat(self._fd).st_size))
            self._safe_size = os.fstat(self._fd).st_size
        self._requeue()
        self._distrusted = False

    def _displaced(self) -> bool:
        """Whether somebody has removed or renamed the segment, or its folder, under us."""
        ours = os.fstat(self._fd)
        try:
            named = os.stat(self._folder / f"{self._day}.jsonl", follow_symlinks=False)
        except FileNotFoundError:
            return True
        return (ours.st_dev, ours.st_ino) != (named.st_dev, named.st_ino)

    def _let_go(self) -> None:
        """What is not safe yet goes with a segment that was renamed; if that was removed it goes
        into the one to come. Raises OSError."""
        if os.fstat(self._fd).st_nlink == 0:
            self._requeue()
        elif self._unsafe:
            self._sync_segment()
        self._close()

    def _requeue(self) -> None:
        self._pending.extendleft(reversed(self._unsafe))
        self._unsafe.clear()

    @staticmethod
    def _write(fd: int, line: bytes) -> None:
        written = os.write(fd, line)
        if written < len(line):
            os.ftruncate(fd, os.fstat(fd).st_size - written)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _begin_of(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()


def _newest_day(folder: Path) -> date:
    """The day of the last segment there is."""
    names = [path.name[:10] for path in folder.glob("????-??-??.jsonl*")]
    days = [date.fromisoformat(name) for name in names if name.replace("-", "").isdigit()]
    return max(days, default=date.min)


def _cut_torn_tail(fd: int) -> int:
    """Take away what follows the last newline, a record of which only a part was written; returns
    the size that is left."""
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
    return end


def sync_folder(folder: Path) -> None:
    """Make the names in a folder outlast a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
