"""Children that do something for a run before its start: each is watched to its end, what it
prints is caught if that is wanted, and whatever it leaves running is killed.

Decides nothing of what the end of one means. Never waits.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
from dataclasses import dataclass, field, replace

from stsd.child import ChildSpec
from stsd.errors import SpawnError
from stsd.starter import Answer, Starter
from stsd.traces import Traces

MOST_PRINTED = 64 * 1024
"""Bytes on standard output, and as many on standard error."""

_ERRORS_ASIDE = ("/bin/sh", "-c", 'exec "$@" 2>&0 </dev/null', "sh")
"""A child gets one descriptor for all that it prints. Here its standard input is another one, to
be made its standard error, so that a warning does not become a part of a password."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An errand is over: with this `code` of waitstatus_to_exitcode, or by an `error`. `printed`
    is its standard output, `last_words` the last line of its standard error."""

    run_id: str
    code: int = 0
    error: str = ""
    printed: bytes = field(default=b"", repr=False)
    last_words: str = ""


@dataclass(slots=True)
class _Errand:
    """`streams` are the descriptors that are still read, each with what came from it."""

    run_id: str
    ticket: str
    pid: int = 0
    pidfd: int = -1
    printed: bytearray = field(default_factory=bytearray, repr=False)
    complaint: bytearray = field(default_factory=bytearray, repr=False)
    streams: dict[int, bytearray] = field(default_factory=dict, repr=False)
    error: str = ""
    wanted: bool = True


class Errands:
    """The errands of one daemon that are under way, at most one for a run. `selector` gets their
    descriptors, with `data`; `traces` lead the next daemon to them, should this one be killed."""

    def __init__(
        self, selector: selectors.BaseSelector, starter: Starter, data: object, traces: Traces
    ) -> None:
        self._selector = selector
        self._starter = starter
        self._traces = traces
        self._data = data
        self._count = 0
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._by_run: dict[str, _Errand] = {}
        self._by_ticket: dict[str, _Errand] = {}
        self._by_fd: dict[int, _Errand] = {}

    def begin(self, run_id: str, spec: ChildSpec, heard: bool) -> None:
        """Send out a child; if it is not `heard`, what it prints is lost. Raises SpawnError."""
        self._count += 1
        errand = _Errand(run_id, f"prepare:{run_id}:{self._count}")
        try:
            pid = self._start(errand, spec, heard)
            if pid is not None:
                self._watch(errand, pid)
        except OSError as error:
            self._close(errand)
            raise SpawnError(f"cannot start {spec.argv[0]}: {error.strerror}") from error
        except SpawnError:
            self._close(errand)
            raise
        self._by_run[run_id] = errand
        if pid is None:
            self._by_ticket[errand.ticket] = errand

    def answered(self, answer: Answer) -> Ended | None:
        """What became of a start that took a while; None unless that ends an errand."""
        errand = self._by_ticket.pop(answer.ticket)
        if answer.pid is None:
            return self._conclude(errand, error=answer.error)
        try:
            self._watch(errand, answer.pid)
        except OSError as error:
            return self._conclude(errand, error=f"cannot be watched: {error.strerror}")
        if errand.error or not errand.wanted:
            self._end(errand)
        return None

    def hear(self, fd: int) -> Ended | None:
        """Something happened at a descriptor; how an errand ended, if it did."""
        errand = self._by_fd.get(fd)
        if errand is None:
            return None
        if fd in errand.streams:
            self._take(errand, fd)
            return None
        return self._reaped(errand)

    def abandon(self, run_id: str) -> None:
        """Kill what was sent out for a run; it is reaped when it has gone."""
        errand = self._by_run.pop(run_id, None)
        if errand is not None:
            errand.wanted = False
            self._end(errand)

    def close(self) -> None:
        """Abandon whatever is under way."""
        for run_id in list(self._by_run):
            self.abandon(run_id)

    def _end(self, errand: _Errand) -> None:
        """Kill it, before it has done what it was sent out for."""
        _kill(errand.pid)
        self._traces.wipe(errand.pid)

    def _start(self, errand: _Errand, spec: ChildSpec, heard: bool) -> int | None:
        """Raises OSError, SpawnError."""
        if not heard:
            return self._starter.start(errand.ticket, spec, self._null)
        theirs = []
        try:
            for printed in (errand.printed, errand.complaint):
                ours, far = os.pipe2(os.O_CLOEXEC)
                theirs.append(far)
                os.set_blocking(ours, False)
                errand.streams[ours] = printed
                self._register(errand, ours)
            aside = replace(spec, argv=(*_ERRORS_ASIDE, *spec.argv))
            return self._starter.start(errand.ticket, aside, theirs[0], stdin=theirs[1])
        finally:
            for far in theirs:
                os.close(far)

    def _watch(self, errand: _Errand, pid: int) -> None:
        """Raises OSError, and then nothing is left of the child."""
        try:
            errand.pidfd = os.pidfd_open(pid)
        except OSError:
            _kill(pid)
            self._starter.disowned.add(pid)
            raise
        errand.pid = pid
        self._traces.leave(pid, errand.run_id)
        self._register(errand, errand.pidfd)

    def _register(self, errand: _Errand, fd: int) -> None:
        self._selector.register(fd, selectors.EVENT_READ, self._data)
        self._by_fd[fd] = errand

    def _take(self, errand: _Errand, fd: int) -> None:
        """Take in what has been printed; more than is taken is the end of the errand."""
        try:
            chunk = os.read(fd, MOST_PRINTED + 1)
        except BlockingIOError:  # it was another descriptor of this number that was readable
            return
        errand.streams[fd] += chunk
        if len(errand.streams[fd]) > MOST_PRINTED:
            errand.error = f"the command has printed more than {MOST_PRINTED // 1024} KiB"
            _kill(errand.pid)
        if not chunk or errand.error:
            del errand.streams[fd]
            self._drop(fd)

    def _reaped(self, errand: _Errand) -> Ended | None:
        """The end of a child; None if its descriptor has changed hands, and it goes on."""
        if os.waitid(os.P_PIDFD, errand.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        _kill(errand.pid)  # what it has left behind; until it is reaped, its pid is nobody else's
        for fd in list(errand.streams):
            self._take(errand, fd)
        _, status = os.waitpid(errand.pid, 0)
        return self._conclude(errand, os.waitstatus_to_exitcode(status), errand.error)

    def _conclude(self, errand: _Errand, code: int = 0, error: str = "") -> Ended | None:
        self._close(errand)
        if not errand.wanted:
            return None
        del self._by_run[errand.run_id]
        lines = errand.complaint.decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return Ended(errand.run_id, code, error, bytes(errand.printed), last)

    def _close(self, errand: _Errand) -> None:
        for fd in errand.streams:
            self._drop(fd)
        errand.streams.clear()
        if errand.pidfd >= 0:
            self._drop(errand.pidfd)
            errand.pidfd = -1
            self._traces.wipe(errand.pid)

    def _drop(self, fd: int) -> None:
        del self._by_fd[fd]
        self._selector.unregister(fd)
        os.close(fd)


def _kill(pgid: int) -> None:
    """KILL a process group; 0 is one that is not known yet, and will be killed when it is."""
    if pgid:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of it is ours
            os.killpg(pgid, signal.SIGKILL)
