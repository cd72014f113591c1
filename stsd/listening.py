"""Runs one command to its end, and keeps the last of what it says. For the child that delivers,
which has nothing else to do meanwhile.

However much is printed, no more than a little is kept, and a command's own children that go on
printing are not waited for.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Mapping, Sequence

from stsd.link import memory_file

KEPT = 4096
_AT_ONCE = 1 << 16


def heard(argv: Sequence[str], stdin: bytes, env: Mapping[str, str], cwd: str) -> tuple[int, str]:
    """Exit code (of a signal: its number, negative) and last line of what a command has said. It
    is killed, with its process group, if this is left by an exception. Raises OSError, ValueError
    or SubprocessError if it cannot be started."""
    given = memory_file("stdin", stdin)
    said, theirs = os.pipe2(os.O_CLOEXEC)
    with open(said, "rb", buffering=0):
        try:
            process = subprocess.Popen(
                argv,
                stdin=given,
                stdout=theirs,
                stderr=theirs,
                cwd=cwd,
                env=env,
                start_new_session=True,
            )
        finally:
            os.close(given)
            os.close(theirs)
        try:
            last = _last_of(said, process.pid)
            return process.wait(), last
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _last_of(said: int, pid: int) -> str:
    """The last line that is not empty, when the process has ended."""
    os.set_blocking(said, False)
    pidfd = os.pidfd_open(pid)
    kept, ended, open_ = b"", False, True
    with open(pidfd, "rb", buffering=0):
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        poll.register(said, select.POLLIN)
        while not ended:
            ended = pidfd in [fd for fd, _ in poll.poll()]
            piece = _read(said) if open_ else None
            if piece:
                kept = (kept + piece)[-KEPT:]
            elif piece is not None:
                open_ = False
                poll.unregister(said)
    lines = kept.decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _read(fd: int) -> bytes | None:
    """What there is, which is no more than a pipe holds; None if there is nothing yet."""
    try:
        return os.read(fd, _AT_ONCE)
    except BlockingIOError:
        return None
