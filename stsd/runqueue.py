"""Runs that wait for a slot, and the named slots of the pools.

Who goes next is decided by a run's place alone, a number; a run whose pools are all taken is
passed over and costs nothing until one of them is given back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stsd.timeline import Timeline

Needs = tuple[str, ...]


class RunQueue:
    """The waiting runs in lanes, one for each combination of pools that is asked for.

    A pool that is not among `slots` has one. A lane whose first run cannot have all its pools is
    parked beside one that is full. A run that has waited too long (`pop` is told which) keeps its
    pools free of others until it can have all of them: else two busy pools could pass it by for
    ever. Only one lane may do so with any pool, and it takes all of its pools or none, so that no
    two can wait for each other.
    """

    def __init__(self, slots: Mapping[str, int]) -> None:
        self._slots = dict(slots)
        self._taken: dict[str, int] = {}
        self._lanes: dict[Needs, Timeline[str]] = {}
        self._lane_of: dict[str, Needs] = {}
        self._open: Timeline[Needs] = Timeline()
        self._parked: dict[str, dict[Needs, None]] = {}
        self._parked_at: dict[Needs, str] = {}
        self._kept: dict[str, Needs] = {}

    def push(self, run: str, needs: Sequence[str], place: float) -> None:
        """A run waits for one slot of each of these pools; the lowest place goes first."""
        lane = tuple(sorted(set(needs)))
        self._lane_of[run] = lane
        self._lanes.setdefault(lane, Timeline()).set(run, place)
        if lane not in self._parked_at:
            self._reopen(lane)

    def drop(self, run: str) -> None:
        """The run waits no more; no error if it did not."""
        lane = self._lane_of.pop(run, None)
        if lane is None:
            return
        self._lanes[lane].drop(run)
        if not self._lanes[lane]:
            self._close(lane)
        elif lane not in self._parked_at:
            self._reopen(lane)

    def pop(self, overdue: float) -> str | None:
        """The first run that can have its pools now, None when there is none. Runs with a place
        below `overdue` have waited too long. Does not take the slots: see `take`."""
        while (lane := self._open.pop()) is not None:
            full = next((pool for pool in lane if self._is_full(pool, lane)), None)
            if full is None:
                return self._first_of(lane)
            first = self._lanes[lane].earliest()
            self._park(lane, full, keep=first is not None and first < overdue)
        return None

    def take(self, needs: Sequence[str]) -> None:
        """A run has one slot of each of these pools now, if need be one more than there are: an
        earlier daemon may have started it."""
        for pool in set(needs):
            self._taken[pool] = self._taken.get(pool, 0) + 1

    def give_back(self, needs: Sequence[str]) -> None:
        """A run has its slots no more."""
        for pool in set(needs):
            self._taken[pool] -= 1
            if not self._taken[pool]:
                del self._taken[pool]
            self._unpark(pool)

    def resize(self, slots: Mapping[str, int]) -> None:
        """The pools have other sizes from now on; whoever has a slot keeps it."""
        self._slots = dict(slots)
        for pool in list(self._parked):
            self._unpark(pool)

    def taken(self) -> dict[str, int]:
        """How many slots of each pool are taken, those that are not left out."""
        return dict(self._taken)

    def _first_of(self, lane: Needs) -> str | None:
        run = self._lanes[lane].pop()
        if run is not None:
            del self._lane_of[run]
        self._let_others_in(lane)
        if self._lanes[lane]:
            self._reopen(lane)
        else:
            self._close(lane)
        return run

    def _is_full(self, pool: str, lane: Needs) -> bool:
        kept_for_another = self._kept.get(pool, lane) != lane
        return kept_for_another or self._taken.get(pool, 0) >= self._slots.get(pool, 1)

    def _park(self, lane: Needs, pool: str, keep: bool) -> None:
        self._parked.setdefault(pool, {})[lane] = None
        self._parked_at[lane] = pool
        if keep and not any(other in self._kept for other in lane):
            self._kept |= dict.fromkeys(lane, lane)

    def _unpark(self, pool: str) -> None:
        for lane in self._parked.pop(pool, {}):
            del self._parked_at[lane]
            self._reopen(lane)

    def _reopen(self, lane: Needs) -> None:
        first = self._lanes[lane].earliest()
        if first is not None:
            self._open.set(lane, first)

    def _close(self, lane: Needs) -> None:
        """Nothing waits in the lane any more."""
        self._let_others_in(lane)
        pool = self._parked_at.pop(lane, None)
        if pool is not None:
            del self._parked[pool][lane]
            if not self._parked[pool]:
                del self._parked[pool]
        self._open.drop(lane)
        del self._lanes[lane]

    def _let_others_in(self, lane: Needs) -> None:
        """What was kept free for this lane is so no more."""
        for pool in [pool for pool, owner in self._kept.items() if owner == lane]:
            del self._kept[pool]
            self._unpark(pool)
