"""Who runs when not all can: priority and age, `max_running`, pools, overlap under load."""

from __future__ import annotations

from dataclasses import replace

import pytest

from stsd.memory import Memory, Recollection
from stsd.messages import Exited, Reload
from stsd.model import Job, Overlap, Run, ShellTask, TriggerKind, When
from stsd.roster import AGEING_S
from tests.simulation.world import START, Fate, World, jobfile

EVERY_10 = When(every=10)


def job(name: str = "a", when: When = EVERY_10, **keys: object) -> Job:
    return replace(Job(name, ShellTask("true"), when), **keys)  # type: ignore[arg-type]


def long(run: Run, attempt: int) -> Fate:
    return Fate(duration=25)


def test_the_higher_priority_goes_first_among_what_is_due_together() -> None:
    jobs = [job("low", priority=-5), job("high", priority=5), job("middle")]
    world = World(jobfile(*jobs, max_running=1)).begin()
    world.run_for(11)
    assert [r.job for r in world.started()] == ["high", "middle", "low"]


def test_waiting_makes_up_for_priority_so_that_nothing_starves() -> None:
    step = int(AGEING_S)
    jobs = [
        job("meek", When(every=step * 100, anchor=START + 30)),
        job("busy", When(every=30), priority=1, overlap=Overlap.QUEUE),
        job("pushy", When(every=30), priority=1, overlap=Overlap.QUEUE),
    ]
    world = World(jobfile(*jobs, max_running=1), lambda run, attempt: Fate(duration=20)).begin()
    world.run_for(step * 3)
    assert len(world.started("busy")) + len(world.started("pushy")) > 20
    assert 0 < world.started("meek")[0].late_s <= step * 1.5


def test_runs_of_a_job_go_side_by_side_up_to_its_max_running() -> None:
    a = job(overlap=Overlap.ALLOW, max_running=2)
    world = World(jobfile(a), long).begin()
    world.run_for(45)
    assert world.most_running == 2
    assert [round(r.late_s) for r in world.started()] == [0, 0, 5, 5]


def test_skip_leaves_out_what_exceeds_max_running_and_not_what_is_below() -> None:
    world = World(jobfile(job(max_running=2)), long).begin()
    world.run_for(45)
    assert [r.scheduled - START for r in world.started()] == [10, 20, 40]
    assert [r.scheduled - START for r in world.skipped()] == [30]


def test_queue_lets_max_running_of_them_go_at_once() -> None:
    world = World(jobfile(job(overlap=Overlap.QUEUE, max_running=2)), long).begin()
    world.run_for(100)
    assert world.most_running == 2
    assert [r.scheduled - START for r in world.started()] == [10, 20, 30, 40, 50, 60, 70, 80]


def test_replace_stops_the_oldest_when_there_are_max_running_of_them() -> None:
    world = World(jobfile(job(overlap=Overlap.REPLACE, max_running=2)), long).begin()
    world.run_for(35)
    assert [run_id for run_id, _ in world.signals] == ["a@20270115T080010Z"]
    assert world.most_running == 2


def test_a_pool_that_nobody_declares_is_a_mutex() -> None:
    jobs = [job("a", pools=("db",)), job("b", pools=("db",)), job("c")]
    world = World(jobfile(*jobs), lambda run, attempt: Fate(duration=3)).begin()
    world.run_for(14)
    late = {r.job: round(r.late_s) for r in world.started()}
    assert late == {"a": 0, "b": 3, "c": 0}


def test_a_pool_has_the_slots_that_the_jobfile_gives_it() -> None:
    jobs = [job(name, pools=("db",)) for name in "abc"]
    world = World(jobfile(*jobs, pools=(("db", 2),)), lambda run, attempt: Fate(3)).begin()
    world.run_for(14)
    assert sorted(round(r.late_s) for r in world.started()) == [0, 0, 3]


def test_a_run_between_two_attempts_leaves_its_pool_to_others() -> None:
    failing = replace(job("a"), retry=replace(job().retry, max=1, delay=5.0), pools=("db",))
    other = job("b", pools=("db",))

    def fate(run: Run, attempt: int) -> Fate:
        return Fate(duration=1, exit_code=int(run.job.name == "a" and attempt == 1))

    world = World(jobfile(failing, other), fate).begin()
    world.run_for(18)
    assert [(r.job, round(r.at - START)) for r in world.started()] == [
        ("a", 10),
        ("b", 11),
        ("a", 16),
    ]


def test_a_reload_that_widens_a_pool_lets_in_who_waits() -> None:
    jobs = [job("a", pools=("db",)), job("b", pools=("db",))]
    world = World(jobfile(*jobs), long).begin()
    world.run_for(11)
    assert len(world.started()) == 1
    world.give(Reload(jobfile(*jobs, pools=(("db", 2),))))
    assert len(world.started()) == 2


@pytest.mark.parametrize("named", [True, False], ids=["in other pools", "taken out"])
def test_what_outlives_its_daemon_keeps_its_slot_whatever_the_jobfile_says_by_now(
    named: bool,
) -> None:
    first = World(jobfile(job("a", pools=("db",))), long).begin()
    first.run_for(11)
    recollection = Recollection(Memory())
    for record in first.records:
        recollection.take(record.fields())
    memory = recollection.memory()
    assert memory.open == first.scheduler.memory().open
    alive = {run: replace(attempt, alive=True) for run, attempt in memory.open.items()}
    jobs = [job("b", pools=("db",)), *([job("a", pools=("net",))] if named else [])]
    second = World(jobfile(*jobs), start=START + 12).begin(replace(memory, open=alive))
    second.run_for(10)
    assert second.started("b") == []
    (run,) = alive
    second.give(Exited(run, None, None, None, None, "", 0))
    assert len(second.started("b")) == 1


@pytest.mark.parametrize("overlap", list(Overlap))
def test_under_load_each_occurrence_is_run_or_skipped_whatever_the_overlap(
    overlap: Overlap,
) -> None:
    jobs = [job(f"j{n}", When(every=5), overlap=overlap, max_running=2) for n in range(20)]
    world = World(jobfile(*jobs, max_running=7), lambda run, attempt: Fate(duration=9)).begin()
    world.run_for(300)
    for each in jobs:
        runs = {r.scheduled for r in world.started(each.name)}
        skips = {r.scheduled for r in world.skipped(each.name)}
        assert not runs & skips
        due = set(range(START + 5, START + 301, 5))
        assert runs | skips | {r.scheduled for r in unstarted(world, each.name)} == due
    assert world.most_running <= 7


def unstarted(world: World, name: str) -> list[Run]:
    return world.scheduler._dispatch.unstarted(name)


@pytest.mark.slow
def test_ten_thousand_jobs_due_in_a_minute_run_by_priority_and_due_time() -> None:
    jobs = [
        job(f"j{n}", When(every=86_400, anchor=START + 1 + n % 60), priority=n % 3)
        for n in range(10_000)
    ]
    world = World(jobfile(*jobs, max_running=32), lambda run, attempt: Fate(duration=1)).begin()
    world.run_for(400)
    started = world.started()
    assert len(started) == 10_000
    assert world.most_running == 32
    order = [(record.at, n) for n, record in enumerate(started)]
    assert order == sorted(order)
    priority = {each.name: each.priority for each in jobs}
    # From the moment at which all are due, the higher priority goes first, then the older.
    tail = [r for r in started if r.at > START + 61]
    assert [(-priority[r.job], r.scheduled) for r in tail] == sorted(
        (-priority[r.job], r.scheduled) for r in tail
    )
    assert {r.trigger for r in started} == {TriggerKind.EVERY}
