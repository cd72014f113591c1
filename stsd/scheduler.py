"""The core: `step(event, now) -> actions`, and nothing else.

Decides what is to be started, stopped and recorded. Never reads a clock, touches a file, starts
a process or rolls a die: the readings of the clock and the random draws are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import floor, inf

from stsd.accounts import CORRECTION_S, Accounts, is_kept
from stsd.admission import Admission
from stsd.agenda import Agenda
from stsd.dispatch import Dispatch
from stsd.interventions import Pause
from stsd.memory import Delayed, Memory, Open
from stsd.messages import (
    Action,
    Begin,
    Cancel,
    Committed,
    DiskBack,
    DiskFailed,
    Event,
    Exited,
    PauseJobs,
    Prepared,
    Probed,
    Quit,
    Reload,
    ResumeJobs,
    Say,
    Spawned,
    SpawnFailed,
    Stop,
    Tick,
    Trigger,
)
from stsd.model import (
    ArgvTask,
    Job,
    LogFailure,
    MissReason,
    Reading,
    Run,
    TriggerKind,
    When,
)
from stsd.pauses import Pauses
from stsd.runs import WITH_CHILD, Child, Live
from stsd.settings import Jobfile
from stsd.statusrows import Standing, standing_of_lives
from stsd.units import rfc3339

# After any other event there may be room, or need, for a start, and starts are made by a Tick.
_SETTLED = (Tick, Spawned, Committed, DiskFailed)
# Steps of the wall clock below this are the everyday work of a time daemon.
NOTABLE_STEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Wake:
    """When the core wants its next Tick: whichever comes first, by the wall clock or the
    monotonic one. None: no need."""

    wall: float | None
    mono: float | None


class Scheduler:
    """All decisions of the daemon. `draw` returns a random number in [0, 1); `machine` is what
    tells this machine from others."""

    def __init__(self, jobfile: Jobfile, draw: Callable[[], float], machine: str = "") -> None:
        self._jobfile = jobfile
        # Jobs that run while nothing can be recorded have an agenda that goes on meanwhile.
        self._agendas = {policy: Agenda() for policy in LogFailure}
        self._dispatch = Dispatch(jobfile.settings, draw)
        self._pauses = Pauses(self._dispatch.actions)
        self._admission = Admission(self._dispatch, self._pauses, machine)
        self._accounts = Accounts(self._dispatch, self._admission)
        self._last: Reading | None = None
        self._held = False
        self._restless = False
        self._stops = 0
        self._stop_at: float | None = None

    @property
    def jobfile(self) -> Jobfile:
        """The jobfile in force."""
        return self._jobfile

    @property
    def held(self) -> bool:
        """Whether the history cannot be written, and most jobs therefore wait."""
        return self._held

    @property
    def stopping(self) -> bool:
        """Whether nothing is started any more."""
        return self._stops > 0

    def live(self) -> tuple[Live, ...]:
        """Every run that has not ended, in the order in which they fell due."""
        return self._dispatch.live()

    def standing(self) -> Standing:
        """How the jobs stand."""
        lives, recent = self._dispatch.live(), self._accounts.recent
        return standing_of_lives(lives, recent, self._pauses.by_job)

    def wake(self) -> Wake:
        """When to step next if nothing happens before."""
        if self._restless:
            return Wake(None, -inf)
        timers = [self._dispatch.earliest_timer(), self._stop_at]
        mono = min((timer for timer in timers if timer is not None), default=None)
        instants = [agenda.earliest() for agenda in self._active()]
        instants.append(self._pauses.earliest_end())
        wall = min((instant for instant in instants if instant is not None), default=None)
        return Wake(wall, mono)

    def memory(self) -> Memory:
        """What a restart would have to know. Not to be asked for while the disk fails."""
        lives = self._dispatch.live()
        return Memory(
            books=self._accounts.books(self._agendas.values()),
            open={live.run.id: live.open() for live in lives if live.phase in WITH_CHILD},
            delayed={live.run.id: live.delayed() for live in lives if live.between_attempts},
            chains=self._accounts.chains(),
            closed=self._accounts.closed,
            successes=dict(self._dispatch.successes),
            pauses=dict(self._pauses.by_job),
            recent=dict(self._accounts.recent),
        )

    def step(self, event: Event, now: Reading) -> list[Action]:
        """Take in one event; the actions are to be performed in their order."""
        self._watch_the_clock(now)
        self._restless = not isinstance(event, _SETTLED)
        match event:
            case Begin():
                self._begin(event, now)
            case Tick():
                self._tick(now)
            case Spawned() | SpawnFailed() | Exited() | Probed() | Prepared():
                self._dispatch.hear(event, now)
            case Committed() | DiskFailed() | DiskBack():
                self._hear_of_the_disk(event, now)
            case Reload() | Trigger() | Cancel() | PauseJobs() | ResumeJobs() | Stop():
                self._obey(event, now)
        return self._accounts.conclude(self._jobfile.jobs, now)

    def _obey(
        self, order: Reload | Trigger | Cancel | PauseJobs | ResumeJobs | Stop, now: Reading
    ) -> None:
        match order:
            case Reload():
                self._reload(order, now)
            case Trigger():
                job = self._jobfile.jobs[order.job]
                by_hand = order.by_hand
                self._admission.admit_untimed(job, TriggerKind.MANUAL, now, by_hand=by_hand)
            case Cancel():
                self._dispatch.cancel(order.run_id, now)
            case PauseJobs():
                until = None if order.for_s is None else round(now.wall + order.for_s, 3)
                self._pauses.begin(order.jobs, Pause(now.wall, until, order.reason, order.by))
            case ResumeJobs():
                self._pauses.end(order.jobs, order.by, now)
            case Stop():
                self._stop(now)

    # -- time passes

    def _tick(self, now: Reading) -> None:
        self._dispatch.expire(now)
        if self._stop_at is not None and now.mono >= self._stop_at:
            self._stop_at = None
            self._dispatch.interrupt(now)
        self._meet(self._active(), now, MissReason.SLEPT)
        self._pauses.expire(now)
        if not self._stops:
            self._dispatch.fill(now)
        elif not self._dispatch.children:
            self._do(Quit())

    def _active(self) -> list[Agenda]:
        if self._stops:
            return []
        if self._held:
            return [self._agendas[LogFailure.RUN]]
        return list(self._agendas.values())

    def _meet(self, agendas: Iterable[Agenda], now: Reading, reason: MissReason) -> None:
        for agenda in agendas:
            for demand in agenda.pop_due(now.wall):
                self._admission.miss(demand.job.name, demand.missed, reason, now)
                self._admission.admit(demand.job, demand.due, demand.late, now)

    def _watch_the_clock(self, now: Reading) -> None:
        last, self._last = self._last, now
        if last is None:
            return
        step = (now.wall - last.wall) - (now.mono - last.mono)
        if step < -CORRECTION_S:
            self._rewind(now)
            self._do(Say("warning", "clock_rewound", {"step_s": step, "to": rfc3339(now.wall)}))
        elif abs(step) >= NOTABLE_STEP_S:
            self._do(Say("warning", "clock_stepped", {"step_s": round(step, 3)}))

    def _rewind(self, now: Reading) -> None:
        self._accounts.rewind()
        for agenda in self._agendas.values():
            agenda.rewind(now.wall)
            for job in agenda.jobs():
                self._accounts.open(job, now)

    # -- the beginning, and what was before it

    def _begin(self, begin: Begin, now: Reading) -> None:
        self._pauses.recall(begin.memory.pauses)
        self._resume(begin.memory, now)
        marks = self._accounts.settle(self._jobfile.jobs, begin.memory, now)
        self._enter(self._jobfile.jobs.values(), marks, now)
        if not begin.in_place:
            for job in self._jobfile.jobs.values():
                if job.enabled and job.when.on_start:
                    self._admission.admit_untimed(job, TriggerKind.ON_START, now)

    def _resume(self, memory: Memory, now: Reading) -> None:
        for attempt in sorted(memory.open.values(), key=lambda attempt: attempt.scheduled):
            run = self._remembered(attempt)
            if attempt.alive and attempt.pid and attempt.born and attempt.started:
                child = Child(attempt.pid, attempt.born, attempt.started)
                # Whatever the jobfile says by now, it has not let go of what it had taken.
                run = replace(run, job=replace(run.job, pools=attempt.pools))
                self._dispatch.adopt(run, attempt.attempt, child, now)
            else:
                self._dispatch.close(run, attempt.attempt, attempt.started, now)
        for delayed in sorted(memory.delayed.values(), key=lambda delayed: delayed.retry_at):
            if delayed.job in self._jobfile.jobs:
                run = self._remembered(delayed)
                self._dispatch.postpone(run, delayed.attempt, delayed.retry_at, now)
            else:
                self._dispatch.give_up(self._remembered(delayed), delayed.attempt, now)

    def _remembered(self, attempt: Open | Delayed) -> Run:
        """A run of an earlier daemon; of a job that is gone only the name is left."""
        job = self._jobfile.jobs.get(attempt.job) or Job(attempt.job, ArgvTask(()))
        return self._admission.remembered(attempt, job)

    # -- orders

    def _enter(self, jobs: Iterable[Job], marks: Mapping[str, int], now: Reading) -> None:
        kept = [job for job in jobs if is_kept(job)]
        marks = self._accounts.begun(kept, marks)
        for policy, agenda in self._agendas.items():
            mine = [job for job in kept if job.on_log_failure is policy]
            agenda.enter(mine, now.wall, marks)

    def _reload(self, order: Reload, now: Reading) -> None:
        # What fell due under the old jobfile is accounted for by it, even while held or stopping.
        self._meet(self._agendas.values(), now, MissReason.HELD if self._held else MissReason.SLEPT)
        self._tick(now)
        old, jobfile = self._jobfile.jobs, order.jobfile
        new = jobfile.jobs
        added = [name for name in new if name not in old]
        removed = [name for name in old if name not in new]
        changed = [name for name, job in new.items() if name in old and _differ(old[name], job)]
        self._jobfile = jobfile
        marks: dict[str, int] = {}
        for agenda in self._agendas.values():
            marks |= agenda.leave({*removed, *changed}, order.zones)
        self._dispatch.forget(removed, now)
        # No run goes for one of a schedule that ends here.
        ending = {n for n in changed if _when_in_force(old[n]) != _when_in_force(new[n])}
        self._accounts.follow_up({n: job for n, job in new.items() if n not in ending}, now)
        for name in (*removed, *changed, *added):
            self._replan(old.get(name), new.get(name), marks, now)
        entering = dict.fromkeys((*changed, *marks, *added))
        self._enter([new[name] for name in entering if name in new], marks, now)
        self._dispatch.resize(jobfile.settings)
        self._accounts.forget(removed, now)
        fields = {
            "added": added,
            "changed": changed,
            "removed": removed,
            "unchanged": len(new) - len(added) - len(changed),
        }
        self._do(Say("info", "reloaded", fields))

    def _replan(
        self, old: Job | None, new: Job | None, marks: Mapping[str, int], now: Reading
    ) -> None:
        """Open and close the books of a job if its schedule is another one from now on."""
        before, after = _when_in_force(old), _when_in_force(new)
        job = new or old
        if before == after or job is None:
            return
        self._dispatch.supersede([job.name], now)
        # After a small step back of the clock the old schedule's mark lies ahead, and the new
        # one must not repeat what it has accounted for.
        since = max(floor(now.wall), marks.get(job.name, floor(now.wall)))
        if after is None:
            self._accounts.close(job.name, now, since)
        else:
            self._accounts.open(job, now, since)

    def _stop(self, now: Reading) -> None:
        self._stops += 1
        if self._stops == 1:
            self._stop_at = now.mono + self._jobfile.settings.stop_timeout
            self._dispatch.stand_down()
            fields = {
                "running": self._dispatch.children,
                "stop_timeout_s": self._jobfile.settings.stop_timeout,
            }
            self._do(Say("info", "stopping", fields))
        elif self._stops == 2:
            self._stop_at = None
            self._dispatch.interrupt(now)
        else:
            self._dispatch.kill()

    # -- the disk

    def _hear_of_the_disk(self, event: Committed | DiskFailed | DiskBack, now: Reading) -> None:
        match event:
            case Committed():
                self._dispatch.committed()
            case DiskFailed():
                self._held = self._dispatch.held = True
                self._dispatch.start_unrecorded()
            case DiskBack():
                self._held = self._dispatch.held = False
                self._meet(self._active(), now, MissReason.HELD)

    def _do(self, action: Action) -> None:
        self._dispatch.actions.append(action)


def _when_in_force(job: Job | None) -> When | None:
    return job.when if job is not None and is_kept(job) else None


def _differ(old: Job, new: Job) -> bool:
    """Whether they are two jobs to a reload. Of many thousands nearly all are the same object."""
    return old is not new and old != new
