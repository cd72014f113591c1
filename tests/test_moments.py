"""Times as a person types them."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from stsd.cli.moments import parse_instant, parse_moment
from stsd.errors import UsageError

NOW = datetime(2026, 11, 21, 15, 0, 30, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "begin", "lasts_s"),
    [
        ("2026-11-21", "2026-11-20T23:00:00", 86400),
        ("2026-11-20", "2026-11-19T23:00:00", 86400),
        ("yesterday", "2026-11-19T23:00:00", 86400),
        ("tomorrow", "2026-11-21T23:00:00", 86400),
        ("2026-10-25", "2026-10-24T22:00:00", 90000),
        ("02:30", "2026-11-21T01:30:00", 60),
        ("02:30:15", "2026-11-21T01:30:15", 1),
        ("yesterday 14:00", "2026-11-20T13:00:00", 60),
        ("2026-11-21T02:30", "2026-11-21T01:30:00", 60),
        ("2026-11-21 02:30", "2026-11-21T01:30:00", 60),
        ("2026-11-21T02:30:15", "2026-11-21T01:30:15", 1),
        ("2026-11-21T02:30Z", "2026-11-21T02:30:00", 60),
        ("2026-11-21T02:30-05:00", "2026-11-21T07:30:00", 60),
        ("02:30 America/New_York", "2026-11-21T07:30:00", 60),
        ("02:30 UTC", "2026-11-21T02:30:00", 60),
        ("2026-03-08 America/New_York", "2026-03-08T05:00:00", 82800),
        ("now", "2026-11-21T15:00:30", 1),
        ("2h", "2026-11-21T13:00:30", 60),
        ("2h ago", "2026-11-21T13:00:30", 60),
        ("15s ago", "2026-11-21T15:00:15", 15),
        ("in 1h 30m", "2026-11-21T16:30:30", 60),
    ],
)
def test_a_time_lasts_as_long_as_it_was_written_exactly(
    text: str, begin: str, lasts_s: int
) -> None:
    moment = parse_moment(text, NOW, "Europe/Berlin")
    assert datetime.fromtimestamp(moment.begin, UTC).isoformat()[:19] == begin
    assert moment.end - moment.begin == lasts_s


def test_a_minute_that_the_clock_skips_is_a_minute_all_the_same() -> None:
    moment = parse_moment("2026-03-08 02:59 America/New_York", NOW)
    assert moment.end - moment.begin == 60


def test_the_machines_zone_is_that_of_a_time_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert parse_instant("2026-11-21T09:00", NOW) == parse_instant("2026-11-21T00:00Z", NOW)
        assert parse_instant("09:00", NOW) == parse_instant("2026-11-22T00:00Z", NOW)
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    "text", ["", " ", "soonish", "25:00", "yesterday noon", "in", "ago", "2026-02-30", "9999-12-31"]
)
def test_what_is_no_time_is_refused_with_what_would_be_one(text: str) -> None:
    with pytest.raises(UsageError, match=r"not a time \(write 2026-11-21"):
        parse_moment(text, NOW, "UTC")


def test_a_zone_that_does_not_exist_is_named() -> None:
    with pytest.raises(UsageError, match=r"did you mean Europe/Berlin\?"):
        parse_moment("02:30 Europe/Berln", NOW)
