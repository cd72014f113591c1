"""What stsd is to reach, and the facts of the measures that tell whether it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Goal:
    """`fact` over `per`, where that is named, is to be at most (or below) `limit`."""

    what: str
    fact: str
    limit: float
    unit: str = ""
    per: str = ""
    relation: str = "at most"

    def measured(self, facts: Mapping[str, float]) -> float | None:
        """None if it was not."""
        if self.fact not in facts or (self.per and not facts.get(self.per)):
            return None
        return facts[self.fact] / (facts[self.per] if self.per else 1)

    def holds(self, value: float) -> bool:
        return value < self.limit if self.relation == "below" else value <= self.limit


GOALS = (
    Goal("p99 lateness of 1,000 jobs due at once, to that of the C loop", "p99 of 1000, stsd",
         1.3, " x", per="p99 of 1000, C loop"),
    Goal("the same, to the best of the peers", "p99 of 1000, stsd", 1.0, " x",
         per="p99 of 1000, best peer", relation="below"),
    Goal("processor time of a start, above the bare spawn", "CPU above the loop, ms", 0.25, " ms"),
    Goal("lateness of a single job, p99", "p99 of one, ms", 2, " ms", relation="below"),
    Goal("`stsd check` on 10,000 jobs", "check, s", 1.5, " s", relation="below"),
    Goal("the same, its memory", "check, MiB", 60, " MiB", relation="below"),
    Goal("the same, to tomli alone", "check, s", 4, " x", per="tomli, s"),
    Goal("memory with one job", "memory of 1, MiB", 30, " MiB"),
    Goal("memory of each further job", "memory per job, KiB", 1.5, " KiB"),
    Goal("start-up with one job", "start-up of 1, s", 0.3, " s"),
    Goal("start-up with 10,000", "start-up of 10000, s", 2, " s"),
    Goal("start-up with 100,000", "start-up of 100000, s", 15, " s"),
    Goal("reload of 10,000 jobs, the longest standstill", "standstill, ms", 50, " ms"),
    Goal("idle with 1,000 jobs, share of a core", "idle, %", 0.02, " %", relation="below"),
    Goal("drift in the time measured, lost seconds", "lost, s", 0, " s"),
    Goal("lateness of the last sixth of it, to the first", "lateness, last sixth, ms", 1.5, " x",
         per="lateness, first sixth, ms"),
    Goal("Python entry point, warm start", "warm, ms", 5, " ms", relation="below"),
    Goal("memory after many runs, to that after 1,000", "memory after all, MiB", 1.05, " x",
         per="memory after 1000, MiB"),
)  # fmt: skip
