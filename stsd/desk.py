"""What the herald decides: the history's records and the time in, deliveries and calls out.

Joins what is wrong with jobs (`stsd.conditions`), what belongs into one message (`stsd.gathering`),
dead man's switches (`stsd.pings`) and numbers (`stsd.tallies`). Has no clock, no process and no
file; its state is JSON values by room and key, as `stsd.outbox` keeps them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from stsd.addressees import bound
from stsd.conditions import Conditions
from stsd.gathering import Gathering, Lost
from stsd.lane import Delivery, Standing
from stsd.model import Job
from stsd.notices import Notice, Target
from stsd.pings import GivenUp, PingCall, Pings
from stsd.tallies import Tallies
from stsd.units import from_rfc3339

Rooms = Mapping[str, Mapping[str, Any]]

UNTOLD_AFTER_S = 86400.0
"""What is read so long after it has happened is learnt from, and told to nobody."""

_Made = TypeVar("_Made")
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, IndexError)


class Desk:
    """The state of the telling of one daemon. All instants are readings of the wall clock.

    `rooms` are what an earlier desk gave by `changed`, put together. Where there was none, or it is
    not known how far that has read (`anew`), the whole history is to be taken, and people are told
    of what happens from `begun` on; `is_new` says so, since it may turn out here. `damaged` are the
    rooms that cannot be read. `new_id` makes ids of deliveries. `revision` grows with each thing
    that may change how the telling or a job stands.
    """

    def __init__(
        self,
        jobs: Mapping[str, Job],
        rooms: Rooms,
        begun: float,
        new_id: Callable[[], str],
        now: float,
        *,
        anew: bool,
    ) -> None:
        self.damaged: list[str] = []
        self._unreadable: dict[str, dict[str, None]] = {}  # to be forgotten
        known = dict(rooms)
        watched = _watched(jobs)
        conditions: Conditions | None = None
        if not anew:
            conditions = self._made("conditions", known, lambda it: Conditions(watched, it, now))
        self.is_new = conditions is None
        if conditions is None:
            conditions = Conditions(watched, None, now)
            known.pop("tallies", None)  # the whole history is counted anew
        self._conditions = conditions
        # What is older is learnt from, and told to nobody; none is, once all has been taken.
        self._begun = begun
        if not self.is_new:
            said = self._made("desk", known, lambda it: float(it.get("begun", begun)))
            self._begun = begun if said is None else said
        self._begun_changed = True  # by which the next desk knows that there was one
        pings = self._made("pings", known, lambda it: Pings(watched, it))
        self._pings = pings or Pings(watched, {})
        gathering = self._made("gathering", known, lambda it: Gathering(new_id, it, now))
        self._gathering = gathering or Gathering(new_id, {}, now)
        self.tallies = Tallies(known.get("tallies", {}))
        self.damaged += ["tallies"] if self.tallies.damaged else []
        counts = self._made("counts", known, _counter)
        self.counts: Counter[str] = Counter() if counts is None else counts
        self._counts_changed = False
        self.revision = 0
        self._jobs: dict[str, Job] = {}
        self._targets: dict[str, tuple[Target, ...]] = {}
        self.reload(jobs, now)

    def reload(self, jobs: Mapping[str, Job], now: float) -> None:
        """Another jobfile is in force."""
        before = {name: self._targets_of(name) for name in self._jobs}
        self._jobs = _watched(jobs)
        self._targets.clear()
        now_told = {name: self._targets_of(name) for name in self._jobs}
        self.audience = {target for targets in now_told.values() for target in targets}
        self._conditions.reload(self._jobs, now)
        self._pings.reload(self._jobs)
        heirs = {
            name: [target for target in targets if target not in before[name]]
            for name, targets in now_told.items()
            if name in before
        }
        self._gathering.reload(self.audience, now, heirs)
        self.tallies.reload(jobs)
        self.revision += 1

    # -- what comes in

    def take(self, record: Mapping[str, Any], now: float) -> None:
        """The next record of the history. Raises KeyError, TypeError or ValueError for what is no
        record; of that, nothing is kept."""
        at = from_rfc3339(record["at"])
        if at < max(self._begun, now - UNTOLD_AFTER_S):
            self._conditions.learn(record)
        else:
            self._add(self._conditions.take(record, now), now)
            self._pings.take(record, now)
        self.tallies.take(record)
        self.revision += 1

    def held(self, error: str | None, now: float) -> None:
        """Why the history cannot be written; None: it can."""
        self.revision += 1
        self._add(self._conditions.held(error, now), now)

    def answered(self, delivery: str, ok: bool, said: str, now: float, *, unsure: bool) -> Standing:
        """What became of a delivery; see `Gathering.answered`."""
        self._count("told" if ok else "failed")
        self.revision += 1
        return self._gathering.answered(delivery, ok, said, now, unsure=unsure)

    def called(self, call: str, ok: bool, said: str, now: float) -> None:
        """What became of a call of a dead man's switch."""
        self._pings.answered(call, ok, said, now)

    # -- what goes out

    def due(self) -> float | None:
        """When `tick` has something to do, if nothing else happens before."""
        instants = (self._conditions.due(), self._gathering.due(), self._pings.due())
        return min((instant for instant in instants if instant is not None), default=None)

    def tick(self, now: float, *, hurry: bool = False) -> tuple[list[Delivery], list[PingCall]]:
        """What is to be sent now, all records that there are having been taken. In a `hurry`
        nothing waits for company."""
        if self._begun:  # the clock may be set back behind it
            self._begun, self._begun_changed = 0.0, True
        due = self._conditions.due()
        if due is not None and due <= now:
            self.revision += 1
            self._add(self._conditions.tick(now), now)
        deliveries = self._gathering.tick(now, hurry=hurry)
        return deliveries, self._pings.tick(now)

    @property
    def jobs(self) -> Mapping[str, Job]:
        """The jobs of which anybody is told anything, by name."""
        return self._jobs

    # -- what is told of the telling itself

    def standing(self) -> dict[str, list[str]]:
        """The conditions in force, by job."""
        return self._conditions.standing()

    def standings(self) -> list[Standing]:
        """The targets for which something waits, or that cannot be reached."""
        return self._gathering.standings()

    def lost(self) -> list[Lost]:
        """Notices that have been let go of since the last call."""
        lost = self._gathering.lost()
        for each in lost:
            self._count("lost", each.count)
        return lost

    def given_up(self) -> list[GivenUp]:
        """Calls that have been given up since the last call."""
        return self._pings.given_up()

    # -- what is kept

    def changed(self) -> Rooms:
        """What is to be kept that has changed since the last call; None: the key is to be
        forgotten."""
        rooms: dict[str, dict[str, Any]] = {
            "conditions": self._conditions.changed(),
            "pings": self._pings.changed(),
            "gathering": self._gathering.changed(),
            "tallies": self.tallies.changed(),
            "counts": dict(self.counts) if self._counts_changed else {},
            "desk": {"begun": self._begun} if self._begun_changed else {},
        }
        self._counts_changed = self._begun_changed = False
        for room, gone in self._unreadable.items():
            rooms[room] = {**gone, **rooms[room]}
        self._unreadable.clear()
        return {room: values for room, values in rooms.items() if values}

    def known(self) -> Rooms:
        """All that is to be kept."""
        return {
            "conditions": self._conditions.known(),
            "pings": self._pings.known(),
            "gathering": self._gathering.known(),
            "tallies": {job: tally.fields() for job, tally in self.tallies.items()},
            "counts": dict(self.counts),
            "desk": {"begun": self._begun},
        }

    def _add(self, notices: Iterable[Notice], now: float) -> None:
        for notice in notices:
            self.revision += 1
            job = self._jobs.get(notice.job)
            if job is not None and job.notify is not None:
                self._gathering.add(
                    notice,
                    self._targets_of(job.name),
                    now,
                    quiet=job.notify.quiet,
                    zone=job.when.timezone,
                )

    def _targets_of(self, name: str) -> tuple[Target, ...]:
        """Who is told of a job, each as this job means it."""
        if name not in self._targets:
            job = self._jobs[name]
            to = () if job.notify is None else job.notify.to
            self._targets[name] = tuple(bound(target, job) for target in to)
        return self._targets[name]

    def _count(self, what: str, number: int = 1) -> None:
        self.counts[what] += number
        self._counts_changed = True

    def _made(
        self, room: str, known: Rooms, make: Callable[[Mapping[str, Any]], _Made]
    ) -> _Made | None:
        """What is made of what an earlier desk has left of it; None where that cannot be read."""
        try:
            return make(known.get(room, {}))
        except _UNREADABLE:
            self.damaged.append(room)
            self._unreadable[room] = dict.fromkeys(known.get(room, {}))
            return None


def _counter(counts: Mapping[str, Any]) -> Counter[str]:
    """Raises TypeError or ValueError for what are no numbers."""
    return Counter({what: int(count) for what, count in counts.items()})


def _watched(jobs: Mapping[str, Job]) -> dict[str, Job]:
    return {name: job for name, job in jobs.items() if job.is_watched}
