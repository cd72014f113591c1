"""What every scheduler has to be able to do to be measured."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from harness.cage import Cage
from harness.work import Case, read_starts
from harness.workshop import Workshop

# Nothing of what the shell that started the bench has set.
ENVIRONMENT = {
    "PATH": os.defpath + ":/usr/sbin:/sbin",
    "HOME": "/root",
    "TZ": "UTC",
    "LANG": "C.UTF-8",
}


class Peer(ABC):
    """A scheduler. `grain_s` is the finest step of its schedules; `most_jobs` as many as it is
    worth measuring with; `is_daemon` tells whether it is looked at while it only holds jobs."""

    name: ClassVar[str]
    grain_s: ClassVar[int] = 1
    most_jobs: ClassVar[int] = 10_000
    is_daemon: ClassVar[bool] = True

    def __init__(self, workshop: Workshop) -> None:
        self.workshop = workshop

    @abstractmethod
    def install(self) -> str:
        """Make it ready for use; returns its version. Raises NotHereError."""

    @abstractmethod
    def start(self, case: Case) -> Cage:
        """Start it with these jobs, and return at once."""

    def lead_s(self, jobs: int) -> float:
        """Seconds after which it surely has read so many jobs."""
        return 2.0 + jobs / 2000

    def ready(self, cage: Cage, begun: float) -> float:
        """Seconds from `begun` (time.monotonic) until it waits for work."""
        return cage.wait_until_quiet() - begun

    def starts(self, case: Case) -> dict[str, list[int]]:
        """When the jobs started, by label."""
        return read_starts(case.starts_file)

    def memory_kib(self, cage: Cage) -> int:
        """What it holds with all its processes."""
        return cage.pss_kib()

    def run(
        self, case: Case, command: Sequence[str | Path], env: dict[str, str] | None = None
    ) -> Cage:
        """A cage around a command."""
        cage = self.workshop.program("cage")
        return Cage(cage, case.folder, command, ENVIRONMENT | (env or {}))


def moment(at: int) -> datetime:
    """The fields of a schedule for this second, in UTC."""
    return datetime.fromtimestamp(at, UTC)


def wait_until(at: float) -> None:
    """A second of the epoch."""
    while (left := at - time.time()) > 0:
        time.sleep(min(left, 1.0))
