"""What a child is given: its command, folder and environment. Decides; starts nothing.

The environment is built from an allowlist, never copied: nothing of the daemon's own life
(LD_*, PYTHON*, NOTIFY_SOCKET, credentials) reaches a job that did not ask for it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stsd.model import ArgvTask, PythonTask, Run, ShellTask, Task
from stsd.units import rfc3339

ALLOWED = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"}
)
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ENTRY = str(Path(__file__).with_name("entry.py"))


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child to be: `argv[0]` is looked up in the PATH of `env` unless it has a slash."""

    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str
    umask: int


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What every child inherits of the daemon's environment."""
    kept = {
        name: value for name, value in environ.items() if name in ALLOWED or name.startswith("LC_")
    }
    return {"PATH": DEFAULT_PATH} | kept


def child_spec(run: Run, attempt: int, base: Mapping[str, str]) -> ChildSpec:
    """The child of one attempt of a run; `base` is what `base_environment` returned."""
    job = run.job
    about = {
        "STSD_JOB": job.name,
        "STSD_RUN_ID": run.id,
        "STSD_SCHEDULED_AT": rfc3339(run.scheduled),
        "STSD_ATTEMPT": str(attempt),
        "STSD_TRIGGER": run.trigger.value,
    }
    return ChildSpec(_argv(job.task), {**base, **dict(job.env), **about}, job.cwd, job.umask)


def _argv(task: Task) -> tuple[str, ...]:
    match task:
        case ShellTask():
            return (task.shell, "-c", task.command)
        case ArgvTask():
            return task.argv
        case PythonTask():
            spec = {
                "target": task.target,
                "args": json.loads(task.args),
                "kwargs": json.loads(task.kwargs),
                "path": task.path,
            }
            return (task.interpreter or sys.executable, _ENTRY, json.dumps(spec))
