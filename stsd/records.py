"""What the history says, one frozen value a line.

The shape of a line is a contract with every reader: names and order of the fields are fixed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from stsd.model import MissReason, Outcome, SkipReason, TriggerKind, When
from stsd.plan import plan_of
from stsd.units import rfc3339

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
    """An attempt is about to be started. On the disk before its process exists."""

    run: str
    job: str
    scheduled: int
    trigger: TriggerKind
    attempt: int
    at: float

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
        }


@dataclass(frozen=True, slots=True)
class Started:
    """An attempt has a process. `late_s` is how long after the scheduled instant (of a retry:
    after the time it was put off to) that was; `born` is the process's start in clock ticks since
    boot (proc_pid_stat(5), field 22), which tells it from a later one of the same pid."""

    run: str
    job: str
    scheduled: int
    trigger: TriggerKind
    attempt: int
    at: float
    late_s: float
    pid: int
    born: int

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
        }


@dataclass(frozen=True, slots=True)
class Skipped:
    """A due occurrence was not run, on purpose; `detail` says more of why."""

    job: str
    scheduled: int
    reason: SkipReason
    at: float
    trigger: TriggerKind
    detail: str | None = None

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


Record = Begun | Planned | Intent | Started | Finished | Skipped | Missed


def encode(record: Record) -> bytes:
    """The record as one line of ASCII, with its newline."""
    return _ENCODER.encode(record.fields()).encode("ascii") + b"\n"
