"""Whether jobs that were made of a crontab run when cron would have run them.

Compares what stsd computes with what `stsd.crontabmeaning` says, which shares nothing with it. It
explains no difference away but one of the changes of the clocks, and tells those, too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from stsd.conversion import ImportedJob
from stsd.crontabmeaning import REBOOT, changes, runs, times_of
from stsd.model import Job
from stsd.triggers import schedule_for
from stsd.wallclock import local

_MOST = 3


@dataclass(frozen=True, slots=True)
class Difference:
    """A job that runs at other times than under cron. `of_clocks`: only where the clocks change,
    in a way that is stsd's rule."""

    job: ImportedJob
    message: str
    of_clocks: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """The comparison: how many occurrences of how many jobs agree, and which do not."""

    jobs: int
    occurrences: int
    differences: tuple[Difference, ...]

    @property
    def holds(self) -> bool:
        """Whether all is as under cron, the changes of the clocks aside."""
        return all(difference.of_clocks for difference in self.differences)


def verify(
    made: Sequence[ImportedJob], jobs: Mapping[str, Job], zone: str, begin: int, end: int
) -> Verdict:
    """Compares all occurrences from `begin` until before `end`, in seconds since the epoch, both
    at full minutes. `jobs` are those of the jobfile, read back; `zone` is the one that cron has
    for a job without its own."""
    known: dict[tuple[str, str, str], tuple[int, str, bool]] = {}
    agreed, differences = 0, []
    for each in made:
        job = jobs[each.name]
        of_cron = str(each.keys.get("timezone", zone))
        slot = (each.entry.when, of_cron, repr(job.when))
        if slot not in known:
            known[slot] = _compared(each.entry.when, of_cron, job, begin, end)
        count, message, of_clocks = known[slot]
        agreed += count
        if message:
            differences.append(Difference(each, message, of_clocks))
    return Verdict(len(made), agreed, tuple(differences))


def _compared(when: str, of_cron: str, job: Job, begin: int, end: int) -> tuple[int, str, bool]:
    """How many occurrences agree; what is to be said of the others, and whether it is only for
    the changes of the clocks that they do not."""
    if when == REBOOT:
        same = job.when.on_start and not job.when.cron
        return int(same), "" if same else "it does not run when stsd starts", False
    zone = ZoneInfo(of_cron)
    ours = Counter(_ours(job, begin, end))
    theirs = Counter(runs(times_of(when), zone, begin, end))
    differing = sorted((ours - theirs) | (theirs - ours))
    if not differing:
        return ours.total(), "", False
    spans = [
        (change.at, change.at + abs(change.minutes) * 60) for change in changes(zone, begin, end)
    ]
    of_clocks = all(any(low <= at <= high for low, high in spans) for at in differing)
    told = [_told(at, theirs[at], ours[at], of_cron) for at in differing[:_MOST]]
    if len(differing) > _MOST:
        told.append(f"and {len(differing) - _MOST:,} more times")
    return (ours & theirs).total(), "; ".join(told), of_clocks


def _ours(job: Job, begin: int, end: int) -> list[int]:
    """What stsd computes, without the job's own offset."""
    schedule = schedule_for(replace(job.when, splay=0), job.name)
    found: list[int] = []
    due = schedule.next_after(begin - 1)
    while due is not None and due.at < end:
        found.append(due.at)
        due = schedule.next_after(due.at)
    return found


def _told(at: int, theirs: int, ours: int, zone: str) -> str:
    moment: datetime = local(at, zone)
    return (
        f"on {moment:%Y-%m-%d} at {moment.isoformat()[11:16]}{moment.isoformat()[19:]}"
        f" cron runs it {_times(theirs)}, stsd {_times(ours)}"
    )


def _times(count: int) -> str:
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")
