"""A simulated world for the real core: a clock that jumps to the next event, and processes that
last as long as they are told to."""

from __future__ import annotations

import heapq
import random
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stsd.memory import Memory
from stsd.messages import (
    Abandon,
    Action,
    Begin,
    Commit,
    Committed,
    Event,
    Exited,
    Prepare,
    Prepared,
    Probe,
    Probed,
    Quit,
    Say,
    Send,
    Spawn,
    Spawned,
    SpawnFailed,
    Tick,
    Write,
)
from stsd.model import Job, Reading, Run
from stsd.records import Finished, Missed, Record, Skipped, Started
from stsd.scheduler import Scheduler
from stsd.settings import Jobfile, Settings

START = 1_800_000_000  # 2027-01-15T08:00:00Z
HEARTBEAT_S = 4.0  # the shell never sleeps longer


@dataclass(frozen=True)
class Fate:
    """What becomes of an attempt's process: how long it runs and how it ends. `stubborn` ones
    end by KILL alone; `unborn` ones cannot be started."""

    duration: float = 0.1
    exit_code: int = 0
    stubborn: bool = False
    unborn: bool = False


class World:
    """Drives one scheduler. `fate` is asked for each attempt; records and log lines are kept.

    `missing` and `prepare` answer what a run waits for and how its preparation ends (None: not
    yet); they may be changed at any time.
    """

    def __init__(
        self,
        jobfile: Jobfile,
        fate: Callable[[Run, int], Fate] = lambda run, attempt: Fate(),
        start: float = START,
        seed: int = 0,
    ) -> None:
        self.scheduler = Scheduler(jobfile, random.Random(seed).random)
        self.now = Reading(float(start), 1000.0)
        self.records: list[Record] = []
        self.said: list[Say] = []
        self.spawned: list[Run] = []
        self.signals: list[tuple[str, str]] = []
        self.most_running = 0
        self.missing: Callable[[Run], str] = lambda run: ""
        self.prepare: Callable[[Run, int], Prepared | None] = lambda run, attempt: Prepared(run.id)
        self.abandoned: list[str] = []
        self.has_quit = False
        self._fate = fate
        self._ends: list[tuple[float, int, str, int]] = []
        self._alive: dict[str, Fate] = {}
        self._pids = 1

    def begin(self, memory: Memory | None = None) -> World:
        """Start the daemon, as the first one ever or with what the last one left behind."""
        self.give(Begin(memory or Memory()))
        return self

    def give(self, event: Event) -> None:
        """One turn of the shell's loop: an event from outside, at the present moment."""
        events: deque[Event] = deque([event, Tick()])
        while events:
            for action in self.scheduler.step(events.popleft(), self.now):
                events += self._perform(action)
        self.most_running = max(self.most_running, len(self._alive))

    def _perform(self, action: Action) -> list[Event]:
        match action:
            case Commit():
                self.records += action.intents
                return [Committed()]
            case Probe():
                return [Probed(action.run.id, self.missing(action.run))]
            case Prepare():
                answer = self.prepare(action.run, action.attempt)
                return [] if answer is None else [answer]
            case Spawn():
                return [self._spawn(action)]
            case Send():
                self._send(action.run_id, action.signal)
            case _:
                self._take_down(action)
        return []

    def _take_down(self, action: Action) -> None:
        match action:
            case Abandon():
                self.abandoned.append(action.run_id)
            case Write():
                self.records.append(action.record)
            case Say():
                self.said.append(action)
            case Quit():
                self.has_quit = True

    def run_for(self, seconds: float) -> None:
        """Let time pass, stopping at each moment at which anything happens."""
        end = self.now.mono + seconds
        while not self.has_quit:
            moment = self._next_moment()
            if moment > end:
                break
            self._pass(max(0.0, moment - self.now.mono))
            self._let_processes_end()
            self.give(Tick())
        if not self.has_quit:
            self._pass(end - self.now.mono)

    def step_clock(self, seconds: float) -> None:
        """Set the wall clock; monotonic time does not notice. As a sleep does, too."""
        self.now = Reading(self.now.wall + seconds, self.now.mono)

    def started(self, job: str | None = None) -> list[Started]:
        return [r for r in self.records if isinstance(r, Started) and job in (None, r.job)]

    def finished(self, job: str | None = None) -> list[Finished]:
        return [r for r in self.records if isinstance(r, Finished) and job in (None, r.job)]

    def skipped(self, job: str | None = None) -> list[Skipped]:
        return [r for r in self.records if isinstance(r, Skipped) and job in (None, r.job)]

    def missed(self, job: str | None = None) -> list[Missed]:
        return [r for r in self.records if isinstance(r, Missed) and job in (None, r.job)]

    def _pass(self, seconds: float) -> None:
        self.now = Reading(self.now.wall + seconds, self.now.mono + seconds)

    def _next_moment(self) -> float:
        wake = self.scheduler.wake()
        moments = [self.now.mono + HEARTBEAT_S]
        moments += [self._ends[0][0]] if self._ends else []
        if wake.mono is not None:
            moments.append(wake.mono)
        if wake.wall is not None:
            moments.append(self.now.mono + wake.wall - self.now.wall)
        return min(moments)

    def _spawn(self, action: Spawn) -> Event:
        self.spawned.append(action.run)
        fate = self._fate(action.run, action.attempt)
        if fate.unborn:
            return SpawnFailed(action.run.id, "no such program")
        self._pids += 1
        self._alive[action.run.id] = fate
        heapq.heappush(
            self._ends,
            (self.now.mono + fate.duration, self._pids, action.run.id, fate.exit_code),
        )
        return Spawned(action.run.id, self._pids, born=self._pids)

    def _send(self, run_id: str, name: str) -> None:
        self.signals.append((run_id, name))
        fate = self._alive.get(run_id)
        if fate is None or (fate.stubborn and name != "KILL"):
            return
        self._ends = [end for end in self._ends if end[2] != run_id]
        heapq.heapify(self._ends)
        number = signal.Signals[f"SIG{name}"]
        heapq.heappush(self._ends, (self.now.mono, 0, run_id, -number))

    def _let_processes_end(self) -> None:
        while self._ends and self._ends[0][0] <= self.now.mono:
            _, _, run_id, code = heapq.heappop(self._ends)
            del self._alive[run_id]
            self.give(
                Exited(
                    run_id=run_id,
                    exit_code=code if code >= 0 else None,
                    signal=None if code >= 0 else signal.Signals(-code).name,
                    cpu_s=0.01,
                    max_rss_bytes=None,
                    output="output/x",
                    output_bytes=0,
                )
            )


def jobfile(*jobs: Job, **settings: Any) -> Jobfile:
    return Jobfile(Path("jobs.toml"), Settings(**settings), {job.name: job for job in jobs})
