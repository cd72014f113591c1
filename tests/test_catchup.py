"""What becomes of occurrences that passed unseen, against plain enumeration."""

from __future__ import annotations

import random
import time

import pytest

from stsd.catchup import Passed, limit_of, settle, unsettled
from stsd.memory import Book
from stsd.model import CatchUp, Job, ShellTask, When
from stsd.plan import plan_of
from stsd.triggers import Schedule, schedule_for

EVERY_10 = When(every=10)


def schedule(when: When = EVERY_10) -> Schedule:
    return schedule_for(when, "job")


def book(mark: int, settled: tuple[int, ...] = (), spans: tuple[tuple[int, int], ...] = ()) -> Book:
    return Book(plan_of(EVERY_10), mark, mark, frozenset(settled), spans)


def outcome(known: Book, now: int, limit: int, oldest: float) -> tuple[list[int], Passed | None]:
    run, missed = settle(schedule(), unsettled(schedule(), known, now), limit, oldest)
    return [due.at for due in run], missed


@pytest.mark.parametrize(
    ("policy", "limit"), [(CatchUp.NONE, 0), (CatchUp.LATEST, 1), (CatchUp.ALL, 7)]
)
def test_the_policy_says_how_many_are_run(policy: CatchUp, limit: int) -> None:
    job = Job("job", ShellTask("true"), catch_up=policy, catch_up_limit=7)
    assert limit_of(job) == limit


def test_the_latest_is_run_and_the_others_are_missed() -> None:
    assert outcome(book(100), 155, 1, 0) == ([150], Passed(110, 140, 4))


def test_what_is_too_old_is_missed_altogether() -> None:
    assert outcome(book(100), 155, 1, 151) == ([], Passed(110, 150, 5))


def test_all_are_run_in_order_up_to_the_limit() -> None:
    assert outcome(book(100), 155, 3, 0) == ([130, 140, 150], Passed(110, 120, 2))


def test_when_everything_is_settled_nothing_is_left() -> None:
    assert outcome(book(150), 155, 1, 0) == ([], None)


def test_what_is_settled_one_by_one_or_in_a_span_is_neither_run_nor_missed() -> None:
    known = book(100, settled=(150, 120), spans=((130, 140),))
    assert outcome(known, 175, 1, 0) == ([170], Passed(110, 160, 2))


def test_an_occurrence_that_waited_while_a_later_one_was_settled_is_a_hole() -> None:
    assert outcome(book(100, settled=(120, 130)), 135, 1, 0) == ([110], None)


def test_it_agrees_with_enumeration_whatever_is_settled() -> None:
    draw = random.Random(11)
    for _ in range(3000):
        mark, now = 10 * draw.randrange(20), draw.randrange(600)
        settled = tuple(mark + 10 * draw.randint(1, 30) for _ in range(draw.randrange(5)))
        first = mark + 10 * draw.randint(1, 30)
        spans = ((first, first + 10 * draw.randrange(6)),) if draw.random() < 0.5 else ()
        limit, oldest = draw.randrange(5), draw.randrange(600)
        left = [
            at
            for at in range(mark + 10, now + 1, 10)
            if at not in settled and not any(low <= at <= high for low, high in spans)
        ]
        run = [at for at in left[-limit:] if limit and at >= oldest]
        missed = [at for at in left if at not in run]
        assert outcome(book(mark, settled, spans), now, limit, oldest) == (
            run,
            Passed(missed[0], missed[-1], len(missed)) if missed else None,
        )


def test_a_year_costs_hardly_more_than_a_minute() -> None:
    minutely = schedule(When(cron=("* * * * *",), timezone="Europe/Berlin"))
    year = 365 * 86400
    known = Book(plan_of(EVERY_10), 1_800_000_000, 1_800_000_000)

    def cost(span: int) -> float:
        begun = time.process_time()
        for _ in range(20):
            settle(minutely, unsettled(minutely, known, known.mark + span), 1, 0)
        return time.process_time() - begun

    cost(year)
    _, missed = settle(minutely, unsettled(minutely, known, known.mark + year), 1, 0)
    assert missed is not None
    assert missed.count == year // 60 - 1
    assert cost(year) < 100 * cost(60)
