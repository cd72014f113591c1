"""Why a job ran, or did not run: from records and the present, without files."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from stsd.evidence import Evidence
from stsd.model import (
    After,
    CatchUp,
    Fold,
    Gap,
    Job,
    MissReason,
    Outcome,
    Overlap,
    ShellTask,
    SkipReason,
    TriggerKind,
    When,
)
from stsd.notdue import Asked
from stsd.present import Present
from stsd.records import Missed, Paused, Planned, Resumed, Skipped
from stsd.units import from_rfc3339, rfc3339
from stsd.why import MOST, Answer, Verdict, answers
from tests.support_audit import MINUTELY, T0, Past, minute

JOB = Job("job", ShellTask("true"), MINUTELY)
NOW = minute(30) + 20


def asked(
    past: Past,
    begin: int,
    end: int | None = None,
    *,
    job: Job | None = JOB,
    zone: str = "UTC",
    now: float = NOW,
    others: frozenset[str] = frozenset(),
    **present: Any,
) -> list[Answer]:
    """The answers to a question about the instants from `begin` to before `end`."""
    question = Asked(begin, begin + 1 if end is None else end, begin, zone)
    evidence = Evidence("job", question.begin, question.end, others)
    for record in past.records():
        evidence.take(record)
    jobs = {} if job is None else {job.name: job}
    return answers(evidence, question, Present(now, job, jobs, 2, **present))


def answer(past: Past, begin: int, **others: Any) -> Answer:
    (only,) = asked(past, begin, **others)
    return only


def planned(when: When = MINUTELY) -> Past:
    return Past().daemon().plan(when)


# -- it ran


def test_it_ran_and_how_it_ended() -> None:
    found = answer(planned().run(minute(1), minute(2)), minute(2))
    assert (found.verdict, found.at) == (Verdict.RAN, minute(2))
    assert found.run == "job@20261121T100200Z"
    assert found.because == "it ran, and succeeded"
    assert found.details[0] == "attempt 1 started at 2026-11-21 10:02:00, on time"
    assert [record["event"] for record in found.evidence] == ["intent", "started", "finished"]


def test_it_ran_in_several_attempts_each_with_its_end() -> None:
    past = planned().intent(minute(1)).started(minute(1))
    past.finished(minute(1), outcome=Outcome.FAILED, exit_code=4, will_retry_at=minute(1) + 9.0)
    past.intent(minute(1), 2, at=minute(1) + 9.0).started(minute(1), 2, at=minute(1) + 9.1)
    past.finished(minute(1), 2, duration_s=3.2)
    found = answer(past, minute(1))
    assert found.because == "it ran in 2 attempts, and succeeded after 3.2s"
    assert found.details[1].startswith("attempt 1 failed (exit 4) at 2026-11-21 10:01:01; the next")


def test_between_two_attempts_it_waits_for_the_next_one() -> None:
    past = planned().intent(minute(30)).started(minute(30))
    past.finished(minute(30), outcome=Outcome.FAILED, exit_code=1, will_retry_at=minute(31) + 0.0)
    found = answer(past, minute(30))
    assert found.verdict is Verdict.RETRYING
    assert found.because.endswith("and the next one is due at 2026-11-21 10:31:00")


def test_a_run_without_an_end_runs_where_a_daemon_is_there_to_say_so() -> None:
    past = planned().intent(minute(30)).started(minute(30))
    alive = answer(past, minute(30), daemon={}, rows={})
    assert (alive.verdict, alive.because) == (
        Verdict.RUNNING,
        "it has been running for 19.8s, attempt 1",
    )
    assert answer(past, minute(30)).because.endswith("its end is not on record; no daemon runs")


def test_a_run_by_hand_in_that_minute_is_told_beside_what_was_due() -> None:
    past = planned().run(minute(1))
    past.run(minute(1) + 20, run="job@manual-x", trigger=TriggerKind.MANUAL)
    found = asked(past, minute(1), minute(2))
    assert [each.because for each in found] == [
        "it ran, and succeeded",
        "it ran by hand, and succeeded",
    ]


def test_a_late_run_is_found_when_it_began_and_says_that_stsd_was_down() -> None:
    past = planned().daemon("boot-2", minute(9) + 0.0)
    past.run(minute(5), at=minute(9) + 1.0)
    found = asked(past, minute(9), minute(10))
    late = next(each for each in found if each.run == "job@20261121T100500Z")
    assert late.at == minute(5)
    assert "it began 4m1s late: stsd was down, and caught up with it" in late.details


def test_a_run_that_waited_for_its_turn_says_so() -> None:
    past = planned().intent(minute(1), at=minute(3) + 0.0).started(minute(1), at=minute(3) + 0.1)
    past.finished(minute(1))
    assert answer(past, minute(1)).details[0] == (
        "it began 2m late: until then it waited for its turn"
    )


def test_what_was_called_off_before_it_started_did_not_run() -> None:
    past = planned().finished(
        minute(1), outcome=Outcome.CANCELLED, started=None, error="cancelled by hand"
    )
    assert answer(past, minute(1)).because == (
        "it was due, and called off before it started: cancelled by hand"
    )


# -- it was skipped


def test_overlap_names_the_run_that_had_not_ended_and_when_it_did() -> None:
    past = planned().intent(minute(1)).started(minute(1)).skipped(minute(2))
    past.finished(minute(1), at=minute(2) + 30.0)
    found = answer(past, minute(2))
    assert (found.verdict, found.because) == (
        Verdict.SKIPPED,
        "it was skipped: an earlier run had not ended",
    )
    assert found.details == (
        "job@20261121T100100Z went on from 2026-11-21 10:01:00 to 2026-11-21 10:02:30, and"
        " succeeded",
        'by its policy: overlap = "skip"',
    )


def test_overlap_with_a_run_that_still_goes_on() -> None:
    past = planned().intent(minute(1)).started(minute(1)).skipped(minute(2))
    assert "has not ended" in answer(past, minute(2)).details[0]


def skip(reason: SkipReason, detail: str | None = None) -> Skipped:
    return Skipped("job", minute(2), reason, minute(2) + 0.1, TriggerKind.CRON, detail)


def test_paused_tells_since_when_by_whom_and_why() -> None:
    past = planned().add(
        Paused("job", minute(9) + 0.0, "the disk is\x1b full", "alice", minute(1) + 5.0),
        skip(SkipReason.PAUSED),
        Resumed("job", "alice", minute(4) + 0.0),
    )
    found = answer(past, minute(2))
    assert found.because == "it was skipped: the job was paused"
    assert found.details == (
        "paused at 2026-11-21 10:01:05 by alice until 2026-11-21 10:09:00: the disk is\\x1b full",
    )
    assert [record["event"] for record in found.evidence] == ["skipped", "paused"]


def test_a_pause_that_was_over_is_not_the_reason() -> None:
    past = planned().add(
        Paused("job", None, None, None, minute(1) + 1.0),
        Resumed("job", None, minute(1) + 2.0),
        skip(SkipReason.PAUSED),
    )
    assert answer(past, minute(2)).details == ()


def test_a_condition_tells_what_was_not_so() -> None:
    past = planned().add(skip(SkipReason.CONDITION, "waited in vain: no path /srv"))
    assert answer(past, minute(2)).because.endswith("was not so: waited in vain: no path /srv")


def test_superseded_by_a_changed_schedule_says_when_it_changed() -> None:
    past = planned().add(skip(SkipReason.SUPERSEDED)).plan(When(every=90), at=minute(2) + 0.1)
    assert any("schedule changed at" in each for each in answer(past, minute(2)).details)


# -- it was missed


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (MissReason.DOWN, "stsd was not running"),
        (MissReason.SLEPT, "the machine slept"),
        (MissReason.HELD, "the history could not be written"),
    ],
)
def test_missed_tells_why_and_the_whole_span(reason: MissReason, words: str) -> None:
    past = planned().run(minute(1)).daemon("boot-2", minute(9) + 2.0)
    past.add(Missed("job", minute(2), minute(9), 8, reason, minute(9) + 2.0))
    found = answer(past, minute(5), job=Job("job", ShellTask("true"), catch_up=CatchUp.NONE))
    assert found.verdict is Verdict.MISSED
    assert words in found.because
    assert any(
        each == "with it 7 others were missed, from 2026-11-21 10:02:00 to 2026-11-21 10:09:00"
        for each in found.details
    )
    assert found.details[-1].startswith('by its policy: catch_up = "none"')


def test_down_tells_since_when() -> None:
    past = planned().run(minute(1)).daemon("boot-2", minute(9) + 2.0)
    past.missed(minute(2), minute(9), 8, minute(9) + 2.0)
    question = Asked(minute(5), minute(5) + 1, minute(5), "UTC")
    evidence = Evidence("job", question.begin, question.end)
    for record in past.records():
        evidence.take(record)
    evidence.last_signs[evidence.starts[-1]] = minute(1) + 1.0
    (found,) = answers(evidence, question, Present(NOW, JOB, {}, 2))
    assert found.details[0] == (
        "its last sign before is of 2026-11-21 10:01:01; it started at 2026-11-21 10:09:02"
    )


# -- it is now, or to come


def row(*runs: tuple[str, str], **others: Any) -> dict[str, Any]:
    running = [{"run": run, "attempt": 1, "phase": phase} for run, phase in runs]
    return {"running": running, "paused": None} | others


NOW_DUE = "job@20261121T103000Z"


def present(
    row_of_job: dict[str, Any], *, held: bool = False, **rows: dict[str, Any]
) -> dict[str, Any]:
    return {"daemon": {"held": held}, "rows": {"job": row_of_job} | rows}


def test_queued_since_the_pool_is_full_names_who_has_the_places() -> None:
    state = present(
        row((NOW_DUE, "ready")), big=row(("big@x", "running")), old=row(("old@x", "stopping"))
    )
    found = answer(planned(), minute(30), **state)
    assert found.verdict is Verdict.QUEUED
    assert found.because == "it is queued: all 2 places are taken"
    assert found.details == ("running: big, old",)


def test_queued_for_a_named_pool_names_its_holder() -> None:
    job = Job("job", ShellTask("true"), MINUTELY, pools=("db",))
    other = Job("other", ShellTask("true"), pools=("db",))
    question = Asked(minute(30), minute(30) + 1, minute(30), "UTC")
    evidence = Evidence("job", question.begin, question.end)
    for record in planned().records():
        evidence.take(record)
    state = present(row((NOW_DUE, "ready")), other=row(("other@x", "running")))
    jobs = {"job": job, "other": other}
    (found,) = answers(evidence, question, Present(NOW, job, jobs, 16, **state))
    assert (found.because, found.details) == (
        "it is queued: the pool db is taken",
        ("by other",),
    )


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ("blocked", "it waits for an earlier run"),
        ("expecting", "`wait_for`"),
        ("preparing", "condition and secrets"),
        ("delayed", "next attempt"),
        ("committing", "about to start"),
    ],
)
def test_a_run_that_has_not_begun_says_what_it_waits_for(phase: str, words: str) -> None:
    state = present(row(("job@20261121T102900Z", "running"), (NOW_DUE, phase)))
    found = answer(planned(), minute(30), **state)
    assert words in found.because
    if phase == "blocked":
        assert found.details == ("job@20261121T102900Z has not ended",)


def test_a_full_disk_holds_it() -> None:
    found = answer(planned(), minute(30), **present(row((NOW_DUE, "ready")), held=True))
    assert found.because == "it is held: the history cannot be written"


def test_due_with_nothing_on_record_is_lost_with_a_daemon_and_open_without() -> None:
    assert answer(planned(), minute(30), **present(row())).verdict is Verdict.LOST
    found = answer(planned(), minute(30))
    assert found.verdict is Verdict.OPEN
    assert found.because.endswith("nothing is on record of it yet: no daemon runs")


def test_what_is_to_come_says_in_how_long_and_whether_a_pause_will_skip_it() -> None:
    found = answer(planned(), minute(31), **present(row()))
    assert (found.verdict, found.because) == (Verdict.COMING, "it is to come, in 40s")
    pause = {"since": rfc3339(minute(20)), "until": None, "reason": None, "by": "root"}
    found = answer(planned(), minute(31), **present(row(paused=pause)))
    assert found.because.endswith("and will be skipped: the job is paused")
    assert found.details == ("paused at 2026-11-21 10:20:00 by root until it is resumed",)
    pause["until"] = rfc3339(minute(31))
    found = answer(planned(), minute(31), **present(row(paused=pause)))
    assert found.because == "it is to come, in 40s"


def test_many_occurrences_are_told_up_to_a_number() -> None:
    found = asked(planned(), minute(40), minute(400))
    assert len(found) == MOST
    assert found[-1].at == minute(40 + MOST - 1)


# -- it was not due


def daily(**others: Any) -> When:
    return When(cron=("30 2 * * *",), **others)


def at(text: str) -> int:
    return int(from_rfc3339(text))


def not_due(when: When, text: str, **others: Any) -> Answer:
    past = Past().daemon(at=at("2025-01-01T00:00:00Z") + 0.0)
    past.plan(when, at("2025-01-01T00:00:00Z"))
    begin = at(text)
    (found,) = asked(past, begin, begin + 60, now=at("2027-01-01T00:00:00Z"), **others)
    assert found.verdict is Verdict.NOT_DUE
    return found


def test_not_due_tells_the_schedule_and_the_nearest_times() -> None:
    found = not_due(daily(), "2026-11-21T10:00:00Z")
    assert found.because == "its schedule does not ask for that time"
    assert found.details == (
        "it asks for: at 02:30 (UTC)",
        "the one before: 2026-11-21 02:30:00",
        "the next one: 2026-11-22 02:30:00",
    )


@pytest.mark.parametrize(
    ("others", "time", "because"),
    [
        ({"skip_dates": (date(2026, 11, 21),)}, "2026-11-21", "2026-11-21 is among its skip_dates"),
        ({"skip_holidays": "DE"}, "2026-12-25", "2026-12-25 is a public holiday (DE)"),
        ({"start": date(2026, 12, 1)}, "2026-11-21", "it starts on 2026-12-01"),
        ({"end": date(2026, 11, 1)}, "2026-11-21", "it ended with 2026-11-01"),
    ],
)
def test_a_day_that_is_left_out_is_the_reason(
    others: dict[str, Any], time: str, because: str
) -> None:
    if "skip_holidays" in others:
        pytest.importorskip("holidays")
    assert not_due(daily(**others), f"{time}T02:30:00Z").because == because


def test_a_time_that_the_clock_skips_says_what_became_of_it() -> None:
    new_york = daily(timezone="America/New_York")
    found = not_due(new_york, "2026-03-08T07:30:00Z", zone="America/New_York")
    told = [each for each in found.details if "does not exist" in each]
    assert told == [
        "on 2026-03-08 02:30 in America/New_York does not exist: it runs once, at 03:00:00-04:00"
    ]
    skipping = daily(timezone="America/New_York", gap=Gap.SKIP)
    found = not_due(skipping, "2026-03-08T07:00:00Z", zone="America/New_York")
    assert found.because == 'the clock was set forward over its time (dst = { gap = "skip" })'


def test_a_time_that_comes_twice_is_due_the_first_time() -> None:
    when = When(cron=("30 1 * * *",), timezone="America/New_York", fold=Fold.FIRST)
    found = not_due(when, "2026-11-01T06:30:00Z", zone="America/New_York")
    assert found.because.startswith("the clock was set back: that time came twice")


def test_a_time_of_another_zone_is_told_as_such() -> None:
    found = not_due(daily(timezone="America/New_York"), "2026-11-21T02:30:00Z")
    assert found.because == "its times are those of America/New_York, and you asked for one of UTC"
    assert "the next one: 2026-11-21 07:30:00 (2026-11-21 02:30:00 in America/New_York)" in (
        found.details
    )


def test_a_splay_tells_where_the_time_went() -> None:
    found = not_due(daily(splay=3600), "2026-11-21T02:30:00Z")
    assert found.because.startswith("its splay puts it off, to 2026-11-21 0")


def test_before_the_first_schedule_nothing_was_demanded() -> None:
    found = answer(planned(), T0 - 600)
    assert found.because == "nothing is on record of a schedule of that time"
    assert found.details == ("its schedule is in force since 2026-11-21 10:00:00",)


def test_after_the_schedule_ended_nothing_was_demanded() -> None:
    past = planned().add(Planned("job", None, minute(5), minute(5) + 0.0))
    found = answer(past, minute(7))
    assert found.because == "no schedule was in force since 2026-11-21 10:05:00"


def test_the_schedule_of_that_time_counts_and_not_the_one_of_today() -> None:
    past = planned().run(minute(1)).plan(When(cron=("0 0 * * *",)), minute(10))
    assert answer(past, minute(1)).verdict is Verdict.RAN
    assert answer(past, minute(12)).verdict is Verdict.NOT_DUE


def test_without_any_record_the_jobfile_says_why() -> None:
    def because(job: Job | None) -> str:
        return answer(Past().daemon(), minute(1), job=job).because

    assert because(Job("job", ShellTask(""), MINUTELY, enabled=False)).startswith("the job is dis")
    assert because(Job("job", ShellTask(""))).endswith("it is started by hand")
    assert because(Job("job", ShellTask(""), When(on_start=True))).endswith("when stsd starts")
    assert because(JOB).startswith("no daemon has taken it on yet")
    assert because(None) == "neither the jobfile nor the history has a schedule of it"


def test_a_job_after_others_tells_how_these_last_ended() -> None:
    past = planned(When(after=(After("dump"),)))
    dump = (
        Past("dump")
        .intent(minute(1))
        .started(minute(1))
        .finished(minute(1), outcome=Outcome.FAILED)
    )
    past.lines += dump.lines
    found = answer(past, minute(2), others=frozenset({"dump"}))
    assert found.because == "it has no times of its own: it follows other jobs"
    assert found.details == ("due when dump has succeeded; it last failed, at 2026-11-21 10:01:01",)


def test_records_that_lost_a_field_are_counted_and_passed_over() -> None:
    evidence = Evidence("job", minute(1), minute(2))
    for record in planned().run(minute(1)).records():
        for name in record:
            if name != "event":
                evidence.take({key: record[key] for key in record if key != name})
    assert evidence.damaged


def test_the_policy_told_is_that_of_the_jobfile() -> None:
    past = planned().intent(minute(1)).started(minute(1)).skipped(minute(2))
    job = Job("job", ShellTask("true"), MINUTELY, overlap=Overlap.QUEUE)
    assert answer(past, minute(2), job=job).details[-1] == 'by its policy: overlap = "queue"'
