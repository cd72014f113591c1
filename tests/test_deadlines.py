"""Deadlines, against a day-by-day reckoning that shares nothing with the room."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsd.deadlines import Held, next_deadline, unmet
from stsd.model import Job, ShellTask, When

DAY = 86400
BEGIN = date(2026, 1, 1)
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Havana", "UTC")


def a_job(deadline: int | None, when: When) -> Job:
    return Job("a", ShellTask("true"), when, deadline=deadline)


def on_the_clock(day: date, second: int, zone: str) -> int:
    """The instant of a time of day: at its first pass, or where the gap ends that it falls into,
    found second by second."""
    where = ZoneInfo(zone)
    wall = datetime.combine(day, time()) + timedelta(seconds=second)
    guess = int(wall.replace(tzinfo=where).astimezone(UTC).timestamp())
    if datetime.fromtimestamp(guess, where).replace(tzinfo=None) == wall:
        return guess
    instant = guess - 4 * 3600
    while datetime.fromtimestamp(instant, where).replace(tzinfo=None) < wall:
        instant += 60
    return instant


def reckoned(
    deadline: int, due: int, weekdays: set[int], zone: str, held: Held, until: int
) -> int | None:
    """The last unmet one, of a job that is due at second `due` on these days of the week."""
    found, before = None, on_the_clock(BEGIN - timedelta(1), deadline, zone)
    for number in range(500):
        day = BEGIN + timedelta(number)
        at = on_the_clock(day, deadline, zone)
        days = (day - timedelta(1), day)
        dues = [on_the_clock(each, due, zone) for each in days if each.isoweekday() % 7 in weekdays]
        asked = any(before <= each < at and each > held.watched for each in dues)
        if held.judged < at <= until and asked:
            met = held.success is not None and held.success > before
            found = None if met else at
        before = at
    return found


@pytest.mark.slow
@given(
    deadline=st.integers(0, 95).map(lambda quarter: quarter * 900),
    due=st.integers(0, 95).map(lambda quarter: quarter * 900),
    weekdays=st.sets(st.integers(0, 6), min_size=1),
    zone=st.sampled_from(ZONES),
    watched=st.integers(0, 300 * DAY),
    judged=st.integers(0, 300 * DAY),
    span=st.integers(0, 40 * DAY),
    success=st.none() | st.integers(0, 340 * DAY),
)
def test_the_last_unmet_deadline_is_that_of_a_reckoning_day_by_day(
    deadline: int,
    due: int,
    weekdays: set[int],
    zone: str,
    watched: int,
    judged: int,
    span: int,
    success: int | None,
) -> None:
    epoch = int(datetime.combine(BEGIN, time(), UTC).timestamp()) + DAY
    until = epoch + judged + span
    last = None if success is None else float(min(epoch + success, until))
    held = Held(last, float(epoch + watched), float(epoch + judged))
    names = ",".join(str(day) for day in sorted(weekdays))
    when = When(cron=(f"{due // 60 % 60} {due // 3600} * * {names}",), timezone=zone)
    found = unmet(a_job(deadline, when), held, until)
    assert found == reckoned(deadline, due, weekdays, zone, held, until)


@pytest.mark.parametrize(
    ("zone", "second", "after", "at"),
    [
        ("Europe/Berlin", 9000, "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"),
        ("Europe/Berlin", 9000, "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
        ("Europe/Berlin", 9000, "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
        ("Europe/Berlin", 21630, "2026-07-01T04:00:30Z", "2026-07-02T04:00:30Z"),
        ("Australia/Lord_Howe", 7200, "2026-10-03T12:00:00Z", "2026-10-03T15:30:00Z"),
        ("Pacific/Apia", 32400, "2011-12-29T19:00:00Z", "2011-12-30T19:00:00Z"),
    ],
)
def test_a_deadline_is_on_the_clock_of_the_job(zone: str, second: int, after: str, at: str) -> None:
    job = a_job(second, When(timezone=zone))
    instant = datetime.fromisoformat(after).timestamp()
    assert next_deadline(job, instant) == datetime.fromisoformat(at).timestamp()


def test_a_job_without_a_deadline_meets_it() -> None:
    job = a_job(None, When())
    assert next_deadline(job, 0.0) is None
    assert unmet(job, Held(None, 0.0, 0.0), 10**9) is None


def test_a_success_at_one_deadline_is_in_time_for_that_one_alone() -> None:
    job = a_job(21600, When(cron=("0 2 * * *",), timezone="UTC"))
    begin = 1_800_000_000 // DAY * DAY
    held = Held(begin + 21600.0, float(begin), begin + 21600.0)
    assert unmet(job, held, begin + DAY + 21600) == begin + DAY + 21600
