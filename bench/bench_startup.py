"""What a start costs: from the command to READY, with 1,000 jobs and a million records behind them,
without and with a snapshot, beside the same start without a history.

python bench/bench_startup.py [RECORDS]
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_audit import JOBS, ZONES, write


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory(prefix="stsd-bench-") as folder:
        fresh, old = Path(folder) / "fresh", Path(folder) / "old"
        fresh.mkdir()
        add_jobs(fresh)
        old.mkdir()
        print(f"{write(old, wanted):,} records, {len(JOBS):,} jobs, {os.cpu_count()} processors")
        add_jobs(old)
        base = start(fresh)
        print(f"no history                 {base:6.2f} s   1.0")
        for label in ("history, no snapshot", "history and snapshot"):
            took = start(old)
            print(f"{label:26} {took:6.2f} s   {took / base:.1f}")


def add_jobs(folder: Path) -> None:
    """A jobfile of the jobs whose history `write` makes; what they run is nothing."""
    head = f'[daemon]\nlog_dir = "{folder}/log"\nstate_dir = "{folder}/state"\n'
    jobs = "".join(
        f'[jobs.{job}]\ncommand = ["true"]\ncron = "* * * * *"\ncatch_up = "none"\n'
        f'timezone = "{ZONES[number % len(ZONES)]}"\n'
        for number, job in enumerate(JOBS)
    )
    (folder / "jobs.toml").write_text(head + jobs)


def start(folder: Path) -> float:
    """Seconds until the daemon says READY; it is stopped again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        address = str(folder / "notify")
        Path(address).unlink(missing_ok=True)
        listener.bind(address)
        listener.settimeout(120)
        begun = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-m", "stsd", "run", "-c", str(folder / "jobs.toml")],
            env=os.environ | {"NOTIFY_SOCKET": address, "STSD_LOG_LEVEL": "error"},
        )
        while b"READY=1" not in listener.recv(4096):
            pass
        took = time.perf_counter() - begun
    process.send_signal(signal.SIGTERM)
    process.wait()
    return took


if __name__ == "__main__":
    main()
