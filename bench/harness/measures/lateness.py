"""How late jobs start that are due in the same second, and what a start costs.

All bursts of a round are one scheduler's jobs, the largest last. The processor time is that of the
scheduler with all its helpers and of the jobs themselves, so what it costs above the C loop is the
scheduler's own.
"""

from __future__ import annotations

import time
from collections import defaultdict

from harness.bench import Bench, poll
from harness.cage import FailedError
from harness.figures import Column, Result, Spread, Table, rank, spread
from harness.peers.base import Peer, wait_until
from harness.work import burst

PATIENCE_S = 60.0
GAP_S = 3
# Below that many starts the processor time, told in hundredths of a second, says nothing.
ENOUGH_STARTS = 200
COLUMNS = (
    Column("first", "first", "ms"),
    Column("median", "median", "ms", ratio=True),
    Column("p99", "p99", "ms", ratio=True),
    Column("last", "last", "ms", ratio=True),
    Column("cpu", "CPU a start", "ms", ratio=True),
)
BASE = "C loop"

Figures = dict[str, dict[str, list[float]]]


def measure(bench: Bench) -> Result:
    found: dict[int, Figures] = {
        size: defaultdict(lambda: defaultdict(list)) for size in bench.extent.sizes
    }
    failed: dict[str, str] = {}
    for number in range(bench.extent.rounds):
        for name, peer in bench.turn(number):
            sizes = bench.extent.sizes
            if peer.grain_s > 1 and (number or bench.extent.rounds == 1):
                sizes = sizes[-1:]  # each burst takes it a minute
            bench.say(f"lateness, round {number + 1}: {name}")
            with bench.tolerant(failed, name):
                for size, figures in one_round(bench, peer, sizes).items():
                    for key, value in figures.items():
                        found[size][name][key].append(value)
    return Result(tuple(tables(found)), facts(found), failed)


def one_round(bench: Bench, peer: Peer, sizes: tuple[int, ...]) -> dict[int, dict[str, float]]:
    """The figures of each burst."""
    gap = max(GAP_S, peer.grain_s)
    first = int(time.time() + peer.lead_s(sum(sizes))) // peer.grain_s * peer.grain_s + peer.grain_s
    dues = {size: first + gap * turn for turn, size in enumerate(sizes)}
    jobs = [job for size, at in dues.items() for job in burst(f"burst{size}", at, size)]
    largest = sizes[-1]
    with bench.case(jobs) as case, bench.running(peer, case) as cage:
        peer.ready(cage, time.monotonic())
        if time.time() > first - 0.3:
            raise FailedError(f"was not ready {peer.lead_s(sum(sizes)):.0f} s after its start")
        wait_until(dues[largest] - 0.7)
        before = cage.cpu_s()
        wait_until(dues[largest] + 0.5)
        poll(lambda: len(peer.starts(case).get(f"burst{largest}", [])) >= largest, PATIENCE_S)
        cage.wait_until_quiet(0.5)
        cpu_ms = (cage.cpu_s() - before) * 1000
        starts = peer.starts(case)
    figures = {}
    for size, at in dues.items():
        late = [(start - at * 10**9) / 1e6 for start in starts.get(f"burst{size}", [])]
        if len(late) != size:
            raise FailedError(f"{len(late)} of {size} jobs were started")
        figures[size] = lateness(late)
    if largest >= ENOUGH_STARTS:
        figures[largest]["cpu"] = cpu_ms / largest
    return figures


def lateness(ordered: list[float]) -> dict[str, float]:
    """The figures of one burst."""
    return {
        "first": ordered[0],
        "median": rank(ordered, 0.5),
        "p99": rank(ordered, 0.99),
        "last": ordered[-1],
    }


def tables(found: dict[int, Figures]) -> list[Table]:
    return [
        Table(f"{size:,} {'job' if size == 1 else 'jobs'} due in the same second", COLUMNS,
              spreads(figures), BASE)
        for size, figures in found.items()
    ]  # fmt: skip


def spreads(figures: Figures) -> dict[str, dict[str, Spread]]:
    return {
        name: {key: spread(values) for key, values in columns.items()}
        for name, columns in figures.items()
    }


def facts(found: dict[int, Figures]) -> dict[str, float]:
    """For the goals."""
    told: dict[str, float] = {}
    size = max(found)
    rows = spreads(found[size])
    p99 = {name: row["p99"].median for name, row in rows.items() if "p99" in row}
    told |= {f"p99 of {size}, {name}": value for name, value in p99.items()}
    others = [v for name, v in p99.items() if name != BASE and not name.startswith("stsd")]
    if others:
        told[f"p99 of {size}, best peer"] = min(others)
    if "cpu" in rows.get("stsd", {}) and "cpu" in rows.get(BASE, {}):
        told["CPU above the loop, ms"] = rows["stsd"]["cpu"].median - rows[BASE]["cpu"].median
    return told
