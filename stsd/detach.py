"""Leaving the terminal: `stsd run --daemon`, by python-daemon (PEP 3143)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import daemon
from daemon.pidfile import TimeoutPIDLockFile
from lockfile import AlreadyLocked, LockFailed

from stsd.errors import StsdError


@contextmanager
def detached(pidfile: Path | None, keep_open: Sequence[int], again: bool = False) -> Iterator[None]:
    """Run the body in a process of its own session, in `/`, without standard streams; `again`:
    this process is one already.

    The calling process exits 0. `pidfile` is written for the time of the body. Raises StsdError,
    still in the calling process, when its folder cannot be written or its process is alive.
    """
    if again:
        with _still_detached(pidfile):
            yield
        return
    _check(pidfile)
    context = daemon.DaemonContext(
        pidfile=TimeoutPIDLockFile(str(pidfile), acquire_timeout=-1) if pidfile else None,
        files_preserve=list(keep_open),
        umask=0o077,
        signal_map={},
        prevent_core=False,  # the limit would be inherited by every job
    )
    try:
        with context:
            yield
    except (AlreadyLocked, LockFailed) as error:
        raise StsdError(f"the pidfile {pidfile} cannot be taken: {error}") from error


@contextmanager
def _still_detached(pidfile: Path | None) -> Iterator[None]:
    os.chdir("/")
    os.umask(0o077)
    try:
        yield
    finally:
        if pidfile is not None:
            pidfile.unlink(missing_ok=True)


def _check(pidfile: Path | None) -> None:
    if pidfile is None:
        return
    if not os.access(pidfile.parent, os.W_OK):
        raise StsdError(f"the pidfile {pidfile} cannot be written: no such folder, or not ours")
    lock = TimeoutPIDLockFile(str(pidfile))
    pid = lock.read_pid()
    if lock.is_locked() and pid is not None and _alive(pid):
        raise StsdError(f"the pidfile {pidfile} belongs to a process that is alive (pid {pid})")
    lock.break_lock()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
