"""Takes in what the children print and keeps a bounded part of it; a program of its own.

One small process for all runs, so that stsd itself touches no output, and so that children outlive
a stsd that is killed: the scribe goes on until the last pipe has come to its end, and then exits.
Never lets a child wait for a disk that is full, nor for stsd: what cannot be written or told is
counted and dropped. Imports nothing that takes long to import.

Descriptor 0 is a socket to `stsd.capture`, which tells what the messages look like. Its argument
is for how many seconds more an output is taken in when its main process has ended.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
import time
from array import array
from collections import deque
from types import TracebackType

from stsd.sieve import KeptFile, Lines, Masker

BLOCK = 1 << 16
"""Read from one pipe in one turn; as much as a pipe holds."""
BACKLOG_MAX = 1 << 20
"""Bytes that wait to be told; beyond them lines are dropped, and nothing else is."""
PACKET = 1 << 15
EVENTS_A_TURN = 256
_REQUEST_MAX = 1 << 16
_PARTS = 5
_ANCILLARY_MAX = socket.CMSG_SPACE(253 * array("i").itemsize)  # SCM_MAX_FD of unix(7)
_CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)


class Tap:
    """The output of one attempt: the pipe it comes out of, and what becomes of it."""

    __slots__ = ("complained", "file", "lines", "masker", "over", "pipe", "token")

    def __init__(
        self, token: bytes, pipe: int, file: KeptFile, masker: Masker | None, lines: Lines | None
    ) -> None:
        self.token = token
        self.pipe = pipe
        self.file = file
        self.masker = masker
        self.lines = lines
        self.complained = False
        self.over = False


class Scribe:
    """The loop. `patience` is in seconds."""

    def __init__(self, daemon: socket.socket, patience: float) -> None:
        self._patience = patience
        self._daemon: socket.socket | None = daemon
        self._daemon_fd = daemon.fileno()
        self._epoll = select.epoll()
        self._epoll.register(self._daemon_fd, select.EPOLLIN)
        self._null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        self._by_pipe: dict[int, Tap] = {}
        self._by_token: dict[bytes, Tap] = {}
        self._deadlines: dict[bytes, float] = {}  # in their order, as all have the same patience
        self._news: list[bytes] = []
        self._packets: deque[bytes] = deque()
        self._backlog = 0
        self._stuck = False

    def run(self) -> None:
        """Until stsd has gone and the last pipe has come to its end."""
        self._news.append(b"P %d" % os.getpid())
        self._tell()
        while self._daemon is not None or self._by_pipe:
            ready = self._epoll.poll(self._sleep(), EVENTS_A_TURN)
            for fd, events in ready:
                if fd != self._daemon_fd:
                    self._take_in(self._by_pipe[fd])
                elif events & ~select.EPOLLOUT:
                    self._listen(len(ready))
            self._lose_patience()
            if self._news or self._packets:
                self._tell()

    def last_words(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """A fault in here is for the log of stsd."""
        where = []
        while trace is not None:
            where.append(f"{trace.tb_frame.f_code.co_name}:{trace.tb_lineno}")
            trace = trace.tb_next
        words = f"{kind.__name__}: {error} in {' '.join(where)}"
        self._news.append(b"F " + words.encode(errors="replace").replace(b"\n", b" "))
        self._tell()

    def _sleep(self) -> float:
        for deadline in self._deadlines.values():
            return max(0.0, deadline - time.monotonic())
        return -1.0

    # -- pipes

    def _take_in(self, tap: Tap) -> None:
        if tap.over:
            if not os.splice(tap.pipe, self._null, 1 << 20):
                self._close(tap)
            return
        data = os.read(tap.pipe, BLOCK)
        if data:
            self._keep(tap, data, False)
        else:
            self._finish(tap)
            self._close(tap)

    def _keep(self, tap: Tap, data: bytes, last: bool) -> None:
        if tap.masker is not None:
            data = tap.masker.feed(data, last)
        if not data:
            return
        tap.file.add(data)
        self._complain(tap)
        if tap.lines is not None and self._daemon is not None:
            crowded = self._backlog > BACKLOG_MAX
            for line in tap.lines.feed(data, time.monotonic(), crowded):
                self._news.append(b"L %s %s" % (tap.token, line))

    def _finish(self, tap: Tap) -> None:
        """Nothing more of this output is kept."""
        tap.over = True
        self._keep(tap, b"", True)
        tap.file.end()
        self._complain(tap)
        if tap.lines is not None:
            for line in tap.lines.end():
                self._news.append(b"L %s %s" % (tap.token, line))
        self._news.append(b"D %s %d %d" % (tap.token, tap.file.kept, tap.file.lost))
        del self._by_token[tap.token]
        self._deadlines.pop(tap.token, None)

    def _complain(self, tap: Tap) -> None:
        """Once, however often it fails."""
        if tap.file.trouble and not tap.complained:
            tap.complained = True
            self._news.append(b"E %s %s" % (tap.token, tap.file.trouble.encode()))

    def _close(self, tap: Tap) -> None:
        self._epoll.unregister(tap.pipe)  # stsd has it open as well, so that closing is not enough
        del self._by_pipe[tap.pipe]
        os.close(tap.pipe)

    def _lose_patience(self) -> None:
        while self._deadlines:
            token, deadline = next(iter(self._deadlines.items()))
            if deadline > time.monotonic():
                return
            self._finish(self._by_token[token])

    # -- stsd

    def _listen(self, at_most: int) -> None:
        """As many requests as there are descriptors ready: then pipes do not hold up requests, and
        one that comes alone, as most do, costs no look for a second."""
        for _ in range(at_most):
            if self._daemon is None:
                return
            try:
                request, passed, *_ = self._daemon.recvmsg(_REQUEST_MAX, _ANCILLARY_MAX, _CLOEXEC)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # Told once, if stsd did not read all. What it has sent is still to come.
                continue
            if not request:
                self._go_on_alone()
            elif request.startswith(b"C"):
                self._cease(request[2:])
            else:
                self._open(request, [fd for _, _, data in passed for fd in array("i", data)])

    def _cease(self, token: bytes) -> None:
        if token in self._by_token:
            self._deadlines[token] = time.monotonic() + self._patience

    def _open(self, request: bytes, fds: list[int]) -> None:
        """Several outputs; for the last ones descriptors may be missing: the kernel has closed
        those that did not fit into the table."""
        _, *parts = request.split(b"\0")
        left = iter(fds)
        for at in range(0, len(parts), _PARTS):
            token, max_size, tee, secret, path = parts[at : at + _PARTS]
            pipe = next(left, None)
            secrets = next(left, None) if secret == b"1" else None
            if pipe is None or (secret == b"1" and secrets is None):
                self._news += [b"E %s too many open files" % token, b"D %s 0 0" % token]
                if pipe is not None:
                    os.close(pipe)
                continue
            masker = Masker(_read(secrets)) if secrets is not None else None
            file = KeptFile(path, int(max_size))
            tap = Tap(token, pipe, file, masker, Lines() if tee == b"1" else None)
            self._by_pipe[pipe] = self._by_token[token] = tap
            self._epoll.register(pipe, select.EPOLLIN)

    def _tell(self) -> None:
        """Send the news, as many in a packet as go into one; what does not go out now waits."""
        if self._daemon is None:
            self._news.clear()
            return
        if self._news:
            self._pack()
        try:
            while self._packets:
                self._daemon.send(self._packets[0])
                self._backlog -= len(self._packets.popleft())
        except (BlockingIOError, InterruptedError):
            pass
        except (BrokenPipeError, ConnectionResetError):  # there may still be something to hear
            self._packets.clear()
        self._watch(bool(self._packets))

    def _pack(self) -> None:
        batch: list[bytes] = []
        size = 0
        for item in self._news:
            if size + len(item) > PACKET:
                self._packets.append(b"\n".join(batch))
                batch, size = [], 0
            batch.append(item)
            size += len(item) + 1
            self._backlog += len(item) + 1
        self._news.clear()
        self._packets.append(b"\n".join(batch))

    def _watch(self, stuck: bool) -> None:
        if stuck != self._stuck:
            self._stuck = stuck
            events = select.EPOLLIN | (select.EPOLLOUT if stuck else 0)
            self._epoll.modify(self._daemon_fd, events)

    def _go_on_alone(self) -> None:
        """stsd has gone. Nobody is there any more to be told, or to say that a process ended."""
        if self._daemon is not None:
            self._epoll.unregister(self._daemon_fd)
            self._daemon.close()
        self._daemon = None
        self._daemon_fd = -1
        self._news.clear()
        self._packets.clear()


def _read(secrets: int) -> list[bytes]:
    """From the beginning, whoever else has read them."""
    try:
        return os.pread(secrets, os.fstat(secrets).st_size, 0).split(b"\0")
    finally:
        os.close(secrets)


def _give_way() -> None:
    """Pipes hold what is printed: when many jobs start, the starting of them goes first."""
    try:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    except OSError:  # a sandbox that lets nobody choose: it goes without
        return


def main() -> None:
    """Leave the parent, so that none has to wait for this process, and take in."""
    if os.fork():
        os._exit(0)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the last pipe ends it; systemd asks all processes
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _give_way()
    daemon = socket.socket(fileno=0)
    daemon.setblocking(False)
    scribe = Scribe(daemon, float(sys.argv[1]))
    sys.excepthook = scribe.last_words
    scribe.run()
