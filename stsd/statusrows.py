"""How every job stands, as plain rows: what `stsd status` shows, of a daemon or of its files.

Reads what the core knows and changes nothing. The shape of a row is part of the protocol of the
control socket.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor
from types import MappingProxyType

from stsd.describe import describe, describe_at
from stsd.interventions import Pause
from stsd.memory import Memory
from stsd.model import Job, When
from stsd.recent import Recent
from stsd.runs import IN_POOL, UNSTARTED, Live, Phase
from stsd.triggers import schedule_for
from stsd.units import format_duration, rfc3339
from stsd.wallclock import local

Row = dict[str, object]

_STATES = {
    Phase.BLOCKED: "queued",
    Phase.EXPECTING: "waiting",
    Phase.READY: "queued",
    Phase.PREPARING: "running",
    Phase.COMMITTING: "running",
    Phase.RUNNING: "running",
    Phase.STOPPING: "running",
    Phase.DELAYED: "retrying",
}
_RANK = ("running", "queued", "waiting", "retrying")


@dataclass(frozen=True, slots=True)
class Activity:
    """A run that has not ended: `since` is when it got its process, else when it was due (wall
    clock)."""

    run: str
    job: str
    attempt: int
    phase: Phase
    since: float
    pid: int | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is to tell of all jobs: their runs, how the last ones ended, and pauses."""

    activities: Mapping[str, tuple[Activity, ...]]
    recent: Mapping[str, Recent]
    pauses: Mapping[str, Pause]


def standing_of_lives(
    lives: Iterable[Live], recent: Mapping[str, Recent], pauses: Mapping[str, Pause]
) -> Standing:
    """As a running core knows it."""
    activities = (
        Activity(
            run=live.run.id,
            job=live.run.job.name,
            attempt=live.attempt,
            phase=live.phase,
            since=live.started.wall if live.started else live.due_at,
            pid=live.pid,
        )
        for live in lives
    )
    return Standing(_by_job(activities), recent, pauses)


def standing_of_memory(memory: Memory) -> Standing:
    """As the files of a daemon that is gone tell it; attempts whose process has gone with it are
    left out."""
    open_ = (
        Activity(
            attempt.run,
            attempt.job,
            attempt.attempt,
            Phase.RUNNING,
            attempt.started or float(attempt.scheduled),
            attempt.pid,
        )
        for attempt in memory.open.values()
        if attempt.alive
    )
    delayed = (
        Activity(run.run, run.job, run.attempt, Phase.DELAYED, run.retry_at, None)
        for run in memory.delayed.values()
    )
    return Standing(_by_job([*open_, *delayed]), memory.recent, memory.pauses)


def numbers_of(lives: Iterable[Live]) -> dict[str, int]:
    """How many runs there are in the pool, before it, and put off to another attempt."""
    phases = [live.phase for live in lives]
    return {
        "running": sum(phase in IN_POOL for phase in phases),
        "queued": sum(phase in UNSTARTED - IN_POOL for phase in phases),
        "delayed": phases.count(Phase.DELAYED),
    }


def rows(
    jobs: Iterable[Job],
    standing: Standing,
    now: float,
    alerts: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Iterator[Row]:
    """One row for each of these jobs, in their order; see docs/control.md for its fields. `alerts`
    is what is amiss, by job."""
    for job in jobs:
        activities = standing.activities.get(job.name, ())
        pause = standing.pauses.get(job.name)
        recent = standing.recent.get(job.name)
        yield {
            "job": job.name,
            "state": _state(job, activities, pause),
            "next": next_occurrence(job, pause, now),
            "last_outcome": None if recent is None else recent.outcomes[-1],
            "running": [_activity_fields(activity) for activity in activities],
            "last_at": None if recent is None else rfc3339(recent.at),
            "recent": [] if recent is None else recent.pairs(),
            "usual_s": None if recent is None else recent.usual_s,
            "paused": None if pause is None else _pause_fields(pause),
            "description": job.description or None,
            "tags": job.tags,
            "schedule": in_words(job.when),
            "alerts": list(alerts.get(job.name, ())),
        }


def next_occurrence(job: Job, pause: Pause | None, now: float) -> str | None:
    """When a job is due next, RFC 3339 with the offset of its zone. None: nobody knows, for it is
    disabled, paused for good, or due by other things than the time."""
    if not job.enabled:
        return None
    since = floor(now)
    if pause is not None:
        if pause.until is None:
            return None
        since = max(since, ceil(pause.until) - 1)
    due = schedule_for(job.when, job.name).next_after(since)
    return None if due is None else local(due.at, job.when.timezone).isoformat()


def in_words(when: When) -> str:
    """All that makes a job due."""
    parts = [describe(text) for text in when.cron]
    parts += [f"every {format_duration(when.every)}"] if when.every else []
    parts += [describe_at(text) for text in when.at]
    parts += ["when stsd starts"] if when.on_start else []
    if when.after:
        names = [f"{after.job} ({', '.join(sorted(after.outcomes))})" for after in when.after]
        parts.append(f"after {' and '.join(names)}")
    return "; ".join(parts) or "by hand"


def _state(job: Job, activities: tuple[Activity, ...], pause: Pause | None) -> str:
    states = {_STATES[activity.phase] for activity in activities}
    for state in _RANK:
        if state in states:
            return state
    if not job.enabled:
        return "disabled"
    return "idle" if pause is None else "paused"


def _by_job(activities: Iterable[Activity]) -> dict[str, tuple[Activity, ...]]:
    found: dict[str, tuple[Activity, ...]] = {}
    for activity in activities:
        found[activity.job] = (*found.get(activity.job, ()), activity)
    return found


def _activity_fields(activity: Activity) -> dict[str, object]:
    return {
        "run": activity.run,
        "attempt": activity.attempt,
        "phase": activity.phase.name.lower(),
        "since": rfc3339(activity.since),
        "pid": activity.pid,
    }


def _pause_fields(pause: Pause) -> dict[str, object]:
    return {
        "since": rfc3339(pause.since),
        "until": None if pause.until is None else rfc3339(pause.until),
        "reason": pause.reason,
        "by": pause.by,
    }
