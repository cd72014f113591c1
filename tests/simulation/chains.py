"""What is due after other jobs, reckoned off the history's lines.

For each job that follows others: every time that all of them have ended as it asks, with that as
their last end since it was last due, it is to be run, skipped or called off exactly once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from math import floor
from typing import Any


@dataclass
class _Follower:
    """`last` is how each of the jobs it follows has last ended, if it has since `due` was told;
    `spare` were due when the schedule began anew, and may be run all the same."""

    rule: dict[str, list[str]]
    last: dict[str, str] = field(default_factory=dict)
    due: Counter[int] = field(default_factory=Counter)
    spare: Counter[int] = field(default_factory=Counter)


class Chains:
    """Takes the records in their order."""

    def __init__(self) -> None:
        self._followers: dict[str, _Follower] = {}
        self._begun: set[tuple[str, int]] = set()
        self.faults: list[str] = []
        self.counted = 0

    def take(self, record: dict[str, Any]) -> None:
        event = record["event"]
        if event == "schedule":
            self._plan(record)
            return
        if record.get("trigger") == "after":
            self._follow(record)
        if event == "finished" and record["will_retry_at"] is None:
            self._end(record)

    def closed(self) -> list[str]:
        lost = [
            f"{name}: due after others at {sorted(follower.due)} and not accounted for"
            for name, follower in self._followers.items()
            if follower.due
        ]
        return self.faults + lost

    def _plan(self, record: dict[str, Any]) -> None:
        before = self._followers.pop(record["job"], None)
        rule = (record["when"] or {}).get("after")
        spare = before.due + before.spare if before else Counter[int]()
        if rule or spare:
            outcomes = {other["job"]: other["outcomes"] for other in rule or ()}
            self._followers[record["job"]] = _Follower(outcomes, spare=spare)

    def _end(self, record: dict[str, Any]) -> None:
        for follower in self._followers.values():
            if record["job"] not in follower.rule:
                continue
            follower.last[record["job"]] = record["outcome"]
            last = follower.last
            if all(last.get(job) in outcomes for job, outcomes in follower.rule.items()):
                follower.last = {}
                follower.due[_second(record["at"])] += 1
                self.counted += 1

    def _follow(self, record: dict[str, Any]) -> None:
        at, event = _second(record["scheduled"]), record["event"]
        if event != "skipped":
            key = (record["run"], at)
            if key in self._begun:
                return
            self._begun.add(key)
        follower = self._followers.get(record["job"], _Follower({}))
        for waiting in (follower.due, follower.spare):
            if waiting[at] > 0:
                waiting[at] -= 1
                if not waiting[at]:
                    del waiting[at]
                return
            del waiting[at]
        self.faults.append(f"{record['job']}: {event} after others at {at}, but was not due")


def _second(text: str) -> int:
    return floor(datetime.fromisoformat(text).timestamp())
