"""Keeps the cyclic garbage collector away from where many values are made, and no cycles.

It would go through all of them again and again, for a sixth of the time that a jobfile of ten
thousand jobs takes, and nearly half of that of a hundred thousand. Never leaves it switched off.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """No collection in this block, and after it as before."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
