"""The intake: a jobfile and whatever it includes become one checked `Jobfile`, or an error that
names every fault with its place.

It reads files and nothing else: no clock, no environment but that of `machine_zone`, no process.
What a key may hold is told by `stsd.keys`; what a schedule means, by `stsd.triggers`.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stsd.errors import JobfileError, Problem, ScheduleError
from stsd.jobs import Builder
from stsd.keys import DAEMON_KEYS, JOB_KEYS
from stsd.links import Links
from stsd.lookaround import LookAround
from stsd.model import Job
from stsd.notices import Metrics
from stsd.reader import Reader
from stsd.report import Draft, Place, Report, told
from stsd.settings import Access, Jobfile, Settings
from stsd.source import Source, read
from stsd.surroundings import Rights
from stsd.uncollected import uncollected
from stsd.units import escaped, shown
from stsd.values import Fault, did_you_mean
from stsd.wallclock import check_zone

_TABLES = ("daemon", "defaults", "jobs")


@dataclass(frozen=True, slots=True)
class Examined:
    """A valid jobfile with all that is known of its text, for whoever has more to say about it."""

    jobfile: Jobfile
    warnings: tuple[Problem, ...]
    sources: dict[str, Source]

    def problems(self, found: Iterable[tuple[tuple[str, str], str, str]]) -> tuple[Problem, ...]:
        """What was found out later, as problems with their places: of a job's key (else at the
        job), each as (job, key), message and remedy."""
        drafts = [
            Draft(Place(self.sources[job], ("jobs", job, key)), Fault(message, remedy))
            for (job, key), message, remedy in found
        ]
        return tuple(told(drafts))


def load(
    path: Path, *, local_zone: str, trusted_uid: int | None = None, to_run: bool = False
) -> Jobfile:
    """The jobfile at a path, with whatever it includes.

    `local_zone` is the machine's zone, for a jobfile that names none; `trusted_uid` the user who
    runs stsd, by default that of this process: besides root, only this one may own the files.
    `to_run` says that this process will run the jobs: what it has no right to do, such as to
    become another user, is an error then, and else a warning.

    Raises JobfileError with all problems, by file and line.
    """
    return examine(path, local_zone=local_zone, trusted_uid=trusted_uid, to_run=to_run).jobfile


def examine(
    path: Path, *, local_zone: str, trusted_uid: int | None = None, to_run: bool = False
) -> Examined:
    """As `load`, with the warnings and the texts."""
    uid = os.geteuid() if trusted_uid is None else trusted_uid
    with uncollected():
        return _Intake(str(path), local_zone, Rights(uid, to_run)).examined()


def load_settings(
    path: Path, *, local_zone: str = "UTC", trusted_uid: int | None = None
) -> Settings:
    """The `[daemon]` table alone, for whoever needs its folders and not its jobs.

    Raises JobfileError if the file cannot be read or this table is wrong.
    """
    uid = os.geteuid() if trusted_uid is None else trusted_uid
    return _Intake(str(path), local_zone, Rights(uid)).settings_alone()


def job_names(path: Path) -> list[str]:
    """The names of all jobs in a jobfile and what it includes, whether or not they are right.

    Raises JobfileError if a file cannot be read or the `[daemon]` table is wrong.
    """
    return _Intake(str(path), "UTC", Rights(os.geteuid())).names_alone()


def machine_zone() -> str:
    """The IANA name of the machine's zone: of $TZ, /etc/timezone or /etc/localtime, else UTC."""
    for name in _zone_names():
        try:
            check_zone(name)
        except ScheduleError:
            continue
        return name
    return "UTC"


def _zone_names() -> Iterator[str]:
    """What the machine says of its zone, the strongest word first."""
    yield os.environ.get("TZ", "").removeprefix(":")
    with suppress(OSError, UnicodeDecodeError):
        yield Path("/etc/timezone").read_text(encoding="utf-8").strip()
    yield os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2]


class _Intake:
    """One reading of a jobfile."""

    def __init__(self, name: str, local_zone: str, rights: Rights) -> None:
        self._rights = rights
        self._local_zone = local_zone
        self._report = Report()
        self._reader = Reader(self._report)
        self._main = read(name, trusted_uid=rights.uid)
        self._sources = [self._main]
        self._names_read = [name]
        self._seen = {self._main.identity}
        self._jobs: dict[str, Job] = {}
        self._homes: dict[str, Source] = {}
        self._names: dict[str, tuple[str, Source]] = {}

    def examined(self) -> Examined:
        """All of it, or a JobfileError."""
        self._check_tables(self._main)
        settings, patterns = self._settings()
        if settings.metrics is not None:
            place = Place(self._main, ("daemon", "metrics"))
            LookAround(self._report).at_metrics(place, settings.metrics)
        builder = Builder(self._report, self._reader, settings.timezone, self._main, self._rights)
        defaults = self._defaults(self._main)
        self._take_jobs(self._main, builder, defaults)
        for source in self._included(patterns):
            self._check_tables(source)
            own = self._reader.merged(defaults, self._defaults(source))
            self._take_jobs(source, builder, own)
        self._check_links(settings)
        self._report.raise_errors(self._names_read)
        return self._result(settings)

    def _check_links(self, settings: Settings) -> None:
        """What jobs have to do with each other; there is no telling while some cannot be read."""
        if not self._report.has_refused:
            names = {name for name, _ in self._names.values()}
            links = Links(self._report, self._homes, self._main, names)
            links.check(self._jobs, settings)

    def settings_alone(self) -> Settings:
        """The settings, or a JobfileError for them alone."""
        settings, _ = self._settings()
        self._report.raise_errors(self._names_read)
        return settings

    def names_alone(self) -> list[str]:
        """The names of the jobs, or a JobfileError for what keeps them from being found."""
        _, patterns = self._settings()
        names = list(self._table(self._main, "jobs"))
        for source in self._included(patterns):
            names += self._table(source, "jobs")
        self._report.raise_errors(self._names_read)
        return names

    def _settings(self) -> tuple[Settings, tuple[str, ...]]:
        """What `[daemon]` says, and the patterns of files to include."""
        daemon = self._table(self._main, "daemon")
        values = self._reader.fields(Place(self._main, ("daemon",)), daemon, DAEMON_KEYS)
        patterns = values.pop("include", ())
        for name in ("log_dir", "state_dir"):
            if name in values:
                values[name] = Path(values[name])
        for name, limit in values.pop("history", {}).items():
            values[f"history_{name}"] = limit
        if "metrics" in values:
            values["metrics"] = self._metrics(values["metrics"])
        if "control" in values:
            values["control"] = Access(**values["control"])
        if "pools" in values:
            values["pools"] = tuple(sorted(values["pools"].items()))
        return Settings(**{"timezone": self._local_zone, **values}), patterns

    def _metrics(self, table: dict[str, Any]) -> Metrics:
        if not table:
            fault = Fault("says no place to tell them at", "`file`, `listen` or both")
            self._report.error(Place(self._main, ("daemon", "metrics")), fault)
        return Metrics(**table)

    def _result(self, settings: Settings) -> Examined:
        warnings = [problem for source in self._sources for problem in source.distrust]
        warnings += told(self._report.warnings)
        if not self._jobs:
            name = escaped(self._main.name)
            warnings.append(Problem(name, 0, 0, "", "has no jobs", "add a [jobs.NAME] table"))
        jobfile = Jobfile(
            path=self._main.path,
            settings=settings,
            jobs=self._jobs,
            files=tuple(source.path for source in self._sources),
            warnings=tuple(str(warning) for warning in warnings),
        )
        return Examined(jobfile, tuple(warnings), self._homes)

    def _check_tables(self, source: Source) -> None:
        """Reports what stands at the top level of a file and does not belong there."""
        for name in source.tables:
            if name not in _TABLES and self._report.full:
                self._report.one_more()
                continue
            place = Place(source, (name,))
            if name not in _TABLES:
                self._report.error(place, _unknown_table(name, source.tables[name]))
            elif name == "daemon" and source is not self._main:
                message = "an included file holds [jobs.NAME] and [defaults] only"
                remedy = f"move it to {escaped(self._main.name)}"
                self._report.error(place, Fault(message, remedy, on_key=True))

    def _table(self, source: Source, name: str) -> dict[str, Any]:
        """A table of the top level; an empty one if it is missing or something else."""
        table = source.tables.get(name, {})
        if isinstance(table, dict):
            return table
        header = "[jobs.NAME]" if name == "jobs" else f"[{name}]"
        message = f"must be a table, not {shown(table)}"
        self._report.error(Place(source, (name,)), Fault(message, f"write {header}"))
        return {}

    def _defaults(self, source: Source) -> dict[str, Any]:
        """What a file's `[defaults]` say, each key with its place."""
        table = self._table(source, "defaults")
        known = {name: key for name, key in JOB_KEYS.items() if key.in_defaults}
        return self._reader.fields(Place(source, ("defaults",)), table, known)

    def _take_jobs(self, source: Source, builder: Builder, defaults: dict[str, Any]) -> None:
        """Adds the jobs of one file."""
        builder.begin(source, defaults)
        for name, table in self._table(source, "jobs").items():
            taken = self._is_taken(source, name)
            job = builder.job(name, table)
            if job is not None and not taken:
                self._homes[name] = source
                self._jobs[name] = job

    def _is_taken(self, source: Source, name: str) -> bool:
        """Whether another job has this name, or one that differs in case alone; reports it."""
        twin, home = self._names.setdefault(name.lower(), (name, source))
        if home is source and twin == name:
            return False
        message = "is there already," if twin == name else f"differs only in case from {twin},"
        self._report.error(
            Place(source, ("jobs", name)),
            Fault(message, "choose another name", on_key=True),
            see=Place(home, ("jobs", twin)),
        )
        return True

    def _included(self, patterns: tuple[str, ...]) -> Iterator[Source]:
        """The files that the patterns match, each read once, in the order of the patterns."""
        for index, pattern in enumerate(patterns):
            for name in self._matches(pattern, index):
                self._names_read.append(name)
                try:
                    source = read(name, trusted_uid=self._rights.uid)
                except JobfileError as error:
                    self._report.refused(error)
                    continue
                if source.identity not in self._seen:
                    self._seen.add(source.identity)
                    self._sources.append(source)
                    yield source

    def _matches(self, pattern: str, index: int) -> list[str]:
        """The names that a pattern matches, sorted; relative as the main file's name is."""
        folder = os.path.dirname(self._main.name)
        rooted = os.path.join(glob.escape(folder), os.path.expanduser(pattern))
        if not glob.has_magic(pattern):
            name = os.path.join(folder, os.path.expanduser(pattern))
            if os.path.lexists(name):
                return [name]
            self._report.error(
                Place(self._main, ("daemon", "include")),
                Fault(f"there is no file {shown(name)}", "a pattern with * may match nothing"),
            )
            return []
        return sorted(glob.glob(rooted, recursive=True))


def _unknown_table(name: str, value: object) -> Fault:
    """What to say of a key of the top level that is none of ours."""
    if name in JOB_KEYS and not isinstance(value, dict):
        remedy = "write it below [jobs.NAME], or below [defaults] for all jobs"
    elif name in DAEMON_KEYS and not isinstance(value, dict):
        remedy = "write it below [daemon]"
    else:
        remedy = did_you_mean(name, _TABLES, "the tables are [daemon], [defaults] and [jobs.NAME]")
    return Fault("is not a known table", remedy, on_key=True)
