"""Whoever is told, as a delivery sees them: which variables an address is made with, and how a
target is named where everybody may read it. Decides only; values of variables are never looked at.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

from stsd.model import Job, Secret
from stsd.notices import Means, Target
from stsd.references import referenced

# A host up to its end: the beginning of a password that has a slash in it is none.
_SHOWN = re.compile(
    r"([a-z][a-z0-9+.-]*)://(?:[^/?#]*@)?"
    r"((?:\[[\da-f:.]+\]|[\w.-]+)(?::\d+)?(?=[/?#]|$)(?!/[^?#]*@))?",
    re.IGNORECASE,
)
# Schemes in whose addresses the host is a host; elsewhere it may be a key.
_WITH_HOSTS = frozenset({"http", "https", "mailto", "mailtos"})


def bound(target: Target, job: Job) -> Target:
    """The target as this job means it: equal to that of another job if, and only if, both lead to
    the same place. So `${OWNER}` is another target for each job whose OWNER is another one. For
    whoever gathers; to be called before jobs are thrown together.
    """
    names = referenced(target.address) | referenced(target.secret)
    if not names:
        return target
    return replace(target, scope=_digest(_meaning(job, names)))


def surroundings(target: Target, jobs: Iterable[Job]) -> dict[str, Any]:
    """What the variables of a delivery are made from, as a JSON object for `stsd.variables`: for an
    address those of the first job, which the others share; for a command what all of them share.
    """
    first, *others = jobs
    if target.means is not Means.COMMAND:
        return _as_json(first)
    shared = first
    for job in others:
        shared = replace(
            shared,
            env=tuple(each for each in shared.env if each in job.env),
            env_files=shared.env_files if shared.env_files == job.env_files else (),
            secrets=tuple(each for each in shared.secrets if each in job.secrets),
            cwd=shared.cwd if shared.cwd == job.cwd else "/",
        )
    return _as_json(shared)


def public(target: Target) -> str:
    """A target by a name that holds no secret: `mailto://mail.example.com`, `slack://…`,
    `https://hooks.example.com/…`, `command mail`, `${OPS}`."""
    if target.means is Means.COMMAND:
        first = next(iter(target.argv or target.shell.split(maxsplit=1)), "")
        return f"command {'…' if '=' in first else first}".rstrip()  # NAME=value, in a shell's
    match = _SHOWN.match(target.address)
    if match is None:
        return target.address if target.address.startswith("${") else f"{target.means.value} …"
    scheme, host = match[1].lower(), match[2]
    if scheme not in _WITH_HOSTS or not host:
        return f"{scheme}://…"
    return f"{scheme}://{host}" + ("/…" if target.means is Means.WEBHOOK else "")


def _meaning(job: Job, names: set[str]) -> dict[str, Any]:
    """Where these variables come from. Env files may hold any of them."""
    env = {name: value for name, value in job.env if name in names}
    secrets = {secret.name: _origin(secret) for secret in job.secrets if secret.name in names}
    files = job.env_files if names - env.keys() - secrets.keys() else ()
    return {"env": env, "secrets": secrets, "files": files}


def _origin(secret: Secret) -> dict[str, Any]:
    return {
        "name": secret.name,
        "file": secret.file,
        "credential": secret.credential,
        "command": None if secret.command is None else asdict(secret.command),
    }


def _as_json(job: Job) -> dict[str, Any]:
    return {
        "env": dict(job.env),
        "env_files": list(job.env_files),
        "secrets": [_origin(secret) for secret in job.secrets],
        "user": job.user,
        "group": job.group,
        "cwd": job.cwd,
        "umask": job.umask,
    }


def _digest(meaning: dict[str, Any]) -> str:
    text = json.dumps(meaning, sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]
