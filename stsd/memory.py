"""What stsd knows of its own past: the books of its jobs, and the attempts that have not ended.

`Memory` is what a restart needs. It is read off the history record by record; a snapshot of it
only keeps that short.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from stsd.chains import Chains
from stsd.interventions import ByHand, Pause
from stsd.model import Outcome, TriggerKind
from stsd.plan import Plan, after_of
from stsd.recent import Recent, followed

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
    that it was started; `alive` is whether its process still runs. It has a slot in `pools`."""

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
    by_hand: ByHand | None = None
    pools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Delayed:
    """A run between two attempts; `attempt` is the one that is to come, at `retry_at`."""

    run: str
    job: str
    scheduled: int
    trigger: TriggerKind
    attempt: int
    retry_at: float
    by_hand: ByHand | None = None


@dataclass(frozen=True, slots=True)
class Chain:
    """Where a job stands that is due after others. `met` are those that have ended as it asks
    since it was last due; `due` the instants at which it was due and for which nothing accounts."""

    met: frozenset[str] = frozenset()
    due: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Memory:
    """The whole of it: books, chains, the time of the last success, pauses and how the last runs
    have ended by job, open attempts and delayed runs by run id. `boot` is the kernel's id of the
    boot in which the last daemon ran; `closed` tells up to which instant jobs that are gone are
    settled."""

    books: Mapping[str, Book] = field(default_factory=dict)
    open: Mapping[str, Open] = field(default_factory=dict)
    delayed: Mapping[str, Delayed] = field(default_factory=dict)
    boot: str = ""
    chains: Mapping[str, Chain] = field(default_factory=dict)
    successes: Mapping[str, float] = field(default_factory=dict)
    closed: Mapping[str, int] = field(default_factory=dict)
    pauses: Mapping[str, Pause] = field(default_factory=dict)
    recent: Mapping[str, Recent] = field(default_factory=dict)


class Recollection:
    """Takes in the history's records in the order in which they were written."""

    def __init__(self, memory: Memory) -> None:
        self._books = dict(memory.books)
        self._settled: dict[str, set[int]] = {}
        self._spans: dict[str, list[tuple[int, int]]] = {}
        self._open = dict(memory.open)
        self._delayed = dict(memory.delayed)
        self._boot = memory.boot
        self._successes = dict(memory.successes)
        self._closed = dict(memory.closed)
        self._pauses = dict(memory.pauses)
        self._recent = dict(memory.recent)
        self._chains = Chains()
        self._due: dict[str, list[int]] = {}
        for name, book in memory.books.items():
            chain = memory.chains.get(name, Chain())
            self._chains.enter(name, after_of(book.plan), chain.met)
            if chain.due:
                self._due[name] = list(chain.due)

    def memory(self) -> Memory:
        """What is known by now."""
        books = {name: self._book(name, book) for name, book in self._books.items()}
        chains = {
            name: Chain(met, tuple(self._due.get(name, ())))
            for name, met in self._chains.met().items()
        }
        return Memory(
            books=books,
            open=dict(self._open),
            delayed=dict(self._delayed),
            boot=self._boot,
            chains=chains,
            successes=dict(self._successes),
            closed=dict(self._closed),
            pauses=dict(self._pauses),
            recent=dict(self._recent),
        )

    def _book(self, name: str, book: Book) -> Book:
        """A book with what has been settled beside its mark."""
        settled = book.settled | self._settled.get(name, set())
        spans = (*book.spans, *self._spans.get(name, ()))
        if not settled and not spans:
            return book
        return replace(
            book,
            settled=frozenset(at for at in settled if at > book.mark),
            spans=tuple(span for span in spans if span[1] > book.mark),
        )

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
                self._account(record)
            case "missed":
                span = instant_of(record["first"]), instant_of(record["last"])
                self._spans.setdefault(record["job"], []).append(span)
            case "paused":
                self._pauses[record["job"]] = _pause(record)
            case "resumed":
                self._pauses.pop(record["job"], None)

    def _schedule(self, record: Mapping[str, Any]) -> None:
        name, before = record["job"], self._books.get(record["job"])
        self._settled.pop(name, None)
        self._spans.pop(name, None)
        if before is None or before.plan != record["when"]:  # else it is the clock that is another
            self._due.pop(name, None)
        self._closed.pop(name, None)
        since = instant_of(record["since"])
        if record["when"] is None:
            self._books.pop(name, None)
            self._chains.leave(name)
            self._closed[name] = since
        else:
            self._books[name] = Book(record["when"], since, since)
            self._chains.enter(name, after_of(record["when"]))

    def _intent(self, record: Mapping[str, Any]) -> None:
        run, kind = record["run"], TriggerKind(record["trigger"])
        scheduled = instant_of(record["scheduled"])
        self._delayed.pop(run, None)
        known = Open(run, record["job"], scheduled, kind, record["attempt"])
        pools = tuple(record.get("pools", ()))
        self._open[run] = replace(known, by_hand=_by_hand(record), pools=pools)
        if kind in BY_TIME or record["attempt"] == 1:
            self._account(record)

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
        if begun is None:  # called off as it waited
            self._account(record)
        if record["will_retry_at"] is not None:
            self._delayed[run] = Delayed(
                run=run,
                job=record["job"],
                scheduled=instant_of(record["scheduled"]),
                trigger=TriggerKind(record["trigger"]),
                attempt=record["attempt"] + 1,
                retry_at=datetime.fromisoformat(record["will_retry_at"]).timestamp(),
                by_hand=_by_hand(record),
            )
        else:
            self._ended(record["job"], Outcome(record["outcome"]), record)

    def _ended(self, job: str, outcome: Outcome, record: Mapping[str, Any]) -> None:
        """A run has ended for good."""
        at = datetime.fromisoformat(record["at"]).timestamp()
        self._recent[job] = followed(self._recent.get(job), outcome, at, record["duration_s"])
        if outcome is Outcome.SUCCEEDED:
            self._successes[job] = at
        for follower in self._chains.ended(job, outcome):
            self._due.setdefault(follower, []).append(int(at))

    def _account(self, record: Mapping[str, Any]) -> None:
        """An occurrence is accounted for."""
        job, kind = record["job"], TriggerKind(record["trigger"])
        instant = instant_of(record["scheduled"])
        if kind in BY_TIME:
            self._settled.setdefault(job, set()).add(instant)
        elif kind is TriggerKind.AFTER and instant in self._due.get(job, ()):
            self._due[job].remove(instant)


def by_hand_of(fields: Mapping[str, Any]) -> ByHand:
    """What `records.fields_by_hand` gave. Raises KeyError, TypeError or ValueError for anything
    else."""
    kwargs = json.dumps(fields["kwargs"])
    return ByHand(fields["by"], kwargs, tuple(sorted(fields["env"].items())))


def _by_hand(record: Mapping[str, Any]) -> ByHand | None:
    fields = record.get("by_hand")
    return None if fields is None else by_hand_of(fields)


def _pause(record: Mapping[str, Any]) -> Pause:
    until = record["until"]
    return Pause(
        since=datetime.fromisoformat(record["at"]).timestamp(),
        until=None if until is None else datetime.fromisoformat(until).timestamp(),
        reason=record["reason"],
        by=record["by"],
    )


def instant_of(text: str) -> int:
    """The seconds since the epoch of an RFC 3339 instant."""
    return int(datetime.fromisoformat(text).timestamp())
