"""What the schedulers are given to do, in words that fit them all, and what came of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Once:
    """Due at this second of the Unix epoch (and, where a schedule knows no dates, daily)."""

    at: int


@dataclass(frozen=True, slots=True)
class Secondly:
    """Due every second, this part of a second after it where the scheduler can do that."""

    phase: float


@dataclass(frozen=True, slots=True)
class Job:
    """`label` is what its starts are known by; jobs that are due together share one."""

    name: str
    label: str
    when: Once | Secondly


@dataclass(frozen=True, slots=True)
class Case:
    """One scheduler's work: these jobs, `job` the program, in a folder of its own on a disk."""

    folder: Path
    job: Path
    jobs: tuple[Job, ...]

    @property
    def starts_file(self) -> Path:
        """Where the jobs write when they were started."""
        return self.folder / "starts"

    def argv(self, job: Job) -> list[str]:
        """The command of a job."""
        return [str(self.job), str(self.starts_file), job.label]


def burst(label: str, at: int, count: int) -> list[Job]:
    """So many jobs that are due in the same second."""
    return [Job(f"{label}-{number}", label, Once(at)) for number in range(count)]


def read_starts(path: Path) -> dict[str, list[int]]:
    """By label, the nanoseconds of the epoch at which its jobs started, in order of time. A line
    that is not yet complete is left out."""
    found: dict[str, list[int]] = defaultdict(list)
    if path.exists():
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                label, nanoseconds = line.split()
                found[label].append(int(nanoseconds))
    return {label: sorted(times) for label, times in found.items()}
