"""Histories written by hand: what a daemon would record of jobs whose runs take a second."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from stsd.audit import audit
from stsd.books import Books, Kind
from stsd.model import MissReason, Outcome, SkipReason, TriggerKind, When
from stsd.records import (
    Begun,
    Finished,
    Intent,
    Missed,
    Planned,
    Record,
    Skipped,
    Started,
    encode,
)
from stsd.units import compact, rfc3339

T0 = 1_795_255_200  # 2026-11-21T10:00:00Z
MINUTELY = When(cron=("* * * * *",))


def minute(number: int) -> int:
    """The instant that many minutes after T0."""
    return T0 + 60 * number


@dataclass
class Past:
    """A history in the making, of one job unless another is named."""

    job: str = "job"
    lines: list[bytes] = field(default_factory=list)

    def add(self, *records: Record) -> Past:
        self.lines += [encode(record) for record in records]
        return self

    def daemon(self, boot: str = "boot-1", at: float = T0) -> Past:
        return self.add(Begun(100, boot, "1.0", at))

    def plan(self, when: When | None = MINUTELY, since: int = T0, at: float | None = None) -> Past:
        return self.add(Planned(self.job, when, since, since if at is None else at))

    def intent(self, due: int, attempt: int = 1, **others: Any) -> Past:
        run = f"{self.job}@{compact(due)}"
        record = Intent(run, self.job, due, TriggerKind.CRON, attempt, due + 0.1)
        return self.add(replace(record, **others))

    def started(self, due: int, attempt: int = 1, **others: Any) -> Past:
        run = f"{self.job}@{compact(due)}"
        record = Started(run, self.job, due, TriggerKind.CRON, attempt, due + 0.2, 0.2, 7, 70)
        return self.add(replace(record, **others))

    def finished(self, due: int, attempt: int = 1, **others: Any) -> Past:
        run = f"{self.job}@{compact(due)}"
        record = Finished(
            run, self.job, due, TriggerKind.CRON, attempt, Outcome.SUCCEEDED, due + 1.0, exit_code=0
        )
        return self.add(replace(record, **{"started": due + 0.2} | others))

    def run(self, *instants: int, **others: Any) -> Past:
        for due in instants:
            self.intent(due, **others).started(due, **others).finished(due, **others)
        return self

    def skipped(self, *instants: int) -> Past:
        return self.add(
            *(
                Skipped(self.job, at, SkipReason.OVERLAP, at + 0.1, TriggerKind.CRON)
                for at in instants
            )
        )

    def missed(self, first: int, last: int, count: int, at: float | None = None) -> Past:
        written = last + 30.0 if at is None else at
        return self.add(Missed(self.job, first, last, count, MissReason.DOWN, written))

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    def audit(self, now: int = 0, **others: Any) -> Books:
        return audit(self.records(), now, **others)

    def without(self, number: int) -> Past:
        return Past(self.job, [*self.lines[:number], *self.lines[number + 1 :]])

    def doubled(self, number: int) -> Past:
        return Past(self.job, [*self.lines[: number + 1], *self.lines[number:]])

    def altered(self, number: int, **others: Any) -> Past:
        line = json.dumps(json.loads(self.lines[number]) | others).encode() + b"\n"
        return Past(self.job, [*self.lines[:number], line, *self.lines[number + 1 :]])

    def write(self, log_dir: Path) -> None:
        """Into segments, by the day of each record and never into an earlier one than before."""
        (log_dir / "history").mkdir(parents=True)
        day = ""
        for line in self.lines:
            day = max(day, json.loads(line)["at"][:10])
            with (log_dir / "history" / f"{day}.jsonl").open("ab") as file:
                file.write(line)


def told(books: Books) -> list[tuple[Kind, str, str, int]]:
    """Kind, first and last minute, and count of each discrepancy."""
    return [
        (fault.kind, rfc3339(fault.first)[11:16], rfc3339(fault.last)[11:16], fault.count)
        for fault in books.discrepancies
    ]


def kinds(books: Books) -> set[Kind]:
    return {fault.kind for fault in books.discrepancies}


def minutes(first: int, last: int) -> list[int]:
    """The instants of these minutes, both included."""
    return [minute(number) for number in range(first, last + 1)]
