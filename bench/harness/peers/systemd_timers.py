"""systemd timers, under a real systemd as PID 1 of a container (tests/system/container.sh)."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from harness.cage import Cage, FailedError, pss_kib
from harness.peers.base import ENVIRONMENT, Peer, moment
from harness.work import Case, Job, Once, read_starts
from harness.workshop import REPOSITORY, NotHereError, needs

CONTAINER = REPOSITORY / "tests" / "system" / "container.sh"
INSIDE = Path("/bench")


class SystemdTimers(Peer):
    name: ClassVar[str] = "systemd timers"
    most_jobs: ClassVar[int] = 1000

    def install(self) -> str:
        if os.geteuid() != 0:
            raise NotHereError("needs root, to boot systemd in a container")
        needs("systemd-nspawn", "dbus-daemon", "pgrep", "nsenter", "systemctl")
        version = subprocess.run(["systemctl", "--version"], capture_output=True, text=True).stdout
        return version.split()[1]

    def lead_s(self, jobs: int) -> float:
        return 4.0 + jobs / 300

    def start(self, case: Case) -> Cage:
        machine = Machine(case.folder)
        units = case.folder / "units"
        wants = units / "bench.target.wants"
        wants.mkdir(parents=True)
        (units / "bench.target").write_text("[Unit]\nDescription=All that is measured\n")
        inside = Case(INSIDE, INSIDE / "job", case.jobs)
        for job in case.jobs:
            for name, text in units_of(job, inside.argv(job)).items():
                (units / name).write_text(text)
            (wants / f"{job.name}.timer").symlink_to(f"../{job.name}.timer")
        machine.script("run", "mkdir", "-p", str(INSIDE))
        machine.script("put", str(case.job), str(inside.job))
        machine.script("put", f"{units}/.", "/etc/systemd/system")
        machine.wait_until_quiet()
        self._begun = time.monotonic()
        machine.script("run", "systemctl", "daemon-reload")
        machine.script("run", "systemctl", "start", "bench.target")
        self._machine = machine
        return machine

    def ready(self, cage: Cage, begun: float) -> float:
        """From the reading of the units on; the rest of systemd is up by then."""
        return cage.wait_until_quiet() - self._begun

    def starts(self, case: Case) -> dict[str, list[int]]:
        return read_starts(Path(f"/proc/{self._machine.main()}/root{INSIDE}/starts"))

    def memory_kib(self, cage: Cage) -> int:
        """Of PID 1: the others there hold nothing of the timers."""
        return pss_kib(cage.main())


class Machine(Cage):
    """The container; its PID 1 is the first of the processes looked at."""

    def __init__(self, folder: Path) -> None:
        # Its script names a control group after the end of the folder's name.
        self._folder = Path(tempfile.mkdtemp(prefix="stsd-bench-"))
        self.log = folder / "log"
        self.script("up")
        self._root = int((self._folder / "nspawn").read_text())

    @property
    def root(self) -> int:
        return self._root

    def ended(self) -> bool:
        return not Path(f"/proc/{self._root}").exists()

    def script(self, *words: str) -> None:
        """One verb of container.sh. Raises FailedError."""
        with self.log.open("ab") as log:
            done = subprocess.run(
                [CONTAINER, self._folder, *words],
                env=ENVIRONMENT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if done.returncode:
            raise FailedError(f"container.sh {words[0]}: {self.last_words()}")

    def of_threads(self, name: str) -> Iterator[str]:
        """Of PID 1: the journal and the bus wait for other things than timers."""
        with contextlib.suppress(OSError):
            for thread in Path(f"/proc/{self.main()}/task").iterdir():
                yield (thread / name).read_text()

    def stop(self) -> None:
        self.script("down")
        shutil.rmtree(self._folder, ignore_errors=True)


def units_of(job: Job, argv: list[str]) -> dict[str, str]:
    """The text of a job's two units, by name."""
    if isinstance(job.when, Once):
        when = f"{moment(job.when.at):%Y-%m-%d %H:%M:%S} UTC"
    else:
        when = f"*-*-* *:*:{job.when.phase:.3f}/1"
    return {
        f"{job.name}.service": (
            "[Unit]\nStartLimitIntervalSec=0\n"
            f"[Service]\nType=oneshot\nExecStart={' '.join(argv)}\n"
        ),
        f"{job.name}.timer": f"[Timer]\nOnCalendar={when}\nAccuracySec=1us\n",
    }
