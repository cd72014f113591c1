"""Reaps the children that are not stsd's own: orphans, which the kernel hands to stsd because it
asked for them (the launcher makes its children that way), or because it is process 1 of a
container.

Whatever is stsd's own leads a session, and is waited for by whoever started it, soon after it has
ended. So an orphan that leads no session is known at once, another one by nobody's waiting for it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from math import inf
from pathlib import Path

# How long one that could be stsd's own is left to its owner.
PATIENCE_S = 10.0
# How often they are looked for: while many runs end, some child of stsd's own always has.
PAUSE_S = 0.1


class Strangers:
    """The strangers of one process. `disowned` are children of its own that nobody waits for."""

    def __init__(self, disowned: set[int]) -> None:
        self._disowned = disowned
        self._seen: dict[int, float] = {}
        self._look_at = -inf

    def reap(self, mono: float) -> None:
        """Reap those that have ended, unless the last look was less than PAUSE_S ago. To be called
        after the owners have had a chance to reap what is theirs; `mono` is the monotonic clock."""
        if mono < self._look_at:
            return
        self._look_at = mono + PAUSE_S
        if _peek(os.P_ALL, 0) is None:
            self._seen.clear()
            return
        ended = [pid for pid in _children() if _peek(os.P_PID, pid) is not None]
        self._seen = {pid: self._seen.get(pid, mono) for pid in ended}
        for pid in ended:
            if self._is_stranger(pid, mono):
                os.waitpid(pid, 0)
                self._disowned.discard(pid)

    def _is_stranger(self, pid: int, mono: float) -> bool:
        return (
            pid in self._disowned or os.getsid(pid) != pid or mono - self._seen[pid] >= PATIENCE_S
        )


def _peek(kind: int, pid: int) -> os.waitid_result | None:
    """A child that has ended, and is left to be waited for."""
    with contextlib.suppress(ChildProcessError):
        return os.waitid(kind, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return None


def _children() -> Iterable[int]:
    """The children of this process; proc_pid_task_children(5). It has but one thread."""
    pid = os.getpid()
    return map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
