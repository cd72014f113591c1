"""Quiet hours: within a day, across midnight, and on the days on which the clocks are changed."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsd.notices import Quiet
from stsd.quiet import quiet_until

HOUR = 3600
BERLIN = ZoneInfo("Europe/Berlin")
NIGHT = Quiet(22 * HOUR, 7 * HOUR)


def at(text: str, fold: int = 0) -> float:
    """A wall time in Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold).timestamp()


def until(quiet: Quiet, instant: float) -> str | None:
    """The end as Berlin's clocks show it."""
    end = quiet_until(quiet, "Europe/Berlin", instant)
    return None if end is None else datetime.fromtimestamp(end, BERLIN).isoformat()


@pytest.mark.parametrize(
    ("instant", "end"),
    [
        ("2026-11-21 11:59:59", None),
        ("2026-11-21 12:00:00", "2026-11-21T13:30:00+01:00"),
        ("2026-11-21 13:29:59.9", "2026-11-21T13:30:00+01:00"),
        ("2026-11-21 13:30:00", None),
    ],
)
def test_the_beginning_is_quiet_and_the_end_is_not(instant: str, end: str | None) -> None:
    assert until(Quiet(12 * HOUR, 13 * HOUR + 1800), at(instant)) == end


@pytest.mark.parametrize(
    ("instant", "end"),
    [
        ("2026-11-21 21:59:59.999", None),
        ("2026-11-21 22:00:00", "2026-11-22T07:00:00+01:00"),
        ("2026-11-22 00:00:00", "2026-11-22T07:00:00+01:00"),
        ("2026-11-22 06:59:59", "2026-11-22T07:00:00+01:00"),
        ("2026-11-22 07:00:00", None),
    ],
)
def test_quiet_hours_go_on_across_midnight(instant: str, end: str | None) -> None:
    assert until(NIGHT, at(instant)) == end


def test_a_night_in_which_the_clock_is_set_forward_is_an_hour_shorter() -> None:
    begin, end = at("2026-03-28 22:00"), at("2026-03-29 07:00")
    assert quiet_until(NIGHT, "Europe/Berlin", begin) == end
    assert end - begin == 8 * HOUR


def test_a_night_in_which_the_clock_is_set_back_is_an_hour_longer() -> None:
    begin, end = at("2026-10-24 22:00"), at("2026-10-25 07:00")
    assert quiet_until(NIGHT, "Europe/Berlin", begin) == end
    assert end - begin == 10 * HOUR


def test_an_end_that_the_clock_skips_is_behind_the_gap() -> None:
    quiet = Quiet(22 * HOUR, 2 * HOUR + 1800)
    assert until(quiet, at("2026-03-29 01:00")) == "2026-03-29T03:00:00+02:00"


def test_hours_that_the_clock_skips_are_no_quiet_hours() -> None:
    quiet = Quiet(2 * HOUR, 3 * HOUR)
    assert until(quiet, at("2026-03-29 01:59:59")) is None
    assert until(quiet, at("2026-03-29 03:00")) is None


def test_what_the_clock_shows_twice_is_quiet_twice() -> None:
    quiet = Quiet(22 * HOUR, 2 * HOUR + 1800)
    assert until(quiet, at("2026-10-25 01:00")) == "2026-10-25T02:30:00+02:00"
    assert until(quiet, at("2026-10-25 02:45")) is None
    assert until(quiet, at("2026-10-25 02:10", fold=1)) == "2026-10-25T02:30:00+01:00"
    assert until(quiet, at("2026-10-25 02:30", fold=1)) is None


def test_the_zone_is_the_jobs_own() -> None:
    evening = at("2026-11-21 23:00")  # 17:00 in New York
    assert quiet_until(NIGHT, "America/New_York", evening) is None
    assert quiet_until(NIGHT, "UTC", evening) == at("2026-11-22 08:00")


@given(
    st.integers(0, 86399),
    st.integers(0, 86399),
    st.floats(1.6e9, 2.2e9),
    st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/Caracas", "Asia/Kathmandu"]),
)
def test_the_end_is_the_first_second_that_is_not_quiet(
    begin: int, end: int, instant: float, zone: str
) -> None:
    quiet = Quiet(begin, (end + 1) % 86400 if begin == end else end)

    def is_quiet(moment: float) -> bool:
        wall = datetime.fromtimestamp(int(moment // 1), ZoneInfo(zone))
        of_day = wall.hour * 3600 + wall.minute * 60 + wall.second
        spans = quiet.begin <= quiet.end
        inside = (of_day >= quiet.begin, of_day < quiet.end)
        return all(inside) if spans else any(inside)

    over = quiet_until(quiet, zone, instant)
    assert (over is not None) == is_quiet(instant)
    if over is not None:
        assert not is_quiet(over)
        assert is_quiet(over - 1)
        assert instant < over <= instant + 25 * 3600
        assert all(is_quiet(instant + (over - instant) * part / 50) for part in range(50))
