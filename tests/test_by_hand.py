"""Runs by hand with arguments and variables of their own."""

from __future__ import annotations

from pathlib import Path

from stsd.admission import job_by_hand
from stsd.interventions import ByHand
from stsd.memory import Memory, Recollection
from stsd.messages import Trigger
from stsd.model import Job, PythonTask, Retry, Run, ShellTask
from stsd.records import Intent
from stsd.snapshot import Snapshot, load, save
from tests.simulation.world import START, Fate, World, jobfile

GIVEN = ByHand("ann", '{"base": "EUR"}', (("LEVEL", "2"),))
PYTHON = Job(
    "rates",
    PythonTask("shop:refresh", kwargs='{"base": "USD", "days": 3}'),
    env=(("LEVEL", "1"), ("OTHER", "x")),
    retry=Retry(max=1, delay=60),
)


def failing(run: Run, attempt: int) -> Fate:
    return Fate(duration=1, exit_code=1)


def test_keyword_arguments_are_laid_over_those_of_the_job() -> None:
    task = job_by_hand(PYTHON, GIVEN).task
    assert isinstance(task, PythonTask)
    assert task.kwargs == '{"base": "EUR", "days": 3}'


def test_variables_are_laid_over_those_of_the_job() -> None:
    assert dict(job_by_hand(PYTHON, GIVEN).env) == {"LEVEL": "2", "OTHER": "x"}


def test_a_shell_command_gets_the_variables_alone() -> None:
    job = job_by_hand(Job("a", ShellTask("true")), ByHand("ann", env=(("A", "b"),)))
    assert (job.task, job.env) == (ShellTask("true"), (("A", "b"),))


def test_the_intent_says_who_started_it_and_with_what() -> None:
    world = World(jobfile(PYTHON)).begin()
    world.give(Trigger("rates", GIVEN))
    intents = [record for record in world.records if isinstance(record, Intent)]
    assert intents[0].fields()["by_hand"] == {
        "by": "ann",
        "kwargs": {"base": "EUR"},
        "env": {"LEVEL": "2"},
    }


def second_attempt(memory: Memory) -> list[Run]:
    """What a daemon that goes on from this memory starts a minute later."""
    seen: list[Run] = []

    def fate(run: Run, attempt: int) -> Fate:
        seen.append(run)
        return Fate()

    World(jobfile(PYTHON), fate, start=START + 10).begin(memory).run_for(60)
    return seen


def test_an_attempt_after_a_restart_is_given_the_same() -> None:
    world = World(jobfile(PYTHON), failing).begin()
    world.give(Trigger("rates", GIVEN))
    world.run_for(5)
    recollection = Recollection(Memory())
    for record in world.records:
        recollection.take(record.fields())
    (run,) = second_attempt(recollection.memory())
    assert (run.by_hand, run.job) == (GIVEN, job_by_hand(PYTHON, GIVEN))


def test_an_attempt_after_a_restart_with_a_snapshot_is_given_the_same(tmp_path: Path) -> None:
    world = World(jobfile(PYTHON), failing).begin()
    world.give(Trigger("rates", GIVEN))
    world.run_for(5)
    save(tmp_path, Snapshot(world.scheduler.memory(), None), float(START))
    known = load(tmp_path)
    assert known is not None
    (run,) = second_attempt(known.memory)
    assert run.by_hand == GIVEN
