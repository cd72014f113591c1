"""The one place that starts children, for the pool and for the preparations.

What vfork can do is done by vfork, straight from here. What it cannot (another user, limits, a
control group) is asked of the launcher, a small process of its own, and answered later: nothing
in here ever waits. Knows nothing of runs; to watch a child, and to wait for it, is up to whoever
had it started.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import select
import selectors
import socket
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

from stsd.child import ChildSpec, program
from stsd.errors import SpawnError
from stsd.link import Link, Request, memory_file
from stsd.vfork import Vfork
from stsd.warm import STALE
from stsd.warmth import Chilled, Warmth

_PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
_READ_AT_ONCE = 8192
_WARM = "warm"
_NOT_BEGUN = "the process that was to start it was killed, twice"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a start: a child with this pid; or none, and why, for the job's owner."""

    ticket: str
    pid: int | None
    error: str = ""


class Starter:
    """The starting of one daemon's children. `selector` gets what the answers come from, with
    this object as its data."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._vfork = Vfork()
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._link = Link(selector, self, self._begin_launcher)
        self._warmth = Warmth(selector, self, self._begin_warm)
        self._asked: dict[int, Request] = {}
        # Children that nobody watches, and that are to be reaped when they end.
        self.disowned: set[int] = set()

    def start(
        self, ticket: str, spec: ChildSpec, output: int, stdin: int | None = None
    ) -> int | None:
        """Start a child that writes to `output` and reads from `stdin` (None: what the spec says),
        which both stay the caller's to close. Returns its pid, or None: then an Answer with this
        ticket follows, with a Chilled before it where a warm start could not be had. Raises
        SpawnError."""
        made = -1
        try:
            if stdin is None and spec.stdin is not None:
                stdin = made = memory_file("stdin", spec.stdin)
            fds = (output, self._null if stdin is None else stdin)
            link = self._warmth.link(spec) if spec.warm else None
            cold = replace(spec, warm=()) if spec.warm else spec
            if link is None and cold.plain:
                return self._vfork.start(cold, *fds)
            if link is None:
                self._ask(_request(ticket, cold, fds, self._link))
            else:
                self._ask(_request(ticket, spec, fds, link))
        except (OSError, ValueError) as error:
            raise SpawnError(_cannot_start(spec, error)) from error
        finally:
            if made >= 0:
                os.close(made)
        return None

    def renew(self) -> None:
        """What is kept warm is begun anew when it is next wanted."""
        self._spare(request for request in self._asked.values() if request.spec.warm)
        self._warmth.renew()

    def owns(self, fd: int) -> bool:
        """Whether `hear` is to be told of this descriptor."""
        return fd in self._asked or self._link_of(fd) is not None

    def hear(self, fd: int) -> list[Answer | Chilled]:
        """What a readable descriptor has to tell."""
        request = self._asked.get(fd)
        if request is None:
            link = self._link_of(fd)
            if link is not None:
                link.close()  # a launcher tells nothing but that it has ended
            return []
        text = os.read(fd, _READ_AT_ONCE)
        news: list[Answer | Chilled] = []
        if not request.told:
            if text and not request.spec.warm:  # a warm one may yet have to be started cold
                request.arrived()
            for unsent, error in request.link.arrived():
                news += self._failed(unsent, _why(error))
        request.told += text
        return news if text else [*news, *self._conclude(request)]

    def settle(self, patience_s: float) -> list[Answer | Chilled]:
        """Wait for all answers, but not for longer than `patience_s` in all."""
        answers: list[Answer | Chilled] = []
        until = time.monotonic() + patience_s
        while self._asked and (left := until - time.monotonic()) > 0:
            poll = select.poll()
            for fd in self._asked:
                poll.register(fd, select.POLLIN)
            for fd, _ in poll.poll(left * 1000):
                answers += self.hear(fd)
        return answers

    def close(self) -> None:
        """Let the launchers end."""
        self._link.close()
        self._warmth.renew()
        os.close(self._null)
        self._vfork.close()

    def _link_of(self, fd: int) -> Link | None:
        return self._link if self._link.owns(fd) else self._warmth.owner(fd)

    # -- requests

    def _ask(self, request: Request) -> None:
        """Raises OSError: it was not asked, and is closed."""
        try:
            request.open_report()
        except OSError:
            request.close()
            raise
        self._asked[request.report] = request
        self._selector.register(request.report, selectors.EVENT_READ, self)
        # What has been waiting for room cannot fail now: there is none as long as it waits.
        for unsent, error in request.link.ask(request):
            self._forget(unsent)
            raise error

    def _conclude(self, request: Request) -> list[Answer | Chilled]:
        """The report of a request is at its end."""
        told = re.fullmatch(rb"(?:(\d+)\n)?(.*)", request.told, re.DOTALL)
        if told is None or not request.told:
            return self._failed(request, _NOT_BEGUN) if request.repeated else self._repeat(request)
        pid, error = int(told[1]) if told[1] else None, told[2].decode(errors="replace")
        if error and pid is not None:
            self.disowned.add(pid)
        if error == STALE and not request.repeated:
            self._spare(other for other in self._asked.values() if other.link is request.link)
            request.link.close()
            return self._repeat(request)
        if error and request.spec.warm:
            return self._go_cold(request, error)
        self._forget(request)
        if request.ticket == _WARM:
            self.disowned.update([pid] if pid is not None and not error else [])
            return []
        return [Answer(request.ticket, None if error else pid, error)]

    def _repeat(self, request: Request) -> list[Answer | Chilled]:
        """Ask once more for what was lost with its launcher: it had not been begun."""
        self._unregister(request)
        request.close_report()
        request.repeated, request.told = True, b""
        if request.spec.warm:
            self._warmth.keep(request)
        try:
            self._ask(request)
        except OSError as error:
            return [_no_answer(request, _why(error))]
        return []

    def _spare(self, requests: Iterable[Request]) -> None:
        """It is stsd itself that ends the launcher of these, which is no fault of theirs."""
        for request in requests:
            request.repeated = False

    def _failed(self, request: Request, why: str) -> list[Answer | Chilled]:
        if request.spec.warm:
            return self._go_cold(request, why)
        self._forget(request)
        return [_no_answer(request, why)]

    def _go_cold(self, request: Request, reason: str) -> list[Answer | Chilled]:
        """Start without it what cannot be had of a warm launcher."""
        spec, (_, output, stdin, *_) = request.spec, request.sent
        self._warmth.chill(spec)
        news: list[Answer | Chilled] = [Chilled(request.ticket, spec.warm[2], reason)]
        try:
            pid = self.start(request.ticket, replace(spec, warm=()), output, stdin)
        except SpawnError as error:
            news.append(Answer(request.ticket, None, str(error)))
        else:
            news += [Answer(request.ticket, pid)] if pid is not None else []
        finally:
            self._forget(request)
        return news

    def _forget(self, request: Request) -> None:
        self._unregister(request)
        request.close()

    def _unregister(self, request: Request) -> None:
        self._selector.unregister(request.report)
        del self._asked[request.report]

    # -- the launchers' processes

    def _begin_launcher(self, theirs: socket.socket) -> None:
        """Raises OSError."""
        argv = (sys.executable, "-I", "-S", "-X", "utf8", program("launcher"))
        spec = ChildSpec(argv, {}, "/", 0o077)
        _adopt_orphans()
        self.disowned.add(self._vfork.start(spec, self._null, theirs.fileno()))

    def _begin_warm(self, spec: ChildSpec, theirs: socket.socket) -> None:
        """Raises OSError."""
        _adopt_orphans()
        try:
            if spec.plain:
                self.disowned.add(self._vfork.start(spec, self._null, theirs.fileno()))
            else:
                self._ask(_request(_WARM, spec, (self._null, theirs.fileno()), self._link))
        except ValueError as error:
            raise OSError(f"it cannot be started: {error}") from error


def _adopt_orphans() -> None:
    """From now on this process is the parent of whatever loses its own, below it. The launcher
    counts on that: it makes orphans. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _request(ticket: str, spec: ChildSpec, fds: tuple[int, int], link: Link) -> Request:
    """`fds` are the output and the standard input. Raises OSError, and SpawnError."""
    said = {field.name: getattr(spec, field.name) for field in fields(spec)} | {"stdin": None}
    if spec.warm:  # which is that user already
        said |= {"user": None, "group": None}
    request = Request(ticket, spec, link)
    try:
        request.sent.append(memory_file("spec", json.dumps(said).encode()))
        request.sent.extend(os.dup(fd) for fd in fds)
        if spec.cgroup:
            request.sent.append(_members(spec.cgroup))
    except BaseException:
        request.close()
        raise
    return request


def _members(cgroup: str) -> int:
    """What a process writes to when it enters a control group; opened here, by whoever may.
    Raises SpawnError."""
    try:
        return os.open(os.path.join(cgroup, "cgroup.procs"), os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        raise SpawnError(f"cannot enter the control group {cgroup}: {_why(error)}") from error


def _no_answer(request: Request, why: str) -> Answer:
    return Answer(request.ticket, None, f"cannot start {request.spec.argv[0]}: {why}")


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _cannot_start(spec: ChildSpec, error: Exception) -> str:
    if isinstance(error, OSError):
        if error.filename == spec.cwd:
            return f"cannot enter the folder {spec.cwd}: {_why(error)}"
        return f"cannot start {spec.argv[0]}: {_why(error)}"
    return f"cannot start {spec.argv[0]}: {error}"
