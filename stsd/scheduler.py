"""The core: `step(event, now) -> actions`, and nothing else.

Decides what is to be started, stopped and recorded. Never reads a clock, touches a file, starts
a process or rolls a die: the readings of the clock and the random draws are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import floor

from stsd.agenda import Agenda
from stsd.catchup import Passed, limit_of, settle, unsettled
from stsd.dispatch import Dispatch
from stsd.memory import Book, Delayed, Memory, Open
from stsd.messages import (
    Action,
    Begin,
    Cancel,
    Committed,
    DiskBack,
    DiskFailed,
    Event,
    Exited,
    Quit,
    Reload,
    Say,
    Spawned,
    SpawnFailed,
    Stop,
    Tick,
    Trigger,
    Write,
)
from stsd.model import (
    ArgvTask,
    Job,
    Jobfile,
    LogFailure,
    MissReason,
    Reading,
    Run,
    TriggerKind,
)
from stsd.plan import Plan, plan_of, when_of
from stsd.records import Missed, Planned
from stsd.runs import WITH_CHILD, Child
from stsd.triggers import Due, Schedule, schedule_for
from stsd.units import compact, rfc3339

# Debian's cron takes a step of more than three hours for a correction of the clock (cron(8));
# anything smaller is left to run out, so that nothing repeats.
CORRECTION_S = 3 * 3600.0
# Steps of the wall clock below this are the everyday work of a time daemon.
NOTABLE_STEP_S = 1.0


@dataclass(frozen=True, slots=True)
class Wake:
    """When the core wants its next Tick: whichever comes first, by the wall clock or the
    monotonic one. None: no need."""

    wall: float | None
    mono: float | None


class Scheduler:
    """All decisions of the daemon. `draw` returns a random number in [0, 1)."""

    def __init__(self, jobfile: Jobfile, draw: Callable[[], float]) -> None:
        self._jobfile = jobfile
        # Jobs that run while nothing can be recorded have an agenda that goes on meanwhile.
        self._agendas = {policy: Agenda() for policy in LogFailure}
        self._dispatch = Dispatch(jobfile.settings.max_running, draw)
        self._since: dict[str, int] = {}
        self._last: Reading | None = None
        self._held = False
        self._stops = 0
        self._stop_at: float | None = None

    @property
    def jobfile(self) -> Jobfile:
        """The jobfile in force."""
        return self._jobfile

    def wake(self) -> Wake:
        """When to step next if nothing happens before."""
        timers = [self._dispatch.earliest_timer(), self._stop_at]
        mono = min((timer for timer in timers if timer is not None), default=None)
        instants = [agenda.earliest() for agenda in self._active()]
        wall = min((instant for instant in instants if instant is not None), default=None)
        return Wake(wall, mono)

    def memory(self) -> Memory:
        """What a restart would have to know. Not to be asked for while the disk fails."""
        books = {}
        for agenda in self._agendas.values():
            marks = agenda.marks
            for job in agenda.jobs():
                books[job.name] = self._book(job, agenda.schedule_of(job.name), marks[job.name])
        lives = self._dispatch.live()
        return Memory(
            books=books,
            open={live.run.id: live.open() for live in lives if live.phase in WITH_CHILD},
            delayed={live.run.id: live.delayed() for live in lives if live.between_attempts},
        )

    def step(self, event: Event, now: Reading) -> list[Action]:
        """Take in one event; the actions are to be performed in their order."""
        self._watch_the_clock(now)
        match event:
            case Begin():
                self._begin(event, now)
            case Tick():
                self._tick(now)
            case Spawned() | SpawnFailed() | Exited():
                self._dispatch.hear(event, now)
            case Committed() | DiskFailed() | DiskBack():
                self._hear_of_the_disk(event, now)
            case Reload() | Trigger() | Cancel() | Stop():
                self._obey(event, now)
        actions, self._dispatch.actions = self._dispatch.actions, []
        return actions

    def _obey(self, order: Reload | Trigger | Cancel | Stop, now: Reading) -> None:
        match order:
            case Reload():
                self._reload(order.jobfile, now)
            case Trigger():
                self._admit_untimed(
                    self._jobfile.jobs[order.job], TriggerKind.MANUAL, "manual", now
                )
            case Cancel():
                self._dispatch.cancel(order.run_id, now)
            case Stop():
                self._stop(now)

    # -- time passes

    def _tick(self, now: Reading) -> None:
        self._dispatch.expire(now)
        if self._stop_at is not None and now.mono >= self._stop_at:
            self._stop_at = None
            self._dispatch.interrupt(now)
        self._meet(self._active(), now, MissReason.SLEPT)
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
                self._miss(demand.job.name, demand.missed, reason, now)
                self._admit_all(demand.job, demand.due, demand.late, now)

    def _miss(self, job: str, missed: Passed | None, reason: MissReason, now: Reading) -> None:
        if missed is not None:
            self._do(Write(Missed(job, missed.first, missed.last, missed.count, reason, now.wall)))

    def _admit_all(self, job: Job, dues: Sequence[Due], late: int, now: Reading) -> None:
        for number, due in enumerate(dues):
            self._admit(job, due, now, caught_up=number < late)

    def _admit(self, job: Job, due: Due, now: Reading, caught_up: bool = False) -> None:
        run = Run(f"{job.name}@{compact(due.at)}", job, due.at, due.kind)
        self._dispatch.admit(run, now, caught_up)

    def _admit_untimed(self, job: Job, kind: TriggerKind, word: str, now: Reading) -> None:
        """A run that no schedule demands. Its id bears the millisecond, lest it be taken for an
        occurrence of the same second."""
        moment = now.wall
        while self._dispatch.knows(run_id := f"{job.name}@{word}-{_to_the_millisecond(moment)}"):
            moment += 0.001
        self._dispatch.admit(Run(run_id, job, floor(now.wall), kind), now)

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
        for agenda in self._agendas.values():
            agenda.rewind(now.wall)
            for job in agenda.jobs():
                self._open_book(job, now)

    # -- the beginning, and what was before it

    def _begin(self, begin: Begin, now: Reading) -> None:
        self._resume(begin.memory, now)
        self._enter(self._settle_books(begin.memory, now), now)
        if not begin.in_place:
            for job in self._jobfile.jobs.values():
                if job.enabled and job.when.on_start:
                    self._admit_untimed(job, TriggerKind.ON_START, "start", now)

    def _resume(self, memory: Memory, now: Reading) -> None:
        for attempt in sorted(memory.open.values(), key=lambda attempt: attempt.scheduled):
            run = self._remembered(attempt)
            if attempt.alive and attempt.pid and attempt.born and attempt.started:
                child = Child(attempt.pid, attempt.born, attempt.started)
                self._dispatch.adopt(run, attempt.attempt, child, now)
            else:
                self._dispatch.close(run, attempt.attempt, attempt.started, now)
        for delayed in sorted(memory.delayed.values(), key=lambda delayed: delayed.retry_at):
            if delayed.job in self._jobfile.jobs:
                run = self._remembered(delayed)
                self._dispatch.postpone(run, delayed.attempt, delayed.retry_at, now)
            else:
                self._dispatch.give_up(self._remembered(delayed), delayed.attempt, now)

    def _remembered(self, trace: Open | Delayed) -> Run:
        """A run of an earlier daemon; of a job that is gone only the name is left."""
        job = self._jobfile.jobs.get(trace.job) or Job(trace.job, ArgvTask(()))
        return Run(trace.run, job, trace.scheduled, trace.trigger)

    def _settle_books(self, memory: Memory, now: Reading) -> dict[str, int]:
        """Account for the time without a daemon; returns the marks from which to go on."""
        marks: dict[str, int] = {}
        for name, book in memory.books.items():
            job = self._jobfile.jobs.get(name)
            if job is not None and _timed(job) and plan_of(job.when) == book.plan:
                if book.mark > now.wall + CORRECTION_S:
                    continue
                self._since[name] = book.since
                marks[name] = book.newest
                self._catch_up(job, book, now)
            else:
                self._close_book(name, book, job is not None and _timed(job), now)
        for job in self._jobfile.jobs.values():
            if _timed(job) and job.name not in self._since:
                self._open_book(job, now)
        return marks

    def _catch_up(self, job: Job, book: Book, now: Reading) -> None:
        schedule = schedule_for(job.when, job.name)
        passed = unsettled(schedule, book, max(floor(now.wall), book.newest))
        run, missed = settle(schedule, passed, limit_of(job), now.wall - job.catch_up_window)
        self._miss(job.name, missed, MissReason.DOWN, now)
        self._admit_all(job, run, len(run), now)

    def _close_book(self, name: str, book: Book, replaced: bool, now: Reading) -> None:
        """What the old schedule still demanded has been missed: the jobfile has it no more."""
        schedule = schedule_for(when_of(book.plan), name)
        passed = unsettled(schedule, book, max(floor(now.wall), book.newest))
        _, missed = settle(schedule, passed, 0, 0.0)
        self._miss(name, missed, MissReason.DOWN, now)
        if not replaced:
            self._do(Write(Planned(name, None, floor(now.wall), now.wall)))

    def _open_book(self, job: Job, now: Reading, since: int | None = None) -> None:
        self._since[job.name] = floor(now.wall) if since is None else since
        self._do(Write(Planned(job.name, job.when, self._since[job.name], now.wall)))

    def _book(self, job: Job, schedule: Schedule, mark: int) -> Book:
        """The book of a job; runs that have not started are not settled."""
        waiting = self._dispatch.waiting_for(job.name)
        plan, since = plan_of(job.when), self._since[job.name]
        if not waiting:
            return Book(plan, since, mark)
        low, settled = min(waiting) - 1, set()
        due = schedule.next_after(low)
        while due is not None and due.at <= mark:
            settled.add(due.at)
            due = schedule.next_after(due.at)
        return Book(plan, since, low, frozenset(settled - waiting))

    # -- orders

    def _enter(self, marks: Mapping[str, int], now: Reading) -> None:
        for policy, agenda in self._agendas.items():
            jobs = [job for job in self._jobfile.jobs.values() if _timed(job)]
            agenda.enter([job for job in jobs if job.on_log_failure is policy], now.wall, marks)

    def _reload(self, jobfile: Jobfile, now: Reading) -> None:
        # What fell due under the old jobfile is accounted for by it, even while held or stopping.
        self._meet(self._agendas.values(), now, MissReason.HELD if self._held else MissReason.SLEPT)
        self._tick(now)
        old, new = self._jobfile.jobs, jobfile.jobs
        marks = {name: at for agenda in self._agendas.values() for name, at in agenda.marks.items()}
        self._jobfile = jobfile
        self._replan(old, new, marks, now)
        self._enter(marks, now)
        self._dispatch.max_running = jobfile.settings.max_running
        added = [name for name in new if name not in old]
        changed = [name for name in new if name in old and new[name] != old[name]]
        fields = {
            "added": added,
            "changed": changed,
            "removed": [name for name in old if name not in new],
            "unchanged": len(new) - len(added) - len(changed),
        }
        self._do(Say("info", "reloaded", fields))

    def _replan(
        self,
        old: Mapping[str, Job],
        new: Mapping[str, Job],
        marks: Mapping[str, int],
        now: Reading,
    ) -> None:
        """Open and close the books of all jobs whose schedule is another one from now on."""
        self._dispatch.forget([name for name in old if name not in new], now)
        for name in {**old, **new}:
            before, after = _plan_in_force(old.get(name)), _plan_in_force(new.get(name))
            if before == after:
                continue
            self._dispatch.supersede([name], now)
            # After a small step back of the clock the old schedule's mark lies ahead, and the new
            # one must not repeat what it has accounted for.
            since = max(floor(now.wall), marks.get(name, floor(now.wall)))
            if after is None:
                del self._since[name]
                self._do(Write(Planned(name, None, since, now.wall)))
            else:
                self._open_book(new[name], now, since)

    def _stop(self, now: Reading) -> None:
        self._stops += 1
        if self._stops == 1:
            self._stop_at = now.mono + self._jobfile.settings.stop_timeout
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


def _timed(job: Job) -> bool:
    """Whether the job falls due by the clock."""
    return job.enabled and bool(job.when.cron or job.when.every or job.when.at)


def _plan_in_force(job: Job | None) -> Plan | None:
    return plan_of(job.when) if job is not None and _timed(job) else None


def _to_the_millisecond(moment: float) -> str:
    whole = floor(moment)
    return f"{compact(whole)[:-1]}.{floor((moment - whole) * 1000):03d}Z"
