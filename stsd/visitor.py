"""One client of the control socket: the bytes that come and go, and for how long it is put up with.

Reads and writes what goes at once, and never waits. Knows lines, and nothing of what they say.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections import deque

from stsd.peers import Peer
from stsd.protocol import LONGEST_LINE

REQUEST_S = 10.0
"""How long a request may take from its first byte to its last."""
READING_S = 10.0
"""How long a client may take no byte of what there is for it."""
IDLE_S = 300.0
"""How long it may ask nothing."""
MOST_UNSENT = 1 << 20
"""Bytes that may lie ready for a client when a further line comes."""
_MOST_DESCRIPTORS = 16


class Visitor:
    """A connection, which is not blocking. `events` is what the selector tells of it at present;
    `gone`, that there is nobody to talk to any more; `waiting`, that its request is not over, and
    goes on for as long as it listens; `owed`, that an answer is under way which it need not wait
    for with an open ear.
    """

    def __init__(self, connection: socket.socket, peer: Peer, mono: float) -> None:
        self.connection = connection
        self.peer = peer
        self.events = 0
        self.gone = False
        self.waiting = False
        self.owed = False
        self._received = bytearray()
        self._unsent: deque[tuple[bytes, int | None]] = deque()
        self._unsent_bytes = 0
        self._over = False
        self._last_words = False
        self._since = mono

    @property
    def has_request(self) -> bool:
        """Whether a line is there that can be answered now: one after the other."""
        busy = self.waiting or self.owed
        free = not (busy or self._unsent or self._last_words or self.gone)
        return free and b"\n" in self._received

    @property
    def has_unsent(self) -> bool:
        """Whether it has yet to take what there is for it."""
        return bool(self._unsent)

    @property
    def is_too_long(self) -> bool:
        """Whether more has come than a line may be long, or than fits while it waits."""
        if self._last_words:
            return False
        busy = self.waiting or self.owed
        return len(self._received) > LONGEST_LINE and (busy or b"\n" not in self._received)

    @property
    def shut(self) -> bool:
        """Whether it can be closed: all is said, or it has left."""
        if self.gone:
            return True
        if self._unsent or self.owed:
            return False
        return self._last_words or (self._over and (self.waiting or not self.has_request))

    @property
    def wanted(self) -> int:
        """What the selector should tell of it."""
        full = self._over or self._last_words or len(self._received) > LONGEST_LINE
        reading = 0 if full else selectors.EVENT_READ
        return reading | (selectors.EVENT_WRITE if self._unsent else 0)

    def read(self, mono: float) -> None:
        """Take what has come, but no more than the longest line has room for."""
        if not self.wanted & selectors.EVENT_READ:
            return
        try:
            data = self.connection.recv(LONGEST_LINE + 1 - len(self._received))
        except BlockingIOError:
            return
        except OSError:
            self.gone = True
            return
        if not data:
            self._over = True
        elif not self._received:
            self._since = mono
        self._received += data

    def take(self, mono: float) -> bytes:
        """The next line, if it `has_request`."""
        line, _, rest = self._received.partition(b"\n")
        self._received = rest
        self._since = mono
        return bytes(line)

    def put(self, line: bytes, mono: float, descriptor: int | None = None) -> None:
        """Send a line, with a descriptor, which is this object's to close from now on."""
        if not self._unsent:
            self._since = mono
        held = sum(1 for _, fd in self._unsent if fd is not None)
        self._unsent.append((line, descriptor))
        if self._unsent_bytes > MOST_UNSENT or held >= _MOST_DESCRIPTORS:
            self.gone = True  # it does not read
            return
        self._unsent_bytes += len(line)
        self.write(mono)

    def dismiss(self, line: bytes, mono: float) -> None:
        """Send a last line; nothing more is read, and it is shut when that is sent."""
        self.put(line, mono)
        self._last_words = True

    def write(self, mono: float) -> None:
        """Send what goes."""
        while self._unsent and not self.gone:
            line, descriptor = self._unsent[0]
            try:
                if descriptor is None:
                    sent = self.connection.send(line)
                else:
                    sent = socket.send_fds(self.connection, [line], [descriptor])
                    os.close(descriptor)
            except BlockingIOError:
                return
            except OSError:
                self.gone = True
                return
            self._since = mono
            self._unsent_bytes -= sent
            if sent < len(line):
                self._unsent[0] = (line[sent:], None)
            else:
                self._unsent.popleft()

    def deadline(self) -> float | None:
        """Until when (CLOCK_MONOTONIC) something must have come of it; None: it waits for us."""
        if self._unsent:
            return self._since + READING_S
        if self.waiting or self.owed or self.has_request:
            return None
        return self._since + (REQUEST_S if self._received else IDLE_S)

    def close(self) -> None:
        """Hang up."""
        self.connection.close()
        while self._unsent:
            _, descriptor = self._unsent.popleft()
            if descriptor is not None:
                os.close(descriptor)
