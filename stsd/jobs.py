"""From the table of a job to a `Job`: the defaults, and what the keys of a job mean together.

Equal values of a jobfile become one, whatever key they stand at, and each schedule is checked
once: ten thousand jobs share a few hundred of them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

from stsd.audience import Audience
from stsd.cron import is_hashed
from stsd.errors import ScheduleError
from stsd.keys import JOB_KEYS
from stsd.lookaround import LookAround
from stsd.model import After, ArgvTask, Fold, Gap, Job, Retry, Task, When
from stsd.reader import Reader
from stsd.report import Place, Report, written_at
from stsd.shapes import NAME_PATTERN
from stsd.source import Source
from stsd.surroundings import Rights, Surroundings
from stsd.tasks import check_together, stray, task_of
from stsd.triggers import expand, schedule_for
from stsd.units import format_size, shown
from stsd.values import Fault

Environment = tuple[tuple[str, str], ...]
Shared = TypeVar("Shared", bound=Hashable)

_NAME = re.compile(NAME_PATTERN, re.ASCII)
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
    "warm",
    "max_running",
    "deadline",
    "max_age",
    "slow",
    "min_output",
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

    def __init__(
        self, report: Report, reader: Reader, timezone: str, main: Source, rights: Rights
    ) -> None:
        self._report = report
        self._reader = reader
        self._timezone = timezone
        self._cwd = main.folder
        self._main = main
        self._source = main
        self._defaults: dict[str, Any] = {}
        self._whens: dict[tuple[object, ...], When] = {}
        self._retries: dict[tuple[object, ...], Retry] = {}
        self._values: dict[Hashable, Any] = {}
        self._surroundings = Surroundings(report, rights)
        self._audience = Audience(report, main)
        self._look_around = LookAround(report)

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
        check_together(self._report, place, table)
        if self._defaults:
            fields = self._reader.merged(self._defaults, fields)
        task = task_of(self._report, place, fields)
        if task is None:
            return None
        env: Environment = tuple(sorted(fields["env"].items())) if "env" in fields else ()
        self._check_size(place, task, env)
        when = self._when(place, table, fields)
        if "anchor" in table and when.every is None and "every" not in table:
            stray(self._report, place, "anchor", "belongs to `every`, which is not there")
        given = {key: fields[key] for key in _PLAIN if key in fields}
        given |= self._surroundings.of(place, fields) | self._audience.of(place, fields)
        job = Job(
            name=name,
            task=self._one(task),
            when=when,
            cwd=fields.get("cwd", self._cwd),
            env=self._one(env),
            retry=self._retry(place, fields["retry"]) if "retry" in fields else _NO_RETRY,
            **{key: self._one(value) for key, value in given.items()},
        )
        self._audience.check(place, job)
        self._look_around.at(place, job)
        return job

    def _one(self, value: Shared) -> Shared:
        """The first of all equal values, word by word: a daemon holds them as long as it lives."""
        slot = (type(value), value)
        if slot not in self._values:
            self._values[slot] = self._of_shared_words(value)
        one: Shared = self._values[slot]
        return one

    def _of_shared_words(self, value: Hashable) -> Hashable:
        match value:
            case tuple():
                return tuple(map(self._one, value))
            case ArgvTask():
                return ArgvTask(self._one(value.argv))
            case _:
                return value

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
        after = tuple(_after(entry) for entry in fields["after"]) if "after" in fields else ()
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
            after,
            tuple(fields["dst"].items()) if "dst" in fields else None,
        )
        known = self._whens.get(slot)
        if known is not None:
            return known
        when = self._written(fields, after)
        faults = list(self._schedule_faults(place, table, when))
        for at, fault in faults:
            self._report.error(at, fault)
        if not faults:
            when = expand(when)
            # What H stands for depends on the job's name, and so may whether it ever comes.
            if not any(is_hashed(text) for text in when.cron):
                self._whens[slot] = when
        return when

    def _written(self, fields: dict[str, Any], after: tuple[After, ...]) -> When:
        """The schedule as the keys of a job have it."""
        plain = {key: fields[key] for key in _OF_WHEN if key in fields}
        dst = fields.get("dst", {})
        return When(
            timezone=fields.get("timezone", self._timezone),
            gap=dst.get("gap", Gap.AFTER),
            fold=dst.get("fold", Fold.FIRST),
            after=after,
            **plain,
        )

    def _schedule_faults(
        self, place: Place, table: dict[str, object], when: When
    ) -> Iterator[tuple[Place, Fault]]:
        """What is wrong with a schedule; of several expressions each that is wrong by itself."""
        error = _refusal(when, place)
        if error is None:
            return
        home = written_at(place, error.key, self._main)
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

    def _check_size(self, place: Place, task: Task, env: Environment) -> None:
        """Reports what is more than the kernel passes to a program."""
        words = task.argv if isinstance(task, ArgvTask) else ()
        size = sum(map(len, words)) + sum(len(name) + len(text) for name, text in env)
        if size > _MOST_BYTES:
            message = f"arguments and environment are {format_size(size)} together"
            self._report.error(place, Fault(message, f"at most {format_size(_MOST_BYTES)}"))


def _refusal(when: When, place: Place) -> ScheduleError | None:
    """What is wrong with a schedule, if anything is."""
    try:
        schedule_for(expand(when), str(place.path[-1]))
    except ScheduleError as error:
        return error
    return None


def _after(entry: str | dict[str, Any]) -> After:
    """One of the jobs that a job is due after."""
    if isinstance(entry, str):
        return After(entry)
    return After(entry["job"], entry["outcome"]) if "outcome" in entry else After(entry["job"])


def _bad_name(name: str) -> Fault:
    """What to say of a name that no job may have."""
    remedy = "letters, digits and . _ - with a letter or digit first"
    if len(name) > 64:
        return Fault(f"a job's name of {len(name)} characters", "at most 64", on_key=True)
    return Fault(f"{shown(name)} is not a name for a job", remedy, on_key=True)
