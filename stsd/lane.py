"""One target: what waits for it, when that goes out, and what becomes of it.

Decides and does nothing else; whoever keeps the lanes is told what has changed in them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from stsd.folding import folded
from stsd.notices import Notice, Quiet, Target
from stsd.quiet import quiet_until

GATHER_S = 10.0
HERD_S = 60.0
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 900.0
GIVEN_UP_S = 3 * 86400.0
KEPT = 1000

_LEEWAY_S = 2 * HERD_S
_DOUBLINGS = 16


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one target, its `notices` in the order in which they came about; `dropped`
    ones had to be let go of before it. `tries` counts since the target was reached the last time;
    what goes out again under the same `id` says the same."""

    id: str
    target: Target
    notices: tuple[Notice, ...]
    dropped: int = 0
    tries: int = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """How it stands with a target: how many notices wait for it, with those under way; since when
    it cannot be reached (None: it can, as far as is known), what was said last, and when it is
    tried again."""

    target: Target
    waiting: int
    failing_since: float | None = None
    problem: str = ""
    again_at: float | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A notice that waits since it `arrived`, and the quiet hours of its job."""

    notice: Notice
    arrived: float
    quiet: Quiet | None
    zone: str

    def came_in_quiet_hours(self) -> bool:
        """Whether it has to wait for their end."""
        return self._quiet_until(self.arrived) is not None

    def opens_at(self, now: float) -> float:
        """When it may go out: at once, or when the quiet hours end. What has come shortly before
        they begin is told all the same."""
        if now - self.arrived <= _LEEWAY_S and not self.came_in_quiet_hours():
            return now
        return self._quiet_until(now) or now

    def _quiet_until(self, instant: float) -> float | None:
        return None if self.quiet is None else quiet_until(self.quiet, self.zone, instant)


class Way(StrEnum):
    """Where a message is."""

    OUT = "out"
    UNSURE = "unsure"  # it may have arrived, and is repeated as it stands
    AGAIN = "again"  # out once more, after that
    BACK = "back"  # it has not, and others may join it


@dataclass(frozen=True, slots=True)
class Message:
    """What was sent last and is not known to have arrived: the serials of its items."""

    id: str
    serials: tuple[int, ...]
    dropped: int
    way: Way


@dataclass(slots=True)
class Trouble:
    """A target could not be reached: since when, how often, what was said, when it is tried
    again."""

    since: float
    tries: int
    problem: str
    again_at: float


class Lane:
    """What waits for one target, by serial: in the order in which it came about. `number` tells it
    from other lanes; a target that is not `wanted` has left the jobfile, and `heirs` are those who
    are told instead, by job."""

    def __init__(self, number: int, target: Target) -> None:
        self.number = number
        self.target = target
        self.wanted = True
        self.heirs: dict[str, tuple[Target, ...]] = {}
        self.items: dict[int, Item] = {}
        self.message: Message | None = None
        self.trouble: Trouble | None = None
        self.dropped = 0

    @property
    def idle(self) -> bool:
        """Whether nothing is to be known of it."""
        return not (self.items or self.trouble or self.dropped)

    @property
    def is_out(self) -> bool:
        """Whether a message is under way."""
        return self.message is not None and self.message.way in (Way.OUT, Way.AGAIN)

    def standing(self) -> Standing:
        """For people."""
        if self.trouble is None:
            return Standing(self.target, len(self.items))
        told = self.trouble
        return Standing(self.target, len(self.items), told.since, told.problem, told.again_at)

    # -- what comes in

    def fold(self, notice: Notice, now: float) -> tuple[Notice, list[int]]:
        """The notice as it is to be told, and the serials of those that it makes needless."""
        fixed = self._fixed()
        waiting = [
            (serial, item.notice)
            for serial, item in self.items.items()
            if item.notice.job == notice.job
            and serial not in fixed
            and (now - item.arrived > HERD_S or item.came_in_quiet_hours())
        ]
        gone, notice = folded([earlier for _, earlier in waiting], notice)
        return notice, [waiting[index][0] for index in gone]

    def too_many(self) -> list[int]:
        """The serials of the oldest, beyond those that may be kept."""
        if len(self.items) <= KEPT:
            return []
        fixed = self._fixed()
        waiting = [serial for serial in self.items if serial not in fixed]
        return waiting[: max(0, len(waiting) - KEPT)]

    def too_old(self, now: float) -> list[int]:
        """The serials of those that nobody needs to be told of any more."""
        return [serial for serial, item in self.items.items() if now - item.arrived >= GIVEN_UP_S]

    def take_out(self, serials: Iterable[int]) -> int:
        """Forget these; how many there were."""
        count = sum(self.items.pop(serial, None) is not None for serial in serials)
        if self.message is not None and not self.items.keys() >= set(self.message.serials):
            self.message = None
        return count

    # -- what goes out

    def due(self, now: float) -> float | None:
        """When `sendable` has something, as far as is known now; None: not before something comes
        in or is answered."""
        if not self.items or self.is_out:
            return None
        opening = self._opening(now)
        if self.trouble is not None:
            return max(self.trouble.again_at, min(opening.values()))
        if self.message is not None and self.message.way is Way.UNSURE:
            return min(opening[serial] for serial in self.message.serials)
        ready = [self.items[serial] for serial, at in opening.items() if at <= now]
        later = [at for at in opening.values() if at > now]
        if ready:
            later.append(_gathered(ready))
        return min(later)

    def sendable(self, now: float, *, hurry: bool) -> tuple[int, ...]:
        """The serials of what is to go out now."""
        due = self.due(now)
        if due is None or (due > now and (self.trouble is not None or not hurry)):
            return ()
        if self.message is not None and self.message.way is Way.UNSURE:
            return self.message.serials
        return tuple(serial for serial, at in self._opening(now).items() if at <= now)

    def send(self, serials: tuple[int, ...], new_id: str) -> Delivery:
        """These go out, under the id that they had the last time if they are the same."""
        message = self.message
        if message is None or message.serials != serials:
            message = Message(new_id, serials, self.dropped, Way.OUT)
        self.message = replace(message, way=Way.AGAIN if message.way is Way.UNSURE else Way.OUT)
        notices = tuple(self.items[serial].notice for serial in serials)
        tries = 1 if self.trouble is None else self.trouble.tries + 1
        return Delivery(message.id, self.target, notices, message.dropped, tries)

    def arrived(self) -> tuple[int, ...]:
        """What was sent is with its target; returns its serials."""
        self.trouble = None
        if self.message is None:
            return ()
        serials = self.message.serials
        self.dropped -= self.message.dropped
        self.take_out(serials)
        return serials

    def failed(self, said: str, now: float, *, unsure: bool) -> None:
        """What was sent is not, or nobody knows: neither of this time, nor of one before."""
        if self.message is not None:
            doubtful = unsure or self.message.way is Way.AGAIN
            self.message = replace(self.message, way=Way.UNSURE if doubtful else Way.BACK)
        tries = 1 if self.trouble is None else self.trouble.tries + 1
        since = now if self.trouble is None else self.trouble.since
        pause = min(FIRST_PAUSE_S * 2.0 ** min(tries - 1, _DOUBLINGS), LONGEST_PAUSE_S)
        self.trouble = Trouble(since, tries, said, now + pause)

    def rewind(self, now: float) -> list[int]:
        """The clock was set back: nothing has come about, or is put off, in a time that is yet to
        come. Returns the serials of what has changed."""
        ahead = [serial for serial, item in self.items.items() if item.arrived > now]
        for serial in ahead:
            self.items[serial] = replace(self.items[serial], arrived=now)
        if self.trouble is not None:
            self.trouble.since = min(self.trouble.since, now)
            self.trouble.again_at = min(self.trouble.again_at, now + LONGEST_PAUSE_S)
        return ahead

    def _fixed(self) -> frozenset[int]:
        """The serials of what may have been told already."""
        if self.message is None or self.message.way is Way.BACK:
            return frozenset()
        return frozenset(self.message.serials)

    def _opening(self, now: float) -> dict[int, float]:
        """When each item may go out: none before an older one of its job."""
        of_job: dict[str, float] = {}
        opening = {}
        for serial, item in self.items.items():
            job = item.notice.job
            opening[serial] = of_job[job] = max(item.opens_at(now), of_job.get(job, now))
        return opening


def _gathered(ready: list[Item]) -> float:
    """When those that may go out have waited long enough for others."""
    if any(item.came_in_quiet_hours() for item in ready):
        return min(item.arrived for item in ready)
    return min(item.arrived for item in ready) + (GATHER_S if len(ready) == 1 else HERD_S)
