"""Why a job was not due at a time: what kept its schedule from asking for it.

Found by asking the schedule once more with one of its conditions changed: the one that makes the
job due is the reason. Reads no file and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from stsd.errors import ScheduleError
from stsd.evidence import Evidence, Plan
from stsd.forecast import clock_changes
from stsd.model import Fold, Gap, Job, When
from stsd.statusrows import in_words
from stsd.triggers import schedule_for
from stsd.units import from_rfc3339
from stsd.wallclock import DAY, local


@dataclass(frozen=True, slots=True)
class Asked:
    """The time asked about, instants from `begin` up to, and without, `end`; `at` is the one to
    name. `zone` is that of whoever asks."""

    begin: int
    end: int
    at: int
    zone: str

    def shown(self, instant: float) -> str:
        """`2026-11-21 02:30:00` on the asker's clock."""
        return f"{local(int(instant), self.zone):%Y-%m-%d %H:%M:%S}"

    def next_after(self, evidence: Evidence, instant: int) -> int | None:
        """The next instant, strictly later, that a schedule on record demands."""
        while True:
            plan = evidence.plan_at(instant + 1)
            until = min(
                (other.since for other in evidence.plans if other.since > instant), default=None
            )
            due = None if plan is None else plan.schedule.next_after(instant)
            if due is not None and (until is None or due.at <= until):
                return due.at
            if until is None:
                return None
            instant = until


def why_not_due(
    evidence: Evidence, asked: Asked, job: Job | None, now: float
) -> tuple[str, tuple[str, ...]]:
    """A sentence, and more of them. `job` is what the jobfile has of it now, if it does."""
    plan = evidence.plan_at(asked.at)
    if plan is None or plan.when is None:
        because, details = _without_plan(evidence, asked, job, plan)
    elif not plan.schedule.parts:
        because, details = _untimed(evidence, asked, plan.when)
    else:
        because = "its schedule does not ask for that time"
        details = [f"it asks for: {in_words(plan.when)} ({plan.when.timezone})"]
        reason = next(_reasons(evidence.job, asked, plan.when), None)
        if reason is not None:
            because = reason
        details += _changes_of_clock(evidence.job, asked, plan)
        details += _neighbours(evidence, asked)
    if job is not None and not job.enabled and asked.at > now:
        details = [*details, "the jobfile says enabled = false"]
    return because, tuple(details)


def _without_plan(
    evidence: Evidence, asked: Asked, job: Job | None, plan: Plan | None
) -> tuple[str, list[str]]:
    """No schedule was in force."""
    following = [other for other in evidence.plans if other.since >= asked.at]
    details = [
        f"its schedule is in force since {asked.shown(each.since)}" for each in following[:1]
    ]
    if plan is not None:
        since = asked.shown(plan.since)
        details.append("a schedule ends when a job is removed, disabled, or due by hand only")
        return f"no schedule was in force since {since}", details
    if following:
        return "nothing is on record of a schedule of that time", details
    if job is None:
        return "neither the jobfile nor the history has a schedule of it", []
    if not job.enabled:
        return "the job is disabled: the jobfile says enabled = false", []
    if job.when == When(timezone=job.when.timezone):
        return "the jobfile gives it no times: it is started by hand", []
    if job.when.on_start and not (job.when.cron or job.when.every or job.when.at):
        return "the jobfile gives it no times: it runs when stsd starts", _starts(evidence, asked)
    return "no daemon has taken it on yet: start stsd, or reload the jobfile", []


def _starts(evidence: Evidence, asked: Asked) -> list[str]:
    return [f"stsd last started at {asked.shown(start)}" for start in evidence.starts[-1:]]


def _untimed(evidence: Evidence, asked: Asked, when: When) -> tuple[str, list[str]]:
    """A schedule that time has no part in."""
    if not when.after:
        return "it has no times of its own", []
    details = []
    for other in when.after:
        wanted = " or ".join(sorted(other.outcomes))
        end = evidence.ends.get(other.job)
        told = f"due when {other.job} has {wanted}"
        if end is not None:
            told += f"; it last {end['outcome']}, at {asked.shown(from_rfc3339(end['at']))}"
        details.append(told)
    return "it has no times of its own: it follows other jobs", details


def _reasons(job: str, asked: Asked, when: When) -> Iterator[str]:
    """The conditions without which the job would have been due."""
    day = f"{local(asked.at, when.timezone):%Y-%m-%d}"
    changed: list[tuple[str, When]] = [
        (f"{day} is among its skip_dates", replace(when, skip_dates=())),
        (f"{day} is a public holiday ({when.skip_holidays})", replace(when, skip_holidays="")),
        (f"it starts on {when.start}", replace(when, start=None)),
        (f"it ended with {when.end}", replace(when, end=None)),
        (
            "the clock was set back: that time came twice, and it was due the first time"
            ' (dst = { fold = "first" })',
            replace(when, fold=Fold.BOTH),
        ),
        (
            f'the clock was set forward over its time (dst = {{ gap = "{when.gap}" }})',
            replace(when, gap=Gap.SKIP if when.gap is Gap.AFTER else Gap.AFTER),
        ),
    ]
    for reason, other in changed:
        if other != when and _first(job, other, asked) is not None:
            yield reason
    if when.splay:
        plain = _first(job, replace(when, splay=0), asked)
        if plain is not None:
            moved = plain + schedule_for(when, job).splay
            yield f"its splay puts it off, to {asked.shown(moved)}"
    if when.timezone != asked.zone:
        there = _first(job, replace(when, timezone=asked.zone), asked)
        if there is not None:
            yield f"its times are those of {when.timezone}, and you asked for one of {asked.zone}"


def _first(job: str, when: When, asked: Asked) -> int | None:
    """Its first occurrence in the time asked about."""
    try:
        due = schedule_for(when, job).next_after(asked.begin - 1)
    except ScheduleError:  # what cannot be, without that condition
        return None
    return due.at if due is not None and due.at < asked.end else None


def _changes_of_clock(job: str, asked: Asked, plan: Plan) -> list[str]:
    """What a change of the clock on that day does to the schedule."""
    changes = clock_changes(plan.schedule, job, asked.begin - DAY, asked.end + DAY)
    return [str(change) for change in changes]


def _neighbours(evidence: Evidence, asked: Asked) -> list[str]:
    """The occurrences before and after, by the schedules in force."""
    before = evidence.last_before(asked.begin)
    after = asked.next_after(evidence, asked.end - 1)
    told = [] if before is None else [f"the one before: {_told(evidence, asked, before)}"]
    return told + ([] if after is None else [f"the next one: {_told(evidence, asked, after)}"])


def _told(evidence: Evidence, asked: Asked, instant: int) -> str:
    """On the asker's clock, and on the job's where that is another."""
    plan = evidence.plan_at(instant)
    zone = asked.zone if plan is None or plan.when is None else plan.when.timezone
    here, there = local(instant, asked.zone), local(instant, zone)
    return asked.shown(instant) + (f" ({_clock(there)} in {zone})" if _differ(here, there) else "")


def _differ(one: datetime, other: datetime) -> bool:
    return one.utcoffset() != other.utcoffset()


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
