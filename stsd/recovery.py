"""What the last daemon left behind: read off its snapshot, the history since, and the processes
that are still alive. Changes nothing."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from stsd import snapshot
from stsd.archive import oldest_first, tail_position
from stsd.memory import Memory, Open, Recollection
from stsd.places import Places

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MACHINE_IDS = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


def boot_id() -> str:
    """The kernel's id of this boot of the machine."""
    return _BOOT_ID.read_text().strip()


def machine_id() -> str:
    """What tells this machine from all others: its id, see machine-id(5), which is to be kept to
    oneself; where it has none (a container often has not), its name."""
    for path in _MACHINE_IDS:
        with suppress(OSError):
            found = path.read_text(errors="replace").strip()
            if found and found != "uninitialized":
                return found
    return os.uname().nodename


def born(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot; None if there is none of this pid.
    Field 22 of proc_pid_stat(5)."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        content = os.read(fd, 4096)
    except ProcessLookupError:
        return None
    finally:
        os.close(fd)
    return int(content.rpartition(b")")[2].split()[19])


def recall(places: Places, damaged: Callable[[Path, bytes], None]) -> Memory:
    """The memory of the last daemon. `damaged` is told of each line that is no record."""
    known = snapshot.load(places.state_dir)
    if known is not None and not any((places.log_dir / "history").glob("*.jsonl*")):
        # A history that is gone altogether does not make the snapshot wrong.
        return _with_the_living(known.memory)
    records = oldest_first(places.log_dir, damaged, start=known.position if known else None)
    memory = Memory() if known is None or records.began is None else known.memory
    recollection = Recollection(memory)
    for record in records:
        try:
            recollection.take(record)
        except (KeyError, TypeError, ValueError):
            damaged(places.log_dir / "history", repr(record).encode())
    _tell_torn_tail(places.log_dir, damaged)
    return _with_the_living(recollection.memory())


def _tell_torn_tail(log_dir: Path, damaged: Callable[[Path, bytes], None]) -> None:
    """What follows the last newline is a line that was being written when the last daemon died."""
    end = tail_position(log_dir)
    if end is not None:
        path = log_dir / "history" / end[0]
        with path.open("rb") as file:
            file.seek(end[1])
            torn = file.read()
        if torn:
            damaged(path, torn)


def _with_the_living(memory: Memory) -> Memory:
    boot = boot_id()
    seen = {run: _looked_at(attempt, boot) for run, attempt in memory.open.items()}
    return replace(memory, open=seen)


def _looked_at(attempt: Open, boot: str) -> Open:
    if attempt.pid is None or attempt.boot != boot:
        return attempt
    return replace(attempt, alive=born(attempt.pid) == attempt.born)
