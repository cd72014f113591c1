"""The core's decisions, driven through a simulated world."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from stsd.dispatch import WAITING_LIMIT
from stsd.messages import (
    Cancel,
    Committed,
    DiskFailed,
    Reload,
    Spawn,
    Spawned,
    Stop,
    Tick,
    Trigger,
    Write,
)
from stsd.model import (
    Job,
    LogFailure,
    MissReason,
    Outcome,
    Overlap,
    Reading,
    Retry,
    Run,
    ShellTask,
    SkipReason,
    TriggerKind,
    When,
)
from stsd.records import Planned, Started
from stsd.wallclock import clock, renew
from tests.simulation.world import START, Fate, World, jobfile

EVERY_10 = When(every=10)


def job(name: str = "a", when: When = EVERY_10, **keys: object) -> Job:
    return replace(Job(name, ShellTask("true"), when), **keys)  # type: ignore[arg-type]


def long(run: Run, attempt: int) -> Fate:
    return Fate(duration=25)


def runs_of(world: World, job: str) -> list[Run]:
    """What was spawned of it."""
    return [run for run in world.spawned if run.job.name == job]


def failing(run: Run, attempt: int) -> Fate:
    return Fate(exit_code=2)


# -- due


def test_a_job_runs_at_each_instant_of_its_schedule() -> None:
    world = World(jobfile(job())).begin()
    world.run_for(35)
    assert [record.scheduled - START for record in world.started()] == [10, 20, 30]


def test_the_same_occurrence_has_the_same_run_id_on_every_machine() -> None:
    world = World(jobfile(job())).begin()
    world.run_for(10)
    assert world.started()[0].run == "a@20270115T080010Z"


def test_nothing_runs_at_start_unless_it_says_on_start() -> None:
    world = World(jobfile(job("boot", When(on_start=True)), job("other"))).begin()
    assert [(r.job, r.trigger) for r in world.started()] == [("boot", TriggerKind.ON_START)]


def test_a_run_at_start_is_never_taken_for_an_occurrence_of_the_same_second() -> None:
    both = job("a", replace(EVERY_10, on_start=True), overlap=Overlap.ALLOW)
    first = World(jobfile(both), start=START - 15).begin()
    later = World(jobfile(both), start=START).begin(first.scheduler.memory())
    assert sorted(record.run for record in later.started()) == [
        "a@20270115T080000Z",
        "a@start-20270115T080000.000Z",
    ]


def test_a_disabled_job_does_not_fall_due() -> None:
    world = World(jobfile(job(enabled=False))).begin()
    world.run_for(100)
    assert world.records == []


def test_jobs_due_at_once_start_by_priority_then_by_due_time() -> None:
    low, high, plain = job("low", priority=-1), job("high", priority=5), job("plain")
    world = World(jobfile(low, plain, high, max_running=1)).begin()
    world.run_for(12)
    assert [record.job for record in world.started()] == ["high", "plain", "low"]


def test_no_more_than_max_running_run_at_once() -> None:
    jobs = [job(f"j{n}") for n in range(20)]
    world = World(jobfile(*jobs, max_running=3), lambda run, attempt: Fate(1)).begin()
    world.run_for(19)
    assert world.most_running == 3
    assert len(world.started()) == 20


def test_lateness_never_accumulates() -> None:
    world = World(jobfile(job()), lambda run, attempt: Fate(9.7)).begin()
    world.run_for(3600)
    assert [record.late_s for record in world.started()] == [0.0] * 360


# -- overlap


def test_skip_leaves_out_what_falls_due_during_a_run() -> None:
    world = World(jobfile(job(overlap=Overlap.SKIP)), long).begin()
    world.run_for(45)
    assert [r.scheduled - START for r in world.started()] == [10, 40]
    assert [(r.scheduled - START, r.reason) for r in world.skipped()] == [
        (20, SkipReason.OVERLAP),
        (30, SkipReason.OVERLAP),
    ]


def test_queue_runs_one_after_the_other_and_loses_none() -> None:
    world = World(jobfile(job(overlap=Overlap.QUEUE)), long).begin()
    world.run_for(100)
    assert [r.at - START for r in world.started()] == [10, 35, 60, 85]
    assert [r.scheduled - START for r in world.started()] == [10, 20, 30, 40]
    assert world.most_running == 1


def test_a_queue_does_not_grow_without_bound() -> None:
    world = World(jobfile(job(overlap=Overlap.QUEUE)), lambda run, attempt: Fate(1e9)).begin()
    world.run_for(10 * (WAITING_LIMIT + 11))
    assert len(world.skipped()) == 10


def test_allow_runs_them_side_by_side() -> None:
    world = World(jobfile(job(overlap=Overlap.ALLOW)), long).begin()
    world.run_for(35)
    assert len(world.started()) == 3
    assert world.most_running == 3


def test_replace_stops_the_old_run_before_the_new_one_starts() -> None:
    stubborn = Fate(duration=1000, stubborn=True)
    world = World(jobfile(job(overlap=Overlap.REPLACE, stop_grace=4)), lambda r, a: stubborn)
    world.begin().run_for(25)
    first, second = world.started()
    assert world.signals[:2] == [(first.run, "TERM"), (first.run, "KILL")]
    assert world.finished()[0].outcome is Outcome.CANCELLED
    assert second.at - START == 24
    assert world.most_running == 1


def test_replace_leaves_out_the_run_that_a_later_one_overtakes() -> None:
    stubborn = Fate(duration=1000, stubborn=True)
    world = World(jobfile(job(overlap=Overlap.REPLACE, stop_grace=15)), lambda r, a: stubborn)
    world.begin().run_for(36)
    assert [r.scheduled - START for r in world.started()] == [10, 30]
    assert [(r.scheduled - START, r.reason) for r in world.skipped()] == [
        (20, SkipReason.SUPERSEDED)
    ]


def test_a_run_that_waits_for_its_next_attempt_counts_as_running() -> None:
    world = World(jobfile(job(retry=Retry(max=1, delay=15))), failing).begin()
    world.run_for(24)
    assert [r.scheduled - START for r in world.skipped()] == [20]


# -- attempts


def test_a_failed_run_is_retried_as_a_numbered_attempt_of_the_same_run() -> None:
    world = World(jobfile(job(retry=Retry(max=2, delay=1))), failing).begin()
    world.run_for(15)
    ids = {record.run for record in world.started()}
    assert ids == {"a@20270115T080010Z"}
    assert [record.attempt for record in world.finished()] == [1, 2, 3]
    assert [record.will_retry_at is None for record in world.finished()] == [False, False, True]


def test_an_attempt_that_succeeds_ends_the_retries() -> None:
    def second_time_lucky(run: Run, attempt: int) -> Fate:
        return Fate(exit_code=0 if attempt == 2 else 1)

    world = World(jobfile(job(retry=Retry(max=5, delay=1))), second_time_lucky).begin()
    world.run_for(18)
    assert [r.outcome for r in world.finished()] == [Outcome.FAILED, Outcome.SUCCEEDED]


def test_success_codes_say_what_success_is() -> None:
    world = World(jobfile(job(success_codes=frozenset({0, 2}))), failing).begin()
    world.run_for(12)
    assert world.finished()[0].outcome is Outcome.SUCCEEDED


def test_a_program_that_cannot_be_started_is_recorded_and_retried() -> None:
    unborn = Fate(unborn=True)
    world = World(jobfile(job(retry=Retry(max=1, delay=1))), lambda r, a: unborn).begin()
    world.run_for(15)
    assert [(r.outcome, r.attempt, r.error) for r in world.finished()] == [
        (Outcome.SPAWN_FAILED, 1, "no such program"),
        (Outcome.SPAWN_FAILED, 2, "no such program"),
    ]
    assert world.started() == []


def test_a_run_past_its_timeout_gets_its_signal_then_kill() -> None:
    stubborn = Fate(duration=1000, stubborn=True)
    slow = job(timeout=3.0, stop_grace=2.0, stop_signal="INT")
    world = World(jobfile(slow), lambda r, a: stubborn).begin()
    world.run_for(16)
    ended = world.finished()[0]
    assert [name for _, name in world.signals] == ["INT", "KILL"]
    assert (ended.outcome, ended.signal, ended.duration_s) == (Outcome.TIMED_OUT, "SIGKILL", 5.0)


def test_a_timeout_runs_on_the_monotonic_clock() -> None:
    world = World(jobfile(job(timeout=20.0)), lambda r, a: Fate(15)).begin()
    world.run_for(11)
    world.step_clock(3600)
    world.run_for(15)
    assert world.finished()[0].outcome is Outcome.SUCCEEDED


def test_each_attempt_has_the_whole_timeout() -> None:
    slow = job(timeout=3.0, retry=Retry(max=1, delay=1))
    world = World(jobfile(slow), lambda r, a: Fate(100)).begin()
    world.run_for(19)
    assert [r.duration_s for r in world.finished()] == [3.0, 3.0]


def test_an_occurrence_that_comes_again_is_not_run_beside_itself() -> None:
    hourly = job("a", When(every=3600), overlap=Overlap.ALLOW)
    world = World(jobfile(hourly), lambda r, a: Fate(6 * 3600)).begin()
    world.run_for(3600)
    (before,) = world.scheduler.live()
    world.step_clock(-4 * 3600)
    world.run_for(4 * 3600)
    again = [s.reason for s in world.skipped() if s.run == before.run.id]
    assert again == [SkipReason.OVERLAP]
    assert [s.run for s in world.started()].count(before.run.id) == 1


# -- by hand


def test_a_job_without_a_schedule_runs_when_it_is_triggered() -> None:
    world = World(jobfile(job(when=When()))).begin()
    world.give(Trigger("a"))
    world.run_for(1)
    assert world.started()[0].trigger is TriggerKind.MANUAL
    assert world.started()[0].run == "a@manual-20270115T080000.000Z"


def test_a_run_by_hand_is_late_by_what_it_had_to_wait_and_not_by_the_part_of_a_second() -> None:
    world = World(jobfile(job(when=When()))).begin()
    world.run_for(0.75)
    world.give(Trigger("a"))
    assert world.started()[0].late_s == 0.0


def test_two_triggers_in_the_same_moment_are_two_runs() -> None:
    world = World(jobfile(job(when=When(), overlap=Overlap.QUEUE))).begin()
    world.give(Trigger("a"))
    world.give(Trigger("a"))
    world.run_for(1)
    assert len({record.run for record in world.started()}) == 2


def test_a_cancelled_run_is_stopped_and_not_retried() -> None:
    world = World(jobfile(job(retry=Retry(max=3))), long).begin()
    world.run_for(12)
    world.give(Cancel(world.started()[0].run))
    world.run_for(1)
    assert [r.outcome for r in world.finished()] == [Outcome.CANCELLED]
    assert world.finished()[0].will_retry_at is None


def test_cancelling_a_run_between_two_attempts_ends_it() -> None:
    world = World(jobfile(job(retry=Retry(max=3, delay=5))), failing).begin()
    world.run_for(12)
    world.give(Cancel(world.started()[0].run))
    world.run_for(7)
    assert [(r.attempt, r.outcome) for r in world.finished()] == [
        (1, Outcome.FAILED),
        (2, Outcome.CANCELLED),
    ]
    assert len(world.started()) == 1


# -- reload


def test_a_reload_keeps_the_place_of_unchanged_jobs() -> None:
    world = World(jobfile(job("a"), job("b"))).begin()
    world.run_for(5)
    world.give(Reload(jobfile(job("a"), job("c"))))
    world.run_for(7)
    assert sorted(record.job for record in world.started()) == ["a", "c"]
    assert world.said[0].fields == {
        "added": ["c"],
        "changed": [],
        "removed": ["b"],
        "unchanged": 1,
    }


def test_a_reload_runs_nothing_for_a_time_that_has_passed() -> None:
    world = World(jobfile(job("a"))).begin()
    world.run_for(15)
    world.give(Reload(jobfile(job("a"), job("new", When(cron=("* * * * *",))))))
    world.give(Reload(jobfile(job("a", When(every=7)), job("boot", When(on_start=True)))))
    assert len(world.started()) == 1


def test_what_fell_due_before_a_reload_is_run_by_the_old_jobfile() -> None:
    world = World(jobfile(job("a"))).begin()
    world.step_clock(11)
    world.give(Reload(jobfile()))
    assert [record.scheduled - START for record in world.started()] == [10]


def test_a_changed_job_keeps_its_place_and_runs_as_it_is_now() -> None:
    world = World(jobfile(job("a"), job("b"))).begin()
    world.run_for(15)
    world.give(Reload(jobfile(job("a", task=ShellTask("false")), job("b"))))
    world.run_for(10)
    assert [(r.job, r.scheduled - START) for r in world.started()] == [
        ("a", 10),
        ("b", 10),
        ("b", 20),
        ("a", 20),
    ]
    assert world.said[0].fields["changed"] == ["a"]
    assert [run.job.task for run in runs_of(world, "a")] == [ShellTask("true"), ShellTask("false")]
    assert len([r for r in world.records if isinstance(r, Planned)]) == 2


def test_an_equal_job_has_not_changed_whichever_object_it_is() -> None:
    world = World(jobfile(job("a"))).begin()
    before = len(world.records)
    world.give(Reload(jobfile(job("a"))))
    assert world.said[0].fields["unchanged"] == 1
    assert len(world.records) == before


def test_a_job_that_is_told_to_run_without_a_history_keeps_its_place() -> None:
    world = World(jobfile(job("a"), job("b"))).begin()
    world.run_for(15)
    world.give(Reload(jobfile(job("a", on_log_failure=LogFailure.RUN), job("b"))))
    world.give(DiskFailed("no space"))
    world.run_for(10)
    assert [r.scheduled - START for r in world.started("a")] == [10, 20]
    assert [r.scheduled - START for r in world.started("b")] == [10]


def test_of_jobs_that_share_a_schedule_one_may_go_and_another_come() -> None:
    world = World(jobfile(job("a"), job("b"), job("c"))).begin()
    world.give(Reload(jobfile(job("a"), job("c"), job("d"))))
    world.run_for(20)
    assert sorted((r.job, r.scheduled - START) for r in world.started()) == [
        (name, at) for name in ("a", "c", "d") for at in (10, 20)
    ]


def test_after_a_small_step_back_a_new_job_is_due_from_then_on_and_no_other() -> None:
    world = World(jobfile(job("a"))).begin()
    world.run_for(25)
    world.step_clock(-25)
    world.give(Reload(jobfile(job("a"), job("new"))))
    world.run_for(30)
    assert [r.scheduled - START for r in world.started("new")] == [10, 20, 30]
    assert [r.scheduled - START for r in world.started("a")] == [10, 20, 30]


def test_the_only_job_comes_back_as_new_after_the_clock_was_set_back_for_good() -> None:
    world = World(jobfile(job("a"))).begin()
    world.run_for(25)
    world.give(Reload(jobfile()))
    world.step_clock(-4 * 3600)
    world.give(Reload(jobfile(job("a"))))
    world.run_for(25)
    assert len(world.started("a")) == 5


def test_a_reload_that_takes_many_jobs_out_takes_no_longer_for_each() -> None:
    def took(number: int) -> float:
        jobs = [job(f"a{n}", When(every=100_000)) for n in range(number)]
        world = World(jobfile(*jobs)).begin()
        began = time.process_time()
        world.give(Reload(jobfile()))
        return time.process_time() - began

    assert took(8_000) < 3 * 8 * min(took(1_000) for _ in range(3))


def test_a_job_that_comes_back_after_a_small_step_back_repeats_nothing() -> None:
    world = World(jobfile(job("a"))).begin()
    world.run_for(25)
    world.give(Reload(jobfile()))
    world.step_clock(-25)
    world.give(Reload(jobfile(job("a"))))
    world.run_for(30)
    assert [r.scheduled - START for r in world.started("a")] == [10, 20, 30]


def test_a_schedule_changed_without_a_daemon_repeats_nothing_after_a_small_step_back() -> None:
    world = World(jobfile(job("a"))).begin()
    world.run_for(25)
    again = World(jobfile(job("a", When(every=5)))).begin(world.scheduler.memory())
    again.run_for(31)
    assert [r.scheduled - START for r in again.started("a")] == [25, 30]


@pytest.mark.slow
def test_jobs_of_a_zone_whose_clock_goes_otherwise_now_are_planned_anew() -> None:
    when = When(cron=("0 12 * * *",), timezone="Europe/Berlin")
    berlin, tokyo = clock("Europe/Berlin").data, clock("Asia/Tokyo").data
    at_noon = jobfile(job("zoned", when), job("other"))
    world = World(at_noon).begin()
    before = world.scheduler.memory().books
    try:
        renew({"Europe/Berlin": tokyo})
        world.give(Reload(at_noon, frozenset({"Europe/Berlin"})))
        world.run_for(86400)
    finally:
        renew({"Europe/Berlin": berlin})
    (run,) = world.started("zoned")
    assert run.scheduled % 86400 == 3 * 3600
    assert world.scheduler.memory().books["zoned"].since == before["zoned"].since
    assert len(world.started("other")) == 8640


def test_a_run_of_a_removed_job_goes_on() -> None:
    world = World(jobfile(job("a")), long).begin()
    world.run_for(11)
    world.give(Reload(jobfile()))
    world.run_for(60)
    assert [r.outcome for r in world.finished()] == [Outcome.SUCCEEDED]


def test_runs_of_a_removed_job_that_still_wait_are_superseded() -> None:
    world = World(jobfile(job("a", overlap=Overlap.QUEUE)), long).begin()
    world.run_for(21)
    world.give(Reload(jobfile()))
    world.run_for(60)
    assert [r.reason for r in world.skipped()] == [SkipReason.SUPERSEDED]
    assert len(world.started()) == 1


def test_a_removed_job_is_not_retried() -> None:
    world = World(jobfile(job("a", retry=Retry(max=3, delay=5))), failing).begin()
    world.run_for(11)
    world.give(Reload(jobfile()))
    world.run_for(60)
    assert [r.outcome for r in world.finished()] == [Outcome.FAILED, Outcome.CANCELLED]


def test_a_running_job_keeps_the_definition_it_started_with() -> None:
    world = World(jobfile(job("a", success_codes=frozenset({2}))), lambda r, a: Fate(5, 2))
    world.begin().run_for(11)
    world.give(Reload(jobfile(job("a"))))
    world.run_for(5)
    assert world.finished()[0].outcome is Outcome.SUCCEEDED


# -- stop


def test_a_stop_waits_for_the_running_and_starts_nothing_more() -> None:
    world = World(jobfile(job()), long).begin()
    world.run_for(11)
    world.give(Stop())
    world.run_for(100)
    assert world.has_quit
    assert [r.outcome for r in world.finished()] == [Outcome.SUCCEEDED]
    assert world.signals == []


def test_a_stop_ends_what_runs_longer_than_stop_timeout() -> None:
    world = World(jobfile(job(), stop_timeout=5.0), lambda r, a: Fate(1000)).begin()
    world.run_for(11)
    world.give(Stop())
    world.run_for(100)
    assert world.finished()[0].outcome is Outcome.INTERRUPTED
    assert world.finished()[0].at - START == 16
    assert world.has_quit


def test_a_second_stop_does_not_wait_and_a_third_one_kills() -> None:
    stubborn = Fate(duration=1000, stubborn=True)
    world = World(jobfile(job()), lambda r, a: stubborn).begin()
    world.run_for(11)
    for _ in range(3):
        world.give(Stop())
    world.run_for(0.1)
    assert [name for _, name in world.signals] == ["TERM", "KILL"]
    assert world.has_quit


def test_a_stop_with_nothing_running_quits_at_once() -> None:
    world = World(jobfile(job())).begin()
    world.give(Stop())
    assert world.has_quit


def test_what_had_not_started_at_a_stop_is_left_to_the_next_start() -> None:
    jobs = jobfile(job("a"), job("b"), max_running=1)
    world = World(jobs, lambda r, a: Fate(3)).begin()
    world.run_for(11)
    world.give(Stop())
    world.run_for(5)
    assert world.has_quit
    assert [record.job for record in world.started()] == ["a"]
    later = World(jobs, start=START + 15).begin(world.scheduler.memory())
    assert [(r.job, r.scheduled - START) for r in later.started()] == [("b", 10)]


def test_a_failure_during_a_stop_is_retried_by_the_next_daemon() -> None:
    jobs = jobfile(job(retry=Retry(max=9, delay=7)))
    world = World(jobs, lambda r, a: Fate(2, 1)).begin()
    world.run_for(11)
    world.give(Stop())
    world.run_for(5)
    assert world.has_quit
    assert world.finished()[0].will_retry_at == START + 19
    later = World(jobs, start=START + 15).begin(world.scheduler.memory())
    later.run_for(4.5)
    second = later.started()[0]
    assert (second.run, second.attempt, second.at - START) == (world.started()[0].run, 2, 19)


# -- the clock


def test_after_a_sleep_the_latest_occurrence_runs_and_the_others_are_missed() -> None:
    world = World(jobfile(job())).begin()
    world.run_for(15)
    world.step_clock(1000)
    world.run_for(1)
    assert [r.scheduled - START for r in world.started()] == [10, 1010]
    missed = world.missed()[0]
    assert (missed.first - START, missed.last - START, missed.count) == (20, 1000, 99)
    assert missed.reason is MissReason.SLEPT


def test_what_passed_longer_ago_than_the_window_is_missed_altogether() -> None:
    world = World(jobfile(job(when=When(every=7200)))).begin()
    world.step_clock(7200 * 3 - START % 7200 - 1)
    world.run_for(0.5)
    assert world.started() == []
    assert sum(record.count for record in world.missed()) == 2


def test_a_short_stall_loses_nothing() -> None:
    world = World(jobfile(job(when=When(every=1)))).begin()
    world.run_for(1.5)
    world.step_clock(4)
    world.run_for(0.4)
    assert len(world.started()) + len(world.skipped()) == 5
    assert world.missed() == []


def test_a_step_back_of_up_to_three_hours_repeats_nothing() -> None:
    world = World(jobfile(job())).begin()
    world.run_for(100)
    world.step_clock(-3600)
    world.run_for(3600 + 50)
    ids = [record.run for record in world.started()]
    assert len(ids) == len(set(ids)) == 15


def test_a_reload_after_a_step_back_repeats_nothing_either() -> None:
    world = World(jobfile(job())).begin()
    world.run_for(100)
    world.step_clock(-3600)
    world.give(Reload(jobfile(job())))
    world.run_for(3600 + 50)
    ids = [record.run for record in world.started()]
    assert len(ids) == len(set(ids)) == 15


def test_a_larger_step_back_is_a_correction_and_schedules_follow_it() -> None:
    world = World(jobfile(job())).begin()
    world.run_for(15)
    world.step_clock(-86400)
    world.run_for(10)
    assert [r.scheduled - START for r in world.started()] == [10, -86400 + 20]
    assert world.said[0].event == "clock_rewound"


@pytest.mark.parametrize("seconds", [-3600, 60])
def test_a_step_of_the_clock_is_told(seconds: int) -> None:
    world = World(jobfile(job())).begin()
    world.run_for(5)
    world.step_clock(seconds)
    world.run_for(5)
    assert ("clock_stepped", {"step_s": float(seconds)}) in [
        (said.event, said.fields) for said in world.said
    ]


def test_a_start_that_is_told_of_late_was_when_it_was() -> None:
    world = World(jobfile(job(timeout=60.0))).begin()
    world.run_for(9)
    scheduler, mono = world.scheduler, world.now.mono
    due, told = Reading(START + 10.0, mono + 1), Reading(START + 10.75, mono + 1.75)
    scheduler.step(Tick(), due)
    (spawn,) = scheduler.step(Committed(), due)
    assert isinstance(spawn, Spawn)
    (write,) = scheduler.step(Spawned(spawn.run.id, 4711, 1, ago_s=0.5), told)
    assert isinstance(write, Write)
    assert isinstance(write.record, Started)
    assert (write.record.at - START, write.record.late_s) == (10.25, 0.25)
    assert scheduler.wake().mono == mono + 61.25
    (live,) = scheduler.live()
    assert live.started == Reading(START + 10.25, mono + 1.25)
