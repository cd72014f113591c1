"""All runs that have not ended, by id and by job, and the places that they hold.

Keeps count; decides nothing. Whoever changes a run's phase does it here, so that the places in
the pool and the slots of the named pools follow from the phases alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stsd.runqueue import RunQueue
from stsd.runs import IN_POOL, WITH_CHILD, Live, Phase

# Waiting this long weighs as much as one step of priority, so that no run starves.
AGEING_S = 300.0


class Roster:
    """The live runs, in the order in which they were enlisted."""

    def __init__(self, slots: Mapping[str, int]) -> None:
        self.in_pool = 0
        self._live: dict[str, Live] = {}
        self._by_job: dict[str, list[str]] = {}
        self._queue = RunQueue(slots)

    def __contains__(self, run_id: str) -> bool:
        return run_id in self._live

    def __getitem__(self, run_id: str) -> Live:
        return self._live[run_id]

    def get(self, run_id: str) -> Live | None:
        """The run, or None if it has ended or never was."""
        return self._live.get(run_id)

    def all(self) -> tuple[Live, ...]:
        """Every live run."""
        return tuple(self._live.values())

    def of_job(self, job: str) -> list[Live]:
        """The live runs of a job, the first one first."""
        return [self._live[run_id] for run_id in self._by_job.get(job, ())]

    @property
    def children(self) -> int:
        """How many runs have a child."""
        return sum(1 for live in self._live.values() if live.phase in WITH_CHILD)

    def put(self, live: Live) -> Live:
        """The run stands like this from now on; a new one is enlisted as its job's last."""
        before = self._live.get(live.run.id)
        if before is None:
            self._by_job.setdefault(live.run.job.name, []).append(live.run.id)
        self._account(before, live)
        self._live[live.run.id] = live
        return live

    def make_ready(self, live: Live) -> None:
        """The run waits for a place in the pool from now on."""
        job = live.run.job
        self.put(live.moved(Phase.READY))
        self._queue.push(live.run.id, job.pools, live.due_at - AGEING_S * job.priority)

    def next_ready(self, wall: float) -> Live | None:
        """The run whose turn it is, taken off the queue; None: no one can have its slots now."""
        run_id = self._queue.pop(wall - AGEING_S)
        return None if run_id is None else self._live[run_id]

    def remove(self, live: Live) -> None:
        """The run has ended."""
        run = live.run
        self._account(self._live.pop(run.id), None)
        self._queue.drop(run.id)
        queue = self._by_job[run.job.name]
        queue.remove(run.id)
        if not queue:
            del self._by_job[run.job.name]

    def resize(self, slots: Sequence[tuple[str, int]]) -> None:
        """The pools have other sizes from now on."""
        self._queue.resize(dict(slots))

    def _account(self, before: Live | None, after: Live | None) -> None:
        was = before is not None and before.phase in IN_POOL
        is_ = after is not None and after.phase in IN_POOL
        self.in_pool += is_ - was
        if before is not None and was and not is_:
            self._queue.give_back(before.run.job.pools)
        if after is not None and is_ and not was:
            self._queue.take(after.run.job.pools)
