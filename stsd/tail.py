"""The end of the run history: the records that are added while one looks on.

Goes on from segment to segment at midnight (UTC), and to the new file where a rotation has taken
the old one away. Waits for nothing and changes no file.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import IO

from stsd.archive import tail_position
from stsd.segments import Damaged, Record, batches, parsed, readable, segments


class Tail:
    """Follows the history of one log folder, from the end that it has now."""

    def __init__(self, log_dir: Path, damaged: Damaged) -> None:
        self._log_dir = log_dir
        self._damaged = damaged
        self._day = date.min
        self._path = Path()
        self._file: IO[bytes] | None = None
        found = segments(log_dir)
        if found:
            self._day = found[-1].day
        position = tail_position(log_dir)
        if position is not None:
            self._open(log_dir / "history" / position[0], position[1])

    def close(self) -> None:
        """Let go of the segment that is open."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def news(self) -> Iterator[Record]:
        """The records that have been added since the last call, in the order in which they were
        written. What was cut back and written anew, after a disk had failed, may come twice."""
        yield from self._rest()
        while (following := self._following()) is not None:
            yield from self._rest()  # nobody appends to it once there is another one
            self._open(following, 0)
            yield from self._rest()

    def _following(self) -> Path | None:
        """The file that goes on where the open one ends, if there is one by now."""
        if self._file is not None and _is_another(self._path, self._file):
            return self._path
        for segment in segments(self._log_dir):
            if segment.day > self._day:
                self._day = segment.day
                return segment.parts[0]
        return None

    def _open(self, path: Path, offset: int) -> None:
        self.close()
        try:
            self._file = path.open("rb")
        except FileNotFoundError:  # removed since; the next one is looked for
            return
        self._path = path
        self._file.seek(offset)

    def _rest(self) -> Iterator[Record]:
        """What the open segment has besides what has been read."""
        if self._file is None:
            return
        self._file.seek(min(self._file.tell(), os.fstat(self._file.fileno()).st_size))
        for lines in readable(self._path, batches(self._path, self._file), self._damaged):
            if not lines[-1].endswith(b"\n"):
                self._file.seek(-len(lines.pop()), os.SEEK_CUR)  # it is being written
            for line, record in zip(lines, parsed(lines), strict=True):
                if record is None:
                    self._damaged(self._path, line)
                else:
                    yield record


def _is_another(path: Path, file: IO[bytes]) -> bool:
    """Whether there is a file of this name that is not the open one."""
    ours = os.fstat(file.fileno())
    try:
        named = path.stat()
    except FileNotFoundError:
        return False
    return (ours.st_dev, ours.st_ino) != (named.st_dev, named.st_ino)
