"""Whether a job that is due every second stays on its second, for minutes. The schedulers run
at the same time, each on a part of the second of its own where it can, so that they do not meet;
those that share the full second with stsd run after it, for a shorter time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from harness.bench import Bench, poll
from harness.cage import Cage, FailedError
from harness.figures import Column, Result, Spread, Table, rank, spread
from harness.peers.base import Peer
from harness.peers.stsd import StsdAllAtOnce
from harness.peers.yaml_crons import Cronstable
from harness.work import Case, Job, Secondly

COLUMNS = (
    Column("starts", "starts"),
    Column("missing", "seconds without one"),
    Column("lost", "lost to drift", "s"),
    Column("median", "median lateness", "ms", ratio=True),
    Column("p99", "p99", "ms", ratio=True),
    Column("most", "most", "ms"),
    Column("change", "last sixth to first"),
)
BASE = "C loop"
# By the names of the adapters; who is not here starts on the full second.
PHASES = {
    "Loop": 0.25,
    "SystemdTimers": 0.12,
    "APScheduler": 0.75,
    "Schedule": 0.37,
    "CeleryBeat": 0.87,
}
PATIENCE_S = 30.0
SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Runner:
    """One scheduler under way, and the part of a second at which it is due."""

    peer: Peer
    case: Case
    phase: float


def measure(bench: Bench) -> Result:
    failed: dict[str, str] = {}
    able = {
        name: peer
        for name, peer in bench.peers.items()
        if peer.grain_s == 1 and not isinstance(peer, StsdAllAtOnce)
    }
    alone = {name: peer for name, peer in able.items() if isinstance(peer, Cronstable)}
    others = {name: peer for name, peer in able.items() if name not in alone}
    rows = together(bench, others, bench.extent.drift_s, failed)
    rows |= together(bench, alone, max(10, bench.extent.drift_s // 10), failed)
    title = f"A job every second, for {bench.extent.drift_s} s"
    return Result((Table(title, COLUMNS, rows, BASE, NOTES),), facts(rows), failed)


def together(
    bench: Bench, peers: Mapping[str, Peer], seconds: int, failed: dict[str, str]
) -> dict[str, dict[str, Spread]]:
    """The figures of these peers, which run at the same time."""
    runners: dict[str, Runner] = {}
    with contextlib.ExitStack() as stack:
        for name, peer in peers.items():
            bench.say(f"drift: starting {name}")
            with bench.tolerant(failed, name):
                phase = PHASES.get(type(peer).__name__, 0.0)
                case = stack.enter_context(bench.case([Job("tick", "tick", Secondly(phase))]))
                cage = stack.enter_context(bench.running(peer, case))
                runners[name] = under_way(peer, case, cage, phase)
        time.sleep(SETTLE_S)
        bench.say(f"drift: {seconds} s")
        begun = time.time_ns()
        time.sleep(seconds)
        ended = time.time_ns()
        found = {name: figures(runner, begun, ended) for name, runner in runners.items()}
    return {
        name: {key: spread([value]) for key, value in each.items()} for name, each in found.items()
    }


def under_way(peer: Peer, case: Case, cage: Cage, phase: float) -> Runner:
    """Once it has started its job a few times. Raises FailedError."""
    runner = Runner(peer, case, phase)

    def started() -> bool:
        cage.main()
        return len(ticks(runner)) > 2

    if not poll(started, PATIENCE_S):
        raise FailedError(f"nothing was started within {PATIENCE_S:.0f} s")
    return runner


NOTES = (
    "Drift is how far the lateness of the last ten starts is from that of the first ten, for those "
    "that start a second after the last start instead of on the second; where it is whole seconds, "
    "they are told as seconds without a start.",
)


def ticks(runner: Runner) -> list[int]:
    return runner.peer.starts(runner.case).get("tick", [])


def figures(runner: Runner, begun: int, ended: int) -> dict[str, float]:
    """Of the starts between two moments, in nanoseconds. Lateness counts from the second, or the
    part of one that the scheduler was told."""
    times = [at for at in ticks(runner) if begun <= at < ended]
    late = unwrapped([(at / 1e9 - runner.phase) % 1.0 for at in times])
    sixth = max(1, len(late) // 6)
    seconds = {
        round(at / 1e9 - runner.phase - delay) for at, delay in zip(times, late, strict=True)
    }
    missing = max(seconds) - min(seconds) + 1 - len(seconds)
    ordered = sorted(late)
    first, last = (rank(sorted(part), 0.5) for part in (late[:sixth], late[-sixth:]))
    drift = rank(sorted(late[-10:]), 0.5) - rank(sorted(late[:10]), 0.5)
    return {
        "starts": len(times),
        "missing": missing,
        "lost": 0.0 if abs(drift) < 0.02 else drift,
        "median": rank(ordered, 0.5) * 1000,
        "p99": rank(ordered, 0.99) * 1000,
        "most": ordered[-1] * 1000,
        "change": last / first if first else 1.0,
        "first sixth": first * 1000,
        "last sixth": last * 1000,
    }


def unwrapped(late: list[float]) -> list[float]:
    """Lateness that grows beyond a second goes on from there, instead of beginning anew."""
    turns, found = 0, late[:1]
    for earlier, later in pairwise(late):
        if later - earlier < -0.5:
            turns += 1
        elif later - earlier > 0.5:
            turns -= 1
        found.append(later + turns)
    return found


def facts(rows: dict[str, dict[str, Spread]]) -> dict[str, float]:
    """For the goals."""
    if "stsd" not in rows:
        return {}
    own = {key: each.median for key, each in rows["stsd"].items()}
    return {
        "lost, s": own["missing"] + abs(own["lost"]),
        "p99 of one, ms": own["p99"],
        "lateness, first sixth, ms": own["first sixth"],
        "lateness, last sixth, ms": own["last sixth"],
    }
