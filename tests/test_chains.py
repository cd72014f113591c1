"""Jobs that are due after others."""

from __future__ import annotations

from dataclasses import replace

from stsd.memory import Memory, Recollection
from stsd.messages import Begin, Reload, Tick, Trigger
from stsd.model import (
    After,
    CatchUp,
    Job,
    Outcome,
    Overlap,
    Retry,
    Run,
    ShellTask,
    SkipReason,
    TriggerKind,
    When,
)
from tests.simulation.world import START, Fate, World, jobfile

EVERY_10 = When(every=10)


def job(name: str, when: When = EVERY_10, **keys: object) -> Job:
    return replace(Job(name, ShellTask("true"), when), **keys)  # type: ignore[arg-type]


def after(*names: str, outcomes: frozenset[Outcome] | None = None) -> When:
    asked = After(names[0]).outcomes if outcomes is None else outcomes
    return When(after=tuple(After(name, asked) for name in names))


def failing(*names: str) -> object:
    def fate(run: Run, attempt: int) -> Fate:
        return Fate(duration=1, exit_code=int(run.job.name in names))

    return fate


def remembered(world: World) -> Memory:
    """What a restart reads off the history alone."""
    recollection = Recollection(Memory())
    for record in world.records:
        recollection.take(record.fields())
    return recollection.memory()


def test_a_job_follows_the_success_of_another() -> None:
    world = World(jobfile(job("a"), job("b", after("a")))).begin()
    world.run_for(12)
    assert [(r.job, r.trigger) for r in world.started()] == [
        ("a", TriggerKind.EVERY),
        ("b", TriggerKind.AFTER),
    ]


def test_it_does_not_follow_an_outcome_that_it_does_not_ask_for() -> None:
    world = World(jobfile(job("a"), job("b", after("a"))), failing("a")).begin()  # type: ignore[arg-type]
    world.run_for(35)
    assert world.started("b") == []


def test_it_follows_the_outcome_that_it_asks_for() -> None:
    alarm = job("alarm", after("a", outcomes=frozenset({Outcome.FAILED})))
    world = World(jobfile(job("a"), alarm), failing("a")).begin()  # type: ignore[arg-type]
    world.run_for(12)
    assert len(world.started("alarm")) == 1


def test_it_follows_the_last_attempt_and_no_other() -> None:
    a = job("a", When(every=100), retry=Retry(max=2, delay=5.0))
    follower = job("b", after("a", outcomes=frozenset(Outcome)))
    world = World(jobfile(a, follower), failing("a")).begin()  # type: ignore[arg-type]
    world.run_for(110)
    assert [round(r.at - START) for r in world.started("a")] == [100, 106]
    assert world.started("b") == []
    world.run_for(20)
    assert len(world.started("b")) == 1


def test_a_chain_runs_link_by_link() -> None:
    jobs = [job("a", When(every=100)), job("b", after("a")), job("c", after("b"))]
    world = World(jobfile(*jobs)).begin()
    world.run_for(102)
    assert [r.job for r in world.started()] == ["a", "b", "c"]


def test_a_job_after_several_waits_for_all_of_them() -> None:
    jobs = [job("a"), job("b", When(every=30)), job("c", after("a", "b"))]
    world = World(jobfile(*jobs)).begin()
    world.run_for(62)
    assert [r.scheduled - START for r in world.started("c")] == [30, 60]


def test_of_each_of_them_the_last_end_counts() -> None:
    def fate(run: Run, attempt: int) -> Fate:
        return Fate(duration=1, exit_code=int(run.job.name == "a" and run.scheduled > START + 10))

    jobs = [job("a"), job("b", When(every=30)), job("c", after("a", "b"))]
    world = World(jobfile(*jobs), fate).begin()
    world.run_for(62)
    assert world.started("c") == []


def test_a_run_by_hand_is_followed_as_any_other() -> None:
    world = World(jobfile(job("a", When()), job("b", after("a")))).begin()
    world.give(Trigger("a"))
    world.run_for(2)
    assert [r.job for r in world.started()] == ["a", "b"]


def test_its_overlap_policy_holds_for_it_too() -> None:
    def fate(run: Run, attempt: int) -> Fate:
        return Fate(duration=25 if run.job.name == "b" else 1)

    world = World(jobfile(job("a"), job("b", after("a"))), fate).begin()
    world.run_for(40)
    skipped = world.skipped("b")
    assert [(r.reason, r.trigger) for r in skipped] == [
        (SkipReason.OVERLAP, TriggerKind.AFTER)
    ] * len(skipped)
    assert len(skipped) == 2


def test_a_disabled_job_follows_nobody() -> None:
    world = World(jobfile(job("a"), job("b", after("a"), enabled=False))).begin()
    world.run_for(25)
    assert world.started("b") == []


def test_a_reload_that_changes_what_it_follows_begins_anew() -> None:
    a, b = job("a", When(every=100)), job("b", When(every=100, anchor=START + 50))
    world = World(jobfile(a, b, job("c", after("a", "b")))).begin()
    world.run_for(60)  # b has ended
    world.give(Reload(jobfile(a, b, job("c", replace(after("a", "b"), start=None, splay=0)))))
    world.give(Reload(jobfile(a, b, job("c", after("a")))))
    world.give(Reload(jobfile(a, b, job("c", after("a", "b")))))
    world.run_for(45)  # a has ended
    assert world.started("c") == []
    world.run_for(50)
    assert len(world.started("c")) == 1


def test_a_reload_that_leaves_it_alone_forgets_nothing() -> None:
    a, b = job("a", When(every=100)), job("b", When(every=100, anchor=START + 50))
    jobs = jobfile(a, b, job("c", after("a", "b")))
    world = World(jobs).begin()
    world.run_for(60)
    world.give(Reload(jobs))
    world.run_for(45)
    assert len(world.started("c")) == 1


def test_a_restart_remembers_which_of_several_have_ended() -> None:
    a, b = job("a", When(every=100)), job("b", When(every=100, anchor=START + 50))
    jobs = jobfile(a, b, job("c", after("a", "b")))
    first = World(jobs).begin()
    first.run_for(60)
    memory = remembered(first)
    assert memory.chains == first.scheduler.memory().chains
    second = World(jobs, start=START + 70).begin(memory)
    second.run_for(35)
    assert len(second.started("c")) == 1


def test_what_was_due_after_another_when_stsd_died_is_run_by_the_next_one() -> None:
    jobs = jobfile(job("a"), job("b", after("a"), pools=("p",)), job("hog", pools=("p",)))
    first = World(jobs, lambda run, attempt: Fate(60 if run.job.name == "hog" else 1)).begin()
    first.run_for(12)
    assert first.started("b") == []
    memory = remembered(first)
    assert memory.chains["b"].due == (START + 11,)
    assert memory.chains == first.scheduler.memory().chains
    second = World(jobs, start=START + 15).begin(replace(memory, open={}))
    assert [(r.job, r.scheduled) for r in second.started("b")] == [("b", START + 11)]


def test_what_was_due_after_another_is_not_forgotten_when_the_clock_is_set_back() -> None:
    jobs = jobfile(job("a"), job("b", after("a"), pools=("p",)), job("hog", pools=("p",)))
    world = World(jobs, lambda run, attempt: Fate(60 if run.job.name == "hog" else 1)).begin()
    world.run_for(12)
    world.step_clock(-4 * 3600)
    world.give(Tick())
    memory = remembered(world)
    assert memory.chains["b"].due == (START + 11,)
    assert memory.chains == world.scheduler.memory().chains


def test_what_was_due_after_another_is_left_out_where_nothing_is_to_be_caught_up() -> None:
    b = job("b", after("a"), overlap=Overlap.QUEUE, pools=("p",), catch_up=CatchUp.NONE)
    jobs = jobfile(job("a"), b, job("hog", pools=("p",)))
    first = World(jobs, lambda run, attempt: Fate(60 if run.job.name == "hog" else 1)).begin()
    first.run_for(22)
    second = World(jobs, start=START + 25).begin(replace(remembered(first), open={}))
    assert second.started("b") == []
    assert [r.scheduled - START for r in second.skipped("b")] == [11, 21]


def test_a_run_that_stsd_s_death_interrupted_is_followed_where_that_is_asked_for() -> None:
    after_death = job("b", after("a", outcomes=frozenset({Outcome.INTERRUPTED})))
    jobs = jobfile(job("a", When(every=100)), after_death)
    first = World(jobs, lambda run, attempt: Fate(duration=50)).begin()
    first.run_for(105)
    second = World(jobs, start=START + 110)
    second.give(Begin(remembered(first)))
    assert [r.job for r in second.started()] == ["b"]


def interrupted(*names: str) -> When:
    return after(*names, outcomes=frozenset({Outcome.INTERRUPTED}))


def test_a_job_that_is_new_after_a_restart_follows_nothing_that_was_before_it() -> None:
    a = job("a", When(every=100))
    first = World(jobfile(a), lambda run, attempt: Fate(duration=50)).begin()
    first.run_for(105)
    second = World(jobfile(a, job("b", interrupted("a"))), start=START + 110)
    second.give(Begin(remembered(first)))
    assert [r.outcome for r in second.finished("a")] == [Outcome.INTERRUPTED]
    assert second.started("b") == []


def test_what_a_restart_makes_due_by_a_rule_that_is_no_more_is_left_out() -> None:
    a = job("a", When(every=100))
    jobs = jobfile(a, job("b", interrupted("a")), job("c", interrupted("a")))
    first = World(jobs, lambda run, attempt: Fate(duration=50)).begin()
    first.run_for(105)
    second = World(jobfile(a, job("b", after("a"))), start=START + 110)
    second.give(Begin(remembered(first)))
    assert second.started() == []
    assert [(r.job, r.scheduled, r.reason) for r in second.skipped()] == [
        (name, START + 110, SkipReason.SUPERSEDED) for name in "bc"
    ]


def test_a_reload_that_ends_a_run_has_it_followed_by_whoever_did_so_before() -> None:
    called_off = after("a", outcomes=frozenset({Outcome.CANCELLED}))
    a = job("a", retry=Retry(max=1, delay=1000))
    world = World(jobfile(a, job("b", called_off), job("c", called_off)), failing("a")).begin()
    world.run_for(12)
    world.give(Reload(jobfile(job("b", called_off), job("d", called_off))))
    assert [r.outcome for r in world.finished("a")][-1] is Outcome.CANCELLED
    assert [r.job for r in world.started()] == ["a", "b"]
    assert [(r.job, r.reason) for r in world.skipped()] == [("c", SkipReason.SUPERSEDED)]


def test_a_reload_stops_no_run_for_one_that_a_schedule_which_ends_would_have_had() -> None:
    called_off = after("a", outcomes=frozenset({Outcome.CANCELLED}))
    a, b = job("a", retry=Retry(max=1, delay=1000)), job("b", When(every=10_000))
    for left in ((), (b, job("c", after("b"), overlap=Overlap.REPLACE))):
        c = job("c", called_off, overlap=Overlap.REPLACE)
        world = World(
            jobfile(a, c), lambda run, attempt: Fate(1 if run.job.name == "a" else 500, 1)
        )
        world.begin().give(Trigger("c"))
        world.run_for(12)
        world.give(Reload(jobfile(*left)))
        assert world.signals == []
        assert [(r.job, r.reason) for r in world.skipped()] == [("c", SkipReason.SUPERSEDED)]
