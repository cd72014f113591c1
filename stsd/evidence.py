"""What the history has to say of one job in one span of time, for `stsd.why`.

Takes the records one by one, in the order in which they were written, and keeps those that bear on
the question. Reads no file and no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stsd.errors import ScheduleError
from stsd.model import When
from stsd.plan import when_of
from stsd.triggers import Schedule, schedule_for
from stsd.units import from_rfc3339

Record = Mapping[str, Any]
_NEVER = Schedule()
_OF_AN_END = frozenset({"will_retry_at", "outcome", "error", "signal", "exit_code", "duration_s"})


@dataclass(frozen=True, slots=True)
class Plan:
    """From `since` on, and not at it, a job was due by `schedule`; `when` is None where it was
    not due at all. `at` is when that was recorded."""

    since: int
    when: When | None
    schedule: Schedule
    at: float


@dataclass(slots=True)
class Tale:
    """All records of one run, the first one first."""

    run: str
    records: list[Record] = field(default_factory=list)

    @property
    def scheduled(self) -> int:
        """The instant for which it was due."""
        return int(from_rfc3339(self.records[0]["scheduled"]))

    @property
    def over(self) -> bool:
        """Whether its last attempt has ended, and none is to follow."""
        last = self.records[-1]
        return last["event"] == "finished" and last["will_retry_at"] is None


@dataclass(frozen=True, slots=True)
class Skip:
    """An occurrence that was skipped, and the runs of the job that had not ended by then."""

    record: Record
    live: tuple[Tale, ...]


@dataclass(slots=True)
class Evidence:
    """What is known of `job` in the instants from `begin` up to, and without, `end`.

    `tales` are the runs that were due in it, or of which an attempt was begun in it. `others` are
    jobs whose last ends are kept in `ends`. `known` is whether there is any record of the job,
    of whatever time. `starts` are when stsd started, and `last_signs` when, if ever, anything had
    been recorded before that, by starts; the latter are put in by whoever asks. `damaged` counts
    records that have lost a field.
    """

    job: str
    begin: float
    end: float
    others: frozenset[str] = frozenset()
    plans: list[Plan] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    tales: dict[str, Tale] = field(default_factory=dict)
    skips: list[Skip] = field(default_factory=list)
    misses: list[Record] = field(default_factory=list)
    pauses: list[Record] = field(default_factory=list)
    ends: dict[str, Record] = field(default_factory=dict)
    last_signs: dict[float, float | None] = field(default_factory=dict)
    known: bool = False
    damaged: int = 0
    _live: dict[str, Tale] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """One record more."""
        try:
            self._take(record)
        except (KeyError, TypeError, ValueError):
            self.damaged += 1

    def plan_at(self, instant: int) -> Plan | None:
        """The plan in force at an instant; None before the first one."""
        found = None
        for plan in self.plans:
            if plan.since < instant:
                found = plan
        return found

    def last_before(self, instant: int) -> int | None:
        """The last occurrence before an instant that a schedule on record demanded."""
        until = instant - 1
        for plan in reversed(self.plans):
            due = plan.schedule.last(plan.since, until) if plan.since < until else None
            if due is not None:
                return due.at
            until = min(until, plan.since)
        return None

    def pause_before(self, at: float) -> Record | None:
        """The pause in force at that time, if there was one."""
        before = [record for record in self.pauses if from_rfc3339(record["at"]) <= at]
        return before[-1] if before and before[-1]["event"] == "paused" else None

    def live_at_end(self) -> tuple[Tale, ...]:
        """The runs that have not ended by the last record."""
        return tuple(self._live.values())

    def _take(self, record: Record) -> None:
        event = record["event"]
        if event == "daemon":
            self.starts.append(from_rfc3339(record["at"]))
        elif record["job"] != self.job:
            if record["job"] in self.others and event == "finished":
                self.ends[record["job"]] = record
        else:
            self.known = True
            self._note(event, record)

    def _note(self, event: str, record: Record) -> None:
        if event in ("intent", "started", "finished"):
            self._attempt(record)
        elif event == "schedule":
            self._plan(record)
        elif event == "skipped":
            if self._within(from_rfc3339(record["scheduled"])):
                self.skips.append(Skip(record, tuple(self._live.values())))
        elif event == "missed":
            first, last = from_rfc3339(record["first"]), from_rfc3339(record["last"])
            if first < self.end and last >= self.begin:
                self.misses.append(record)
        elif event in ("paused", "resumed"):
            from_rfc3339(record["at"])
            self.pauses.append(record)

    def _plan(self, record: Record) -> None:
        since, at = int(from_rfc3339(record["since"])), from_rfc3339(record["at"])
        when = None if record["when"] is None else when_of(record["when"])
        try:
            schedule = _NEVER if when is None else schedule_for(when, self.job)
        except ScheduleError:
            self.damaged += 1
            return
        self.plans.append(Plan(since, when, schedule, at))

    def _attempt(self, record: Record) -> None:
        run, scheduled = record["run"], from_rfc3339(record["scheduled"])
        tale = self._live.get(run) or self.tales.get(run) or Tale(run)
        if record["event"] == "finished" and not record.keys() >= _OF_AN_END:
            raise KeyError("will_retry_at")
        tale.records.append(record)
        begun = record["event"] != "finished" and self._within(from_rfc3339(record["at"]))
        if begun or self._within(scheduled):
            self.tales[run] = tale
        if tale.over:
            self._live.pop(run, None)
        else:
            self._live[run] = tale

    def _within(self, instant: float) -> bool:
        return self.begin <= instant < self.end
