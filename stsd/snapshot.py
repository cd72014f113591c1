"""STATE_DIR/state.json: what stsd remembers, so that a start need not read the whole history.

The history is the truth; this file may be lost, cut or stale, and is then done without.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from stsd.history import sync_folder
from stsd.interventions import Pause
from stsd.memory import Book, Chain, Delayed, Memory, Open, by_hand_of
from stsd.model import TriggerKind
from stsd.recent import fields_of, recent_of
from stsd.records import fields_by_hand
from stsd.units import rfc3339

VERSION = 4
_NAME = "state.json"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A memory, and the position in the history (segment and bytes) up to which it goes."""

    memory: Memory
    position: tuple[str, int] | None


def save(state_dir: Path, snapshot: Snapshot, at: float) -> None:
    """Replace the file as a whole: a crash leaves the old one or the new one. Raises OSError."""
    memory = snapshot.memory
    state = {
        "version": VERSION,
        "at": rfc3339(at),
        "boot": memory.boot,
        "history": list(snapshot.position) if snapshot.position else None,
        "jobs": {name: _book_fields(book) for name, book in memory.books.items()},
        "runs": [_trace_fields(attempt) for attempt in memory.open.values()],
        "delayed": [_trace_fields(delayed) for delayed in memory.delayed.values()],
        "chains": {
            name: {"met": sorted(chain.met), "due": chain.due}
            for name, chain in memory.chains.items()
        },
        "successes": memory.successes,
        "closed": memory.closed,
        "pauses": {name: asdict(pause) for name, pause in memory.pauses.items()},
        "recent": {name: fields_of(recent) for name, recent in memory.recent.items()},
    }
    new = state_dir / f"{_NAME}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    with open(os.open(new, flags, 0o600), "w", encoding="ascii") as file:
        # `dump` would encode in Python, piece by piece; this is ten times faster.
        file.write(json.dumps(state, separators=(",", ":")))
        file.flush()
        os.fsync(file.fileno())
    new.replace(state_dir / _NAME)
    sync_folder(state_dir)


def load(state_dir: Path) -> Snapshot | None:
    """The last snapshot; None if there is none that can be read."""
    try:
        return _snapshot(json.loads((state_dir / _NAME).read_bytes()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _snapshot(state: dict[str, Any]) -> Snapshot:
    if state["version"] != VERSION:
        raise ValueError(f"a snapshot of version {state['version']}")
    books = {name: _book(fields) for name, fields in state["jobs"].items()}
    attempts = [
        Open(**_trace(fields) | {"pools": tuple(fields["pools"])}) for fields in state["runs"]
    ]
    delayed = [Delayed(**_trace(fields)) for fields in state["delayed"]]
    memory = Memory(
        books=books,
        open={attempt.run: attempt for attempt in attempts},
        delayed={run.run: run for run in delayed},
        boot=state["boot"],
        chains={
            name: Chain(frozenset(fields["met"]), tuple(fields["due"]))
            for name, fields in state["chains"].items()
        },
        successes=state["successes"],
        closed=state["closed"],
        pauses={name: Pause(**fields) for name, fields in state["pauses"].items()},
        recent={name: recent_of(fields) for name, fields in state["recent"].items()},
    )
    position = state["history"]
    return Snapshot(memory, (str(position[0]), int(position[1])) if position else None)


def _book_fields(book: Book) -> dict[str, object]:
    fields: dict[str, object] = {"plan": book.plan, "since": book.since, "mark": book.mark}
    if book.settled or book.spans:
        fields |= {"settled": sorted(book.settled), "spans": book.spans}
    return fields


def _book(fields: dict[str, Any]) -> Book:
    return Book(
        plan=fields["plan"],
        since=int(fields["since"]),
        mark=int(fields["mark"]),
        settled=frozenset(fields.get("settled", ())),
        spans=tuple((first, last) for first, last in fields.get("spans", ())),
    )


def _trace_fields(trace: Open | Delayed) -> dict[str, object]:
    by_hand = None if trace.by_hand is None else fields_by_hand(trace.by_hand)
    return asdict(trace) | {"by_hand": by_hand}


def _trace(fields: dict[str, Any]) -> dict[str, Any]:
    by_hand = None if fields["by_hand"] is None else by_hand_of(fields["by_hand"])
    return fields | {"trigger": TriggerKind(fields["trigger"]), "by_hand": by_hand}
