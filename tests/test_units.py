"""Durations, sizes and instants: what is read, what is refused, what a reader sees."""

from __future__ import annotations

from datetime import date

import pytest

from stsd.errors import UnitError
from stsd.units import escaped, format_duration, parse_duration, parse_size, rfc3339, shown


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172_800), ("1w", 604_800), ("250ms", 0.25)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


def test_a_number_is_seconds() -> None:
    assert (parse_duration(90), parse_duration(0.5)) == (90.0, 0.5)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "5",
        "m",
        "1m1h",
        "-1s",
        "\u0661s",
        "1e3s",
        0,
        -1,
        float("nan"),
        float("inf"),
        10**400,
        True,
    ],
)
def test_what_is_no_duration_is_refused_with_what_would_be_right(value: object) -> None:
    with pytest.raises(UnitError) as raised:
        parse_duration(value)
    assert raised.value.remedy.startswith("write a duration such as")


@pytest.mark.parametrize(
    ("value", "size"), [("512M", 512 << 20), ("1.5GiB", 3 << 29), ("7", 7), (7, 7)]
)
def test_a_size_is_read_in_bytes(value: object, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["", "M", "-1", 0, 1 << 61, 1.5, True, "1X"])
def test_what_is_no_size_is_refused(value: object) -> None:
    with pytest.raises(UnitError):
        parse_size(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.21, "3.21s"), (59.99, "1m"), (300, "5m"), (5400, "1h30m"), (187_200, "2d4h")],
)
def test_a_duration_is_told_in_two_units_at_most(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_an_instant_is_told_in_utc() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"
    assert rfc3339(0.9996) == "1970-01-01T00:00:01.000Z"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (True, "true"),
        ("a\x1b[31m\n", '"a\\x1b[31m\\n"'),
        ({"a": 1}, "a table"),
        ([1], "an array"),
        (date(2026, 11, 21), "2026-11-21"),
        (10**100, "a number of more than sixty digits"),
        (0.5, "0.5"),
    ],
)
def test_a_value_is_shown_as_a_jobfile_has_it(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_long_value_is_cut() -> None:
    assert len(shown("x" * 10_000)) == 60


def test_what_a_terminal_would_obey_is_escaped() -> None:
    assert escaped("ä\u202e\x9b") == "ä\\u202e\\x9b"
