"""Schedules on their way into the history and back."""

from __future__ import annotations

import json
from datetime import date

import pytest

from stsd.model import Fold, Gap, When
from stsd.plan import plan_of, when_of

FULL = When(
    cron=("0 9 * * MON", "H 3 * * *"),
    every=300,
    at=("10:30", "sunday 18:00"),
    on_start=True,
    timezone="America/Sao_Paulo",
    anchor=-7,
    splay=60,
    start=date(2026, 1, 1),
    end=date(2027, 12, 31),
    skip_dates=(date(2026, 12, 24), date(2026, 12, 31)),
    skip_holidays="DE-BE",
    gap=Gap.SKIP,
    fold=Fold.BOTH,
)


@pytest.mark.parametrize("when", [When(), When(every=5), FULL])
def test_a_schedule_survives_the_way_through_json(when: When) -> None:
    assert when_of(json.loads(json.dumps(plan_of(when)))) == when


def test_only_what_was_said_is_written() -> None:
    assert plan_of(When(cron=("@daily",), timezone="Europe/Berlin")) == {
        "cron": ["@daily"],
        "timezone": "Europe/Berlin",
    }


@pytest.mark.parametrize("plan", [{"cron": 5}, {"start": "yesterday"}, {"color": "red"}])
def test_what_is_no_schedule_is_refused(plan: dict[str, object]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        when_of(plan)
