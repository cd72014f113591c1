"""The daemon's end of one launcher: its process, the socket to it, and what is on the way there.

Sends no more at a time than the socket takes, so that nothing ever waits. What comes back comes
on a pipe of its own for each request; see `stsd.launcher`.
"""

from __future__ import annotations

import array
import os
import selectors
import socket
import subprocess
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from stsd.child import ChildSpec

# Requests on their way at a time: few enough for any socket's buffer, and for the kernel's bound
# on descriptors in flight (too_many_unix_fds).
_WINDOW = 32


@dataclass(slots=True)
class Request:
    """A start that is asked for. `sent` are the descriptors that go with it: the spec, the output,
    the standard input, and perhaps that of a control group. They are kept until the launcher has
    told that it has them; `report` is where it tells, to be opened by `open_report`, and `far` the
    other end of that, gone once it is sent."""

    ticket: str
    spec: ChildSpec
    link: Link
    sent: list[int] = field(default_factory=list)
    report: int = -1
    far: int = -1
    told: bytes = b""
    repeated: bool = False

    def open_report(self) -> None:
        """Make the pipe that is told on. Raises OSError."""
        self.report, self.far = os.pipe()
        os.set_blocking(self.report, False)

    def arrived(self) -> None:
        """Let go of what was sent along; it is where it should be."""
        self._close(*self.sent)
        self.sent.clear()

    def gone(self) -> None:
        """Let go of the far end: from now on, when all others have, nobody is left to tell."""
        self._close(self.far)
        self.far = -1

    def close_report(self) -> None:
        """Let go of both ends of the pipe."""
        self.gone()
        self._close(self.report)
        self.report = -1

    def close(self) -> None:
        """Let go of everything."""
        self.arrived()
        self.close_report()

    @staticmethod
    def _close(*fds: int) -> None:
        for fd in fds:
            if fd >= 0:
                os.close(fd)


class Link:
    """The way to one launcher, whose process is there as long as it is needed: `begin` starts it
    with the socket that it is given as its standard input, and raises OSError. `selector` gets the
    daemon's end, with `data`; all that it ever tells is that the launcher has ended."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        data: object,
        begin: Callable[[socket.socket], None],
    ) -> None:
        self._selector = selector
        self._data = data
        self._begin = begin
        self._socket: socket.socket | None = None
        self._unsent: deque[Request] = deque()
        self._under_way = 0

    @property
    def busy(self) -> bool:
        """Whether anything is still on its way, or to be sent."""
        return bool(self._unsent or self._under_way)

    def owns(self, fd: int) -> bool:
        """Whether this is the descriptor of the daemon's end."""
        return self._socket is not None and self._socket.fileno() == fd

    def ask(self, request: Request) -> list[tuple[Request, OSError]]:
        """Send a request, now or when there is room; returns what cannot be sent at all."""
        self._unsent.append(request)
        return self._send()

    def arrived(self) -> list[tuple[Request, OSError]]:
        """One request has been received, or lost; send more, as `ask` does."""
        self._under_way -= 1
        return self._send()

    def close(self) -> None:
        """Let the launcher end, or take note that it has; the next request starts another one."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def _send(self) -> list[tuple[Request, OSError]]:
        failed = []
        while self._unsent and self._under_way < _WINDOW:
            request = self._unsent.popleft()
            try:
                self._send_one(request)
            except OSError as error:
                failed.append((request, error))
            else:
                self._under_way += 1
        return failed

    def _send_one(self, request: Request) -> None:
        fds = array.array("i", [request.far, *request.sent])
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)]
        try:
            self._open().sendmsg([b"start"], rights)
        except (BrokenPipeError, ConnectionResetError):  # it has just ended
            self.close()
            self._open().sendmsg([b"start"], rights)
        request.gone()

    def _open(self) -> socket.socket:
        if self._socket is None:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                with theirs:
                    self._begin(theirs)
                ours.setblocking(False)
                self._selector.register(ours, selectors.EVENT_READ, self._data)
            except OSError:
                ours.close()
                raise
            self._socket = ours
        return self._socket


def let_go(process: subprocess.Popen[bytes]) -> int:
    """The pid of a process that is waited for by its pid; Popen, which would wait for it when the
    pid is another's, is told that it need not."""
    process.returncode = 0
    return process.pid


def memory_file(name: str, content: bytes) -> int:
    """A descriptor of a file that is nowhere, to be read from its start. Raises OSError."""
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(fd, 0, os.SEEK_SET)
    except OSError:
        os.close(fd)
        raise
    return fd
