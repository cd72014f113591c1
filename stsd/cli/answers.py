"""Where `stsd status` has it from: the daemon, else the files that the last one left.

Imports next to nothing when there is a daemon, since that is asked often.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stsd.cli.common import config_path, files_of, tell_damage
from stsd.cli.talk import daemon_of, explained, unknown_job
from stsd.client import RefusedError
from stsd.errors import NoDaemonError

Damaged = Callable[[Path, bytes], None]
"""Is told of a file and of a line in it that is no record."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows, and the daemon that gave them. Where there is none, they come from files, and `told`
    says so."""

    rows: list[dict[str, Any]]
    daemon: dict[str, Any] | None
    jobfile: Path
    log_dir: Path
    told: str = ""


def answer_to(arguments: argparse.Namespace, damaged: Damaged = tell_damage) -> Answer:
    """The rows of the jobs and tags asked for, or of all; `damaged` is told of lines in the
    history that are no record. Raises StsdError where neither a daemon nor its files can tell."""
    try:
        client = daemon_of(arguments)
    except NoDaemonError as error:
        return _recalled(arguments, error, damaged)
    with client:
        try:
            answer = client.ask("status", jobs=arguments.jobs or None, tags=arguments.tag)
        except RefusedError as error:
            raise explained(error) from error
    where = client.hello
    return Answer(answer["jobs"], answer["daemon"], Path(where["jobfile"]), Path(where["log_dir"]))


def _recalled(arguments: argparse.Namespace, error: NoDaemonError, damaged: Damaged) -> Answer:
    from stsd.jobfile import load, machine_zone
    from stsd.recovery import recall
    from stsd.statusrows import rows, standing_of_memory

    jobfile = load(config_path(arguments), local_zone=machine_zone())
    where = files_of(jobfile.settings, jobfile.path)
    for name in arguments.jobs:
        if name not in jobfile.jobs:
            raise unknown_job(name, jobfile.jobs, jobfile.path)
    named, tags = set(arguments.jobs), set(arguments.tag or ())
    jobs = [
        job
        for job in jobfile.jobs.values()
        if not (named or tags) or job.name in named or tags.intersection(job.tags)
    ]
    standing = standing_of_memory(recall(where, damaged))
    found: list[dict[str, Any]] = list(rows(jobs, standing, time.time()))
    told = f"{error.message}; this is what its files tell"
    return Answer(found, None, jobfile.path, where.log_dir, told)
