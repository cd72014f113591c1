"""Occurrences become runs, each with its id; those that are not to be run become records.

Decides nothing of when and which: that has been told by the agenda, by a chain or by a person.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from math import floor

from stsd.catchup import Passed
from stsd.dispatch import Dispatch
from stsd.interventions import ByHand
from stsd.memory import Delayed, Open
from stsd.messages import Write
from stsd.model import Job, MissReason, PythonTask, Reading, Run, SkipReason, TriggerKind
from stsd.pauses import Pauses
from stsd.records import Missed
from stsd.runs import skipped
from stsd.tracecontext import trace_of
from stsd.triggers import Due
from stsd.units import compact

_WORDS = {
    TriggerKind.MANUAL: "manual",
    TriggerKind.ON_START: "start",
    TriggerKind.AFTER: "after",
}


class Admission:
    """The way into a `Dispatch`, closed to jobs that are paused. `machine` is what the traces of
    runs tell this one from others by."""

    def __init__(self, dispatch: Dispatch, pauses: Pauses, machine: str) -> None:
        self._dispatch = dispatch
        self._pauses = pauses
        self._machine = machine

    def miss(self, job: str, missed: Passed | None, reason: MissReason, now: Reading) -> None:
        """Record what has been missed of a job, if anything has."""
        if missed is not None:
            record = Missed(job, missed.first, missed.last, missed.count, reason, now.wall)
            self._dispatch.actions.append(Write(record))

    def admit(self, job: Job, dues: Sequence[Due], late: int, now: Reading) -> None:
        """A job is due at these instants; the first `late` of them are being caught up with."""
        for number, due in enumerate(dues):
            run = self._run(f"{job.name}@{compact(due.at)}", job, due.at, due.kind)
            self._admit(run, now, caught_up=number < late)

    def admit_untimed(
        self,
        job: Job,
        kind: TriggerKind,
        now: Reading,
        due: int | None = None,
        caught_up: bool = False,
        by_hand: ByHand | None = None,
    ) -> None:
        """A job is due that no schedule asks for, by default now. The id of its run bears the
        millisecond, lest it be taken for an occurrence of the same second."""
        moment, word = now.wall, _WORDS[kind]
        while self._dispatch.knows(run_id := f"{job.name}@{word}-{_to_the_millisecond(moment)}"):
            moment += 0.001
        scheduled = floor(now.wall) if due is None else due
        given = job if by_hand is None else job_by_hand(job, by_hand)
        self._admit(self._run(run_id, given, scheduled, kind, by_hand), now, caught_up)

    def remembered(self, attempt: Open | Delayed, job: Job) -> Run:
        """A run that an earlier daemon has begun, of a job as it is now."""
        given = job if attempt.by_hand is None else job_by_hand(job, attempt.by_hand)
        return self._run(attempt.run, given, attempt.scheduled, attempt.trigger, attempt.by_hand)

    def _run(
        self,
        run_id: str,
        job: Job,
        scheduled: int,
        kind: TriggerKind,
        by_hand: ByHand | None = None,
    ) -> Run:
        trace = trace_of(self._machine, run_id, job.env)
        return Run(run_id, job, scheduled, kind, by_hand, trace)

    def _admit(self, run: Run, now: Reading, caught_up: bool) -> None:
        pause = self._pauses.over(run.job.name, run.scheduled)
        if pause is None or run.trigger is TriggerKind.MANUAL:
            self._dispatch.admit(run, now, caught_up)
        else:
            record = skipped(run, SkipReason.PAUSED, now, pause.reason)
            self._dispatch.actions.append(Write(record))


def job_by_hand(job: Job, by_hand: ByHand) -> Job:
    """The job with what it is given by hand: keyword arguments over its own, if it is one of
    Python's, and environment variables."""
    task = job.task
    if isinstance(task, PythonTask):
        kwargs = json.loads(task.kwargs) | json.loads(by_hand.kwargs)
        task = replace(task, kwargs=json.dumps(kwargs))
    env = dict(job.env) | dict(by_hand.env)
    return replace(job, task=task, env=tuple(env.items()))


def _to_the_millisecond(moment: float) -> str:
    whole = floor(moment)
    return f"{compact(whole)[:-1]}.{floor((moment - whole) * 1000):03d}Z"
