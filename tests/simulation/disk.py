"""SimDisk: real files under stsd's real history and snapshot, and a model of what a disk may lose.

Stands in for the `os` of `stsd.history` and `stsd.snapshot`. Each call is a point at which the
daemon may die; a write in flight is torn. A power loss keeps what was synced, a random prefix of
the rest, and of new names those whose folder was synced (the others by chance).
"""

from __future__ import annotations

import errno
import json
import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WRITEBACK_S = 40.0  # by then the kernel has written back what nobody synced


class CrashError(BaseException):
    """The daemon is dead from here on. Nothing of stsd may catch it."""


@dataclass(slots=True)
class _File:
    size: int
    durable: int
    named: bool  # its name would outlast a power cut
    poisoned: bool = False  # pages were marked clean that are not on the disk
    written_at: float = 0.0
    unsynced: list[bytes] = field(default_factory=list)
    synced: list[bytes] = field(default_factory=list)


class SimDisk:
    """`fuse` is called at each point at which a crash may come, and raises CrashError; `uptime`
    tells the time. While `failing`, writes and syncs fail. `hasher` takes in what is written."""

    def __init__(
        self,
        root: Path,
        draw: random.Random,
        fuse: Callable[[], None],
        uptime: Callable[[], float],
        hasher: Any,
    ) -> None:
        self.log_dir, self.state_dir = root / "log", root / "state"
        self.log_dir.mkdir(parents=True)
        self.state_dir.mkdir(parents=True)
        self.failing = False
        self.durable_intents: Counter[tuple[str, int]] = Counter()
        self.calls: Counter[str] = Counter()
        self._draw, self._fuse, self._uptime, self._hasher = draw, fuse, uptime, hasher
        self._files: dict[str, _File] = {}
        self._dirty: set[str] = set()
        self._fds: dict[int, str] = {}
        self._state_bytes: bytes | None = None

    # -- in place of the module os

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Path, flags: int, mode: int = 0o777) -> int:
        self._fuse()
        name = str(path)
        new = bool(flags & os.O_CREAT) and not os.path.exists(name)
        if self.failing and new and self._draw.random() < 0.5:
            raise OSError(errno.ENOSPC, "No space left on device")
        fd = os.open(name, flags, mode)
        if flags & os.O_DIRECTORY or flags & os.O_APPEND:
            self._fds[fd] = name
        if flags & os.O_APPEND and name not in self._files:
            self._files[name] = _File(os.fstat(fd).st_size, 0, named=False)
            self._dirty.add(name)
        return fd

    def write(self, fd: int, data: bytes) -> int:
        name = self._fds[fd]
        file = self._files[name]
        try:
            self._fuse()
        except CrashError:
            torn = self._draw.randrange(len(data) + 1)
            os.write(fd, data[:torn])
            file.size += torn
            file.written_at = self._uptime()
            self._dirty.add(name)
            raise
        self.calls["write"] += 1
        self._dirty.add(name)
        file.written_at = self._uptime()
        if self.failing:
            if self._draw.random() < 0.5:
                raise OSError(errno.ENOSPC, "No space left on device")
            short = self._draw.randrange(len(data))
            os.write(fd, data[:short])
            file.size += short
            return short
        file.size += os.write(fd, data)
        self._hasher.update(data)
        if data.startswith(b'{"event":"intent"'):
            file.unsynced.append(data)
        return len(data)

    def fdatasync(self, fd: int) -> None:
        self._fuse()
        self.calls["fdatasync"] += 1
        name = self._fds[fd]
        file = self._files[name]
        if self.failing:
            file.poisoned = file.poisoned or file.size > file.durable
            raise OSError(errno.EIO, "Input/output error")
        if not file.poisoned:
            file.durable = file.size
            file.synced += file.unsynced
            file.unsynced.clear()
            self._settle(name, file)
        self._fuse()

    def fsync(self, fd: int) -> None:
        self._fuse()
        if self.failing and self._draw.random() < 0.7:
            raise OSError(errno.EIO, "Input/output error")
        folder = self._fds.get(fd)
        if folder == str(self.state_dir):
            self._state_bytes = self._state()
        elif folder is not None:
            for name in sorted(self._dirty):
                self._files[name].named = True
                self._settle(name, self._files[name])
        self._fuse()

    def ftruncate(self, fd: int, size: int) -> None:
        self._fuse()
        os.ftruncate(fd, size)
        file = self._files[self._fds[fd]]
        file.size = size
        if size <= file.durable:
            file.durable, file.poisoned = size, False
            file.unsynced.clear()

    def close(self, fd: int) -> None:
        self._fds.pop(fd, None)
        os.close(fd)

    # -- what becomes of it

    @property
    def all_durable(self) -> bool:
        """Whether a power loss would take nothing."""
        for name in tuple(self._dirty):
            file = self._files[name]
            self._write_back(file)
            if file.named and file.durable == file.size:
                self._dirty.discard(name)
        return not self._dirty

    def let_go(self) -> None:
        """The process that had these files open is gone."""
        for fd in tuple(self._fds):
            self.close(fd)
        for name in self._dirty:  # the next one's first write makes its page dirty again
            self._files[name].poisoned = False

    def power_loss(self) -> None:
        """Only what the disk holds is left."""
        for name in sorted(self._dirty):
            file = self._files[name]
            self._write_back(file)
            if not file.named and self._draw.random() < 0.5:
                os.unlink(name)
                del self._files[name]
                continue
            kept = file.durable + self._draw.randrange(file.size - file.durable + 1)
            os.truncate(name, kept)
            self._files[name] = _File(kept, kept, named=True)
        self._dirty.clear()
        self._lose_the_new_snapshot()

    def lose_snapshot(self) -> None:
        """Somebody tidied up, or the file was damaged."""
        path = self.state_dir / "state.json"
        if path.exists() and self._draw.random() < 0.5:
            path.write_bytes(path.read_bytes()[: self._draw.randrange(40)])
        else:
            path.unlink(missing_ok=True)
        self._state_bytes = self._state()

    def holds(self, line: bytes) -> bool:
        """Whether one of the newest segments has this line."""
        segments = sorted((self.log_dir / "history").glob("*.jsonl"))[-8:]
        return any(line in segment.read_bytes() for segment in segments)

    def _write_back(self, file: _File) -> None:
        if not file.poisoned and self._uptime() - file.written_at > WRITEBACK_S:
            file.durable, file.named = file.size, True

    def _lose_the_new_snapshot(self) -> None:
        if self._state() != self._state_bytes and self._draw.random() < 0.5:
            path = self.state_dir / "state.json"
            if self._state_bytes is None:
                path.unlink()
            else:
                path.write_bytes(self._state_bytes)
        self._state_bytes = self._state()

    def _state(self) -> bytes | None:
        path = self.state_dir / "state.json"
        return path.read_bytes() if path.exists() else None

    def _settle(self, name: str, file: _File) -> None:
        if not file.named:
            return
        for line in file.synced:
            record = json.loads(line)
            self.durable_intents[record["run"], record["attempt"]] += 1
        file.synced.clear()
        if file.durable == file.size:
            self._dirty.discard(name)
