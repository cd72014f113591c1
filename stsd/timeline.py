"""Keys in order of their place on a heap, the first one first; each key has at most one place.

Knows nothing of clocks: a place is a deadline, or any other number.
"""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

_SLACK = 64


class Timeline(Generic[Key]):
    """A priority queue of keys by place; equal places come out in the order they were set.

    Moving or dropping a key leaves its old entry on the heap as a stale one, passed over when it
    surfaces; the heap is rebuilt when stale entries outnumber the live ones.
    """

    def __init__(self) -> None:
        # Any: the number that tells entries of equal place apart keeps the keys from being compared
        self._heap: list[tuple[float, int, Any]] = []
        self._current: dict[Key, tuple[float, int, Any]] = {}
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._current)

    def __contains__(self, key: Key) -> bool:
        return key in self._current

    def set(self, key: Key, place: float) -> None:
        """Give the key this place, instead of any other that it had."""
        self._sequence += 1
        entry = (place, self._sequence, key)
        self._current[key] = entry
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._current) + _SLACK:
            self._heap = list(self._current.values())
            heapq.heapify(self._heap)

    def drop(self, key: Key) -> None:
        """Forget the key; no error if it has no place."""
        self._current.pop(key, None)

    def earliest(self) -> float | None:
        """The first place that is taken, None when there is none."""
        while self._heap:
            entry = self._heap[0]
            if self._current.get(entry[2]) is entry:
                return entry[0]
            heapq.heappop(self._heap)
        return None

    def pop(self) -> Key | None:
        """Take off the first key, None when there is none."""
        if self.earliest() is None:
            return None
        key: Key = heapq.heappop(self._heap)[2]
        del self._current[key]
        return key

    def pop_due(self, now: float) -> Key | None:
        """Take off the first key if its place is not after `now`."""
        earliest = self.earliest()
        return None if earliest is None or earliest > now else self.pop()
