"""One end of a socket on which two processes of stsd tell each other news, as JSON lines.

Never waits. What the other end does not read piles up in no queue: what is said again takes the
place of what was not yet sent, so that only the newest is told, however long that takes.
"""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Iterator

Said = dict[str, object]
"""What one line says: words, each with its news."""

MOST_ITEMS = 1000
"""Of a list that waits to be sent; what comes later is left out."""
LONGEST_LINE = 16 << 20
_AT_ONCE = 1 << 16
_MOST_READS = 16
"""At a time: the loop has other things to do."""


class Wire:
    """This end of a stream socket, which is made non-blocking. Once `ended`, the other end says
    nothing any more, though it may still listen; what is told to nobody is dropped."""

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self.socket = end
        self.ended = False
        self._is_heard = True
        self._untold: Said = {}
        self._unsent = b""
        self._read = bytearray()

    @property
    def has_unsent(self) -> bool:
        """Whether `flush` has anything to do, now or when there is room."""
        return bool(self._unsent or self._untold) and self._is_heard

    @property
    def wanted(self) -> int:
        """The events of `selectors` to wait for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self.has_unsent else 0)

    def tell(self, word: str, news: object) -> None:
        """Tell it with the next line. Of a word that waits already, objects are merged, lists are
        joined, and anything else is replaced."""
        before = self._untold.get(word)
        if isinstance(news, dict) and isinstance(before, dict):
            news = {**before, **news}
        elif isinstance(news, list) and isinstance(before, list):
            news = [*before, *news][:MOST_ITEMS]
        self._untold[word] = news

    def flush(self) -> None:
        """Send as much as there is room for."""
        while self.has_unsent:
            if not self._unsent:
                self._unsent = json.dumps(self._untold, separators=(",", ":")).encode() + b"\n"
                self._untold = {}
            try:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
            except BlockingIOError:
                return
            except OSError:  # nobody is there, or there is no memory for it
                self._is_heard = False
                self.ended = True

    def heard(self) -> Iterator[Said]:
        """What has come since the last call, or some of it, line by line. What is no JSON object
        is the end of it all."""
        for _ in range(_MOST_READS):
            try:
                piece = self.socket.recv(_AT_ONCE)
            except BlockingIOError:
                break
            except OSError:
                piece = b""
            self._read += piece
            if not piece or len(self._read) > LONGEST_LINE:
                self.ended = True
                break
        whole, newline, rest = self._read.rpartition(b"\n")
        self._read = rest
        for line in bytes(whole).split(b"\n") if newline else ():
            said = _parsed(line)
            if said is None:
                self.ended = True
                return
            yield said

    def close(self) -> None:
        """Hang up."""
        self.socket.close()


def _parsed(line: bytes) -> Said | None:
    try:
        said = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return said if isinstance(said, dict) else None
