"""What it costs to wait: processor time and wake-ups of a scheduler of 1,000 jobs none of which is
due. All of them wait at the same time, each looked at on its own."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

from harness.bench import Bench, held
from harness.cage import Cage
from harness.figures import Column, Result, Spread, Table, spread

JOBS = 1000
# What a scheduler does once after its start is not idleness.
SETTLE_S = 5.0
COLUMNS = (
    Column("cpu", "processor time in 100 s", "ms", ratio=True),
    Column("share", "share of a core", "%"),
    Column("wakeups", "wake-ups a minute", ratio=True),
)


@dataclass(frozen=True, slots=True)
class Look:
    """At one moment."""

    at: float
    awake_s: float
    wakeups: int


def measure(bench: Bench) -> Result:
    failed: dict[str, str] = {}
    rows: dict[str, dict[str, Spread]] = {}
    with contextlib.ExitStack() as stack:
        cages: dict[str, Cage] = {}
        for name, peer in bench.peers.items():
            if not peer.is_daemon:
                continue
            bench.say(f"idle: starting {name}")
            with bench.tolerant(failed, name):
                case = stack.enter_context(bench.case(held(JOBS)))
                cage = stack.enter_context(bench.running(peer, case))
                peer.ready(cage, time.monotonic())
                cages[name] = cage
        time.sleep(SETTLE_S)
        bench.say(f"idle: {bench.extent.idle_s} s")
        before = {name: look(cage) for name, cage in cages.items()}
        time.sleep(bench.extent.idle_s)
        for name, cage in cages.items():
            rows[name] = figures(before[name], look(cage))
    facts = {"idle, %": rows["stsd"]["share"].median} if "stsd" in rows else {}
    title = f"Idle with {JOBS:,} jobs, over {bench.extent.idle_s} s"
    note = "Of systemd, PID 1 alone; of Celery, beat, worker and Redis."
    return Result((Table(title, COLUMNS, rows, "stsd", (note,)),), facts, failed)


def look(cage: Cage) -> Look:
    return Look(time.monotonic(), cage.awake_s(), cage.wakeups())


def figures(before: Look, after: Look) -> dict[str, Spread]:
    seconds, awake = after.at - before.at, max(0.0, after.awake_s - before.awake_s)
    return {
        "cpu": spread([awake / seconds * 100 * 1000]),
        "share": spread([awake / seconds * 100]),
        "wakeups": spread([(after.wakeups - before.wakeups) / seconds * 60]),
    }
