"""Which processes must not outlive the daemon: noted in the state folder for as long as they run,
so that the next daemon finds those of one that was killed, and ends them.

A note is a symbolic link, made by one system call: `PID -> BOOT:BORN:RUN`. It is no record: what
cannot be noted is run all the same, and nothing is ever done to a process that is not certainly
the one that was noted.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from stsd.recovery import boot_id, born


class Traces:
    """The notes in one folder, which is made when it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._boot = boot_id()

    def leave(self, pid: int, run_id: str) -> None:
        """Note the leader of a process group that does something for a run."""
        # On a full disk a condition that might be orphaned is better than one that is not asked.
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self.wipe(pid)  # that of a namesake, which could not be wiped
            os.symlink(f"{self._boot}:{born(pid)}:{run_id}", self._folder / str(pid))

    def wipe(self, pid: int) -> None:
        """It has ended, or is about to; no error if it was not noted."""
        with contextlib.suppress(OSError):  # `sweep` knows a note that is out of date
            os.unlink(self._folder / str(pid))

    def sweep(self) -> list[str]:
        """Kill the groups of all that was noted and goes on; the runs that they were for."""
        return [run_id for pid, run_id in self._noted() if self._ended(pid)]

    def _noted(self) -> list[tuple[int, str]]:
        """What was noted and is still alive; all notes are wiped."""
        found = []
        for path in sorted(self._folder.glob("*")):
            if not path.name.isdecimal():
                continue
            pid, (boot, birth, run_id) = int(path.name), _read(path)
            if boot == self._boot and birth.isdecimal() and int(birth) == born(pid):
                found.append((pid, run_id))
            self.wipe(pid)
        return found

    @staticmethod
    def _ended(pid: int) -> bool:
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # just gone, or another user's by setuid
            return False
        return True


def _read(path: Path) -> tuple[str, str, str]:
    try:
        boot, birth, run_id = os.readlink(path).split(":", 2)
    except (OSError, ValueError):  # none of stsd's
        return "", "", ""
    return boot, birth, run_id
