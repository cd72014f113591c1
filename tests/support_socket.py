"""A control socket without a daemon: driven turn by turn on a clock of the test's, or by a thread
for the clients that block; and what other users of the machine see of it."""

from __future__ import annotations

import json
import os
import selectors
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import structlog
from structlog.testing import LogCapture

from stsd.control import Control
from stsd.peers import Rights
from stsd.records import Started
from stsd.replies import Done, Reply, Request
from stsd.sockets import NAME
from tests.support import DEADLINE_S, wait_for


class Host:
    """What the daemon is to a control socket. `answer` may be replaced; `requests` are those that
    it was asked, `log` is what was logged, `outputs` the output of runs by their ids."""

    def __init__(self, folder: Path, rights: Rights | None = None) -> None:
        self.now = 1000.0
        self.requests: list[Request] = []
        self.outputs: dict[str, Path] = {}
        self.selector = selectors.DefaultSelector()
        self.folder = folder
        self.path = folder / NAME
        self._capture = LogCapture()
        log = structlog.wrap_logger(
            None,
            processors=[self._capture],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )
        own = Rights(os.geteuid()) if rights is None else rights
        self.control = Control(self.selector, [folder], own, self._answer, self._output, log)
        self.answer: Callable[[Request], Reply] = lambda request: Done({"do": request.do})
        self.clients: list[socket.socket] = []

    @property
    def log(self) -> list[Any]:
        return list(self._capture.entries)

    def events(self) -> list[str]:
        return [entry["event"] for entry in self.log]

    def turn(self, seconds: float = 0.0) -> None:
        """One turn of the loop, so many seconds later."""
        self.now += seconds
        for key, _ in self.selector.select(0):
            assert key.data is self.control
            self.control.hear(key, self.now)
        self.control.tend(self.now)

    def settle(self) -> None:
        """Turns, until nothing happens any more."""
        for _ in range(2000):
            self.turn()
            if not self.selector.select(0) and self.control.patience(self.now) != 0:
                return
        raise AssertionError("the control socket never comes to rest")

    def connect(self) -> Caller:
        caller = Caller(self, self.path)
        self.clients.append(caller.socket)
        return caller

    def close(self) -> None:
        for client in self.clients:
            client.close()
        self.control.close(self.now)
        self.selector.close()

    def _answer(self, request: Request) -> Reply:
        self.requests.append(request)
        return self.answer(request)

    def _output(self, started: Started) -> int | None:
        path = self.outputs.get(started.run)
        return os.open(path, os.O_RDONLY) if path is not None and path.exists() else None


class Caller:
    """A client without any manners."""

    def __init__(self, host: Host, path: Path) -> None:
        self.host = host
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(os.fspath(path))
        self.socket.setblocking(False)
        self.descriptors: list[int] = []
        self._received = b""

    def send(self, data: bytes) -> None:
        """As much as goes at once, turn by turn."""
        while data:
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                self.host.turn()

    def say(self, do: str, **arguments: object) -> None:
        self.send(json.dumps({"stsd": 1, "do": do, **arguments}).encode() + b"\n")

    def heard(self) -> list[dict[str, Any]]:
        """The lines that have come since the last time."""
        self.host.settle()
        self._receive()
        *lines, self._received = self._received.split(b"\n")
        return [json.loads(line) for line in lines]

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        self.say(do, **arguments)
        (line,) = self.heard()
        return line

    def refused(self, data: bytes) -> str:
        """The kind of error that these bytes are answered with."""
        self.send(data)
        (line,) = self.heard()
        return str(line["error"]["kind"])

    @property
    def hung_up(self) -> bool:
        """Whether the other end has closed, once all has been read."""
        self.host.settle()
        return self._receive()

    def _receive(self) -> bool:
        while True:
            try:
                data, fds, *_ = socket.recv_fds(self.socket, 1 << 16, 16)
            except BlockingIOError:
                return False
            except ConnectionResetError:
                return True
            self.descriptors += fds
            self._received += data
            if not data:
                return True


@contextmanager
def hosting(folder: Path, rights: Rights | None = None) -> Iterator[Host]:
    """An open control socket in a folder."""
    host = Host(folder, rights)
    try:
        assert host.control.open(host.now) == host.path
        yield host
    finally:
        host.close()


@contextmanager
def served(host: Host) -> Iterator[Host]:
    """The host's turns, taken by a thread, on the real clock."""
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            patience = host.control.patience(time.monotonic())
            ready = host.selector.select(min(0.02, 1.0 if patience is None else patience))
            host.now = time.monotonic()
            for key, _ in ready:
                host.control.hear(key, host.now)
            host.control.tend(host.now)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield host
    finally:
        stop.set()
        thread.join(DEADLINE_S)


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """A folder that every user of the machine can get at; that of a test is for its owner alone."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def as_user(host: Host, uid: int, gid: int, groups: list[int], act: Callable[[], object]) -> Any:
    """What `act` returns (a JSON value) in a process of another user, while the host takes turns.
    An OSError comes back as its name."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            try:
                told = act()
            except OSError as error:
                told = type(error).__name__
            os.write(writing, json.dumps(told).encode())
        finally:
            os._exit(0)
    os.close(writing)

    def over() -> bool:
        host.turn()
        return os.waitpid(pid, os.WNOHANG)[0] == pid

    wait_for(over, "the other user's process to end")
    with open(reading, "rb") as pipe:
        return json.loads(pipe.read())


def asking(path: Path, *requests: str) -> Callable[[], list[Any]]:
    """For `as_user`: one request after the other on one connection, and all lines of answer."""

    def act() -> list[Any]:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(DEADLINE_S)
            connection.connect(os.fspath(path))
            lines = []
            with connection.makefile("rb") as file:
                for do in requests:
                    with suppress(BrokenPipeError):
                        connection.sendall(json.dumps({"stsd": 1, "do": do}).encode() + b"\n")
                    lines.append(json.loads(file.readline()))
            return lines

    return act
