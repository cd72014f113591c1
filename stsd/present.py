"""What is known of the present, beside the history: the jobfile, and what the daemon says.

Handed in, and asks for nothing itself; tells why a run waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from stsd.model import Job

_AT_WORK = frozenset({"committing", "running", "stopping"})


@dataclass(frozen=True, slots=True)
class Present:
    """What is known of the present: `now`; the job as the jobfile has it, if it does, and the
    other jobs; the daemon's answer to `status` and its rows by job, both None without one, and
    `absent` is why."""

    now: float
    job: Job | None
    jobs: Mapping[str, Job]
    max_running: int
    daemon: Mapping[str, Any] | None = None
    rows: Mapping[str, Mapping[str, Any]] | None = None
    absent: str = "no daemon runs"

    def row_of(self, job: str) -> Mapping[str, Any]:
        """What the daemon says of a job; empty if it says nothing."""
        return (self.rows or {}).get(job, {})

    def why_waiting(self, job: str, run: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
        """Why a live run of a job has not begun, as a sentence, and more of them. `run` is what its
        job's row says of it."""
        row = self.row_of(job)
        ahead = [other["run"] for other in row["running"] if other["phase"] in _AT_WORK]
        match run["phase"]:
            case "blocked":
                return "it waits for an earlier run of the job", tuple(
                    f"{other} has not ended" for other in ahead
                )
            case "expecting":
                return "it waits for what its `wait_for` asks for", ()
            case "preparing":
                return "its condition and secrets are looked at before it starts", ()
            case "delayed":
                return "it waits for its next attempt", ()
            case "ready":
                return self._without_place()
            case phase:
                return f"it is about to start ({phase})", ()

    def _without_place(self) -> tuple[str, tuple[str, ...]]:
        at_work = {
            name: row
            for name, row in (self.rows or {}).items()
            if any(run["phase"] in _AT_WORK for run in row.get("running", ()))
        }
        if self.daemon is not None and self.daemon.get("held"):
            return "it is held: the history cannot be written", ()
        pools = set() if self.job is None else set(self.job.pools)
        for pool in sorted(pools):
            holders = [name for name in at_work if _uses(self.jobs.get(name), pool)]
            if holders:
                return f"it is queued: the pool {pool} is taken", (f"by {', '.join(holders)}",)
        details = (f"running: {', '.join(at_work)}",) if at_work else ()
        return f"it is queued: all {self.max_running} places are taken", details


def _uses(job: Job | None, pool: str) -> bool:
    return job is not None and pool in job.pools
