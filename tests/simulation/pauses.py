"""Whether jobs are left out while they are paused, and only then, by the history's lines alone."""

from __future__ import annotations

from datetime import datetime
from typing import Any


class Pauses:
    """Takes the records in their order; `faults` is what contradicts them."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self._paused: dict[str, tuple[float, float]] = {}

    def take(self, record: dict[str, Any]) -> None:
        match record["event"]:
            case "paused":
                until = record["until"]
                end = _moment(until) if until is not None else float("inf")
                self._paused[record["job"]] = (_moment(record["at"]), end)
            case "resumed":
                if self._paused.pop(record["job"], None) is None:
                    self.faults.append(f"resumed, but not paused: {record}")
            case "skipped" if record["reason"] == "paused":
                if not self._covers(record, since=float("-inf")):
                    self.faults.append(f"left out, but not paused: {record}")
            case "intent" if record["attempt"] == 1 and record["trigger"] != "manual":
                begun, _ = self._paused.get(record["job"], (0.0, 0.0))
                # What was due before waits for its turn, and has it.
                if self._covers(record, since=begun):
                    self.faults.append(f"run, though paused: {record}")

    def _covers(self, record: dict[str, Any], since: float) -> bool:
        if record["job"] not in self._paused:
            return False
        _, until = self._paused[record["job"]]
        return since < _moment(record["scheduled"]) < until


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
