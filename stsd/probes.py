"""Looks whether what a run waits for outside of stsd is there: a connection, a path, the load.

One look each; when to look again is the core's. Never blocks: connections are made in the
selector, and the kernel gives them up (TCP_USER_TIMEOUT of tcp(7)).
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from stsd.messages import Probed
from stsd.model import Run, WaitFor
from stsd.resolver import Found, Resolver
from stsd.units import escaped

CONNECT_S = 5
"""How long a host may take to answer."""

_MOST_ADDRESSES = 8
_UNDERWAY = (0, errno.EINPROGRESS)


@dataclass(slots=True)
class _Look:
    run_id: str
    host: str
    port: int
    lookup: int | None = None
    connections: dict[int, socket.socket] = field(default_factory=dict)
    failures: dict[int, int] = field(default_factory=dict)  # errno of a connect that failed at once
    why: str = ""


class Probes:
    """The looks of one daemon that are under way; `selector` gets their descriptors, with `Probes`
    itself as data."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._resolver = Resolver(selector, self)
        self._by_run: dict[str, _Look] = {}
        self._by_fd: dict[int, _Look] = {}

    def begin(self, run: Run) -> Probed | None:
        """Look for what a run waits for; None if it takes a while, and `hear` will tell."""
        wanted = run.job.wait_for or WaitFor()
        missing = "; ".join([*_missing_path(wanted.path), *_missing_calm(wanted.load)])
        if missing or wanted.network is None:
            return Probed(run.id, missing)
        look = self._by_run[run.id] = _Look(run.id, *wanted.network)
        found = self._resolver.known(look.host)
        if found is not None:
            return self._connect(look, found)
        try:
            look.lookup = self._resolver.ask(look.host)
        except OSError as error:
            return self._over(look, f"its name cannot be looked up: {_words(error.errno)}")
        self._by_fd[look.lookup] = look
        return None

    def hear(self, fd: int) -> Probed | None:
        """Something happened at a descriptor; what a look has shown, if that ends it."""
        found = self._resolver.hear(fd)
        look = self._by_fd.get(fd)
        if look is None:
            return None
        if fd in look.connections:
            return self._ended(look, fd)
        if found is None:
            return None
        del self._by_fd[fd]
        look.lookup = None
        return self._connect(look, found)

    def abandon(self, run_id: str) -> None:
        """Nobody waits for the look of a run any more."""
        look = self._by_run.get(run_id)
        if look is not None:
            self._close(look)

    def close(self) -> None:
        """Abandon whatever is under way."""
        for run_id in list(self._by_run):
            self.abandon(run_id)

    def _connect(self, look: _Look, found: Found) -> Probed | None:
        """Try all addresses at once, so that one that never answers holds up no other."""
        look.why = found.why
        for address in found.addresses[:_MOST_ADDRESSES]:
            try:
                self._begin_connection(look, address)
            except OSError as error:
                look.why = _words(error.errno)
        return None if look.connections else self._over(look, look.why)

    def _begin_connection(self, look: _Look, address: str) -> None:
        family, kind, protocol, _, target = socket.getaddrinfo(
            address, look.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        connection = socket.socket(family, kind, protocol)
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, CONNECT_S * 1000)
        fd = connection.fileno()
        self._selector.register(fd, selectors.EVENT_WRITE, self)
        look.connections[fd] = connection
        self._by_fd[fd] = look
        failure = connection.connect_ex(target)
        if failure not in _UNDERWAY:
            look.failures[fd] = failure  # the selector tells of the socket all the same

    def _ended(self, look: _Look, fd: int) -> Probed | None:
        connection = look.connections[fd]
        failure = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        failure = failure or look.failures.get(fd, 0)
        if not failure:
            try:
                peer = connection.getpeername()
            except OSError:  # it was another descriptor of this number that was ready
                return None
            if peer != connection.getsockname():
                return self._over(look, "")
            failure = errno.ECONNREFUSED  # nobody listens: it has met itself
        self._forget(fd)
        look.connections.pop(fd).close()
        look.why = _words(failure)
        return None if look.connections else self._over(look, look.why)

    def _over(self, look: _Look, why: str) -> Probed:
        self._close(look)
        host = f"[{look.host}]" if ":" in look.host else look.host
        return Probed(look.run_id, why and f"no connection to {host}:{look.port}: {why}")

    def _close(self, look: _Look) -> None:
        del self._by_run[look.run_id]
        if look.lookup is not None:
            del self._by_fd[look.lookup]
            self._resolver.drop(look.lookup)
        for fd, connection in look.connections.items():
            self._forget(fd)
            connection.close()

    def _forget(self, fd: int) -> None:
        del self._by_fd[fd]
        self._selector.unregister(fd)


def _missing_path(path: str) -> Iterator[str]:
    if path:
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            yield f"no file {escaped(path)}"
        except OSError as error:
            yield f"no getting at {escaped(path)}: {_words(error.errno)}"


def _missing_calm(limit: float | None) -> Iterator[str]:
    if limit is not None and (load := os.getloadavg()[0]) >= limit:
        yield f"load {round(load, 2):g}, not below {limit:g}"


def _words(number: int | None) -> str:
    if number == errno.ETIMEDOUT:
        return f"no answer within {CONNECT_S} s"
    text = os.strerror(number or 0)
    return text[:1].lower() + text[1:]
