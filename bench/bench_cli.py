"""What the command line costs before it does anything: `stsd --version` and `--help` beside a bare
Python that imports the argument parser, in turns, so that a busy machine is busy for all of them.

python bench/bench_cli.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

STSD = Path(sys.executable).with_name("stsd")
COMMANDS: dict[str, list[str | Path]] = {
    "python -c 'import argparse'": [sys.executable, "-c", "import argparse"],
    "python -c pass": [sys.executable, "-c", "pass"],
    "stsd --version": [STSD, "--version"],
    "stsd --help": [STSD, "--help"],
    "stsd check --help": [STSD, "check", "--help"],
}


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(rounds):
        for name, command in COMMANDS.items():
            taken[name].append(took(command))
    base = taken["python -c 'import argparse'"]
    print(f"{rounds} rounds, ms of processor time: least, median; how many times the first")
    for name, times in taken.items():
        ratio = statistics.median(each / first for each, first in zip(times, base, strict=True))
        print(f"{name:28} {min(times):6.1f} {statistics.median(times):6.1f}   {ratio:.2f}")


def took(command: list[str | Path]) -> float:
    """Milliseconds of processor time, which other processes lengthen less than they do the wait."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return (usage.ru_utime + usage.ru_stime) * 1000


if __name__ == "__main__":
    main()
