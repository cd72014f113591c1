"""From the table of a job to a `Job`: the defaults, and what the keys of a job mean together.

Equal schedules, retries and environments of a jobfile become one value, and each schedule is
checked once: ten thousand jobs share a few hundred of them.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from stsd.cron import is_hashed
from stsd.errors import ScheduleError
from stsd.keys import JOB_KEYS
from stsd.model import ArgvTask, Fold, Gap, Job, PythonTask, Retry, ShellTask, Task, When
from stsd.reader import Reader
from stsd.report import Place, Report
from stsd.shapes import NAME_PATTERN
from stsd.source import Source
from stsd.triggers import expand, schedule_for
from stsd.units import format_size, shown
from stsd.values import Fault

Environment = tuple[tuple[str, str], ...]

_NAME = re.compile(NAME_PATTERN, re.ASCII)
_WHATS = ("command", "python", "http", "message")
_OF_PYTHON = ("args", "kwargs", "path", "interpreter")
_PLAIN = (
    "description",
    "timeout",
    "stop_signal",
    "stop_grace",
    "overlap",
    "priority",
    "success_codes",
    "catch_up",
    "catch_up_window",
    "catch_up_limit",
    "delivery",
    "on_log_failure",
    "enabled",
    "tags",
    "umask",
)
_NO_RETRY = Retry()
_OF_WHEN = (
    "cron",
    "every",
    "at",
    "on_start",
    "anchor",
    "splay",
    "start",
    "end",
    "skip_dates",
    "skip_holidays",
)
_NO_TIMES: dict[str, Any] = {"cron": (), "at": (), "every": None, "on_start": False}
_MOST_BYTES = 2 * 1000 * 1000
"""What the kernel takes as arguments and environment together (a quarter of the usual stack)."""


class Builder:
    """Builds the jobs of a jobfile, file after file."""

    def __init__(self, report: Report, reader: Reader, timezone: str, main: Source) -> None:
        self._report = report
        self._reader = reader
        self._timezone = timezone
        self._cwd = main.folder
        self._main = main
        self._source = main
        self._defaults: dict[str, Any] = {}
        self._whens: dict[tuple[object, ...], When] = {}
        self._retries: dict[tuple[object, ...], Retry] = {}
        self._environments: dict[Environment, Environment] = {}
        self._looked_at: set[tuple[str, ...]] = set()

    def begin(self, source: Source, defaults: dict[str, Any]) -> None:
        """Turns to the jobs of another file, with the defaults that are in force there."""
        self._source = source
        self._defaults = defaults

    def job(self, name: str, table: object) -> Job | None:
        """The job of a table, or None if there is no telling what it is meant to be.

        Whatever is wrong is reported; a job that comes of a faulty table must not be used.
        """
        place = Place(self._source, ("jobs", name))
        if not _NAME.fullmatch(name):
            self._report.error(place, _bad_name(name))
        if not isinstance(table, dict):
            message = f"must be a table, not {shown(table)}"
            self._report.error(place, Fault(message, "write [jobs.NAME], and its keys below"))
            return None
        fields = self._reader.fields(place, table, JOB_KEYS)
        self._check_together(place, table)
        if self._defaults:
            fields = self._reader.merged(self._defaults, fields)
        task = self._task(place, fields)
        if task is None:
            return None
        cwd = fields.get("cwd", self._cwd)
        env: Environment = tuple(sorted(fields["env"].items())) if "env" in fields else ()
        self._check_size(place, task, env)
        self._look_around(place, task, cwd, env)
        when = self._when(place, table, fields)
        if "anchor" in table and when.every is None and "every" not in table:
            self._stray(place, "anchor", "belongs to `every`, which is not there")
        plain = {key: fields[key] for key in _PLAIN if key in fields}
        return Job(
            name=name,
            task=task,
            when=when,
            cwd=cwd,
            env=self._environments.setdefault(env, env),
            retry=self._retry(place, fields["retry"]) if "retry" in fields else _NO_RETRY,
            **plain,
        )

    def _check_together(self, place: Place, table: dict[str, object]) -> None:
        """Reports keys of a job that contradict each other, or that nothing can come of."""
        whats = [key for key in _WHATS if key in table]
        if not whats and not any(key not in JOB_KEYS for key in table):
            remedy = 'add command = "…" or python = "package.module:callable"'
            self._report.error(place, Fault("says nothing to run", remedy, on_key=True))
        for other in whats[1:]:
            self._report.error(
                place,
                Fault(
                    f"a job has one of {', '.join(_WHATS)}; there is `{whats[0]}`",
                    "make two jobs of it",
                    (other,),
                    on_key=True,
                ),
                see=Place(place.source, (*place.path, whats[0])),
            )
        for key in _OF_PYTHON:
            if key in table and "python" not in table:
                self._stray(place, key, "belongs to `python`, which is not there")
        if "shell" in table and whats and not isinstance(table.get("command"), str):
            self._stray(place, "shell", "belongs to a `command` string, which is not there")

    def _stray(self, place: Place, key: str, message: str) -> None:
        self._report.error(place, Fault(message, "take it out", (key,), on_key=True))

    def _task(self, place: Place, fields: dict[str, Any]) -> Task | None:
        """What the job runs; None if that is missing or was refused."""
        command = fields.get("command")
        if isinstance(command, str):
            return ShellTask(command, fields["shell"]) if "shell" in fields else ShellTask(command)
        if command is not None:
            if not command[0]:
                fault = Fault("the name of the program is empty", "", ("command", 0))
                self._report.error(place, fault)
            return ArgvTask(command)
        if "python" not in fields:
            return None
        return PythonTask(
            target=fields["python"],
            args=fields.get("args", "[]"),
            kwargs=fields.get("kwargs", "{}"),
            path=fields.get("path", ()),
            interpreter=fields.get("interpreter", ""),
        )

    def _retry(self, place: Place, table: dict[str, Any]) -> Retry:
        """The retry of a job; a `max_delay` that is not told is never shorter than `delay`."""
        slot = tuple(table.items())
        known = self._retries.get(slot)
        if known is not None:
            return known
        longest = max(_NO_RETRY.max_delay, table.get("delay", 0.0))
        retry = Retry(**{"max_delay": longest, **table})
        if retry.max_delay < retry.delay:
            fault = Fault("`max_delay` is shorter than `delay`", "let it be longer", ("retry",))
            self._report.error(place, fault)
        else:
            self._retries[slot] = retry
        return retry

    def _when(self, place: Place, table: dict[str, object], fields: dict[str, Any]) -> When:
        """The schedule of a job, checked unless an equal one has been."""
        get = fields.get
        slot = (
            get("cron"),
            get("every"),
            get("at"),
            get("on_start"),
            get("timezone"),
            get("anchor"),
            get("splay"),
            get("start"),
            get("end"),
            get("skip_dates"),
            get("skip_holidays"),
            tuple(fields["dst"].items()) if "dst" in fields else None,
        )
        known = self._whens.get(slot)
        if known is not None:
            return known
        when = self._written(fields)
        faults = list(self._schedule_faults(place, table, when))
        for at, fault in faults:
            self._report.error(at, fault)
        if not faults:
            when = expand(when)
            # What H stands for depends on the job's name, and so may whether it ever comes.
            if not any(is_hashed(text) for text in when.cron):
                self._whens[slot] = when
        return when

    def _written(self, fields: dict[str, Any]) -> When:
        """The schedule as the keys of a job have it."""
        plain = {key: fields[key] for key in _OF_WHEN if key in fields}
        dst = fields.get("dst", {})
        return When(
            timezone=fields.get("timezone", self._timezone),
            gap=dst.get("gap", Gap.AFTER),
            fold=dst.get("fold", Fold.FIRST),
            **plain,
        )

    def _schedule_faults(
        self, place: Place, table: dict[str, object], when: When
    ) -> Iterator[tuple[Place, Fault]]:
        """What is wrong with a schedule; of several expressions each that is wrong by itself."""
        error = _refusal(when, place)
        if error is None:
            return
        home = self._home(place, table, error.key)
        written = table.get(error.key)
        alone = False
        if isinstance(written, list):
            for index, text in enumerate(written):
                single = _refusal(replace(when, **{**_NO_TIMES, error.key: (text,)}), place)
                if single is not None and single.key == error.key:
                    alone = True
                    yield home, Fault(single.message, single.remedy, (index,), single.column)
        if not alone:
            yield home, Fault(error.message, error.remedy, (), error.column)

    def _home(self, place: Place, table: dict[str, object], key: str) -> Place:
        """Where the key of a job's schedule is written: with the job, or in some defaults."""
        if key in table:
            return Place(place.source, (*place.path, key))
        for source in (place.source, self._main):
            if key in source.tables.get("defaults", {}):
                return Place(source, ("defaults", key))
        return place

    def _check_size(self, place: Place, task: Task, env: Environment) -> None:
        """Reports what is more than the kernel passes to a program."""
        words = task.argv if isinstance(task, ArgvTask) else ()
        size = sum(len(word) for word in words) + sum(len(name) + len(text) for name, text in env)
        if size > _MOST_BYTES:
            message = f"arguments and environment are {format_size(size)} together"
            self._report.error(place, Fault(message, f"at most {format_size(_MOST_BYTES)}"))

    def _look_around(self, place: Place, task: Task, cwd: str, env: Environment) -> None:
        """Warns of folders and programs that are not there; they may be, by the time it runs."""
        if self._is_new("cwd", cwd) and not os.path.isdir(cwd):
            self._report.warn(place, Fault(f"there is no folder {shown(cwd)}", "", ("cwd",)))
        match task:
            case ShellTask():
                self._warn_of_program(place, "shell", task.shell, cwd, env)
            case ArgvTask():
                self._warn_of_program(place, "command", task.argv[0], cwd, env)
            case PythonTask() if task.interpreter:
                self._warn_of_program(place, "interpreter", task.interpreter, cwd, env)

    def _warn_of_program(
        self, place: Place, key: str, program: str, cwd: str, env: Environment
    ) -> None:
        search = next((text for name, text in env if name == "PATH"), None)
        base = cwd if "/" in program else ""
        if not program or not self._is_new(program, base, search or ""):
            return
        if shutil.which(os.path.join(base, program), path=search) is None:
            self._report.warn(place, Fault(f"there is no program {shown(program)}", "", (key,)))

    def _is_new(self, *what: str) -> bool:
        """Whether this has not been looked at for an earlier job."""
        if what in self._looked_at:
            return False
        self._looked_at.add(what)
        return True


def _refusal(when: When, place: Place) -> ScheduleError | None:
    """What is wrong with a schedule, if anything is."""
    try:
        schedule_for(expand(when), str(place.path[-1]))
    except ScheduleError as error:
        return error
    return None


def _bad_name(name: str) -> Fault:
    """What to say of a name that no job may have."""
    remedy = "letters, digits and . _ - with a letter or digit first"
    if len(name) > 64:
        return Fault(f"a job's name of {len(name)} characters", "at most 64", on_key=True)
    return Fault(f"{shown(name)} is not a name for a job", remedy, on_key=True)
