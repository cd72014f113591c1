"""How long the loop stands still while a jobfile of many jobs is read anew, with one of them
changed. A client of the control socket asks all the time: the answer it waits for longest tells,
and so does the lateness of a job that is due every second, since the reloads begin just before one.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

from harness.bench import Bench, held
from harness.figures import Column, Result, Spread, Table, rank, spread
from harness.peers.base import wait_until
from harness.peers.stsd import Stsd
from harness.work import Job, Secondly, read_starts
from stsd.client import Client, find

# A reload of 10,000 jobs is over in that time.
SPAN_S = 4
PAUSE_S = 0.003
# Before the full second: the signal has arrived, and the file is being read.
AHEAD_S = 0.02
COLUMNS = (
    Column("quiet", "longest answer before", "ms"),
    Column("answer", "longest answer meanwhile", "ms"),
    Column("p99", "p99 of the answers", "ms"),
    Column("late", "largest lateness meanwhile", "ms"),
)


def measure(bench: Bench) -> Result:
    peer = bench.peers.get("stsd")
    if not isinstance(peer, Stsd):
        return Result((), {})
    found: list[dict[str, float]] = []
    failed: dict[str, str] = {}
    jobs = [*held(bench.extent.many), Job("tick", "tick", Secondly(0.0))]
    with (
        bench.tolerant(failed, "stsd"),
        bench.case(jobs) as case,
        bench.running(peer, case) as cage,
    ):
        peer.ready(cage, time.monotonic())
        jobfile = case.folder / "jobs.toml"
        text = jobfile.read_text()
        with find(jobfile, {"RUNTIME_DIRECTORY": str(case.folder)}) as client:
            for number in range(bench.extent.reloads):
                bench.say(f"reload {number + 1} of {bench.extent.many:,} jobs")
                jobfile.write_text(text.replace('"held"', f'"held{number}"', 1))
                begun = time.time()
                reload_at = int(begun + SPAN_S / 2) - AHEAD_S
                before = answers(client, reload_at)
                wait_until(reload_at)
                cage.signal(signal.SIGHUP)
                meanwhile = answers(client, reload_at + SPAN_S)
                found.append(figures(before, meanwhile, reload_at, case.starts_file))
    if not found:
        return Result((), {}, failed)
    rows: dict[str, dict[str, Spread]] = {
        "stsd": {key: spread([each[key] for each in found]) for key in found[0]}
    }
    title = f"Reload of {bench.extent.many:,} jobs, one changed"
    own = rows["stsd"]
    facts = {}
    if bench.extent.many >= 10_000:
        facts["standstill, ms"] = max(own["answer"].most, own["late"].most)
    return Result((Table(title, COLUMNS, rows, "stsd"),), facts, failed)


def answers(client: Client, until: float) -> list[float]:
    """How many ms each answer took, of those asked for until this second of the epoch."""
    found: list[float] = []
    while time.time() < until:
        begun = time.perf_counter()
        client.ask("status", jobs=["tick"], tags=None)
        found.append((time.perf_counter() - begun) * 1000)
        time.sleep(PAUSE_S)
    return found


def figures(
    before: list[float], meanwhile: list[float], reload_at: float, starts_file: Path
) -> dict[str, float]:
    starts = read_starts(starts_file).get("tick", [])
    late = [at % 10**9 / 1e6 for at in starts if reload_at <= at / 1e9 < reload_at + SPAN_S]
    return {
        "quiet": max(before, default=0.0),
        "answer": max(meanwhile),
        "p99": rank(sorted(meanwhile), 0.99),
        "late": max(late, default=1000.0 * SPAN_S),
    }
