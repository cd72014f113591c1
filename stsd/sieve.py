"""What is kept of what a child prints: the bounds of a file, masked secrets, lines for the log.

Knows no process, no pipe and no daemon: bytes go in. Runs in the scribe, and so imports nothing
that takes long to import.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections import deque

TAIL = 1 << 16
"""Bytes of the end that are kept of an output which is too long, unless that is more than half."""
NEAR = 1 << 12
"""How far from where it should be an output may be cut, so that it is cut at the end of a line."""
SMALL = 1 << 12
RETRY_S = 1.0
"""How long a file is left alone that could not be written."""
MASK = b"***"
LINE_MAX = 1 << 12
LINES_A_SECOND = 100


class KeptFile:
    """What is kept of one attempt's output: its head goes to the file at once, its tail stays in
    memory until the end, and what lies between is counted.

    While the file cannot be written, the output is held like a tail, and tried again. `kept` and
    `lost` are bytes of the output; `trouble` is why the last write failed.
    """

    def __init__(self, path: bytes, max_size: int) -> None:
        self._path = path
        self._left = max_size
        self._tail = min(TAIL, max_size // 2)
        self._near = min(NEAR, max_size // 16)
        self._fd = -1
        self._held: deque[bytes | bytearray] = deque()
        self._held_size = 0
        self._gap = 0
        self._at_line_start = True
        self._retry_at = 0.0
        self.kept = 0
        self.lost = 0
        self.trouble = ""

    def add(self, data: bytes) -> None:
        """Take in what comes next."""
        room = self._left - self._tail
        if self.trouble and room > self._near and time.monotonic() >= self._retry_at:
            self._catch_up()
            room = self._left - self._tail
        full = room <= (self._near if self._at_line_start else 0)
        if full or self._held_size or self._gap:
            self._hold(data)
        elif len(data) <= room:
            self._hold_rest(data, self._write(data))
        else:
            cut = data.rfind(b"\n", max(0, room - self._near), room) + 1 or room
            self._hold_rest(data, self._write(data[:cut]))

    def end(self) -> None:
        """Write what is held; nothing is added any more."""
        if self._held_size or self._gap:
            self._catch_up()
        self.lost += self._gap + self._held_size
        self._held.clear()
        if self._fd >= 0:
            os.close(self._fd)

    @property
    def _capacity(self) -> int:
        """How much may be held: when the head is full, all that the file may still take."""
        return min(self._left, self._tail + self._near)

    def _hold_rest(self, data: bytes, written: int) -> None:
        if written < len(data):
            self._hold(data[written:])

    def _hold(self, data: bytes) -> None:
        """Small pieces are put together, large ones are not copied: an endless output costs next
        to nothing here."""
        last = self._held[-1] if self._held else b""
        if len(data) >= SMALL:
            self._held.append(data)
        elif isinstance(last, bytearray) and len(last) < SMALL:
            last += data
        else:
            self._held.append(bytearray(data))
        self._held_size += len(data)
        while self._held and self._held_size - len(self._held[0]) >= self._capacity:
            dropped = len(self._held.popleft())
            self._held_size -= dropped
            self._gap += dropped

    def _catch_up(self) -> None:
        """Write what is held, behind a line that tells how much is missing before it."""
        if self._left == 0:
            return
        held = b"".join(self._held)
        over = max(0, len(held) - self._capacity)
        if self._gap or over:
            over = held.find(b"\n", over, over + self._near) + 1 or over
        missing = self._gap + over
        if missing and not self._mark(missing):
            return
        self.lost += missing
        self._gap = 0
        rest = held[over + self._write(held[over:]) :]
        self._held = deque([rest] if rest else [])
        self._held_size = len(rest)

    def _mark(self, missing: int) -> bool:
        begin = "" if self._at_line_start else "\n"
        line = f"{begin}[stsd: {missing:,} bytes left out here]\n".encode()
        written = self._append(line)
        if written < len(line):
            self._take_back(written)
            return False
        self._at_line_start = True
        return True

    def _take_back(self, written: int) -> None:
        """Half a line of stsd's own helps nobody, and would be there again after the next try."""
        if written:
            try:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - written)
            except OSError as error:
                self.trouble = error.strerror or str(error)

    def _write(self, data: bytes) -> int:
        """Append bytes of the output; how many were written."""
        written = self._append(data)
        if written:
            self.kept += written
            self._left -= written
            self._at_line_start = data[written - 1] == 0x0A
        return written

    def _append(self, data: bytes) -> int:
        done = 0
        try:
            if self._fd < 0:
                self._fd = _open_file(self._path)
            done = os.write(self._fd, data)
            while done < len(data):  # a short write does not say why; the next one does
                done += os.write(self._fd, data[done:])
        except OSError as error:
            self.trouble = error.strerror or str(error)
            self._retry_at = time.monotonic() + RETRY_S
        else:
            self.trouble = ""
        return done


def _open_file(path: bytes) -> int:
    """Append to the file, in a folder that may have to be made. Raises OSError.

    The shared lock tells that somebody still writes into it, however old it looks.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        fd = os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        fd = os.open(path, flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
    except OSError:
        os.close(fd)
        raise
    return fd


class Masker:
    """Puts MASK in the place of secrets, wherever the output is cut into pieces.

    Holds back only what may be the beginning of a secret. Where secrets overlap, all that belongs
    to any of them is masked.
    """

    def __init__(self, secrets: list[bytes]) -> None:
        self._secrets = secrets
        self._held = b""
        self._masked = 0  # bytes at the head of what is held for which a MASK has gone out

    def feed(self, data: bytes, last: bool = False) -> bytes:
        """What can be told by now; with the `last` piece, all the rest."""
        data = self._held + data
        end = len(data) if last else self._doubtful_from(data)
        spans = self._spans(data)
        if not spans:
            self._held = data[end:]
            return data[:end] if self._held else data
        shown: list[bytes] = []
        position = 0
        for start, stop in spans:
            if start > 0 or not self._masked:
                if start >= end:
                    break
                shown += (data[position:start], MASK)
            position = stop
        shown.append(data[position:end])
        self._held, self._masked = data[end:], max(0, position - end)
        return b"".join(shown)

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        """Where secrets are, in order and apart from each other."""
        found = [(0, self._masked)] if self._masked else []
        for secret in self._secrets:
            at = data.find(secret)
            while at >= 0:
                found.append((at, at + len(secret)))
                at = data.find(secret, at + 1)
        found.sort()
        spans: list[tuple[int, int]] = []
        for start, stop in found:
            if spans and start < spans[-1][1]:
                start, before = spans.pop()
                stop = max(before, stop)
            spans.append((start, stop))
        return spans

    def _doubtful_from(self, data: bytes) -> int:
        """Where the first secret may begin whose end has not come yet."""
        first = len(data)
        for secret in self._secrets:
            at = data.find(secret[:1], max(0, len(data) - len(secret) + 1), first)
            while at >= 0 and not secret.startswith(data[at:]):
                at = data.find(secret[:1], at + 1, first)
            first = at if at >= 0 else first
        return first


class Lines:
    """Cuts an output into lines for the log: complete ones, of at most LINE_MAX bytes, and at most
    LINES_A_SECOND; then one that tells how many were left out."""

    def __init__(self) -> None:
        self._part = bytearray()
        self._second_ends = 0.0
        self._told = 0
        self._dropped = 0

    def feed(self, data: bytes, now: float, crowded: bool) -> list[bytes]:
        """The lines that are complete now; if it is `crowded`, they are dropped."""
        lines: list[bytes] = []
        if now >= self._second_ends and not crowded:
            lines += self._gap()
            self._second_ends, self._told = now + 1.0, 0
        position = 0
        while (end := data.find(b"\n", position)) >= 0:
            if crowded or self._told >= LINES_A_SECOND:
                self._dropped += data.count(b"\n", position)
                self._part.clear()
                position = data.rfind(b"\n") + 1
                break
            self._take(data, position, end)
            lines.append(self._line())
            self._told += 1
            position = end + 1
        self._take(data, position, len(data))
        return lines

    def end(self) -> list[bytes]:
        """What was not complete, and how many were left out."""
        return ([self._line()] if self._part else []) + self._gap()

    def _take(self, data: bytes, start: int, end: int) -> None:
        self._part += data[start : min(end, start + LINE_MAX + 1 - len(self._part))]

    def _line(self) -> bytes:
        line = bytes(self._part)
        self._part.clear()
        return line[:LINE_MAX] + "…".encode() if len(line) > LINE_MAX else line.rstrip(b"\r")

    def _gap(self) -> list[bytes]:
        dropped, self._dropped = self._dropped, 0
        return [b"[stsd: %d lines left out here]" % dropped] if dropped else []
