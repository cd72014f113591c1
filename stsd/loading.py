"""Reads the jobfile anew in a copy of the daemon, of which only what differs comes back.

The loop goes on meanwhile, however large the jobfile is and however slow the disk that it is on:
it takes a few jobs in a turn. Puts nothing in force, and never reads twice at a time.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from functools import partial
from itertools import islice

from structlog.typing import FilteringBoundLogger

from stsd import wallclock
from stsd.difference import Plan, difference
from stsd.errors import JobfileError, Problem
from stsd.model import Job, Reading
from stsd.peers import Rights, rights_of
from stsd.settings import Jobfile
from stsd.twin import Twin, TwinError

# How long a reading may take until it is told that it does; whoever asks from then on has it begun
# anew, for it may wait for a disk that never answers.
PATIENCE_S = 30.0
_JOBS_A_PIECE = 100


class Aim(Enum):
    """What the jobfile is read for: to be compared, put in force, or found right before a restart
    in place."""

    PLAN = auto()
    RELOAD = auto()
    RESTART = auto()


@dataclass(frozen=True, slots=True)
class Fresh:
    """A valid jobfile that has been read, in which jobs that have not changed are the same objects
    as before. `plan` is what it changes, empty where nobody is to be told; `zones` are the data of
    those that are new, or whose clocks go otherwise; `rights` are those of its control socket."""

    jobfile: Jobfile
    plan: Plan
    zones: Mapping[str, bytes]
    rights: Rights


# What is told of a reading: the plan, what is wrong, or None if the daemon ends first.
Tell = Callable[[Plan | JobfileError | None], None]


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody wants the jobfile to be read, and to be told what has come of it."""

    aim: Aim
    tell: Tell | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """The end of a reading, and for whom it was made."""

    result: Fresh | JobfileError
    asked: tuple[Ask, ...]

    def is_for(self, aim: Aim) -> bool:
        """Whether anybody wanted it for that."""
        return any(ask.aim is aim for ask in self.asked)

    def tell(self) -> None:
        """Tell all who want to know."""
        _tell(self.asked, self.result.plan if isinstance(self.result, Fresh) else self.result)


@dataclass(frozen=True, slots=True)
class _Jobs:
    """What a copy finds first, in pieces: jobs that are new or have changed."""

    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class _Rest:
    """... and then, of a valid jobfile, all else. `names` are those of all its jobs, in their
    order, None if they are as before."""

    jobfile: Jobfile
    names: tuple[str, ...] | None
    plan: Plan
    zones: Mapping[str, bytes]
    rights: Rights


@dataclass(frozen=True, slots=True)
class _Faults:
    """All that it finds of an invalid one."""

    problems: tuple[Problem, ...]
    more: int


@dataclass(slots=True)
class _Reading:
    """One that is under way: `old` is the jobfile in force meanwhile, `pieces` are what its `twin`
    finds, `jobs` those of them that have been taken."""

    asked: tuple[Ask, ...]
    old: Jobfile
    twin: Twin
    pieces: Iterator[object]
    since: float
    told: bool = False
    jobs: dict[str, Job] = field(default_factory=dict)


class Loading:
    """All readings of one daemon, one after the other. `load` is called in the copy, and raises
    JobfileError; `begun` is told for whom a reading has begun."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        load: Callable[[], Jobfile],
        begun: Callable[[Iterable[Ask]], None],
        log: FilteringBoundLogger,
    ) -> None:
        self._selector = selector
        self._load = load
        self._begun = begun
        self._log = log
        self._asked: list[Ask] = []
        self._reading: _Reading | None = None

    def ask(self, ask: Ask) -> None:
        """Have the jobfile read: now, or once more after the reading that is under way, since what
        that has read may have changed by now."""
        self._asked.append(ask)

    def tend(self, old: Jobfile, now: Reading) -> Read | None:
        """Go on; `old` is the jobfile in force. Returns what has been read, when it has."""
        reading = self._reading
        if reading is not None and reading.twin.ended:
            result = _taken(reading)
            if result is None:
                return None
            self._reading = None
            return Read(result, reading.asked)
        if reading is not None and now.mono >= reading.since + PATIENCE_S:
            self._lose_patience(reading)
        if self._reading is None and self._asked:
            asked, self._asked = tuple(self._asked), []
            return self._begin(asked, old, now)
        return None

    def patience(self, mono: float) -> float | None:
        """In how many seconds `tend` wants to be called again; None: when something happens."""
        if self._reading is None:
            return 0.0 if self._asked else None
        if self._reading.twin.ended:
            return 0.0
        if self._reading.told:
            return 0.0 if self._asked else None
        return max(0.0, self._reading.since + PATIENCE_S - mono)

    def close(self) -> None:
        """Read no more; who waits for it is told that nothing comes."""
        waiting, self._asked = self._asked, []
        if self._reading is not None:
            waiting = [*self._reading.asked, *waiting]
            self._give_up(self._reading)
        _tell(waiting, None)

    def _begin(self, asked: tuple[Ask, ...], old: Jobfile, now: Reading) -> Read | None:
        self._begun(asked)
        try:
            compared = any(ask.tell for ask in asked)
            findings = partial(_findings, self._load, old, now.wall, compared)
            twin = Twin(self._selector, findings)
        except OSError as error:
            return Read(_unread(old, f"there is no process for it: {error}"), asked)
        self._reading = _Reading(asked, old, twin, twin.findings(), now.mono)
        return None

    def _lose_patience(self, reading: _Reading) -> None:
        if not reading.told:
            self._log.warning("jobfile_not_read_yet", path=str(reading.old.path), s=PATIENCE_S)
            reading.told = True
        if self._asked:
            self._asked = [*reading.asked, *self._asked]
            self._give_up(reading)

    def _give_up(self, reading: _Reading) -> None:
        reading.twin.drop()
        self._reading = None


def _findings(
    load: Callable[[], Jobfile], old: Jobfile, now: float, compared: bool
) -> Iterator[object]:
    """What there is to be told of the jobfile; this runs in the copy."""
    zones = wallclock.known()
    wallclock.reread()
    try:
        new = load()
    except JobfileError as error:
        yield _Faults(error.problems, error.more)
        return
    differing = (job for name, job in new.jobs.items() if old.jobs.get(name) != job)
    while jobs := tuple(islice(differing, _JOBS_A_PIECE)):
        yield _Jobs(jobs)
    yield _Rest(
        replace(new, jobs={}),
        None if list(new.jobs) == list(old.jobs) else tuple(new.jobs),
        difference(old, new, now) if compared else {},
        dict(wallclock.known().items() - zones.items()),
        rights_of(new.settings.control, os.geteuid()),
    )


def _taken(reading: _Reading) -> Fresh | JobfileError | None:
    """Take one piece of what the copy has found; the result, if it was the last one."""
    try:
        piece = next(reading.pieces, None)
    except TwinError as error:
        return _unread(reading.old, str(error))
    match piece:
        case _Jobs():
            reading.jobs |= {job.name: job for job in piece.jobs}
        case _Rest():
            jobs = {**reading.old.jobs, **reading.jobs}
            if piece.names is not None:
                jobs = {job.name: job for job in map(jobs.__getitem__, piece.names)}
            jobfile = replace(piece.jobfile, jobs=jobs)
            return Fresh(jobfile, piece.plan, piece.zones, piece.rights)
        case _Faults():
            return JobfileError(piece.problems, piece.more)
    return None


def _unread(old: Jobfile, reason: str) -> JobfileError:
    return JobfileError([Problem(str(old.path), 0, 0, "", f"could not be read: {reason}")])


def _tell(asked: Iterable[Ask], said: Plan | JobfileError | None) -> None:
    for ask in asked:
        if ask.tell is not None:
            ask.tell(said)
