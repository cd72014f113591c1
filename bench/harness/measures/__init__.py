"""What is measured, each in a module of its own, in the order in which it is done."""

from __future__ import annotations

from collections.abc import Callable

from harness.bench import Bench
from harness.figures import Result
from harness.measures import (
    check,
    drift,
    durability,
    endurance,
    entry,
    idle,
    lateness,
    memory,
    reload,
)

MEASURES: dict[str, Callable[[Bench], Result]] = {
    "lateness": lateness.measure,
    "memory": memory.measure,
    "idle": idle.measure,
    "check": check.measure,
    "reload": reload.measure,
    "entry": entry.measure,
    "durability": durability.measure,
    "drift": drift.measure,
    "endurance": endurance.measure,
}
