"""The life of every run, from due to done: overlap, order, attempts, timeouts, stopping.

Decides only; what is to be done is left in `actions` for the shell. Timeouts, delays and graces
run on the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto

from stsd.messages import Action, Exited, Say, Send, Spawn, Spawned, SpawnFailed, Write
from stsd.model import (
    MissReason,
    Outcome,
    Overlap,
    Reading,
    Run,
    SkipReason,
)
from stsd.records import Finished, Missed, Skipped, Started
from stsd.retry import delay_if_retried
from stsd.timeline import Timeline

# Runs of one job that may wait behind each other; what comes on top is skipped, so that a job
# slower than its schedule cannot fill the memory.
WAITING_LIMIT = 100


class Phase(Enum):
    """Where a run stands."""

    BLOCKED = auto()  # behind earlier runs of its job
    READY = auto()  # waiting for a free place in the pool
    RUNNING = auto()
    STOPPING = auto()  # told to end, not ended yet
    DELAYED = auto()  # between two attempts


WAITING = frozenset({Phase.BLOCKED, Phase.READY})
IN_POOL = frozenset({Phase.RUNNING, Phase.STOPPING})


class Alarm(Enum):
    """What a timer of a run is for."""

    TIMEOUT = auto()
    KILL = auto()
    RETRY = auto()


@dataclass(frozen=True, slots=True)
class Live:
    """A run that has not ended. `due_at` is when its present attempt was due (wall clock);
    `ending` is the outcome already decided for an attempt that is being stopped."""

    run: Run
    phase: Phase
    attempt: int
    due_at: float
    started: Reading | None = None
    ending: Outcome | None = None


class Dispatch:
    """All live runs, and the one place that changes their phase.

    `draw` returns a random number in [0, 1) for the jitter of retries.
    """

    def __init__(self, max_running: int, draw: Callable[[], float]) -> None:
        self.actions: list[Action] = []
        self.max_running = max_running
        self._draw = draw
        self._live: dict[str, Live] = {}
        self._by_job: dict[str, list[str]] = {}
        self._ready: Timeline[str, tuple[int, float]] = Timeline()
        self._timers: Timeline[tuple[Alarm, str], float] = Timeline()
        self._in_pool = 0
        self._draining = False

    @property
    def running(self) -> int:
        """How many runs have a child."""
        return self._in_pool

    def live(self) -> tuple[Live, ...]:
        """Every run that has not ended, in the order in which they fell due."""
        return tuple(self._live.values())

    def earliest_timer(self) -> float | None:
        """The next timeout, kill or retry, on the monotonic clock."""
        return self._timers.earliest()

    # -- a run falls due

    def admit(self, run: Run, now: Reading) -> None:
        """Take on a run that is due, as its job's overlap policy has it."""
        others = [self._live[run_id] for run_id in self._by_job.get(run.job.name, ())]
        overlap = run.job.overlap
        waiting = sum(1 for live in others if live.phase in WAITING)
        if (others and overlap is Overlap.SKIP) or waiting >= WAITING_LIMIT:
            self._skip(run, SkipReason.OVERLAP, now)
            return
        if overlap is Overlap.REPLACE:
            for live in others:
                self._supersede(live, now)
        self._by_job.setdefault(run.job.name, []).append(run.id)
        live = self._put(Live(run, Phase.BLOCKED, 1, float(run.scheduled)))
        if overlap is Overlap.ALLOW or self._by_job[run.job.name][0] == run.id:
            self._make_ready(live)

    def knows(self, run_id: str) -> bool:
        """Whether that run is live."""
        return run_id in self._live

    def fill(self) -> None:
        """Start what is ready while the pool has places: by priority, then by due time."""
        while self._in_pool < self.max_running and (run_id := self._ready.pop()) is not None:
            live = self._put(replace(self._live[run_id], phase=Phase.RUNNING))
            self.actions.append(Spawn(live.run, live.attempt))

    # -- what the shell reports

    def hear(self, report: Spawned | SpawnFailed | Exited, now: Reading) -> None:
        """Take in what became of a child."""
        match report:
            case Spawned():
                self._spawned(report.run_id, report.pid, now)
            case SpawnFailed():
                live = self._live[report.run_id]
                record = self._finished(live, Outcome.SPAWN_FAILED, now, report.error)
                self._end_attempt(live, now, record)
            case Exited():
                self._exited(report, now)

    def _spawned(self, run_id: str, pid: int, now: Reading) -> None:
        live = self._put(replace(self._live[run_id], started=now))
        self.actions.append(
            Write(
                Started(
                    run=run_id,
                    job=live.run.job.name,
                    scheduled=live.run.scheduled,
                    trigger=live.run.trigger,
                    attempt=live.attempt,
                    at=now.wall,
                    late_s=now.wall - live.due_at,
                    pid=pid,
                )
            )
        )
        if live.run.job.timeout is not None:
            self._timers.set((Alarm.TIMEOUT, run_id), now.mono + live.run.job.timeout)

    def _exited(self, exit_: Exited, now: Reading) -> None:
        live = self._live[exit_.run_id]
        started = live.started
        record = replace(
            self._finished(live, _outcome(live, exit_), now),
            exit_code=exit_.exit_code,
            signal=exit_.signal,
            started=started.wall if started else None,
            duration_s=now.mono - started.mono if started else None,
            cpu_s=exit_.cpu_s,
            max_rss_bytes=exit_.max_rss_bytes,
            output=exit_.output,
            output_bytes=exit_.output_bytes,
        )
        self._end_attempt(live, now, record)

    def expire(self, now: Reading) -> None:
        """Act on every timer that has run out."""
        while (timer := self._timers.pop_due(now.mono)) is not None:
            alarm, run_id = timer
            live = self._live[run_id]
            if alarm is Alarm.TIMEOUT:
                self._say("warning", "timed_out", live, timeout_s=live.run.job.timeout)
                self._terminate(live, Outcome.TIMED_OUT, now)
            elif alarm is Alarm.KILL:
                self._say("warning", "killed", live, grace_s=live.run.job.stop_grace)
                self.actions.append(Send(run_id, "KILL"))
            else:
                self._make_ready(live)

    # -- ending runs before their time

    def cancel(self, run_id: str, now: Reading) -> None:
        """Call a run off: stop its child, or leave out what it was waiting for."""
        live = self._live.get(run_id)
        if live is not None:
            self._call_off(live, Outcome.CANCELLED, "cancelled by hand", now)

    def forget(self, jobs: Iterable[str], now: Reading) -> None:
        """These jobs are gone: what runs goes on, what has not started is left out."""
        for name in jobs:
            for run_id in tuple(self._by_job.get(name, ())):
                live = self._live[run_id]
                if live.phase in WAITING and live.attempt == 1:
                    self._skip(live.run, SkipReason.SUPERSEDED, now)
                    self._remove(live)
                elif live.phase not in IN_POOL:
                    self._call_off(live, Outcome.CANCELLED, "removed from the jobfile", now)

    def drain(self, now: Reading) -> None:
        """stsd is stopping: what has no child yet will not get one, and nothing is retried."""
        self._draining = True
        for live in self.live():
            if live.phase in WAITING and live.attempt == 1:
                at = live.run.scheduled
                missed = Missed(live.run.job.name, at, at, 1, MissReason.DOWN, now.wall)
                self.actions.append(Write(missed))
                self._remove(live)
            elif live.phase not in IN_POOL:
                self._call_off(live, Outcome.INTERRUPTED, "stsd stopped before this attempt", now)

    def interrupt(self, now: Reading) -> None:
        """Stop every child, each with its job's signal and grace."""
        for live in self.live():
            if live.phase is Phase.RUNNING:
                self._terminate(live, Outcome.INTERRUPTED, now)

    def kill(self) -> None:
        """Kill every child at once."""
        for live in self.live():
            self._timers.drop((Alarm.KILL, live.run.id))
            self.actions.append(Send(live.run.id, "KILL"))

    # -- changes of phase

    def _put(self, live: Live) -> Live:
        before = self._live.get(live.run.id)
        self._in_pool += live.phase in IN_POOL
        self._in_pool -= before is not None and before.phase in IN_POOL
        self._live[live.run.id] = live
        return live

    def _make_ready(self, live: Live) -> None:
        self._ready.set(live.run.id, (-live.run.job.priority, live.due_at))
        self._put(replace(live, phase=Phase.READY))

    def _terminate(self, live: Live, ending: Outcome, now: Reading) -> None:
        job = live.run.job
        self._timers.drop((Alarm.TIMEOUT, live.run.id))
        self._put(replace(live, phase=Phase.STOPPING, ending=ending))
        self.actions.append(Send(live.run.id, job.stop_signal))
        if job.stop_signal != "KILL":
            self._timers.set((Alarm.KILL, live.run.id), now.mono + job.stop_grace)

    def _supersede(self, live: Live, now: Reading) -> None:
        if live.phase in WAITING and live.attempt == 1:
            self._skip(live.run, SkipReason.SUPERSEDED, now)
            self._remove(live)
        else:
            self._call_off(live, Outcome.CANCELLED, "replaced by a later run", now)

    def _call_off(self, live: Live, outcome: Outcome, why: str, now: Reading) -> None:
        if live.phase is Phase.RUNNING:
            self._terminate(live, outcome, now)
        elif live.phase is not Phase.STOPPING:
            self.actions.append(Write(self._finished(live, outcome, now, why)))
            self._remove(live)

    def _end_attempt(self, live: Live, now: Reading, record: Finished) -> None:
        run = live.run
        self._timers.drop((Alarm.TIMEOUT, run.id))
        self._timers.drop((Alarm.KILL, run.id))
        delay = None
        if not self._draining and live.ending in (None, Outcome.TIMED_OUT):
            delay = delay_if_retried(run, live.attempt, record.outcome, now.wall, self._draw)
        if delay is None:
            self.actions.append(Write(record))
            self._remove(live)
            return
        retry_at = now.wall + delay
        self.actions.append(Write(replace(record, will_retry_at=retry_at)))
        self._put(Live(run, Phase.DELAYED, live.attempt + 1, due_at=retry_at))
        self._timers.set((Alarm.RETRY, run.id), now.mono + delay)

    def _remove(self, live: Live) -> None:
        """The run has ended; the first one behind it takes its turn."""
        run = live.run
        self._timers.drop((Alarm.RETRY, run.id))
        self._ready.drop(run.id)
        self._in_pool -= self._live.pop(run.id).phase in IN_POOL
        queue = self._by_job[run.job.name]
        queue.remove(run.id)
        if not queue:
            del self._by_job[run.job.name]
        elif self._live[queue[0]].phase is Phase.BLOCKED:
            self._make_ready(self._live[queue[0]])

    # -- words

    def _skip(self, run: Run, reason: SkipReason, now: Reading) -> None:
        self.actions.append(Write(Skipped(run.job.name, run.scheduled, reason, now.wall)))

    def _finished(
        self, live: Live, outcome: Outcome, now: Reading, error: str | None = None
    ) -> Finished:
        run = live.run
        return Finished(
            run=run.id,
            job=run.job.name,
            scheduled=run.scheduled,
            trigger=run.trigger,
            attempt=live.attempt,
            outcome=outcome,
            at=now.wall,
            error=error,
        )

    def _say(self, level: str, event: str, live: Live, **fields: object) -> None:
        place = {"job": live.run.job.name, "run": live.run.id, "attempt": live.attempt}
        self.actions.append(Say(level, event, place | fields))


def _outcome(live: Live, exit_: Exited) -> Outcome:
    if live.ending is not None:
        return live.ending
    return Outcome.SUCCEEDED if exit_.exit_code in live.run.job.success_codes else Outcome.FAILED
