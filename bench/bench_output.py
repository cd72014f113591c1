"""What it costs to take in the output of runs, against letting them write into a file themselves.

python bench/bench_output.py --starts 2000 --gigabytes 10

Both ways start the same children in the same way; what is compared is the CPU time of this process
(which does what the daemon does), of the scribe, and the time on the clock.
"""

from __future__ import annotations

import argparse
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from stsd.capture import Capture, Captured
from stsd.model import Output
from stsd.output import output_name

SILENT = ["/bin/true"]
PRINTS = ["/bin/echo", "some output of a job"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=2000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--gigabytes", type=int, default=4, metavar="N")
    arguments = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.2f}, Python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory(prefix="stsd-output-") as name:
        bench = Bench(Path(name), arguments.starts)
        for label, command in (("silent", SILENT), ("prints a line", PRINTS)):
            bench.compare(label, command, arguments.rounds)
        bench.herd()
        for label, hide in (("", ()), (", a secret masked", ("correct horse battery",))):
            bench.drain(arguments.gigabytes, label, hide)
    return 0


class Bench:
    """A capture with its scribe running, and a folder for the output."""

    def __init__(self, folder: Path, starts: int) -> None:
        self.folder = folder
        self.starts = starts
        self.selector = selectors.DefaultSelector()
        self.capture = Capture(self.selector, folder)
        self.number = 0
        (folder / "output" / "bench").mkdir(parents=True)
        self.captured(SILENT)

    def compare(self, label: str, command: list[str], rounds: int) -> None:
        straight = min(self.measured(self.straight, command) for _ in range(rounds))
        captured = min(self.measured(self.captured, command) for _ in range(rounds))
        for way, (wall, own, scribe) in (("file", straight), ("scribe", captured)):
            print(
                f"{label:14} {way:7} {wall * 1e6:7.1f} us on the clock, CPU: {own * 1e6:6.1f} us"
                f" here, {scribe * 1e6:5.1f} us scribe"
            )
        cost = captured[1] + captured[2] - straight[1]
        ratio = (captured[1] + captured[2]) / straight[1]
        print(f"{label:14} CPU by the scribe against straight: {ratio:.2f}, {cost * 1e6:+.1f} us")

    def measured(
        self, start: Callable[[list[str]], None], command: list[str]
    ) -> tuple[float, float, float]:
        """Seconds a start: on the clock, CPU of this process, CPU of the scribe."""
        wall, own, scribe = time.perf_counter(), time.process_time(), self.scribe_cpu()
        for _ in range(self.starts):
            start(command)
        spans = (
            time.perf_counter() - wall,
            time.process_time() - own,
            self.scribe_cpu() - scribe,
        )
        return (spans[0] / self.starts, spans[1] / self.starts, spans[2] / self.starts)

    def herd(self) -> None:
        """All open at once, without a child: what open, cease and hear cost by themselves."""
        own, scribe = time.process_time(), self.scribe_cpu()
        for number in range(self.starts):
            os.close(self.open(f"herd@{number}"))
        for number in range(self.starts):
            self.capture.cease(f"herd@{number}")
        self.hear(self.starts)
        own, scribe = time.process_time() - own, self.scribe_cpu() - scribe
        print(
            f"{self.starts} at once, no children: CPU of a run {own / self.starts * 1e6:.1f} us"
            f" here, {scribe / self.starts * 1e6:.1f} us scribe"
        )

    def drain(self, gigabytes: int, label: str, hide: tuple[str, ...]) -> None:
        before, scribe = time.perf_counter(), self.scribe_cpu()
        self.captured(["/usr/bin/head", "-c", f"{gigabytes}G", "/dev/zero"], hide)
        took, scribe = time.perf_counter() - before, self.scribe_cpu() - scribe
        size = gigabytes * 1.073741824
        print(
            f"{gigabytes} GiB by one job{label}: {size / took:.2f} GB/s,"
            f" CPU of the scribe {scribe / size:.2f} s/GB, {self.scribe_rss()}"
        )

    def straight(self, command: list[str]) -> None:
        self.number += 1
        name = output_name("bench", f"straight@{self.number}", 1)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        output = os.open(self.folder / name, flags, 0o600)
        self.run(command, output)
        os.stat(self.folder / name)

    def captured(self, command: list[str], hide: tuple[str, ...] = ()) -> None:
        self.number += 1
        run_id = f"captured@{self.number}"
        self.run(command, self.open(run_id, hide))
        self.capture.cease(run_id)
        self.hear(1)

    def open(self, run_id: str, hide: tuple[str, ...] = ()) -> int:
        return self.capture.open(run_id, output_name("bench", run_id, 1), Output(), hide)

    def run(self, command: list[str], output: int) -> None:
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, close_fds=True
        ) as child:
            os.close(output)
            child.wait()

    def hear(self, runs: int) -> None:
        while runs:
            for key, _ in self.selector.select():
                runs -= sum(isinstance(news, Captured) for news in self.capture.hear(key.fd))

    def scribe_cpu(self) -> float:
        """Seconds, of /proc/PID/schedstat, which is finer than clock ticks."""
        return int(Path(f"/proc/{self.capture.scribe_pid}/schedstat").read_text().split()[0]) / 1e9

    def scribe_rss(self) -> str:
        status = Path(f"/proc/{self.capture.scribe_pid}/status").read_text()
        peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return f"peak memory {int(peak.split()[1]) / 1024:.1f} MiB"


if __name__ == "__main__":
    sys.exit(main())
