"""The output of runs: hands the pipes to the scribe, and hears from it what became of them.

Reads no output itself, and never waits: what the scribe's socket does not take at once is sent
when it does. Keeps a run's pipe open until its output is over, so that a scribe that dies is
replaced by another, and the job does not notice.

A message is one packet. To the scribe, the parts parted by NUL: `O`, and for each of several runs
`TOKEN MAX_SIZE TEE SECRETS PATH`, with its pipe, and a memfd behind that if SECRETS is 1;
`C TOKEN`: its main process has ended. From the scribe, a line each: `P PID`;
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
from array import array
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count, islice, takewhile
from pathlib import Path
from socket import SCM_RIGHTS, SOL_SOCKET

from stsd.link import memory_file
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
PIPES_A_PACKET = 15
"""As many as the longest paths (PATH_MAX) leave room for."""
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
    """A run whose output is taken in. `secrets` is a file in memory, -1 for none; `before` is what
    its file held when its scribe began, and `scribes` how many it has had."""

    run_id: str
    token: int
    path: str
    output: Output
    pipe: int
    secrets: int = -1
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
        self._events = 0
        self._last_words = ""
        self._news: list[News] = []
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        selector.register(self._bell, selectors.EVENT_READ, self)

    def open(self, run_id: str, name: str, output: Output, hide: Sequence[str]) -> int:
        """The end of a pipe for a child to print into, when the scribe has been told of it: see
        `flush`. It is the caller's to close. Raises OSError.

        `name` is of `stsd.output.output_name`; `hide` are secrets.
        """
        if self._scribe is None:
            self._start()
        pipe, end = os.pipe()
        run = _Taken(run_id, next(self._tokens), f"{self._log_dir}/{name}", output, pipe)
        if secrets := b"\0".join(masked(hide)):
            try:
                run.secrets = memory_file("secrets", secrets)
            except OSError:
                os.close(pipe)
                os.close(end)
                raise
        self._by_run[run_id] = self._by_token[run.token] = run
        self._waiting.append(("O", run.token))
        return end

    def flush(self) -> None:
        """Tell the scribe all that it has not been told yet, as far as its socket takes that."""
        while self._waiting and self._scribe is not None:
            if not self._send(self._scribe):
                self._watch(selectors.EVENT_READ | selectors.EVENT_WRITE)
                return
        self._waiting.clear()  # without a scribe: the next one is told of every run
        self._watch(selectors.EVENT_READ)

    def cease(self, run_id: str) -> None:
        """The main process of a run has ended. A Captured follows: as soon as nobody can print
        into the pipe any more, or when PATIENCE_S is over."""
        run = self._by_run[run_id]
        run.ceased = True
        if run.over is None:
            self._waiting.append(("C", run.token))
            self.flush()
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
            self.flush()
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
        self._events = selectors.EVENT_READ
        self._selector.register(ours, self._events, self)
        self._scribe = ours
        self._last_words = ""

    def _watch(self, events: int) -> None:
        if self._scribe is not None and events != self._events:
            self._selector.modify(self._scribe, events, self)
            self._events = events

    def _send(self, scribe: socket.socket) -> bool:
        """Whether the scribe's socket has taken what is first of all that waits. Of a scribe that
        has died it does not matter: the next one is told of every run."""
        kind, token = self._waiting[0]
        count = 1
        try:
            if kind == "C":
                scribe.send(b"C\0%d" % token)
            else:
                count = self._introduce(scribe)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return False
        for _ in range(count):
            self._waiting.popleft()
        return True

    def _introduce(self, scribe: socket.socket) -> int:
        """Hand over the pipes that wait to be, as many as go into a packet, and return how many
        these are. Raises OSError."""
        first = islice(self._waiting, PIPES_A_PACKET)
        tokens = [token for _, token in takewhile(lambda each: each[0] == "O", first)]
        runs = [self._by_token[token] for token in tokens if token in self._by_token]
        parts, fds = [b"O"], array("i")
        for run in runs:
            room = max(0, run.output.max_size - run.before)
            about = (run.token, room, run.output.tee, run.secrets >= 0, os.fsencode(run.path))
            parts.append(b"%d\0%d\0%d\0%d\0%s" % about)
            fds.extend((run.pipe,) if run.secrets < 0 else (run.pipe, run.secrets))
        if runs:
            scribe.sendmsg([b"\0".join(parts)], [(SOL_SOCKET, SCM_RIGHTS, fds)])
        return len(tokens)

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
            if run.secrets >= 0:
                os.close(run.secrets)

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
                self._over(run, size_of(run.path), 0)
            return
        for run in runs:
            self._hand_over(run)
        self.flush()

    def _hand_over(self, run: _Taken) -> None:
        run.before = size_of(run.path)
        run.scribes += 1
        if run.scribes >= _SCRIBES_A_RUN:  # it may be this one that they die of
            self._over(run, run.before, 0)
            return
        self._waiting.append(("O", run.token))
        if run.ceased:
            self._waiting.append(("C", run.token))

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


def size_of(path: str) -> int:
    """The bytes that are kept of an output; 0 if it has none, somebody has tidied up, or it cannot
    be reached, as on a disk that fails."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
