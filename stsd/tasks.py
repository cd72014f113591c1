"""What a job runs: its `command`, `python`, `http` or `message`, and the keys that go with each.

It words what is wrong between these keys; how the job is run besides is `stsd.surroundings`'.
"""

from __future__ import annotations

from typing import Any

from stsd.keys import JOB_KEYS
from stsd.model import ArgvTask, HttpTask, MessageTask, PythonTask, ShellTask, Task
from stsd.report import Place, Report
from stsd.values import Fault, Step

WHATS = ("command", "python", "http", "message")
OF_PYTHON = ("args", "kwargs", "path", "interpreter", "warm")


def check_together(report: Report, place: Place, table: dict[str, Any]) -> None:
    """Reports keys of a job that contradict each other, or that nothing can come of."""
    whats = [key for key in WHATS if key in table]
    if not whats and not any(key not in JOB_KEYS for key in table):
        remedy = 'add command = "…" or python = "package.module:callable"'
        report.error(place, Fault("says nothing to run", remedy, on_key=True))
    for other in whats[1:]:
        message = f"a job has one of {', '.join(WHATS)}; there is `{whats[0]}`"
        report.error(
            place,
            Fault(message, "make two jobs of it", (other,), on_key=True),
            see=Place(place.source, (*place.path, whats[0])),
        )
    for key in OF_PYTHON:
        if key in table and "python" not in table:
            stray(report, place, key, "belongs to `python`, which is not there")
    if "shell" in table and whats and not _uses_a_shell(table):
        stray(report, place, "shell", "belongs to a `command` string, which is not there")


def stray(report: Report, place: Place, key: str, message: str) -> None:
    """Reports a key that has nothing to do where it stands."""
    report.error(place, Fault(message, "take it out", (key,), on_key=True))


def task_of(report: Report, place: Place, fields: dict[str, Any]) -> Task | None:
    """What a job runs; None if that is missing or was refused."""
    if "command" in fields:
        return command_of(report, place, ("command",), fields["command"], fields)
    if "http" in fields:
        return _http(report, place, fields["http"])
    if "message" in fields:
        return _message(report, place, fields["message"])
    if "python" not in fields:
        return None
    return PythonTask(
        target=fields["python"],
        args=fields.get("args", "[]"),
        kwargs=fields.get("kwargs", "{}"),
        path=fields.get("path", ()),
        interpreter=fields.get("interpreter", ""),
    )


def command_of(
    report: Report,
    place: Place,
    path: tuple[Step, ...],
    value: str | tuple[str, ...],
    fields: dict[str, Any],
) -> ShellTask | ArgvTask:
    """A command that stands at a path within a job, with the job's shell if it is a string."""
    if isinstance(value, str):
        return ShellTask(value, fields["shell"]) if "shell" in fields else ShellTask(value)
    if not value[0]:
        report.error(place, Fault("the name of the program is empty", "", (*path, 0)))
    return ArgvTask(value)


def _uses_a_shell(table: dict[str, Any]) -> bool:
    """Whether any of a job's commands is a string."""
    secrets = table.get("secrets")
    places = secrets.values() if isinstance(secrets, dict) else ()
    commands = [place.get("command") for place in places if isinstance(place, dict)]
    commands += [table.get("command"), table.get("condition")]
    return any(isinstance(command, str) for command in commands)


def _http(report: Report, place: Place, table: dict[str, Any]) -> HttpTask:
    headers = dict(table.get("headers", {}))
    is_json = "json" in table
    if is_json and "body" in table:
        message = "`body` and `json` are two ways of saying what is sent"
        report.error(place, Fault(message, "leave one out", ("http", "json"), on_key=True))
    body = table.get("json", table.get("body"))
    if body is not None and not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json" if is_json else "text/plain; charset=utf-8"
    plain = {key: table[key] for key in ("expect", "timeout") if key in table}
    return HttpTask(
        url=table["url"],
        method=table.get("method", "GET" if body is None else "POST"),
        headers=tuple(headers.items()),
        body=body,
        json=is_json,
        **plain,
    )


def _message(report: Report, place: Place, table: dict[str, Any]) -> MessageTask:
    if "title" not in table and "body" not in table:
        fault = Fault("says nothing", "add a `title`, a `body` or both", ("message",))
        report.error(place, fault)
    return MessageTask(**table)
