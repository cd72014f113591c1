"""What was due after other jobs, by the records, and what accounts for it.

Knows of records only what it is told; reads no file and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stsd.chains import Chains
from stsd.model import Outcome
from stsd.plan import after_of


@dataclass(slots=True)
class _Due:
    """Instants, the earliest first. `spare` were due when the schedule began anew after the clock
    was set back: they may be accounted for or not. `ever` is whether any has been seen."""

    open: list[int] = field(default_factory=list)
    spare: list[int] = field(default_factory=list)
    ever: bool = False


class Sequels:
    """The dues of all jobs that follow others."""

    def __init__(self) -> None:
        self._chains = Chains()
        self._plans: dict[str, Mapping[str, Any]] = {}
        self._due: dict[str, _Due] = {}

    def plan(self, job: str, plan: Mapping[str, Any] | None) -> list[int]:
        """A job has this schedule from now on; returns the instants that are lost by that. Raises
        KeyError, TypeError or ValueError for what is no schedule."""
        rule = after_of(plan or {})
        again = plan is not None and self._plans.get(job) == plan
        if rule:
            self._chains.enter(job, rule)
            self._plans[job] = plan or {}
        else:
            self._chains.leave(job)
            self._plans.pop(job, None)
        due = self._due.get(job)
        if due is None:
            return []
        lost, due.open = due.open, []
        if again:
            due.spare += lost
            return []
        return lost

    def ended(self, job: str, outcome: Outcome, at: int) -> None:
        """A run of a job has ended for good."""
        for follower in self._chains.ended(job, outcome):
            due = self._due.setdefault(follower, _Due())
            due.open.append(at)
            due.ever = True

    def account(self, job: str, at: int, run: bool) -> tuple[bool, list[int]]:
        """An instant is accounted for, by a `run` or otherwise: whether it was due, and what is
        lost, since runs of a job start in their order. What the first run in a history followed
        may have been removed with its beginning."""
        due = self._due.setdefault(job, _Due())
        if at in due.open:
            due.open.remove(at)
        elif at in due.spare:
            due.spare.remove(at)
        elif due.ever:
            return False, []
        due.ever = True
        lost = [earlier for earlier in due.open if run and earlier < at]
        due.open = [left for left in due.open if left not in lost]
        return True, lost

    def pending(self) -> Iterator[tuple[str, int]]:
        """Of each job, how many instants nothing accounts for yet."""
        for job, due in self._due.items():
            if due.open:
                yield job, len(due.open)
