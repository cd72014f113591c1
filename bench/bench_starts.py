"""What it costs to start a child with a user and limits, beside one without, from a process that
has read a jobfile of 10,000 jobs as a daemon has; and what forking that process would cost instead.

python bench/bench_starts.py [STARTS]      as root
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from stsd.child import ChildSpec
from stsd.ending import own_peak_kib
from stsd.jobfile import load
from stsd.starter import Starter

JOBS = 10_000
AT_ONCE = 8
ROUNDS = 7
TICKS = os.sysconf("SC_CLK_TCK")

PLAIN = ChildSpec(("/bin/true",), {"PATH": os.defpath}, "/", 0o022)
LIMITED = replace(
    PLAIN,
    user="nobody",
    nice=5,
    rlimits=(("RLIMIT_NOFILE", 256, 256), ("RLIMIT_CPU", 60, 61), ("RLIMIT_AS", 1 << 30, 1 << 30)),
)


@dataclass(frozen=True)
class Cost:
    """Of all starts together; processor time of this process and of the launcher, in seconds."""

    seconds: float
    own: float
    launcher: float


class Bench:
    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.starter = Starter(self.selector)
        self.null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)

    def run(self, starts: int, begin: Callable[[str], int | None]) -> Cost:
        """So many children, AT_ONCE at a time, each of them watched and waited for."""
        begun, own, launcher = time.perf_counter(), time.process_time(), self.launcher_time()
        started = running = 0
        while started < starts or running:
            while started < starts and running < AT_ONCE:
                self.watch(begin(str(started)))
                started, running = started + 1, running + 1
            for key, _ in self.selector.select():
                if key.data is self.starter:
                    for answer in self.starter.hear(key.fd):
                        assert answer.pid is not None, answer.error
                        self.watch(answer.pid)
                else:
                    self.reap(key.fd, key.data)
                    running -= 1
        return Cost(
            time.perf_counter() - begun,
            time.process_time() - own,
            self.launcher_time() - launcher,
        )

    def watch(self, pid: int | None) -> None:
        if pid is not None:
            self.selector.register(os.pidfd_open(pid), selectors.EVENT_READ, pid)

    def reap(self, pidfd: int, pid: int) -> None:
        self.selector.unregister(pidfd)
        os.close(pidfd)
        os.waitpid(pid, 0)

    def launcher_time(self) -> float:
        """With that of the processes in between, which the launcher has waited for."""
        spent = 0
        for pid in self.starter.disowned:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            spent += sum(int(field) for field in fields[11:15])
        return spent / TICKS

    def start(self, spec: ChildSpec) -> Callable[[str], int | None]:
        return lambda ticket: self.starter.start(ticket, spec, self.null)

    def fork(self, ticket: str) -> int:
        """As Popen does it when it is to change the user: by forking this process."""
        process = subprocess.Popen(
            PLAIN.argv, stdin=self.null, stdout=self.null, stderr=self.null, env=PLAIN.env,
            user="nobody", group="nogroup", extra_groups=[], start_new_session=True,
        )  # fmt: skip
        process.returncode = 0
        return process.pid


def read_jobs() -> object:
    with tempfile.TemporaryDirectory(prefix="stsd-bench-") as folder:
        path = Path(folder) / "jobs.toml"
        path.write_text(
            "".join(
                f'[jobs.j{n}]\ncommand = ["true", "{n}"]\ncron = "{n % 60} * * * *"\n'
                for n in range(JOBS)
            )
        )
        return load(path, local_zone="UTC")


def main() -> None:
    starts = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    jobfile = read_jobs()
    bench = Bench()
    print(f"{JOBS:,} jobs, peak {own_peak_kib() >> 10} MiB, {os.cpu_count()} processors, ")
    print(f"{starts} starts, {AT_ONCE} at a time, the median of {ROUNDS} rounds\n")
    print(f"{'':34} starts/s   ratio   ms of processor time a start: stsd, launcher")
    ways = {
        "no user, no limits (vfork)": bench.start(PLAIN),
        "user, nice, limits (launcher)": bench.start(LIMITED),
        "only nice (launcher)": bench.start(replace(PLAIN, nice=5)),
        "user, by forking this process": bench.fork,
    }
    for begin in ways.values():
        bench.run(50, begin)
    # In turns, so that all have the same weather.
    rounds = [[bench.run(starts, begin) for begin in ways.values()] for _ in range(ROUNDS)]
    for name, costs in zip(ways, zip(*rounds, strict=True), strict=True):
        rate = median(starts / cost.seconds for cost in costs)
        ratio = median(
            turn[0].seconds / cost.seconds for turn, cost in zip(rounds, costs, strict=True)
        )
        own = median(1000 * cost.own / starts for cost in costs)
        launcher = median(1000 * cost.launcher / starts for cost in costs)
        print(f"{name:34} {rate:8.0f} {ratio:7.2f}   {own:.3f}, {launcher:.3f}")
    assert jobfile
    bench.starter.close()


if __name__ == "__main__":
    main()
