"""The variables of a job, for whoever is no run of it: its env, its env files and its secrets, as
far as they are wanted. For the child that delivers; it may wait for the commands that print
secrets.

Values are in memory only; no error shows one.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stsd import envfile, launcher, vault
from stsd.child import base_environment, command, user_of
from stsd.envfile import EnvFileError
from stsd.launcher import RefusedError
from stsd.model import ArgvTask, Job, Secret, ShellTask
from stsd.vault import SecretError

PATIENCE_S = 30.0
"""How long a command may take to print a secret."""
TOGETHER_S = 40.0
"""How long all of them may take where they can be done without: less than a delivery may."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was found; `hide` are the values that nobody is to see. `cwd` is the job's folder, or
    that of all things, where the job's cannot be entered; `lacks` says what could not be had."""

    values: Mapping[str, str] = field(repr=False)
    hide: tuple[str, ...] = field(repr=False)
    cwd: str = "/"
    lacks: tuple[str, ...] = ()


def found(spec: Mapping[str, Any], wanted: frozenset[str] | None = None) -> Found:
    """The variables that a delivery is made with. `spec` is what `stsd.addressees.surroundings`
    gave; only the secrets `wanted` are fetched. None: whatever can be had, since what cannot may
    be what the job has failed for, and its news is not to fail for the same reason.

    Raises EnvFileError, or SecretError which names the secret, for what is `wanted`.
    """
    job = _job(spec)
    lacks: list[str] = []
    until = time.monotonic() + TOGETHER_S
    known = base_environment(os.environ) | dict(job.env)
    if wanted is None or wanted - dict(job.env).keys():
        try:
            known |= envfile.of_job(job)
        except EnvFileError as error:
            if wanted is not None:
                raise
            lacks.append(f"env_file: {error}")
    values = {}
    for secret in job.secrets:
        if wanted is None or secret.name in wanted:
            try:
                values[secret.name] = _value(secret, job, known, until)
            except SecretError as error:
                lacks.append(f"secrets.{secret.name}: {error}")
                if wanted is not None:
                    raise SecretError(lacks[-1]) from None
    return Found(known | values, tuple(values.values()), job.cwd, tuple(lacks))


def _value(secret: Secret, job: Job, env: Mapping[str, str], until: float) -> str:
    if secret.command is None:
        return vault.from_place(secret, job.user, os.environ)
    argv, _ = command(secret.command)
    return vault.value_of(_printed(argv, job, env, until), "what its command has printed")


def _printed(argv: tuple[str, ...], job: Job, env: Mapping[str, str], until: float) -> bytes:
    """What a command prints, as the job's user. It has to be done by `until`, on the monotonic
    clock. Raises SecretError."""
    patience = max(0.0, min(PATIENCE_S, until - time.monotonic()))
    try:
        who = launcher.look_up(user_of(job), job.group)
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a shell that traces its commands says there what it prints
            cwd=job.cwd,
            env={**env, **(who.env if who is not None else {}), **dict(job.env)},
            umask=job.umask,
            user=None if who is None else who.uid,
            group=None if who is None else who.gid,
            extra_groups=None if who is None else who.groups,
            timeout=patience,
            check=False,
        )
    except RefusedError as error:
        raise SecretError(str(error)) from None
    except subprocess.TimeoutExpired:
        raise SecretError(f"its command took longer than {patience:.3g} s") from None
    except (OSError, subprocess.SubprocessError) as error:
        why = error.strerror if isinstance(error, OSError) else "it cannot be set up"
        raise SecretError(f"its command cannot be started: {why}") from None
    if done.returncode:
        how = f"exited {done.returncode}" if done.returncode > 0 else "was killed"
        raise SecretError(f"its command {how}")
    return done.stdout


def _job(spec: Mapping[str, Any]) -> Job:
    """A job with these variables, and nothing to run."""
    return Job(
        "",
        ArgvTask(()),
        env=tuple(spec.get("env", {}).items()),
        env_files=tuple(spec.get("env_files", ())),
        secrets=tuple(map(_secret, spec.get("secrets", ()))),
        user=spec.get("user"),
        group=spec.get("group"),
        cwd=_folder(spec.get("cwd", "/")),
        umask=spec.get("umask", 0o022),
    )


def _folder(cwd: str) -> str:
    return cwd if os.path.isdir(cwd) and os.access(cwd, os.X_OK) else "/"


def _secret(fields: Mapping[str, Any]) -> Secret:
    given = fields["command"]
    task: ShellTask | ArgvTask | None = None
    if given is not None:
        task = ArgvTask(tuple(given["argv"])) if "argv" in given else ShellTask(**given)
    return Secret(fields["name"], fields["file"], fields["credential"], task)
