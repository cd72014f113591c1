"""The books on the disk: records, their safety, the snapshot, and what to do when the disk fails.

Never lets go of a record: what cannot be written is kept and tried again until it can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from stsd import snapshot
from stsd.history import History
from stsd.memory import Memory
from stsd.messages import Committed, DiskBack, DiskFailed
from stsd.model import Reading
from stsd.places import Places
from stsd.records import Intent, Record
from stsd.snapshot import Snapshot

# How much of the outcomes a power cut may take; intents are safe before anything starts.
OUTCOMES_S = 1.0
RETRY_S = 1.0
SNAPSHOT_S = 10.0

Word = Committed | DiskFailed | DiskBack


class Bookkeeper:
    """The history and the snapshot of one daemon; `mono` is the monotonic clock's reading."""

    def __init__(self, places: Places, mono: float) -> None:
        self._state_dir = places.state_dir
        self._history = History(places.log_dir)
        self._unsafe_since: float | None = None
        self._saved_at = mono
        self._touched = False
        self._failing = False
        self._tried_at = mono
        self._owing = False
        self._untold: DiskFailed | None = None

    def note(self, record: Record, mono: float) -> dict[str, object]:
        """Take down a record, which is in the file after the next `tend`; returns its fields."""
        self._touched = True
        if self._unsafe_since is None:
            self._unsafe_since = mono
        return self._history.append(record)

    def commit(self, intents: Iterable[Intent], mono: float) -> Committed | DiskFailed:
        """Bring these intents, and all before them, to the disk for good. If that fails they stay
        in the queue, and a later `tend` tells of their arrival."""
        for intent in intents:
            self.note(intent, mono)
        self._owing = True
        return self._synced(mono) or self._paid()

    def tend(self, mono: float) -> list[Word]:
        """Write what waits, and see it safe in time; to be called at the end of each turn. Tells
        of each failure once, also of one that a `commit` or `save` has met."""
        words: list[Word] = []
        if self._failing:
            words = self._try_again(mono)
        elif self._unsafe_since is not None and mono >= self._unsafe_since + OUTCOMES_S:
            self._synced(mono)
        else:
            self._flushed(mono)
        untold, self._untold = self._untold, None
        return [untold, *words] if untold else words

    def patience(self, mono: float) -> float | None:
        """In how many seconds `tend` wants to be called again; None: when something happens."""
        if self._failing:
            return self._tried_at + RETRY_S - mono
        return None if self._unsafe_since is None else self._unsafe_since + OUTCOMES_S - mono

    @property
    def failing(self) -> bool:
        """Whether records wait in memory alone, for a disk that does not take them."""
        return self._failing

    def snapshot_overdue(self, mono: float) -> bool:
        """Whether it is time for another snapshot."""
        return self._touched and not self._failing and mono >= self._saved_at + SNAPSHOT_S

    def save(self, memory: Memory, boot: str, now: Reading) -> None:
        """Replace the snapshot; `boot` is the kernel's id of this boot. Raises OSError; a start can
        do with the history alone."""
        write = self.checkpoint(boot, now)
        try:
            write(memory)
        except OSError:
            self.not_saved()
            raise

    def checkpoint(self, boot: str, now: Reading) -> Callable[[Memory], None]:
        """See to it that all records are safe, and return what writes the snapshot that goes with
        them, of the memory as it is now; that may be called in a copy of this process. Both raise
        OSError; if the second does, `not_saved` is to be called."""
        self._saved_at = now.mono
        try:
            self._history.sync()
        except OSError as error:
            self._failed(error, now.mono)
            raise
        self._unsafe_since = None
        self._touched = False
        position = self._history.position()

        def write(memory: Memory) -> None:
            alive = {run: replace(attempt, boot=boot) for run, attempt in memory.open.items()}
            whole = replace(memory, open=alive, boot=boot)
            snapshot.save(self._state_dir, Snapshot(whole, position), now.wall)

        return write

    def not_saved(self) -> None:
        """There is no snapshot of the last checkpoint: it is to be tried again."""
        self._touched = True

    def reopen(self) -> None:
        """Open the history's segment by its name again. Raises OSError."""
        self._history.reopen()

    def _try_again(self, mono: float) -> list[Word]:
        if mono < self._tried_at + RETRY_S or self._synced(mono) is not None:
            return []
        self._failing = False
        return [self._paid(), DiskBack()] if self._owing else [DiskBack()]

    def _paid(self) -> Committed:
        self._owing = False
        return Committed()

    def _flushed(self, mono: float) -> None:
        try:
            self._history.flush()
        except OSError as error:
            self._failed(error, mono)

    def _synced(self, mono: float) -> DiskFailed | None:
        try:
            self._history.sync()
        except OSError as error:
            return self._failed(error, mono)
        self._unsafe_since = None
        return None

    def _failed(self, error: OSError, mono: float) -> DiskFailed:
        failure = DiskFailed(str(error))
        if not self._failing:
            self._untold = failure
        self._tried_at = mono
        self._failing = True
        return failure
