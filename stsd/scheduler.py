"""The core: `step(event, now) -> actions`, and nothing else.

Decides what is to be started, stopped and recorded. Never reads a clock, touches a file, starts
a process or rolls a die: the readings of the clock and the random draws are handed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import floor

from stsd.agenda import Agenda, Demand
from stsd.dispatch import Dispatch
from stsd.messages import (
    Action,
    Begin,
    Cancel,
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
from stsd.model import Job, Jobfile, MissReason, Reading, Run, TriggerKind
from stsd.records import Missed
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
        self._agenda = Agenda()
        self._dispatch = Dispatch(jobfile.settings.max_running, draw)
        self._last: Reading | None = None
        self._stops = 0
        self._stop_at: float | None = None

    @property
    def jobfile(self) -> Jobfile:
        """The jobfile in force."""
        return self._jobfile

    @property
    def running(self) -> int:
        """How many runs have a child."""
        return self._dispatch.running

    def wake(self) -> Wake:
        """When to step next if nothing happens before."""
        timers = [self._dispatch.earliest_timer(), self._stop_at]
        mono = min((timer for timer in timers if timer is not None), default=None)
        return Wake(None if self._stops else self._agenda.earliest(), mono)

    def step(self, event: Event, now: Reading) -> list[Action]:
        """Take in one event; the actions are to be performed in their order."""
        self._watch_the_clock(now)
        match event:
            case Begin():
                self._begin(now)
            case Tick():
                self._tick(now)
            case Spawned() | SpawnFailed() | Exited():
                self._dispatch.hear(event, now)
            case Reload():
                self._reload(event.jobfile, now)
            case Trigger():
                self._trigger(self._jobfile.jobs[event.job], now)
            case Cancel():
                self._dispatch.cancel(event.run_id, now)
            case Stop():
                self._stop(now)
        if self._stops:
            self._quit_when_done()
        else:
            self._dispatch.fill()
        actions, self._dispatch.actions = self._dispatch.actions, []
        return actions

    def _begin(self, now: Reading) -> None:
        self._agenda.enter(self._scheduled_jobs(), now.wall)
        for job in self._scheduled_jobs():
            if job.when.on_start:
                self._admit(job, floor(now.wall), TriggerKind.ON_START, now)

    def _tick(self, now: Reading) -> None:
        self._dispatch.expire(now)
        if self._stop_at is not None and now.mono >= self._stop_at:
            self._stop_at = None
            self._dispatch.interrupt(now)
        if not self._stops:
            for demand in self._agenda.pop_due(now.wall):
                self._meet(demand, now)

    def _meet(self, demand: Demand, now: Reading) -> None:
        job, missed = demand.job, demand.missed
        if missed is not None:
            record = Missed(
                job.name, missed.first, missed.last, missed.count, MissReason.SLEPT, now.wall
            )
            self._do(Write(record))
        for due in demand.due:
            self._admit(job, due.at, due.kind, now)

    def _admit(self, job: Job, scheduled: int, kind: TriggerKind, now: Reading) -> None:
        run = Run(f"{job.name}@{compact(scheduled)}", job, scheduled, kind)
        self._dispatch.admit(run, now)

    def _trigger(self, job: Job, now: Reading) -> None:
        moment = now.wall
        while self._dispatch.knows(run_id := f"{job.name}@manual-{_to_the_millisecond(moment)}"):
            moment += 0.001
        run = Run(run_id, job, floor(now.wall), TriggerKind.MANUAL)
        self._dispatch.admit(run, now)

    def _reload(self, jobfile: Jobfile, now: Reading) -> None:
        # What fell due under the old jobfile is still run by it.
        self._tick(now)
        self._dispatch.fill()
        old, new = self._jobfile.jobs, jobfile.jobs
        self._jobfile = jobfile
        self._agenda.enter(self._scheduled_jobs(), now.wall)
        self._dispatch.max_running = jobfile.settings.max_running
        removed = [name for name in old if name not in new]
        self._dispatch.forget(removed, now)
        changed = [name for name in new if name in old and new[name] != old[name]]
        added = [name for name in new if name not in old]
        fields = {
            "added": added,
            "changed": changed,
            "removed": removed,
            "unchanged": len(new) - len(added) - len(changed),
        }
        self._do(Say("info", "reloaded", fields))

    def _stop(self, now: Reading) -> None:
        self._stops += 1
        if self._stops == 1:
            self._dispatch.drain(now)
            self._stop_at = now.mono + self._jobfile.settings.stop_timeout
            fields = {
                "running": self._dispatch.running,
                "stop_timeout_s": self._jobfile.settings.stop_timeout,
            }
            self._do(Say("info", "stopping", fields))
        elif self._stops == 2:
            self._stop_at = None
            self._dispatch.interrupt(now)
        else:
            self._dispatch.kill()

    def _quit_when_done(self) -> None:
        if not self._dispatch.live():
            self._do(Quit())

    def _watch_the_clock(self, now: Reading) -> None:
        last, self._last = self._last, now
        if last is None:
            return
        step = (now.wall - last.wall) - (now.mono - last.mono)
        if step < -CORRECTION_S:
            self._agenda.rewind(now.wall)
            self._do(Say("warning", "clock_rewound", {"step_s": step, "to": rfc3339(now.wall)}))
        elif abs(step) >= NOTABLE_STEP_S:
            self._do(Say("warning", "clock_stepped", {"step_s": round(step, 3)}))

    def _scheduled_jobs(self) -> list[Job]:
        return [job for job in self._jobfile.jobs.values() if job.enabled]

    def _do(self, action: Action) -> None:
        self._dispatch.actions.append(action)


def _to_the_millisecond(moment: float) -> str:
    whole = floor(moment)
    return f"{compact(whole)[:-1]}.{floor((moment - whole) * 1000):03d}Z"
