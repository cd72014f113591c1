"""The shell around the core: event loop, signals, reload, systemd.

Wires the core to the real clock, processes and files, and performs what it decides. Never blocks
but in `select`, and has no thread.
"""

from __future__ import annotations

import os
import random
import selectors
import signal
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from stsd import __version__, retention, wallclock
from stsd.bookkeeper import Bookkeeper
from stsd.control import Control
from stsd.crew import Crew
from stsd.errors import JobfileError
from stsd.heraldlink import FAREWELL_S, HeraldLink
from stsd.housekeeping import Housekeeping
from stsd.loading import Aim, Ask, Fresh, Loading
from stsd.logs import log_record
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
from stsd.model import Reading
from stsd.orders import House, Orders
from stsd.output import opened_output
from stsd.peers import rights_of
from stsd.records import Begun, Record
from stsd.recovery import boot_id, machine_id, recall
from stsd.saving import Saving
from stsd.scheduler import Scheduler
from stsd.settings import Jobfile
from stsd.signals import Signals, put_off
from stsd.sleep import sleep
from stsd.statusrows import numbers_of
from stsd.systemd import longest_stop_s
from stsd.twin import Twin
from stsd.units import rfc3339
from stsd.world import World

# A step of the clock, or a resume from sleep, is noticed within five seconds.
LONGEST_SLEEP_S = 4.0
# What it takes, beside the waiting for runs, to end in good order.
STOP_MARGIN_S = 5.0 + FAREWELL_S


def read_clock() -> Reading:
    """Both clocks, now. The one place that reads them."""
    return Reading(time.time(), time.monotonic())


class Daemon:
    """One running stsd."""

    def __init__(self, jobfile: Jobfile, world: World) -> None:
        self._world = world
        self._log = world.log
        self._scheduler = Scheduler(jobfile, random.random, machine_id())
        self._selector = selectors.DefaultSelector()
        places = world.places
        self._crew = Crew(
            self._selector, places.log_dir, places.state_dir, world.environ, world.log
        )
        self._books = Bookkeeper(places, time.monotonic())
        self._housekeeping = Housekeeping(world.environ)
        self._since = read_clock().wall
        self._herald = HeraldLink(
            self._selector, places, world.environ, self._gauges, self._since, world.log
        )
        self._saving = Saving(
            self._selector, self._books, self._scheduler.memory, boot_id(), world.log
        )
        self._loading = Loading(self._selector, world.load, self._tell_reloading, world.log)
        house = House(
            self._scheduler,
            self._obey,
            self._loading.ask,
            read_clock,
            self._about,
            lambda: self._herald.conditions,
        )
        self._control = Control(
            self._selector,
            world.sockets,
            rights_of(jobfile.settings.control, os.geteuid()),
            Orders(house).answer,
            partial(opened_output, places.log_dir),
            world.log,
        )
        self._reloaded: dict[str, object] | None = None
        self._in_force_since = self._since
        self._done = False
        self._longest_turn_s = 0.0
        self._noted: list[Record] = []

    def run(self) -> None:
        """Run until a signal ends it. An error in here is a fault of stsd's own and ends it too."""
        signals = Signals()
        self._selector.register(signals.inbox, selectors.EVENT_READ, signals)
        jobs = len(self._scheduler.jobfile.jobs)
        self._control.open(time.monotonic())  # who has read that it started may ask it at once
        self._log.info("started_daemon", jobs=jobs, log_dir=str(self._world.places.log_dir))
        self._begin()
        self._herald.serve(self._scheduler.jobfile, time.monotonic())
        self._world.notifier.ready(self._status())
        while not self._done:
            self._turn(signals)
        self._hang_up()
        for event in self._crew.settle():
            self._drive(event)
        self._saving.save(read_clock())
        self._herald.close()
        self._log.info("stopped")

    def _begin(self) -> None:
        self._obey(self._beginning())
        self._saving.save(read_clock())

    def _beginning(self) -> Begin:
        memory = recall(self._world.places, self._tell_damage)
        self._note(Begun(os.getpid(), boot_id(), __version__, time.time()))
        attempts = {run: self._adopted(attempt) for run, attempt in memory.open.items()}
        self._crew.sweep(attempt for attempt in attempts.values() if attempt.alive)
        return Begin(replace(memory, open=attempts), self._world.in_place)

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
        ready = sleep(self._selector, self._longest_sleep(), self._scheduler.wake().wall)
        began = time.monotonic()
        for key, _ in ready:
            if key.data is signals:
                for number in signals.taken():
                    self._on_signal(number)
            elif key.data is self._control:
                self._control.hear(key, time.monotonic())
            elif key.data is self._herald:
                self._herald.hear(time.monotonic())
            elif isinstance(key.data, Twin):
                key.data.hear()
            else:
                for event in self._crew.hear(key):
                    self._drive(event)
        self._drive(Tick())  # before all else: that is what is waited for to the millisecond
        for event in self._crew.tend(time.monotonic()):
            self._drive(event)
        self._tend_loading()
        self._control.tend(time.monotonic())
        self._tend_books()
        self._herald.tend(read_clock())
        self._saving.tend(read_clock(), self._longest_sleep, len(self._scheduler.jobfile.jobs))
        self._keep_house()
        self._world.sink.flush()
        self._world.notifier.tend(time.monotonic())
        self._longest_turn_s = max(self._longest_turn_s, time.monotonic() - began)

    def _longest_sleep(self) -> float:
        wake, now = self._scheduler.wake(), read_clock()
        sleeps = [LONGEST_SLEEP_S]
        if wake.wall is not None:
            sleeps.append(wake.wall - now.wall)
        if wake.mono is not None:
            sleeps.append(wake.mono - now.mono)
        patience = (
            self._crew.patience(),
            self._books.patience(now.mono),
            self._control.patience(now.mono),
            self._loading.patience(now.mono),
            self._world.notifier.patience(now.mono),
            self._herald.patience(now.mono),
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
            if not events:
                events += self._crew.begun()

    def _obey(self, order: Event) -> Sequence[Record]:
        """Do what is asked for, and have it on record before it is answered; what was noted."""
        self._drive(order)
        self._drive(Tick())  # it may have made room for what waits
        noted = self._noted
        self._tend_books()
        return noted

    def _perform(self, action: Action) -> Event | None:
        match action:
            case Commit():
                for intent in action.intents:
                    log_record(self._log, intent)
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
        fields = self._books.note(record, time.monotonic())
        self._noted.append(record)
        self._herald.news()
        log_record(self._log, record, fields)

    def _tend_books(self) -> None:
        while events := self._books.tend(time.monotonic()):  # what they bring is written, too
            for event in events:
                if isinstance(event, DiskFailed):
                    self._log.error("history_not_written", error=event.error, jobs="held")
                    self._herald.held(event.error)
                elif isinstance(event, DiskBack):
                    self._log.warning("history_written_again")
                    self._herald.held(None)
                self._drive(event)
        noted, self._noted = self._noted, []
        for record in noted:  # whoever is told of it finds it in the history
            self._control.publish(record, time.monotonic())

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
            self._loading.ask(Ask(Aim.RELOAD))
        elif number is signal.SIGUSR1:
            self._reopen()
        elif number is signal.SIGUSR2:
            self._loading.ask(Ask(Aim.RESTART))
        elif number in (signal.SIGTERM, signal.SIGINT):
            self._world.notifier.stopping(longest_stop_s(self._scheduler.jobfile) + STOP_MARGIN_S)
            self._drive(Stop())

    def _reopen(self) -> None:
        try:
            self._books.reopen()
            self._world.sink.reopen()
        except OSError as error:  # a full disk must not end the daemon: what waits is kept
            self._log.error("logs_not_reopened", error=str(error))
        else:
            self._log.info("logs_reopened")

    # -- another jobfile

    def _tell_reloading(self, asked: Iterable[Ask]) -> None:
        if any(ask.aim is Aim.RELOAD for ask in asked):
            self._world.notifier.reloading()

    def _tend_loading(self) -> None:
        read = self._loading.tend(self._scheduler.jobfile, read_clock())
        if read is None:
            return
        if read.is_for(Aim.RELOAD):
            self._reload(read.result)
        read.tell()
        if read.is_for(Aim.RESTART):
            self._restart(read.result)

    def _reload(self, read: Fresh | JobfileError) -> None:
        """All or nothing: a jobfile with any fault leaves everything as it was."""
        self._reloaded = {"at": rfc3339(read_clock().wall), "problem": None}
        if isinstance(read, JobfileError):
            self._refuse("reload_refused", read)
            self._reloaded["problem"] = str(read.problems[0])
            status = f"{self._status()}; the last reload was refused: {read.problems[0]}"
            self._world.notifier.ready(status)
            return
        self._in_force_since = read_clock().wall
        for warning in read.jobfile.warnings:
            self._log.warning("jobfile", warning=warning)
        old, new = self._scheduler.jobfile.settings, read.jobfile.settings
        if (old.log_dir, old.state_dir) != (new.log_dir, new.state_dir):
            self._log.warning("needs_restart", keys="daemon.log_dir, daemon.state_dir")
        wallclock.renew(read.zones)
        self._crew.renew()
        self._obey(Reload(read.jobfile, frozenset(read.zones)))
        self._herald.serve(read.jobfile, time.monotonic())
        self._control.permit(read.rights)
        self._world.notifier.ready(self._status())

    def _restart(self, read: Fresh | JobfileError) -> None:
        """Replace this process by a new one of the same pid, whose children go on unharmed."""
        self._tend_books()
        if self._scheduler.stopping:  # the new process would know nothing of that
            self._log.error("restart_refused", problem="stsd is stopping")
            return
        if self._books.failing:  # nor of what could not be written
            self._log.error("restart_refused", problem="the history cannot be written")
            return
        if isinstance(read, JobfileError):
            self._refuse("restart_refused", read)
            return
        self._world.notifier.reloading()
        for event in self._crew.settle():
            self._drive(event)
        self._tend_books()
        self._hang_up()
        self._saving.save(read_clock())
        self._log.info("restarting_in_place")
        put_off()
        self._world.restart()

    def _refuse(self, event: str, error: JobfileError) -> None:
        for problem in error.problems:
            self._log.error(event, problem=str(problem))

    def _hang_up(self) -> None:
        """Tell whoever waits for an answer that there is none, and listen to nobody any more."""
        self._loading.close()
        self._control.close(time.monotonic())

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
            "telling": self._herald.about(),
        }

    def _gauges(self) -> dict[str, object]:
        """What the metrics are told of the daemon itself, since they were last told."""
        delay, self._longest_turn_s = self._longest_turn_s, 0.0
        return {
            **numbers_of(self._scheduler.live()),
            "loop_delay_s": round(delay, 6),
            "started": self._since,
            "reloaded": self._in_force_since,
            "reload_ok": self._reloaded is None or self._reloaded["problem"] is None,
        }

    def _status(self) -> str:
        jobs = len(self._scheduler.jobfile.jobs)
        return f"{jobs} {'job' if jobs == 1 else 'jobs'} from {self._scheduler.jobfile.path}"
