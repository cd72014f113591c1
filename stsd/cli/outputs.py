"""Printing the output of attempts: as it stands, under headings, or line by line with the job's
name before each.

What a job prints is data: on a terminal its control characters are shown, not obeyed.
"""

from __future__ import annotations

import codecs
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import IO

from stsd.cli.common import visible
from stsd.cli.terminal import painted, terminal_of
from stsd.output import output_name

_BLOCK = 1 << 16
_LONGEST_PART = 1 << 12
_SHADES = ("cyan", "green", "yellow")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a run of a job."""

    job: str
    run: str
    number: int

    def __str__(self) -> str:
        return f"{self.run} attempt {self.number}"


class Manner(Enum):
    """How outputs are told from each other."""

    BARE = auto()
    HEADED = auto()
    PREFIXED = auto()


class Output:
    """What an attempt has printed, read from where one left off. The file stays open, so that it
    is read to its end even if it is removed meanwhile."""

    def __init__(self, log_dir: Path, attempt: Attempt) -> None:
        self._path = log_dir / output_name(attempt.job, attempt.run, attempt.number)
        self._file: IO[bytes] | None = None

    def news(self) -> Iterator[bytes]:
        """What has been added since the last call; nothing as long as there is no file."""
        if self._file is None:
            try:
                self._file = self._path.open("rb")
            except FileNotFoundError:  # it is made when there is something to be kept
                return
        # The scribe takes half a line of its own back, where the disk was full.
        self._file.seek(min(self._file.tell(), os.fstat(self._file.fileno()).st_size))
        while block := self._file.read(_BLOCK):
            yield block

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()


class Printer:
    """Prints outputs on standard output. `width` is that of the prefixes; they get as wide as
    the longest name so far."""

    def __init__(self, manner: Manner, width: int = 0) -> None:
        self._manner = manner
        self._width = width
        self._terminal = terminal_of(sys.stdout)
        self._raw = not sys.stdout.isatty()
        self._current: Attempt | None = None
        self._decoders: dict[Attempt, codecs.IncrementalDecoder] = {}
        self._parts: dict[Attempt, bytes] = {}
        self._shades: dict[str, str] = {}

    def head(self, attempt: Attempt) -> None:
        """Say whose output follows, if it is told by headings and was another's before."""
        if attempt == self._current or self._manner is not Manner.HEADED:
            return
        self._current = attempt
        print(painted(f"==> {attempt} <==", "bold", self._terminal), flush=True)

    def print(self, attempt: Attempt, data: bytes) -> None:
        """What an attempt has printed next. With prefixes, the part of a line waits for its end,
        or for so much of it that it is a line in itself."""
        if self._manner is not Manner.PREFIXED:
            self.head(attempt)
            self._put(attempt, data)
            return
        data = self._parts.pop(attempt, b"") + data
        *lines, part = data.split(b"\n")
        for line in lines:
            self._line(attempt, line)
        if len(part) > _LONGEST_PART:
            self._line(attempt, part)
        elif part:
            self._parts[attempt] = part

    def flush(self) -> None:
        """See that all that was printed is seen."""
        sys.stdout.flush()

    def end(self, attempt: Attempt) -> None:
        """Nothing more comes from this attempt."""
        if part := self._parts.pop(attempt, b""):
            self._line(attempt, part)
        if attempt in self._decoders and (rest := self._decoders.pop(attempt).decode(b"", True)):
            sys.stdout.write(visible(rest))

    def _line(self, attempt: Attempt, line: bytes) -> None:
        self._width = max(self._width, len(attempt.job))
        shade = self._shades.setdefault(attempt.job, _SHADES[len(self._shades) % len(_SHADES)])
        prefix = painted(f"{attempt.job:<{self._width}} |", shade, self._terminal)
        self._put(attempt, f"{prefix} ".encode() + line.removesuffix(b"\r") + b"\n", len(prefix))

    def _put(self, attempt: Attempt, data: bytes, ours: int = 0) -> None:
        """`data`, of which the first characters are `ours`."""
        if self._raw:
            sys.stdout.buffer.write(data)
            return
        if attempt not in self._decoders:
            self._decoders[attempt] = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        text = self._decoders[attempt].decode(data)
        sys.stdout.write(text[:ours] + visible(text[ours:]))
