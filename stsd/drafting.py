"""Notices made of what they are about: the end of an attempt, one under way, occurrences left out,
or no run at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stsd import grounds
from stsd.conduct import Conduct, Underway
from stsd.model import Job
from stsd.notices import Event, Notice
from stsd.units import from_rfc3339

Record = Mapping[str, Any]


def of_end(event: Event, record: Record, conduct: Conduct, at: float, why: str) -> Notice:
    """About the attempt whose `finished` record this is."""
    started, retry = record["started"], record["will_retry_at"]
    return Notice(
        event=event,
        job=record["job"],
        at=at,
        why=why,
        run=record["run"],
        scheduled=int(from_rfc3339(record["scheduled"])),
        trigger=record["trigger"],
        attempt=record["attempt"],
        outcome=record["outcome"],
        exit_code=record["exit_code"],
        signal=record["signal"],
        error=record["error"],
        started=None if started is None else from_rfc3339(started),
        duration_s=record["duration_s"],
        usual_s=conduct.durations.usual(),
        output=record["output"],
        output_bytes=record["output_bytes"],
        will_retry_at=None if retry is None else from_rfc3339(retry),
    )


def of_underway(
    event: Event, job: Job, conduct: Conduct, run: str, begun: Underway, at: float, why: str
) -> Notice:
    """About an attempt that has not ended."""
    return Notice(
        event=event,
        job=job.name,
        at=at,
        why=why,
        run=run,
        scheduled=begun.scheduled,
        trigger=begun.trigger,
        attempt=begun.attempt,
        started=begun.started,
        usual_s=conduct.durations.usual(),
    )


def of_skip(record: Record, job: Job, at: float) -> Notice:
    """About an occurrence that was left out on purpose."""
    scheduled = int(from_rfc3339(record["scheduled"]))
    return Notice(
        event=Event.SKIPPED,
        job=job.name,
        at=at,
        why=grounds.of_skip(job, scheduled, record["reason"], record.get("detail")),
        run=record.get("run"),
        scheduled=scheduled,
        trigger=record.get("trigger"),
    )


def of_misses(record: Record, job: Job, at: float) -> Notice:
    """About occurrences that fell due unseen."""
    first, last = int(from_rfc3339(record["first"])), int(from_rfc3339(record["last"]))
    count = record["count"]
    why = grounds.of_misses(job, count, first, last, record["reason"])
    return Notice(Event.MISSED, job.name, at, why, scheduled=first, count=count)
