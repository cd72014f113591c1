"""How every job stands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stsd.interventions import Pause
from stsd.memory import Delayed, Memory, Open
from stsd.messages import PauseJobs
from stsd.model import After, Job, Overlap, Retry, Run, ShellTask, TriggerKind, When
from stsd.statusrows import Row, in_words, numbers_of, rows, standing_of_memory
from tests.simulation.world import START, Fate, World, jobfile

EVERY_10 = Job("a", ShellTask("true"), When(every=10))


def row(world: World, name: str = "a") -> Row:
    jobs = world.scheduler.jobfile.jobs.values()
    found = rows(jobs, world.scheduler.standing(), world.now.wall)
    return next(row for row in found if row["job"] == name)


def world_of(*jobs: Job, fate: Fate | None = None) -> World:
    return World(jobfile(*jobs), lambda run, attempt: fate or Fate(1)).begin()


def test_a_job_that_has_not_run_is_idle() -> None:
    found = row(world_of(EVERY_10))
    assert (found["state"], found["last_outcome"], found["running"]) == ("idle", None, [])
    assert found["next"] == "2027-01-15T08:00:10+00:00"


def test_what_is_amiss_is_told_with_the_job_that_it_is_about() -> None:
    world = world_of(EVERY_10, replace(EVERY_10, name="b"))
    jobs, standing = world.scheduler.jobfile.jobs.values(), world.scheduler.standing()
    found = list(rows(jobs, standing, world.now.wall, {"b": ["late", "slow"], "gone": ["failed"]}))
    assert [(row["job"], row["alerts"]) for row in found] == [("a", []), ("b", ["late", "slow"])]


def test_runs_are_counted_by_where_they_are() -> None:
    hog = Job("hog", ShellTask("true"), When(every=10), pools=("p",))
    waiting = Job("b", ShellTask("true"), When(every=10), pools=("p",))
    world = world_of(hog, waiting, fate=Fate(25))
    world.run_for(12)
    assert numbers_of(world.scheduler.live()) == {"running": 1, "queued": 1, "delayed": 0}
    retried = world_of(replace(EVERY_10, retry=Retry(max=1, delay=5.0)), fate=Fate(1, exit_code=1))
    retried.run_for(12)
    assert numbers_of(retried.scheduler.live()) == {"running": 0, "queued": 0, "delayed": 1}


def test_a_run_with_a_child_shows_since_when_it_runs() -> None:
    world = world_of(EVERY_10, fate=Fate(5))
    world.run_for(12)
    assert row(world)["state"] == "running"
    assert row(world)["running"] == [
        {
            "run": "a@20270115T080010Z",
            "attempt": 1,
            "phase": "running",
            "since": "2027-01-15T08:00:10.000Z",
            "pid": 2,
        }
    ]


def test_a_run_behind_another_one_is_queued_only_where_none_runs() -> None:
    queued = replace(EVERY_10, overlap=Overlap.QUEUE)
    hog = Job("hog", ShellTask("true"), When(every=10), pools=("p",))
    waiting = Job("b", ShellTask("true"), When(every=10), pools=("p",))
    world = world_of(queued, hog, waiting, fate=Fate(25))
    world.run_for(22)
    assert [activity["phase"] for activity in row(world)["running"]] == ["running", "blocked"]  # type: ignore[attr-defined]
    assert row(world)["state"] == "running"
    assert row(world, "b")["state"] == "queued"


def test_a_run_between_two_attempts_is_retrying_and_shows_until_when() -> None:
    job = replace(EVERY_10, when=When(every=100), retry=Retry(max=1, delay=30))
    world = world_of(job, fate=Fate(1, exit_code=1))
    world.run_for(105)
    assert row(world)["state"] == "retrying"
    (activity,) = row(world)["running"]  # type: ignore[misc]
    assert activity["since"] == "2027-01-15T08:02:11.000Z"


def test_a_disabled_job_has_no_next_occurrence() -> None:
    found = row(world_of(replace(EVERY_10, enabled=False)))
    assert (found["state"], found["next"]) == ("disabled", None)


@pytest.mark.parametrize(("for_s", "expected"), [(None, None), (20.0, "2027-01-15T08:00:20+00:00")])
def test_a_paused_job_is_due_next_when_its_pause_is_over(
    for_s: float | None, expected: str | None
) -> None:
    world = world_of(EVERY_10)
    world.give(PauseJobs(("a",), for_s, "why", "ann"))
    assert (row(world)["state"], row(world)["next"]) == ("paused", expected)


def test_what_has_ended_shows_with_its_duration() -> None:
    world = world_of(EVERY_10, fate=Fate(2))
    world.run_for(25)
    found = row(world)
    assert found["recent"] == [("succeeded", 2.0), ("succeeded", 2.0)]
    assert (found["last_at"], found["usual_s"]) == ("2027-01-15T08:00:22.000Z", 2.0)


def test_the_files_of_a_daemon_that_is_gone_tell_what_outlived_it() -> None:
    attempt = Open("a@1", "a", START, TriggerKind.EVERY, 1, float(START), 77, 1, alive=True)
    dead = replace(attempt, run="b@1", job="b", alive=False)
    delayed = Delayed("c@1", "c", START, TriggerKind.EVERY, 2, START + 60.0)
    memory = Memory(
        open={"a@1": attempt, "b@1": dead},
        delayed={"c@1": delayed},
        pauses={"d": Pause(float(START))},
    )
    jobs = [replace(EVERY_10, name=name) for name in "abcd"]
    found = rows(jobs, standing_of_memory(memory), START + 5.0)
    assert [row["state"] for row in found] == ["running", "idle", "retrying", "paused"]


@pytest.mark.parametrize(
    ("when", "words"),
    [
        (When(), "by hand"),
        (When(every=90), "every 1m30s"),
        (When(cron=("30 2 * * *",), on_start=True), "at 02:30; when stsd starts"),
        (When(after=(After("a"), After("b"))), "after a (succeeded) and b (succeeded)"),
    ],
)
def test_a_schedule_is_told_in_words(when: When, words: str) -> None:
    assert in_words(when) == words


def test_reading_how_they_stand_changes_nothing() -> None:
    def fate(run: Run, attempt: int) -> Fate:
        return Fate(3)

    worlds = [World(jobfile(EVERY_10), fate).begin() for _ in range(2)]
    for _ in range(30):
        worlds[0].run_for(1)
        row(worlds[0])
        worlds[1].run_for(1)
    assert worlds[0].records == worlds[1].records
