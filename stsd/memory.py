"""What stsd knows of its own past: the books of its jobs, and the attempts that have not ended.

`Memory` is what a restart needs. It is read off the history record by record; a snapshot of it
only keeps that short.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from stsd.model import TriggerKind
from stsd.plan import Plan

BY_TIME = frozenset({TriggerKind.CRON, TriggerKind.EVERY, TriggerKind.AT})


@dataclass(frozen=True, slots=True)
class Book:
    """What is settled of a job's occurrences. `plan` has been in force since the instant `since`.

    All instants up to `mark` are settled; of the later ones those in `settled`, and those within
    one of the `spans` (first and last instant).
    """

    plan: Plan
    since: int
    mark: int
    settled: frozenset[int] = frozenset()
    spans: tuple[tuple[int, int], ...] = ()

    @property
    def newest(self) -> int:
        """The last instant that anything is settled for; all up to it have fallen due."""
        return max([self.mark, *self.settled, *(last for _, last in self.spans)])


@dataclass(frozen=True, slots=True)
class Open:
    """An attempt with an intent and without an end. `pid` and `born` are None where nothing says
    that it was started; `alive` is whether its process still runs."""

    run: str
    job: str
    scheduled: int
    trigger: TriggerKind
    attempt: int
    started: float | None = None
    pid: int | None = None
    born: int | None = None
    boot: str = ""
    alive: bool = False


@dataclass(frozen=True, slots=True)
class Delayed:
    """A run between two attempts; `attempt` is the one that is to come, at `retry_at`."""

    run: str
    job: str
    scheduled: int
    trigger: TriggerKind
    attempt: int
    retry_at: float


@dataclass(frozen=True, slots=True)
class Memory:
    """The whole of it: books by job, open attempts and delayed runs by run id. `boot` is the
    kernel's id of the boot in which the last daemon ran."""

    books: Mapping[str, Book] = field(default_factory=dict)
    open: Mapping[str, Open] = field(default_factory=dict)
    delayed: Mapping[str, Delayed] = field(default_factory=dict)
    boot: str = ""


class Recollection:
    """Takes in the history's records in the order in which they were written."""

    def __init__(self, memory: Memory) -> None:
        self._books = dict(memory.books)
        self._settled: dict[str, set[int]] = {}
        self._spans: dict[str, list[tuple[int, int]]] = {}
        self._open = dict(memory.open)
        self._delayed = dict(memory.delayed)
        self._boot = memory.boot

    def memory(self) -> Memory:
        """What is known by now."""
        books = {}
        for name, book in self._books.items():
            settled = book.settled | self._settled.get(name, set())
            spans = (*book.spans, *self._spans.get(name, ()))
            books[name] = replace(
                book,
                settled=frozenset(at for at in settled if at > book.mark),
                spans=tuple(span for span in spans if span[1] > book.mark),
            )
        return Memory(books, dict(self._open), dict(self._delayed), self._boot)

    def take(self, record: Mapping[str, Any]) -> None:
        """One record more. Raises KeyError, TypeError or ValueError for what is no record."""
        match record["event"]:
            case "daemon":
                self._boot = record["boot"]
            case "schedule":
                self._schedule(record)
            case "intent":
                self._intent(record)
            case "started":
                self._started(record)
            case "finished":
                self._finished(record)
            case "skipped":
                if TriggerKind(record["trigger"]) in BY_TIME:
                    self._settle(record["job"], instant_of(record["scheduled"]))
            case "missed":
                span = instant_of(record["first"]), instant_of(record["last"])
                self._spans.setdefault(record["job"], []).append(span)

    def _schedule(self, record: Mapping[str, Any]) -> None:
        name = record["job"]
        self._settled.pop(name, None)
        self._spans.pop(name, None)
        if record["when"] is None:
            self._books.pop(name, None)
        else:
            since = instant_of(record["since"])
            self._books[name] = Book(record["when"], since, since)

    def _intent(self, record: Mapping[str, Any]) -> None:
        run, kind = record["run"], TriggerKind(record["trigger"])
        scheduled = instant_of(record["scheduled"])
        self._delayed.pop(run, None)
        self._open[run] = Open(run, record["job"], scheduled, kind, record["attempt"])
        if kind in BY_TIME:
            self._settle(record["job"], scheduled)

    def _started(self, record: Mapping[str, Any]) -> None:
        known = self._open.get(record["run"])
        if known is not None:
            self._open[record["run"]] = replace(
                known,
                started=datetime.fromisoformat(record["at"]).timestamp(),
                pid=record["pid"],
                born=record["born"],
                boot=self._boot,
            )

    def _finished(self, record: Mapping[str, Any]) -> None:
        run = record["run"]
        begun = self._open.pop(run, None) or self._delayed.get(run)
        self._delayed.pop(run, None)
        if begun is None and TriggerKind(record["trigger"]) in BY_TIME:  # called off as it waited
            self._settle(record["job"], instant_of(record["scheduled"]))
        if record["will_retry_at"] is not None:
            self._delayed[run] = Delayed(
                run=run,
                job=record["job"],
                scheduled=instant_of(record["scheduled"]),
                trigger=TriggerKind(record["trigger"]),
                attempt=record["attempt"] + 1,
                retry_at=datetime.fromisoformat(record["will_retry_at"]).timestamp(),
            )

    def _settle(self, job: str, instant: int) -> None:
        self._settled.setdefault(job, set()).add(instant)


def instant_of(text: str) -> int:
    """The seconds since the epoch of an RFC 3339 instant."""
    return int(datetime.fromisoformat(text).timestamp())
