"""When Debian's cron would start a job, and that others who know its rules agree."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from stsd.crontabmeaning import Change, changes, runs, times_of
from stsd.errors import ScheduleError

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC") -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp())


def walls(when: str, first: str, last: str, zone: str = "UTC") -> list[str]:
    tz = ZoneInfo(zone)
    found = runs(times_of(when), tz, at(first, zone), at(last, zone))
    return [f"{datetime.fromtimestamp(instant, tz):%d %H:%M%z}" for instant in found]


def days(when: str, month: str = "2026-01") -> list[int]:
    year, number = map(int, month.split("-"))
    begin = int(datetime(year, number, 1, tzinfo=UTC).timestamp())
    found = runs(times_of(when), ZoneInfo("UTC"), begin, begin + 31 * 86400)
    return [datetime.fromtimestamp(instant, UTC).day for instant in found]


# -- the fields


def test_either_day_field_is_enough_when_neither_has_a_star() -> None:
    assert days("0 0 13 * fri") == [2, 9, 13, 16, 23, 30]


def test_a_field_that_begins_with_a_star_has_to_match_too() -> None:
    assert days("0 0 */10 * mon") == []
    assert days("0 0 */2 * mon") == [5, 19]
    assert days("0 0 1-31/2 * mon") == sorted({*range(1, 32, 2), 5, 12, 19, 26})
    assert days("0 0 1,2 * *") == [1, 2]


def test_seven_is_sunday_and_so_is_zero() -> None:
    assert days("0 0 * * 7") == days("0 0 * * 0") == days("0 0 * * Sun") == [4, 11, 18, 25]
    assert days("0 0 * * 5-7") == [2, 3, 4, 9, 10, 11, 16, 17, 18, 23, 24, 25, 30, 31]


def test_names_and_steps_are_read() -> None:
    assert days("0 0 1 JAN-mar/2 *") == [1]
    assert days("0 0 1 feb *") == []
    assert len(days("7-20/6 1,2 1 * *")) == 6


@pytest.mark.parametrize(
    ("nickname", "fields"),
    [("@yearly", "0 0 1 1 *"), ("@weekly", "0 0 * * 0"), ("@hourly", "0 * * * *")],
)
def test_a_nickname_means_its_fields(nickname: str, fields: str) -> None:
    assert times_of(nickname) == times_of(fields)


def test_a_day_that_never_comes_is_known() -> None:
    assert times_of("0 0 30 2 *").never
    assert times_of("0 0 31 4,6 *").never
    assert not times_of("0 0 29 2 *").never
    assert not times_of("0 0 30 2 mon").never


@pytest.mark.parametrize("when", ["5/2 * * * *", "9-5 * * * *", "H * * * *", "? * * * *", "@soon"])
def test_what_cron_refuses_is_refused(when: str) -> None:
    with pytest.raises(ScheduleError):
        times_of(when)


# -- changes of the clocks


def test_changes_are_found_to_the_minute() -> None:
    begin, end = at("2026-01-01"), at("2027-01-01")
    spring, autumn = at("2026-03-29T01:00"), at("2026-10-25T01:00")
    assert changes(ZoneInfo(BERLIN), begin, end) == [Change(spring, 60), Change(autumn, -60)]
    lord_howe = changes(ZoneInfo("Australia/Lord_Howe"), begin, end)
    assert [change.minutes for change in lord_howe] == [-30, 30]


def test_a_skipped_fixed_time_is_made_up_for_after_the_gap() -> None:
    assert walls("30 2 * * *", "2026-03-29", "2026-03-30", BERLIN) == ["29 03:00+0200"]


def test_two_skipped_times_are_two_starts() -> None:
    assert walls("0,30 2 * * *", "2026-03-29", "2026-03-30", BERLIN) == ["29 03:00+0200"] * 2
    assert walls("0 2,3 * * *", "2026-03-29", "2026-03-30", BERLIN) == ["29 03:00+0200"] * 2


def test_a_skipped_wildcard_time_is_gone() -> None:
    assert walls("*/10 2 * * *", "2026-03-29", "2026-03-30", BERLIN) == []
    hourly = walls("0 * * * *", "2026-03-29", "2026-03-29T05:00", BERLIN)
    assert hourly == ["29 00:00+0100", "29 01:00+0100", "29 03:00+0200", "29 04:00+0200"]


def test_a_repeated_fixed_time_runs_at_its_first_pass() -> None:
    assert walls("30 2 * * *", "2026-10-25", "2026-10-26", BERLIN) == ["25 02:30+0200"]


def test_a_repeated_wildcard_time_runs_at_both() -> None:
    found = walls("30 */2 * * *", "2026-10-25", "2026-10-25T04:00", BERLIN)
    assert found == ["25 00:30+0200", "25 02:30+0200", "25 02:30+0100"]


def test_a_shift_by_a_day_is_a_correction_and_skips() -> None:
    found = walls("0 9 * * *", "2011-12-29", "2011-12-31T10:00", "Pacific/Apia")
    assert found == ["29 09:00-1000", "31 09:00+1400"]


# -- another opinion


def random_field(dice: random.Random, low: int, high: int) -> str:
    if dice.random() < 0.5:
        return dice.choice(["*", f"*/{dice.randint(1, 9)}"])
    items = []
    for _ in range(dice.randint(1, 3)):
        first = dice.randint(low, high - 1)
        last = dice.randint(first + 1, high)
        items.append(dice.choice([str(first), f"{first}-{last}", f"{first}-{last}/3"]))
    return ",".join(items)


@pytest.mark.slow
def test_cronsim_agrees_where_the_clocks_do_not_change() -> None:
    dice = random.Random(7)
    zone = ZoneInfo("Asia/Kolkata")
    begin = at("2026-01-01", "Asia/Kolkata")
    compared = 0
    for _ in range(60):
        ranges = [(0, 59), (0, 23), (1, 28), (1, 12), (0, 6)]
        when = " ".join(random_field(dice, low, high) for low, high in ranges)
        theirs = []
        for moment in CronSim(when, datetime.fromtimestamp(begin - 1, zone)):
            theirs.append(int(moment.timestamp()))
            if len(theirs) == 100:
                break
        ours = runs(times_of(when), zone, begin, theirs[-1] + 60)
        assert ours == theirs, when
        compared += len(ours)
    assert compared == 6000
