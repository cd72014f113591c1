"""Where a run stands, and what the history says of it at each step. Values only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from stsd.memory import BY_TIME, Delayed, Open
from stsd.messages import Exited
from stsd.model import Outcome, Reading, Run, SkipReason
from stsd.records import Finished, Intent, Skipped, Started
from stsd.timeline import Timeline
from stsd.tracecontext import span_of

UNKNOWN_END = "exit status unknown: it ended while no stsd was there to see it"


class Phase(Enum):
    """Where a run stands."""

    BLOCKED = auto()  # behind earlier runs of its job
    EXPECTING = auto()  # waiting for what its `wait_for` names
    READY = auto()  # waiting for a free place in the pool
    PREPARING = auto()  # has its place; its condition is asked, its secrets are fetched
    COMMITTING = auto()  # has its place, and waits for its intent to be on the disk
    RUNNING = auto()
    STOPPING = auto()  # told to end, not ended yet
    DELAYED = auto()  # between two attempts


WAITING = frozenset({Phase.BLOCKED, Phase.EXPECTING, Phase.READY, Phase.PREPARING})
UNSTARTED = WAITING | {Phase.COMMITTING}
WITH_CHILD = frozenset({Phase.RUNNING, Phase.STOPPING})
IN_POOL = WITH_CHILD | {Phase.PREPARING, Phase.COMMITTING}
ASKING = frozenset({Phase.EXPECTING, Phase.PREPARING})  # the shell may be busy for it
ASKED = ASKING | {Phase.COMMITTING}  # or keeps what it has found for it


class Alarm(Enum):
    """What a timer of a run is for."""

    TIMEOUT = auto()  # the attempt has taken too long
    KILL = auto()  # it was told to stop and has had its grace
    RETRY = auto()
    LOOK = auto()  # whether what the run waits for is there
    PATIENCE = auto()  # it has waited long enough
    PREPARATION = auto()  # its condition or its secrets have taken too long


Timers = Timeline[tuple[Alarm, str]]


@dataclass(frozen=True, slots=True)
class Child:
    """A process that an earlier daemon started, at the wall-clock time `started`."""

    pid: int
    born: int
    started: float


@dataclass(frozen=True, slots=True)
class Live:
    """A run that has not ended. `due_at` is when its present attempt was due (wall clock);
    `ending` is the outcome already decided for an attempt that is being stopped; `pid` and `born`
    are of its child; `missing` is what it was last seen to wait for."""

    run: Run
    phase: Phase
    attempt: int
    due_at: float
    started: Reading | None = None
    pid: int | None = None
    born: int | None = None
    ending: Outcome | None = None
    missing: str = ""

    # Each run comes by these two five times; said in full, they take a third of `replace`'s time.

    def moved(self, phase: Phase) -> Live:
        """The same run in another phase."""
        return Live(
            self.run,
            phase,
            self.attempt,
            self.due_at,
            self.started,
            self.pid,
            self.born,
            self.ending,
            self.missing,
        )

    def begun(self, then: Reading, pid: int, born: int) -> Live:
        """The same run, with a child since then."""
        return Live(
            self.run,
            self.phase,
            self.attempt,
            self.due_at,
            then,
            pid,
            born,
            self.ending,
            self.missing,
        )

    def lacking(self, missing: str) -> Live:
        """The same run, seen to wait for this."""
        return replace(self, missing=missing)

    @property
    def between_attempts(self) -> bool:
        """Whether it has failed before, and waits to be tried again."""
        return self.phase is Phase.DELAYED or (self.phase in WAITING and self.attempt > 1)

    def open(self) -> Open:
        """What a restart would have to know of its child."""
        run, begun = self.run, self.started.wall if self.started else None
        return Open(
            run=run.id,
            job=run.job.name,
            scheduled=run.scheduled,
            trigger=run.trigger,
            attempt=self.attempt,
            started=begun,
            pid=self.pid,
            born=self.born,
            by_hand=run.by_hand,
            pools=run.job.pools,
        )

    def delayed(self) -> Delayed:
        """What a restart would have to know of the attempt to come."""
        run = self.run
        return Delayed(
            run=run.id,
            job=run.job.name,
            scheduled=run.scheduled,
            trigger=run.trigger,
            attempt=self.attempt,
            retry_at=self.due_at,
            by_hand=run.by_hand,
        )


def fallen_due(run: Run, now: Reading, caught_up: bool) -> Live:
    """The run, behind any others of its job. One that is due at once has no instant of its own:
    `scheduled` is in whole seconds."""
    timed = run.trigger in BY_TIME or caught_up
    return Live(run, Phase.BLOCKED, 1, float(run.scheduled) if timed else now.wall)


def intent(live: Live, now: Reading) -> Intent:
    """The attempt is about to be started."""
    run = live.run
    return Intent(
        run=run.id,
        job=run.job.name,
        scheduled=run.scheduled,
        trigger=run.trigger,
        attempt=live.attempt,
        at=now.wall,
        by_hand=run.by_hand,
        pools=run.job.pools,
    )


def started(live: Live, then: Reading) -> Started:
    """The attempt has its child since then, whose pid and birth the run knows by now."""
    if live.pid is None or live.born is None:
        raise ValueError(f"{live.run.id} has no child")
    return Started(
        run=live.run.id,
        job=live.run.job.name,
        scheduled=live.run.scheduled,
        trigger=live.run.trigger,
        attempt=live.attempt,
        at=then.wall,
        late_s=then.wall - live.due_at,
        pid=live.pid,
        born=live.born,
        trace=live.run.trace,
        span=span_of(live.run.trace, live.run.id, live.attempt),
    )


def finished(live: Live, outcome: Outcome, now: Reading, error: str | None = None) -> Finished:
    """The attempt has ended, or will not begin any more."""
    return Finished(
        run=live.run.id,
        job=live.run.job.name,
        scheduled=live.run.scheduled,
        trigger=live.run.trigger,
        attempt=live.attempt,
        outcome=outcome,
        at=now.wall,
        error=error,
        trace=live.run.trace,
        span=span_of(live.run.trace, live.run.id, live.attempt),
        by_hand=live.run.by_hand,
    )


def skipped(run: Run, reason: SkipReason, now: Reading, detail: str | None = None) -> Skipped:
    """The run is left out, on purpose."""
    return Skipped(run.job.name, run.scheduled, reason, now.wall, run.trigger, detail, run.id)


def ended(live: Live, exit_: Exited, now: Reading) -> Finished:
    """The attempt's child has ended, as `exit_` tells."""
    run, begun = live.run, live.started
    return Finished(
        run=run.id,
        job=run.job.name,
        scheduled=run.scheduled,
        trigger=run.trigger,
        attempt=live.attempt,
        outcome=_outcome(live, exit_),
        at=now.wall,
        exit_code=exit_.exit_code,
        signal=exit_.signal,
        started=begun.wall if begun else None,
        duration_s=max(0.0, now.mono - begun.mono - exit_.ago_s) if begun else None,
        cpu_s=exit_.cpu_s,
        max_rss_bytes=exit_.max_rss_bytes,
        output=exit_.output,
        output_bytes=exit_.output_bytes,
        output_discarded=exit_.output_discarded,
        error=exit_.error or (UNKNOWN_END if _unknown(exit_) else None),
        trace=run.trace,
        span=span_of(run.trace, run.id, live.attempt),
        by_hand=run.by_hand,
    )


def _unknown(exit_: Exited) -> bool:
    return exit_.exit_code is None and exit_.signal is None


def _outcome(live: Live, exit_: Exited) -> Outcome:
    if live.ending is not None:
        return live.ending
    if _unknown(exit_):
        return Outcome.INTERRUPTED
    return Outcome.SUCCEEDED if exit_.exit_code in live.run.job.success_codes else Outcome.FAILED
