"""A copy of this process that works something out while the loop goes on.

The copy is forked: it has all that this process knows, and can change nothing of it. What it finds
lies in a file in memory, one pickle after the other, to be taken when it has ended. It never comes
back into the loop, and keeps nothing open that is this process's own: no lock, no client.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import pickle
import select
import selectors
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn

from stsd.signals import HANDLED

_LONGEST_WORDS = 500


class TwinError(Exception):
    """The copy has not done its work; the text says why."""


class Twin:
    """One copy, at work from now on. `selector` gets its pidfd with the `Twin` itself as its data;
    when that is ready, `hear` is to be called."""

    def __init__(
        self, selector: selectors.BaseSelector, work: Callable[[], Iterable[object]]
    ) -> None:
        """`work` brings its findings piece by piece. Raises OSError if there can be no copy."""
        self._selector = selector
        self._findings = os.fdopen(os.memfd_create("twin", os.MFD_CLOEXEC), "rb")
        try:
            self._pidfd = _forked(self._findings.fileno(), work)
        except OSError:
            self._findings.close()
            raise
        self._end: os.waitid_result | None = None
        selector.register(self._pidfd, selectors.EVENT_READ, self)

    @property
    def ended(self) -> bool:
        """Whether it is at work no more, and has been waited for."""
        return self._pidfd < 0

    def hear(self) -> None:
        """Wait for it, if it has ended."""
        if self.ended:
            return
        # Killed before it led a session of its own, it has been waited for as a stranger.
        with contextlib.suppress(ChildProcessError):
            self._end = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG)
            if self._end is None:
                return
        self._selector.unregister(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1

    def findings(self) -> Iterator[object]:
        """Each piece that it has brought, in this order; to be asked for once, when it has ended.
        Raises TwinError if it has failed."""
        with self._findings as file:
            file.seek(0)
            if not self.ended:
                raise TwinError("it is still at work")
            if self._end is None:
                raise TwinError("how the process for it has ended is not known")
            if self._end.si_code != os.CLD_EXITED:
                reason = signal.strsignal(self._end.si_status)
                raise TwinError(f"the process for it was ended by a signal ({reason})")
            if self._end.si_status:
                raise TwinError(file.read().decode(errors="replace")[-_LONGEST_WORDS:].strip())
            with contextlib.suppress(EOFError):
                while True:
                    yield pickle.load(file)  # noqa: S301 (this process's own copy has written it)

    def drop(self) -> None:
        """Nobody wants to know any more. It is ended as soon as the kernel can, and `hear` is
        still to be called when its pidfd is ready."""
        self._findings.close()
        if not self.ended:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def join(self, seconds: float) -> None:
        """Wait for its end, but no longer than that."""
        if not self.ended:
            end = select.poll()
            end.register(self._pidfd, select.POLLIN)
            end.poll(seconds * 1000)
            self.hear()


def _forked(findings: int, work: Callable[[], Iterable[object]]) -> int:
    """The pidfd of the copy. Raises OSError."""
    # A signal that the copy took before it is on its own would be an order to the daemon.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _be_a_copy(findings, work)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _be_a_copy(findings: int, work: Callable[[], Iterable[object]]) -> NoReturn:
    code = 1
    try:
        findings = _alone(findings)
        with open(findings, "wb", closefd=False) as file:
            for piece in work():
                pickle.dump(piece, file)
        code = 0
    finally:
        try:
            if code:
                os.ftruncate(findings, 0)
                os.pwrite(findings, traceback.format_exc().encode(errors="replace"), 0)
        finally:
            os._exit(code)


def _alone(findings: int) -> int:
    """Let go of everything that is not the copy's; returns where its findings go."""
    gc.freeze()  # what is not looked at is not copied, and nothing is closed a second time
    os.setsid()
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    kept = fcntl.fcntl(findings, fcntl.F_DUPFD_CLOEXEC, 3)
    # One by one: where the C library cannot close a range, every number up to the limit is tried,
    # and in containers that may be a thousand millions.
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2 and fd != kept:
            os.closerange(fd, fd + 1)  # which does not mind that the listing's own has gone
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(null, standard)
    if null > 2:
        os.close(null)
    return kept
