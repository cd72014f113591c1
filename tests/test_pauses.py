"""Jobs that are paused: what is left out, for how long, and what a restart remembers of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from stsd.interventions import Pause
from stsd.memory import Memory, Recollection
from stsd.messages import Event, PauseJobs, Reload, ResumeJobs, Trigger
from stsd.model import After, Job, Overlap, Retry, ShellTask, SkipReason, TriggerKind, When
from stsd.records import Paused, Resumed
from stsd.snapshot import Snapshot, load, save
from tests.simulation.world import START, Fate, World, jobfile

JOB = Job("a", ShellTask("true"), When(every=10))


def begun(*events: Event) -> World:
    world = World(jobfile(JOB)).begin()
    for event in events:
        world.give(event)
    return world


def instants(world: World) -> list[int]:
    return [record.scheduled - START for record in world.started()]


def left_out(world: World) -> list[int]:
    return [record.scheduled - START for record in world.skipped()]


def read_back(world: World) -> Memory:
    recollection = Recollection(Memory())
    for record in world.records:
        recollection.take(record.fields())
    return recollection.memory()


def test_a_paused_job_is_skipped_when_it_is_due_and_the_record_says_why() -> None:
    world = begun(PauseJobs(("a",), reason="the disk is full"))
    world.run_for(25)
    assert world.started() == []
    assert [(r.reason, r.detail) for r in world.skipped()] == [
        (SkipReason.PAUSED, "the disk is full")
    ] * 2
    assert world.skipped()[0].run == "a@20270115T080010Z"


def test_a_resumed_job_runs_from_its_next_occurrence_on() -> None:
    world = begun(PauseJobs(("a",)))
    world.run_for(15)
    world.give(ResumeJobs(("a",), by="root"))
    world.run_for(15)
    assert (left_out(world), instants(world)) == ([10], [20, 30])
    assert [r for r in world.records if isinstance(r, Resumed)] == [
        Resumed("a", "root", START + 15.0)
    ]


def test_a_pause_ends_by_itself_and_what_is_due_at_that_instant_runs() -> None:
    world = begun(PauseJobs(("a",), for_s=20.0))
    world.run_for(25)
    assert (left_out(world), instants(world)) == ([10], [20])
    assert [r for r in world.records if isinstance(r, Resumed)] == [
        Resumed("a", None, START + 20.0)
    ]


def test_the_end_of_a_pause_is_on_record_at_its_time_though_nothing_else_is_due() -> None:
    world = World(jobfile(Job("a", ShellTask("true"), When(every=86400)))).begin()
    world.give(PauseJobs(("a",), for_s=7.5))
    world.run_for(20)
    assert [r.at for r in world.records if isinstance(r, Resumed)] == [START + 7.5]


def test_what_fell_due_in_a_pause_is_left_out_though_the_machine_slept_through_its_end() -> None:
    world = begun(PauseJobs(("a",), for_s=11.0))
    world.step_clock(13)
    world.run_for(10)
    assert (left_out(world), instants(world)) == ([10], [20])


def test_another_pause_replaces_the_first_one() -> None:
    world = begun(PauseJobs(("a",)), PauseJobs(("a",), for_s=5.0, reason="shorter"))
    world.run_for(12)
    assert instants(world) == [10]


def test_resuming_what_is_not_paused_is_nothing() -> None:
    world = begun(ResumeJobs(("a",)))
    world.run_for(12)
    assert instants(world) == [10]
    assert not any(isinstance(record, Resumed) for record in world.records)


def test_a_run_by_hand_is_made_though_its_job_is_paused() -> None:
    world = begun(PauseJobs(("a",)), Trigger("a"))
    world.run_for(3)
    assert [r.trigger for r in world.started()] == [TriggerKind.MANUAL]


def test_a_paused_occurrence_replaces_no_run() -> None:
    job = Job("a", ShellTask("true"), When(every=10), overlap=Overlap.REPLACE)
    world = World(jobfile(job), lambda run, attempt: Fate(25)).begin()
    world.run_for(12)
    world.give(PauseJobs(("a",)))
    world.run_for(30)
    assert [r.exit_code for r in world.finished()] == [0]


def test_a_run_that_has_begun_goes_on_with_its_attempts() -> None:
    job = Job("a", ShellTask("true"), When(every=100), retry=Retry(max=1, delay=5))
    world = World(jobfile(job), lambda run, attempt: Fate(exit_code=1)).begin()
    world.run_for(101)
    world.give(PauseJobs(("a",)))
    world.run_for(10)
    assert [r.attempt for r in world.finished()] == [1, 2]


@pytest.mark.parametrize("for_s", [None, 3600.0])
def test_a_pause_is_read_off_the_history(for_s: float | None) -> None:
    world = begun(PauseJobs(("a",), for_s, "why", "ann"))
    until = None if for_s is None else START + for_s
    assert read_back(world).pauses == {"a": Pause(float(START), until, "why", "ann")}
    world.give(ResumeJobs(("a",)))
    assert read_back(world).pauses == {}


def test_a_pause_outlives_a_restart(tmp_path: Path) -> None:
    memory = begun(PauseJobs(("a",), 25.0, "why", "ann")).scheduler.memory()
    save(tmp_path, Snapshot(memory, None), float(START))
    known = load(tmp_path)
    assert known is not None
    later = World(jobfile(JOB), start=START + 5).begin(known.memory)
    later.run_for(30)
    assert (left_out(later), instants(later)) == ([10, 20], [30])


def test_what_a_paused_job_would_catch_up_with_is_left_out() -> None:
    memory = begun(PauseJobs(("a",))).scheduler.memory()
    later = World(jobfile(JOB), start=START + 25).begin(memory)
    assert later.started() == []
    assert [(r.scheduled - START, r.reason) for r in later.skipped()] == [(20, SkipReason.PAUSED)]


def test_a_pause_that_ended_while_stsd_was_down_still_counts_for_what_fell_due_in_it() -> None:
    job = Job("a", ShellTask("true"), When(every=100))
    first = World(jobfile(job)).begin()
    first.give(PauseJobs(("a",), for_s=150.0))
    later = World(jobfile(job), start=START + 180).begin(first.scheduler.memory())
    assert later.started() == []
    assert left_out(later) == [100]
    assert later.scheduler.memory().pauses == {}


def test_a_job_that_comes_back_into_the_jobfile_is_still_paused() -> None:
    world = begun(PauseJobs(("a",)), Reload(jobfile()), Reload(jobfile(JOB)))
    world.run_for(12)
    assert left_out(world) == [10]


def test_the_beginning_of_a_pause_is_on_record() -> None:
    world = begun(PauseJobs(("a",), 60.0, "why", "ann"))
    assert [r for r in world.records if isinstance(r, Paused)] == [
        Paused("a", START + 60.0, "why", "ann", float(START))
    ]


def test_a_job_that_is_due_after_another_is_paused_like_any_other() -> None:
    jobs = jobfile(JOB, Job("b", ShellTask("true"), When(after=(After("a"),))))
    world = World(jobs, lambda run, attempt: Fate(1)).begin()
    world.give(PauseJobs(("b",)))
    world.run_for(15)
    assert [(r.job, r.reason) for r in world.skipped()] == [("b", SkipReason.PAUSED)]
    assert read_back(world).chains["b"].due == ()
