"""The daemon's end of the herald (`stsd.herald`), the process that tells people how jobs fare.

Starts it when the jobfile asks for any of that, nudges it when there is news in the history, and
starts it again when it has died. Never waits for it but at the very end, and needs it for nothing.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stsd.child import process_of
from stsd.link import let_go
from stsd.logs import LEVELS
from stsd.model import Reading
from stsd.places import Places
from stsd.settings import Jobfile
from stsd.wire import Said, Wire

FIRST_AGAIN_S = 1.0
LAST_AGAIN_S = 300.0
"""How long after its death the herald is started again: at first, and at most."""
GAUGES_S = 10.0
FAREWELL_S = 6.0
"""How long the end of the daemon waits for the herald to send what has gathered."""
_STEP_S = 1.0
"""By how much the clock has to be set for the herald to be told."""
_LAST_WORDS = 500
# What else of the daemon's environment it is given: where secrets are that are credentials, by
# which proxy the network is reached, and whose certificates are trusted.
_PASSED_ON = frozenset(
    {
        "CREDENTIALS_DIRECTORY",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE",
    }
)


def is_wanted(jobfile: Jobfile) -> bool:
    """Whether the jobfile asks for anything that the herald does."""
    if jobfile.settings.metrics is not None:
        return True
    return any(job.is_watched for job in jobfile.jobs.values())


@dataclass(slots=True)
class _Herald:
    """A process, and the wire to it. `events` are those that the selector waits for."""

    pid: int
    pidfd: int
    wire: Wire
    since: float
    events: int = 0
    conditions: dict[str, list[str]] = field(default_factory=dict)
    targets: dict[str, dict[str, object]] = field(default_factory=dict)
    audience: int = 0


class HeraldLink:
    """The herald of one daemon, if there is one. `selector` gets its descriptors with this object
    as their data; `environ` is what it is given, and `gauges` returns what the metrics are told of
    the daemon itself, which has been there `since` then (wall clock). What the herald has to log
    goes to `log`."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        places: Places,
        environ: Mapping[str, str],
        gauges: Callable[[], Mapping[str, object]],
        since: float,
        log: FilteringBoundLogger,
    ) -> None:
        self._selector = selector
        self._folders = (str(places.log_dir), str(places.state_dir))
        more = {name: word for name, word in os.environ.items() if name.upper() in _PASSED_ON}
        self._environ = {**environ, **more}
        self._gauges = gauges
        self._log = log
        self._said = os.memfd_create("herald", os.MFD_CLOEXEC)
        self._jobfile: Path | None = None
        self._told_from: float | None = since
        self._with_gauges = False
        self._gauges_at = 0.0
        self._herald: _Herald | None = None
        self._again_at = 0.0
        self._again_s = FIRST_AGAIN_S
        self._problem: str | None = None
        self._held: str | None = None
        self._offset: float | None = None

    @property
    def conditions(self) -> Mapping[str, Sequence[str]]:
        """What is amiss, by job, in the words of `stsd.notices.Event`."""
        return self._herald.conditions if self._herald is not None else {}

    def serve(self, jobfile: Jobfile, mono: float) -> None:
        """This jobfile is in force from now on."""
        self._with_gauges = jobfile.settings.metrics is not None
        if not is_wanted(jobfile):
            self._jobfile = self._problem = self._told_from = None
            self._leave()
            return
        self._jobfile = jobfile.path
        if self._herald is not None:
            self._herald.wire.tell("reload", True)
        self._tend(mono)

    def news(self) -> None:
        """A record has been written to the history."""
        if self._herald is not None:
            self._herald.wire.tell("news", True)

    def held(self, error: str | None) -> None:
        """The history cannot be written, for this reason; or it can again (None), and has what
        has waited for that."""
        self._held = error
        if self._herald is not None:
            self._herald.wire.tell("held", error)
            self.news()

    def hear(self, mono: float) -> None:
        """A descriptor is ready."""
        herald = self._herald
        if herald is None:
            return
        for said in herald.wire.heard():
            self._take(herald, said)
        ended = os.waitid(os.P_PIDFD, herald.pidfd, os.WEXITED | os.WNOHANG)
        if ended is not None:
            self._mourn(herald, ended, mono)
        elif herald.wire.ended:
            signal.pidfd_send_signal(herald.pidfd, signal.SIGKILL)

    def tend(self, now: Reading) -> None:
        """Tell what there is to tell; to be called in each turn, when the history is written."""
        offset = now.wall - now.mono
        if self._offset is None or abs(offset - self._offset) > _STEP_S:
            self._offset = offset
            self.news()
        if self._with_gauges and self._herald is not None and now.mono >= self._gauges_at:
            self._gauges_at = now.mono + GAUGES_S
            self._herald.wire.tell("gauges", dict(self._gauges()))
        self._tend(now.mono)

    def patience(self, mono: float) -> float | None:
        """In how many seconds `tend` wants to be called again; None: when something happens."""
        if self._jobfile is None:
            return None
        if self._herald is None:
            return max(0.0, self._again_at - mono)
        return max(0.0, self._gauges_at - mono) if self._with_gauges else None

    def about(self) -> dict[str, object] | None:
        """How the telling fares; None where nothing is to be told."""
        if self._jobfile is None:
            return None
        herald = self._herald
        return {
            "pid": None if herald is None else herald.pid,
            "problem": self._problem,
            "audience": 0 if herald is None else herald.audience,
            "targets": [] if herald is None else list(herald.targets.values()),
        }

    def close(self) -> None:
        """Let the herald send what has gathered, and end; waits for that for FAREWELL_S."""
        herald = self._herald
        if herald is None:
            return
        herald.wire.tell("news", True)
        herald.wire.flush()
        herald.wire.socket.shutdown(socket.SHUT_WR)
        with selectors.DefaultSelector() as waiting:
            waiting.register(herald.pidfd, selectors.EVENT_READ)
            waiting.select(FAREWELL_S)
        for said in herald.wire.heard():
            self._take(herald, said)
        self._leave()

    # -- the process

    def _tend(self, mono: float) -> None:
        if self._jobfile is not None and self._herald is None and mono >= self._again_at:
            self._begin(self._jobfile, mono)
        herald = self._herald
        if herald is None:
            return
        herald.wire.flush()
        if herald.wire.wanted != herald.events:
            herald.events = herald.wire.wanted
            self._selector.modify(herald.wire.socket, herald.events, self)

    def _begin(self, jobfile: Path, mono: float) -> None:
        try:
            herald = self._begun(jobfile, mono)
        except OSError as error:
            self._put_off(f"it cannot be started: {error.strerror or error}", mono)
            return
        herald.events = herald.wire.wanted
        self._selector.register(herald.wire.socket, herald.events, self)
        self._selector.register(herald.pidfd, selectors.EVENT_READ, self)
        self._herald = herald
        self._gauges_at = mono
        herald.wire.tell("held", self._held)
        self._log.debug("herald_started", pid=herald.pid)

    def _begun(self, jobfile: Path, mono: float) -> _Herald:
        """Raises OSError."""
        os.ftruncate(self._said, 0)
        os.lseek(self._said, 0, os.SEEK_SET)
        words = (str(jobfile), *self._folders, str(self._told_from or time.time()))
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = subprocess.Popen(
                    process_of("herald", *words),
                    stdin=theirs.fileno(),
                    stdout=self._said,
                    stderr=self._said,
                    cwd="/",
                    env=self._environ,
                    start_new_session=True,
                )
            pid = let_go(process)
            return _Herald(pid, os.pidfd_open(pid), Wire(ours), mono)
        except OSError:
            ours.close()
            raise

    def _mourn(self, herald: _Herald, ended: os.waitid_result, mono: float) -> None:
        """It has died, which it never does by itself as long as it is wanted."""
        if mono >= herald.since + LAST_AGAIN_S:
            self._again_s = FIRST_AGAIN_S
        how = "exit code" if ended.si_code == os.CLD_EXITED else "signal"
        words = self._last_words()
        self._leave()
        self._put_off(f"it has ended ({how} {ended.si_status})" + (words and f": {words}"), mono)

    def _put_off(self, problem: str, mono: float) -> None:
        self._log.error("herald_ended", problem=problem, again_in_s=self._again_s)
        self._problem = problem
        self._again_at = mono + self._again_s
        self._again_s = min(2 * self._again_s, LAST_AGAIN_S)

    def _leave(self) -> None:
        """Hang up, by which it knows that it is not wanted any more. If it has not ended yet, it
        is reaped with what else ends and is nobody's."""
        if self._herald is not None:
            for descriptor in (self._herald.wire.socket, self._herald.pidfd):
                self._selector.unregister(descriptor)
            self._herald.wire.close()
            os.close(self._herald.pidfd)
            self._herald = None

    def _last_words(self) -> str:
        start = max(0, os.fstat(self._said).st_size - _LAST_WORDS)
        lines = os.pread(self._said, _LAST_WORDS, start).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    # -- its words

    def _take(self, herald: _Herald, said: Said) -> None:
        match said.get("conditions"):
            case dict(changed):
                herald.conditions.update(changed)
                for job in [job for job, events in changed.items() if not events]:
                    del herald.conditions[job]
        match said.get("targets"):
            case dict(changed):
                herald.targets.update(changed)
                for target in [target for target, told in changed.items() if told is None]:
                    del herald.targets[target]
        match said.get("audience"):
            case int(number):
                herald.audience = number
        match said.get("log"):
            case list(entries):
                self._relay(entries)
        if said.get("ready"):
            self._problem = self._told_from = None

    def _relay(self, entries: Iterable[Sequence[object]]) -> None:
        for level, event, fields in entries:
            if level in LEVELS and isinstance(fields, dict):
                getattr(self._log, str(level))(event, **fields)
