"""Cron expressions: what they name, and how they are refused."""

from __future__ import annotations

import random
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from stsd.cron import MACROS, is_hashed, parse
from stsd.errors import ScheduleError
from stsd.model import When
from stsd.triggers import schedule_for
from tests.cron_table import NEXT, REFUSED


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def following(expression: str, start: str, count: int, job: str = "job") -> list[str]:
    schedule = schedule_for(When(cron=(expression,)), job)
    found, moment = [], instant(start)
    for _ in range(count):
        due = schedule.next_after(moment)
        assert due is not None
        moment = due.at
        found.append(f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d %H:%M:%S}")
    return found


@pytest.mark.parametrize(("expression", "start", "expected"), NEXT)
def test_the_next_ones_are_those_of_the_table(
    expression: str, start: str, expected: list[str]
) -> None:
    assert following(expression, start, len(expected)) == expected


@pytest.mark.parametrize(("expression", "column", "message", "remedy"), REFUSED)
def test_a_refusal_names_the_place_and_what_would_be_right(
    expression: str, column: int, message: str, remedy: str
) -> None:
    with pytest.raises(ScheduleError) as refusal:
        parse(expression, "job")
    error = refusal.value
    assert (error.key, error.column) == ("cron", column)
    assert message in error.message
    assert remedy in error.remedy
    assert len(str(error)) < 400


@pytest.mark.parametrize("expression", ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 L-30 2,4 *"])
def test_a_day_that_never_comes_is_found_without_searching(expression: str) -> None:
    code = f"from stsd.cron import parse\nparse({expression!r}, 'job')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=10, check=False
    )
    assert "never comes" in done.stderr


def test_five_fields_are_six_with_second_nought() -> None:
    assert parse("5 4 * * *", "").times == parse("0 5 4 * * *", "").times


@pytest.mark.parametrize("macro", MACROS)
def test_a_macro_means_its_expression(macro: str) -> None:
    assert parse(macro, "") == parse(MACROS[macro], "")


@pytest.mark.parametrize(
    ("expression", "wildcard"),
    [
        ("* * * * *", True),
        ("*/10 2 * * *", True),
        ("0 * * * *", True),
        ("0 */2 * * *", True),
        ("*,5 3 * * *", True),
        ("0 0-23 * * *", False),
        ("0-59 0-23 * * *", False),
        ("* 5 4 * * *", False),  # the seconds have no part in it
        ("5 4 * * *", False),
        ("H H * * *", False),
        ("H * * * *", True),
    ],
)
def test_a_wildcard_job_is_told_by_its_minute_and_hour(expression: str, wildcard: bool) -> None:
    assert parse(expression, "job").wildcard is wildcard


def test_h_stays_the_same_for_a_name_and_differs_between_names() -> None:
    first = [parse("H H * * *", f"job{n}").times.minutes[0] for n in range(200)]
    again = [parse("H H * * *", f"job{n}").times.minutes[0] for n in range(200)]
    assert first == again
    assert len(set(first)) > 150
    assert len({minute // 60 for minute in first}) == 24


def test_the_value_of_h_is_part_of_the_contract() -> None:
    assert following("H H * * *", "2026-01-01 00:00:00", 1, job="backup") == ["2026-01-01 08:34:00"]


def test_h_keeps_to_its_range() -> None:
    for number in range(100):
        times = parse("H(10-12) H(0-5) H(1-3) H(6-7) *", f"job{number}").times
        hour, minute = divmod(times.minutes[0], 60)
        assert len(times.minutes) == 1
        assert 10 <= minute <= 12
        assert 0 <= hour <= 5


def test_h_with_a_step_is_a_grid_with_a_start_of_its_own() -> None:
    starts = set()
    for number in range(100):
        minutes = [each % 60 for each in parse("H/15 * * * *", f"job{number}").times.minutes[:4]]
        assert minutes == list(range(minutes[0], 60, 15))
        starts.add(minutes[0])
    assert len(starts) == 15


def test_h_with_a_range_and_a_step_stays_in_the_range() -> None:
    for number in range(100):
        minutes = {each % 60 for each in parse("H(0-29)/10 * * * *", f"job{number}").times.minutes}
        assert len(minutes) == 3
        assert max(minutes) <= 29


def test_h_as_day_of_month_is_a_day_that_every_month_has() -> None:
    days = set()
    for number in range(300):
        days.add(following("0 0 H * *", "2026-02-01 00:00:00", 1, job=f"job{number}")[0][:7])
    assert days <= {"2026-02", "2026-03"}
    assert "2026-02" in days


def test_only_a_lone_h_makes_an_expression_personal() -> None:
    assert is_hashed("h 0 * * *")
    assert is_hashed("0 H(1-3)/2 * * *")
    assert not is_hashed("0 0 * mar thu")
    assert not is_hashed("@hourly")
    assert not is_hashed("@monthly")


def test_an_expression_of_a_thousand_characters_is_read() -> None:
    text = ",".join(["5"] * 490) + " * * * *"
    assert following(text, "2026-01-01 00:00:00", 1) == ["2026-01-01 00:05:00"]


@pytest.mark.parametrize(
    ("expression", "start", "expected"),
    [
        ("5-5 * * * *", "2026-01-01 00:00:00", "2026-01-01 00:05:00"),
        ("0 0 * * 5L", "2026-01-01 00:00:00", "2026-01-30 00:00:00"),
        ("0 0 LW * *", "2026-01-01 00:00:00", "2026-01-30 00:00:00"),
        ("0 0 L-2 * *", "2026-01-01 00:00:00", "2026-01-29 00:00:00"),
        ("0 0 */2 * MON", "2026-01-01 00:00:00", "2026-01-05 00:00:00"),
        ("0 0 2 * 2-2", "2026-01-03 00:00:00", "2026-01-06 00:00:00"),
    ],
)
def test_no_fault_of_croniter_comes_through(expression: str, start: str, expected: str) -> None:
    assert following(expression, start, 1) == [expected]


def plain_expression(draw: random.Random) -> str:
    """Of the forms in which croniter has the same rule: lists of two or more values, steps of
    more than one value, one restricted day field."""

    def some(first: int, last: int) -> str:
        count = draw.randint(2, 5)
        return ",".join(map(str, sorted(draw.sample(range(first, last + 1), count))))

    minute = draw.choice(["*", "*/7", some(0, 59)])
    hour = draw.choice(["*", "*/5", some(0, 23)])
    month = draw.choice(["*", some(1, 12)])
    days = draw.choice([("*", "*"), (some(1, 28), "*"), ("*", some(0, 6)), ("*", "mon-fri")])
    return f"{minute} {hour} {days[0]} {month} {days[1]}"


def test_croniter_agrees_where_the_rules_are_the_same() -> None:
    draw = random.Random(5)
    for _ in range(300):
        expression = plain_expression(draw)
        seconds = draw.randrange(86400 * 365)
        start = datetime.fromisoformat("2026-01-01") + timedelta(seconds=seconds)
        theirs = croniter(expression, start)
        expected = [f"{theirs.get_next(datetime):%Y-%m-%d %H:%M:%S}" for _ in range(10)]
        assert following(expression, f"{start:%Y-%m-%d %H:%M:%S}", 10) == expected, expression


ODD = st.text(alphabet="0123456789*/-,?LW#HhF() @\t\n\x00_+.jansunmo\u0665\u00e9", max_size=40)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, derandomize=True)
@given(st.one_of(ODD, st.lists(ODD, min_size=5, max_size=6).map(" ".join), st.text()))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    refusal = None
    try:
        assert parse(text, "job").times.next_from(0) is not None
    except ScheduleError as error:
        refusal = error
    if refusal is not None:
        assert refusal.key == "cron"
        assert refusal.column is not None
        assert 1 <= refusal.column <= len(text) + 1
