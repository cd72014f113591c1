"""What is wrong with a jobfile, collected while it is read, and told with its places at the end.

Nothing is located, worded or suggested for more problems than anyone reads; a valid jobfile costs
nothing here. What is right or wrong is decided by whoever reports it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from stsd.errors import JobfileError, Problem
from stsd.locate import Path, Spot, inside, line_and_column, locate
from stsd.source import Source, problem_at
from stsd.units import escaped
from stsd.values import Fault

MOST = 50
"""How many problems are told one by one."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Place:
    """A key of a source, by its path."""

    source: Source
    path: Path


@dataclass(frozen=True, slots=True)
class Draft:
    """A fault of what stands at a place; `see` is the other place that it has to do with."""

    place: Place
    fault: Fault
    see: Place | None = None

    @property
    def path(self) -> Path:
        """The whole way to what is at fault."""
        return (*self.place.path, *self.fault.path)


class Report:
    """The errors and warnings of one reading."""

    def __init__(self) -> None:
        self.warnings: list[Draft] = []
        self._errors: list[Draft] = []
        self._told: list[Problem] = []
        self._more = 0

    @property
    def full(self) -> bool:
        """Whether further errors will only be counted, so that their words can be spared."""
        return len(self._errors) >= MOST

    @property
    def has_refused(self) -> bool:
        """Whether a file could not be read at all."""
        return bool(self._told)

    def error(self, place: Place, fault: Fault, see: Place | None = None) -> None:
        """Takes note of an error."""
        if self.full:
            self.one_more()
        else:
            self._errors.append(Draft(place, fault, see))

    def one_more(self) -> None:
        """Counts an error for which there are no words to spare."""
        self._more += 1

    def warn(self, place: Place, fault: Fault) -> None:
        """Takes note of a warning; those beyond what anyone reads are dropped."""
        if len(self.warnings) < MOST:
            self.warnings.append(Draft(place, fault))

    def refused(self, error: JobfileError) -> None:
        """Takes note of a file that could not be read at all."""
        self._told += error.problems

    def raise_errors(self, order: list[str]) -> None:
        """Raises JobfileError if there are errors; `order` is that of the files' names."""
        problems = self._told + told(self._errors)
        if not problems:
            return
        rank = {escaped(name): index for index, name in enumerate(order)}
        problems.sort(key=lambda found: (rank.get(found.file, len(rank)), found.line, found.column))
        raise JobfileError(problems[:MOST], self._more + len(problems[MOST:]))


def written_at(job: Place, key: str, main: Source) -> Place:
    """Where a key of a job is written: with the job, or in the defaults of its file or of the
    main one; at the job itself if nowhere."""
    table: Any = job.source.tables
    for step in job.path:
        table = table[step]
    if key in table:
        return Place(job.source, (*job.path, key))
    for source in (job.source, main):
        if key in source.tables.get("defaults", {}):
            return Place(source, ("defaults", key))
    return job


def told(drafts: list[Draft]) -> list[Problem]:
    """The drafts with their places, file by file and in the order of the lines."""
    wanted: dict[Source, set[Path]] = {}
    for draft in drafts:
        wanted.setdefault(draft.place.source, set()).update(_prefixes(draft.path))
        if draft.see is not None:
            wanted.setdefault(draft.see.source, set()).add(draft.see.path)
    spots = {source: locate(source.text, paths) for source, paths in wanted.items()}
    problems = [_told(draft, spots) for draft in drafts]
    problems.sort(key=lambda problem: (problem.file, problem.line, problem.column))
    return problems


def _told(draft: Draft, spots: dict[Source, dict[Path, Spot]]) -> Problem:
    source, fault = draft.place.source, draft.fault
    message = fault.message
    if draft.see is not None:
        message = f"{message} at {_shown_place(draft.see, spots)}"
    found = [spots[source][path] for path in _prefixes(draft.path) if path in spots[source]]
    if not found:
        return Problem(escaped(source.name), 0, 0, dotted(draft.path), message, fault.remedy)
    offset = found[-1].key if fault.on_key else found[-1].value
    if fault.column is not None:
        offset = inside(source.text, offset, fault.column)
    return problem_at(source.name, source.text, offset, dotted(draft.path), message, fault.remedy)


def _shown_place(place: Place, spots: dict[Source, dict[Path, Spot]]) -> str:
    name = escaped(place.source.name)
    spot = spots[place.source].get(place.path)
    if spot is None:
        return name
    line, column = line_and_column(place.source.text, spot.key)
    return f"{name}:{line}:{column}"


def _prefixes(path: Path) -> list[Path]:
    """The path and all that lead to it, the shortest first."""
    return [path[:length] for length in range(1, len(path) + 1)]


def dotted(path: Path) -> str:
    """The path as it is written in TOML, without the indices of arrays."""
    parts = (step for step in path if isinstance(step, str))
    return ".".join(part if _BARE.fullmatch(part) else f'"{escaped(part[:80])}"' for part in parts)
