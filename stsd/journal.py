"""systemd's journal, spoken to in its own words: a datagram an entry, each field by itself.

The protocol is https://systemd.io/JOURNAL_NATIVE_PROTOCOL/. Nothing here blocks the loop, and
nothing here raises into it: what journald cannot take at once is held back and tried again, and
what is beyond HELD_BYTES is lost, which is told before the next entry that finds room.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

ADDRESS = "/run/systemd/journal/socket"
HELD_BYTES = 4 << 20
LONGEST_VALUE = 32 << 10

_BUSY = (BlockingIOError, ConnectionRefusedError, FileNotFoundError)
_LENGTH_BYTES = 8
_WARNING = 4
_PAUSE_S = 0.02


def leads_to_journal(stream: TextIO, environ: Mapping[str, str], address: str = ADDRESS) -> bool:
    """Whether what is written to the stream ends up in the journal, by device and inode of
    $JOURNAL_STREAM (systemd.exec(5)), and the journal can be spoken to."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or none of the kernel's
        return False
    named = environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
    return named and Path(address).is_socket()


def entry(fields: Mapping[str, str | int]) -> bytes:
    """The fields as a datagram has them, without the last line break. Values are cut at
    LONGEST_VALUE bytes, so that an entry always fits into one."""
    return b"\n".join(_field(name, str(value)) for name, value in fields.items())


def _field(name: str, value: str) -> bytes:
    data = value.encode(errors="backslashreplace")[:LONGEST_VALUE]
    if b"\n" not in data:
        return b"%s=%s" % (name.encode(), data)
    return b"%s\n%s%s" % (name.encode(), len(data).to_bytes(_LENGTH_BYTES, "little"), data)


class Journal:
    """A place for log entries, with what structlog's BytesLogger asks of a file."""

    def __init__(self, address: str = ADDRESS) -> None:
        """`address` is the path of journald's socket; it may come and go."""
        self._address = address
        self._line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._line.setblocking(False)
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._lost = 0

    def write(self, text: bytes) -> None:
        """Take an entry; `flush` sends it."""
        if self._held_bytes + len(text) > HELD_BYTES:
            self._lost += 1
            return
        if self._lost:
            self._hold(_loss(self._lost) + b"\n")
            self._lost = 0
        self._hold(text)

    def flush(self, patience: float = 0.0) -> None:
        """Send what is held back, as far as journald takes it within so many seconds."""
        until = time.monotonic() + patience
        while self._held:
            if self._gone(self._held[0]):
                self._held_bytes -= len(self._held.popleft())
                continue
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _PAUSE_S))  # without a connection there is nothing to wait for

    def reopen(self) -> None:
        """Nothing: the socket is found by its name each time."""

    def descriptors(self) -> tuple[int, ...]:
        """What must stay open when the process leaves its terminal."""
        return (self._line.fileno(),)

    def _hold(self, text: bytes) -> None:
        self._held.append(text)
        self._held_bytes += len(text)

    def _gone(self, text: bytes) -> bool:
        """Whether the entry is on its way, or can never be."""
        try:
            self._line.sendto(text, self._address)
        except _BUSY:
            return False
        except OSError:
            self._lost += 1
        return True


def _loss(count: int) -> bytes:
    words = {"MESSAGE": f"log_lines_lost count={count}", "STSD_EVENT": "log_lines_lost"}
    return entry({**words, "PRIORITY": _WARNING, "SYSLOG_IDENTIFIER": "stsd", "STSD_COUNT": count})
