"""What a segment of the history says that is still in force when it is removed.

That is the schedule of each job and its pause, the start of each attempt that has not ended, with
the daemon it belongs to, and the end of each that is to be followed by another one. Reads one
segment, and changes nothing.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from stsd.output import output_name
from stsd.segments import Record, Segment, parsed, read_lines
from stsd.units import rfc3339

_OUTPUT = re.compile(r"output/[A-Za-z0-9][A-Za-z0-9._-]*/[^/\0]+\.log", re.ASCII)

Attempt = tuple[str, int]
Lines = dict[int, bytes]
"""Lines by their number in the segment."""


@dataclass(frozen=True, slots=True)
class Carry:
    """`lines` go to the head of the next segment, `outputs` (relative to the log folder) go with
    the one that is removed."""

    lines: tuple[bytes, ...]
    outputs: frozenset[str]


@dataclass(slots=True)
class _Account:
    daemon: Lines = field(default_factory=dict)
    schedules: dict[str, Lines] = field(default_factory=dict)
    attempts: dict[Attempt, Lines] = field(default_factory=dict)
    delayed: dict[str, Lines] = field(default_factory=dict)
    pauses: dict[str, Lines] = field(default_factory=dict)
    outputs: set[str] = field(default_factory=set)

    def take(self, number: int, line: bytes, record: Record) -> None:
        match record:
            case {"event": "daemon"}:
                self.daemon = {number: line}
            case {"event": "schedule", "job": str(job), "when": None}:
                self.schedules.pop(job, None)
            case {"event": "schedule", "job": str(job), "since": str()}:
                self.schedules[job] = {number: line}
            case {"event": "paused", "job": str(job)}:
                self.pauses[job] = {number: line}
            case {"event": "resumed", "job": str(job)}:
                self.pauses.pop(job, None)
            case {"event": "intent" | "started", "run": str(run), "attempt": int(attempt)}:
                self.delayed.pop(run, None)
                self.attempts.setdefault((run, attempt), {}).update(self.daemon | {number: line})
            case {"event": "finished", "run": str(run), "attempt": int(attempt)}:
                self.attempts.pop((run, attempt), None)
                self.delayed.pop(run, None)
                if record.get("will_retry_at"):
                    self.delayed[run] = {number: line}
                self.outputs |= outputs_of(record)


def carry_of(segment: Segment) -> Carry:
    """What is still in force at the end of a segment.

    A schedule is told as from the end of that day on: what it demanded before is accounted for by
    records that are removed. Raises OSError.
    """
    account = _Account()
    number = 0
    for lines in read_lines(segment):
        for line, record in zip(lines, parsed(lines), strict=True):
            number += 1
            if record is not None:
                account.take(number, line, record)
    end = datetime.combine(segment.day + timedelta(days=1), datetime.min.time(), UTC)
    last_second = int(end.timestamp()) - 1
    carried = dict(account.daemon)
    for schedule in account.schedules.values():
        carried |= {number: _from(last_second, line) for number, line in schedule.items()}
    for numbered in (account.attempts, account.delayed, account.pauses):
        for still_open in numbered.values():
            carried |= still_open
    lines_in_order = [carried[number] for number in sorted(carried)]
    still_named = {
        name for record in parsed(lines_in_order) if record for name in outputs_of(record)
    }
    return Carry(tuple(lines_in_order), frozenset(account.outputs - still_named))


def outputs_of(record: Record) -> set[str]:
    """The files that an attempt may have written to, by any record of it."""
    names = {record.get("output")}
    match record:
        case {"job": str(job), "run": str(run), "attempt": int(attempt)}:
            names.add(output_name(job, run, attempt))
    return {name for name in names if isinstance(name, str) and _is_output(name)}


def _from(instant: int, line: bytes) -> bytes:
    """The schedule of this line, in force from an instant on unless that was later anyway."""
    record = json.loads(line)
    since = int(datetime.fromisoformat(record["since"]).timestamp())
    record["since"] = rfc3339(max(instant, since))
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def _is_output(name: str) -> bool:
    return _OUTPUT.fullmatch(name) is not None
