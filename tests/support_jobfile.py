"""Reading a jobfile that a test writes, in the folder of the test."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from stsd.errors import JobfileError
from stsd.jobfile import load
from stsd.model import Job
from stsd.settings import Jobfile

COMMAND = '[jobs.a]\ncommand = "true"\n'
OTHERS = '[jobs.b]\ncommand = "true"\n[jobs.c]\ncommand = "true"\n'
ROOT, SOMEBODY = 0, 12345


def loaded(text: str, uid: int | None = None, *, to_run: bool = False) -> Jobfile:
    path = Path("jobs.toml")
    path.write_text(textwrap.dedent(text))
    path.chmod(0o644)
    return load(path, local_zone="UTC", trusted_uid=uid, to_run=to_run)


def job(lines: str) -> Job:
    """The job `a` of which these are the lines besides its command; there are `b` and `c`."""
    return loaded(f"{COMMAND}{lines}\n{OTHERS}").jobs["a"]


def problems(text: str, uid: int | None = None, *, to_run: bool = False) -> list[str]:
    with pytest.raises(JobfileError) as raised:
        loaded(text, uid, to_run=to_run)
    return [str(problem) for problem in raised.value.problems]


def problem(line: str) -> str:
    """The one thing that is said of a third line of the jobfile."""
    (said,) = problems(f"{COMMAND}{line}\n{OTHERS}")
    assert said.startswith("jobs.toml:3:")
    return said.partition(": ")[2]


def warnings(lines: str, uid: int | None = None) -> list[str]:
    jobfile = loaded(f"{COMMAND}{lines}\n{OTHERS}", uid)
    return [warning for warning in jobfile.warnings if "jobs.a" in warning]
