"""What the jobs of a jobfile have to do with each other: `after`, the job of a `wait_for`, and
pools. Each job is right by itself when it comes here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping

from stsd.model import Job
from stsd.report import Place, Report, written_at
from stsd.settings import Settings
from stsd.source import Source
from stsd.units import shown
from stsd.values import Fault, Step, did_you_mean

_LONGEST_WAY = 20


class Links:
    """One look at all jobs. `homes` are the files of the jobs, `main` the one that was named;
    `names` are those of all jobs that were written down, the faulty ones too."""

    def __init__(
        self, report: Report, homes: Mapping[str, Source], main: Source, names: Collection[str]
    ) -> None:
        self._report = report
        self._homes = homes
        self._main = main
        self._names = names

    def check(self, jobs: Mapping[str, Job], settings: Settings) -> None:
        """Reports links to jobs that are not there, jobs that wait for themselves, and pools
        whose names look misspelt."""
        linked = {
            name: job
            for name, job in jobs.items()
            if job.when.after or job.pools or job.wait_for is not None
        }
        followed = {name: job for name, job in linked.items() if job.when.after}
        for name, job in followed.items():
            for index, after in enumerate(job.when.after):
                self._check_name(name, "after", (index,), after.job)
            self._check_repeats(name, job)
        for name, job in linked.items():
            if job.wait_for is not None and job.wait_for.job:
                self._check_awaited(name, job.wait_for.job)
        ways = {name: [after.job for after in job.when.after] for name, job in followed.items()}
        for cycle in _cycles(ways):
            self._tell_cycle(cycle)
        self._check_pools(linked, dict(settings.pools))

    def _check_name(self, name: str, key: str, path: tuple[Step, ...], other: str) -> None:
        if other not in self._names and self._report.full:
            self._report.one_more()
        elif other not in self._names:
            remedy = did_you_mean(other, self._names)
            fault = Fault(f"there is no job {shown(other)}", remedy, path)
            self._report.error(self._place(name, key), fault)

    def _check_repeats(self, name: str, job: Job) -> None:
        followed = [after.job for after in job.when.after]
        for index, other in enumerate(followed):
            if other in followed[:index]:
                fault = Fault(f"{shown(other)} is there twice", "give it two outcomes", (index,))
                self._report.error(self._place(name, "after"), fault)

    def _check_awaited(self, name: str, other: str) -> None:
        if other == name:
            fault = Fault("a job cannot wait for itself", "name another one", ("job",))
            self._report.error(self._place(name, "wait_for"), fault)
        else:
            self._check_name(name, "wait_for", ("job",), other)

    def _tell_cycle(self, cycle: list[str]) -> None:
        place = self._place(cycle[0], "after")
        if len(cycle) == 1:
            self._report.error(place, Fault("a job cannot come after itself", "name another one"))
            return
        shortened = [*cycle[:_LONGEST_WAY], "…"] if len(cycle) > _LONGEST_WAY else cycle
        way = " after ".join([*shortened, cycle[0]])
        self._report.error(place, Fault(f"goes round in a circle: {way}", "take one link out"))

    def _check_pools(self, jobs: Mapping[str, Job], declared: dict[str, int]) -> None:
        users = Counter(pool for job in jobs.values() for pool in job.pools)
        known = [*declared, *(pool for pool, count in users.items() if count > 1)]
        for name, job in jobs.items():
            for index, pool in enumerate(job.pools):
                if users[pool] == 1 and pool not in declared:
                    remedy = did_you_mean(pool, known)
                    if remedy:
                        fault = Fault(f"no other job has the pool {shown(pool)}", remedy, (index,))
                        self._report.warn(self._place(name, "pools"), fault)

    def _place(self, name: str, key: str) -> Place:
        return written_at(Place(self._homes[name], ("jobs", name)), key, self._main)


def _cycles(ways: Mapping[str, list[str]]) -> Iterator[list[str]]:
    """Ways that lead back to their start, each told once, from one job to the next that it is
    after. Takes a time that is linear in the number of links."""
    done: set[str] = set()
    for start in ways:
        if start in done:
            continue
        path = [start]
        index = {start: 0}
        rest = [iter(ways[start])]
        while path:
            following = next(rest[-1], None)
            if following is None:
                rest.pop()
                done.add(path[-1])
                del index[path.pop()]
            elif following in index:
                yield path[index[following] :]
            elif following in ways and following not in done:
                index[following] = len(path)
                path.append(following)
                rest.append(iter(ways[following]))
