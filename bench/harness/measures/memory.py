"""What a scheduler holds in memory, and how long it takes until it waits for work, by the number of
its jobs, none of which is due."""

from __future__ import annotations

import time
from collections import defaultdict

from harness.bench import Bench, held
from harness.figures import Column, Result, Table
from harness.measures.lateness import Figures, spreads

# Beyond that many jobs, once is enough.
REPEATED_TO = 1000


def measure(bench: Bench) -> Result:
    memory: Figures = defaultdict(lambda: defaultdict(list))
    took: Figures = defaultdict(lambda: defaultdict(list))
    failed: dict[str, str] = {}
    for number in range(bench.extent.rounds):
        for name, peer in bench.turn(number):
            for size in bench.extent.held:
                if not peer.is_daemon or peer.most_jobs < size or (number and size > REPEATED_TO):
                    continue
                bench.say(f"memory and start-up: {name}, {size:,}")
                with (
                    bench.tolerant(failed, f"{name} with {size:,} jobs"),
                    bench.case(held(size)) as case,
                ):
                    begun = time.monotonic()
                    with bench.running(peer, case) as cage:
                        took[name][str(size)].append(peer.ready(cage, begun))
                        memory[name][str(size)].append(peer.memory_kib(cage) / 1024)
    columns = tuple(Column(str(size), f"{size:,}", "", ratio=True) for size in bench.extent.held)
    shown = (
        Table("Memory (PSS) of all processes, MiB", columns, spreads(memory), "stsd",
              ("Of systemd, PID 1 alone; of Celery, beat, worker and Redis.",)),
        Table("Start-up, s", columns, spreads(took), "stsd",
              ("stsd: until it tells READY; the others: until they have become quiet. The writing "
               "of their files is in it.",)),
    )  # fmt: skip
    return Result(shown, facts(memory, took), failed)


def facts(memory: Figures, took: Figures) -> dict[str, float]:
    """For the goals."""
    own = spreads(memory).get("stsd", {})
    told = {f"start-up of {size}, s": s.median for size, s in spreads(took).get("stsd", {}).items()}
    if "1" in own:
        told["memory of 1, MiB"] = own["1"].median
        if (most := "10000") in own or (most := max(own, key=int)) != "1":
            added = own[most].median - own["1"].median
            told["memory per job, KiB"] = added * 1024 / (int(most) - 1)
    return told
