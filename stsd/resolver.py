"""Host names to addresses without blocking: each by a short-lived child, and remembered a while.

Starts few children at a time, however many runs wait for hosts that no name server knows.
"""

from __future__ import annotations

import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stsd.lookup import LONGEST_S

REMEMBERED_S = 30.0
FORGOTTEN_S = 5.0
"""How long a host is not asked for again that could not be found."""

_PROGRAM = str(Path(__file__).with_name("lookup.py"))
_MOST_CHILDREN = 16
_LONGEST_REPLY = 16 * 1024


@dataclass(frozen=True, slots=True)
class Found:
    """The numeric addresses of a host; if there are none, `why` says so."""

    addresses: tuple[str, ...] = ()
    why: str = ""


@dataclass(slots=True)
class _Lookup:
    host: str
    process: subprocess.Popen[bytes]
    reply: int
    wanted: bool = True


class Resolver:
    """`selector` gets a pidfd for each child, with `data`; `clock` counts seconds."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        data: object,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._selector = selector
        self._data = data
        self._clock = clock
        self._lookups: dict[int, _Lookup] = {}
        self._known: dict[str, tuple[float, Found]] = {}

    def known(self, host: str) -> Found | None:
        """What can be said of a host at once: that it is an address itself, what was found a
        moment ago, or that too many are being looked up already."""
        if is_address(host):
            return Found((host,))
        now = self._clock()
        self._known = {name: entry for name, entry in self._known.items() if entry[0] > now}
        if host in self._known:
            return self._known[host][1]
        if len(self._lookups) >= _MOST_CHILDREN:
            return Found(why=f"{_MOST_CHILDREN} other names are being looked up")
        return None

    def ask(self, host: str) -> int:
        """Start looking up a host; returns the pidfd that will be readable. Raises OSError."""
        reply, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            process = _started(host, theirs)
        except OSError:
            os.close(reply)
            raise
        finally:
            os.close(theirs)
        try:
            pidfd = os.pidfd_open(process.pid)
        except OSError:
            process.kill()
            process.wait()
            os.close(reply)
            raise
        self._selector.register(pidfd, selectors.EVENT_READ, self._data)
        self._lookups[pidfd] = _Lookup(host, process, reply)
        return pidfd

    def hear(self, pidfd: int) -> Found | None:
        """What the child of a readable pidfd has found; None if nobody asks any more."""
        lookup = self._lookups.get(pidfd)
        if lookup is None or lookup.process.poll() is None:
            return None
        del self._lookups[pidfd]
        self._selector.unregister(pidfd)
        os.close(pidfd)
        found = _understood(_read(lookup.reply))
        os.close(lookup.reply)
        if not lookup.wanted:
            return None
        lasts = REMEMBERED_S if found.addresses else FORGOTTEN_S
        self._known[lookup.host] = (self._clock() + lasts, found)
        return found

    def drop(self, pidfd: int) -> None:
        """Nobody asks any more; the child is reaped when it has gone."""
        self._lookups[pidfd].wanted = False
        self._lookups[pidfd].process.kill()


def is_address(host: str) -> bool:
    """Whether a host is a numeric address, for which nobody has to be asked."""
    try:
        socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _started(host: str, reply: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", _PROGRAM, host],
        stdin=subprocess.DEVNULL,
        stdout=reply,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={},
        start_new_session=True,
    )


def _read(reply: int) -> bytes:
    try:
        return os.read(reply, _LONGEST_REPLY)
    except BlockingIOError:  # it has ended without a word
        return b""


def _understood(reply: bytes) -> Found:
    lines = reply.decode(errors="replace").splitlines()
    if not lines:
        return Found(why=f"its name could not be looked up within {LONGEST_S} s")
    if lines[0].startswith("-"):
        return Found(why=lines[0][1:2].lower() + lines[0][2:])
    return Found(tuple(line[1:] for line in lines))
