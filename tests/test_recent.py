"""How the last runs of a job have ended."""

from __future__ import annotations

import json

import pytest

from stsd.memory import Memory, Recollection
from stsd.messages import Reload
from stsd.model import Job, Outcome, Retry, Run, ShellTask, When
from stsd.recent import KEPT, Recent, fields_of, followed, recent_of
from tests.simulation.world import START, Fate, World, jobfile


def ended(*ends: tuple[Outcome, float | None]) -> Recent:
    recent = None
    for outcome, seconds in ends:
        recent = followed(recent, outcome, 5.0, seconds)
    assert recent is not None
    return recent


def test_the_last_ten_are_kept_the_oldest_first() -> None:
    recent = ended(*((Outcome.SUCCEEDED, float(number)) for number in range(25)))
    assert recent.pairs() == [(Outcome.SUCCEEDED, float(number)) for number in range(15, 25)]
    assert len(recent.outcomes) == KEPT


def test_jobs_that_have_ended_alike_share_the_outcomes() -> None:
    one = ended(*((Outcome.SUCCEEDED, float(number)) for number in range(11)))
    other = recent_of(json.loads(json.dumps(fields_of(one))))
    assert one.outcomes is other.outcomes


def test_the_usual_duration_is_the_median_of_those_that_succeeded() -> None:
    ends = [(Outcome.SUCCEEDED, 1.0), (Outcome.FAILED, 90.0), (Outcome.SUCCEEDED, 4.0)]
    assert ended(*ends, (Outcome.SUCCEEDED, 2.0)).usual_s == 2.0


@pytest.mark.parametrize("end", [(Outcome.FAILED, 3.0), (Outcome.SUCCEEDED, None)])
def test_where_none_has_succeeded_nothing_is_usual(end: tuple[Outcome, float | None]) -> None:
    assert ended(end).usual_s is None


def test_it_comes_back_from_json_as_it_was() -> None:
    recent = ended((Outcome.SPAWN_FAILED, None), (Outcome.SUCCEEDED, 0.125))
    again = recent_of(json.loads(json.dumps(fields_of(recent))))
    assert (again.at, again.pairs()) == (recent.at, recent.pairs())


@pytest.mark.parametrize("fields", [[], [1.0, ["odd", 1]], [1.0, ["failed"]], [None]])
def test_anything_else_is_refused(fields: list[object]) -> None:
    with pytest.raises((IndexError, TypeError, ValueError)):
        recent_of(fields)


def test_a_run_counts_once_by_its_last_attempt() -> None:
    job = Job("a", ShellTask("true"), When(every=60), retry=Retry(max=2, delay=5))

    def fate(run: Run, attempt: int) -> Fate:
        return Fate(duration=2, exit_code=int(attempt < 3))

    world = World(jobfile(job), fate).begin()
    world.run_for(100)
    assert world.scheduler.memory().recent["a"].pairs() == [(Outcome.SUCCEEDED, 2.0)]


def test_the_history_tells_the_same() -> None:
    world = World(jobfile(Job("a", ShellTask("true"), When(every=7)))).begin()
    world.run_for(100)
    recollection = Recollection(Memory())
    for record in world.records:
        recollection.take(record.fields())
    assert recollection.memory().recent.keys() == {"a"}
    read, known = recollection.memory().recent["a"], world.scheduler.memory().recent["a"]
    assert (read.at, read.pairs()) == (pytest.approx(known.at, abs=0.001), known.pairs())
    assert known.at > START


def test_a_job_that_leaves_the_jobfile_is_forgotten() -> None:
    world = World(jobfile(Job("a", ShellTask("true"), When(every=7)))).begin()
    world.run_for(10)
    world.give(Reload(jobfile()))
    assert world.scheduler.memory().recent == {}
