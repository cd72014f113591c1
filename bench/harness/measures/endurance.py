"""What stsd holds in memory after a thousand runs and after as many as one likes."""

from __future__ import annotations

import time

from harness.bench import Bench, poll
from harness.cage import Cage, FailedError
from harness.figures import Column, Result, Spread, Table, spread
from harness.work import Job, Secondly

# As many runs a second as a machine of two processors does with ease.
A_SECOND = 500
FIRST = 1000
LOOKS = 30
COLUMNS = (
    Column("first", f"after {FIRST:,} runs", "MiB"),
    Column("last", "after all", "MiB"),
    Column("runs", "runs"),
    Column("rate", "runs a second"),
)


def measure(bench: Bench) -> Result:
    peer = bench.peers.get("stsd")
    if peer is None:
        return Result((), {})
    jobs = [Job(f"j{n}", "j", Secondly(0.0)) for n in range(A_SECOND)]
    failed: dict[str, str] = {}
    rows: dict[str, dict[str, Spread]] = {}
    with (
        bench.tolerant(failed, "stsd"),
        bench.case(jobs) as case,
        bench.running(peer, case) as cage,
    ):
        begun = time.monotonic()
        peer.ready(cage, begun)

        def done() -> int:
            if not case.starts_file.exists():
                return 0
            return case.starts_file.read_bytes().count(b"\n") if cage.main() else 0

        patience = 60.0 + bench.extent.runs / A_SECOND * 3
        bench.say(f"endurance: {bench.extent.runs:,} runs")
        poll(lambda: done() >= FIRST, patience)
        first = between_starts(cage)
        if not poll(lambda: done() >= bench.extent.runs, patience, pause_s=1.0):
            raise FailedError(f"{done():,} runs in {patience:.0f} s")
        last, rate = between_starts(cage), done() / (time.monotonic() - begun)
        figures = {"first": first, "last": last, "runs": done(), "rate": rate}
        rows["stsd"] = {key: spread([value]) for key, value in figures.items()}
    if not rows:
        return Result((), {}, failed)
    facts = {"memory after 1000, MiB": first, "memory after all, MiB": last}
    return Result((Table("Memory (PSS) after many runs", COLUMNS, rows, "stsd"),), facts, failed)


def between_starts(cage: Cage) -> float:
    """MiB; the least of some looks, since a child counts as the whole of its parent until it has
    become another program."""
    looks = []
    for _ in range(LOOKS):
        looks.append(cage.pss_kib() / 1024)
        time.sleep(0.05)
    return min(looks)
