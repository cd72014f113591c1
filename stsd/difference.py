"""What a reload would change: two jobfiles compared, key by key, as a plan that can be shown.

Compares what the files mean, so that a default that has changed shows in every job that it
reaches, and another way of writing the same does not show at all. Changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any

from stsd.model import (
    After,
    ArgvTask,
    HttpTask,
    Job,
    MessageTask,
    Outcome,
    PythonTask,
    Secret,
    ShellTask,
    Task,
)
from stsd.notices import Quiet
from stsd.settings import Jobfile
from stsd.statusrows import next_occurrence
from stsd.units import time_of_day

Plan = dict[str, object]

# Keys of the jobfile where they are not the names of the model's fields.
_KEYS = {
    "env_files": "env_file",
    "gap": "dst.gap",
    "fold": "dst.fold",
    "history_keep": "history.keep",
    "history_max_size": "history.max_size",
}
# What may be a password is not shown, only that it is another one.
_HIDDEN = "(not shown)"
_CHANGED = "(not shown, but another)"


def difference(old: Jobfile, new: Jobfile, now: float) -> Plan:
    """The plan, a JSON object: `added` and `removed` jobs, each with its next occurrence, the
    `changed` ones with their keys, the keys of `settings`, and how many are `unchanged`; see
    docs/control.md."""
    before, after = old.jobs, new.jobs
    changed = [name for name in after if name in before and after[name] != before[name]]
    return {
        "added": [_entry(job, now) for name, job in after.items() if name not in before],
        "removed": [_entry(job, now) for name, job in before.items() if name not in after],
        "changed": [
            {
                "job": name,
                "keys": _changes(_flat_job(before[name]), _flat_job(after[name])),
                "next_before": next_occurrence(before[name], None, now),
                "next_after": next_occurrence(after[name], None, now),
            }
            for name in changed
        ],
        "settings": _changes(dict(_flat("", old.settings)), dict(_flat("", new.settings))),
        "unchanged": sum(1 for name in after if name in before) - len(changed),
    }


def _entry(job: Job, now: float) -> dict[str, object]:
    return {"job": job.name, "next": next_occurrence(job, None, now)}


def _changes(before: dict[str, object], after: dict[str, object]) -> list[dict[str, object]]:
    """The keys whose values differ; a value that is not there is None."""
    changes: list[dict[str, object]] = []
    for key in dict.fromkeys([*before, *after]):
        was, is_ = before.get(key), after.get(key)
        if was != is_:
            if _is_hidden(key):
                was = None if was is None else _HIDDEN
                is_ = None if is_ is None else (_CHANGED if was else _HIDDEN)
            changes.append({"key": key, "before": was, "after": is_})
    return changes


def _is_hidden(key: str) -> bool:
    return key.startswith(
        ("env.", "http.headers.", "http.body", "message.to", "notify.to", "ping.")
    )


def _flat_job(job: Job) -> dict[str, object]:
    """A job's keys as the jobfile has them, dotted, with plain values."""
    flat = dict(_flat_task(job.task))
    for field in fields(job):
        value = getattr(job, field.name)
        if field.name == "deadline" and value is not None:
            value = time_of_day(value)
        if field.name not in ("name", "task", "when"):
            flat |= dict(_flat(field.name, value))
    flat |= dict(_flat("", job.when))
    return {key: value for key, value in flat.items() if value is not None}


def _flat_task(task: Task) -> Iterator[tuple[str, object]]:
    match task:
        case ShellTask():
            yield "command", task.command
            yield "shell", task.shell
        case ArgvTask():
            yield "command", list(task.argv)
        case PythonTask():
            yield "python", task.target
            for name in ("args", "kwargs"):
                yield name, json.loads(getattr(task, name))
            yield "path", list(task.path) or None
            yield "interpreter", task.interpreter or None
        case HttpTask():
            yield from _flat("http", task)
        case MessageTask():
            yield from _flat("message", task)


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, object]]:
    """What stands below a key, one value a key."""
    if is_dataclass(value) and not isinstance(value, After | Quiet):
        for field in fields(value):
            key = _KEYS.get(field.name, field.name)
            yield from _flat(f"{prefix}.{key}" if prefix else key, getattr(value, field.name))
    elif _is_table(value):
        for name, item in value:
            yield f"{prefix}.{name}", _plain(item)
    elif isinstance(value, tuple) and value and isinstance(value[0], Secret):
        for secret in value:
            source = secret.file or secret.credential or "a command"
            yield f"{prefix}.{secret.name}", source
    else:
        yield _KEYS.get(prefix, prefix), _plain(value)


def _is_table(value: object) -> bool:
    """Whether it is what a table of the jobfile has become: pairs of a name and a value."""
    return (
        isinstance(value, tuple)
        and bool(value)
        and all(isinstance(item, tuple) and len(item) == 2 for item in value)
    )


def _plain(value: object) -> object:
    match value:
        case Enum():
            return str(value)
        case frozenset():
            return [_plain(item) for item in sorted(value, key=str)]
        case tuple():
            return [_plain(item) for item in value] or None
        case After():
            outcomes = ", ".join(sorted(value.outcomes))
            return value.job if outcomes == Outcome.SUCCEEDED else f"{value.job} ({outcomes})"
        case ShellTask():
            return value.command
        case ArgvTask():
            return list(value.argv)
        case Quiet():
            return f"{time_of_day(value.begin)}-{time_of_day(value.end)}"
        case date() | Path():
            return str(value)
        case _:
            return value if value != "" else None
