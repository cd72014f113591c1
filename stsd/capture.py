"""The output of runs: hands the pipes to the scribe, and hears from it what became of them.

Reads no output itself, and never waits: what the scribe's socket does not take at once is sent
when it does. Keeps a run's pipe open until its output is over, so that a scribe that dies is
replaced by another, and the job does not notice.

A message is one packet. To the scribe, the parts parted by NUL:
`O TOKEN MAX_SIZE TEE PATH SECRET…` with the pipe, and the secrets in a memfd if there are many
bytes of them; `C TOKEN`: its main process has ended. From the scribe, a line each: `P PID`;
`L TOKEN LINE`; `E TOKEN WHY`: its file cannot be written; `D TOKEN KEPT DISCARDED`: over;
`F WHY`: the scribe is about to die of a fault.
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from stsd.model import Output

PATIENCE_S = 5.0
"""How long the output of a run is waited for when its main process has ended."""
SHORTEST_SECRET = 4
"""Characters; what is shorter would be found everywhere."""
_SCRIBE = "import sys; sys.path.append(sys.argv.pop(1)); import stsd.scribe as s; s.main()"
"""Starts it wherever the package lies, with nothing else of the environment's."""
_PACKAGES = str(Path(__file__).parent.parent)
_SOCKET_BUFFER = 1 << 22
_PACKET_MAX = 1 << 16
_INLINE_MAX = 1 << 14
_SCRIBES_A_RUN = 3
_FULL = (errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS)


@dataclass(frozen=True, slots=True)
class Captured:
    """The output of a run is over: `kept` bytes of it are in its file, `discarded` are not."""

    run_id: str
    kept: int
    discarded: int


@dataclass(frozen=True, slots=True)
class Line:
    """A run has printed a line that the log is to be told."""

    run_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """What the log is to be told as an error: `scribe_died`, of no run, or `output_not_written`."""

    event: str
    run_id: str | None
    error: str


News = Captured | Line | Trouble


@dataclass(slots=True)
class _Taken:
    """A run whose output is taken in. `before` is what its file held when its scribe began, and
    `scribes` how many it has had."""

    run_id: str
    token: int
    path: str
    output: Output
    secrets: bytes
    pipe: int
    ceased: bool = False
    before: int = 0
    scribes: int = 0
    over: Captured | None = None


class Capture:
    """All runs of one daemon. The scribe is started by the first `open`.

    What `selector` has with this as its data is to be handed to `hear` when it is ready.
    `patience_s` is for how long an output is waited for when its main process has ended; until the
    scribe has told it, `scribe_pid` is None.
    """

    def __init__(
        self, selector: selectors.BaseSelector, log_dir: Path, patience_s: float = PATIENCE_S
    ) -> None:
        self._selector = selector
        self._log_dir = log_dir
        self._patience_s = patience_s
        self._tokens = count(1)
        self._by_run: dict[str, _Taken] = {}
        self._by_token: dict[int, _Taken] = {}
        self.scribe_pid: int | None = None
        self._scribe: socket.socket | None = None
        self._parent: subprocess.Popen[bytes] | None = None
        self._waiting: deque[tuple[str, int]] = deque()
        self._last_words = ""
        self._news: list[News] = []
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        selector.register(self._bell, selectors.EVENT_READ, self)

    def open(self, run_id: str, name: str, output: Output, hide: Sequence[str]) -> int:
        """The end of a pipe for a child to print into; it is the caller's to close. Raises OSError.

        `name` is of `stsd.output.output_name`; `hide` are secrets.
        """
        if self._scribe is None:
            self._start()
        pipe, end = os.pipe()
        secrets = b"\0".join(masked(hide)) if hide else b""
        path = f"{self._log_dir}/{name}"
        run = _Taken(run_id, next(self._tokens), path, output, secrets, pipe)
        self._by_run[run_id] = self._by_token[run.token] = run
        self._post("O", run.token)
        return end

    def cease(self, run_id: str) -> None:
        """The main process of a run has ended. A Captured follows: as soon as nobody can print
        into the pipe any more, or when PATIENCE_S is over."""
        run = self._by_run[run_id]
        run.ceased = True
        if run.over is None:
            self._post("C", run.token)
        else:
            self._tell(run, run.over)
            os.eventfd_write(self._bell, 1)

    def forget(self, run_id: str) -> None:
        """Nothing was started for this run; no Captured follows."""
        run = self._by_run.pop(run_id)
        self._drop(run)

    def hear(self, fd: int) -> list[News]:
        """What there is to tell, now that a descriptor is ready."""
        if fd == self._bell:
            os.eventfd_read(self._bell)
        elif self._scribe is not None:
            self._flush()
            self._receive(self._scribe)
        news, self._news = self._news, []
        return news

    def close(self) -> None:
        """Leave the scribe to itself: it goes on until the last pipe has come to its end."""
        self._part_with_scribe()
        for run in list(self._by_token.values()):
            self._drop(run)
        self._by_run.clear()
        self._selector.unregister(self._bell)
        os.close(self._bell)

    # -- to the scribe

    def _start(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            for end in (ours, its):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
            self._parent = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _SCRIBE, _PACKAGES, str(self._patience_s)],
                stdin=its.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env={},
                start_new_session=True,
            )
        except OSError:
            ours.close()
            raise
        finally:
            its.close()
        ours.setblocking(False)
        self._selector.register(ours, selectors.EVENT_READ, self)
        self._scribe = ours
        self._last_words = ""

    def _post(self, kind: str, token: int) -> None:
        if self._waiting or not self._send(kind, self._by_token[token]):
            self._waiting.append((kind, token))
            self._watch(selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _flush(self) -> None:
        """Send what waits, as far as it goes."""
        if not self._waiting:
            return
        while self._waiting:
            kind, token = self._waiting[0]
            run = self._by_token.get(token)
            if run is not None and not self._send(kind, run):
                return
            self._waiting.popleft()
        self._watch(selectors.EVENT_READ)

    def _watch(self, events: int) -> None:
        if self._scribe is not None:
            self._selector.modify(self._scribe, events, self)

    def _send(self, kind: str, run: _Taken) -> bool:
        """Whether the scribe's socket has taken it. Of a scribe that has died it does not matter:
        the next one is told of every run."""
        if self._scribe is None:
            return True
        try:
            if kind == "C":
                self._scribe.send(b"C\0%d" % run.token)
            else:
                self._introduce(self._scribe, run)
        except (BrokenPipeError, ConnectionResetError):
            return True
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return False
        return True

    def _introduce(self, scribe: socket.socket, run: _Taken) -> None:
        """Raises OSError."""
        room = max(0, run.output.max_size - run.before)
        head = b"O\0%d\0%d\0%d\0%s" % (
            run.token, room, run.output.tee, os.fsencode(run.path)
        )  # fmt: skip
        if len(run.secrets) <= _INLINE_MAX:
            packet = head + b"\0" + run.secrets if run.secrets else head
            socket.send_fds(scribe, [packet], [run.pipe])
            return
        memfd = os.memfd_create("secrets", os.MFD_CLOEXEC)
        try:
            with open(memfd, "wb", closefd=False) as file:
                file.write(run.secrets)
            os.lseek(memfd, 0, os.SEEK_SET)
            socket.send_fds(scribe, [head], [run.pipe, memfd])
        finally:
            os.close(memfd)

    # -- from the scribe

    def _receive(self, scribe: socket.socket) -> None:
        while self._scribe is scribe:
            try:
                packet = scribe.recv(_PACKET_MAX)
            except BlockingIOError:
                return
            except ConnectionResetError:  # told once; what the scribe has sent before is there
                continue
            if not packet:
                self._replace_scribe()
                return
            for line in packet.split(b"\n"):
                self._heard(line)

    def _heard(self, line: bytes) -> None:
        kind, _, rest = line.partition(b" ")
        if kind == b"P":
            self._reap_parent()
            self.scribe_pid = int(rest)
            return
        if kind == b"F":
            self._last_words = rest.decode(errors="replace")
            return
        token, _, rest = rest.partition(b" ")
        run = self._by_token.get(int(token))
        if run is None:  # nothing was started
            return
        if kind == b"D":
            kept, discarded = rest.split()
            self._over(run, run.before + int(kept), int(discarded))
        elif kind == b"L":
            self._news.append(Line(run.run_id, rest.decode(errors="replace")))
        else:
            why = f"cannot write {run.path}: {rest.decode(errors='replace')}"
            self._news.append(Trouble("output_not_written", run.run_id, why))

    def _over(self, run: _Taken, kept: int, discarded: int) -> None:
        captured = Captured(run.run_id, kept, discarded)
        self._drop(run)
        if run.ceased:
            self._tell(run, captured)
        else:
            run.over = captured

    def _tell(self, run: _Taken, captured: Captured) -> None:
        del self._by_run[run.run_id]
        self._news.append(captured)

    def _drop(self, run: _Taken) -> None:
        if self._by_token.pop(run.token, None) is not None:
            os.close(run.pipe)

    # -- a scribe that dies

    def _replace_scribe(self) -> None:
        """Another one goes on with the pipes; what the first had in memory is lost."""
        self._part_with_scribe()
        why = self._last_words or "it was killed"
        self._news.append(Trouble("scribe_died", None, why))
        runs = list(self._by_token.values())
        if not runs:
            return
        try:
            self._start()
        except OSError as error:
            self._news.append(Trouble("scribe_died", None, f"no other one can be started: {error}"))
            for run in runs:
                self._over(run, _size(run.path), 0)
            return
        for run in runs:
            self._hand_over(run)

    def _hand_over(self, run: _Taken) -> None:
        run.before = _size(run.path)
        run.scribes += 1
        if run.scribes >= _SCRIBES_A_RUN:  # it may be this one that they die of
            self._over(run, run.before, 0)
            return
        self._post("O", run.token)
        if run.ceased:
            self._post("C", run.token)

    def _part_with_scribe(self) -> None:
        self._waiting.clear()
        self._reap_parent()
        if self._scribe is not None:
            self._selector.unregister(self._scribe)
            self._scribe.close()
            self._scribe = self.scribe_pid = None

    def _reap_parent(self) -> None:
        """What was started has left the scribe behind and ended, or is about to."""
        if self._parent is not None:
            self._parent.wait()
            self._parent = None


def masked(secrets: Sequence[str]) -> list[bytes]:
    """What is masked of these secrets: each as a whole, and each of its lines; but nothing of
    fewer than SHORTEST_SECRET characters."""
    wholes = [secret.strip("\r\n") for secret in secrets]
    lines = [line.strip() for secret in wholes for line in secret.split("\n")]
    return [
        part.encode(errors="surrogateescape")
        for part in dict.fromkeys([*wholes, *lines])
        if len(part) >= SHORTEST_SECRET
    ]


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
