"""The books: every rule and every discrepancy, on histories written by hand."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stsd.audit import audit
from stsd.books import Books, Kind, Mark, Marks
from stsd.model import Outcome, SkipReason, TriggerKind, When
from stsd.records import Skipped
from stsd.units import rfc3339
from tests.support_audit import MINUTELY, T0, Past, kinds, minute, minutes, told


def minutely() -> Past:
    return Past().daemon().plan()


def mark(upto: int, since: int = T0, at: float | None = None) -> Marks:
    return Marks(upto if at is None else at, {"job": Mark(since, upto)})


# -- what balances


def test_runs_skips_and_misses_together_account_for_what_was_demanded() -> None:
    past = minutely().run(*minutes(1, 3)).skipped(minute(4)).missed(minute(5), minute(9), 5)
    books = past.run(minute(10)).audit(now=minute(10))
    assert books.balanced
    tally = books.jobs["job"]
    assert (tally.demanded, tally.run, tally.skipped, tally.missed) == (10, 4, 1, 5)
    assert (tally.pending, tally.since) == (0, T0)


def test_nothing_recorded_is_nothing_wrong() -> None:
    books = audit([], T0)
    assert books == Books({})
    assert books.balanced


def test_retries_are_one_run() -> None:
    past = minutely().intent(minute(1)).started(minute(1))
    past.finished(minute(1), outcome=Outcome.FAILED, will_retry_at=minute(1) + 10.0)
    books = past.skipped(minute(2)).run(minute(1), attempt=2).audit()
    assert books.balanced
    assert books.jobs["job"].run == 1


def test_a_run_that_never_had_a_process_accounts_for_its_occurrence() -> None:
    past = minutely().intent(minute(1))
    past.finished(minute(1), started=None, outcome=Outcome.SPAWN_FAILED)
    past.finished(minute(2), started=None, outcome=Outcome.CANCELLED)
    assert past.audit().balanced


def test_occurrences_may_be_accounted_for_in_another_order() -> None:
    past = (
        minutely().run(minute(3)).skipped(minute(5)).run(minute(1)).missed(minute(2), minute(4), 2)
    )
    assert past.audit().balanced


def test_runs_within_a_missed_span_are_not_of_its_count_whenever_they_are_recorded() -> None:
    before = minutely().run(minute(3)).missed(minute(1), minute(5), 4)
    after = minutely().missed(minute(1), minute(5), 4).run(minute(3))
    both = minutely().run(minute(2)).missed(minute(1), minute(5), 3).skipped(minute(4))
    assert [told(past.audit()) for past in (before, after, both)] == [[], [], []]
    assert both.audit().jobs["job"].missed == 3


def test_what_was_due_at_the_very_second_of_a_change_belongs_to_the_old_schedule() -> None:
    past = minutely().run(*minutes(1, 2)).plan(When(every=3600), since=minute(2))
    assert past.run(minute(60)).audit().balanced


def test_a_queued_run_may_start_after_its_schedule_has_changed() -> None:
    past = minutely().run(minute(1)).plan(When(every=3600), since=minute(3))
    past.run(minute(3)).skipped(minute(2)).run(minute(60))
    assert past.audit().balanced


def test_a_job_that_is_no_longer_due_demands_nothing() -> None:
    past = minutely().run(minute(1)).plan(None, since=minute(1))
    books = past.audit(now=minute(100))
    assert books.balanced
    assert books.jobs["job"].demanded == 1


def test_the_same_schedule_told_again_does_no_harm() -> None:
    past = minutely().run(minute(1)).plan().run(minute(2)).plan(since=minute(2)).run(minute(3))
    assert past.audit().balanced
    assert past.audit().jobs["job"].demanded == 3


def test_runs_that_time_did_not_ask_for_are_not_of_the_demand() -> None:
    past = minutely().run(minute(1))
    for kind, run in ((TriggerKind.MANUAL, "job@manual-1"), (TriggerKind.ON_START, "job@x")):
        past.run(T0 + 77, run=run, trigger=kind)
    books = past.audit()
    assert books.balanced
    assert books.jobs["job"].demanded == 1


def test_a_year_without_a_record_costs_no_more_than_an_hour() -> None:
    year = 525_600
    past = minutely().missed(minute(1), minute(year), year).run(minute(year + 1))
    before = time.perf_counter()
    assert past.audit().balanced
    assert time.perf_counter() - before < 1.0


# -- the horizon


def test_what_is_later_than_the_mark_is_pending() -> None:
    past = minutely().run(*minutes(1, 3), minute(5))
    books = past.audit(now=minute(8), marks=mark(minute(3)))
    assert books.balanced
    assert books.jobs["job"].pending == 4
    assert books.jobs["job"].demanded == 8


def test_what_is_up_to_the_mark_has_to_be_accounted_for() -> None:
    past = minutely().run(*minutes(1, 3))
    assert told(past.audit(now=minute(9), marks=mark(minute(5)))) == [
        (Kind.LOST, "10:04", "10:05", 2)
    ]


def test_without_marks_a_job_is_complete_up_to_its_last_occurrence() -> None:
    books = minutely().run(*minutes(1, 3)).audit(now=minute(5))
    assert books.balanced
    assert books.jobs["job"].pending == 2


def test_a_mark_made_under_another_schedule_says_nothing() -> None:
    past = minutely().run(minute(1)).plan(When(every=120), since=minute(1)).run(minute(2))
    assert past.audit(now=minute(9), marks=mark(minute(8), since=minute(3))).balanced
    assert not past.audit(now=minute(9), marks=mark(minute(8), since=minute(1))).balanced


def test_history_whose_beginning_was_removed_is_held_to_the_mark() -> None:
    past = Past().daemon(at=T0 - 9e5).plan(since=T0, at=T0 - 9e5).run(*minutes(1, 3))
    assert told(past.audit(marks=mark(minute(4), since=T0 - 900_000))) == [
        (Kind.LOST, "10:04", "10:04", 1)
    ]


def test_a_job_that_left_the_agenda_owes_what_was_due_before() -> None:
    past = minutely().run(minute(1)).plan(None, since=minute(3))
    assert told(past.audit(marks=Marks(minute(4), {}))) == [(Kind.LOST, "10:02", "10:03", 2)]
    assert past.audit(marks=Marks(minute(2), {})).balanced


def test_what_was_due_before_the_books_begin_is_none_of_their_business() -> None:
    past = Past().daemon(at=T0 - 86400).intent(minute(-5)).plan(since=T0, at=T0 - 80000)
    past.started(minute(-5)).finished(minute(-5)).skipped(minute(-2)).run(minute(1))
    past.job = "removed"
    past.finished(minute(-3)).missed(minute(-9), minute(-1), 9)
    assert past.audit().balanced


# -- what does not


def test_lost_occurrences_are_told_as_one_span() -> None:
    past = minutely().run(*minutes(1, 3)).run(minute(10)).skipped(minute(12))
    assert told(past.audit()) == [
        (Kind.LOST, "10:04", "10:09", 6),
        (Kind.LOST, "10:11", "10:11", 1),
    ]


def test_a_run_of_what_had_been_accounted_for_is_twice() -> None:
    for first in (
        minutely().run(minute(1)),
        minutely().skipped(minute(1)),
        minutely().missed(minute(1), minute(2), 2),
    ):
        assert kinds(first.run(minute(1)).audit()) == {Kind.TWICE}
        assert len(first.audit().discrepancies) == 1


def test_an_occurrence_run_and_skipped_is_twice() -> None:
    assert told(minutely().run(minute(1)).skipped(minute(1)).audit()) == [
        (Kind.TWICE, "10:01", "10:01", 1)
    ]


def test_an_occurrence_run_and_missed_is_a_wrong_count_or_twice() -> None:
    assert kinds(minutely().run(minute(1)).missed(minute(1), minute(3), 3).audit()) == {
        Kind.MISCOUNTED
    }
    assert kinds(minutely().run(minute(1)).missed(minute(1), minute(1), 1).audit()) == {Kind.TWICE}


@pytest.mark.parametrize("count", [1, 3, 5, 7])
def test_a_missed_record_with_a_wrong_count_is_told(count: int) -> None:
    past = minutely().skipped(minute(2)).missed(minute(1), minute(5), count).run(minute(6))
    assert told(past.audit()) == [(Kind.MISCOUNTED, "10:01", "10:05", 1)]


def test_a_missed_record_told_twice_is_twice() -> None:
    past = minutely().missed(minute(1), minute(5), 5).missed(minute(1), minute(5), 5)
    assert told(past.audit()) == [(Kind.TWICE, "10:01", "10:05", 5)]


def test_a_record_of_what_no_schedule_asked_for_is_surplus() -> None:
    past = minutely().run(minute(1)).run(minute(1) + 7).skipped(minute(1) + 8)
    past.missed(minute(1) + 20, minute(1) + 30, 2)
    assert [fault.kind for fault in past.audit().discrepancies] == [Kind.SURPLUS] * 3


def test_a_run_after_the_job_was_no_longer_due_is_surplus() -> None:
    past = minutely().run(minute(1)).plan(None, since=minute(1)).run(minute(2))
    assert told(past.audit()) == [(Kind.SURPLUS, "10:02", "10:02", 1)]


def test_a_new_job_that_runs_for_a_time_that_has_passed_is_surplus() -> None:
    past = minutely()
    past.job = "new"
    past.plan(since=minute(5)).run(minute(4)).run(minute(6))
    assert told(past.audit()) == [(Kind.SURPLUS, "10:04", "10:04", 1)]


def test_a_job_whose_schedule_is_not_on_record_is_surplus() -> None:
    alone = Past().daemon().run(*minutes(1, 3))
    beside = minutely().run(minute(1))
    beside.job = "other"
    beside.run(minute(2))
    assert kinds(alone.audit()) == {Kind.SURPLUS}
    assert told(beside.audit()) == [(Kind.SURPLUS, "10:02", "10:02", 1)]


def test_a_schedule_that_cannot_be_read_leaves_the_job_unaudited_until_the_next_one() -> None:
    past = minutely().altered(1, when={"cron": ["* * *"]}).run(minute(7))
    past.plan(since=minute(9)).run(minute(11))
    assert told(past.audit()) == [
        (Kind.UNREADABLE, "10:00", "10:00", 1),
        (Kind.LOST, "10:10", "10:10", 1),
    ]


@pytest.mark.parametrize("run", ["job@manual-1", "job@20261121T100117Z"])
def test_a_run_by_hand_is_not_to_be_doubled_either(run: str) -> None:
    past = minutely()
    for _ in range(2):
        past.run(T0 + 77, run=run, trigger=TriggerKind.MANUAL)
    [fault] = past.audit().discrepancies
    assert (fault.kind, fault.run) == (Kind.TWICE, run)


def test_what_a_missed_span_leaves_open_on_either_side_is_lost() -> None:
    past = minutely().run(minute(1), minute(10)).missed(minute(4), minute(6), 3)
    assert told(past.audit()) == [
        (Kind.LOST, "10:02", "10:03", 2),
        (Kind.LOST, "10:07", "10:09", 3),
    ]


def test_a_late_run_of_what_the_old_schedule_no_longer_asked_for_is_surplus() -> None:
    past = minutely().run(*minutes(1, 3)).plan(When(every=3600), since=minute(3))
    assert told(past.run(minute(60)).run(minute(4)).audit()) == [
        (Kind.SURPLUS, "10:04", "10:04", 1)
    ]


def test_nothing_is_held_against_a_schedule_that_cannot_be_read() -> None:
    past = minutely().run(minute(1)).plan(since=minute(1))
    past = past.altered(len(past.lines) - 1, when={"moon": 1}).run(minute(1) + 7)
    past.missed(minute(1) + 8, minute(1) + 9, 2)
    assert kinds(past.audit()) == {Kind.UNREADABLE}


# -- attempts


def fails(past: Past, attempt: int) -> Past:
    past.intent(minute(1), attempt).started(minute(1), attempt)
    return past.finished(minute(1), attempt, outcome=Outcome.FAILED, will_retry_at=minute(1) + 10.0)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (2, Kind.GAP),  # intent 1
        (3, Kind.GAP),  # started 1
        (4, Kind.GAP),  # finished 1
        (5, Kind.GAP),  # intent 2
        (6, Kind.GAP),  # started 2
        (7, Kind.UNFINISHED),  # finished 2
    ],
)
def test_no_record_of_an_attempt_can_be_left_out(number: int, kind: Kind) -> None:
    past = fails(minutely(), 1).run(minute(1), attempt=2).daemon("boot-2")
    assert past.audit().balanced
    assert kinds(past.without(number).audit()) == {kind}


@pytest.mark.parametrize("number", range(2, 8))
def test_no_record_of_an_attempt_can_be_told_twice(number: int) -> None:
    past = fails(minutely(), 1).run(minute(1), attempt=2)
    assert kinds(past.doubled(number).audit()) == {Kind.TWICE}


def test_an_attempt_that_is_left_out_is_a_gap() -> None:
    past = fails(fails(minutely(), 1), 3)
    [fault] = past.audit().discrepancies
    assert fault.kind is Kind.GAP
    assert "no attempt 2" in fault.details


def test_an_attempt_of_the_last_daemon_is_running() -> None:
    books = minutely().intent(minute(1)).started(minute(1)).audit()
    assert books.balanced
    assert books.jobs["job"].running == 1


def test_an_attempt_of_another_boot_without_an_end_is_unfinished() -> None:
    past = minutely().intent(minute(1)).started(minute(1)).daemon("boot-2", minute(2))
    assert kinds(past.audit(lives=lambda pid, born: True)) == {Kind.UNFINISHED}


def test_an_attempt_that_outlived_its_daemon_is_running_while_its_process_lives() -> None:
    past = minutely().intent(minute(1)).started(minute(1)).daemon("boot-1", minute(2))
    assert past.audit(lives=lambda pid, born: (pid, born) == (7, 70)).balanced
    assert kinds(past.audit(lives=lambda pid, born: False)) == {Kind.UNFINISHED}
    assert past.finished(minute(1), outcome=Outcome.INTERRUPTED).audit().balanced


def test_an_intent_that_outlived_its_daemon_is_unfinished() -> None:
    past = minutely().intent(minute(1)).daemon("boot-1", minute(2))
    assert kinds(past.audit(lives=lambda pid, born: True)) == {Kind.UNFINISHED}


def test_a_run_between_two_attempts_is_not_unfinished() -> None:
    assert fails(minutely(), 1).daemon("boot-2").audit().balanced


# -- the clock is set back


def rewound() -> Past:
    past = Past().daemon().plan(at=T0).run(*minutes(1, 600))
    return past.plan(since=minute(60)).run(*minutes(61, 90))


def test_after_the_clock_was_set_back_occurrences_are_accounted_for_anew() -> None:
    books = rewound().audit(marks=mark(minute(90), since=minute(60)))
    assert books.balanced
    assert books.jobs["job"].demanded == 630


def test_a_schedule_that_changed_while_the_clock_was_set_back_starts_over_too() -> None:
    past = Past().daemon().plan(at=T0).run(*minutes(1, 100))
    past.plan(When(every=120), since=minute(10)).run(*minutes(11, 40)[1::2])
    assert past.audit().balanced


def test_within_each_pass_nothing_may_be_lost_or_doubled() -> None:
    marks = mark(minute(650), since=minute(60))
    past = rewound().run(*minutes(91, 650))
    assert past.audit(marks=marks).balanced
    first_pass, second_pass = 2 + 3 * 70, 2 + 3 * 600 + 1 + 3 * 10
    for begin in (first_pass, second_pass):
        lost = past.without(begin).without(begin).without(begin)
        assert [kind for kind, *_ in told(lost.audit(marks=marks))] == [Kind.LOST]
    assert kinds(past.skipped(minute(650)).audit(marks=marks)) == {Kind.TWICE}


def test_what_waited_when_the_clock_was_set_back_is_entered_where_it_was_due() -> None:
    past = Past().daemon().plan(at=T0).run(*minutes(1, 600)).skipped(minute(602))
    past.plan(since=minute(60))
    past.add(Skipped("job", minute(601), SkipReason.OVERLAP, minute(61), TriggerKind.CRON))
    assert past.run(*minutes(61, 70)).audit().balanced


def test_what_waited_and_is_due_again_after_the_clock_was_set_back_may_run_twice() -> None:
    daily = When(cron=("0 12 * * *",))
    past = Past().daemon().plan(daily).daemon(at=minute(125)).plan(daily, since=minute(-70))
    past.run(minute(120), at=minute(-60) + 0.5).run(minute(120))
    assert past.audit().balanced
    assert past.audit().jobs["job"].run == 2
    assert kinds(past.run(minute(120)).audit()) == {Kind.TWICE}


# -- what is asked for


def test_only_what_was_due_since_then_is_looked_at() -> None:
    past = minutely().run(*minutes(1, 3)).run(*minutes(5, 8))
    assert not past.audit(since=minute(4)).balanced
    books = past.audit(since=minute(5))
    assert books.balanced
    assert books.jobs["job"].demanded == 4


def test_a_missed_span_that_began_before_is_counted_from_then_on() -> None:
    past = minutely().missed(minute(1), minute(6), 6).run(minute(7))
    books = past.audit(since=minute(5))
    assert books.balanced
    assert books.jobs["job"].missed == 2


def test_only_the_job_asked_for_is_looked_at() -> None:
    past = minutely().run(minute(1), minute(3))
    past.job = "other"
    past.plan().run(*minutes(1, 3))
    assert set(past.audit(job="other").jobs) == {"other"}
    assert past.audit(job="other").balanced
    assert not past.audit().balanced


def test_discrepancies_come_by_time_then_by_job() -> None:
    past = minutely().run(minute(1), minute(5), minute(7))
    past.job = "a"
    past.plan().run(minute(1), minute(3), minute(5), minute(7))
    faults = [(fault.first, fault.job) for fault in past.audit().discrepancies]
    assert faults == sorted(faults)
    assert len(faults) == 5


# -- damage


@pytest.mark.parametrize(
    "change",
    [
        {"scheduled": "2026-11-21T10:61:00Z"},
        {"scheduled": "2026-11-21T10:01:00"},
        {"scheduled": 7},
        {"attempt": "1"},
        {"trigger": "moon"},
        {"at": None},
        {"job": ["job"]},
    ],
)
def test_a_record_that_makes_no_sense_is_damage_and_accounts_for_nothing(
    change: dict[str, object],
) -> None:
    past = minutely().run(*minutes(1, 2))
    damaged: list[object] = []
    books = past.altered(2, **change).audit(damaged=damaged.append)
    assert len(damaged) == 1
    assert told(books) == [(Kind.GAP, "10:01", "10:01", 1)]


def test_records_of_kinds_to_come_are_passed_over() -> None:
    past = minutely().run(*minutes(1, 2))
    damaged: list[object] = []
    assert past.altered(0, event="moon").audit(damaged=damaged.append).balanced
    assert damaged == []


def test_a_record_that_names_another_job_than_its_run_is_told() -> None:
    past = minutely().run(*minutes(1, 2))
    assert kinds(past.altered(3, job="jpb").audit()) == {Kind.SURPLUS}


# -- any history at all


def some_history(chance: random.Random) -> tuple[Past, Marks, int]:
    """A job with a random schedule, and every way in which a daemon may account for it."""
    when = chance.choice(
        [
            MINUTELY,
            When(every=90),
            When(cron=("*/3 * * * *",), every=40),
            When(cron=("* * * * *", "*/7 * * * *"), at=("10:11:12",)),
        ]
    )
    past = Past().daemon().plan(when)
    due = [at for at in range(T0 + 1, minute(40)) if is_due(when, at)]
    waiting: list[int] = []
    while due:
        act = chance.random()
        if act < 0.15:
            waiting.append(due.pop(0))
        elif act < 0.3:
            past.skipped(due.pop(0))
        elif act < 0.45:
            miss(past, due, chance)
        else:
            run(past, due.pop(0), chance)
        if waiting and chance.random() < 0.4:
            run(past, waiting.pop(chance.randrange(len(waiting))), chance)
    for at in waiting:
        run(past, at, chance)
    return past.daemon("boot-2", minute(41)), mark(minute(40) - 1), minute(40) - 1


def is_due(when: When, at: int) -> bool:
    """By hand, and not by the schedules that the audit uses."""
    minute_of_day, second = at // 60 % 1440, at % 60
    steps = {"* * * * *": 1, "*/3 * * * *": 3, "*/7 * * * *": 7}
    by_cron = any(second == 0 and minute_of_day % 60 % steps[text] == 0 for text in when.cron)
    by_every = when.every is not None and at % when.every == 0
    return by_cron or by_every or rfc3339(at)[11:19] in when.at


def miss(past: Past, due: list[int], chance: random.Random) -> None:
    """A span that was slept through, of which some are run before and some afterwards."""
    span = [due.pop(0) for _ in range(min(len(due), chance.randint(1, 6)))]
    inner = [at for at in span[1:-1] if chance.random() < 0.4]
    early = [at for at in inner if chance.random() < 0.5]
    for at in early:
        run(past, at, chance)
    past.missed(span[0], span[-1], len(span) - len(inner))
    for at in inner:
        if at not in early:
            past.skipped(at)


def run(past: Past, at: int, chance: random.Random) -> None:
    attempts = chance.choice([1, 1, 1, 2, 3])
    for attempt in range(1, attempts):
        past.intent(at, attempt).started(at, attempt)
        past.finished(at, attempt, outcome=Outcome.FAILED, will_retry_at=at + 9.0)
    past.run(at, attempt=attempts)


def shifted(past: Past, number: int) -> Past:
    """The record says another instant, by a second."""
    record = past.records()[number]
    name = "first" if record["event"] == "missed" else "scheduled"
    seconds = int(record[name][17:19])
    other = f"{record[name][:17]}{seconds + (1 if seconds < 59 else -1):02d}Z"
    return past.altered(number, **{name: other})


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
def test_a_history_that_accounts_for_everything_balances(seed: int) -> None:
    past, marks, now = some_history(random.Random(seed))
    books = past.audit(now, marks=marks)
    assert told(books) == []
    tally = books.jobs["job"]
    assert tally.pending == 0
    assert tally.demanded == tally.run + tally.skipped + tally.missed


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(st.integers(min_value=0, max_value=2**32))
@pytest.mark.parametrize("plant", [Past.without, Past.doubled, shifted])
def test_a_single_fault_anywhere_in_a_history_is_found(
    plant: Callable[[Past, int], Past], seed: int
) -> None:
    past, marks, now = some_history(random.Random(seed))
    for number in range(2, len(past.lines) - 1):
        assert not plant(past, number).audit(now, marks=marks).balanced, past.lines[number]
