"""The herald: tells people how jobs fare, in a process of its own beside the daemon.

Reads the history as the daemon writes it, decides by `stsd.desk` what is to be told, keeps that in
a database before anything is sent, and leaves the sending to children (`stsd.post`). Killed at any
point it loses nothing, and says at most what was on its way twice. It has no thread, and waits for
nothing but in `select`; it ends when the daemon has gone, which it knows by its standard input.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from stsd import wallclock
from stsd.bulletin import Bulletin
from stsd.couriers import Couriers
from stsd.desk import Desk
from stsd.errors import JobfileError, StsdError
from stsd.follow import Cursor, Follower, cursor_of
from stsd.jobfile import load, machine_zone
from stsd.lane import Delivery
from stsd.outbox import Found, Outbox
from stsd.post import Came, Post
from stsd.settings import Jobfile
from stsd.tidings import Tidings
from stsd.wire import Said, Wire

NICE = 10
PAUSE_S = 0.5
"""For so long news gather before they are read: what is in a hurry then are the jobs."""
BATCH = 500
MOST_BATCHES = 10
"""Records at a time, and in a turn of the loop."""
COMMIT_S = 5.0
"""How long what was read, and told nobody, is in memory alone; it would be read again."""
REREAD_S = 10.0
"""After how long a history that cannot be read is tried again without news of it."""
HURRY_S = 5.0
"""How long the end waits for what is on its way."""


@dataclass(frozen=True, slots=True)
class Duty:
    """What a herald is started with: its daemon's jobfile and folders, and since when (wall clock)
    people want to be told, should nothing be known of what they were told before."""

    jobfile: Path
    log_dir: Path
    state_dir: Path
    begun: float


class Herald:
    """One herald. `found` is what the one before it has left in the `outbox`."""

    def __init__(self, duty: Duty, wire: Wire, outbox: Outbox, found: Found) -> None:
        """Raises JobfileError for a jobfile that the daemon would not take either."""
        now = time.time()
        self._duty = duty
        self._wire = wire
        self._outbox = outbox
        self._selector = selectors.DefaultSelector()
        jobfile = self._load()
        cursor, damage = _cursor(found)
        anew = bool(damage) or (found.cursor is None and not found.rooms)
        self._desk = Desk(jobfile.jobs, found.rooms, duty.begun, _new_id, now, anew=anew)
        cursor = None if self._desk.is_new else cursor
        self._follower = Follower(duty.log_dir, self._tell_damage, cursor)
        self._post = Post(
            self._selector, os.environ, duty.jobfile, duty.log_dir, socket.gethostname()
        )
        self._tidings = Tidings(wire)
        self._say = self._tidings.say
        self._bulletin = Bulletin(self._selector, duty.log_dir, os.getppid(), self._say)
        self._bulletin.reload(jobfile, time.monotonic())
        self._is_behind = True
        self._has_news = False
        self._read_after = 0.0
        self._reread_at: float | None = None
        self._events = 0
        self._unsafe_since: float | None = None
        self._hurried = False
        self._is_ready = self._is_leaving = False
        self._problem = ""
        if found.warning:
            self._say("warning", "herald_database", problem=found.warning)
        for what in [*damage, *self._desk.damaged]:
            self._say("warning", "herald_database", problem=f"its {what} cannot be read")

    def run(self) -> None:
        """Until the daemon hangs up; what has gathered by then is sent."""
        while not self._wire.ended:
            self._turn(self._sleep())
        self._bid_farewell()

    # -- a turn of the loop

    def _turn(self, patience: float | None, *, hurry: bool = False) -> None:
        for key, _ in self._selector.select(patience):
            if key.data is self._wire:
                self._heed_all()
            elif isinstance(key.data, Couriers):
                self._take(self._post.hear(key.fd))
            else:
                self._bulletin.hear(time.monotonic())
        knows_all = hurry or not self._has_news
        if self._is_to_read(time.monotonic()):
            self._has_news, self._reread_at = False, None
            self._is_behind = self._read()
            knows_all = not self._is_behind
        now, mono = time.time(), time.monotonic()
        if knows_all:  # else what is late may not be so
            self._decide(now, hurry=hurry)
        self._keep(now, mono)
        self._take(self._post.tend(self._desk.jobs, now, mono))
        self._bulletin.tend(self._desk, now, mono)
        self._tidings.say_what_is_lost(self._desk.lost(), self._desk.given_up())
        self._tidings.tell(self._desk, mono)
        self._wire.flush()
        self._listen(mono)

    def _sleep(self) -> float | None:
        """In how many seconds there is something to do by the clocks; None: there is not."""
        now, mono = time.time(), time.monotonic()
        sleeps = [at - mono for at in self._dues() if at is not None]
        due = self._desk.due()
        if due is not None and not (self._is_behind or self._has_news):
            sleeps.append(due - now)
        return max(0.0, min(sleeps)) if sleeps else None

    def _dues(self) -> tuple[float | None, ...]:
        """When there is something to do by the monotonic clock."""
        return (
            self._post.due(),
            self._bulletin.due(),
            self._tidings.due(),
            None if self._unsafe_since is None else self._unsafe_since + COMMIT_S,
            self._read_after if self._has_news else self._reread_at,
            0.0 if self._hurried or self._is_behind else None,
        )

    def _is_to_read(self, mono: float) -> bool:
        at = self._read_after if self._has_news else self._reread_at
        return self._is_behind or (at is not None and mono >= at)

    def _listen(self, mono: float) -> None:
        """Wait for the daemon's words, but not all the time while there are many of them."""
        wanted = self._wire.wanted
        if self._is_leaving or mono < self._read_after:
            wanted &= ~selectors.EVENT_READ
        if wanted == self._events:
            return
        if not self._events:
            self._selector.register(self._wire.socket, wanted, self._wire)
        elif not wanted:
            self._selector.unregister(self._wire.socket)
        else:
            self._selector.modify(self._wire.socket, wanted, self._wire)
        self._events = wanted

    # -- what comes in

    def _heed_all(self) -> None:
        """What the daemon has said by now."""
        for said in self._wire.heard():
            self._heed(said)

    def _heed(self, said: Said) -> None:
        if "news" in said:
            self._has_news = True
            self._read_after = time.monotonic() + PAUSE_S
        if "reload" in said:
            self._reload()
        match said.get("held", ...):
            case str(error):
                self._desk.held(error, time.time())
                self._bulletin.told({"held": True}, time.monotonic())
            case None:
                self._desk.held(None, time.time())
                self._bulletin.told({"held": False}, time.monotonic())
        match said.get("gauges"):
            case dict(gauges):
                self._bulletin.told(gauges, time.monotonic())

    def _reload(self) -> None:
        wallclock.reread()
        try:
            jobfile = self._load()
        except JobfileError as error:
            self._say("error", "herald_keeps_jobfile", problem=str(error.problems[0]))
            return
        self._desk.reload(jobfile.jobs, time.time())
        self._bulletin.reload(jobfile, time.monotonic())
        self._hurried = True

    def _read(self) -> bool:
        """Read what is new in the history; whether there may be more of it."""
        for _ in range(MOST_BATCHES):
            try:
                records = self._follower.batch(BATCH)
            except OSError as error:
                self._say("error", "history_not_read", error=str(error))
                self._reread_at = time.monotonic() + REREAD_S
                return False
            if not records:
                return False
            self._heed_all()  # a reload that whoever wrote these knew of comes before them
            now = time.time()
            for record in records:
                try:
                    self._desk.take(record, now)
                except (KeyError, TypeError, ValueError, OverflowError):
                    self._tell_damage(self._duty.log_dir / "history", repr(record).encode())
            self._unsafe_since = self._unsafe_since or time.monotonic()
        return True

    def _take(self, came: list[Came]) -> None:
        """What has become of deliveries and calls."""
        now = time.time()
        for each in came:
            self._hurried = True
            answered = each.answered
            if isinstance(each.what, Delivery):
                standing = self._desk.answered(
                    answered.id, answered.ok, answered.said, now, unsure=answered.unsure
                )
                self._tidings.say_what_came(each, standing)
            else:
                self._desk.called(answered.id, answered.ok, answered.said, now)

    def _decide(self, now: float, *, hurry: bool) -> None:
        """What is to be sent, all that has been written being known."""
        deliveries, calls = self._desk.tick(now, hurry=hurry)
        self._post.put(deliveries, calls)
        self._hurried = self._hurried or bool(deliveries or calls)
        if not self._is_ready:  # for that, what is known has to be kept
            self._is_ready = self._hurried = True
            self._wire.tell("ready", True)

    # -- what is kept

    def _keep(self, now: float, mono: float) -> None:
        """Put all that is known onto the disk when something is about to be sent, has been
        answered, or has waited for long enough."""
        unsafe = self._unsafe_since is not None and mono >= self._unsafe_since + COMMIT_S
        if not unsafe and not self._hurried:
            return
        cursor = self._follower.cursor
        value = None if cursor is None else cursor.value()
        warning = self._outbox.commit(value, self._desk.changed(), self._desk.known, now)
        self._hurried = False
        self._unsafe_since = mono if self._outbox.problem else None
        if warning:
            self._say("warning", "herald_database", problem=warning)
        if self._outbox.problem != self._problem:
            self._problem = self._outbox.problem
            if self._problem:
                self._say("error", "notifications_not_kept", problem=self._problem)
            else:
                self._say("warning", "notifications_kept_again")

    def _load(self) -> Jobfile:
        """Raises JobfileError."""
        return load(self._duty.jobfile, local_zone=machine_zone(), to_run=True)

    def _tell_damage(self, segment: Path, line: bytes) -> None:
        self._say("debug", "damaged_line", file=str(segment), line=repr(line[:80]))

    # -- the end

    def _bid_farewell(self) -> None:
        """Send what has gathered, as far as that can be done in HURRY_S."""
        until = time.monotonic() + HURRY_S
        self._is_leaving = self._is_behind = True
        while self._is_behind and time.monotonic() < until:  # the next herald goes on from there
            self._turn(0.0, hurry=True)
        while not self._post.is_idle and (left := until - time.monotonic()) > 0:
            self._turn(left, hurry=True)
        self._post.close()
        self._bulletin.close()
        self._unsafe_since = 0.0
        self._keep(time.time(), time.monotonic())
        self._outbox.close()
        self._tidings.tell(self._desk, time.monotonic(), hurry=True)
        self._wire.flush()


def main() -> int:
    """Serve the daemon at the other end of standard input until it hangs up."""
    jobfile, log_dir, state_dir, begun = sys.argv[1:]
    os.nice(NICE)
    wire = Wire(socket.socket(fileno=os.dup(0)))
    duty = Duty(Path(jobfile), Path(log_dir), Path(state_dir), float(begun))
    try:
        herald = _begun(duty, wire)
    except JobfileError as error:  # it has been changed since the daemon read it
        print(error, file=sys.stderr)
        return 1
    if herald is not None:
        herald.run()
    return 0


def _begun(duty: Duty, wire: Wire) -> Herald | None:
    """A herald, as soon as the one before it, which may still be sending, has let go of the
    database; None if it is not wanted any more by then."""
    while True:
        outbox = Outbox(duty.state_dir, time.time())
        try:
            found = outbox.load()
        except StsdError:
            wire.flush()
            time.sleep(PAUSE_S)
            if _is_gone(wire.socket):
                return None
        else:
            return Herald(duty, wire, outbox, found)


def _new_id() -> str:
    return str(uuid4())


def _cursor(found: Found) -> tuple[Cursor | None, list[str]]:
    """How far the history has been read, and what is wrong with that."""
    if found.cursor is None:
        return None, []
    try:
        return cursor_of(found.cursor), []
    except (IndexError, TypeError, ValueError):
        return None, ["cursor"]


def _is_gone(end: socket.socket) -> bool:
    """Whether nobody is at the other end, without taking anything of what was said."""
    try:
        return not end.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
