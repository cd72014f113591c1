"""What it costs to validate a file of many jobs, beside the bare reading of the TOML in it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from harness.bench import Bench, held
from harness.cage import FailedError
from harness.figures import Column, Result, Table
from harness.measures.lateness import Figures, spreads
from harness.peers.base import Peer
from harness.peers.stsd import Stsd, StsdAllAtOnce, jobs_of
from harness.peers.yaml_crons import Yacron
from harness.work import Case

PATIENCE_S = 300.0
ROUNDS = 3
TOMLI = "import sys, tomli; tomli.load(open(sys.argv[1], 'rb'))"
COLUMNS = (
    Column("s", "time", "s", ratio=True),
    Column("cpu", "processor time", "s", ratio=True),
    Column("mib", "peak of memory", "MiB", ratio=True),
)


def measure(bench: Bench) -> Result:
    found: Figures = defaultdict(lambda: defaultdict(list))
    failed: dict[str, str] = {}
    for number in range(ROUNDS if bench.extent.rounds > 1 else 1):
        for name, peer in bench.turn(number):
            if isinstance(peer, StsdAllAtOnce) or (number and peer.most_jobs < bench.extent.many):
                continue
            count = min(peer.most_jobs, bench.extent.many)
            shown = name if count == bench.extent.many else f"{name}, {count:,} jobs"
            with bench.tolerant(failed, name), bench.case(held(count)) as case:
                for part, command in commands(name, shown, peer, case).items():
                    bench.say(f"check: {part}")
                    end = peer.run(case, command).wait(PATIENCE_S)
                    if end.status:
                        raise FailedError(f"it found fault (status {end.status})")
                    found[part]["s"].append(end.seconds)
                    found[part]["cpu"].append(end.cpu_s)
                    found[part]["mib"].append(end.peak_kib / 1024)
    rows = spreads(found)
    facts = {}
    if "stsd" in rows and bench.extent.many >= 10_000:
        facts = {
            "check, s": rows["stsd"]["s"].median,
            "check, MiB": rows["stsd"]["mib"].median,
            "tomli, s": rows["tomli alone"]["s"].median,
        }
    title = f"Validating {bench.extent.many:,} jobs"
    return Result((Table(title, COLUMNS, rows, "stsd"),), facts, failed)


def commands(name: str, shown: str, peer: Peer, case: Case) -> dict[str, list[str | Path]]:
    """What is to be run, by the name it is shown by; nothing for a peer that cannot validate."""
    if isinstance(peer, Yacron):
        return {shown: peer.validation(case)}
    if isinstance(peer, Stsd):
        jobfile = case.folder / "jobs.toml"
        jobfile.write_text(peer.head(case.folder) + "".join(jobs_of(case)))
        programs = peer.workshop.stsd()
        return {
            "tomli alone": [programs / "python", "-c", TOMLI, jobfile],
            name: [programs / "stsd", "check", "-c", jobfile],
        }
    return {}
