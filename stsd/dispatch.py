"""The life of every run, from due to done: overlap, order, attempts, timeouts, stopping.

Decides only; what is to be done is left in `actions` for the shell. Timeouts, delays and graces
run on the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import inf

from stsd.expectations import Expectations, is_awaited
from stsd.messages import (
    Abandon,
    Action,
    Exited,
    Prepare,
    Prepared,
    Probed,
    Say,
    Send,
    Spawned,
    SpawnFailed,
    Write,
)
from stsd.model import (
    Job,
    LogFailure,
    Outcome,
    Overlap,
    Reading,
    Run,
    SkipReason,
    TriggerKind,
)
from stsd.records import Finished
from stsd.retry import delay_if_retried
from stsd.roster import Roster
from stsd.runs import (
    ASKED,
    ASKING,
    IN_POOL,
    UNKNOWN_END,
    UNSTARTED,
    WAITING,
    WITH_CHILD,
    Alarm,
    Child,
    Live,
    Phase,
    Timers,
    ended,
    fallen_due,
    finished,
    skipped,
    started,
)
from stsd.settings import Settings
from stsd.starts import Starts

# Runs of a job that may wait: one slower than its schedule must not fill the memory.
WAITING_LIMIT = 100
# How long a condition and the fetching of secrets may take together.
PREPARATION_S = 60.0

REMOVED = "removed from the jobfile"

Report = Spawned | SpawnFailed | Exited | Probed | Prepared


class Dispatch:
    """All live runs, and what becomes of them.

    `draw` returns a random number in [0, 1) for the jitter of retries.
    """

    def __init__(self, settings: Settings, draw: Callable[[], float]) -> None:
        self.actions: list[Action] = []
        self.held = False
        self._max_running = settings.max_running
        self._draw = draw
        self._roster = Roster(dict(settings.pools))
        self._timers: Timers = Timers()
        self._expectations = Expectations(self._roster, self._timers, self.actions)
        self._starts = Starts(self._roster, self.actions)
        self._closing = False

    @property
    def children(self) -> int:
        """How many runs have a child."""
        return self._roster.children

    @property
    def successes(self) -> dict[str, float]:
        """When each job has last succeeded, by the wall clock."""
        return self._expectations.successes

    def live(self) -> tuple[Live, ...]:
        """Every run that has not ended, in the order in which they fell due."""
        return self._roster.all()

    def earliest_timer(self) -> float | None:
        """The next moment at which anything is to be done, on the monotonic clock."""
        return self._timers.earliest()

    def resize(self, settings: Settings) -> None:
        """The pool and the named pools have other sizes from now on."""
        self._max_running = settings.max_running
        self._roster.resize(settings.pools)

    # -- a run falls due, or is remembered

    def admit(self, run: Run, now: Reading, caught_up: bool = False) -> None:
        """Take on a run that is due, as its job's overlap policy has it; never beside itself, which
        may go on where the clock was set back. Runs that are caught up with go one by one."""
        others = self._roster.of_job(run.job.name)
        overlap, room = run.job.overlap, _room(run.job)
        if caught_up and overlap is not Overlap.ALLOW:
            overlap = Overlap.QUEUE
        waiting = sum(1 for live in others if live.phase in WAITING)
        full = (waiting >= WAITING_LIMIT and not caught_up) or run.id in self._roster
        if (len(others) >= room and overlap is Overlap.SKIP) or full:
            self._skip(run, SkipReason.OVERLAP, now)
            return
        if overlap is Overlap.REPLACE and len(others) >= room:
            for live in others[: len(others) - int(room) + 1]:
                self._supersede(live, now)
        self._roster.put(fallen_due(run, now, caught_up))
        self._advance(run.job.name, now)

    def adopt(self, run: Run, attempt: int, child: Child, now: Reading) -> None:
        """Take on an attempt whose child was started by an earlier daemon."""
        elapsed = max(0.0, now.wall - child.started)
        begun = Reading(child.started, now.mono - elapsed)
        due_at = float(run.scheduled)
        self._roster.put(Live(run, Phase.RUNNING, attempt, due_at, begun, child.pid, child.born))
        if run.job.timeout is not None:
            self._timers.set((Alarm.TIMEOUT, run.id), begun.mono + run.job.timeout)

    def close(self, run: Run, attempt: int, begun: float | None, now: Reading) -> None:
        """End an attempt that an earlier daemon began and whose end nobody has seen."""
        live = self._roster.put(Live(run, Phase.RUNNING, attempt, float(run.scheduled)))
        record = finished(live, Outcome.INTERRUPTED, now, UNKNOWN_END)
        self._end_attempt(live, now, replace(record, started=begun))

    def postpone(self, run: Run, attempt: int, retry_at: float, now: Reading) -> None:
        """Take on a run that an earlier daemon left between two attempts."""
        self._roster.put(Live(run, Phase.DELAYED, attempt, retry_at))
        self._timers.set((Alarm.RETRY, run.id), now.mono + max(0.0, retry_at - now.wall))

    def unstarted(self, job: str) -> list[Run]:
        """The runs of a job that have not had their first attempt."""
        lives = self._roster.of_job(job)
        return [live.run for live in lives if live.phase in UNSTARTED and live.attempt == 1]

    def knows(self, run_id: str) -> bool:
        """Whether that run is live."""
        return run_id in self._roster

    # -- a run gets its place

    def fill(self, now: Reading) -> None:
        """Give the free places of the pool to what is ready: by priority and age, as far as their
        pools have slots."""
        put_back = []
        while self._roster.in_pool < self._max_running:
            live = self._roster.next_ready(now.wall)
            if live is None:
                break
            if self.held and live.run.job.on_log_failure is LogFailure.HOLD:
                put_back.append(live)
            elif _is_prepared_for(live):
                self._roster.put(live.moved(Phase.PREPARING))
                self._timers.set((Alarm.PREPARATION, live.run.id), now.mono + PREPARATION_S)
                self.actions.append(Prepare(live.run, live.attempt))
            else:
                self._starts.want(live)
        for live in put_back:
            self._roster.make_ready(live)
        self._starts.record(now, self.held)

    def committed(self) -> None:
        """The intents are on the disk: start what has waited for that."""
        self._starts.committed()

    def start_unrecorded(self) -> None:
        """The intents are not on the disk: start what is to run all the same."""
        self._starts.unrecorded()

    # -- what the shell reports

    def hear(self, report: Report, now: Reading) -> None:
        """Take in what became of a child, or of what was asked before there is one."""
        match report:
            case Spawned():
                self._spawned(report, now)
            case SpawnFailed():
                live = self._roster[report.run_id]
                record = finished(live, Outcome.SPAWN_FAILED, now, report.error)
                self._end_attempt(live, now, record)
            case Exited():
                live = self._roster[report.run_id]
                self._end_attempt(live, now, ended(live, report, now))
            case Probed():
                self._expectations.hear(report, now)
            case Prepared():
                self._hear_prepared(report, now)

    def _spawned(self, report: Spawned, now: Reading) -> None:
        then = Reading(now.wall - report.ago_s, now.mono - report.ago_s)
        live = self._roster.put(self._roster[report.run_id].begun(then, report.pid, report.born))
        self.actions.append(Write(started(live, then)))
        if live.run.job.timeout is not None and live.phase is Phase.RUNNING:
            self._timers.set((Alarm.TIMEOUT, report.run_id), then.mono + live.run.job.timeout)

    def _hear_prepared(self, report: Prepared, now: Reading) -> None:
        live = self._roster.get(report.run_id)
        if live is None or live.phase is not Phase.PREPARING:
            return
        if report.error:
            self._end_attempt(live, now, finished(live, Outcome.SPAWN_FAILED, now, report.error))
        elif report.unmet:
            self._skip(live.run, SkipReason.CONDITION, now, report.unmet)
            self._remove(live, now)
        else:
            self._timers.drop((Alarm.PREPARATION, live.run.id))
            self._starts.want(live)

    def expire(self, now: Reading) -> None:
        """Act on every timer that has run out."""
        while (timer := self._timers.pop_due(now.mono)) is not None:
            self._ring(*timer, now)

    def _ring(self, alarm: Alarm, run_id: str, now: Reading) -> None:
        live = self._roster[run_id]
        job = live.run.job
        match alarm:
            case Alarm.TIMEOUT:
                self._say("warning", "timed_out", live, timeout_s=job.timeout)
                self._terminate(live, Outcome.TIMED_OUT, now)
            case Alarm.KILL:
                self._say("warning", "killed", live, grace_s=job.stop_grace)
                self.actions.append(Send(run_id, "KILL"))
            case Alarm.RETRY:
                self._roster.make_ready(live)
            case Alarm.LOOK:
                self._expectations.look(live, now)
            case Alarm.PATIENCE:
                missing = live.missing or "there was no answer"
                self._skip(live.run, SkipReason.CONDITION, now, f"waited in vain: {missing}")
                self._remove(live, now)
            case Alarm.PREPARATION:
                self.actions.append(Abandon(run_id))
                error = f"its condition or its secrets took longer than {PREPARATION_S:.0f} s"
                self._end_attempt(live, now, finished(live, Outcome.SPAWN_FAILED, now, error))

    # -- ending runs before their time

    def cancel(self, run_id: str, now: Reading) -> None:
        """Call a run off: stop its child, or leave out what it was waiting for."""
        live = self._roster.get(run_id)
        if live is not None:
            self._call_off(live, Outcome.CANCELLED, "cancelled by hand", now)

    def supersede(self, jobs: Iterable[str], now: Reading) -> None:
        """These jobs are due at other times from now on: leave out what has not started."""
        for name in jobs:
            for live in self._roster.of_job(name):
                if live.phase in WAITING and live.attempt == 1:
                    self._supersede(live, now)

    def forget(self, jobs: Sequence[str], now: Reading) -> None:
        """These jobs are gone: what runs goes on, what has not started is left out."""
        self.supersede(jobs, now)
        for name in jobs:
            for live in self._roster.of_job(name):
                if live.phase not in IN_POOL:
                    self._call_off(live, Outcome.CANCELLED, REMOVED, now)

    def give_up(self, run: Run, attempt: int, now: Reading) -> None:
        """End a run between two attempts whose job is gone."""
        live = Live(run, Phase.DELAYED, attempt, float(run.scheduled))
        self.actions.append(Write(finished(live, Outcome.CANCELLED, now, REMOVED)))

    def stand_down(self) -> None:
        """Nothing is started any more: leave off whatever was asked for that."""
        self._closing = True
        for live in self.live():
            if live.phase in ASKING:
                self._drop_timers(live.run.id)
                self.actions.append(Abandon(live.run.id))
                self._roster.put(live.moved(Phase.BLOCKED))

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

    def _advance(self, job: str, now: Reading) -> None:
        """Let as many runs of a job go on as there may be at once, the first ones first."""
        lives = [] if self._closing else self._roster.of_job(job)
        active = sum(1 for live in lives if live.phase is not Phase.BLOCKED)
        for live in lives:
            if live.phase is not Phase.BLOCKED:
                continue
            if active >= _room(live.run.job):
                break
            active += 1
            if is_awaited(live):
                self._expectations.begin(live, now)
            else:
                self._roster.make_ready(live)

    def _terminate(self, live: Live, ending: Outcome, now: Reading) -> None:
        job = live.run.job
        self._timers.drop((Alarm.TIMEOUT, live.run.id))
        self._roster.put(replace(live, phase=Phase.STOPPING, ending=ending))
        self.actions.append(Send(live.run.id, job.stop_signal))
        if job.stop_signal != "KILL":
            self._timers.set((Alarm.KILL, live.run.id), now.mono + job.stop_grace)

    def _supersede(self, live: Live, now: Reading) -> None:
        if live.phase in WAITING and live.attempt == 1:
            self._skip(live.run, SkipReason.SUPERSEDED, now)
            self._remove(live, now)
        else:
            self._call_off(live, Outcome.CANCELLED, "replaced by a later run", now)

    def _call_off(self, live: Live, outcome: Outcome, why: str, now: Reading) -> None:
        if live.phase is Phase.RUNNING:
            self._terminate(live, outcome, now)
        elif live.phase is not Phase.STOPPING:
            self.actions.append(Write(finished(live, outcome, now, why)))
            self._remove(live, now)

    def _end_attempt(self, live: Live, now: Reading, record: Finished) -> None:
        run = live.run
        self._drop_timers(run.id)
        delay = None
        if live.ending is not Outcome.CANCELLED:
            delay = delay_if_retried(run, live.attempt, record.outcome, now.wall, self._draw)
        if delay is None:
            self.actions.append(Write(record))
            self._remove(live, now)
            return
        retry_at = now.wall + delay
        self.actions.append(Write(replace(record, will_retry_at=retry_at)))
        self._roster.put(Live(run, Phase.DELAYED, live.attempt + 1, due_at=retry_at))
        self._timers.set((Alarm.RETRY, run.id), now.mono + delay)

    def _remove(self, live: Live, now: Reading) -> None:
        """The run has ended; the first one behind it takes its turn."""
        if self._roster[live.run.id].phase in ASKED:
            self.actions.append(Abandon(live.run.id))
        self._drop_timers(live.run.id)
        self._roster.remove(live)
        self._advance(live.run.job.name, now)

    def _drop_timers(self, run_id: str) -> None:
        if self._timers:  # most runs have none
            for alarm in Alarm:
                self._timers.drop((alarm, run_id))

    # -- words

    def _skip(self, run: Run, reason: SkipReason, now: Reading, detail: str | None = None) -> None:
        self.actions.append(Write(skipped(run, reason, now, detail)))

    def _say(self, level: str, event: str, live: Live, **fields: object) -> None:
        place = {"job": live.run.job.name, "run": live.run.id, "attempt": live.attempt}
        self.actions.append(Say(level, event, place | fields))


def _room(job: Job) -> float:
    """How many runs of a job there may be at once."""
    if job.max_running is not None:
        return job.max_running
    return inf if job.overlap is Overlap.ALLOW else 1


def _is_prepared_for(live: Live) -> bool:
    """Whether anything is to be asked or fetched before the start. Nobody asks a condition of a
    run that is started by hand, or of one that has begun."""
    job = live.run.job
    if job.secrets or job.env_files:
        return True
    asked = live.attempt == 1 and live.run.trigger is not TriggerKind.MANUAL
    return job.condition is not None and asked
