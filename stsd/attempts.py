"""The attempts of runs, as the records tell of them: numbered, each begun once, and ended.

Remembers the runs that have not ended, and nothing of those that have. Looks at no process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from stsd.books import Kind
from stsd.model import Outcome

_NEEDED = {
    "intent": ("attempt",),
    "started": ("attempt", "pid", "born"),
    "finished": ("attempt", "outcome", "started", "will_retry_at"),
}

Fault = tuple[Kind, str]


class Phase(Enum):
    """Where the last attempt of a run stands."""

    INTENDED = auto()
    STARTED = auto()
    OVER = auto()  # and another one is to follow; a run begins so, with attempt 0


@dataclass(slots=True)
class Live:
    """A run whose end has not been seen. `era` numbers the daemon that wrote last of it, `boot`
    is the boot in which that one ran; `pid` and `born` are of the last process."""

    run: str
    job: str
    at: int
    attempt: int
    phase: Phase
    era: int
    boot: str
    pid: int = 0
    born: int = 0


def check(record: Mapping[str, Any]) -> None:
    """Raises KeyError or TypeError unless `follow` can read the record."""
    for name in _NEEDED[record["event"]]:
        record[name]
    for name in ("attempt", "pid", "born"):
        if not isinstance(record.get(name, 0), int):
            raise TypeError(f"{name} is no number")


class Attempts:
    """All live runs, and the daemons that wrote of them."""

    def __init__(self) -> None:
        self._live: dict[str, Live] = {}
        self._era = 0
        self._boot = ""

    def __contains__(self, run: str) -> bool:
        return run in self._live

    def daemon(self, boot: str) -> None:
        """Another daemon writes from here on."""
        self._era += 1
        self._boot = boot

    def expect(self, run: str, job: str, at: int, attempt: int) -> None:
        """A run of which the next record is to tell attempt number `attempt`."""
        self._live[run] = Live(run, job, at, attempt - 1, Phase.OVER, self._era, self._boot)

    def follow(self, run: str, record: Mapping[str, Any]) -> tuple[Live, Fault | None]:
        """Take in what happened to an attempt of a live run: that run, and what is wrong with the
        record in view of those before it."""
        live, event, attempt = self._live[run], record["event"], record["attempt"]
        if event == "intent":
            fault = _fault_of_intent(live, attempt)
        elif event == "started":
            fault = _fault_of_start(live, attempt)
        else:
            fault = _fault_of_end(live, attempt, record)
        if attempt > live.attempt or (attempt == live.attempt and live.phase is not Phase.OVER):
            self._move(live, attempt, record)
        return live, fault

    def left(self, lives: Callable[[int, int], bool]) -> Iterator[tuple[Live, bool]]:
        """The runs with an attempt that has begun and has no end, and whether it can still come to
        one: by the daemon that began it, or as a process that lives on (`lives`)."""
        for live in self._live.values():
            if live.phase is Phase.OVER:
                continue
            outlived = live.era < self._era
            same_boot = live.phase is Phase.STARTED and live.boot == self._boot
            yield live, not outlived or (same_boot and lives(live.pid, live.born))

    def _move(self, live: Live, attempt: int, record: Mapping[str, Any]) -> None:
        live.attempt, live.era, live.boot = attempt, self._era, self._boot
        event = record["event"]
        if event == "intent":
            live.phase = Phase.INTENDED
        elif event == "started":
            live.phase, live.pid, live.born = Phase.STARTED, record["pid"], record["born"]
        elif record["will_retry_at"] is None:
            del self._live[live.run]
        else:
            live.phase = Phase.OVER


def _fault_of_intent(live: Live, attempt: int) -> Fault | None:
    if attempt <= live.attempt:
        return Kind.TWICE, f"attempt {attempt} was begun twice"
    if live.phase is not Phase.OVER:
        return Kind.GAP, f"attempt {attempt} began, and attempt {live.attempt} has no end"
    if attempt > live.attempt + 1:
        return Kind.GAP, f"attempt {attempt} began, and there is no attempt {attempt - 1}"
    return None


def _fault_of_start(live: Live, attempt: int) -> Fault | None:
    if attempt > live.attempt:
        return Kind.GAP, f"attempt {attempt} was started without an intent"
    if attempt < live.attempt or live.phase is not Phase.INTENDED:
        return Kind.TWICE, f"attempt {attempt} was started twice"
    return None


def _fault_of_end(live: Live, attempt: int, record: Mapping[str, Any]) -> Fault | None:
    had_process = record["started"] is not None
    if attempt < live.attempt or (attempt == live.attempt and live.phase is Phase.OVER):
        return Kind.TWICE, f"attempt {attempt} ended twice"
    if attempt == live.attempt:
        if had_process and live.phase is Phase.INTENDED:
            return Kind.GAP, f"attempt {attempt} ended, and its start is not on record"
        return None
    # What waits for its turn can be called off, or fail for want of a secret, before it is begun.
    never_begun = record["outcome"] in (Outcome.CANCELLED, Outcome.SPAWN_FAILED) and not had_process
    if never_begun and attempt == live.attempt + 1 and live.phase is Phase.OVER:
        return None
    return Kind.GAP, f"attempt {attempt} ended, and its beginning is not on record"
