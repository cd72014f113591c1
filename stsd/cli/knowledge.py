"""What `stsd status JOB` reads besides the job's row: its definition and its last attempts."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from stsd.cli.answers import Answer
from stsd.cli.common import visible
from stsd.cli.jobview import Known
from stsd.cli.selection import Jobs, Selection, newest
from stsd.cli.statusview import Row
from stsd.cli.wording import instant_of
from stsd.errors import JobfileError
from stsd.jobfile import load, machine_zone
from stsd.model import Job, Outcome
from stsd.output import output_name
from stsd.triggers import schedule_for

_LAST_ATTEMPTS = 5


def known_of(answer: Answer) -> list[Known]:
    """All that is known of the jobs of an answer."""
    jobs, note = _definitions(answer.jobfile)
    return [_known(answer, row, jobs, note) for row in answer.rows]


def _definitions(path: Path) -> tuple[Mapping[str, Job], str]:
    """The jobs as the jobfile has them, and why there are none."""
    try:
        return load(path, local_zone=machine_zone()).jobs, ""
    except JobfileError as error:
        return {}, f"the jobfile cannot be read for more: {visible(str(error.problems[0]))}"


def _known(answer: Answer, row: Row, jobs: Mapping[str, Job], note: str) -> Known:
    job, notes = jobs.get(row["job"]), [note] if note else []
    if not note and not _agrees(job, row):
        job = None
        notes.append("the jobfile says otherwise by now (stsd reload --dry-run)")
    try:
        last = _last_attempts(answer.log_dir, row["job"]) if row["last_outcome"] else []
    except PermissionError as error:
        last = []
        notes.append(f"its last runs cannot be read: {error.strerror}: {error.filename}")
    folder = str((answer.log_dir / output_name(row["job"], "", 0)).parent)
    return Known(row, job, last, folder, notes)


def _agrees(job: Job | None, row: Row) -> bool:
    """Whether the job is due by the jobfile when the daemon says it is."""
    if job is None or row["next"] is None:
        return job is not None
    at = int(instant_of(row["next"]))
    due = schedule_for(job.when, job.name).next_after(at - 1)
    return due is not None and due.at == at


def _last_attempts(log_dir: Path, job: str) -> list[dict[str, Any]]:
    wanted = Selection(Jobs(frozenset((job,))), outcomes=frozenset(Outcome))
    return list(islice(newest(log_dir, wanted), _LAST_ATTEMPTS))
