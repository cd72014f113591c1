"""A running scheduler with all its processes, and what /proc tells of them.

Processor time counts every process that ever belonged to it; memory and wake-ups those that are
there. The cage itself, a small C program, is left out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
STOP_PATIENCE_S = 15.0
PROC = Path("/proc")


class FailedError(Exception):
    """A peer did not do what it was started for; the message says what it said."""


@dataclass(frozen=True, slots=True)
class End:
    """How the command of a cage ended."""

    status: int
    seconds: float
    cpu_s: float
    peak_kib: int


class Cage:
    """`command`, running in `folder`, its words in `folder`/log."""

    def __init__(
        self, cage: Path, folder: Path, command: Sequence[str | Path], env: Mapping[str, str]
    ) -> None:
        self._report = folder / "end"
        self.log = folder / "log"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [cage, self._report, *command],
                cwd=folder,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def root(self) -> int:
        """The process whose descendants are looked at."""
        return self._process.pid

    def processes(self) -> list[int]:
        """All of the scheduler's, the one first started first."""
        children: dict[int, list[int]] = defaultdict(list)
        for pid in filter(str.isdigit, os.listdir(PROC)):
            if fields := _stat(int(pid)):
                children[int(fields[1])].append(int(pid))
        found, next_ones = [], [self.root]
        while next_ones:
            next_ones = [child for pid in next_ones for child in children[pid]]
            found += next_ones
        return found

    def main(self) -> int:
        """The command's own process. Raises FailedError if it has ended."""
        while not (processes := self.processes()) and not self.ended():
            time.sleep(0.01)  # it is about to be started
        if not processes or self.ended():
            raise FailedError(self.last_words())
        return processes[0]

    def ended(self) -> bool:
        """Whether the command has, by itself."""
        return self._report.exists() or self._process.poll() is not None

    def cpu_s(self) -> float:
        """Of all processes so far, those that have ended included; to 10 ms."""
        ticks = sum(int(tick) for tick in _stat(self.root)[13:15])
        for pid in self.processes():
            ticks += sum(int(tick) for tick in _stat(pid)[11:15])
        return ticks / TICKS

    def awake_s(self) -> float:
        """Processor time of the processes that are there, to the nanosecond."""
        return sum(int(text.split()[0]) for text in self.of_threads("schedstat")) / 1e9

    def wakeups(self) -> int:
        """How often the threads that are there have waited for something."""
        wanted = "voluntary_ctxt_switches:"
        lines = (line for text in self.of_threads("status") for line in text.splitlines())
        return sum(int(line.split()[1]) for line in lines if line.startswith(wanted))

    def pss_kib(self) -> int:
        """Memory of all processes, what they share with others counted in parts."""
        return sum(pss_kib(pid) for pid in self.processes())

    def wait_until_quiet(self, quiet_s: float = 0.4, patience_s: float = 300.0) -> float:
        """Waits until no process has run for so long; returns when (time.monotonic) the last one
        did. What runs less than a fiftieth of the time counts as quiet."""
        until = time.monotonic() + patience_s
        last, spent = time.monotonic(), 0.0
        while time.monotonic() < until:
            time.sleep(0.02)
            now, spending = time.monotonic(), self.awake_s()
            if abs(spending - spent) > 0.02 * quiet_s:
                last, spent = now, spending
            elif now - last > quiet_s:
                self.main()
                return last
        raise FailedError(f"not quiet within {patience_s:.0f} s")

    def signal(self, number: signal.Signals) -> None:
        """To the command itself."""
        os.kill(self.main(), number)

    def wait(self, patience_s: float) -> End:
        """For the command to end by itself."""
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.stop()
            raise FailedError(f"not done within {patience_s:.0f} s") from None
        status, nanoseconds, user, system, peak = map(int, self._report.read_text().split())
        return End(status, nanoseconds / 1e9, (user + system) / 1e6, peak)

    def stop(self) -> None:
        """By TERM, and by force if that is not enough."""
        self._process.terminate()
        try:
            self._process.wait(STOP_PATIENCE_S)
        except subprocess.TimeoutExpired:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(STOP_PATIENCE_S)

    def of_threads(self, name: str) -> Iterator[str]:
        """The text of this file of /proc, for all threads."""
        for pid in self.processes():
            with contextlib.suppress(OSError):
                for thread in (PROC / str(pid) / "task").iterdir():
                    yield (thread / name).read_text()

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"it ended: {lines[-1] if lines else 'without a word'}"


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name; none of a process that is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def pss_kib(pid: int) -> int:
    """Of one process; 0 of one that is gone."""
    with contextlib.suppress(OSError):
        for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0
