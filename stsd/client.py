"""The client's end of the control socket: finds the daemon of a jobfile, asks it, and is told.

Speaks to no daemon of another jobfile. Knows what goes over the socket, and not what it means.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from stsd import sockets
from stsd.errors import JobfileError, NoDaemonError, StsdError
from stsd.protocol import VERSION, Trouble, encode_request

HELLO_S = 5.0
"""How long a daemon may take to say who it is, and to have room for one more client."""
ANSWER_S = 60.0
"""How long it may take to answer: a reload checks the whole jobfile."""
_PAUSE_S = 0.05
_AT_ONCE = 1 << 16
_MOST_DESCRIPTORS = 16


class RefusedError(StsdError):
    """The daemon has answered with an error; `kind` is one of `stsd.protocol.Trouble`, `problems`
    are those of an invalid jobfile."""

    def __init__(self, kind: str, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__("\n".join([message, *problems]))
        self.kind = kind
        self.message = message
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Told:
    """One line of an answer that goes on while a client waits; what it does not say is None.

    `runs` are the runs that are waited for, told once and before all else, with the jobs that were
    `skipped`. `record` is a record of
    the history. `descriptor` is the file with the output of an attempt, from its first byte, open
    for reading and the receiver's to close; `output` says whose: run id and attempt. `row` is
    one of a list. `answer` is the last line.
    """

    runs: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
    record: dict[str, Any] | None = None
    output: tuple[str, int] | None = None
    descriptor: int | None = None
    row: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None


class Client:
    """A connection to one daemon, to be closed or used as a context manager. `hello` is what it
    has said of itself."""

    def __init__(self, path: Path) -> None:
        """Connect to the daemon at a socket. Raises OSError, RefusedError, and NoDaemonError if
        it does not answer."""
        self.path = path
        self._buffer = bytearray()
        self._descriptors: deque[int] = deque()
        until = time.monotonic() + HELLO_S
        while True:
            self._socket = _connected(path, until)
            try:
                self.hello = self._ask("hello", {}, until)
            except RefusedError as error:
                self.close()
                if error.kind != Trouble.BUSY or time.monotonic() > until:
                    raise
                time.sleep(_PAUSE_S)
            except BaseException:
                self.close()
                raise
            else:
                return

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, do: str, **arguments: object) -> dict[str, Any]:
        """The answer to a request; the rows of a list are in it as `jobs`. Raises RefusedError, and
        NoDaemonError if none comes."""
        return self._ask(do, arguments, time.monotonic() + ANSWER_S)

    def follow(
        self, do: str, *, poll_s: float | None = None, **arguments: object
    ) -> Iterator[Told | None]:
        """Ask for something that takes a while, and tell what happens until the answer, which
        comes last. With `poll_s` there is a None each time that nothing has come for so many
        seconds. Raises as `ask` does; the daemon may take any time for it."""
        self._send(do, arguments)
        while True:
            line = self._line(None if poll_s is None else time.monotonic() + poll_s)
            if line is None:
                yield None
                continue
            told = self._told(line)
            yield told
            if told.answer is not None:
                return

    def close(self) -> None:
        """Hang up. What was started goes on."""
        self._socket.close()
        self._buffer.clear()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def _ask(self, do: str, arguments: Mapping[str, object], until: float) -> dict[str, Any]:
        self._send(do, arguments)
        rows: list[dict[str, Any]] = []
        while True:
            line = self._line(until)
            if line is None:
                raise NoDaemonError(f"the daemon at {self.path} does not answer")
            told = self._told(line)
            if told.descriptor is not None:
                os.close(told.descriptor)
            if told.row is not None:
                rows.append(told.row)
            if told.answer is not None:
                return {"jobs": rows, **told.answer} if do == "status" else told.answer

    def _told(self, line: bytes) -> Told:
        """Raises RefusedError, and NoDaemonError for what no daemon would say."""
        try:
            content = json.loads(line)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise NoDaemonError(f"what listens at {self.path} is not stsd")
        if "error" in content:
            error = content["error"]
            kind, message = str(error.get("kind")), str(error.get("message"))
            if kind == Trouble.UNSUPPORTED:
                message += f"; this stsd speaks version {VERSION}: use the stsd of the daemon"
            raise RefusedError(kind, message, tuple(map(str, error.get("problems", ()))))
        output, record = content.get("output"), content.get("record")
        accepted = content.get("accepted")
        return Told(
            runs=tuple(accepted["runs"]) if accepted is not None else None,
            skipped=tuple(accepted.get("skipped", ())) if accepted is not None else (),
            record=record,
            output=(output["run"], output["attempt"]) if output is not None else None,
            descriptor=self._descriptors.popleft() if output and self._descriptors else None,
            row=content.get("row"),
            answer=content.get("answer"),
        )

    def _send(self, do: str, arguments: Mapping[str, object]) -> None:
        request = encode_request(
            do, {name: value for name, value in arguments.items() if value is not None}
        )
        try:
            self._socket.sendall(request)
        except (BrokenPipeError, ConnectionResetError):
            # It has hung up; before that it may have said why, which is read next.
            return

    def _line(self, until: float | None) -> bytes | None:
        """The next line; None if there is none by then. Raises NoDaemonError at the end."""
        while b"\n" not in self._buffer:
            patience = None if until is None else max(0.0, until - time.monotonic())
            if not _readable(self._socket, patience):
                return None
            self._receive()
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = rest
        return bytes(line)

    def _receive(self) -> None:
        room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * 4)
        try:
            data, ancillary, *_ = self._socket.recvmsg(_AT_ONCE, room, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            data, ancillary = b"", []
        for level, kind, packed in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                received = array.array("i")
                received.frombytes(packed[: len(packed) - len(packed) % received.itemsize])
                self._descriptors.extend(received)
        if not data:
            raise NoDaemonError(f"the daemon at {self.path} has hung up")
        self._buffer += data


def find(config: Path, environ: Mapping[str, str] = os.environ, *, named: bool = True) -> Client:
    """The daemon that runs a jobfile. $STSD_SOCKET names its socket; else it is looked for where
    daemons have theirs.

    `named` says that the user has named the jobfile. If not, and there is none, any single daemon
    will do; and so will that at $STSD_SOCKET. Raises NoDaemonError, and RefusedError if it is there
    but does not let this user in.
    """
    return _Search(config, environ, named).found()


class _Search:
    """One search for a daemon."""

    def __init__(self, config: Path, environ: Mapping[str, str], named: bool) -> None:
        self._config = os.path.realpath(config)
        self._environ = environ
        self._told = environ.get("STSD_SOCKET")
        self._any = not named and (bool(self._told) or not os.path.exists(config))
        self._tried: dict[Path, str] = {}
        self._others: list[Client] = []
        self._refusal: RefusedError | None = None

    def found(self) -> Client:
        """The daemon, and no other connection left open."""
        try:
            for path in self._paths():
                client = self._client(path)
                if client is not None and self._is_meant(client):
                    return client
                if client is not None:
                    self._others.append(client)
            if self._any and len(self._others) == 1:
                return self._others.pop()
        finally:
            for other in self._others:
                other.close()
        raise self._none()

    def _is_meant(self, client: Client) -> bool:
        return os.path.realpath(str(client.hello.get("jobfile"))) == self._config

    def _paths(self) -> Iterator[Path]:
        if self._told:
            yield Path(self._told)
            return
        seen = set()
        for path in sockets.candidates(self._environ):
            if path not in seen:
                seen.add(path)
                yield path
        # Only now, since it takes a reading of the jobfile.
        own = self._state_dir() / sockets.NAME
        if own not in seen:
            yield own

    def _state_dir(self) -> Path:
        from stsd.jobfile import load_settings
        from stsd.places import places
        from stsd.settings import Settings

        try:
            settings = load_settings(Path(self._config))
        except JobfileError as error:  # where the daemon is may be told without it
            self._tried[Path(self._config)] = f"its state_dir is not known: {error.problems[0]}"
            settings = Settings()
        return places(settings, self._environ).state_dir

    def _client(self, path: Path) -> Client | None:
        try:
            client = Client(path)
        except (FileNotFoundError, NotADirectoryError):
            self._tried[path] = "no such socket"
        except ConnectionRefusedError:
            self._tried[path] = "nobody listens there"
        except BlockingIOError:
            self._tried[path] = "does not answer, and many are waiting already"
        except OSError as error:
            self._tried[path] = (error.strerror or str(error)).lower()
        except RefusedError as error:
            self._tried[path] = error.message
            self._refusal = error
        except NoDaemonError as error:
            self._tried[path] = str(error)
        else:
            self._tried[path] = f"runs {client.hello.get('jobfile')}"
            return client
        return None

    def _none(self) -> StsdError:
        tried = tuple(f"{path}: {what}" for path, what in self._tried.items())
        if self._refusal is not None:
            return RefusedError(self._refusal.kind, "; ".join(tried))
        if self._any and self._others:
            message = "several daemons run here: name the jobfile with -c"
        else:
            message = f"no daemon runs {self._config} (start it: stsd run -c {self._config})"
        return NoDaemonError(message, tried)


def _connected(path: Path, until: float) -> socket.socket:
    """Raises OSError."""
    while True:
        try:
            return sockets.connected(path)
        except BlockingIOError:  # more are waiting to be let in than the kernel keeps
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)


def _readable(connection: socket.socket, patience_s: float | None) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(None if patience_s is None else patience_s * 1000))
