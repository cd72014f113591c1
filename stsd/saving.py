"""When the snapshot is written, and by whom: in the loop if that is a matter of milliseconds, else
by a copy of the daemon. One that fails is told, and tried again; a start can do without it.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Iterator

from structlog.typing import FilteringBoundLogger

from stsd.bookkeeper import Bookkeeper
from stsd.memory import Memory
from stsd.model import Reading
from stsd.twin import Twin, TwinError

# What takes longer than this is done by a copy, for which the loop stands still for a few
# milliseconds at most. So long takes the snapshot of some five hundred jobs.
LONG_S = 0.005
MANY_JOBS = 500
# How long an overdue snapshot waits for a moment at which nobody minds.
PATIENCE_S = 50.0
# How long the last snapshot waits for a copy to be gone.
_PARTING_S = 1.0


class Saving:
    """The snapshots of one daemon. `remember` tells what is to be in them, `boot` is the kernel's
    id of this boot."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        books: Bookkeeper,
        remember: Callable[[], Memory],
        boot: str,
        log: FilteringBoundLogger,
    ) -> None:
        self._selector = selector
        self._books = books
        self._remember = remember
        self._boot = boot
        self._log = log
        self._twin: Twin | None = None
        self._took_s = 0.0
        self._stood_s = 0.0

    def tend(self, now: Reading, leisure: Callable[[], float], jobs: int) -> None:
        """Save what is to be saved by now, at best when the `leisure`, in seconds until something
        is due, is so long that nobody minds; `jobs` is their number. To be called in each turn."""
        if self._twin is not None:
            if self._twin.ended:
                self._settle(self._twin)
            return
        overdue = self._books.snapshot_overdue
        if overdue(now.mono) and (leisure() > 2 * self._stood_s or overdue(now.mono - PATIENCE_S)):
            if self._took_s > LONG_S or jobs > MANY_JOBS:
                self._save_aside(now)
            else:
                self.save(now)
            self._stood_s = time.monotonic() - now.mono

    def save(self, now: Reading) -> None:
        """Save at once, whoever waits."""
        if self._twin is not None:
            self._twin.drop()
            self._twin.join(_PARTING_S)
            self._twin = None
        try:
            self._books.save(self._remember(), self._boot, now)
        except OSError as error:
            self._tell(str(error))
        self._took_s = time.monotonic() - now.mono

    def _save_aside(self, now: Reading) -> None:
        try:
            write = self._books.checkpoint(self._boot, now)
            self._twin = Twin(self._selector, lambda: _written(write, self._remember))
        except OSError as error:
            self._books.not_saved()
            self._tell(str(error))

    def _settle(self, twin: Twin) -> None:
        self._twin = None
        try:
            found = next(twin.findings())
        except TwinError as error:
            found = str(error)
        if isinstance(found, float):
            self._took_s = found
        else:
            self._books.not_saved()
            self._tell(str(found))

    def _tell(self, error: str) -> None:
        self._log.warning("state_not_saved", error=error)


def _written(
    write: Callable[[Memory], None], remember: Callable[[], Memory]
) -> Iterator[float | str]:
    """How many seconds it has taken, or what is wrong; this runs in the copy."""
    begun = time.monotonic()
    try:
        write(remember())
    except OSError as error:
        yield str(error)
    else:
        yield time.monotonic() - begun
