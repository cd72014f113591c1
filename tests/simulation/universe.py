"""The real core, the real history and the real recovery, for a year, in a world that breaks.

`Universe` is the shell of one daemon after the other: what `stsd.daemon` does with the real clock
and real processes it does with simulated ones, and dies at any point. What it knows to be wrong
at once it keeps in `violations`; the books are reckoned up in `reckoning`.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import floor
from pathlib import Path
from unittest import mock

from stsd import bookkeeper, history, recovery, snapshot
from stsd.bookkeeper import Bookkeeper
from stsd.memory import BY_TIME
from stsd.messages import (
    Action,
    Begin,
    Cancel,
    Commit,
    Event,
    Exited,
    PauseJobs,
    Prepare,
    Prepared,
    Probe,
    Probed,
    Quit,
    Reload,
    ResumeJobs,
    Send,
    Spawn,
    Spawned,
    SpawnFailed,
    Stop,
    Tick,
    Trigger,
    Write,
)
from stsd.model import Delivery, Job, LogFailure, Outcome, Overlap, Reading, Run, When
from stsd.places import Places
from stsd.records import Begun, Finished, Planned, Record, encode
from stsd.recovery import recall
from stsd.scheduler import CORRECTION_S, Scheduler
from tests.simulation.disk import CrashError, SimDisk
from tests.simulation.drawing import DAY, POOLS, START, Drawing, Profile

LONGEST_SLEEP_S = 4.0
LAST = ("calm", "close", "stop")
FAULTS = [
    *("step", "suspend", "disk", "forks", "in_place", "snapshot"),
    *("cancel", "trigger", "pause", "resume"),
]


@dataclass(slots=True)
class Process:
    """A child; `boot` and `line` tell in which boot, and by which line of daemons."""

    pid: int
    born: int
    boot: int
    line: int
    run: Run
    attempt: int
    ends: float
    code: int | str
    stubborn: bool


@dataclass(slots=True)
class Version:
    """A schedule of a job as the world put it in force: all of its instants later than `since` and
    not later than `until` are demanded. Those in `spare` and `first_spare`, at its end and at its
    beginning, had passed before the clock was set back."""

    when: When
    since: int
    until: int | None = None
    spare: tuple[int, int] = (0, 0)
    first_spare: tuple[int, int] = (0, 0)


@dataclass(slots=True)
class Change:
    """A version ended and another one began, as a line of the history tells."""

    line: bytes
    job: str
    ended: Version | None
    begun: Version | None
    spare: tuple[int, int]  # of the one that ended, as it was before


@dataclass
class Counts:
    """What happened, to be shown and to keep a seed from being idle."""

    faults: Counter[str] = field(default_factory=Counter)
    spawns: int = 0
    steps: int = 0


class Universe:
    """One seed."""

    def __init__(self, seed: int, profile: Profile, root: Path) -> None:
        self.seed, self.profile = seed, profile
        self.draw = random.Random(seed)
        self.hasher = hashlib.sha256()
        self.drawing = Drawing(profile, self.draw)
        self.violations: list[str] = []
        self.counts = Counts()
        self.versions: dict[str, list[Version]] = {}
        self.rewinds = 0
        self.lost_ends = 0
        self.up = 0.0  # never stops, and never jumps
        self.wall = START + self.draw.random() * 3600
        self.highest = self.furthest = self.wall
        self.disk = SimDisk(root, self.draw, self._burn, lambda: self.up, self.hasher)
        self.places = Places(self.disk.log_dir, self.disk.state_dir)
        self.jobfile = self.drawing.first_jobfile()
        self.calm = self.quiet = False
        self._fuse = 0
        self._power = False
        self._boot, self._booted_at = 1, 0.0
        self._line = 0
        self._pids = 100
        self._alive: dict[int, Process] = {}
        self._ends: list[tuple[float, int]] = []
        self._watched: dict[str, int] = {}
        self._spawned: Counter[tuple[str, int]] = Counter()
        self._unrecorded: set[str] = set()
        self._unproven: list[Change] = []
        self._expected: dict[str, When | None] = {}
        self._may_replan = False
        self._disk_fails_until = self._forks_fail_until = self._blind_until = 0.0
        self._ever_side_by_side: set[str] = set()
        self._widest: dict[str, int] = {}
        self._latest = self.wall
        self._observed = self._now()
        self._chaos: list[tuple[float, str]] = []
        self._plan_chaos()

    # -- the whole of it

    def run(self) -> Universe:
        """A year, a clean time after it, and an orderly end."""
        with self._in_force():
            in_place = False
            while not self.calm:
                in_place = self._life(in_place)
                if not in_place and not self.calm:
                    self._down()
        return self

    def _life(self, in_place: bool) -> bool:
        """One daemon, from its start to its end; whether another one takes its place at once."""
        try:
            if not in_place:
                self._line += 1
                self._watched.clear()
            self._begin(in_place)
            while not self._done:
                self._turn(*self._sleep())
                if self._replaced:
                    self._tend()
                    self._save()
                    self.disk.let_go()
                    return True
            self._save()
            self.disk.let_go()
            self._undo_what_is_lost()
        except CrashError:
            self._crash()
        return False

    @contextmanager
    def _in_force(self) -> Iterator[None]:
        with (
            mock.patch.object(history, "os", self.disk),
            mock.patch.object(snapshot, "os", self.disk),
            mock.patch.object(bookkeeper, "SNAPSHOT_S", self.profile.snapshot_s),
            mock.patch.object(recovery, "boot_id", self._boot_id),
            mock.patch.object(recovery, "born", self._born),
        ):
            yield

    # -- time, and what it brings

    def _plan_chaos(self) -> None:
        profile, end = self.profile, self.profile.days * DAY
        kinds = [
            ("crash", profile.crash_days),
            ("reload", profile.reload_days),
            ("fault", profile.fault_days),
        ]
        for kind, mean_days in kinds:
            at = 0.0
            while (at := at + self.draw.expovariate(1 / (mean_days * DAY))) < end:
                self._chaos.append((at, kind))
                if self.draw.random() < 0.4:  # troubles come together
                    at_once = at + self.draw.random() * self.draw.choice([5, 600, 7200])
                    self._chaos.append((at_once, self.draw.choice(["crash", "reload", "fault"])))
        self._chaos.append((end, "calm"))
        self._chaos.sort()
        while self._chaos[-1][1] != "calm":
            self._chaos.pop()
        self._chaos += [(end + 2 * 3600, "close"), (end + 10 * 3600, "stop")]
        self._chaos.reverse()

    def _now(self) -> Reading:
        return Reading(self.wall, self.up - self._booted_at + 5.0)

    def _pass(self, seconds: float) -> None:
        self.up += seconds
        self.wall += seconds

    def _burn(self) -> None:
        if self._fuse:
            self._fuse -= 1
            if not self._fuse:
                raise CrashError

    def _sleep(self) -> tuple[list[Process], str]:
        """Until anything happens: the processes that have ended, and what befalls the daemon."""
        now, wake = self._now(), self._scheduler.wake()
        waits = [self._blind_until - self.up]
        if self._blind_until <= self.up:
            patience = self._books.patience(now.mono)
            waits = [1e9 if wake.wall is None else wake.wall - now.wall]
            waits.append(1e9 if wake.mono is None else wake.mono - now.mono)
            waits.append(1e9 if patience is None else patience)
        if self._ends:
            waits.append(self._ends[0][0] - self.up)
        if self._disk_fails_until > self.up:
            waits.append(LONGEST_SLEEP_S)
        late = self.draw.random() * 0.01
        wait = max(0.0, min(waits)) + late
        befalls = ""
        if self._chaos[-1][0] <= self.up + wait:
            at, befalls = self._chaos.pop()
            wait = max(0.0, at - self.up)
        self._pass(wait)
        return self._ended(), befalls

    def _ended(self) -> list[Process]:
        ended = []
        while self._ends and self._ends[0][0] <= self.up:
            process = self._alive.get(heapq.heappop(self._ends)[1])
            if process is not None and process.ends <= self.up:
                del self._alive[process.pid]
                ended.append(process)
        return ended

    # -- the shell

    def _begin(self, in_place: bool) -> None:
        self._done = self._replaced = False
        now = self._now()
        self._books = Bookkeeper(self.places, now.mono)
        memory = recall(self.places, self._damaged)
        self._scheduler = Scheduler(self.jobfile, self.draw.random)
        self._note(Begun(4711, f"boot{self._boot}", "1", now.wall))
        for attempt in memory.open.values():
            if attempt.alive and attempt.pid is not None:
                self._watched[attempt.run] = attempt.pid
        self._may_replan = now.wall < self.highest - CORRECTION_S
        self.rewinds += self._may_replan
        self._expect(now)
        self._observed = now
        self._drive(Begin(memory, in_place))
        self._all_as_expected()
        self._forget_the_future()
        self._drive(Tick())
        self._tend()
        self._save()

    def _turn(self, ended: list[Process], befalls: str) -> None:
        self.counts.steps += 1
        for process in ended:
            if self._watched.get(process.run.id) == process.pid:
                del self._watched[process.run.id]
                self._drive(_exited(process, known=process.line == self._line))
        if befalls:
            getattr(self, f"_befall_{befalls}")()
        self.disk.failing = self.up < self._disk_fails_until
        self._drive(Tick())
        self._tend()
        if self._books.snapshot_overdue(self._now().mono):
            self._save()
        if self._unproven and self.disk.all_durable and not self._books._history.unsafe:
            self._unproven.clear()

    def _drive(self, event: Event) -> None:
        events = deque([event])
        while events:
            now = self._now()
            step = (now.wall - self._observed.wall) - (now.mono - self._observed.mono)
            if step < -CORRECTION_S and not isinstance(event, Begin):
                self.rewinds += 1
                self._may_replan = True
            self.highest = max(self.highest, now.wall)
            self.furthest = max(self.furthest, now.wall)
            self._latest = max(self._latest, now.wall)
            self._observed = now
            for action in self._scheduler.step(events.popleft(), now):
                self._burn()
                answer = self._perform(action)
                if answer is not None:
                    events.append(answer)
            if not isinstance(event, Begin):
                self._forget_the_future()

    def _forget_the_future(self) -> None:
        """The clock was set back for good: what has been seen of later times does not count."""
        if self._may_replan:
            self.highest, self._may_replan = self.wall, False

    def _perform(self, action: Action) -> Event | None:
        match action:
            case Commit():
                return self._books.commit(action.intents, self._now().mono)
            case Probe():
                return Probed(action.run.id, self.draw.choice(["", "no file /x", "no file /x"]))
            case Prepare():
                unmet, error = self.draw.choice([("", "")] * 4 + [("no", ""), ("", "no such file")])
                return Prepared(action.run.id, unmet, error)
            case Spawn():
                return self._spawn(action.run, action.attempt)
            case Send():
                self._send(action.run_id, action.signal)
            case Write():
                self._note(action.record)
            case Quit():
                self._done = True
        return None

    def _note(self, record: Record) -> None:
        self._books.note(record, self._now().mono)
        if isinstance(record, Planned):
            self._planned(record)
        elif isinstance(record, Finished):
            self._check_delivery(record)

    def _tend(self) -> None:
        for word in self._books.tend(self._now().mono):
            self._drive(word)

    def _save(self) -> None:
        try:
            self._books.save(self._scheduler.memory(), f"boot{self._boot}", self._now())
        except OSError:
            self.counts.faults["snapshot not saved"] += 1

    def _damaged(self, path: Path, line: bytes) -> None:
        if path.read_bytes().endswith(b"\n"):  # else it is the torn line of an old segment
            self._wrong(f"a damaged line in {path.name}: {line!r}")

    # -- processes

    def _spawn(self, run: Run, attempt: int) -> Event:
        self._check_spawn(run, attempt)
        if self.up < self._forks_fail_until and self.draw.random() < 0.7:
            return SpawnFailed(run.id, "Resource temporarily unavailable")
        self.counts.spawns += 1
        self.hasher.update(f"spawn {run.id} {attempt} {self.wall!r}".encode())
        draw = self.draw
        self._pids += 1
        code = draw.choice([0, 0, 0, 0, 1, 2])
        ends = self.up + self.drawing.lasts(run.job.name)
        process = Process(
            pid=self._pids,
            born=floor((self.up - self._booted_at) * 100),
            boot=self._boot,
            line=self._line,
            run=run,
            attempt=attempt,
            ends=ends,
            code=code,
            stubborn=draw.random() < 0.1,
        )
        self._alive[process.pid] = process
        heapq.heappush(self._ends, (ends, process.pid))
        self._burn()
        self._watched[run.id] = process.pid
        return Spawned(run.id, process.pid, process.born)

    def _send(self, run_id: str, name: str) -> None:
        process = self._alive.get(self._watched.get(run_id, 0))
        self.hasher.update(f"send {run_id} {name}".encode())
        if process is None or (process.stubborn and name != "KILL"):
            return
        process.ends, process.code = self.up, f"SIG{name}"
        heapq.heappush(self._ends, (self.up, process.pid))

    def _boot_id(self) -> str:
        return f"boot{self._boot}"

    def _born(self, pid: int) -> int | None:
        process = self._alive.get(pid)
        return None if process is None else process.born

    # -- what befalls it

    def _befall_crash(self) -> None:
        kind = self.draw.choices(["kill", "power", "stop"], [5, 3, 2])[0]
        self.counts.faults[kind] += 1
        if kind == "stop":
            for _ in range(self.draw.choice([1, 1, 2, 3])):
                self._drive(Stop())
            return
        self._power = kind == "power"
        self._fuse = self.draw.choice([1, self.draw.randint(1, 10), self.draw.randint(1, 300)])

    def _befall_reload(self) -> None:
        self.counts.faults["reload"] += 1
        self.jobfile = self.drawing.edited(self.jobfile)
        self._reload()

    def _reload(self) -> None:
        self._expect(self._now())
        self._drive(Reload(self.jobfile))
        self._all_as_expected()

    def _befall_fault(self) -> None:
        kind = self.draw.choice(FAULTS)
        self.counts.faults[kind] += 1
        getattr(self, f"_fault_{kind}")()

    def _fault_step(self) -> None:
        by = self.draw.choice([1.0, 30.0, 600.0, 3600.0, 7200.0]) * self.draw.choice([-1, 1])
        if self.profile.rewinds and self.draw.random() < 0.03:
            by = self.draw.choice([-1.0, 1.0]) * DAY
        self._step_clock(by)
        if self.draw.random() < 0.5:  # somebody sets the clock and edits the jobfile
            self._chaos.append((self.up + self.draw.random() * 1200, "reload"))
            self._chaos.sort(reverse=True)

    def _step_clock(self, by: float) -> None:
        self.wall += by
        self._blind_until = self.up + self.draw.random() * LONGEST_SLEEP_S

    def _fault_suspend(self) -> None:
        self._step_clock(self.draw.choice([3.0, 60.0, 3600.0, 8 * 3600.0, 3.0 * DAY]))

    def _fault_disk(self) -> None:
        self._disk_fails_until = self.up + self.draw.choice([0.5, 10.0, 600.0, 7200.0])

    def _fault_forks(self) -> None:
        self._forks_fail_until = self.up + self.draw.choice([1.0, 600.0])

    def _fault_in_place(self) -> None:
        self._tend()
        self._replaced = not self._done and not self._books.failing

    def _fault_cancel(self) -> None:
        lives = self._scheduler._dispatch.live()
        if lives:
            self._drive(Cancel(self.draw.choice(lives).run.id))

    def _fault_trigger(self) -> None:
        if self.jobfile.jobs:
            self._drive(Trigger(self.draw.choice(sorted(self.jobfile.jobs))))

    def _fault_pause(self) -> None:
        if self.jobfile.jobs:
            jobs = self.draw.choices(sorted(self.jobfile.jobs), k=3)
            for_s = self.draw.choice([None, 0.5, 90.0, 7200.0, 2 * DAY])
            self._drive(PauseJobs(tuple(jobs), for_s, "chaos", "somebody"))

    def _fault_resume(self) -> None:
        self._drive(ResumeJobs(tuple(self._scheduler.standing().pauses), "somebody"))

    def _fault_snapshot(self) -> None:
        self.disk.lose_snapshot()
        self._befall_crash()

    def _befall_calm(self) -> None:
        self.quiet = True
        self._fuse = 0
        self._disk_fails_until = self._forks_fail_until = 0.0

    def _befall_close(self) -> None:
        """Nothing is due any more."""
        self.jobfile = replace(self.jobfile, jobs={})
        self._reload()

    def _befall_stop(self) -> None:
        self.calm = True
        self._drive(Stop())

    def _crash(self) -> None:
        self._fuse = 0
        self.disk.let_go()
        if self._power:
            self.disk.power_loss()
            self._alive.clear()
            self._ends.clear()
            self._boot += 1
            self._booted_at = self.up
            self._pids = 100
        self._undo_what_is_lost()

    def _undo_what_is_lost(self) -> None:
        while self._unproven and not self.disk.holds(self._unproven[-1].line):
            self._undo(self._unproven.pop())

    def _down(self) -> None:
        """There is no daemon for a while; the processes go on."""
        longest = min(self.profile.longest_down_s, self._chaos[0][0] - self.up)
        down = self.draw.choices(
            [1.0, 30.0, 600.0, 7200.0, 2.0 * DAY, longest], [9, 9, 6, 4, 2, 0.5]
        )[0]
        seconds = self.draw.random() * down
        end = self.up + seconds
        late = max(end - at for at, kind in self._chaos if kind in LAST)
        kept = [(at + max(0.0, late), kind) for at, kind in self._chaos if kind in LAST]
        self._chaos = [event for event in self._chaos if event[0] >= end and event[1] not in LAST]
        self._chaos = sorted(self._chaos + kept, reverse=True)
        troubled = not (late > 0 or self.quiet)
        if troubled and self.draw.random() < 0.4:
            self.jobfile = self.drawing.edited(self.jobfile)
        self._pass(seconds)
        if troubled and self.draw.random() < 0.05:
            self._step_clock(self.draw.choice([-600.0, -7200.0, 7200.0]))
        self._disk_fails_until = self._blind_until = 0.0
        self.disk.failing = False
        self._ended()
        if troubled and self.draw.random() < 0.2:  # dies again, early on
            self._power = self.draw.random() < 0.4
            self._fuse = self.draw.randint(1, 300)

    # -- which schedules are in force

    def _expect(self, now: Reading) -> None:
        """What has to be told of the schedules, given the jobfile that is in force from here."""
        self._expected = {}
        jobs = self.jobfile.jobs
        for name in {*self.versions, *jobs}:
            job = jobs.get(name)
            before, after = self._open_version(name), _due_by(job)
            if (before.when if before else None) != after:
                self._expected[name] = after

    def _planned(self, record: Planned) -> None:
        name, before = record.job, self._open_version(record.job)
        if name in self._expected:
            if self._expected.pop(name) != record.when:
                self._wrong(f"{name} is planned by {record.when}")
        elif before is None and record.when is None:
            pass  # closing a book again does no harm: the first closing may have been lost
        elif not (self._may_replan and before is not None and before.when == record.when):
            self._wrong(f"{name} is planned anew without need: {record}")
        now = floor(self.wall)
        # What is a correction for the clock may be a small step for a job whose last occurrence
        # was earlier: its mark may lie ahead of the others', as far as time has ever been.
        top = floor(self.furthest if self.rewinds else self.highest)
        if not now <= record.since <= top:
            self._wrong(f"{name} is planned from {record.since}, not from {now}")
        spare = (now, max(floor(self.highest), record.since))
        begun, was_spare = None, before.spare if before else (0, 0)
        if before is not None:
            before.until, before.spare = now, spare
        if record.when is not None:
            begun = Version(record.when, record.since)
            begun.first_spare = spare if not self._may_replan else (0, 0)
            self.versions.setdefault(name, []).append(begun)
        self._unproven.append(Change(encode(record), name, before, begun, was_spare))

    def _all_as_expected(self) -> None:
        if self._expected:
            self._wrong(f"not told of the schedules of {sorted(self._expected)}")

    def _undo(self, change: Change) -> None:
        if change.begun is not None:
            self.versions[change.job].remove(change.begun)
        if change.ended is not None:
            change.ended.until, change.ended.spare = None, change.spare

    def _open_version(self, name: str) -> Version | None:
        known = self.versions.get(name)
        return known[-1] if known and known[-1].until is None else None

    # -- what can be seen at once

    def _wrong(self, what: str) -> None:
        self.violations.append(f"seed {self.seed}, at {self.wall:.3f}: {what}")

    def _check_intent(self, run: Run, attempt: int) -> None:
        key = (run.id, attempt)
        if self.disk.durable_intents[key] > 0:
            self.disk.durable_intents[key] -= 1
        elif not (run.job.on_log_failure is LogFailure.RUN and self._disk_fails_until > 0):
            self._wrong(f"G3: {run.id} attempt {attempt} is started without an intent on the disk")
        self._spawned[key] += 1
        if run.job.on_log_failure is LogFailure.RUN:
            self._unrecorded.add(run.id)  # it stays so, whatever a reload makes of its job
        if self._spawned[key] > 1 + self.rewinds and run.id not in self._unrecorded:
            self._wrong(f"G1: {run.id} attempt {attempt} is started twice")

    def _check_spawn(self, run: Run, attempt: int) -> None:
        self._check_intent(run, attempt)
        if run.trigger in BY_TIME and run.scheduled > self._latest:
            self._wrong(f"{run.id} is started before its time")
        running = [self._alive[pid] for pid in self._watched.values() if pid in self._alive]
        if len(running) >= self.jobfile.settings.max_running and not self._disk_fails_until:
            self._wrong(f"{run.id} is started beside {len(running)} others")
        if run.job.overlap is Overlap.ALLOW:
            self._ever_side_by_side.add(run.job.name)
        elif run.job.name not in self._ever_side_by_side:
            others = [other.run.id for other in running if other.run.job.name == run.job.name]
            widest = max(self._widest.get(run.job.name, 1), run.job.max_running or 1)
            self._widest[run.job.name] = widest  # runs begun side by side are repeated so
            if len(others) >= widest:
                self._wrong(f"{run.id} is started beside {others}")
        for pool in run.job.pools:
            others = [other.run.id for other in running if pool in other.run.job.pools]
            if len(others) >= POOLS[pool]:
                self._wrong(f"{run.id} is started in {pool} beside {others}")

    def _check_delivery(self, record: Finished) -> None:
        job = self.jobfile.jobs.get(record.job)
        if job is None or job.delivery is not Delivery.AT_LEAST_ONCE or self.calm:
            return
        within = record.at - record.scheduled <= job.catch_up_window
        if record.outcome is Outcome.INTERRUPTED and record.will_retry_at is None and within:
            self._wrong(f"G2: {record.run} was interrupted and is not run again")


def _due_by(job: Job | None) -> When | None:
    if job is None or not job.enabled:
        return None
    when = job.when
    return when if when.cron or when.every or when.at or when.after else None


def _exited(process: Process, known: bool) -> Exited:
    code = process.code
    return Exited(
        run_id=process.run.id,
        exit_code=code if known and isinstance(code, int) else None,
        signal=code if known and isinstance(code, str) else None,
        cpu_s=0.01 if known else None,
        max_rss_bytes=None,
        output=f"output/{process.run.job.name}/{process.run.id}.{process.attempt}.log",
        output_bytes=0,
    )
