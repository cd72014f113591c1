"""The children that tell people (`stsd.deliver`): each gets what it is to carry out, is listened
to, and is killed when it takes too long.

Decides nothing, and never waits. What a child has not answered for when it ends has failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stsd.child import process_of
from stsd.link import let_go, memory_file

Item = Mapping[str, Any]
"""What is to be carried out, as a JSON object with an `id`; see `stsd.parcel`."""

_AT_ONCE = 1 << 16
_LONGEST_ANSWER = 1 << 16
_ENDED = os.WEXITED | os.WNOHANG


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of an item, as its child says: whether it was told (`ok`), whether it never will
    be (`hopeless`), to whom and what came back, both without secrets. `unsure`: it may have been
    told, as when the child has ended without a word."""

    id: str
    ok: bool
    said: str
    place: str = ""
    hopeless: bool = False
    unsure: bool = False


@dataclass(slots=True)
class _Courier:
    """A child; `open` are the items that it has not answered for, `answers` is where it does."""

    pid: int
    pidfd: int
    answers: int
    until: float
    open: dict[str, None]
    complaints: int
    heard: bytearray = field(default_factory=bytearray)
    late: bool = False


class Couriers:
    """All children that are under way. `selector` gets their descriptors with this object as their
    data; `environ` is what they are given."""

    def __init__(self, selector: selectors.BaseSelector, environ: Mapping[str, str]) -> None:
        self._selector = selector
        self._environ = environ
        self._by_fd: dict[int, _Courier] = {}

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._all())

    def send(self, items: Sequence[Item], until: float) -> None:
        """Send out a child with these items; at `until`, on the monotonic clock, it is killed.
        Raises OSError."""
        lines = "".join(f"{json.dumps(item)}\n" for item in items)
        given = memory_file("items", lines.encode())
        complaints = memory_file("complaints", b"")
        answers, theirs = os.pipe2(os.O_CLOEXEC)
        try:
            process = subprocess.Popen(
                process_of("deliver"),
                stdin=given,
                stdout=theirs,
                stderr=complaints,
                cwd="/",
                env=self._environ,
                start_new_session=True,  # what it has started is killed with it
            )
            pid = let_go(process)
            pidfd = os.pidfd_open(pid)
        except OSError:
            os.close(answers)
            os.close(complaints)
            raise
        finally:
            os.close(given)
            os.close(theirs)
        os.set_blocking(answers, False)
        expected = dict.fromkeys(str(item["id"]) for item in items)
        courier = _Courier(pid, pidfd, answers, until, expected, complaints)
        for fd in (pidfd, answers):
            self._selector.register(fd, selectors.EVENT_READ, self)
            self._by_fd[fd] = courier

    def hear(self, fd: int) -> list[Answered]:
        """What a descriptor that is ready has to tell."""
        courier = self._by_fd.get(fd)
        if courier is None:
            return []
        has_ended = os.waitid(os.P_PIDFD, courier.pidfd, _ENDED | os.WNOWAIT) is not None
        told = list(self._read(courier))  # its last word is there once it has ended, not before
        if has_ended:
            _kill(courier)
            _, status = os.waitpid(courier.pid, 0)
            told += self._over(courier, os.waitstatus_to_exitcode(status))
        return told

    def tend(self, mono: float) -> None:
        """Kill those that are late; how they end is heard."""
        for courier in self._all():
            if mono >= courier.until and not courier.late:
                courier.late = True
                _kill(courier)

    def due(self) -> float | None:
        """When `tend` is to be called again, on the monotonic clock."""
        return min((each.until for each in self._all() if not each.late), default=None)

    def close(self) -> None:
        """Kill all that are under way."""
        for courier in self._all():
            _kill(courier)
            os.waitpid(courier.pid, 0)
            self._forget(courier)

    def _all(self) -> list[_Courier]:
        return [courier for fd, courier in self._by_fd.items() if fd == courier.pidfd]

    def _read(self, courier: _Courier) -> Iterator[Answered]:
        while courier.answers in self._by_fd:
            try:
                piece = os.read(courier.answers, _AT_ONCE)
            except BlockingIOError:
                break
            courier.heard += piece
            if not piece or len(courier.heard) > _LONGEST_ANSWER + _AT_ONCE:
                self._drop(courier.answers)
        *lines, rest = bytes(courier.heard).split(b"\n")
        courier.heard = bytearray(rest)
        for line in lines:
            answered = _answered(line)
            if answered is not None and answered.id in courier.open:
                del courier.open[answered.id]
                yield answered

    def _over(self, courier: _Courier, code: int) -> Iterator[Answered]:
        if courier.late:
            why = "it took too long"
        elif code < 0:
            why = f"the process that was to do it was killed (signal {-code})"
        else:
            last = _last_word(courier.complaints)
            why = f"the process that was to do it ended with exit code {code}"
            why += f" ({last})" if last else ""
        self._forget(courier)
        return (Answered(item, ok=False, said=why, unsure=True) for item in courier.open)

    def _forget(self, courier: _Courier) -> None:
        for fd in (courier.pidfd, courier.answers):
            if fd in self._by_fd:
                self._drop(fd)
        os.close(courier.complaints)

    def _drop(self, fd: int) -> None:
        del self._by_fd[fd]
        self._selector.unregister(fd)
        os.close(fd)


def _kill(courier: _Courier) -> None:
    """With whatever it has started, or left behind: as long as it is not reaped, its process group
    is its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # nothing of it is left, or ours
        os.killpg(courier.pid, signal.SIGKILL)


def _answered(line: bytes) -> Answered | None:
    try:
        told = json.loads(line)
        return Answered(
            id=str(told["id"]),
            ok=bool(told["ok"]),
            said=str(told["said"]),
            place=str(told.get("place", "")),
            hopeless=bool(told.get("hopeless", False)),
            unsure=bool(told.get("unsure", False)),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _last_word(complaints: int) -> str:
    """Which error ended a child, by the last line of its traceback; what follows the name is left
    out, since it may quote anything."""
    start = max(0, os.fstat(complaints).st_size - _AT_ONCE)
    lines: Iterable[str] = (
        os.pread(complaints, _AT_ONCE, start).decode(errors="replace").split("\n")
    )
    last = next((line for line in reversed(list(lines)) if line.strip()), "")
    name = last.partition(":")[0].rpartition(".")[2]
    return name if name.isidentifier() else ""
