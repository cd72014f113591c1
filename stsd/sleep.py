"""Waiting for descriptors, or for a time to come, to a fraction of a millisecond.

epoll counts in whole milliseconds, rounded up; what is due is due at a full second. And whoever has
slept for long is slow at first: it is better to be awake a little before.
"""

from __future__ import annotations

import selectors
import time

_AWAKE_BEFORE_S = 0.002
# Between the readings of the clock by which the two ends of a sleep were found.
_BETWEEN_READINGS_S = 0.0001

Ready = list[tuple[selectors.SelectorKey, int]]


def sleep(selector: selectors.BaseSelector, seconds: float, due: float | None) -> Ready:
    """What is ready, after `seconds` at the latest. If they end when something is `due` (wall
    clock; None: nothing is), they are kept exactly: the last two milliseconds are waited for with
    no ear for anything, after a return with nothing ready."""
    if seconds <= 0 or due is None or due - time.time() > seconds + _BETWEEN_READINGS_S:
        return selector.select(seconds)
    if seconds > _AWAKE_BEFORE_S:
        return selector.select(seconds - _AWAKE_BEFORE_S)
    time.sleep(seconds)
    return selector.select(0)
