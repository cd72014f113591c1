"""What it costs that each start is on the disk before it is made: stsd with its records on a disk,
and with them in memory, where nothing is waited for."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from harness.bench import Bench
from harness.figures import Result, Table
from harness.measures.lateness import COLUMNS, Figures, one_round, spreads

MEMORY = Path("/dev/shm")
ROUNDS = 3


def measure(bench: Bench) -> Result:
    peer = bench.peers.get("stsd")
    if peer is None or not MEMORY.is_dir():
        return Result((), {}, {} if peer is None else {"stsd": f"needs {MEMORY}"})
    sizes = bench.extent.sizes
    found: dict[int, Figures] = {size: defaultdict(lambda: defaultdict(list)) for size in sizes}
    failed: dict[str, str] = {}
    folder = Path(tempfile.mkdtemp(prefix="stsd-bench-", dir=MEMORY))
    places = [("stsd, on disk", bench.place), ("stsd, in memory", folder)]
    try:
        for number in range(ROUNDS if bench.extent.rounds > 1 else 1):
            for name, place in places[:: -1 if number % 2 else 1]:
                bench.say(f"durability: {name}")
                with bench.tolerant(failed, name):
                    for size, each in one_round(replace(bench, place=place), peer, sizes).items():
                        for key, value in each.items():
                            found[size][name][key].append(value)
    finally:
        shutil.rmtree(folder)
    shown = tuple(
        Table(f"Lateness of {size:,} due at once", COLUMNS, spreads(figures), "stsd, in memory")
        for size, figures in found.items()
    )
    return Result(shown, {}, failed)
