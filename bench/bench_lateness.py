"""Whether lateness grows: the real daemon starts two jobs every second, for as long as one likes.

python bench/bench_lateness.py --seconds 3600

A hole in the runs is told with its time and with what the history says of it, and so are the
stalls of this script, which does nothing but sleep: where both stood still, it was the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

JOBFILE = """\
[daemon]
timezone = "UTC"
log_dir = "{folder}/log"
state_dir = "{folder}/state"

[defaults]
overlap = "allow"

[jobs.every]
command = ["true"]
every = "1s"

[jobs.cron]
command = ["true"]
cron = "* * * * * *"
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, metavar="N")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="stsd-lateness-") as name:
        before = os.getloadavg()
        cpu_s, stalls = run_daemon(Path(name), seconds)
        records = history(Path(name))
    loads = [f"{load:.2f}" for load in (before[0], *os.getloadavg()[:2])]
    print(f"{seconds} s; load of {os.cpu_count()} CPUs before {loads[0]}, after {loads[1]}")
    print(f"the daemon's own CPU time: {cpu_s:.1f} s, {cpu_s / seconds:.2%} of one CPU")
    print(f"stalls of this script, which only slept: {', '.join(stalls) or 'none'}")
    return max([tell(job, records) for job in ("every", "cron")])


def run_daemon(folder: Path, seconds: int) -> tuple[float, list[str]]:
    """Runs it for so long; returns the CPU seconds it has used, without those of its children, and
    in words each time that a sleep of a second in here has taken more than two."""
    jobfile = folder / "jobs.toml"
    jobfile.write_text(JOBFILE.format(folder=folder))
    daemon = subprocess.Popen(
        [sys.executable, "-m", "stsd", "run", "-c", str(jobfile)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd=folder,
    )
    stalls = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if daemon.poll() is not None:
            raise SystemExit(f"the daemon ended with {daemon.returncode}")
        wall, mono = time.time(), time.monotonic()
        time.sleep(1)
        gone, ticked = time.time() - wall, time.monotonic() - mono
        if max(gone, ticked) > 2:
            stalls.append(f"{gone:.1f} s (monotonic {ticked:.1f} s) from {clock(wall)}")
    spent = Path(f"/proc/{daemon.pid}/stat").read_text().rpartition(")")[2].split()
    daemon.send_signal(signal.SIGTERM)
    daemon.wait()
    return (int(spent[11]) + int(spent[12])) / os.sysconf("SC_CLK_TCK"), stalls


def clock(instant: float) -> str:
    return f"{datetime.fromtimestamp(instant, UTC):%H:%M:%S}"


def history(folder: Path) -> list[dict[str, Any]]:
    segments = sorted((folder / "log" / "history").glob("*.jsonl"))
    return [json.loads(line) for segment in segments for line in segment.open()]


def tell(job: str, records: list[dict[str, Any]]) -> int:
    """Prints what became of a job; 0 if each second between its first and last start had one."""
    events = Counter(record["event"] for record in records if record.get("job") == job)
    started = [r for r in records if r["event"] == "started" and r["job"] == job]
    instants = [int(datetime.fromisoformat(r["scheduled"]).timestamp()) for r in started]
    lates = [r["late_s"] * 1000 for r in started]
    span = instants[-1] - instants[0] + 1
    missing, double = span - len(set(instants)), len(instants) - len(set(instants))
    steps = {later - earlier for earlier, later in pairwise(instants)}
    print(f"\n{job}: {len(started)} runs in {span} s, {missing} missing, {double} double")
    print(f"  recorded as skipped: {events['skipped']}, as missed: {events['missed']}")
    print(f"  seconds from one scheduled instant to the next: {sorted(steps)}")
    for earlier, later in pairwise(instants):
        if later > earlier + 1:
            print(f"  nothing started from {clock(earlier + 1)} to {clock(later - 1)} UTC")
    for record in records:
        if record["event"] == "missed" and record["job"] == job:
            span = f"{record['first']} to {record['last']}, {record['count']} times"
            print(f"  recorded: {span}, {record['reason']}, noticed at {record['at']}")
    sixth = len(lates) // 6
    medians = []
    for label, part in (("first", lates[:sixth]), ("last", lates[-sixth:])):
        ranks = statistics.quantiles(part, n=100, method="inclusive")
        medians.append(ranks[49])
        figures = f"median {ranks[49]:.1f} ms, p99 {ranks[98]:.1f} ms, max {max(part):.0f} ms"
        print(f"  late in the {label} sixth: {figures}")
    if medians[0]:
        print(f"  median of the last sixth to that of the first: {medians[1] / medians[0]:.2f}")
    return int(bool(missing or double))


if __name__ == "__main__":
    sys.exit(main())
