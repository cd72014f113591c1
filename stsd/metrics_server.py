"""Serves the metrics over HTTP; a program of its own, `metrics_server HOST PORT`.

Makes no number itself: the herald hands it each set of them as a file in memory, which goes from
there to the clients as it is. Asks for a new set when a client comes and the last one is stale.
No client waits for another: nothing blocks, each has its time, and there is a bound on how many
there are. Imports nothing of stsd and nothing that takes long to import. It is the one program of
stsd that listens to the network, and so is root no longer than it takes to have the port.

Descriptor 0 is a socket to `stsd.endpoint`, a message a packet. To the server: `N` with the file.
From the server: `L ADDRESS`, it listens there; `W`, numbers are wanted; `E WHY`, it cannot listen,
and ends.
"""

from __future__ import annotations

import errno
import os
import re
import selectors
import signal
import socket
import sys
import time
from enum import Enum, auto
from http import HTTPStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
FRESH_S = 1.0
"""Numbers that are younger than this are not asked for again."""
PATIENCE_S = 5.0
"""For so long new numbers are waited for; then a client gets the last ones there are."""
REQUEST_S = 10.0
ANSWER_S = 60.0
LINGER_S = 2.0
"""For so long a client may take over its request, over the answer, and over hanging up."""
CLIENTS_MAX = 64
_BACKLOG = 4 * CLIENTS_MAX
_HEAD_MAX = 8192
_MESSAGE_MAX = 64
_NOBODY = 65534  # the kernel's overflowuid, and nobody's everywhere
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(rb"(\S+) (\S+) HTTP/1\.[01]\r?\n")
_ABSENT = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # IPv6, on machines that have none


class Phase(Enum):
    """How far a client has come."""

    ASKING = auto()
    WAITING = auto()
    GETTING = auto()
    LEAVING = auto()


class Numbers:
    """A set of metrics: a file in memory, and when it came (monotonic clock)."""

    __slots__ = ("at", "fd", "size")

    def __init__(self, fd: int, at: float) -> None:
        self.fd = fd
        self.size = os.fstat(fd).st_size
        self.at = at


class Client:
    """One connection: what it has sent, and what is still to be sent to it."""

    __slots__ = ("body", "deadline", "head", "offset", "phase", "received", "size", "socket")

    def __init__(self, connection: socket.socket, now: float) -> None:
        self.socket = connection
        self.phase = Phase.ASKING
        self.deadline = now + REQUEST_S
        self.received = bytearray()
        self.head = b""
        self.body = -1
        self.offset = 0
        self.size = 0

    @property
    def wants_body(self) -> bool:
        """Whether its answer is more than a head."""
        return not self.received.startswith(b"HEAD ")

    def answer(self, status: HTTPStatus, text: str = "", also: str = "") -> None:
        """Have this sent; `also` are lines of the head."""
        body = f"{status.value} {status.phrase}: {text}\n".encode()
        self.head = _head(status, len(body), also) + (body if self.wants_body else b"")

    def hand(self, numbers: Numbers) -> None:
        """Have these numbers sent, whatever becomes of them here in the meantime."""
        self.head = _head(HTTPStatus.OK, numbers.size, "")
        if self.wants_body:
            self.body = os.dup(numbers.fd)
            self.size = numbers.size

    def send(self) -> bool:
        """Send what the connection takes; whether that was all. Raises OSError."""
        try:
            while self.head:
                self.head = self.head[self.socket.send(self.head) :]
            while self.offset < self.size:
                left = self.size - self.offset
                self.offset += os.sendfile(self.socket.fileno(), self.body, self.offset, left)
        except BlockingIOError:
            return False
        return True

    def close(self) -> None:
        """Let go of the connection."""
        self.socket.close()
        if self.body >= 0:
            os.close(self.body)


class Server:
    """The loop, until the herald has gone."""

    def __init__(self, herald: socket.socket, listeners: list[socket.socket]) -> None:
        self._herald = herald
        self._herald.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(herald, selectors.EVENT_READ, herald)
        for listener in listeners:
            listener.setblocking(False)
            self._selector.register(listener, selectors.EVENT_READ, listener)
        self._clients: dict[Client, None] = {}  # in the order in which they came
        self._numbers: Numbers | None = None
        self._asked = False

    def run(self) -> None:
        """Returns when the herald has gone."""
        while True:
            for key, _ in self._selector.select(self._sleep()):
                if key.data is self._herald:
                    if not self._hear():
                        return
                elif isinstance(key.data, Client):
                    if key.data in self._clients:  # it may have had to make room for another
                        self._serve(key.data)
                else:
                    self._accept(key.data)
            self._expire()

    def _sleep(self) -> float | None:
        deadlines = [client.deadline for client in self._clients]
        return max(0.0, min(deadlines) - time.monotonic()) if deadlines else None

    def _hear(self) -> bool:
        """Take a new set of numbers; False when the herald has gone."""
        try:
            message, fds, _, _ = socket.recv_fds(self._herald, _MESSAGE_MAX, 1)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            return False
        for fd in fds:
            self._take(Numbers(fd, time.monotonic()))
        return bool(message)

    def _take(self, numbers: Numbers) -> None:
        if self._numbers is not None:
            os.close(self._numbers.fd)
        self._numbers = numbers
        self._asked = False
        for client in list(self._clients):
            if client.phase is Phase.WAITING:
                self._hand(client)

    def _accept(self, listener: socket.socket) -> None:
        try:
            connection, _ = listener.accept()
        except OSError:  # the client has gone again, or there is no descriptor left for it
            return
        connection.setblocking(False)
        if len(self._clients) >= CLIENTS_MAX:
            self._drop(min(self._clients, key=_is_served))
        client = Client(connection, time.monotonic())
        self._clients[client] = None
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _serve(self, client: Client) -> None:
        try:
            if client.phase is Phase.GETTING:
                self._send(client)
            elif not (received := client.socket.recv(_HEAD_MAX)):
                self._drop(client)
            elif client.phase is Phase.ASKING:
                client.received += received
                self._read(client)
        except BlockingIOError:
            return
        except OSError:  # it has hung up
            self._drop(client)

    def _read(self, client: Client) -> None:
        """Answer a request as soon as its head is there."""
        if not _END_OF_HEAD.search(client.received):
            if len(client.received) < _HEAD_MAX:
                return
            status, text, also = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "it is too long", ""
        else:
            status, text, also = judged(bytes(client.received))
        if status is not HTTPStatus.OK:
            client.answer(status, text, also)
            self._begin_answer(client)
        elif self._numbers is not None and time.monotonic() - self._numbers.at < FRESH_S:
            self._hand(client)
        else:
            self._want(client)

    def _want(self, client: Client) -> None:
        """Let a client wait for new numbers. Nothing is read from it in the meantime, so that one
        that has said all it has to say may close its half of the connection."""
        self._selector.unregister(client.socket)
        client.phase = Phase.WAITING
        client.deadline = time.monotonic() + PATIENCE_S
        if not self._asked:
            self._asked = _told(self._herald, b"W")

    def _hand(self, client: Client) -> None:
        """Answer with the numbers there are."""
        if self._numbers is None:
            client.answer(HTTPStatus.SERVICE_UNAVAILABLE, "there are no metrics yet")
        else:
            client.hand(self._numbers)
        self._begin_answer(client)

    def _begin_answer(self, client: Client) -> None:
        if client.phase is Phase.WAITING:
            self._selector.register(client.socket, selectors.EVENT_WRITE, client)
        else:
            self._selector.modify(client.socket, selectors.EVENT_WRITE, client)
        client.phase = Phase.GETTING
        client.deadline = time.monotonic() + ANSWER_S

    def _send(self, client: Client) -> None:
        """Go on with an answer. At its end the client hangs up first: what it has sent besides its
        request would else make the kernel take the answer back (close(2), unread data)."""
        if client.send():
            client.phase = Phase.LEAVING
            client.deadline = time.monotonic() + LINGER_S
            client.socket.shutdown(socket.SHUT_WR)
            self._selector.modify(client.socket, selectors.EVENT_READ, client)

    def _expire(self) -> None:
        now = time.monotonic()
        for client in [client for client in self._clients if client.deadline <= now]:
            if client.phase is Phase.WAITING:
                self._asked = False
                self._hand(client)
            else:
                self._drop(client)

    def _drop(self, client: Client) -> None:
        del self._clients[client]
        if client.phase is not Phase.WAITING:
            self._selector.unregister(client.socket)
        client.close()


def _is_served(client: Client) -> bool:
    """Whether a client has asked for what it is now to get; others make room first."""
    return client.phase in (Phase.WAITING, Phase.GETTING)


def judged(request: bytes) -> tuple[HTTPStatus, str, str]:
    """The answer to a request by its first line (RFC 9112): its status, a text, and lines that its
    head has besides. GET and HEAD of /metrics, with any query, are answered with the numbers."""
    line = _REQUEST_LINE.match(request)
    if line is None:
        return HTTPStatus.BAD_REQUEST, "this is no request of HTTP/1.1", ""
    path = re.sub(rb"^https?://[^/?#]*", b"", line[2], flags=re.I).partition(b"?")[0]
    if path != b"/metrics":
        return HTTPStatus.NOT_FOUND, "the metrics are at /metrics", ""
    if line[1] not in (b"GET", b"HEAD"):
        return HTTPStatus.METHOD_NOT_ALLOWED, "the metrics can be read", "Allow: GET, HEAD\r\n"
    return HTTPStatus.OK, "", ""


def listeners_at(host: str, port: int) -> list[socket.socket]:
    """Sockets that listen at all addresses that a name has. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    listening: list[socket.socket] = []
    absent: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        try:
            listening.append(_listener(family, address, alone=len(found) == 1))
        except OSError as error:
            if error.errno not in _ABSENT:
                raise
            absent = error
    if not listening and absent is not None:
        raise absent
    return listening


def _listener(family: int, address: tuple[object, ...], *, alone: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and not alone:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """Where it listens, as in a URL."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def become_nobody() -> None:
    """Have no rights but those on what is open already. Where root cannot become another user,
    since the service's unit or a container has no other, it stays what it is."""
    if os.geteuid() != 0:
        return
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError:  # EPERM, EINVAL
        return


def main() -> None:
    """Listen at the host and port of the arguments and serve until the herald has gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the daemon to act on
    herald = socket.socket(fileno=0)
    host, port = sys.argv[1], int(sys.argv[2])
    try:
        listeners = listeners_at(host, port)
    except OSError as error:
        _told(herald, f"E {_why(error)}".encode())
        sys.exit(1)
    become_nobody()
    for listener in listeners:
        _told(herald, f"L {address_of(listener)}".encode())
    Server(herald, listeners).run()


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another program listens there (`ss -ltnp` names it)"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address"
    return error.strerror or str(error)


def _told(herald: socket.socket, message: bytes) -> bool:
    """Whether the herald could be told; when it has gone, its socket tells so next."""
    try:
        herald.send(message)
    except (BlockingIOError, BrokenPipeError, ConnectionResetError):
        return False
    return True


def _head(status: HTTPStatus, length: int, also: str) -> bytes:
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    return (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nDate: {date}\r\n"
        f"Content-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\n"
        f"{also}Connection: close\r\n\r\n"
    ).encode()


if __name__ == "__main__":
    main()
