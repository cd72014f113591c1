"""The signals that are orders to the daemon, turned into bytes on a socket that its loop reads."""

from __future__ import annotations

import signal
import socket
from types import FrameType

HANDLED = (
    signal.SIGHUP,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
# Python ignores these two for itself; Popen gives their default back to each child.
_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)


class Signals:
    """The way in for signals. `inbox` is readable when one has come; its bytes are their
    numbers."""

    def __init__(self) -> None:
        """Leaves all other signals as a fresh process has them, for a child inherits what is
        ignored or blocked."""
        self.inbox, self._outbox = socket.socketpair()
        self.inbox.setblocking(False)
        self._outbox.setblocking(False)
        for number in signal.valid_signals():
            if signal.getsignal(number) is signal.SIG_IGN and number not in _IGNORED_BY_PYTHON:
                signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(self._outbox.fileno(), warn_on_full_buffer=False)
        for number in HANDLED:
            signal.signal(number, _woken)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())

    def taken(self) -> list[signal.Signals]:
        """Those that have come since."""
        return [signal.Signals(number) for number in self.inbox.recv(4096)]


def put_off() -> None:
    """A signal that comes from now on waits, for whatever program this process becomes next."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)


def _woken(number: int, frame: FrameType | None) -> None:
    """The wake-up descriptor has told the loop already; a handler must be there for it to do so."""
