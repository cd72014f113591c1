"""What people ask of the running daemon, and what is answered.

Turns a request of the control socket into events for the core, and what the core knows into
answers. Knows nothing of sockets' bytes, and never waits: an answer is there at once, comes row by
row, or comes later.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from stsd.difference import Plan
from stsd.errors import JobfileError
from stsd.interventions import ByHand
from stsd.loading import Aim, Ask
from stsd.messages import Cancel, Event, PauseJobs, ResumeJobs, Trigger
from stsd.model import Job, PythonTask, Reading
from stsd.protocol import Trouble
from stsd.records import Finished, Record
from stsd.replies import Done, Later, Listing, Refused, Reply, Request, Waiting
from stsd.scheduler import Scheduler
from stsd.statusrows import numbers_of, rows
from stsd.units import shown
from stsd.values import did_you_mean

_COMPARED = 1000
"""Names that are compared with a misspelt one: the loop stands still meanwhile."""

_STOPPING = "stsd is stopping, and starts nothing any more"


@dataclass(frozen=True, slots=True)
class House:
    """What the orders are carried out with. `drive` hands an event to the core, performs what it
    decides, and returns what has been noted by then, such as ends; `read` has the jobfile read;
    `about` is what the daemon says of itself, `alerts` what is amiss, by job."""

    scheduler: Scheduler
    drive: Callable[[Event], Sequence[Record]]
    read: Callable[[Ask], None]
    clock: Callable[[], Reading]
    about: Callable[[], Mapping[str, object]]
    alerts: Callable[[], Mapping[str, Sequence[str]]]


class Orders:
    """The answers of one daemon."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._scheduler = house.scheduler
        self._answers: Mapping[str, Callable[..., Reply]] = {
            "hello": self._hello,
            "status": self._status,
            "plan": self._plan,
            "trigger": self._trigger,
            "cancel": self._cancel,
            "pause": self._pause,
            "resume": self._resume,
            "reload": self._reload,
        }

    def answer(self, request: Request) -> Reply:
        """Do what is asked, and say what came of it."""
        try:
            return self._answers[request.do](request, **request.arguments)
        except _RefusalError as refusal:
            return refusal.answer

    # -- looking

    def _hello(self, request: Request) -> Reply:
        return Done({**self._house.about(), "may": request.may})

    def _status(self, request: Request, jobs: tuple[str, ...], tags: tuple[str, ...]) -> Reply:
        chosen = self._chosen(jobs, tags) if jobs or tags else list(self._jobs.values())
        now = self._house.clock().wall
        numbers = numbers_of(self._scheduler.live())
        daemon = {
            **self._house.about(),
            "running": numbers["running"],
            "queued": numbers["queued"],
            "held": self._scheduler.held,
            "stopping": self._scheduler.stopping,
        }
        told = rows(chosen, self._scheduler.standing(), now, self._house.alerts())
        return Listing(told, {"daemon": daemon})

    def _plan(self, request: Request) -> Reply:
        return self._read(Aim.PLAN)

    # -- changing

    def _reload(self, request: Request) -> Reply:
        self._refuse_if_stopping()
        return self._read(Aim.RELOAD)

    def _trigger(
        self,
        request: Request,
        jobs: tuple[str, ...],
        tags: tuple[str, ...],
        kwargs: dict[str, Any] | None,
        env: dict[str, str] | None,
        wait: bool,
    ) -> Reply:
        self._refuse_if_stopping()
        chosen = self._chosen(jobs, tags)
        for job in chosen if kwargs else ():
            if not isinstance(job.task, PythonTask):
                raise _RefusalError(
                    Trouble.NOT_POSSIBLE,
                    f"{job.name} is no Python entry point and takes no keyword arguments "
                    "(give it a variable of the environment)",
                )
        env_pairs = tuple(sorted((env or {}).items()))
        by_hand = ByHand(request.peer.name, json.dumps(kwargs or {}), env_pairs)
        runs = {job.name: self._started(job, by_hand) for job in chosen}
        begun = tuple(run for run in runs.values() if run is not None)
        skipped = tuple(name for name, run in runs.items() if run is None)
        if not begun:
            raise _RefusalError(Trouble.NOT_POSSIBLE, _overlap(skipped))
        return Waiting(begun, skipped) if wait else Done({"runs": begun, "skipped": skipped})

    def _cancel(self, request: Request, runs: tuple[str, ...]) -> Reply:
        lives = self._scheduler.live()
        found: dict[str, None] = {}
        for name in runs:
            ids = [live.run.id for live in lives if name in (live.run.id, live.run.job.name)]
            if not ids:
                job = name.partition("@")[0]
                if job not in self._jobs:
                    raise _unknown(job, self._jobs)
                what = f"{name} has ended, or never was" if "@" in name else f"no run of {name}"
                message = f"{what}: there is nothing to cancel"
                raise _RefusalError(Trouble.UNKNOWN_RUN, message)
            found |= dict.fromkeys(ids)
        if not found:
            raise _RefusalError(Trouble.BAD_REQUEST, "name a run, or a job")
        for run in found:
            self._house.drive(Cancel(run))
        return Done({"cancelled": list(found)})

    def _pause(
        self,
        request: Request,
        jobs: tuple[str, ...],
        tags: tuple[str, ...],
        for_s: float | None,
        reason: str | None,
    ) -> Reply:
        names = tuple(job.name for job in self._chosen(jobs, tags))
        self._house.drive(PauseJobs(names, for_s, reason, request.peer.name))
        return Done({"paused": names})

    def _resume(self, request: Request, jobs: tuple[str, ...], tags: tuple[str, ...]) -> Reply:
        pauses = self._scheduler.standing().pauses
        gone = [name for name in jobs if name in pauses and name not in self._jobs]
        here = tuple(name for name in jobs if name not in gone)
        chosen = self._chosen(here, tags) if here or tags or not gone else []
        names = [*(job.name for job in chosen if job.name in pauses), *gone]
        self._house.drive(ResumeJobs(tuple(names), request.peer.name))
        return Done({"resumed": names})

    # -- of use to several

    @property
    def _jobs(self) -> Mapping[str, Job]:
        return self._scheduler.jobfile.jobs

    def _chosen(self, names: tuple[str, ...], tags: tuple[str, ...]) -> list[Job]:
        """The jobs of these names and tags, each once."""
        jobs, chosen = self._jobs, dict[str, Job]()
        for name in names:
            if name not in jobs:
                raise _unknown(name, jobs)
            chosen[name] = jobs[name]
        for tag in tags:
            tagged = {job.name: job for job in jobs.values() if tag in job.tags}
            if not tagged:
                raise _RefusalError(Trouble.UNKNOWN_JOB, f"no job has the tag {shown(tag)}")
            chosen |= tagged
        if not chosen:
            raise _RefusalError(Trouble.BAD_REQUEST, "name a job, or a tag")
        return list(chosen.values())

    def _started(self, job: Job, by_hand: ByHand) -> str | None:
        """The run that is made of a trigger; None if the job's overlap policy left it out."""
        before = {live.run.id for live in self._scheduler.live()}
        noted = self._house.drive(Trigger(job.name, by_hand))
        runs = [live.run for live in self._scheduler.live() if live.run.job.name == job.name]
        begun = [run.id for run in runs if run.id not in before]
        begun += [  # and is over, since it could not be started
            end.run
            for end in noted
            if isinstance(end, Finished) and end.job == job.name and end.by_hand is by_hand
        ]
        return next(iter(begun), None)

    def _read(self, aim: Aim) -> Later:
        later = Later()

        def tell(said: Plan | JobfileError | None) -> None:
            later.reply = _outcome(said)

        self._house.read(Ask(aim, tell))
        return later

    def _refuse_if_stopping(self) -> None:
        if self._scheduler.stopping:
            raise _RefusalError(Trouble.STOPPING, _STOPPING)


class _RefusalError(Exception):
    """What is asked for cannot be had."""

    def __init__(self, kind: Trouble, message: str) -> None:
        super().__init__(message)
        self.answer = Refused(kind, message)


def _outcome(said: Plan | JobfileError | None) -> Done | Refused:
    """The answer to who has had the jobfile read."""
    match said:
        case None:
            return Refused(Trouble.STOPPING, _STOPPING)
        case JobfileError():
            problems = [str(problem) for problem in said.problems]
            message = "the jobfile is not valid; nothing has changed"
            return Refused(Trouble.INVALID_JOBFILE, message, problems)
        case _:
            return Done({"plan": said})


def _unknown(name: str, jobs: Iterable[str]) -> _RefusalError:
    hint = did_you_mean(name, islice(jobs, _COMPARED))
    message = f"the jobfile in force has no job {shown(name)}"
    return _RefusalError(Trouble.UNKNOWN_JOB, f"{message} ({hint})" if hint else message)


def _overlap(jobs: tuple[str, ...]) -> str:
    return (
        f"skipped: {', '.join(jobs)} has as many runs as it may have at once (see `stsd status`; "
        'overlap = "queue" would let it wait)'
    )
