"""What is told of the coming changes of the clocks, and what is not worth a word."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from stsd.forecast import ClockChange, Effect, clock_changes
from stsd.model import Fold, Gap, When
from stsd.triggers import schedule_for

FROM = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
UNTIL = int(datetime(2027, 1, 1, tzinfo=UTC).timestamp())


def changes(zone: str, *expressions: str, **more: Any) -> list[ClockChange]:
    when = When(cron=expressions, timezone=zone, **more)
    return clock_changes(schedule_for(when, "job"), "job", FROM, UNTIL)


def told(zone: str, *expressions: str, **more: Any) -> list[str]:
    return [str(change) for change in changes(zone, *expressions, **more)]


def test_a_skipped_time_is_told_with_date_and_both_times() -> None:
    assert told("Europe/Berlin", "30 2 * * *") == [
        "on 2026-03-29 02:30 in Europe/Berlin does not exist: it runs once, at 03:00:00+02:00"
    ]


def test_several_skipped_times_are_one_change() -> None:
    [change] = changes("Europe/Berlin", "0,30 2 * * *")
    assert (change.effect, change.count) == (Effect.MOVED, 2)


def test_a_wildcard_job_in_the_gap_is_dropped_and_in_the_fold_doubled() -> None:
    dropped, doubled = changes("Europe/Berlin", "*/10 2 * * *")
    assert (dropped.effect, dropped.count, dropped.fires) == (Effect.DROPPED, 6, ())
    assert (doubled.effect, doubled.count) == (Effect.DOUBLED, 6)
    assert [moment.isoformat() for moment in doubled.fires] == [
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
    ]


@pytest.mark.parametrize(
    ("zone", "expression"),
    [
        ("Europe/Berlin", "0 * * * *"),
        ("Europe/Berlin", "* * * * *"),
        ("Europe/Berlin", "*/10 * * * *"),
        ("Europe/Berlin", "* * * * * *"),
        ("Europe/Berlin", "0 0-23 * * *"),
        ("Europe/Berlin", "0 12 * * *"),
        ("Australia/Lord_Howe", "*/10 * * * *"),
        ("Australia/Lord_Howe", "*/30 * * * *"),
        ("UTC", "30 2 * * *"),
        ("Asia/Tokyo", "30 2 * * *"),
        ("Europe/Berlin", "30 2 1 * *"),
    ],
)
def test_what_goes_on_as_ever_is_not_worth_a_word(zone: str, expression: str) -> None:
    assert told(zone, expression) == []


def test_a_fixed_time_that_is_repeated_runs_once_as_expected() -> None:
    assert told("America/New_York", "30 1 * * *") == []


def test_every_is_never_touched() -> None:
    schedule = schedule_for(When(every=60, timezone="Europe/Berlin"), "job")
    assert clock_changes(schedule, "job", FROM, UNTIL) == []


def test_an_hourly_job_does_notice_half_an_hour() -> None:
    [change] = changes("Australia/Lord_Howe", "0 * * * *")
    assert change.effect is Effect.DROPPED


def test_enumerated_hours_off_the_hour_are_moved() -> None:
    [change] = changes("Europe/Berlin", "30 0-23 * * *")
    assert change.effect is Effect.MOVED


def test_other_wishes_for_gap_and_fold_are_told() -> None:
    [change] = changes("Europe/Berlin", "30 2 * * *", gap=Gap.SKIP)
    assert change.effect is Effect.DROPPED
    moved, doubled = changes("Europe/Berlin", "30 2 * * *", fold=Fold.BOTH)
    assert (moved.effect, doubled.effect) == (Effect.MOVED, Effect.DOUBLED)


def test_a_day_that_is_skipped_anyhow_is_not_told() -> None:
    assert told("Europe/Berlin", "30 2 * * *", skip_dates=(date(2026, 3, 29),)) == []
    assert told("Europe/Berlin", "30 2 * * *", end=date(2026, 3, 1)) == []


def test_the_splay_is_part_of_when_it_fires() -> None:
    when = When(cron=("30 2 * * *",), timezone="Europe/Berlin", splay=600)
    schedule = schedule_for(when, "job")
    [change] = clock_changes(schedule, "job", FROM, UNTIL)
    assert change.fires[0].timestamp() == change.at + schedule.splay


def test_at_is_told_too() -> None:
    when = When(at=("02:30",), timezone="Europe/Berlin")
    [change] = clock_changes(schedule_for(when, "job"), "job", FROM, UNTIL)
    assert change.effect is Effect.MOVED
