"""Whole years with hard changes of the clock, as `stsd next` prints them, against the oracle."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.oracle import Oracle
from tests.support import STSD, clean_environment

pytestmark = pytest.mark.slow

YEARS = {
    "Pacific/Apia": 2011,  # daylight saving twice, and no 30 December at all
    "America/Sao_Paulo": 2018,  # midnight itself is skipped and repeated
    "Australia/Lord_Howe": 2026,  # the clock moves by half an hour
}
EVERYWHERE = ["0 0 * * *", "0 * * * *", "20 0-23 * * *", "*/30 23,0-4 * * *"]
# Times in the gaps and folds of each zone, fixed and wildcard.
THERE = {
    "Pacific/Apia": ["30 3 * * *", "*/20 3 * * *", "0 9 30 * *", "0 12 * * fri"],
    "America/Sao_Paulo": ["0,30 0 * * *", "10 * * * sat,sun", "0 0 4 11 *", "30 23 17 2 *"],
    "Australia/Lord_Howe": ["15 2 * * *", "45 1 * * *", "0 */2 * * *", "*/10 2 * * *"],
}
# `at`, and the expression that the oracle knows it by.
AT = {
    "sunday 02:15": "15 2 * * sun",
    "sat-mon 0:30": "30 0 * * sat-mon",
    "mon-fri 09:00": "0 9 * * mon-fri",
}


def cases() -> list[Any]:
    drawn = []
    for zone in YEARS:
        asked = [("--cron", text, text) for text in (*EVERYWHERE, *THERE[zone])]
        asked += [("--at", text, same) for text, same in AT.items()]
        for option, text, same in asked:
            group = pytest.mark.xdist_group(zone)
            drawn.append(pytest.param(zone, option, text, same, marks=group, id=f"{zone} {text}"))
    return drawn


def printed(zone: str, option: str, text: str, first: date, last: date) -> list[str]:
    """The occurrences from midnight UTC of one day to that of another, by the command line."""
    start = int(datetime.fromisoformat(f"{first}T00:00Z").timestamp()) - 1
    words = [option, text, "--timezone", zone, "--from", f"{datetime.fromtimestamp(start, UTC)}"]
    words += ["--until", f"{last}T00:00Z", "--json"]
    done = subprocess.run(
        [*STSD, "next", *words], capture_output=True, text=True, env=clean_environment(), check=True
    )
    return [json.loads(line)["at"] for line in done.stdout.splitlines()]


def by_day(moments: list[str], year: int) -> dict[str, list[str]]:
    days = defaultdict(list)
    for moment in moments:
        if moment.startswith(str(year)):
            days[moment[:10]].append(moment)
    return days


@pytest.mark.parametrize(("zone", "option", "text", "same"), cases())
def test_every_day_of_a_hard_year_is_as_the_oracle_has_it(
    zone: str, option: str, text: str, same: str
) -> None:
    year, clock = YEARS[zone], ZoneInfo(zone)
    first, last = date(year - 1, 12, 30), date(year + 1, 1, 3)
    expected = [
        datetime.fromtimestamp(instant, clock).isoformat()
        for instant in Oracle(same).instants(zone, first, last)
    ]
    days = by_day(expected, year)
    assert days
    assert by_day(printed(zone, option, text, first, last), year) == days
