"""A delivery as it is handed to the child that carries it out: one JSON object, made by the herald.

    {"id": "…", "kind": "notice", "target": {"means", "address", "secret", "shell", "argv"},
     "variables": {…}, "host": "…", "jobfile": "/…", "log_dir": "/…", "dropped": 0, "test": false,
     "notices": [{"notice": {…}, "description": "…", "zone": "Europe/Berlin", "next": 1.0}, …]}
    {"id": "…", "kind": "ping", "url": "…", "body": "…", "output": "…", "log_dir": "/…",
     "variables": {…}}

Opens no file: what was printed is looked up where there is time for it, by the child.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stsd.addressees import surroundings
from stsd.model import Job
from stsd.notices import Means, Notice, Target, notice_fields
from stsd.triggers import schedule_for
from stsd.wallclock import LAST_INSTANT

FOUND_ANYWHERE = Path("/etc/stsd/jobs.toml")
"""The jobfile that no command has to be told of, wherever it is called."""


def item_for(
    delivery: str,
    target: Target,
    notices: Iterable[Notice],
    jobs: Mapping[str, Job],
    *,
    jobfile: Path,
    log_dir: Path,
    host: str,
    now: float,
    dropped: int = 0,
    test: bool = False,
) -> dict[str, Any]:
    """The item that tells a target of these notices; `now` is a reading of the wall clock. Of a job
    that is not among `jobs`, those of the `jobfile` (absolute), any more only the notice itself is
    told."""
    notices = tuple(notices)
    known = {each.job: jobs[each.job] for each in notices if each.job in jobs}
    return {
        "id": delivery,
        "kind": "notice",
        "target": asdict(target),
        "variables": surroundings(target, known.values()) if known else {},
        "host": host,
        "jobfile": "" if jobfile == FOUND_ANYWHERE else str(jobfile),
        "log_dir": str(log_dir),
        "dropped": dropped,
        "test": test,
        "notices": [_enriched(each, known.get(each.job), now) for each in notices],
    }


def ping_item(
    delivery: str, url: str, body: str, output: str | None, job: Job, *, log_dir: Path
) -> dict[str, Any]:
    """The item that calls a dead man's switch of a job's, with the end of an `output` after the
    body, if there is one."""
    return {
        "id": delivery,
        "kind": "ping",
        "url": url,
        "body": body,
        "output": output,
        "log_dir": str(log_dir),
        "variables": surroundings(Target(Means.WEBHOOK, address=url), (job,)),
    }


def _enriched(notice: Notice, job: Job | None, now: float) -> dict[str, Any]:
    return {
        "notice": notice_fields(notice),
        "description": "" if job is None else job.description,
        "zone": "UTC" if job is None else job.when.timezone,
        "next": None if job is None else _next(notice, job, now),
    }


def _next(notice: Notice, job: Job, now: float) -> float | None:
    """When the job is tried again, or due the next time."""
    if notice.will_retry_at is not None and notice.will_retry_at > now:
        return notice.will_retry_at
    if not job.enabled or not 0 <= now < LAST_INSTANT:
        return None
    due = schedule_for(job.when, job.name).next_after(int(now))
    return None if due is None else float(due.at)
