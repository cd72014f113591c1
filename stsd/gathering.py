"""Who is told what in which message: notices in, deliveries out.

Gathers for each target what belongs into one message, keeps it through quiet hours and while the
target cannot be reached, and tries again. Decides and does nothing else: no clock, no sending, no
file; the ids of deliveries are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stsd.lane import GIVEN_UP_S, KEPT, Delivery, Item, Lane, Standing
from stsd.lanestate import item_fields, lane_fields, lanes_of
from stsd.notices import Notice, Quiet, Target
from stsd.units import format_duration

Key = tuple[int, int | None]
"""The number of a lane, and a serial in it, or None for the lane itself."""


@dataclass(frozen=True, slots=True)
class Lost:
    """So many notices will never reach a target, and why."""

    target: Target
    count: int
    why: str


class Gathering:
    """What is to be told, by target. All of `now` are readings of the wall clock.

    A turn of its owner: `add` what there is to tell, `tick`, `changed` onto the disk, and only then
    the deliveries on their way; so that what was under way when all was lost goes out once more,
    under the same id.
    """

    def __init__(self, new_id: Callable[[], str], known: Mapping[str, Any], now: float) -> None:
        """`known` is the sum of what an earlier one gave by `changed`, less what was None there.
        Raises KeyError, TypeError or ValueError for anything else."""
        self._new_id = new_id
        self._lanes = {lane.target: lane for lane in lanes_of(known)}
        self._last = max((self._highest(lane) for lane in self._lanes.values()), default=0)
        self._out: dict[str, Lane] = {}
        self._due: dict[int, float | None] = {}
        self._changed: set[Key] = set()
        self._lost: dict[tuple[Target, str], int] = {}
        self._now = now
        self._rewind(now)

    def add(
        self,
        notice: Notice,
        targets: Iterable[Target],
        now: float,
        *,
        quiet: Quiet | None = None,
        zone: str = "UTC",
    ) -> None:
        """Tell this to these targets (see `stsd.addressees.bound`), but for the quiet hours in the
        job's zone."""
        self._pass_to(now)
        for target in targets:
            lane = self._lane(target)
            told, needless = lane.fold(notice, now)
            lane.take_out(needless)
            serial = self._number()
            lane.items[serial] = Item(told, now, quiet, zone)
            self._touch(lane, serial, *needless)
            self._lose(lane, lane.too_many(), f"more than {KEPT} were waiting")

    def due(self) -> float | None:
        """When `tick` has something to do; None: not before something is added or answered."""
        dues = [self._due_of(lane) for lane in self._lanes.values()]
        return min((due for due in dues if due is not None), default=None)

    def tick(self, now: float, *, hurry: bool = False) -> list[Delivery]:
        """What is to be sent now: at most one delivery a target, until that is answered. In a
        `hurry` nothing waits for company."""
        self._pass_to(now)
        deliveries = []
        for lane in self._lanes.values():
            due = self._due_of(lane)
            if due is None or (due > now and not hurry):
                continue
            serials = lane.sendable(now, hurry=hurry)
            self._touch(lane)
            if serials:
                delivery = lane.send(serials, self._new_id())
                self._out[delivery.id] = lane
                deliveries.append(delivery)
        return deliveries

    def answered(
        self, delivery: str, ok: bool, said: str, now: float, *, unsure: bool = False
    ) -> Standing:
        """A delivery that is under way has been made, or not: how it stands with its target now.
        `unsure`: nobody knows, as when the one who carried it was killed; then it is repeated as
        it stands, else others may join it. Raises KeyError for a delivery that is not under way."""
        self._pass_to(now)
        lane = self._out.pop(delivery)
        if ok:
            self._touch(lane, *lane.arrived())
        else:
            lane.failed(said, now, unsure=unsure)
            self._touch(lane)
            self._hand_over(lane)
            self._lose(lane, lane.too_old(now), f"not told within {format_duration(GIVEN_UP_S)}")
        self._tidy(lane)
        return lane.standing()

    def reload(
        self, targets: Iterable[Target], now: float, heirs: Mapping[str, Iterable[Target]]
    ) -> None:
        """These are all targets of the jobfile in force; `heirs` are those that a job has got with
        it, by name. What waits for a target that has left is for them; where there are none, it is
        tried once, and then let go of."""
        self._pass_to(now)
        wanted = set(targets)
        for lane in list(self._lanes.values()):
            lane.wanted = lane.target in wanted
            lane.heirs = {} if lane.wanted else _heirs_of(lane, heirs, wanted)
            self._hand_over(lane)
            self._tidy(lane)

    def standings(self) -> list[Standing]:
        """All targets for whom something waits, or that could not be reached the last time."""
        return [lane.standing() for lane in self._lanes.values() if lane.items or lane.trouble]

    def lost(self) -> list[Lost]:
        """What has been let go of since the last call, for the log."""
        lost, self._lost = self._lost, {}
        return [Lost(target, count, why) for (target, why), count in lost.items()]

    def known(self) -> dict[str, Any]:
        """All that is to be known after a restart, as JSON values by key."""
        values: dict[str, Any] = {}
        for lane in self._lanes.values():
            values[str(lane.number)] = lane_fields(lane)
            for serial, item in lane.items.items():
                values[f"{lane.number}/{serial}"] = item_fields(item)
        return values

    def changed(self) -> dict[str, Any]:
        """Of `known()` what has changed since the last call; None: the key is to be forgotten."""
        lanes = {lane.number: lane for lane in self._lanes.values()}
        values: dict[str, Any] = {}
        for number, serial in self._changed:
            lane = lanes.get(number)
            if serial is None:
                values[str(number)] = None if lane is None else lane_fields(lane)
            else:
                item = None if lane is None else lane.items.get(serial)
                values[f"{number}/{serial}"] = None if item is None else item_fields(item)
        self._changed.clear()
        return values

    def _lane(self, target: Target) -> Lane:
        lane = self._lanes.get(target)
        if lane is None:
            lane = self._lanes[target] = Lane(self._number(), target)
        return lane

    def _number(self) -> int:
        self._last += 1
        return self._last

    @staticmethod
    def _highest(lane: Lane) -> int:
        return max(lane.number, *lane.items)

    def _due_of(self, lane: Lane) -> float | None:
        if lane.number not in self._due:
            self._due[lane.number] = lane.due(self._now)
        return self._due[lane.number]

    def _touch(self, lane: Lane, *serials: int) -> None:
        """Something of this lane has changed, and these of its items."""
        self._due.pop(lane.number, None)
        self._changed.add((lane.number, None))
        self._changed.update((lane.number, serial) for serial in serials)

    def _lose(self, lane: Lane, serials: Iterable[int], why: str) -> None:
        """Let go of these; whoever is told next is told how many there were."""
        serials = list(serials)
        count = lane.take_out(serials)
        if count:
            lane.dropped += count
            self._lost[lane.target, why] = self._lost.get((lane.target, why), 0) + count
            self._touch(lane, *serials)

    def _hand_over(self, lane: Lane) -> None:
        """What is not under way goes to whom its job names now; what has come to them by another
        way, since that has left too, does not go there twice."""
        out = lane.message.serials if lane.message is not None and lane.is_out else ()
        for serial, item in list(lane.items.items()):
            to = () if serial in out else lane.heirs.get(item.notice.job, ())
            for heir in map(self._lane, to):
                if item not in heir.items.values():
                    number = self._number()
                    heir.items[number] = item
                    self._touch(heir, number)
                    self._lose(heir, heir.too_many(), f"more than {KEPT} were waiting")
            if to:
                lane.take_out([serial])
                self._touch(lane, serial)

    def _tidy(self, lane: Lane) -> None:
        """Let go of what waits in vain, and of a lane in which nothing is."""
        if not lane.wanted and lane.trouble is not None and not lane.is_out:
            self._lose(lane, lane.items, "it has left the jobfile")
            lane.trouble, lane.dropped = None, 0
        if lane.idle:
            self._touch(lane)
            del self._lanes[lane.target]

    def _pass_to(self, now: float) -> None:
        if now < self._now:
            self._rewind(now)
        self._now = now

    def _rewind(self, now: float) -> None:
        for lane in self._lanes.values():
            self._touch(lane, *lane.rewind(now))


def _heirs_of(
    lane: Lane, heirs: Mapping[str, Iterable[Target]], wanted: set[Target]
) -> dict[str, tuple[Target, ...]]:
    """To whom what waits in a lane goes, by job: those of earlier jobfiles are heirs as long as
    they are wanted, since what was under way then may come back yet."""
    return {
        job: tuple(
            dict.fromkeys(
                each for each in (*lane.heirs.get(job, ()), *heirs.get(job, ())) if each in wanted
            )
        )
        for job in {item.notice.job for item in lane.items.values()}
    }
