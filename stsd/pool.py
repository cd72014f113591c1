"""The subprocess pool: the one place that watches, signals and reaps the children of runs.

Decides nothing: how many run at once, and for how long, is the core's. Each child is in a session
and process group of its own, and is waited for by pidfd. Never waits for anything else.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from stsd.capture import PIPES_A_PACKET, Capture, Captured, News, size_of
from stsd.cgroups import Cgroups
from stsd.child import ChildSpec, child_spec
from stsd.ending import (
    LAUNCHED_PEAK_KIB,
    exited,
    last_words,
    limit_met,
    own_peak_kib,
    with_usage,
)
from stsd.errors import SpawnError
from stsd.link import memory_file
from stsd.memory import Open
from stsd.messages import Exited, Spawned, SpawnFailed
from stsd.model import Limits, Run
from stsd.output import output_name
from stsd.recovery import born
from stsd.starter import Answer, Starter
from stsd.strangers import Strangers
from stsd.warmth import Chilled

# How often a process group is looked at whose leader has ended before the rest of it.
LINGER_POLL_S = 0.05
_TICKET = "run:"


@dataclass(frozen=True, slots=True)
class Leftovers:
    """So many processes were in the control group of a run when it was over, and were killed."""

    run_id: str
    count: int


Heard = Spawned | SpawnFailed | Exited | Answer | Chilled | News | Leftovers


@dataclass(slots=True)
class _Child:
    """The child of a run, from the asking for it to the end of its output. `pid` is 0 until it is
    known, and `exited` None until it has ended; `place` is what it prints into, held until there is
    `pidfd`, for which it keeps a descriptor; `captured` is whether anybody takes that in."""

    run_id: str
    output: str
    pid: int = 0
    pidfd: int = -1
    place: int = -1
    started_at: float = 0.0
    captured: bool = False
    plain: bool = False
    limits: Limits | None = None
    cgroup: Path | None = None
    stdin: int | None = None
    stdin_size: int = 0
    hide: tuple[str, ...] = ()
    signals: list[str] = field(default_factory=list)
    told_to_stop: bool = False
    killed: bool = False
    exited: Exited | None = None
    ended_at: float = 0.0


class Pool:
    """The children of one daemon.

    `selector` gets each child's pidfd, with `Pool` itself as its data; `environ` is what
    `stsd.child.base_environment` made of the daemon's; `cgroups` is None where none can be made.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        log_dir: Path,
        environ: Mapping[str, str],
        starter: Starter,
        capture: Capture,
        cgroups: Cgroups | None = None,
    ) -> None:
        self._selector = selector
        self._log_dir = log_dir
        self._environ = environ
        self._starter = starter
        self._capture = capture
        self._cgroups = cgroups
        self._controllers = cgroups.controllers if cgroups is not None else frozenset()
        self._strangers = Strangers(starter.disowned)
        self._by_run: dict[str, _Child] = {}
        self._by_pidfd: dict[int, _Child] = {}
        self._lingering: dict[str, _Child] = {}
        self._prepared: list[tuple[_Child, ChildSpec]] = []
        self._started: list[tuple[_Child, int]] = []
        self._not_started: list[SpawnFailed] = []
        self._peak_kib = 0

    def spawn(
        self,
        run: Run,
        attempt: int,
        given: Mapping[str, str] | None = None,
        hide: Sequence[str] = (),
    ) -> None:
        """Prepare the child of an attempt, which is started in `begun` at the latest; that or
        `hear` will tell of it. `given` is what its env files and secrets say, `hide` what must not
        show in what it prints. Raises SpawnError."""
        name = output_name(run.job.name, run.id, attempt)
        child = _Child(run.id, name, limits=run.job.limits, hide=tuple(hide))
        try:
            self._make_cgroup(child, attempt)
            spec = child_spec(run, attempt, self._environ, given, child.cgroup, self._controllers)
            self._connect(child, run, spec)
        except SpawnError:
            self._give_up(child)
            raise
        self._by_run[run.id] = child
        self._prepared.append((child, spec))
        if len(self._prepared) >= PIPES_A_PACKET:
            self._start_prepared()

    def begun(self) -> list[Heard]:
        """Start what has been prepared, and tell what has been started since the last call; to be
        called before anything else is heard. What it takes to watch a child is left to here, so
        that all that are due start first."""
        self._start_prepared()
        started, self._started = self._started, []
        failed, self._not_started = self._not_started, []
        return [*failed, *(self._begun(child, pid) for child, pid in started)]

    def adopt(self, attempt: Open) -> None:
        """Watch a child that an earlier daemon started. Raises OSError if it has gone."""
        if attempt.pid is None:
            raise ProcessLookupError(attempt.run)
        child = _Child(attempt.run, output_name(attempt.job, attempt.run, attempt.attempt))
        if self._cgroups is not None:
            child.cgroup = self._cgroups.of(attempt.run, attempt.attempt)
        self._watch(child, attempt.pid)
        self._by_run[attempt.run] = child

    def send(self, run_id: str, name: str) -> None:
        """Send a signal (`TERM`, `KILL`, ...) to all of a run's process group; if it is not known
        yet, as soon as it is."""
        child = self._by_run.get(run_id)
        if child is None:
            return
        child.told_to_stop = True
        child.killed = child.killed or name == "KILL"
        if child.pid:
            _signal_group(child.pid, signal.Signals[f"SIG{name}"])
        else:
            child.signals.append(name)

    def hear(self, fd: int) -> list[Heard]:
        """What a readable descriptor has to tell: of the pool's own, of the Starter's or of the
        Capture's. Answers whose tickets are not the pool's are handed on."""
        if fd in self._by_pidfd:
            return self._main_ended(self._by_pidfd[fd])
        heard: list[Heard] = []
        if self._starter.owns(fd):
            for answer in self._starter.hear(fd):
                heard += self._answered(answer)
        else:
            for news in self._capture.hear(fd):
                heard += self._captured(news) if isinstance(news, Captured) else [news]
        return heard

    def renew(self) -> None:
        """The jobs may have changed: what is kept warm is begun anew when it is next wanted."""
        self._starter.renew()

    @property
    def lingering(self) -> bool:
        """Whether `tend` is to be called again in LINGER_POLL_S."""
        return bool(self._lingering)

    def tend(self, mono: float) -> list[Heard]:
        """What no descriptor tells of; to be called in each turn of the loop, after `hear`. `mono`
        is the monotonic clock. Tells of the runs that are over, now that their group has gone."""
        self._strangers.reap(mono)
        if self._cgroups is not None:
            self._cgroups.tend()
        ended = [child for child in self._lingering.values() if not _lingers(child)]
        return [told for child in ended for told in self._group_ended(child)]

    def settle(self, patience_s: float) -> list[Heard]:
        """All that can be known at once, for when this process is to be replaced by another. Waits
        at most `patience_s` for children that are being started."""
        heard = self.begun()
        for answer in self._starter.settle(patience_s):
            heard += self._answered(answer)
        ended = [child for child in self._by_run.values() if child.exited is not None]
        self._lingering.clear()
        return [*heard, *(told for child in ended for told in self._gone(child))]

    # -- the beginning of a child

    def _make_cgroup(self, child: _Child, attempt: int) -> None:
        if self._cgroups is None or child.limits is None:
            return
        try:
            child.cgroup = self._cgroups.make(child.run_id, attempt, child.limits)
        except OSError as error:
            raise SpawnError(f"cannot make its control group: {_why(error)}") from error

    def _connect(self, child: _Child, run: Run, spec: ChildSpec) -> None:
        """Raises SpawnError."""
        try:
            child.place = self._capture.open(run.id, child.output, run.job.output, child.hide)
        except OSError as error:
            where = self._log_dir / child.output
            raise SpawnError(f"cannot write the output to {where}: {_why(error)}") from error
        child.captured, child.plain = True, spec.plain
        if spec.stdin is not None:
            try:
                child.stdin, child.stdin_size = memory_file("stdin", spec.stdin), len(spec.stdin)
            except OSError as error:
                raise SpawnError(f"cannot hand over its task: {_why(error)}") from error

    def _start_prepared(self) -> None:
        """The scribe is told of all their pipes at once, which takes both processes much less time,
        and before: so each child has a reader, whatever happens to this process."""
        self._capture.flush()
        prepared, self._prepared = self._prepared, []
        for child, spec in prepared:
            try:
                pid = self._starter.start(_TICKET + child.run_id, spec, child.place, child.stdin)
            except SpawnError as error:
                self._not_started.append(self._failed(child, str(error)))
                continue
            if pid is not None:
                child.started_at = time.monotonic()
                self._started.append((child, pid))

    def _answered(self, answer: Answer | Chilled) -> list[Heard]:
        if isinstance(answer, Chilled):
            return [replace(answer, run_id=answer.run_id.removeprefix(_TICKET))]
        if not answer.ticket.startswith(_TICKET):
            return [answer]
        child = self._by_run[answer.ticket.removeprefix(_TICKET)]
        if answer.pid is None:
            return [self._failed(child, answer.error)]
        return [self._begun(child, answer.pid)]

    def _begun(self, child: _Child, pid: int) -> Spawned | SpawnFailed:
        """A child that cannot be watched is ended, and given up."""
        try:
            _make_room(child)
            birth = born(pid) or 0
            self._watch(child, pid)
        except OSError as error:
            _signal_group(pid, signal.SIGKILL)
            self._starter.disowned.add(pid)
            return self._failed(child, f"cannot watch the child: {_why(error)}")
        for name in child.signals:
            _signal_group(pid, signal.Signals[f"SIG{name}"])
        ago_s = time.monotonic() - child.started_at if child.started_at else 0.0
        return Spawned(child.run_id, pid, birth, ago_s)

    def _failed(self, child: _Child, error: str) -> SpawnFailed:
        del self._by_run[child.run_id]
        self._give_up(child)
        return SpawnFailed(child.run_id, error)

    def _give_up(self, child: _Child) -> None:
        """Let go of what a child was to have, that could not be started."""
        if child.captured:
            self._capture.forget(child.run_id)
        if self._cgroups is not None and child.cgroup is not None:
            self._cgroups.end(child.cgroup)
        if child.pidfd >= 0:
            os.close(child.pidfd)
        _make_room(child)
        _close_stdin(child)

    def _watch(self, child: _Child, pid: int) -> None:
        child.pidfd = os.pidfd_open(pid)
        child.pid = pid
        self._selector.register(child.pidfd, selectors.EVENT_READ, self)
        self._by_pidfd[child.pidfd] = child

    # -- the end of a child

    def _main_ended(self, child: _Child) -> list[Heard]:
        """Reap a child; its run may not be over yet.

        A run ends when its main process ends. Only where it was told to stop, the rest of the
        group has until the KILL to follow: `sh` dies of a TERM at once, and what it had started
        may be tidying up.
        """
        del self._by_pidfd[child.pidfd]
        self._selector.unregister(child.pidfd)
        os.close(child.pidfd)
        ended = _wait(child.pid)
        peak = self._own_peak_kib(ended) if child.plain else LAUNCHED_PEAK_KIB
        child.ended_at = time.monotonic()
        child.exited = exited(child.run_id, child.output, ended, peak)
        if child.told_to_stop and _lingers(child):
            self._lingering[child.run_id] = child
            return []
        return self._group_ended(child)

    def _own_peak_kib(self, ended: tuple[int, resource.struct_rusage] | None) -> int:
        """stsd's own peak, as it was when it last mattered: it only grows, so that it need not be
        looked at for a child whose own is below that."""
        if ended is not None and ended[1].ru_maxrss > self._peak_kib:
            self._peak_kib = own_peak_kib()
        return self._peak_kib

    def _group_ended(self, child: _Child) -> list[Heard]:
        """What is left to come is output, unless nobody here takes that in."""
        self._lingering.pop(child.run_id, None)
        if not child.captured:
            return self._gone(child)
        self._capture.cease(child.run_id)
        return []

    def _captured(self, news: Captured) -> list[Heard]:
        child = self._by_run[news.run_id]
        return self._gone(child, news.kept, news.discarded)

    def _gone(self, child: _Child, kept: int | None = None, discarded: int = 0) -> list[Heard]:
        """A run is over. What is left in its control group is killed."""
        del self._by_run[child.run_id]
        usage = None
        if self._cgroups is not None and child.cgroup is not None:
            usage = self._cgroups.end(child.cgroup)
        ended = child.exited or exited(child.run_id, child.output, None, 0)
        words = None
        if child.stdin is not None:
            words = last_words(child.stdin, child.stdin_size, child.hide)
        _close_stdin(child)
        over = replace(
            with_usage(ended, usage),
            output_bytes=size_of(f"{self._log_dir}/{child.output}") if kept is None else kept,
            output_discarded=discarded,
            ago_s=time.monotonic() - child.ended_at if child.exited else 0.0,
            error=limit_met(ended, child.limits, usage) or words,
        )
        if usage is None or not usage.left:
            return [over]
        return [Leftovers(child.run_id, usage.left), over]


def _lingers(child: _Child) -> bool:
    """Whether anything of the group is left that has not been killed."""
    return not child.killed and _signal_group(child.pid, 0)


def _signal_group(pgid: int, number: int) -> bool:
    """Signal a process group (0: only ask); whether there is one."""
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists, and all that is left of it has changed its user
        return True
    return True


def _wait(pid: int) -> tuple[int, resource.struct_rusage] | None:
    """Status and usage; None of an earlier daemon's child, unless that was this process."""
    try:
        _, status, usage = os.wait4(pid, 0)
    except ChildProcessError:
        return None
    return status, usage


def _make_room(child: _Child) -> None:
    """For the pidfd: whatever else is started, a child that runs can be watched."""
    if child.place >= 0:
        os.close(child.place)
        child.place = -1


def _close_stdin(child: _Child) -> None:
    if child.stdin is not None:
        os.close(child.stdin)
        child.stdin = None


def _why(error: OSError) -> str:
    return error.strerror or str(error)
