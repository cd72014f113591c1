"""The shell around the core: event loop, signals, reload, systemd.

Wires the core to the real clock, processes and files, and performs what it decides. Never blocks
but in `select`, and has no thread.
"""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import signal
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stsd import __version__, retention, wallclock
from stsd.bookkeeper import Bookkeeper
from stsd.control import Control
from stsd.crew import Crew
from stsd.errors import JobfileError
from stsd.housekeeping import Housekeeping
from stsd.journal import Journal
from stsd.logs import Sink
from stsd.memory import Open
from stsd.messages import (
    Abandon,
    Action,
    Begin,
    Commit,
    DiskBack,
    DiskFailed,
    Event,
    Prepare,
    Probe,
    Quit,
    Reload,
    Say,
    Send,
    Spawn,
    Stop,
    Tick,
    Write,
)
from stsd.model import Jobfile, Outcome, Reading
from stsd.orders import House, Orders
from stsd.output import opened_output
from stsd.peers import rights_of
from stsd.places import Places
from stsd.records import Begun, Finished, Intent, Missed, Planned, Record
from stsd.recovery import boot_id, recall
from stsd.scheduler import Scheduler
from stsd.signals import Signals, put_off
from stsd.systemd import Notifier
from stsd.units import rfc3339

# A step of the clock, or a resume from sleep, is noticed within five seconds.
LONGEST_SLEEP_S = 4.0
# What it takes, beside the waiting for runs, to end in good order.
STOP_MARGIN_S = 5.0
# How long an overdue snapshot waits for a moment at which nobody minds.
SNAPSHOT_PATIENCE_S = 50.0


def read_clock() -> Reading:
    """Both clocks, now. The one place that reads them."""
    return Reading(time.time(), time.monotonic())


@dataclass(frozen=True, slots=True)
class World:
    """What a daemon is given of the outside. `load` reads the jobfile anew, and raises
    JobfileError; `restart` replaces the process in place, and does not return; `in_place` tells
    that this has just been done; `environ` is the children's base environment; `sockets` are the
    folders that the control socket may be in."""

    load: Callable[[], Jobfile]
    restart: Callable[[], None]
    in_place: bool
    places: Places
    environ: Mapping[str, str]
    log: FilteringBoundLogger
    sink: Sink | Journal
    notifier: Notifier
    sockets: Sequence[Path]


class Daemon:
    """One running stsd."""

    def __init__(self, jobfile: Jobfile, world: World) -> None:
        self._world = world
        self._log = world.log
        self._scheduler = Scheduler(jobfile, random.random)
        self._selector = selectors.DefaultSelector()
        places = world.places
        self._crew = Crew(
            self._selector, places.log_dir, places.state_dir, world.environ, world.log
        )
        self._books = Bookkeeper(places, time.monotonic())
        self._housekeeping = Housekeeping(world.environ)
        house = House(
            self._scheduler, self._obey, world.load, self._reload, read_clock, self._about
        )
        self._control = Control(
            self._selector,
            world.sockets,
            rights_of(jobfile.settings.control, os.geteuid()),
            Orders(house).answer,
            partial(opened_output, places.log_dir),
            world.log,
        )
        self._since = read_clock().wall
        self._reloaded: dict[str, object] | None = None
        self._done = False
        self._fed_at = 0.0
        self._save_s = 0.0

    def run(self) -> None:
        """Run until a signal ends it. An error in here is a fault of stsd's own and ends it too."""
        signals = Signals()
        self._selector.register(signals.inbox, selectors.EVENT_READ, signals)
        jobs = len(self._scheduler.jobfile.jobs)
        self._log.info("started_daemon", jobs=jobs, log_dir=str(self._world.places.log_dir))
        self._begin()
        self._control.open(time.monotonic())
        self._world.notifier.ready(self._status())
        while not self._done:
            self._turn(signals)
        self._control.close()
        for event in self._crew.settle():
            self._drive(event)
        self._save()
        self._log.info("stopped")

    def _begin(self) -> None:
        memory = recall(self._world.places, self._tell_damage)
        self._note(Begun(os.getpid(), boot_id(), __version__, time.time()))
        attempts = {run: self._adopted(attempt) for run, attempt in memory.open.items()}
        self._crew.sweep(attempt for attempt in attempts.values() if attempt.alive)
        self._drive(Begin(replace(memory, open=attempts), self._world.in_place))
        self._drive(Tick())
        self._tend_books()
        self._save()

    def _adopted(self, attempt: Open) -> Open:
        if not attempt.alive:
            return attempt
        try:
            self._crew.adopt(attempt)
        except OSError as error:  # it has ended since it was looked at
            self._log.warning("gone", run=attempt.run, pid=attempt.pid, error=str(error))
            return replace(attempt, alive=False)
        self._log.info("adopted", job=attempt.job, run=attempt.run, pid=attempt.pid)
        return attempt

    def _tell_damage(self, segment: Path, line: bytes) -> None:
        self._log.warning("damaged_line", file=str(segment), line=repr(line[:80]))

    def _turn(self, signals: Signals) -> None:
        for key, _ in self._selector.select(self._longest_sleep()):
            if key.data is signals:
                for number in signals.taken():
                    self._on_signal(number)
            elif key.data is self._control:
                self._control.hear(key, time.monotonic())
            else:
                for event in self._crew.hear(key):
                    self._drive(event)
        for event in self._crew.tend(time.monotonic()):
            self._drive(event)
        self._control.tend(time.monotonic())
        self._drive(Tick())
        self._tend_books()
        self._save_at_leisure()
        self._keep_house()
        self._world.sink.flush()
        self._feed_watchdog()

    def _longest_sleep(self) -> float:
        wake, now = self._scheduler.wake(), read_clock()
        sleeps = [LONGEST_SLEEP_S]
        if wake.wall is not None:
            sleeps.append(wake.wall - now.wall)
        if wake.mono is not None:
            sleeps.append(wake.mono - now.mono)
        if self._world.notifier.watchdog_interval is not None:
            sleeps.append(self._fed_at + self._world.notifier.watchdog_interval - now.mono)
        patience = (
            self._crew.patience(),
            self._books.patience(now.mono),
            self._control.patience(now.mono),
        )
        sleeps += [seconds for seconds in patience if seconds is not None]
        return max(0.0, min(sleeps))

    # -- the core's decisions

    def _drive(self, event: Event) -> None:
        """Hand the event to the core, and every answer that its actions bring."""
        events = deque([event])
        while events:
            for action in self._scheduler.step(events.popleft(), read_clock()):
                answer = self._perform(action)
                if answer is not None:
                    events.append(answer)

    def _obey(self, order: Event) -> None:
        """Do what a person asks, and have it on record before it is answered."""
        self._drive(order)
        self._tend_books()

    def _perform(self, action: Action) -> Event | None:
        match action:
            case Commit():
                for intent in action.intents:
                    self._log_record(intent)
                return self._books.commit(action.intents, time.monotonic())
            case Probe() | Prepare() | Abandon() | Spawn() | Send():
                return self._crew.perform(action)
            case Write():
                self._note(action.record)
            case Say():
                getattr(self._log, action.level)(action.event, **action.fields)
            case Quit():
                self._done = True
        return None

    # -- the books

    def _note(self, record: Record) -> None:
        self._books.note(record, time.monotonic())
        self._control.publish(record, time.monotonic())
        self._log_record(record)

    def _tend_books(self) -> None:
        for event in self._books.tend(time.monotonic()):
            if isinstance(event, DiskFailed):
                self._log.error("history_not_written", error=event.error, jobs="held")
            elif isinstance(event, DiskBack):
                self._log.warning("history_written_again")
            self._drive(event)

    def _save_at_leisure(self) -> None:
        """The loop stands still for a snapshot of many jobs: take it when nothing is due for twice
        as long as the last one took, if that comes in time."""
        mono = time.monotonic()
        if self._books.snapshot_overdue(mono) and (
            self._longest_sleep() > 2 * self._save_s
            or self._books.snapshot_overdue(mono - SNAPSHOT_PATIENCE_S)
        ):
            self._save()

    def _save(self) -> None:
        """Keep the next start short; without a snapshot it reads the history."""
        now = read_clock()
        try:
            self._books.save(self._scheduler.memory(), boot_id(), now)
        except OSError as error:
            self._log.warning("state_not_saved", error=str(error))
        self._save_s = time.monotonic() - now.mono

    def _keep_house(self) -> None:
        jobfile = self._scheduler.jobfile
        command = partial(
            retention.command, self._world.places, jobfile.settings, jobfile.jobs.values()
        )
        failure = self._housekeeping.tend(command, time.monotonic())
        if failure is not None:
            self._log.warning("history_not_kept", error=failure)

    # -- signals

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGHUP:
            with contextlib.suppress(JobfileError):  # the log has been told
                self._reload()
        elif number is signal.SIGUSR1:
            self._reopen()
        elif number is signal.SIGUSR2:
            self._restart()
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._world.notifier.stopping(self._longest_stop())
            self._drive(Stop())

    def _reopen(self) -> None:
        try:
            self._books.reopen()
            self._world.sink.reopen()
        except OSError as error:  # a full disk must not end the daemon: what waits is kept
            self._log.error("logs_not_reopened", error=str(error))
        else:
            self._log.info("logs_reopened")

    def _longest_stop(self) -> float:
        """Seconds that the jobfile lets a stop take; systemd is asked for as many."""
        jobfile = self._scheduler.jobfile
        graces = [job.stop_grace for job in jobfile.jobs.values()]
        return jobfile.settings.stop_timeout + max(graces, default=0.0) + STOP_MARGIN_S

    def _reload(self) -> None:
        """All or nothing: a jobfile with any fault leaves everything as it was. Raises
        JobfileError."""
        self._world.notifier.reloading()
        self._reloaded = {"at": rfc3339(read_clock().wall), "problem": None}
        wallclock.reread()
        try:
            jobfile = self._world.load()
        except JobfileError as error:
            for problem in error.problems:
                self._log.error("reload_refused", problem=str(problem))
            status = f"{self._status()}; the last reload was refused: {error.problems[0]}"
            self._world.notifier.ready(status)
            self._reloaded["problem"] = str(error.problems[0])
            raise
        for warning in jobfile.warnings:
            self._log.warning("jobfile", warning=warning)
        old, new = self._scheduler.jobfile.settings, jobfile.settings
        if (old.log_dir, old.state_dir) != (new.log_dir, new.state_dir):
            self._log.warning("needs_restart", keys="daemon.log_dir, daemon.state_dir")
        self._crew.renew()
        self._drive(Reload(jobfile))
        self._control.permit(rights_of(new.control, os.geteuid()))
        self._world.notifier.ready(self._status())

    def _restart(self) -> None:
        """Replace this process by a new one of the same pid, whose children go on unharmed."""
        self._tend_books()
        if self._books.failing:  # the new process would know nothing of what could not be written
            self._log.error("restart_refused", problem="the history cannot be written")
            return
        try:
            self._world.load()
        except JobfileError as error:
            for problem in error.problems:
                self._log.error("restart_refused", problem=str(problem))
            return
        self._world.notifier.reloading()
        for event in self._crew.settle():
            self._drive(event)
        self._tend_books()
        self._control.close()
        self._save()
        self._log.info("restarting_in_place")
        put_off()
        self._world.restart()

    # -- words

    def _about(self) -> dict[str, object]:
        jobfile, where = self._scheduler.jobfile, self._world.places
        return {
            "version": __version__,
            "pid": os.getpid(),
            "jobfile": str(jobfile.path),
            "jobs": len(jobfile.jobs),
            "since": rfc3339(self._since),
            "log_dir": str(where.log_dir),
            "state_dir": str(where.state_dir),
            "reload": self._reloaded,
        }

    def _status(self) -> str:
        jobs = len(self._scheduler.jobfile.jobs)
        return f"{jobs} {'job' if jobs == 1 else 'jobs'} from {self._scheduler.jobfile.path}"

    def _log_record(self, record: Record) -> None:
        fields = {name: value for name, value in record.fields().items() if value is not None}
        event = str(fields.pop("event"))
        if isinstance(record, Intent | Begun | Planned):
            self._log.debug(event, **fields)
            return
        failed = isinstance(record, Finished) and record.outcome is not Outcome.SUCCEEDED
        if failed or isinstance(record, Missed):
            self._log.warning(event, **fields)
        else:
            self._log.info(event, **fields)

    def _feed_watchdog(self) -> None:
        interval = self._world.notifier.watchdog_interval
        now = time.monotonic()
        if interval is not None and now >= self._fed_at + interval:
            self._world.notifier.watchdog()
            self._fed_at = now
