"""A story of jobs, told to `Conditions` on simulated time: what happens is written as the history
has it, and what people are told comes back.

Beside the one that is told, another follows that is saved and read back after every step, as after
a crash of the herald: both must say the same.
"""

from __future__ import annotations

import json
from typing import Any

from stsd.conditions import Conditions
from stsd.model import (
    Job,
    MissReason,
    Outcome,
    ShellTask,
    SkipReason,
    TriggerKind,
    When,
)
from stsd.notices import Event, Means, Notice, Notify, Target
from stsd.records import Finished, Missed, Paused, Planned, Record, Resumed, Skipped, Started
from stsd.units import compact, from_rfc3339

NOBODY = Target(Means.COMMAND, argv=("true",))
EVERYTHING = Notify((NOBODY,), frozenset(Event))
DAILY = When(cron=("0 2 * * *",), timezone="Europe/Berlin")


def instant(text: str) -> float:
    """Of RFC 3339."""
    return from_rfc3339(text)


def a_job(**fields: Any) -> Job:
    known: dict[str, Any] = {
        "name": "a",
        "task": ShellTask("true"),
        "when": DAILY,
        "notify": EVERYTHING,
    }
    return Job(**(known | fields))


class Story:
    """`now` is the present, `records` the history. Each step gives the notices that it brings."""

    def __init__(self, *jobs: Job, now: float, learnt: tuple[Record, ...] = ()) -> None:
        self.now = now
        self._begun: dict[str, float] = {}
        self.records: list[dict[str, Any]] = []
        self.jobs = {job.name: job for job in jobs}
        self.conditions = Conditions(self.jobs, None, now)
        for record in learnt:
            self.conditions.learn(_as_read(record))
        self._saved: dict[str, Any] = self.conditions.known()
        self.conditions.changed()

    def take(self, record: Record) -> list[Notice]:
        """The next record of the history."""
        twin = self._twin()
        self.records.append(_as_read(record))
        told = self.conditions.take(self.records[-1], self.now)
        self._compare(told, twin, twin.take(self.records[-1], self.now))
        return told

    def held(self, error: str | None) -> list[Notice]:
        twin = self._twin()
        told = self.conditions.held(error, self.now)
        self._compare(told, twin, twin.held(error, self.now))
        return told

    def reload(self, *jobs: Job) -> None:
        """Another jobfile; both know the old one, since the file says nothing of what was."""
        twin = self._twin()
        self.jobs = {job.name: job for job in jobs}
        self.conditions.reload(self.jobs, self.now)
        twin.reload(self.jobs, self.now)
        self._compare([], twin, [])

    def wait_until(self, instant: float) -> list[Notice]:
        """Let time pass, with a look whenever there is something to look for."""
        told: list[Notice] = []
        while (due := self.conditions.due()) is not None and due <= instant:
            self.now = max(self.now, due)
            told += self.tick()
        self.now = instant
        return told

    def wait(self, seconds: float) -> list[Notice]:
        return self.wait_until(self.now + seconds)

    def tick(self) -> list[Notice]:
        twin = self._twin()
        assert twin.due() == self.conditions.due()
        told = self.conditions.tick(self.now)
        self._compare(told, twin, twin.tick(self.now))
        return told

    def standing(self, job: str = "a") -> list[str]:
        return self.conditions.standing().get(job, [])

    # -- what happens now

    def start(self, job: str = "a", *, run: str = "", attempt: int = 1) -> list[Notice]:
        run = run or self._run(job)
        self._begun[run] = self.now
        at = int(self.now)
        return self.take(Started(run, job, at, TriggerKind.CRON, attempt, self.now, 0.004, 4711, 1))

    def end(
        self, outcome: Outcome = Outcome.SUCCEEDED, job: str = "a", *, run: str = "", **more: Any
    ) -> list[Notice]:
        """An attempt ends; of a `run` that was not started here it has taken 1.5 s."""
        begun = self._begun.pop(run, self.now - 1.5)
        code = 0 if outcome is Outcome.SUCCEEDED else 2
        known: dict[str, Any] = {
            "run": run or self._run(job),
            "job": job,
            "scheduled": int(self.now),
            "trigger": TriggerKind.CRON,
            "attempt": 1,
            "outcome": outcome,
            "at": self.now,
            "exit_code": code if outcome in (Outcome.SUCCEEDED, Outcome.FAILED) else None,
            "started": begun,
            "duration_s": self.now - begun,
            "output": "output/a.log",
            "output_bytes": 812,
        }
        return self.take(Finished(**(known | more)))

    def fail(self, job: str = "a", **more: Any) -> list[Notice]:
        return self.end(Outcome.FAILED, job, **more)

    def run_for(self, seconds: float, outcome: Outcome = Outcome.SUCCEEDED) -> list[Notice]:
        """One run of `a` from now on."""
        run = self._run("a")
        told = self.start(run=run)
        told += self.wait(seconds)
        return told + self.end(outcome, run=run)

    def skip(self, reason: SkipReason, detail: str | None = None) -> list[Notice]:
        at = int(self.now)
        return self.take(Skipped("a", at, reason, self.now, TriggerKind.CRON, detail))

    def miss(self, first: float, last: float, count: int) -> list[Notice]:
        return self.take(Missed("a", int(first), int(last), count, MissReason.DOWN, self.now))

    def pause(self) -> list[Notice]:
        return self.take(Paused("a", None, "enough", "root", self.now))

    def resume(self) -> list[Notice]:
        return self.take(Resumed("a", "root", self.now))

    def plan(self, when: When | None = DAILY) -> list[Notice]:
        return self.take(Planned("a", when, int(self.now), self.now))

    def _run(self, job: str) -> str:
        return f"{job}@{compact(int(self.now))}"

    def _twin(self) -> Conditions:
        for name, fields in self.conditions.changed().items():
            if fields is None:
                self._saved.pop(name, None)
            else:
                self._saved[name] = fields
        self._saved = json.loads(json.dumps(self._saved))
        return Conditions(self.jobs, self._saved, self.now)

    def _compare(self, told: list[Notice], twin: Conditions, said: list[Notice]) -> None:
        assert said == told
        assert twin.known() == self.conditions.known()
        assert twin.standing() == self.conditions.standing()
        assert twin.due() == self.conditions.due()


def _as_read(record: Record) -> dict[str, Any]:
    """A record as a reader of the file has it."""
    read: dict[str, Any] = json.loads(json.dumps(record.fields()))
    return read


def events(notices: list[Notice]) -> list[str]:
    return [str(notice.event) for notice in notices]
