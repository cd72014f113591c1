"""What a child is given: command, folder, environment, user and limits. Decides; starts nothing.

The environment is built from an allowlist, never copied: nothing of the daemon's own life
(LD_*, PYTHON*, NOTIFY_SOCKET, credentials) reaches a job that did not ask for it. Nothing of what
a task is given (arguments, headers, messages) is in argv, where everybody could read it.
"""

from __future__ import annotations

import json
import os
import pwd
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from stsd.limits import rlimits_for
from stsd.model import (
    INHERITED,
    INHERITED_TOO,
    ArgvTask,
    HttpTask,
    Job,
    MessageTask,
    PythonTask,
    Run,
    ShellTask,
    Task,
)
from stsd.tracecontext import TRACEPARENT, traceparent
from stsd.units import rfc3339

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What an attempt is told of itself.
ABOUT_THE_RUN = frozenset(
    {"STSD_JOB", "STSD_RUN_ID", "STSD_SCHEDULED_AT", "STSD_ATTEMPT", "STSD_TRIGGER", TRACEPARENT}
)
# These a child with a user has of that user, unless the job says otherwise.
_OF_USER = frozenset({"HOME", "LOGNAME", "SHELL", "USER"})


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child to be: `argv[0]` is looked up in the PATH of `env` unless it has a slash.

    `stdin` is what it reads there; None: nothing, from /dev/null. `user` and `group` are a name or
    a number, None for stsd's own; HOME, USER, LOGNAME and SHELL of a `user` are added to `env`
    where it has them not. `rlimits` are names of getrlimit(2), each with its soft and hard limit;
    `cgroup` is the folder of the control group to enter. `warm` is the argv of a process that could
    fork it instead of starting its program; empty: none.
    """

    argv: tuple[str, ...]
    env: dict[str, str] = field(repr=False)
    cwd: str
    umask: int
    stdin: bytes | None = None
    user: str | int | None = None
    group: str | int | None = None
    nice: int | None = None
    rlimits: tuple[tuple[str, int, int], ...] = ()
    cgroup: str = ""
    warm: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """Whether it can be started by vfork, which cannot do more than these few things."""
        return (
            self.user is None
            and self.group is None
            and self.nice is None
            and not self.rlimits
            and not self.cgroup
            and not self.warm
        )


def base_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What every child inherits of the daemon's environment."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in INHERITED or name.startswith(INHERITED_TOO)
    }
    return {"PATH": DEFAULT_PATH} | kept


def environment(
    run: Run, attempt: int, base: Mapping[str, str], given: Mapping[str, str]
) -> dict[str, str]:
    """The environment of one attempt: `base` is what `base_environment` returned, `given` is what
    env files and secrets say."""
    job = run.job
    own = base if user_of(job) is None else _without(base, _OF_USER)
    about = {
        "STSD_JOB": job.name,
        "STSD_RUN_ID": run.id,
        "STSD_SCHEDULED_AT": rfc3339(run.scheduled),
        "STSD_ATTEMPT": str(attempt),
        "STSD_TRIGGER": run.trigger.value,
    }
    if run.trace:
        about[TRACEPARENT] = traceparent(run.trace, run.id, attempt, job.env)
    return {**own, **dict(job.env), **given, **about}


def child_spec(
    run: Run,
    attempt: int,
    base: Mapping[str, str],
    given: Mapping[str, str] | None = None,
    cgroup: Path | None = None,
    controllers: frozenset[str] = frozenset(),
) -> ChildSpec:
    """The child of one attempt of a run; `base` and `given` are those of `environment`. `cgroup` is
    its control group, if it has one, and `controllers` are the limits that this one holds."""
    job = run.job
    argv, stdin = command(job.task)
    return ChildSpec(
        argv=argv,
        env=environment(run, attempt, base, given or {}),
        cwd=job.cwd,
        umask=job.umask,
        stdin=stdin,
        user=user_of(job),
        group=job.group,
        nice=job.nice,
        rlimits=rlimits_for(job.limits, controllers) if job.limits is not None else (),
        cgroup=str(cgroup) if cgroup is not None else "",
        warm=_warm(job),
    )


def user_of(job: Job) -> str | int | None:
    """The user that a child has to become; None where a stsd that is not root is that user, and
    nothing has to change, nor could."""
    if job.user is None:
        return None
    euid = os.geteuid()
    own = euid != 0 and job.group is None and _is_user(job.user, euid)
    return None if own else job.user


def command(task: Task) -> tuple[tuple[str, ...], bytes | None]:
    """The argv of a task, and what its child reads on standard input (None: nothing)."""
    match task:
        case ShellTask():
            return (task.shell, "-c", task.command), None
        case ArgvTask():
            return task.argv, None
        case PythonTask():
            argv = (task.interpreter or sys.executable, program("entry"), task.target)
            return argv, _json(
                target=task.target,
                args=json.loads(task.args),
                kwargs=json.loads(task.kwargs),
                path=task.path,
            )
        case HttpTask():
            what = f"{task.method} {_public(task.url)}"
            return (sys.executable, "-I", program("http_request"), what), _json(
                url=task.url,
                method=task.method,
                headers=task.headers,
                body=task.body,
                json=task.json,
                expect=task.expect,
                timeout=task.timeout,
            )
        case MessageTask():
            stdin = _json(to=task.to, title=task.title, body=task.body)
            return (sys.executable, "-I", program("send_message")), stdin


def program(name: str) -> str:
    """The path of a program of stsd's that runs in a child."""
    return str(Path(__file__).with_name(f"{name}.py"))


def process_of(room: str, *words: str) -> list[str]:
    """The argv of a process of stsd's own, which is the `main` of a room of the package, wherever
    that lies; nothing is taken from the working folder. It begins with what `ps` is to show."""
    start = (
        f"'stsd {room}'; import sys; sys.path.append(sys.argv.pop(1))"
        f"; from stsd.{room} import main; sys.exit(main())"
    )
    return [sys.executable, "-P", "-c", start, str(Path(__file__).parent.parent), *words]


def _warm(job: Job) -> tuple[str, ...]:
    if not (job.warm and isinstance(job.task, PythonTask)):
        return ()
    module = job.task.target.partition(":")[0]
    return (job.task.interpreter or sys.executable, program("warm"), module, *job.task.path)


def _json(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def _public(url: str) -> str:
    """A URL without what may be secret in it: user, password, query and fragment."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _is_user(user: str | int, uid: int) -> bool:
    if isinstance(user, int):
        return user == uid
    try:
        return pwd.getpwuid(uid).pw_name == user
    except KeyError:
        return False


def _without(env: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name not in names}
