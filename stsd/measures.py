"""What metrics tell of the machine's side of stsd: bytes of memory and on the disk.

Looks, and changes nothing.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a folder, in bytes: what others than root can still write, and all."""

    free: int
    size: int


class Peak:
    """The highest of what has been measured in the last `span_s` seconds, so that whoever looks
    less often than it is measured sees it all the same. Keeps a few dozen values."""

    def __init__(self, span_s: float) -> None:
        self._span_s = span_s
        self._falling: deque[tuple[float, float]] = deque()

    def add(self, value: float, now: float) -> None:
        """One measurement, now (seconds of the monotonic clock)."""
        while self._falling and self._falling[-1][1] <= value:
            self._falling.pop()
        self._falling.append((now, value))

    def value(self, now: float) -> float | None:
        """None where nothing has been measured for so long."""
        while self._falling and self._falling[0][0] < now - self._span_s:
            self._falling.popleft()
        return self._falling[0][1] if self._falling else None


def memory_of(pid: int) -> int | None:
    """Bytes of memory that a process has resident (proc_pid_statm(5)); None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_bytes().split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(fields[1]) * _PAGE


def history_size(log_dir: Path) -> int:
    """Bytes of the history's segments. Raises OSError, but not where there are none yet."""
    total = 0
    try:
        with os.scandir(log_dir / "history") as entries:
            for entry in entries:
                total += _size(entry)
    except FileNotFoundError:
        return 0
    return total


def disk_of(folder: Path) -> Disk:
    """The file system that a folder is on. Raises OSError."""
    found = os.statvfs(folder)
    return Disk(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


def _size(entry: os.DirEntry[str]) -> int:
    """Of a file that may have been compressed or removed since it was listed."""
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0
