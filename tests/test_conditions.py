"""What people are told of a job, and when: each condition's beginning, its end, and in between."""

from __future__ import annotations

from typing import Any

import pytest

from stsd.conditions import GRACE_S, Conditions
from stsd.model import LogFailure, Outcome, Overlap, SkipReason, TriggerKind, When
from stsd.notices import ON_BY_DEFAULT, Event, Notify, Slow
from stsd.records import Planned, Started
from tests.support_story import DAILY, EVERYTHING, NOBODY, Story, a_job, events, instant

MORNING = instant("2026-11-21T08:00:00+01:00")
HOUR, DAY = 3600.0, 86400.0


def reminded(seconds: float) -> Notify:
    return Notify((NOBODY,), frozenset(Event), remind=seconds)


# -- failed


def test_a_failure_is_told_with_all_that_is_known_of_the_run() -> None:
    story = Story(a_job(), now=MORNING)
    story.run_for(3.0)
    story.run_for(5.0)
    (told,) = story.run_for(9.0, Outcome.FAILED)
    assert (told.event, told.job, told.why) == (Event.FAILED, "a", "exit code 2")
    assert told.run == "a@20261121T070008Z"
    assert (told.outcome, told.exit_code, told.attempt, told.trigger) == ("failed", 2, 1, "cron")
    assert (told.started, told.at, told.duration_s) == (MORNING + 8, MORNING + 17, 9.0)
    assert (told.usual_s, told.output, told.output_bytes) == (4.0, "output/a.log", 812)
    assert (told.since, told.count, told.reminder) == (told.at, 1, 0)


def test_failures_in_a_row_are_told_once_and_their_end_tells_how_many() -> None:
    story = Story(a_job(), now=MORNING)
    assert events(story.fail()) == ["failed"]
    story.wait(60)
    assert story.fail() == []
    story.wait(60)
    assert story.fail() == []
    assert story.standing() == ["failed"]
    story.wait(60)
    (told,) = story.end()
    assert (told.event, told.ended, told.count) == (Event.RECOVERED, (Event.FAILED,), 3)
    assert (told.since, told.outcome) == (MORNING, "succeeded")
    assert told.why == "succeeded, after 3 failed runs since 2026-11-21 08:00 (Europe/Berlin)"
    assert story.standing() == []


def test_after_a_recovery_the_next_failure_is_news_again() -> None:
    story = Story(a_job(), now=MORNING)
    told = story.fail() + story.end() + story.end() + story.fail()
    assert events(told) == ["failed", "recovered", "failed"]


@pytest.mark.parametrize(
    ("outcome", "more", "why"),
    [
        (Outcome.FAILED, {"exit_code": None, "signal": "SIGSEGV"}, "ended by SIGSEGV"),
        (
            Outcome.TIMED_OUT,
            {"duration_s": 3600.0, "signal": "SIGTERM"},
            "timed out after 1h",
        ),
        (
            Outcome.SPAWN_FAILED,
            {"started": None, "duration_s": None, "error": "no such file: /bin/no\u202ething"},
            "could not be started: no such file: /bin/no\\u202ething",
        ),
        (
            Outcome.INTERRUPTED,
            {"duration_s": None, "error": "exit status unknown"},
            "interrupted: exit status unknown",
        ),
        (
            Outcome.FAILED,
            {"exit_code": 137, "error": "killed: out of memory (limit 512.0 MiB)"},
            "killed: out of memory (limit 512.0 MiB)",
        ),
        (Outcome.FAILED, {"exit_code": 0}, "exit code 0"),
    ],
)
def test_every_bad_end_is_a_failure_and_says_what_it_was(
    outcome: Outcome, more: dict[str, Any], why: str
) -> None:
    (told,) = Story(a_job(), now=MORNING).end(outcome, **more)
    assert (told.event, told.why) == (Event.FAILED, why)


def test_what_was_cancelled_neither_fails_nor_succeeds() -> None:
    story = Story(a_job(), now=MORNING)
    assert story.end(Outcome.CANCELLED) == []
    story.fail()
    assert story.end(Outcome.CANCELLED) == []
    assert story.standing() == ["failed"]


def test_a_failed_attempt_is_told_once_before_the_run_fails_for_good() -> None:
    story = Story(a_job(), now=MORNING)
    (told,) = story.fail(run="a@1", will_retry_at=MORNING + 10)
    assert (told.event, told.will_retry_at) == (Event.ATTEMPT_FAILED, MORNING + 10)
    assert story.fail(run="a@1", attempt=2, will_retry_at=MORNING + 20) == []
    assert story.standing() == ["attempt_failed"]
    assert events(story.fail(run="a@1", attempt=3)) == ["failed"]
    assert story.standing() == ["failed"]


def test_a_success_after_failed_attempts_ends_them() -> None:
    story = Story(a_job(), now=MORNING)
    story.fail(run="a@1", will_retry_at=MORNING + 10)
    (told,) = story.end(run="a@1", attempt=2)
    assert (told.event, told.ended) == (Event.RECOVERED, (Event.ATTEMPT_FAILED,))
    assert told.why == "succeeded; it was failing since 2026-11-21 08:00 (Europe/Berlin)"


def test_attempts_of_a_job_that_is_known_to_fail_are_no_news() -> None:
    story = Story(a_job(), now=MORNING)
    story.fail()
    assert story.fail(run="a@2", will_retry_at=MORNING + 10) == []
    assert story.standing() == ["failed"]


def test_attempts_are_told_of_run_by_run_to_those_who_do_not_care_for_failures() -> None:
    notify = Notify((NOBODY,), frozenset({Event.ATTEMPT_FAILED}))
    story = Story(a_job(notify=notify), now=MORNING)
    told = story.fail(run="a@1", will_retry_at=MORNING + 10) + story.fail(run="a@1", attempt=2)
    told += story.fail(run="a@2", will_retry_at=MORNING + 99)
    assert events(told) == ["attempt_failed", "attempt_failed"]


def test_a_run_cancelled_between_attempts_leaves_nothing_behind() -> None:
    story = Story(a_job(), now=MORNING)
    story.fail(run="a@1", will_retry_at=MORNING + 10)
    assert story.end(Outcome.CANCELLED, run="a@1") == []
    assert story.standing() == []


# -- who is told of what


def test_nobody_is_told_of_what_nobody_has_asked_for() -> None:
    story = Story(a_job(notify=None), a_job(name="b", notify=Notify((NOBODY,))), now=MORNING)
    assert story.fail() == []
    assert story.skip(SkipReason.OVERLAP) == []
    assert story.conditions.standing() == {"a": ["failed", "skipped"]}
    assert Event.SKIPPED not in ON_BY_DEFAULT
    assert events(story.fail("b")) == ["failed"]


def test_the_end_is_told_to_those_alone_who_were_told_of_the_beginning() -> None:
    notify = Notify((NOBODY,), frozenset({Event.SKIPPED, Event.RECOVERED}))
    story = Story(a_job(notify=notify), now=MORNING)
    assert story.fail() == []
    assert story.end() == []


def test_who_asks_while_a_job_fails_is_told_of_its_next_failure() -> None:
    story = Story(a_job(notify=None), now=MORNING)
    story.fail()
    story.wait(60)
    story.reload(a_job())
    (told,) = story.fail()
    assert (told.event, told.count, told.since) == (Event.FAILED, 2, MORNING)
    assert story.fail() == []


def test_records_of_unknown_jobs_and_of_unknown_kinds_are_passed_over() -> None:
    story = Story(a_job(), now=MORNING)
    assert story.fail("stranger") == []
    record = {"event": "daemon", "at": "2026-11-21T07:00:00Z"}
    assert story.conditions.take(record, MORNING) == []
    assert story.conditions.take({"event": "to come"}, MORNING) == []


@pytest.mark.parametrize(
    "change",
    [
        {"event": "finished", "job": "a", "at": "2026-11-21T07:00:00Z"},
        {"event": "paused", "job": "a", "at": "yesterday"},
        {"event": "paused", "job": "a", "at": None},
        {},
    ],
)
def test_what_is_no_record_is_refused_and_changes_nothing(change: dict[str, Any]) -> None:
    story = Story(a_job(), now=MORNING)
    before = story.conditions.known()
    with pytest.raises((KeyError, TypeError, ValueError)):
        story.conditions.take(change, MORNING)
    assert story.conditions.known() == before


# -- reminders


def test_people_are_reminded_for_as_long_as_it_lasts() -> None:
    story = Story(a_job(notify=reminded(6 * HOUR)), now=MORNING)
    story.fail()
    first, second = story.wait(13 * HOUR)
    assert [first.reminder, second.reminder] == [1, 2]
    assert (first.event, first.why, first.since) == (Event.FAILED, "exit code 2", MORNING)
    story.end()
    assert story.wait(DAY) == []


def test_a_reminder_tells_of_the_last_failure_and_how_many_there_were() -> None:
    story = Story(a_job(notify=reminded(6 * HOUR)), now=MORNING)
    story.fail()
    story.wait(HOUR)
    story.fail(exit_code=3)
    (told,) = story.wait(6 * HOUR)
    assert (told.why, told.count, told.at) == ("exit code 3", 2, MORNING + HOUR)


def test_after_a_long_absence_there_is_one_reminder_and_not_one_for_each_that_was_due() -> None:
    story = Story(a_job(notify=reminded(HOUR)), now=MORNING)
    story.fail()
    story.now += 10 * DAY
    assert [notice.reminder for notice in story.tick()] == [1]
    assert story.tick() == []


def test_nobody_is_reminded_of_a_job_that_somebody_has_paused() -> None:
    story = Story(a_job(notify=reminded(HOUR)), now=MORNING)
    story.fail()
    story.pause()
    assert story.wait(DAY) == []
    story.resume()
    assert events(story.wait(60)) == ["failed"]


def test_a_failure_of_long_ago_that_is_read_now_is_not_followed_by_a_reminder_at_once() -> None:
    story = Story(a_job(notify=reminded(HOUR)), now=MORNING)
    told = story.fail(at=MORNING - DAY)
    assert [notice.reminder for notice in told + story.wait(60)] == [0]


# -- late


def late_job(**fields: Any) -> Any:
    return a_job(**({"deadline": 6 * 3600} | fields))


NIGHT = instant("2026-11-21T00:00:00+01:00")
DEADLINE = instant("2026-11-21T06:00:00+01:00")


def test_a_job_without_a_success_by_its_deadline_is_late_until_the_next_one() -> None:
    story = Story(late_job(), now=NIGHT - DAY)
    story.wait_until(NIGHT - DAY + 2 * HOUR)
    story.run_for(HOUR)
    assert story.wait_until(DEADLINE + GRACE_S - 0.001) == []
    (told,) = story.wait(0.001)
    assert (told.event, told.at, told.since) == (Event.LATE, DEADLINE, DEADLINE)
    assert told.why == (
        "no success by its deadline, 2026-11-21 06:00 (Europe/Berlin);"
        " the last success ended 2026-11-20 03:00 (Europe/Berlin)"
    )
    assert story.standing() == ["late"]
    story.wait(45 * 60)
    (told,) = story.end()
    assert (told.event, told.ended) == (Event.RECOVERED, (Event.LATE,))
    assert told.why == "succeeded; it was late since 2026-11-21 06:00 (Europe/Berlin)"


def test_a_success_at_the_very_instant_of_the_deadline_is_in_time() -> None:
    story = Story(late_job(), now=NIGHT)
    story.wait_until(DEADLINE)
    assert story.end() == []
    assert story.wait(HOUR) == []


def test_a_success_before_the_deadline_is_in_time_though_it_is_read_after_it() -> None:
    story = Story(late_job(), now=NIGHT)
    story.wait_until(DEADLINE + 1)
    assert story.end(at=DEADLINE - 0.5) == []
    assert story.wait(HOUR) == []


def test_a_success_after_the_deadline_is_late_though_it_is_read_before_anybody_looked() -> None:
    story = Story(late_job(), now=NIGHT)
    story.now = DEADLINE + 10
    late, recovered = story.end(at=DEADLINE + 5)
    assert (late.event, late.at) == (Event.LATE, DEADLINE)
    assert late.why.endswith("; none is known")
    assert recovered.ended == (Event.LATE,)


def test_a_failure_before_the_deadline_does_not_make_up_for_a_success() -> None:
    story = Story(late_job(), now=NIGHT)
    assert events(story.fail() + story.wait(12 * HOUR)) == ["failed", "late"]


def test_a_job_that_is_not_due_on_a_day_is_not_late_on_it() -> None:
    story = Story(late_job(when=When(cron=("0 2 * * MON",), timezone="Europe/Berlin")), now=NIGHT)
    (told,) = story.wait(9 * DAY)
    assert told.at == instant("2026-11-23T06:00:00+01:00")


def test_what_is_due_at_the_deadline_itself_has_time_until_the_next_one() -> None:
    when = When(cron=("0 6 * * *",), timezone="Europe/Berlin")
    story = Story(late_job(when=when), now=NIGHT)
    (told,) = story.wait(2 * DAY)
    assert told.at == DEADLINE + DAY


def test_a_job_that_is_new_on_the_day_is_asked_for_nothing_that_was_due_before() -> None:
    story = Story(late_job(), now=NIGHT + 3 * HOUR)
    story.plan()
    (told,) = story.wait(2 * DAY)
    assert told.at == DEADLINE + DAY


def test_a_job_by_hand_is_held_to_its_deadline_each_full_day() -> None:
    story = Story(late_job(when=When(timezone="Europe/Berlin")), now=NIGHT)
    (told,) = story.wait(2 * DAY)
    assert told.at == DEADLINE + DAY


def test_of_many_deadlines_that_passed_while_nobody_looked_the_last_one_is_told() -> None:
    story = Story(late_job(), now=NIGHT)
    story.now += 400 * DAY
    (told,) = story.tick()
    assert told.at == instant("2027-12-25T06:00:00+01:00")
    assert story.tick() == []


def test_a_deadline_missed_long_ago_is_told_though_the_job_was_not_due_since() -> None:
    story = Story(late_job(when=When(cron=("0 2 22 11 *",), timezone="UTC")), now=NIGHT)
    story.now += 100 * DAY
    (told,) = story.tick()
    assert told.at == instant("2026-11-22T06:00:00Z")


def test_a_job_is_not_late_while_it_is_paused_nor_for_what_was_due_then() -> None:
    story = Story(late_job(), now=NIGHT)
    story.pause()
    assert story.wait(3 * DAY + 5 * HOUR) == []
    story.resume()
    (told,) = story.wait(2 * DAY)
    assert told.at == DEADLINE + 4 * DAY


def test_a_late_job_is_not_shown_as_late_while_it_is_paused() -> None:
    story = Story(late_job(), now=NIGHT)
    story.wait(12 * HOUR)
    story.pause()
    assert story.standing() == []
    assert story.resume() == []
    assert story.standing() == ["late"]


def test_a_pause_is_remembered_of_a_job_that_nobody_asked_about_and_of_one_that_was_away() -> None:
    story = Story(now=NIGHT)
    story.pause()
    story.wait(HOUR)
    story.reload(late_job(max_age=HOUR))
    assert story.wait(5 * DAY) == []
    story.reload()
    story.reload(late_job(max_age=HOUR))
    assert story.wait(5 * DAY) == []
    story.resume()
    assert events(story.wait(2 * HOUR)) == ["silent"]
    story.reload()
    assert story.conditions.known() == {}
    story.pause()
    story.resume()
    assert story.conditions.known() == {}


@pytest.mark.parametrize(
    ("deadline", "eve", "at"),
    [
        pytest.param(2.5, "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z", id="in the gap"),
        pytest.param(6.0, "2026-03-28T12:00:00Z", "2026-03-29T04:00:00Z", id="after the gap"),
        pytest.param(2.5, "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z", id="in the fold"),
        pytest.param(6.0, "2026-10-24T12:00:00Z", "2026-10-25T05:00:00Z", id="after the fold"),
    ],
)
def test_deadlines_follow_the_clock_of_the_job(deadline: float, eve: str, at: str) -> None:
    when = When(cron=("0 1 * * *",), timezone="Europe/Berlin")
    story = Story(late_job(when=when, deadline=int(deadline * 3600)), now=instant(eve))
    (told,) = story.wait(DAY)
    assert told.at == instant(at)


def test_a_deadline_in_a_fold_asks_once() -> None:
    when = When(cron=("0 1 * * *",), timezone="Europe/Berlin")
    story = Story(late_job(when=when, deadline=9000), now=instant("2026-10-24T12:00:00Z"))
    story.wait_until(instant("2026-10-25T00:20:00Z"))  # 02:20, first pass
    assert story.end() == []
    assert story.wait_until(instant("2026-10-25T12:00:00Z")) == []


# -- silent


def test_a_job_that_has_not_succeeded_for_too_long_is_silent() -> None:
    story = Story(a_job(max_age=26 * HOUR), now=MORNING)
    story.end()
    story.wait(25 * HOUR)
    story.fail()
    (told,) = story.wait(DAY)
    assert (told.event, told.at) == (Event.SILENT, MORNING + 26 * HOUR)
    assert told.why == (
        "no success since 2026-11-21 08:00 (Europe/Berlin),"
        " though it is to succeed at least every 1d2h"
    )
    (told,) = story.end()
    assert told.ended == (Event.FAILED, Event.SILENT)


def test_the_age_of_a_job_that_never_succeeded_counts_from_when_it_was_first_seen() -> None:
    story = Story(a_job(max_age=HOUR), now=MORNING)
    (told,) = story.wait(DAY)
    assert told.at == MORNING + HOUR
    assert told.why == (
        "no success at all, known since 2026-11-21 08:00 (Europe/Berlin),"
        " though it is to succeed at least every 1h"
    )


def test_a_success_in_time_keeps_a_job_from_being_silent() -> None:
    story = Story(a_job(max_age=HOUR), now=MORNING)
    for _ in range(5):
        story.wait(HOUR)
        assert story.end() == []


def test_a_pause_does_not_count_into_the_age() -> None:
    story = Story(a_job(max_age=10 * HOUR), now=MORNING)
    story.end()
    story.wait(4 * HOUR)
    story.pause()
    assert story.wait(30 * DAY) == []
    story.resume()
    assert story.wait(6 * HOUR) == []
    assert events(story.wait(GRACE_S)) == ["silent"]


def test_a_success_in_a_pause_makes_the_age_count_from_the_end_of_the_pause() -> None:
    story = Story(a_job(max_age=10 * HOUR), now=MORNING)
    story.pause()
    story.wait(HOUR)
    story.end()
    story.wait(20 * HOUR)
    story.resume()
    assert story.wait(10 * HOUR) == []
    assert events(story.wait(GRACE_S)) == ["silent"]


def test_a_success_that_prints_too_little_is_silent_until_one_prints_enough() -> None:
    story = Story(a_job(min_output=1024), now=MORNING)
    (told,) = story.end(output_bytes=12)
    assert (told.event, told.outcome) == (Event.SILENT, "succeeded")
    assert told.why == "succeeded, but printed 12 B of at least 1.0 KiB"
    assert story.end(output_bytes=1023) == []
    (told,) = story.end(output_bytes=1000, output_discarded=24)
    assert told.ended == (Event.SILENT,)


def test_a_success_that_prints_too_little_still_ends_a_failure() -> None:
    story = Story(a_job(min_output=1024), now=MORNING)
    story.fail()
    recovered, silent = story.end(output_bytes=12)
    assert (recovered.ended, silent.event) == ((Event.FAILED,), Event.SILENT)


# -- slow


def test_a_run_is_told_to_be_slow_while_it_still_runs() -> None:
    story = Story(a_job(slow=Slow(seconds=1200.0)), now=MORNING)
    story.start(run="a@1")
    assert story.wait(1200.0) == []
    (told,) = story.wait(HOUR)
    assert (told.event, told.run, told.at) == (Event.SLOW, "a@1", MORNING + 1200)
    assert (told.started, told.outcome, told.duration_s) == (MORNING, None, None)
    assert told.why == "has taken 20m so far; more than 20m is slow"


def test_a_slow_run_that_ends_is_not_told_again_and_the_next_quick_one_is_the_end() -> None:
    story = Story(a_job(slow=Slow(seconds=1200.0)), now=MORNING)
    assert events(story.run_for(HOUR)) == ["slow"]
    assert story.standing() == ["slow"]
    assert story.run_for(1300.0) == []
    (told,) = story.run_for(60.0)
    assert told.ended == (Event.SLOW,)


def test_a_run_that_was_slow_is_told_at_its_end_if_nobody_looked_before() -> None:
    story = Story(a_job(slow=Slow(seconds=60.0)), now=MORNING)
    story.start(run="a@1")
    story.now += 61
    (told,) = story.end(run="a@1", duration_s=61.0)
    assert (told.event, told.duration_s) == (Event.SLOW, 61.0)
    assert told.why == "took 1m1s; more than 1m is slow"


def test_a_run_that_takes_as_long_as_it_may_is_not_slow() -> None:
    story = Story(a_job(slow=Slow(seconds=60.0)), now=MORNING)
    assert story.run_for(60.0) == []


def test_a_run_of_which_only_the_end_is_known_is_judged_too() -> None:
    story = Story(a_job(slow=Slow(seconds=60.0)), now=MORNING)
    assert events(story.end(duration_s=61.0)) == ["slow"]


def test_slow_is_a_multiple_of_what_95_of_100_runs_take() -> None:
    story = Story(a_job(slow=Slow(factor=2.0)), now=MORNING)
    for seconds in range(1, 21):
        story.run_for(float(seconds))
    story.start(run="a@1")
    assert story.wait(38 + GRACE_S - 0.001) == []
    (told,) = story.wait(0.001)
    assert told.why == (
        "has taken 38s so far; 95 of 100 runs take at most 19s, and 2x that is slow"
    )


def test_with_few_runs_known_nothing_is_slow_by_a_multiple() -> None:
    story = Story(a_job(slow=Slow(factor=2.0)), now=MORNING)
    for _ in range(9):
        story.run_for(1.0)
    assert story.run_for(10.0) == []
    assert events(story.run_for(1000.0)) == ["slow"]


def test_a_failure_teaches_nothing_of_what_is_usual() -> None:
    story = Story(a_job(slow=Slow(factor=2.0), notify=EVERYTHING), now=MORNING)
    for _ in range(10):
        story.run_for(1000.0, Outcome.FAILED)
    for _ in range(10):
        story.run_for(1.0)
    assert events(story.run_for(3.0)) == ["slow"]


def test_of_runs_side_by_side_each_is_judged_and_one_is_told() -> None:
    story = Story(a_job(slow=Slow(seconds=60.0), overlap=Overlap.ALLOW), now=MORNING)
    story.start(run="a@1")
    story.wait(10)
    story.start(run="a@2")
    assert [notice.run for notice in story.wait(HOUR)] == ["a@1"]
    story.end(run="a@1", duration_s=HOUR)
    assert story.standing() == ["slow"]
    assert story.wait(HOUR) == []


def test_a_run_whose_end_is_lost_is_not_watched_beyond_the_next_start() -> None:
    story = Story(a_job(slow=Slow(seconds=60.0)), now=MORNING)
    story.start(run="a@1")
    story.start(run="a@2")
    story.end(run="a@2")
    assert story.wait(DAY) == []


# -- missed and skipped


def test_missed_occurrences_are_told_once_and_are_over_with_the_next_start() -> None:
    story = Story(a_job(), now=MORNING)
    (told,) = story.miss(MORNING - 2 * DAY, MORNING - DAY, 2)
    assert (told.event, told.count, told.scheduled) == (Event.MISSED, 2, MORNING - 2 * DAY)
    assert told.why == (
        "2 occurrences from 2026-11-19 08:00 to 2026-11-20 08:00 (Europe/Berlin) were missed:"
        " stsd was not running"
    )
    assert story.miss(MORNING, MORNING, 1) == []
    (told,) = story.start()
    assert (told.event, told.ended) == (Event.RECOVERED, (Event.MISSED,))
    assert (
        told.why == "runs again; occurrences were left out since 2026-11-21 08:00 (Europe/Berlin)"
    )


def test_further_misses_add_up() -> None:
    story = Story(a_job(notify=reminded(HOUR)), now=MORNING)
    story.miss(MORNING, MORNING, 2)
    story.miss(MORNING, MORNING, 3)
    assert [notice.count for notice in story.wait(HOUR + GRACE_S)] == [5]


@pytest.mark.parametrize(
    ("reason", "why"),
    [
        (SkipReason.OVERLAP, "an earlier run has not ended: of old"),
        (SkipReason.CONDITION, "what it needs was not so: of old"),
        (SkipReason.SUPERSEDED, "something else took its place: of old"),
    ],
)
def test_a_skipped_occurrence_is_told_with_its_reason(reason: SkipReason, why: str) -> None:
    story = Story(a_job(), now=MORNING)
    (told,) = story.skip(reason, "of old")
    begin = "the occurrence of 2026-11-21 08:00 (Europe/Berlin) was skipped: "
    assert (told.event, told.why) == (Event.SKIPPED, begin + why)
    assert story.skip(reason) == []
    assert story.standing() == ["skipped"]
    assert [notice.ended for notice in story.start()] == [(Event.SKIPPED,)]


def test_what_is_skipped_because_somebody_has_paused_the_job_is_no_news() -> None:
    story = Story(a_job(), now=MORNING)
    assert story.skip(SkipReason.PAUSED) == []
    assert story.standing() == []


# -- held


def test_a_history_that_cannot_be_written_is_told_of_each_job_that_asks_for_it() -> None:
    deaf = Notify((NOBODY,), frozenset({Event.FAILED}))
    careless = a_job(name="c", on_log_failure=LogFailure.RUN)
    story = Story(a_job(), a_job(name="b", notify=deaf), careless, now=MORNING)
    first, second = story.held("No space left on device")
    begin = "the history cannot be written (No space left on device): "
    assert (first.job, first.event) == ("a", Event.HELD)
    assert first.why == begin + "it is not run until that is mended"
    assert (second.job, second.why) == ("c", begin + "it is run without a record")
    assert story.held("No space left on device") == []
    assert story.standing("b") == ["held"]
    story.wait(60)
    back = story.held(None)
    assert [(each.job, each.ended, each.since) for each in back] == [
        ("a", (Event.HELD,), MORNING),
        ("c", (Event.HELD,), MORNING),
    ]
    assert story.held(None) == []


# -- another jobfile


def test_a_job_that_is_removed_has_no_conditions_and_comes_back_as_a_new_one() -> None:
    story = Story(late_job(), now=NIGHT)
    story.fail()
    story.wait(12 * HOUR)
    story.conditions.changed()
    story.reload()
    assert (story.conditions.standing(), story.conditions.due()) == ({}, None)
    assert story.conditions.changed() == {"a": None}
    story.reload(late_job())
    assert story.end() == []


def test_a_job_that_is_disabled_has_no_conditions_until_it_is_back() -> None:
    fields: dict[str, Any] = {"deadline": 6 * 3600, "max_age": 4 * HOUR, "slow": Slow(seconds=60.0)}
    story = Story(a_job(**fields), now=NIGHT)
    story.fail()
    story.wait(5 * HOUR)
    assert story.standing() == ["failed", "silent"]
    story.reload(a_job(**fields, enabled=False))
    assert story.standing() == []
    assert story.wait(20 * DAY) == []
    assert story.fail() == []
    story.reload(a_job(**fields))
    silent, late = story.wait(2 * DAY)
    assert (silent.event, silent.at) == (Event.SILENT, NIGHT + 20 * DAY + 9 * HOUR)
    assert (late.event, late.at) == (Event.LATE, DEADLINE + 21 * DAY)


@pytest.mark.parametrize(
    ("key", "value", "condition"),
    [
        ("deadline", 6 * 3600, "late"),
        ("max_age", HOUR, "silent"),
        ("min_output", 1024, "silent"),
        ("slow", Slow(seconds=1.0), "slow"),
    ],
)
def test_a_condition_ends_silently_with_the_key_that_asked_for_it(
    key: str, value: object, condition: str
) -> None:
    story = Story(a_job(**{key: value}), now=NIGHT)
    told = story.run_for(5.0) + story.wait(2 * DAY)
    assert (events(told), story.standing()) == ([condition], [condition])
    story.reload(a_job())
    assert story.standing() == []
    assert story.end() == []


def test_a_longer_max_age_ends_a_silence_that_is_none_by_it_and_keeps_any_other() -> None:
    story = Story(a_job(max_age=HOUR), now=MORNING)
    assert events(story.wait(2 * HOUR)) == ["silent"]
    story.reload(a_job(max_age=1.5 * HOUR))
    assert story.standing() == ["silent"]
    story.reload(a_job(max_age=3 * HOUR))
    assert story.standing() == []
    assert events(story.wait(2 * HOUR)) == ["silent"]


def test_a_shorter_max_age_is_told_at_once() -> None:
    story = Story(a_job(max_age=DAY), now=MORNING)
    story.wait(2 * HOUR)
    story.reload(a_job(max_age=HOUR))
    assert events(story.wait(0)) == ["silent"]


def test_a_deadline_that_has_passed_when_it_is_set_is_none_of_today() -> None:
    story = Story(a_job(), now=NIGHT - DAY)
    story.wait_until(DEADLINE + HOUR)
    story.reload(late_job())
    (told,) = story.wait(2 * DAY)
    assert told.at == DEADLINE + DAY


def test_a_deadline_set_before_its_time_asks_for_the_same_day() -> None:
    story = Story(a_job(), now=NIGHT - DAY)
    story.wait_until(DEADLINE - HOUR)
    story.reload(late_job())
    (told,) = story.wait(DAY - HOUR)
    assert told.at == DEADLINE


def test_another_schedule_asks_for_nothing_that_was_due_before_it() -> None:
    story = Story(late_job(), now=NIGHT - DAY)
    story.wait_until(NIGHT + HOUR)
    story.end()
    story.wait_until(NIGHT + 5 * HOUR)
    story.reload(late_job(when=When(cron=("0 4 * * *",), timezone="Europe/Berlin")))
    (told,) = story.wait(2 * DAY)
    assert told.at == DEADLINE + DAY


def test_another_limit_holds_for_runs_that_have_begun() -> None:
    story = Story(a_job(), now=MORNING)
    story.start()
    story.wait(100)
    story.reload(a_job(slow=Slow(seconds=150.0)))
    assert story.wait(50) == []
    assert events(story.wait(GRACE_S)) == ["slow"]


def test_conditions_of_keys_that_went_while_nobody_was_there_are_gone() -> None:
    asked: dict[str, Any] = {"deadline": 6 * 3600, "max_age": HOUR, "slow": Slow(seconds=1.0)}
    story = Story(a_job(**asked), a_job(name="b"), now=NIGHT)
    story.fail()
    story.start()
    story.wait(12 * HOUR)
    assert story.standing() == ["failed", "late", "slow", "silent"]
    known = story.conditions.known()
    later = Conditions({"a": a_job()}, known, story.now)
    assert later.standing() == {"a": ["failed"]}
    assert later.changed().keys() == {"a", "b"}
    assert later.due() is None


def test_the_same_jobfile_again_changes_nothing() -> None:
    story = Story(late_job(), now=MORNING)
    story.conditions.changed()
    story.conditions.reload(dict(story.jobs), MORNING + HOUR)
    assert story.conditions.changed() == {}


# -- a past that is only learnt


def test_of_what_is_learnt_nobody_is_told_and_yet_it_is_known() -> None:
    before = Story(a_job(max_age=DAY), now=MORNING - 10 * DAY)
    records = [Planned("a", DAILY, int(before.now), before.now)]
    conditions = Conditions({"a": a_job(max_age=2 * DAY)}, None, MORNING)
    conditions.learn(records[0].fields())
    finished = {
        "event": "finished",
        "job": "a",
        "run": "a@1",
        "scheduled": "2026-11-20T07:00:00Z",
        "trigger": "cron",
        "attempt": 1,
        "outcome": "succeeded",
        "exit_code": 0,
        "signal": None,
        "started": "2026-11-20T07:00:00Z",
        "at": "2026-11-20T07:00:10Z",
        "duration_s": 10.0,
        "output": None,
        "output_bytes": 0,
        "error": None,
        "will_retry_at": None,
    }
    conditions.learn(finished)
    failed = finished | {"outcome": "failed", "exit_code": 1, "at": "2026-11-20T20:00:00Z"}
    conditions.learn(failed)
    assert conditions.standing() == {"a": ["failed"]}
    assert conditions.tick(MORNING) == []
    (told,) = conditions.take(failed | {"at": "2026-11-21T07:00:01Z"}, MORNING + 1)
    assert (told.event, told.count, told.usual_s) == (Event.FAILED, 2, 10.0)
    (told,) = conditions.tick(MORNING + 30 * HOUR)
    assert (told.event, told.at) == (Event.SILENT, instant("2026-11-22T07:00:10Z"))


def test_what_holds_now_by_the_time_alone_is_told_after_learning() -> None:
    known_since = Planned("a", DAILY, int(NIGHT - 9 * DAY), NIGHT - 9 * DAY)
    job = late_job(max_age=3 * DAY, slow=Slow(seconds=60.0))
    begun = Started("a@1", "a", int(NIGHT), TriggerKind.CRON, 1, NIGHT, 0.0, 1, 1)
    story = Story(job, now=MORNING, learnt=(known_since, begun))
    told = story.tick()
    assert [(str(notice.event), notice.at) for notice in told] == [
        ("silent", NIGHT - 6 * DAY),
        ("slow", NIGHT + 60),
        ("late", DEADLINE),
    ]


def test_a_state_that_is_none_is_refused() -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Conditions({"a": a_job()}, {"a": {"since": 1.0}}, MORNING)
