"""Jobs that are due after others: whose end counts, and when all that is asked for has come.

A job is due when each of those that it names has ended as it asks, with that as its last end
since the job itself was last due. Knows nothing of clocks and runs.
"""

from __future__ import annotations

from collections.abc import Collection

from stsd.model import After, Outcome


class Chains:
    """The rules of all jobs that are due after others, and what has been met of them."""

    def __init__(self) -> None:
        self._rules: dict[str, dict[str, frozenset[Outcome]]] = {}
        self._met: dict[str, set[str]] = {}
        self._followers: dict[str, dict[str, None]] = {}

    def enter(self, job: str, after: Collection[After], met: Collection[str] = ()) -> None:
        """A job's rule, in place of any other it had; `met` names the jobs that have ended as it
        asks."""
        self.leave(job)
        if not after:
            return
        self._rules[job] = {other.job: other.outcomes for other in after}
        self._met[job] = set(met) & self._rules[job].keys()
        for other in after:
            self._followers.setdefault(other.job, {})[job] = None

    def leave(self, job: str) -> None:
        """The job has no such rule any more."""
        for other in self._rules.pop(job, {}):
            del self._followers[other][job]
            if not self._followers[other]:
                del self._followers[other]
        self._met.pop(job, None)

    def met(self) -> dict[str, frozenset[str]]:
        """Of each job with a rule, the jobs that have ended as it asks since it was last due."""
        return {job: frozenset(met) for job, met in self._met.items()}

    def ended(self, job: str, outcome: Outcome) -> list[str]:
        """A run of a job has ended for good: the jobs that are due by that."""
        due = []
        for follower in self._followers.get(job, ()):
            rule, met = self._rules[follower], self._met[follower]
            if outcome in rule[job]:
                met.add(job)
            else:
                met.discard(job)
            if met == rule.keys():
                met.clear()
                due.append(follower)
        return due
