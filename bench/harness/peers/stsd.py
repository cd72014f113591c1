"""stsd itself, with the settings that it has when nothing is said; and the same with room for all
runs at once, as its peers have it."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from harness.cage import Cage, FailedError
from harness.peers.base import Peer, moment
from harness.work import Case, Once

READY_PATIENCE_S = 120.0


class Stsd(Peer):
    name: ClassVar[str] = "stsd"
    most_jobs: ClassVar[int] = 100_000
    settings: ClassVar[str] = ""

    def install(self) -> str:
        return self.workshop.version(self.workshop.stsd(), "stsd")

    def start(self, case: Case) -> Cage:
        jobfile = case.folder / "jobs.toml"
        jobfile.write_text(self.head(case.folder) + "".join(jobs_of(case)))
        return self.daemon(case)

    def head(self, folder: Path) -> str:
        """The daemon's table; everything of it is in this folder."""
        return (
            f'[daemon]\ntimezone = "UTC"\nlog_dir = "{folder}/logs"\n'
            f'state_dir = "{folder}/state"\n{self.settings}'
        )

    def daemon(self, case: Case) -> Cage:
        """The daemon, on the jobfile that is in the folder."""
        env = {"RUNTIME_DIRECTORY": str(case.folder), "NOTIFY_SOCKET": f"@{case.folder}"}
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(f"\0{case.folder}")
        self._listener.settimeout(0.5)
        program = self.workshop.stsd() / "stsd"
        return self.run(case, [program, "run", "-c", case.folder / "jobs.toml"], env)

    def ready(self, cage: Cage, begun: float) -> float:
        """By its own word to systemd."""
        with self._listener:
            while True:
                try:
                    if b"READY=1" in self._listener.recv(4096):
                        break
                except TimeoutError:
                    cage.main()
                    if time.monotonic() > begun + READY_PATIENCE_S:
                        raise FailedError(f"not ready within {READY_PATIENCE_S:.0f} s") from None
        return time.monotonic() - begun

    def memory_kib(self, cage: Cage) -> int:
        cage.wait_until_quiet()
        return cage.pss_kib()


class StsdAllAtOnce(Stsd):
    """Peers know no limit on how much may run at once; stsd's own is 16."""

    name: ClassVar[str] = "stsd, max_running 1000"
    is_daemon: ClassVar[bool] = False  # while it holds jobs it is the same
    settings: ClassVar[str] = "max_running = 1000\n"


def jobs_of(case: Case) -> Iterable[str]:
    """The tables of the jobs."""
    for job in case.jobs:
        words = ", ".join(f'"{word}"' for word in case.argv(job))
        if isinstance(job.when, Once):
            at = moment(job.when.at)
            when = f'cron = "{at.second} {at.minute} {at.hour} * * *"'
        else:
            when = 'every = "1s"'  # on the full second, whatever the phase
        yield f"[jobs.{job.name}]\ncommand = [{words}]\n{when}\n"
