"""What the history says, one frozen value a line.

The shape of a line is a contract with every reader: names and order of the fields are fixed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stsd.interventions import ByHand
from stsd.model import MissReason, Outcome, SkipReason, TriggerKind, When
from stsd.plan import plan_of
from stsd.units import escaped, rfc3339

_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Begun:
    """stsd has started. `boot` is the kernel's id of this boot of the machine; a process of which
    a later record tells belongs to it."""

    pid: int
    boot: str
    version: str
    at: float

    def fields(self) -> dict[str, object]:
        """The record as a JSON object, `event` first."""
        return {
            "event": "daemon",
            "pid": self.pid,
            "boot": self.boot,
            "version": self.version,
            "at": rfc3339(self.at),
        }


@dataclass(frozen=True, slots=True)
class Planned:
    """From `since` on, and not at `since` itself, a job is due by this schedule; `when` is None
    when it is no longer due at all. What is demanded of a job, and to be accounted for, follows
    from these records alone."""

    job: str
    when: When | None
    since: int
    at: float

    def fields(self) -> dict[str, object]:
        """The record as a JSON object, `event` first."""
        return {
            "event": "schedule",
            "job": self.job,
            "when": None if self.when is None else plan_of(self.when),
            "since": rfc3339(self.since),
            "at": rfc3339(self.at),
        }


@dataclass(frozen=True, slots=True)
class Intent:
    """An attempt is about to be started. On the disk before its process exists. `pools` are those
    in which it has a slot."""

    run: str
    job: str
    scheduled: int
    trigger: TriggerKind
    attempt: int
    at: float
    by_hand: ByHand | None = None
    pools: tuple[str, ...] = ()

    def fields(self) -> dict[str, object]:
        """The record as a JSON object, `event` first."""
        return {
            "event": "intent",
            "run": self.run,
            "job": self.job,
            "scheduled": rfc3339(self.scheduled),
            "trigger": self.trigger,
            "attempt": self.attempt,
            "at": rfc3339(self.at),
            **_by_hand(self.by_hand),
            **({"pools": self.pools} if self.pools else {}),
        }


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt has a process. `late_s` is how long after the scheduled instant (of a retry:
    after the time it was put off to) that was; `born` is the process's start in clock ticks since
    boot (proc_pid_stat(5), field 22), which tells it from a later one of the same pid; `trace` and
    `span` are the ids of its trace and of its own part of that (`stsd.tracecontext`)."""

    run: str
    job: str
    scheduled: int
    trigger: TriggerKind
    attempt: int
    at: float
    late_s: float
    pid: int
    born: int
    trace: str = ""
    span: str = ""

    def fields(self) -> dict[str, object]:
        """The record as a JSON object, `event` first."""
        return {
            "event": "started",
            "run": self.run,
            "job": self.job,
            "scheduled": rfc3339(self.scheduled),
            "trigger": self.trigger,
            "attempt": self.attempt,
            "at": rfc3339(self.at),
            "late_s": round(self.late_s, 3),
            "pid": self.pid,
            "born": self.born,
            "trace": self.trace,
            "span": self.span,
        }


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt has ended. `started` and `duration_s` are None when it never had a process;
    `output` is relative to the log folder, and `output_discarded` bytes were too many for it;
    `signal` is the name of the signal that ended it."""

    run: str
    job: str
    scheduled: int
    trigger: TriggerKind
    attempt: int
    outcome: Outcome
    at: float
    exit_code: int | None = None
    signal: str | None = None
    started: float | None = None
    duration_s: float | None = None
    cpu_s: float | None = None
    max_rss_bytes: int | None = None
    output: str | None = None
    output_bytes: int = 0
    output_discarded: int = 0
    error: str | None = None
    will_retry_at: float | None = None
    trace: str = ""
    span: str = ""
    by_hand: ByHand | None = None

    def fields(self) -> dict[str, object]:
        """The record as a JSON object, `event` first."""
        return {
            "event": "finished",
            "run": self.run,
            "job": self.job,
            "scheduled": rfc3339(self.scheduled),
            "trigger": self.trigger,
            "attempt": self.attempt,
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "signal": self.signal,
            "started": None if self.started is None else rfc3339(self.started),
            "at": rfc3339(self.at),
            "duration_s": None if self.duration_s is None else round(self.duration_s, 3),
            "cpu_s": None if self.cpu_s is None else round(self.cpu_s, 3),
            "max_rss_bytes": self.max_rss_bytes,
            "output": self.output,
            "output_bytes": self.output_bytes,
            "output_discarded": self.output_discarded,
            "error": self.error,
            "will_retry_at": None if self.will_retry_at is None else rfc3339(self.will_retry_at),
            "trace": self.trace,
            "span": self.span,
            **_by_hand(self.by_hand),
        }


@dataclass(frozen=True, slots=True)
class Skipped:
    """A due occurrence was not run, on purpose; `detail` says more of why. `run` is None for what
    was due after others when the last daemon ended: its id went with it."""

    job: str
    scheduled: int
    reason: SkipReason
    at: float
    trigger: TriggerKind
    detail: str | None = None
    run: str | None = None

    def fields(self) -> dict[str, object]:
        """The record as a JSON object, `event` first."""
        return {
            "event": "skipped",
            "job": self.job,
            "scheduled": rfc3339(self.scheduled),
            "reason": self.reason,
            "at": rfc3339(self.at),
            "trigger": self.trigger,
            "detail": self.detail,
            "run": self.run,
        }


@dataclass(frozen=True, slots=True)
class Missed:
    """`count` occurrences from `first` to `last` fell due unseen and were not caught up."""

    job: str
    first: int
    last: int
    count: int
    reason: MissReason
    at: float

    def fields(self) -> dict[str, object]:
        """The record as a JSON object, `event` first."""
        return {
            "event": "missed",
            "job": self.job,
            "first": rfc3339(self.first),
            "last": rfc3339(self.last),
            "count": self.count,
            "reason": self.reason,
            "at": rfc3339(self.at),
        }


@dataclass(frozen=True, slots=True)
class Paused:
    """From now on, up to `until` (None: for good), a job is not run when it is due."""

    job: str
    until: float | None
    reason: str | None
    by: str | None
    at: float

    def fields(self) -> dict[str, object]:
        """The record as a JSON object, `event` first."""
        return {
            "event": "paused",
            "job": self.job,
            "until": None if self.until is None else rfc3339(self.until),
            "reason": self.reason,
            "by": self.by,
            "at": rfc3339(self.at),
        }


@dataclass(frozen=True, slots=True)
class Resumed:
    """A job is run again when it is due; `by` is None where its time was up."""

    job: str
    by: str | None
    at: float

    def fields(self) -> dict[str, object]:
        """The record as a JSON object, `event` first."""
        return {"event": "resumed", "job": self.job, "by": self.by, "at": rfc3339(self.at)}


Record = Begun | Planned | Intent | Started | Finished | Skipped | Missed | Paused | Resumed


def fields_by_hand(by_hand: ByHand) -> dict[str, object]:
    """As a JSON object."""
    return {"by": by_hand.by, "kwargs": json.loads(by_hand.kwargs), "env": dict(by_hand.env)}


def _by_hand(by_hand: ByHand | None) -> dict[str, object]:
    return {} if by_hand is None else {"by_hand": fields_by_hand(by_hand)}


def encode(record: Record) -> bytes:
    """The record as one line of ASCII, with its newline."""
    return line_of(record.fields())


def line_of(fields: Mapping[str, object]) -> bytes:
    """The line of the record that has these fields."""
    return _ENCODER.encode(fields).encode("ascii") + b"\n"


def ending_in_words(finished: Mapping[str, Any]) -> str:
    """Why an attempt ended as it did, by the fields of its `finished` record: its error, the signal
    or the exit code; empty where the outcome says it all. Raises KeyError for a field that is
    lost."""
    if finished["error"]:
        return escaped(str(finished["error"]))
    if finished["signal"]:
        return f"signal {finished['signal']}"
    return f"exit {finished['exit_code']}" if finished["exit_code"] else ""
