"""The life of every run, from due to done: overlap, order, attempts, timeouts, stopping.

Decides only; what is to be done is left in `actions` for the shell. Timeouts, delays and graces
run on the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from enum import Enum, auto

from stsd.memory import BY_TIME
from stsd.messages import (
    Action,
    Commit,
    Exited,
    Say,
    Send,
    Spawn,
    Spawned,
    SpawnFailed,
    Write,
)
from stsd.model import (
    LogFailure,
    Outcome,
    Overlap,
    Reading,
    Run,
    SkipReason,
)
from stsd.records import Finished, Skipped
from stsd.retry import delay_if_retried
from stsd.runs import (
    IN_POOL,
    UNKNOWN_END,
    UNSTARTED,
    WAITING,
    WITH_CHILD,
    Child,
    Live,
    Phase,
    ended,
    finished,
    intent,
    started,
)
from stsd.timeline import Timeline

# Runs of one job that may wait behind each other; what comes on top is skipped, so that a job
# slower than its schedule cannot fill the memory.
WAITING_LIMIT = 100

REMOVED = "removed from the jobfile"


class Alarm(Enum):
    """What a timer of a run is for."""

    TIMEOUT = auto()
    KILL = auto()
    RETRY = auto()


class Dispatch:
    """All live runs, and the one place that changes their phase.

    `draw` returns a random number in [0, 1) for the jitter of retries.
    """

    def __init__(self, max_running: int, draw: Callable[[], float]) -> None:
        self.actions: list[Action] = []
        self.max_running = max_running
        self.held = False
        self._draw = draw
        self._live: dict[str, Live] = {}
        self._by_job: dict[str, list[str]] = {}
        self._ready: Timeline[str, tuple[int, float]] = Timeline()
        self._timers: Timeline[tuple[Alarm, str], float] = Timeline()
        self._in_pool = 0
        self._committing: list[str] = []

    @property
    def children(self) -> int:
        """How many runs have a child."""
        return sum(1 for live in self._live.values() if live.phase in WITH_CHILD)

    def live(self) -> tuple[Live, ...]:
        """Every run that has not ended, in the order in which they fell due."""
        return tuple(self._live.values())

    def earliest_timer(self) -> float | None:
        """The next timeout, kill or retry, on the monotonic clock."""
        return self._timers.earliest()

    # -- a run falls due, or is remembered

    def admit(self, run: Run, now: Reading, caught_up: bool = False) -> None:
        """Take on a run that is due, as its job's overlap policy has it. Runs that are caught up
        with go one after the other, or they would only get into each other's way."""
        others = [self._live[run_id] for run_id in self._by_job.get(run.job.name, ())]
        overlap = run.job.overlap
        if caught_up and overlap is not Overlap.ALLOW:
            overlap = Overlap.QUEUE
        waiting = sum(1 for live in others if live.phase in WAITING)
        full = waiting >= WAITING_LIMIT and not caught_up
        if (others and overlap is Overlap.SKIP) or full:
            self._skip(run, SkipReason.OVERLAP, now)
            return
        if overlap is Overlap.REPLACE:
            for live in others:
                self._supersede(live, now)
        live = self._enlist(Live(run, Phase.BLOCKED, 1, float(run.scheduled)))
        if overlap is Overlap.ALLOW or self._by_job[run.job.name][0] == run.id:
            self._make_ready(live)

    def adopt(self, run: Run, attempt: int, child: Child, now: Reading) -> None:
        """Take on an attempt whose child was started by an earlier daemon."""
        elapsed = max(0.0, now.wall - child.started)
        begun = Reading(child.started, now.mono - elapsed)
        due_at = float(run.scheduled)
        live = Live(run, Phase.RUNNING, attempt, due_at, begun, child.pid, child.born)
        self._enlist(live)
        if run.job.timeout is not None:
            self._timers.set((Alarm.TIMEOUT, run.id), begun.mono + run.job.timeout)

    def close(self, run: Run, attempt: int, begun: float | None, now: Reading) -> None:
        """End an attempt that an earlier daemon began and whose end nobody has seen."""
        live = self._enlist(Live(run, Phase.RUNNING, attempt, float(run.scheduled)))
        record = finished(live, Outcome.INTERRUPTED, now, UNKNOWN_END)
        self._end_attempt(live, now, replace(record, started=begun))

    def postpone(self, run: Run, attempt: int, retry_at: float, now: Reading) -> None:
        """Take on a run that an earlier daemon left between two attempts."""
        self._enlist(Live(run, Phase.DELAYED, attempt, retry_at))
        self._timers.set((Alarm.RETRY, run.id), now.mono + max(0.0, retry_at - now.wall))

    def waiting_for(self, job: str) -> set[int]:
        """The occurrences of a job whose runs have not had their first attempt."""
        lives = [self._live[run_id] for run_id in self._by_job.get(job, ())]
        return {
            live.run.scheduled
            for live in lives
            if live.phase in UNSTARTED and live.attempt == 1 and live.run.trigger in BY_TIME
        }

    def knows(self, run_id: str) -> bool:
        """Whether that run is live."""
        return run_id in self._live

    def fill(self, now: Reading) -> None:
        """Give the free places of the pool to what is ready: by priority, then by due time."""
        intents = []
        put_back = []
        while self._in_pool < self.max_running and (run_id := self._ready.pop()) is not None:
            live = self._live[run_id]
            if not self.held:
                self._put(replace(live, phase=Phase.COMMITTING))
                self._committing.append(run_id)
                intents.append(intent(live, now))
            elif live.run.job.on_log_failure is LogFailure.RUN:
                self.actions.append(Write(intent(live, now)))
                self._start(live)
            else:
                put_back.append(live)
        for live in put_back:
            self._make_ready(live)
        if intents:
            self.actions.append(Commit(tuple(intents)))

    def committed(self) -> None:
        """The intents are on the disk: start what has waited for that."""
        run_ids, self._committing = self._committing, []
        for run_id in run_ids:
            live = self._live.get(run_id)
            if live is not None and live.phase is Phase.COMMITTING:
                self._start(live)

    def start_unrecorded(self) -> None:
        """The intents are not on the disk: start what is to run all the same."""
        run_ids, self._committing = self._committing, []
        for run_id in run_ids:
            live = self._live.get(run_id)
            if live is None or live.phase is not Phase.COMMITTING:
                continue
            if live.run.job.on_log_failure is LogFailure.RUN:
                self._start(live)
            else:
                self._committing.append(run_id)

    # -- what the shell reports

    def hear(self, report: Spawned | SpawnFailed | Exited, now: Reading) -> None:
        """Take in what became of a child."""
        match report:
            case Spawned():
                self._spawned(report, now)
            case SpawnFailed():
                live = self._live[report.run_id]
                record = finished(live, Outcome.SPAWN_FAILED, now, report.error)
                self._end_attempt(live, now, record)
            case Exited():
                self._exited(report, now)

    def _spawned(self, report: Spawned, now: Reading) -> None:
        run_id = report.run_id
        live = replace(self._live[run_id], started=now, pid=report.pid, born=report.born)
        self._put(live)
        self.actions.append(Write(started(live, now)))
        if live.run.job.timeout is not None:
            self._timers.set((Alarm.TIMEOUT, run_id), now.mono + live.run.job.timeout)

    def _exited(self, exit_: Exited, now: Reading) -> None:
        live = self._live[exit_.run_id]
        self._end_attempt(live, now, ended(live, exit_, now))

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

    def supersede(self, jobs: Iterable[str], now: Reading) -> None:
        """These jobs are due at other times from now on: leave out what has not started."""
        for name in jobs:
            for run_id in tuple(self._by_job.get(name, ())):
                live = self._live[run_id]
                if live.phase in WAITING and live.attempt == 1:
                    self._supersede(live, now)

    def forget(self, jobs: Sequence[str], now: Reading) -> None:
        """These jobs are gone: what runs goes on, what has not started is left out."""
        self.supersede(jobs, now)
        for name in jobs:
            for run_id in tuple(self._by_job.get(name, ())):
                live = self._live[run_id]
                if live.phase not in IN_POOL:
                    self._call_off(live, Outcome.CANCELLED, REMOVED, now)

    def give_up(self, run: Run, attempt: int, now: Reading) -> None:
        """End a run between two attempts whose job is gone."""
        live = Live(run, Phase.DELAYED, attempt, float(run.scheduled))
        self.actions.append(Write(finished(live, Outcome.CANCELLED, now, REMOVED)))

    def interrupt(self, now: Reading) -> None:
        """Stop every child, each with its job's signal and grace."""
        for live in self.live():
            if live.phase is Phase.RUNNING:
                self._terminate(live, Outcome.INTERRUPTED, now)

    def kill(self) -> None:
        """Kill every child at once."""
        for live in self.live():
            if live.phase not in WITH_CHILD:
                continue
            self._timers.drop((Alarm.KILL, live.run.id))
            self.actions.append(Send(live.run.id, "KILL"))

    # -- changes of phase

    def _enlist(self, live: Live) -> Live:
        self._by_job.setdefault(live.run.job.name, []).append(live.run.id)
        return self._put(live)

    def _start(self, live: Live) -> None:
        self._put(replace(live, phase=Phase.RUNNING))
        self.actions.append(Spawn(live.run, live.attempt))

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
            self.actions.append(Write(finished(live, outcome, now, why)))
            self._remove(live)

    def _end_attempt(self, live: Live, now: Reading, record: Finished) -> None:
        run = live.run
        self._timers.drop((Alarm.TIMEOUT, run.id))
        self._timers.drop((Alarm.KILL, run.id))
        delay = None
        if live.ending is not Outcome.CANCELLED:
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
        skipped = Skipped(run.job.name, run.scheduled, reason, now.wall, run.trigger)
        self.actions.append(Write(skipped))

    def _say(self, level: str, event: str, live: Live, **fields: object) -> None:
        place = {"job": live.run.job.name, "run": live.run.id, "attempt": live.attempt}
        self.actions.append(Say(level, event, place | fields))
