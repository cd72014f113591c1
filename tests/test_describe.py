"""Expressions in plain words."""

from __future__ import annotations

import pytest

from stsd.describe import describe, describe_at, describe_every
from stsd.errors import ScheduleError


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/7 * * * *", "every 7th minute from 0 to 56"),
        ("* * * * * *", "every second"),
        ("*/10 * * * * *", "every 10 seconds"),
        ("0 * * * *", "at minute 0 of every hour"),
        ("30 2 * * *", "at 02:30"),
        ("30 15 10 * * *", "at 10:15:30"),
        ("0 9,17 * * *", "at 09:00 and 17:00"),
        ("15,45 8-18 * * *", "at minutes 15 and 45, in hours 8 to 18"),
        ("* 2 * * *", "every minute, in hour 2"),
        ("0 9 * * mon-fri", "at 09:00 on Monday to Friday"),
        ("0 9 * * sat-sun", "at 09:00 on Saturday and Sunday"),
        ("0 9 * * mon,wed", "at 09:00 on Monday and Wednesday"),
        ("0 0 13 * fri", "at 00:00 on day 13 of the month, and also on Friday"),
        ("0 0 */2 * mon",
         "at 00:00 on every 2nd day from 1 to 31 of the month, if that is Monday"),
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 L-1 * *", "at 00:00 on the day 1 day before the last of the month"),
        ("0 0 LW * *", "at 00:00 on the last weekday of the month"),
        ("0 0 15W * *", "at 00:00 on the weekday nearest to day 15 of the month"),
        ("0 9 * * mon#1", "at 09:00 on the first Monday of the month"),
        ("0 9 * * 5L", "at 09:00 on the last Friday of the month"),
        ("0 0 1 1 *", "at 00:00 on day 1 of the month, in January"),
        ("0 0 * 6-8 *", "at 00:00 in June to August"),
        ("@weekly", "at 00:00 on Sunday"),
    ],
)  # fmt: skip
def test_an_expression_is_told_in_plain_words(expression: str, words: str) -> None:
    assert describe(expression) == words


def test_h_is_told_as_what_it_means_for_the_job() -> None:
    assert describe("H H * * *", "backup").startswith("at ")
    assert describe("H H * * *", "backup") != describe("H H * * *", "other")


def test_what_is_no_expression_is_refused() -> None:
    with pytest.raises(ScheduleError):
        describe("61 * * * *")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("10:30", "at 10:30"),
        ("10:30:15", "at 10:30:15"),
        ("sunday 10:30", "at 10:30 on Sunday"),
        ("mon-fri 9:00", "at 09:00 on Monday to Friday"),
        ("2027-01-31 12:00", "at 12:00 on 2027-01-31, once"),
    ],
)
def test_a_time_of_day_is_told_in_plain_words(text: str, words: str) -> None:
    assert describe_at(text) == words


@pytest.mark.parametrize(
    ("period", "words"), [(5, "5s"), (5400, "1h30m"), (3601, "1h1s"), (90061, "1d1h1m1s")]
)
def test_a_period_is_told_to_the_second(period: int, words: str) -> None:
    assert describe_every(period).startswith(f"every {words} of elapsed time")
