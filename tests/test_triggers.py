"""What makes a job due: daylight saving, `at`, `every`, the calendar's exceptions, splay."""

from __future__ import annotations

import builtins
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stsd.errors import ScheduleError
from stsd.model import Fold, Gap, TriggerKind, When
from stsd.triggers import Due, Schedule, expand, schedule_for
from stsd.wallclock import FIRST_INSTANT, LAST_INSTANT, local, zone


def instant(text: str, zone_name: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=zone(zone_name)).timestamp())


def following(when: When, start: str, count: int = 1, job: str = "job") -> list[str]:
    schedule = schedule_for(when, job)
    found: list[str] = []
    moment = instant(start, when.timezone)
    while len(found) < count and (due := schedule.next_after(moment)) is not None:
        moment = due.at
        found.append(local(moment, when.timezone).isoformat())
    return found


def cron(expression: str, zone_name: str = "UTC", **more: Any) -> When:
    return When(cron=(expression,), timezone=zone_name, **more)


# Daylight saving

TABLE = [
    ("30 2 * * *", "America/New_York", "2026-03-07T12:00",
     ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"]),
    ("30 1 * * *", "America/New_York", "2026-10-31T12:00",
     ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]),
    ("0 * * * *", "America/New_York", "2026-11-01T00:30",
     ["2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00"]),
    ("0,30 2 * * *", "Europe/Berlin", "2026-03-28T12:00",
     ["2026-03-29T03:00:00+02:00", "2026-03-30T02:00:00+02:00"]),
    ("*/10 2 * * *", "Europe/Berlin", "2026-03-28T12:00", ["2026-03-30T02:00:00+02:00"]),
    ("0 0 * * *", "America/Havana", "2026-03-07T12:00",
     ["2026-03-08T01:00:00-04:00", "2026-03-09T00:00:00-04:00"]),
    ("0 9 * * *", "Pacific/Apia", "2011-12-29T08:00",
     ["2011-12-29T09:00:00-10:00", "2011-12-31T09:00:00+14:00"]),
    ("0 */2 * * *", "Australia/Lord_Howe", "2026-04-04T23:00",
     ["2026-04-05T00:00:00+11:00", "2026-04-05T02:00:00+10:30", "2026-04-05T04:00:00+10:30"]),
    ("30 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", ["2026-10-04T02:30:00+11:00"]),
    # enumerated hours keep the hour after a gap
    ("30 0-23 * * *", "Europe/Berlin", "2026-03-29T01:00",
     ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]),
    ("0 0-23 * * *", "Europe/Berlin", "2026-03-29T00:30",
     ["2026-03-29T01:00:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T04:00:00+02:00"]),
    # a matching second of a skipped minute fires at the first instant after the gap
    ("30 30 2 * * *", "Europe/Berlin", "2026-03-29T01:00", ["2026-03-29T03:00:00+02:00"]),
    # midnight comes twice: the first pass only
    ("0 0 * * *", "America/Havana", "2026-10-31T12:00",
     ["2026-11-01T00:00:00-04:00", "2026-11-02T00:00:00-05:00"]),
    ("30 23 * * *", "America/St_Johns", "2010-11-06T12:00",
     ["2010-11-06T23:30:00-02:30", "2010-11-07T23:30:00-03:30"]),
    # no midnight on Sao Paulo's first day of summer
    ("0 0 * * *", "America/Sao_Paulo", "2018-11-03T12:00", ["2018-11-04T01:00:00-02:00"]),
    # 2094: after the last change that the zone file lists
    ("30 2 * * *", "Europe/Berlin", "2094-03-27T12:00", ["2094-03-28T03:00:00+02:00"]),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "zone_name", "start", "expected"), TABLE)
def test_the_table_of_daylight_saving_holds(
    expression: str, zone_name: str, start: str, expected: list[str]
) -> None:
    assert following(cron(expression, zone_name), start, len(expected)) == expected


def test_at_follows_the_rule_of_fixed_times() -> None:
    when = When(at=("02:30",), timezone="America/New_York")
    assert following(when, "2026-03-07T12:00") == ["2026-03-08T03:00:00-04:00"]
    when = When(at=("01:30",), timezone="America/New_York")
    assert following(when, "2026-10-31T12:00", 2)[1] == "2026-11-02T01:30:00-05:00"


def test_every_knows_no_daylight_saving() -> None:
    when = When(every=3600, timezone="America/New_York")
    assert following(when, "2026-11-01T00:30", 3) == [
        "2026-11-01T01:00:00-04:00",
        "2026-11-01T01:00:00-05:00",
        "2026-11-01T02:00:00-05:00",
    ]


def test_a_skipped_time_can_be_left_out() -> None:
    when = cron("30 2 * * *", "America/New_York", gap=Gap.SKIP)
    assert following(when, "2026-03-07T12:00") == ["2026-03-09T02:30:00-04:00"]


def test_a_repeated_time_can_fire_at_both_passes() -> None:
    when = cron("30 1 * * *", "America/New_York", fold=Fold.BOTH)
    assert following(when, "2026-10-31T12:00", 3) == [
        "2026-11-01T01:30:00-04:00",
        "2026-11-01T01:30:00-05:00",
        "2026-11-02T01:30:00-05:00",
    ]


def test_a_single_date_can_fire_at_both_passes() -> None:
    when = When(at=("2026-11-01 01:30",), timezone="America/New_York", fold=Fold.BOTH)
    assert len(following(when, "2026-10-01T12:00", 5)) == 2
    assert following(when, "2026-11-01T01:30", 5) == ["2026-11-01T01:30:00-05:00"]


@pytest.mark.parametrize(
    ("expression", "zone_name", "at", "said"),
    [
        ("30 2 * * *", "America/New_York", "2026-03-08T03:00",
         "02:30 does not exist, moved to 03:00"),
        ("15 30 2 * * *", "America/New_York", "2026-03-08T03:00",
         "02:30:15 does not exist, moved to 03:00"),
        ("30 1 * * *", "America/New_York", "2026-11-01T01:30", "01:30 happens twice, first pass"),
        ("0 * * * *", "America/New_York", "2026-11-01T01:00", "01:00 happens twice, first pass"),
        ("0 0 * * *", "America/Havana", "2026-03-08T01:00", "00:00 does not exist, moved to 01:00"),
    ],
)  # fmt: skip
def test_an_occurrence_touched_by_a_change_is_explained(
    expression: str, zone_name: str, at: str, said: str
) -> None:
    shift = schedule_for(cron(expression, zone_name), "job").explain(instant(at, zone_name))
    assert str(shift) == said


def test_the_second_pass_is_explained() -> None:
    at = instant("2026-11-01T01:00", "America/New_York") + 3600
    shift = schedule_for(cron("0 * * * *", "America/New_York"), "job").explain(at)
    assert str(shift) == "01:00 happens twice, second pass"


@pytest.mark.parametrize("at", ["2026-03-08T03:00", "2026-07-01T03:00", "2026-11-01T03:00"])
def test_an_ordinary_occurrence_needs_no_explanation(at: str) -> None:
    schedule = schedule_for(cron("0 2,3 * * *", "America/New_York"), "job")
    assert schedule.explain(instant(at, "America/New_York")) is None
    every = schedule_for(When(every=3600, timezone="America/New_York"), "job")
    assert every.explain(instant(at, "America/New_York")) is None


# at

AT = [
    ("10:30", "2026-01-01T10:30", ["2026-01-02T10:30"]),
    ("9:05", "2026-01-01T00:00", ["2026-01-01T09:05"]),
    ("10:30:15", "2026-01-01T10:30", ["2026-01-01T10:30:15"]),
    ("sunday 10:30", "2026-01-01T00:00", ["2026-01-04T10:30", "2026-01-11T10:30"]),
    ("SUN 10:30", "2026-01-01T00:00", ["2026-01-04T10:30"]),
    ("mon-fri 09:00", "2026-01-02T10:00", ["2026-01-05T09:00", "2026-01-06T09:00"]),
    ("Monday-Friday 09:00", "2026-01-02T10:00", ["2026-01-05T09:00"]),
    ("mon,wed 09:00", "2026-01-01T00:00", ["2026-01-05T09:00", "2026-01-07T09:00"]),
    ("mon, wed-thu  09:00", "2026-01-02T00:00", ["2026-01-05T09:00", "2026-01-07T09:00"]),
    ("sat-mon 9:00", "2026-01-01T00:00",
     ["2026-01-03T09:00", "2026-01-04T09:00", "2026-01-05T09:00", "2026-01-10T09:00"]),
    ("mon-sun 9:00", "2026-01-01T00:00", ["2026-01-01T09:00", "2026-01-02T09:00"]),
    ("2027-01-31 12:00", "2026-01-01T00:00", ["2027-01-31T12:00"]),
    ("2027-01-31 12:00:30", "2026-01-01T00:00", ["2027-01-31T12:00:30"]),
    ("2027-01-31T12:00", "2026-01-01T00:00", ["2027-01-31T12:00"]),
    ("2028-02-29 00:00", "2026-01-01T00:00", ["2028-02-29T00:00"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "start", "expected"), AT)
def test_at_fires_when_it_says(text: str, start: str, expected: list[str]) -> None:
    found = following(When(at=(text,)), start, len(expected))
    assert [datetime.fromisoformat(each) for each in found] == [
        datetime.fromisoformat(each).replace(tzinfo=UTC) for each in expected
    ]


def test_a_single_date_fires_once() -> None:
    assert len(following(When(at=("2027-01-31 12:00",)), "2026-01-01T00:00", 5)) == 1


def test_a_date_in_the_past_is_no_error_and_never_fires() -> None:
    assert following(When(at=("2020-01-31 12:00",)), "2026-01-01T00:00") == []


@pytest.mark.parametrize(
    ("text", "column", "said"),
    [
        ("", 1, "not a time of day"),
        ("25:00", 1, "00:00 to 23:59:59"),
        ("10:60", 1, "00:00 to 23:59:59"),
        ("24:00", 1, "00:00 of the day after"),
        ("10:3", 1, "not a time of day"),
        ("1030", 1, "not a time of day"),
        ("10.30", 1, "not a time of day"),
        ("-1:30", 1, "not a time of day"),
        ("\u0661\u0660:30", 1, "not a time of day"),
        ("10:30pm", 1, "not a time of day"),
        ("sundy 10:30", 1, "did you mean `sunday`"),
        ("mon,frday 10:30", 5, "did you mean `friday`"),
        ("mon,,fri 10:30", 5, "not a day of the week"),
        ("mon- 10:30", 5, "not a day of the week"),
        ("sunday", 1, "not a time of day"),
        ("10:30 sunday", 7, "not a time of day"),
        ("sunday 10:61", 8, "00:00 to 23:59:59"),
        ("2027-02-30 12:00", 1, "not a day of the calendar"),
        ("2027-13-01 12:00", 1, "not a day of the calendar"),
        ("2027-01-31", 1, "no time of day"),
        ("27-01-31 12:00", 1, "not a date"),
        ("2027-01-31 12:00Z", 12, "not a time of day"),
        ("2027-01-31 12:00+02:00", 12, "not a time of day"),
        ("x" * 5000, 1, "5000 characters"),
        ("1" * 150 + ":30", 1, "not a time of day"),
    ],
)
def test_what_is_no_time_is_refused_with_its_place(text: str, column: int, said: str) -> None:
    with pytest.raises(ScheduleError) as refusal:
        schedule_for(When(at=(text,)), "job")
    assert (refusal.value.key, refusal.value.column) == ("at", column)
    assert said in str(refusal.value)


@settings(max_examples=1000, deadline=None, derandomize=True)
@given(st.one_of(st.text(), st.text(alphabet="0123456789:- ,TtZsunmonday\t\u0665", max_size=25)))
def test_any_at_is_read_or_refused_in_words(text: str) -> None:
    refusal = None
    try:
        schedule_for(When(at=(text,)), "job")
    except ScheduleError as error:
        refusal = error
    if refusal is not None:
        assert refusal.key == "at"
        assert refusal.column is not None
        assert 1 <= refusal.column <= len(text) + 1


def test_a_date_that_a_zone_never_had_is_refused() -> None:
    with pytest.raises(ScheduleError, match="does not exist in Pacific/Apia"):
        schedule_for(When(at=("2011-12-30 12:00",), timezone="Pacific/Apia"), "job")


# every


@pytest.mark.parametrize(
    ("every", "anchor", "start", "expected"),
    [
        (5, 0, "2026-01-01T00:00:03", "2026-01-01T00:00:05"),
        (5, 0, "2026-01-01T00:00:05", "2026-01-01T00:00:10"),
        (3600, 1800, "2026-01-01T00:00", "2026-01-01T00:30:00"),
        (86400, 0, "2026-01-01T00:00", "2026-01-02T00:00:00"),
        (7 * 86400, 0, "2026-01-01T00:00", "2026-01-08T00:00:00"),  # a Thursday, as the epoch
    ],
)
def test_every_is_a_grid_from_its_anchor(
    every: int, anchor: int, start: str, expected: str
) -> None:
    assert following(When(every=every, anchor=anchor), start) == [f"{expected}+00:00"]


def test_an_anchor_in_the_future_moves_the_grid_and_not_the_start() -> None:
    anchor = instant("2030-01-01T00:00:07")
    when = When(every=60, anchor=anchor)
    assert following(when, "2026-01-01T00:00") == ["2026-01-01T00:00:07+00:00"]


def test_every_before_the_epoch_keeps_the_grid() -> None:
    due = schedule_for(When(every=60), "job").next_after(-61)
    assert due == Due(-60, TriggerKind.EVERY)


# Several parts, and none


def test_parts_at_the_same_instant_are_one_occurrence_of_the_first_kind() -> None:
    when = When(cron=("0 12 * * *",), every=3600, at=("12:00", "12:30"))
    schedule = schedule_for(when, "job")
    eleven = instant("2026-01-01T11:00")
    assert schedule.next_after(eleven) == Due(eleven + 3600, TriggerKind.CRON)
    assert schedule.next_after(eleven + 3600) == Due(eleven + 5400, TriggerKind.AT)
    assert schedule.next_after(eleven + 5400) == Due(eleven + 7200, TriggerKind.EVERY)


@pytest.mark.parametrize("when", [When(), When(on_start=True), When(cron=("@reboot",))])
def test_what_time_has_no_part_in_is_never_due(when: When) -> None:
    assert schedule_for(when, "job").next_after(0) is None


def test_nothing_is_due_past_the_end_of_the_calendar() -> None:
    for when in (cron("* * * * *", "Europe/Berlin"), When(every=1), When(at=("10:30",))):
        schedule = schedule_for(when, "job")
        for moment in (LAST_INSTANT, LAST_INSTANT + 10**9, 10**18):
            assert schedule.next_after(moment) is None
        before = schedule.next_after(-(10**18))
        assert before is None or before.at >= FIRST_INSTANT or when.every


# start, end, skip_dates, skip_holidays


def test_start_and_end_are_the_first_and_the_last_day() -> None:
    when = cron("0 0,12 * * *", "Asia/Tokyo", start=date(2026, 5, 1), end=date(2026, 5, 2))
    assert following(when, "2026-01-01T00:00", 9) == [
        "2026-05-01T00:00:00+09:00",
        "2026-05-01T12:00:00+09:00",
        "2026-05-02T00:00:00+09:00",
        "2026-05-02T12:00:00+09:00",
    ]


def test_skipped_dates_are_days_of_the_zone() -> None:
    days = (date(2026, 5, 2), date(2026, 5, 3))
    when = cron("0 23 * * *", "Asia/Tokyo", skip_dates=days)
    assert following(when, "2026-05-01T22:00", 2) == [
        "2026-05-01T23:00:00+09:00",
        "2026-05-04T23:00:00+09:00",
    ]


def test_a_skipped_date_ends_with_its_last_second() -> None:
    when = When(every=1, timezone="Asia/Tokyo", skip_dates=(date(2026, 5, 2),))
    assert following(when, "2026-05-01T23:59:58", 2) == [
        "2026-05-01T23:59:59+09:00",
        "2026-05-03T00:00:00+09:00",
    ]


def test_a_date_that_a_fold_brings_back_is_skipped_again() -> None:
    # St. John's went from 00:01 on the 7th back to 23:01 on the 6th.
    when = cron("* * * * *", "America/St_Johns", skip_dates=(date(2010, 11, 6),))
    assert following(when, "2010-11-05T23:58", 3) == [
        "2010-11-05T23:59:00-02:30",
        "2010-11-07T00:00:00-02:30",
        "2010-11-07T00:00:00-03:30",
    ]


def test_public_holidays_are_left_out() -> None:
    when = cron("0 9 * * mon-fri", "Europe/Berlin", skip_holidays="DE")
    assert following(when, "2026-12-24T10:00", 2) == [
        "2026-12-28T09:00:00+01:00",
        "2026-12-29T09:00:00+01:00",
    ]


def test_holidays_of_a_part_of_a_country_are_known() -> None:
    everywhere = cron("0 9 6 1 *", skip_holidays="DE")
    bavaria = cron("0 9 5,6 1 *", skip_holidays="DE-BY")
    assert following(everywhere, "2026-01-01T00:00") == ["2026-01-06T09:00:00+00:00"]
    assert following(bavaria, "2026-01-05T10:00") == ["2027-01-05T09:00:00+00:00"]


@pytest.mark.parametrize(
    ("country", "said"),
    [("Germany", "not a country"), ("XX", "not a country"), ("DE-XX", "not a part of DE")],
)
def test_an_unknown_country_is_refused(country: str, said: str) -> None:
    with pytest.raises(ScheduleError, match=said) as refusal:
        schedule_for(cron("0 9 * * *", skip_holidays=country), "job")
    assert refusal.value.key == "skip_holidays"


def test_without_the_holidays_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "holidays":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ScheduleError, match=r"pip install 'stsd\[holidays\]'"):
        schedule_for(cron("0 9 * * *", skip_holidays="PT"), "job")


@pytest.mark.parametrize(
    "when",
    [
        cron("0 0 29 2 *", start=date(2026, 1, 1), end=date(2027, 12, 31)),
        cron("0 0 * * mon", start=date(2026, 1, 6), end=date(2026, 1, 11)),
        cron("0 0 25 12 *", skip_holidays="DE"),
        cron("0 0 5 1 *", start=date(2026, 1, 1), end=date(2026, 2, 1),
             skip_dates=(date(2026, 1, 5),)),
        When(at=("2026-01-31 12:00",), end=date(2026, 1, 1)),
        When(at=("2026-01-31 12:00",), start=date(2026, 2, 1)),
        When(every=30 * 86400, start=date(2026, 1, 2), end=date(2026, 1, 3)),
    ],
)  # fmt: skip
def test_a_calendar_that_leaves_nothing_is_refused(when: When) -> None:
    with pytest.raises(ScheduleError, match="never fires"):
        schedule_for(when, "job")


def test_an_end_before_the_start_is_refused() -> None:
    with pytest.raises(ScheduleError, match="before the start") as refusal:
        schedule_for(cron("@daily", start=date(2026, 2, 1), end=date(2026, 1, 1)), "job")
    assert refusal.value.key == "end"


# splay


def test_splay_adds_the_same_offset_to_each_occurrence() -> None:
    when = cron("0 12 * * *", splay=600)
    plain = instant("2026-01-01T12:00")
    schedule = schedule_for(when, "job")
    due = schedule.next_after(instant("2026-01-01T00:00"))
    assert due is not None
    offset = due.at - plain
    assert 0 < offset < 600
    assert schedule.next_after(due.at) == Due(due.at + 86400, TriggerKind.CRON)
    assert schedule.next_after(due.at - 1) == due


def test_splay_spreads_the_jobs_over_the_span() -> None:
    offsets = [schedule_for(cron("@daily", splay=60), f"job{n}").splay for n in range(600)]
    assert set(offsets) == set(range(60))


def test_splay_is_the_same_in_another_process() -> None:
    code = (
        "from stsd.triggers import *; from stsd.model import When\n"
        "print(schedule_for(When(every=86400, splay=86400), 'backup').splay)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    ours = schedule_for(When(every=86400, splay=86400), "backup").splay
    assert int(done.stdout) == ours


def test_an_explanation_knows_the_splay() -> None:
    when = cron("30 2 * * *", "America/New_York", splay=600)
    schedule = schedule_for(when, "job")
    due = schedule.next_after(instant("2026-03-07T12:00", "America/New_York"))
    assert due is not None
    assert str(schedule.explain(due.at)).startswith("02:30 does not exist")


# Sharing


def test_jobs_with_the_same_schedule_share_one_object() -> None:
    when = cron("*/5 * * * *", "Europe/Berlin")
    assert schedule_for(when, "a") is schedule_for(replace(when), "b")


def test_schedules_are_equal_when_they_mean_the_same() -> None:
    def built(*expressions: str, **more: Any) -> Schedule:
        return schedule_for(When(cron=expressions, **more), "job")

    assert built("0 0 * * *") == built("@daily") == built("0 0 0 * * *")
    assert hash(built("0 0 * * *")) == hash(built("@daily"))
    assert built("0 1 * * *", "0 2 * * *") == built("0 2 * * *", "0 1 * * *", "0 1 * * *")
    assert built("0 0 * * mon-fri") == built("0 0 * * 1,2,3,4,5")
    assert built("0 0 * * *") != built("0 0 * * *", timezone="Asia/Tokyo")
    assert built("0 0 * * *") != built("0 0 * * *", gap=Gap.SKIP)
    assert built("0 0-23 * * *") != built("0 * * * *")
    assert built() == schedule_for(When(on_start=True), "job")
    assert schedule_for(When(every=60, anchor=60), "x") == schedule_for(When(every=60), "x")


# Long spans


def test_a_year_of_minutes_is_counted_without_walking_through_it() -> None:
    schedule = schedule_for(cron("* * * * *", "Europe/Berlin"), "job")
    begin = instant("2026-01-01T00:00", "Europe/Berlin")
    until = instant("2027-01-01T00:00", "Europe/Berlin")
    before = time.process_time()
    assert schedule.count(begin, until) == 365 * 1440
    assert schedule.last(begin, until) == Due(until, TriggerKind.CRON)
    assert time.process_time() - before < 0.1


def test_there_is_no_last_one_where_there_is_none() -> None:
    schedule = schedule_for(cron("0 12 * * *"), "job")
    noon = instant("2026-01-01T12:00")
    assert schedule.last(noon, noon + 86399) is None
    assert schedule.last(noon - 1, noon) == Due(noon, TriggerKind.CRON)
    assert schedule.count(noon, noon + 86400) == 1
    assert schedule.count(noon, noon - 1) == 0


# Macros


def test_reboot_is_on_start_and_every_is_every() -> None:
    assert expand(When(cron=("@reboot",))) == When(on_start=True)
    assert expand(When(cron=("@every 1h30m", "0 0 * * *"))) == When(cron=("0 0 * * *",), every=5400)
    assert expand(When(cron=("0 0 * * *",))) == When(cron=("0 0 * * *",))
    assert schedule_for(When(cron=("@every 5m",)), "a") == schedule_for(When(every=300), "a")


@pytest.mark.parametrize(
    "text", ["@every", "@every 0s", "@every -5m", "@every 500ms", "@every 1.5s", "@every x"]
)
def test_an_impossible_period_is_refused(text: str) -> None:
    with pytest.raises(ScheduleError) as refusal:
        schedule_for(When(cron=(text,)), "job")
    assert refusal.value.key == "cron"


def test_two_periods_are_refused() -> None:
    with pytest.raises(ScheduleError, match="one period"):
        schedule_for(When(cron=("@every 5m",), every=60), "job")


def test_holidays_are_imported_only_where_a_job_asks_for_them() -> None:
    code = (
        "import sys; from stsd.triggers import *; from stsd.model import When\n"
        "schedule_for(When(every=5, cron=('*/5 * * * *',)), 'a').next_after(0)\n"
        "print('holidays' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout.strip() == "False"


# The page for users


def page_rows() -> list[list[str]]:
    """The table of daylight saving as docs/time.md shows it."""
    page = Path(__file__).parent.parent / "docs" / "time.md"
    rows = [line.strip("| ").split(" | ") for line in page.read_text("utf-8").splitlines()]
    return [row for row in rows if len(row) == 4 and "T" in row[2] and row[0].startswith("`")]


def test_the_table_of_the_users_page_is_true() -> None:
    rows = page_rows()
    assert len(rows) == 9
    for expression, zone_name, start, expected in rows:
        times = [datetime.fromisoformat(each).isoformat() for each in expected.split(", ")]
        assert following(cron(expression.strip("`"), zone_name), start, len(times)) == times
