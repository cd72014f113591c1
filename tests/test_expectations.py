"""What a run waits for, and its condition, as the core decides on them."""

from __future__ import annotations

from dataclasses import replace

from stsd.dispatch import PREPARATION_S
from stsd.expectations import LOOK_AGAIN_S
from stsd.memory import Memory, Recollection
from stsd.messages import Cancel, Prepared, Reload, Stop, Trigger
from stsd.model import (
    Job,
    Outcome,
    Retry,
    Run,
    Secret,
    ShellTask,
    SkipReason,
    WaitFor,
    When,
)
from tests.simulation.world import START, Fate, World, jobfile

EVERY_100 = When(every=100)
PATH = WaitFor(path="/srv/ready", timeout=30.0)


def job(name: str = "a", when: When = EVERY_100, **keys: object) -> Job:
    return replace(Job(name, ShellTask("true"), when), **keys)  # type: ignore[arg-type]


def reasons(world: World) -> list[tuple[SkipReason, str | None]]:
    return [(record.reason, record.detail) for record in world.skipped()]


# -- wait_for


def test_a_run_starts_as_soon_as_what_it_waits_for_is_there() -> None:
    world = World(jobfile(job(wait_for=PATH))).begin()
    world.missing = lambda run: "" if world.now.wall >= START + 110 else "no file /srv/ready"
    world.run_for(120)
    assert [r.at - START for r in world.started()] == [110.0]
    assert world.skipped() == []


def test_it_is_skipped_when_its_time_runs_out_and_says_what_was_missing() -> None:
    world = World(jobfile(job(wait_for=PATH))).begin()
    world.missing = lambda run: "no file /srv/ready"
    world.run_for(140)
    assert world.started() == []
    assert reasons(world) == [(SkipReason.CONDITION, "waited in vain: no file /srv/ready")]
    assert world.skipped()[0].at == START + 130


def test_it_takes_no_place_in_the_pool_while_it_waits() -> None:
    jobs = [job("waits", wait_for=PATH), job("other", pools=("p",))]
    world = World(jobfile(*jobs, max_running=1)).begin()
    world.missing = lambda run: "no file"
    world.run_for(101)
    assert [r.job for r in world.started()] == ["other"]


def test_nothing_is_looked_for_more_often_than_needed() -> None:
    looks = []

    def look(run: Run) -> str:
        looks.append(run.id)
        return "no file"

    world = World(jobfile(job(wait_for=PATH))).begin()
    world.missing = look
    world.run_for(140)
    assert len(looks) == PATH.timeout / LOOK_AGAIN_S


def test_a_run_by_hand_waits_for_nothing() -> None:
    world = World(jobfile(job(wait_for=PATH, condition=ShellTask("false")))).begin()
    world.missing = lambda run: "no file"
    world.prepare = lambda run, attempt: Prepared(run.id, unmet="no")
    world.give(Trigger("a"))
    assert len(world.started()) == 1


def test_a_repeated_attempt_has_waited_already() -> None:
    world = World(
        jobfile(job(wait_for=PATH, retry=Retry(max=1, delay=5.0))),
        lambda run, attempt: Fate(exit_code=1),
    ).begin()
    world.missing = lambda run: "" if world.now.wall < START + 101 else "no file"
    world.run_for(110)
    assert [r.attempt for r in world.started()] == [1, 2]


def test_a_job_waits_for_the_success_of_another() -> None:
    waits = job("b", wait_for=WaitFor(job="a", timeout=60.0))
    world = World(jobfile(job("a", When(every=100, anchor=START + 20)), waits)).begin()
    world.run_for(101)
    assert [r.job for r in world.started("b")] == ["b"]


def test_a_success_that_is_too_long_ago_does_not_count() -> None:
    waits = job("b", wait_for=WaitFor(job="a", within=30.0, timeout=60.0))
    world = World(jobfile(job("a", When(every=100, anchor=START + 20)), waits)).begin()
    world.run_for(119)
    assert world.started("b") == []
    world.run_for(5)
    assert len(world.started("b")) == 1


def test_a_success_before_a_restart_counts() -> None:
    jobs = jobfile(job("a", When(every=90)), job("b", wait_for=WaitFor(job="a", timeout=5.0)))
    first = World(jobs).begin()
    first.run_for(95)
    recollection = Recollection(Memory())
    for record in first.records:
        recollection.take(record.fields())
    assert recollection.memory().successes.keys() == {"a"}
    second = World(jobs, start=START + 96).begin(recollection.memory())
    second.run_for(5)
    assert len(second.started("b")) == 1


def test_a_waiting_run_that_is_cancelled_is_looked_after_no_more() -> None:
    world = World(jobfile(job(wait_for=PATH))).begin()
    world.missing = lambda run: "no file"
    world.run_for(101)
    run_id = "a@20270115T080140Z"
    world.give(Cancel(run_id))
    assert world.abandoned == [run_id]
    assert [r.outcome for r in world.finished()] == [Outcome.CANCELLED]
    world.run_for(40)
    assert world.skipped() == []


def test_a_job_that_is_removed_waits_no_more() -> None:
    world = World(jobfile(job(wait_for=PATH), job("b"))).begin()
    world.missing = lambda run: "no file"
    world.run_for(101)
    world.give(Reload(jobfile(job("b"))))
    assert reasons(world) == [(SkipReason.SUPERSEDED, None)]


def test_a_run_that_waits_overlaps_with_the_next_one() -> None:
    waits = job(when=When(every=10), wait_for=PATH)
    world = World(jobfile(waits)).begin()
    world.missing = lambda run: "no file"
    world.run_for(39)
    assert [r.reason for r in world.skipped()] == [SkipReason.OVERLAP] * 2


# -- condition and secrets

GUARDED = job(condition=ShellTask("test -e /srv/go"))


def test_a_run_whose_condition_does_not_hold_is_skipped() -> None:
    world = World(jobfile(GUARDED)).begin()
    world.prepare = lambda run, attempt: Prepared(run.id, unmet="the condition exited 1")
    world.run_for(101)
    assert world.started() == []
    assert reasons(world) == [(SkipReason.CONDITION, "the condition exited 1")]


def test_a_run_whose_condition_holds_is_started_once() -> None:
    world = World(jobfile(GUARDED)).begin()
    world.run_for(150)
    assert len(world.started()) == 1


def test_a_secret_that_cannot_be_had_fails_the_attempt_which_may_be_repeated() -> None:
    secretive = job(secrets=(Secret("A", file="/x"),), retry=Retry(max=1, delay=5.0))
    world = World(jobfile(secretive)).begin()
    world.prepare = lambda run, attempt: Prepared(run.id, error="no file /x" * (attempt == 1))
    world.run_for(110)
    assert [(r.outcome, r.error, r.attempt) for r in world.finished()] == [
        (Outcome.SPAWN_FAILED, "no file /x", 1),
        (Outcome.SUCCEEDED, None, 2),
    ]


def test_the_condition_is_asked_while_the_run_has_its_place() -> None:
    world = World(jobfile(GUARDED, job("b"), max_running=1)).begin()
    world.prepare = lambda run, attempt: None
    world.run_for(110)
    assert world.started() == []
    world.give(Prepared("a@20270115T080140Z"))
    world.run_for(1)
    assert [r.job for r in world.started()] == ["a", "b"]


def test_a_preparation_that_takes_too_long_is_given_up() -> None:
    world = World(jobfile(GUARDED)).begin()
    world.prepare = lambda run, attempt: None
    world.run_for(100 + PREPARATION_S)
    assert [(r.outcome, r.error) for r in world.finished()] == [
        (Outcome.SPAWN_FAILED, "its condition or its secrets took longer than 60 s")
    ]
    assert world.abandoned


def test_a_stop_leaves_off_asking_and_starts_nothing() -> None:
    world = World(jobfile(GUARDED, job("b", wait_for=PATH))).begin()
    world.prepare = lambda run, attempt: None
    world.missing = lambda run: "no file"
    world.run_for(101)
    world.give(Stop())
    assert len(world.abandoned) == 2
    world.give(Prepared("a@20270115T080140Z"))
    world.run_for(5)
    assert world.started() == []
    assert world.has_quit


def test_what_a_stop_has_left_waiting_is_still_open_in_the_books() -> None:
    world = World(jobfile(GUARDED)).begin()
    world.prepare = lambda run, attempt: None
    world.run_for(101)
    world.give(Stop())
    assert world.scheduler.memory().books["a"].newest < START + 100


def test_an_answer_that_comes_too_late_is_of_no_interest() -> None:
    world = World(jobfile(GUARDED)).begin()
    world.prepare = lambda run, attempt: None
    world.run_for(101)
    world.give(Cancel("a@20270115T080140Z"))
    world.give(Prepared("a@20270115T080140Z"))
    world.run_for(5)
    assert world.started() == []
