"""The herald's end of the metrics endpoint, which is a process of its own (`stsd.metrics_server`).

Hands it the numbers in files in memory, and hears from it when it wants them. Never waits for it
but for its end, and copies nothing that a client asks for. The messages are told there.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_SERVER = "import sys; sys.path.append(sys.argv.pop(1)); import stsd.metrics_server as s; s.main()"
"""Starts it wherever the package lies, with nothing else of the environment's."""
_PACKAGES = str(Path(__file__).parent.parent)
_MESSAGE_MAX = 4096
_LAST_WORDS = 500
_END_S = 5.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What the server has told: whether it wants numbers, at which addresses (`HOST:PORT`) it
    listens now, and why it has ended (None: it has not)."""

    wanted: bool = False
    listening: tuple[str, ...] = ()
    ended: str | None = None


class Endpoint:
    """A server at one address, from now on until `close`. `selector` gets a descriptor, with
    `data`; when it is ready, call `hear`. Numbers are handed over by `publish` when they are
    wanted; more often does no harm."""

    def __init__(
        self, selector: selectors.BaseSelector, data: object, listen: tuple[str, int]
    ) -> None:
        """Start it. Raises OSError."""
        self.listen = listen
        self._selector = selector
        self._said = os.memfd_create("metrics_server", os.MFD_CLOEXEC)
        self._socket, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _SERVER, _PACKAGES, listen[0], str(listen[1])],
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=self._said,
                cwd="/",
                env={},
            )
        except OSError:
            self._socket.close()
            os.close(self._said)
            raise
        finally:
            its.close()
        self._socket.setblocking(False)
        selector.register(self._socket, selectors.EVENT_READ, data)

    @property
    def pid(self) -> int:
        """Of the server's process."""
        return self._process.pid

    def hear(self) -> Heard:
        """All that it has told since the last call. When it has ended, `close` comes next."""
        wanted = False
        listening: list[str] = []
        while True:
            try:
                message = self._socket.recv(_MESSAGE_MAX)
            except BlockingIOError:
                return Heard(wanted, tuple(listening))
            except ConnectionResetError:
                message = b""
            match message[:1], message[2:].decode():
                case b"W", _:
                    wanted = True
                case b"L", address:
                    listening.append(address)
                case b"E", why:
                    return Heard(wanted, tuple(listening), why)
                case _:
                    return Heard(wanted, tuple(listening), self._last_words())

    def publish(self, pieces: Iterable[bytes]) -> None:
        """Hand over a set of numbers. Raises OSError where there is no memory for them; to a server
        that cannot take them now, or has ended, they are not handed, and it will ask again."""
        numbers = os.memfd_create("metrics", os.MFD_CLOEXEC)
        with open(numbers, "wb") as file:
            file.writelines(pieces)
            file.flush()
            try:
                socket.send_fds(self._socket, [b"N"], [numbers])
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                return

    def close(self) -> None:
        """End it, and wait for that."""
        self._selector.unregister(self._socket)
        self._socket.close()  # which it takes for its end
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._said)

    def _last_words(self) -> str:
        size = os.fstat(self._said).st_size
        said = os.pread(self._said, _LAST_WORDS, max(0, size - _LAST_WORDS))
        words = said.decode("utf-8", "replace").strip().splitlines()
        return words[-1] if words else f"it ended, with {self._process.wait()}"
