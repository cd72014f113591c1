"""Jobs that a person has paused, and until when.

Decides whether an occurrence is left out for that; records the beginning and the end of a pause.
What has begun before goes on, with its retries, and a run by hand is never left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stsd.interventions import Pause
from stsd.messages import Action, Write
from stsd.model import Reading
from stsd.records import Paused, Resumed


class Pauses:
    """The pauses in force, by job. A job that leaves the jobfile keeps its own, and may come
    back."""

    def __init__(self, actions: list[Action]) -> None:
        self._actions = actions
        self._by_job: dict[str, Pause] = {}

    @property
    def by_job(self) -> Mapping[str, Pause]:
        """All of them."""
        return self._by_job

    def recall(self, pauses: Mapping[str, Pause]) -> None:
        """Those of an earlier daemon."""
        self._by_job = dict(pauses)

    def earliest_end(self) -> float | None:
        """When the next of them is over, by the wall clock."""
        ends = [pause.until for pause in self._by_job.values() if pause.until is not None]
        return min(ends, default=None)

    def over(self, job: str, instant: float) -> Pause | None:
        """The pause that an occurrence at this instant falls into."""
        pause = self._by_job.get(job)
        if pause is None or (pause.until is not None and instant >= pause.until):
            return None
        return pause

    def begin(self, jobs: Iterable[str], pause: Pause) -> None:
        """Pause these jobs; another pause of theirs is replaced."""
        for job in jobs:
            self._by_job[job] = pause
            record = Paused(job, pause.until, pause.reason, pause.by, pause.since)
            self._actions.append(Write(record))

    def end(self, jobs: Iterable[str], by: str | None, now: Reading) -> None:
        """Resume these jobs, as far as they are paused."""
        for job in jobs:
            if self._by_job.pop(job, None) is not None:
                self._actions.append(Write(Resumed(job, by, now.wall)))

    def expire(self, now: Reading) -> None:
        """Resume those whose time is up. To be called after what is due has been admitted."""
        ends = {job: pause.until for job, pause in self._by_job.items()}
        over = [job for job, until in ends.items() if until is not None and until <= now.wall]
        self.end(over, None, now)
