"""Runs the retention of the history in a child of its own, at start-up and once a day.

Compressing and deleting may take minutes; the daemon's loop only starts the child and looks after
it now and then.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping

DAY_S = 86400.0
# When no process could be had for it.
AGAIN_S = 600.0


class Housekeeping:
    """At most one child at a time; `environ` is what it is given."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._child: subprocess.Popen[bytes] | None = None
        self._told = os.memfd_create("housekeeping", os.MFD_CLOEXEC)
        self._due_at = 0.0

    def tend(self, command: Callable[[], list[str]], mono: float) -> str | None:
        """Start the child when it is time. What it said, once it has ended with a failure; or why
        there can be none."""
        if self._child is None:
            return self._begin(command, mono) if mono >= self._due_at else None
        code = self._child.poll()
        if code is None:
            return None
        self._child = None
        return self._last_words() if code else None

    def _begin(self, command: Callable[[], list[str]], mono: float) -> str | None:
        self._due_at = mono + DAY_S
        try:
            self._start(command())
        except OSError as error:
            self._due_at = mono + AGAIN_S
            return f"there is no process for it: {error}"
        return None

    def _start(self, command: list[str]) -> None:
        os.ftruncate(self._told, 0)
        os.lseek(self._told, 0, os.SEEK_SET)
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._told,
            stderr=self._told,
            cwd="/",
            env=self._environ,
            start_new_session=True,
        )

    def _last_words(self) -> str:
        start = max(0, os.fstat(self._told).st_size - 500)
        return os.pread(self._told, 500, start).decode(errors="replace").strip()
