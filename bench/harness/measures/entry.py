"""How long after it is due a Python function begins: started cold and warm by stsd, and as a task
of a Celery worker; beside them a bare interpreter's start, which is what a cold one cannot
undercut."""

from __future__ import annotations

import subprocess
import sys
import time

from harness.bench import Bench, poll
from harness.figures import Column, Result, Spread, Table, rank, spread
from harness.peers.celery_beat import CeleryBeat, CeleryPython
from harness.peers.stsd import Stsd
from harness.work import Case, Job, Once, read_starts

FUNCTION = """
import time
import asyncio, decimal, email.message, http.client, json, logging.handlers, sqlite3
import urllib.request, xml.etree.ElementTree, zipfile
def mark(path, label):
    now = time.time_ns()
    with open(path, "a") as file:
        file.write(f"{label} {now}\\n")
"""
STSD = """
[jobs.{kind}]
python = "marks:mark"
path = ["{folder}"]
args = ["{folder}/starts", "{kind}"]
warm = {warm}
every = "2s"
anchor = 1970-01-01T00:00:0{phase}Z
"""
# In turns, a second apart.
PHASES = {"cold": 0, "warm": 1}
# The first starts find files and processes that are not there yet.
LEFT_OUT = 2
COLUMNS = (
    Column("least", "least", "ms"),
    Column("median", "median", "ms", ratio=True),
    Column("p99", "p99", "ms", ratio=True),
)


def measure(bench: Bench) -> Result:
    rows: dict[str, dict[str, Spread]] = {}
    failed: dict[str, str] = {}
    for name, peer in bench.peers.items():
        with bench.tolerant(failed, name):
            if type(peer) is Stsd:
                bench.say("entry: stsd, cold and warm")
                rows |= {f"stsd, {kind}": row(late) for kind, late in of_stsd(bench, peer).items()}
            elif isinstance(peer, CeleryBeat):
                bench.say("entry: a Celery worker")
                rows[f"{name}, a task in Python"] = row(of_celery(bench))
    bare = [interpreter() for _ in range(bench.extent.entries)]
    rows["python -c pass, to its end"] = row(bare)
    told = {"warm, ms": rows["stsd, warm"]["median"].median} if "stsd, warm" in rows else {}
    title = "From the due time to the first line of a Python function"
    return Result((Table(title, COLUMNS, rows, "stsd, warm"),), told, failed)


def row(late_ms: list[float]) -> dict[str, Spread]:
    ordered = sorted(late_ms)
    ranks = {"least": ordered[0], "median": rank(ordered, 0.5), "p99": rank(ordered, 0.99)}
    return {key: spread([value]) for key, value in ranks.items()}


def of_stsd(bench: Bench, peer: Stsd) -> dict[str, list[float]]:
    """Milliseconds, by kind of start."""
    count = bench.extent.entries + LEFT_OUT
    with bench.case([]) as case:
        (case.folder / "marks.py").write_text(FUNCTION)
        jobs = [
            STSD.format(
                kind=kind, folder=case.folder, phase=phase, warm=str(kind == "warm").lower()
            )
            for kind, phase in PHASES.items()
        ]
        (case.folder / "jobs.toml").write_text(peer.head(case.folder) + "".join(jobs))
        cage = peer.daemon(case)
        try:
            peer.ready(cage, time.monotonic())
            poll(lambda: enough(case, count), 2 * count + 30.0)
        finally:
            cage.stop()
        starts = read_starts(case.starts_file)
    return {
        kind: [(at / 1e6 - phase * 1000) % 2000 for at in starts[kind][LEFT_OUT:]]
        for kind, phase in PHASES.items()
    }


def enough(case: Case, count: int) -> bool:
    starts = read_starts(case.starts_file)
    return all(len(starts.get(kind, [])) >= count for kind in PHASES)


def of_celery(bench: Bench) -> list[float]:
    """Milliseconds; each task is due at a second of its own."""
    peer = CeleryPython(bench.workshop)
    peer.install()
    count = bench.extent.entries + LEFT_OUT
    first = int(time.time() + peer.lead_s(count)) + 1
    first += first % 60 == 0
    jobs = [Job(f"m{at}", f"m{at}", Once(at)) for at in range(first, first + count)]
    with bench.case(jobs) as case, bench.running(peer, case):
        poll(lambda: len(peer.starts(case)) >= count, count + 60.0)
        starts = peer.starts(case)
    late = {int(label[1:]): times[0] / 1e6 for label, times in starts.items()}
    return [at_ms - at * 1000 for at, at_ms in sorted(late.items()) if at % 60][LEFT_OUT:]


def interpreter() -> float:
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True)
    return (time.perf_counter() - begun) * 1000
