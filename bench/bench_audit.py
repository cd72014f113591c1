"""What an audit costs: a million records of 1,000 jobs that run every minute.

python bench/bench_audit.py [RECORDS]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from stsd.model import Outcome, SkipReason, TriggerKind, When
from stsd.records import Begun, Finished, Intent, Planned, Record, Skipped, Started, encode
from stsd.units import compact

JOBS = [f"job{number:04}" for number in range(1000)]
ZONES = ("Europe/Berlin", "America/New_York", "UTC", "Asia/Kathmandu")


def occurrence(job: str, at: int, turn: int) -> list[Record]:
    if turn % 10 == 0:
        return [Skipped(job, at, SkipReason.OVERLAP, at + 0.01, TriggerKind.CRON)]
    run = f"{job}@{compact(at)}"
    return [
        Intent(run, job, at, TriggerKind.CRON, 1, at + 0.01),
        Started(run, job, at, TriggerKind.CRON, 1, at + 0.02, 0.02, 4711, 12345),
        Finished(
            run, job, at, TriggerKind.CRON, 1, Outcome.SUCCEEDED, at + 1.0, 0, None, at + 0.02
        ),
    ]


def write(folder: Path, wanted: int) -> int:
    """Fill LOG_DIR/history with that many records, and a few more."""
    (folder / "log" / "history").mkdir(parents=True)
    (folder / "jobs.toml").write_text(
        f'[daemon]\nlog_dir = "{folder}/log"\nstate_dir = "{folder}/state"\n'
    )
    minutes = wanted * 10 // (28 * len(JOBS)) + 1
    at = int(time.time()) // 60 * 60 - 60 * minutes
    lines = [encode(Begun(1, "boot", "1.0", at))]
    for number, job in enumerate(JOBS):
        when = When(cron=("* * * * *",), timezone=ZONES[number % len(ZONES)])
        lines.append(encode(Planned(job, when, at, at)))
    count = len(lines)
    while count < wanted:
        at += 60
        for number, job in enumerate(JOBS):
            lines += map(encode, occurrence(job, at, number + at // 60))
        count += len(lines)
        day = time.strftime("%Y-%m-%d", time.gmtime(at))
        with (folder / "log" / "history" / f"{day}.jsonl").open("ab") as file:
            file.writelines(lines)
        lines.clear()
    return count


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        count = write(Path(name), wanted)
        command = [sys.executable, "-m", "stsd", "audit", "-c", f"{name}/jobs.toml"]
        for options in ([], [JOBS[7]]):
            before = time.perf_counter()
            done = subprocess.run(
                [*command, *options],
                capture_output=True,
                text=True,
                check=True,
                cwd=Path(__file__).parent.parent,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
            )
            took = time.perf_counter() - before
            print(done.stdout.splitlines()[-1])
            print(f"{count:,} records, {' '.join(options) or 'all jobs'}: {took:.1f} s")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(f"peak memory: {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
