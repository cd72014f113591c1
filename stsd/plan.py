"""Schedules as they stand in the history: a `When` as a JSON object, and back.

Only what differs from a bare `When` is written, so that an object says what the jobfile said and
stays readable when keys are added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import date
from functools import lru_cache
from typing import Any

from stsd.model import After, Fold, Gap, Outcome, When

Plan = dict[str, Any]

_BARE = When()
_NAMES = tuple(field.name for field in fields(When))


# As many as are remembered; a daemon asks for those of all its jobs at its start.
@lru_cache(maxsize=1024)
def plan_of(when: When) -> Plan:
    """The JSON object of a schedule, not to be changed: equal schedules may share it."""
    plan: Plan = {}
    for name in _NAMES:
        value = getattr(when, name)
        if value != getattr(_BARE, name):
            plan[name] = _plain(value)
    return plan


def when_of(plan: Mapping[str, Any]) -> When:
    """The schedule of a JSON object that `plan_of` made.

    Raises KeyError, TypeError or ValueError for anything else.
    """
    unknown = plan.keys() - set(_NAMES)
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    return When(**{name: _value(name, plain) for name, plain in plan.items()})


def after_of(plan: Mapping[str, Any]) -> tuple[After, ...]:
    """The part of it that tells which jobs it follows. Raises as `when_of`."""
    return tuple(
        After(other["job"], frozenset(map(Outcome, other["outcomes"])))
        for other in plan.get("after", ())
    )


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, After):
        return {"job": value.job, "outcomes": sorted(value.outcomes)}
    return value.isoformat() if isinstance(value, date) else value


def _value(name: str, plain: Any) -> Any:
    match name:
        case "cron" | "at":
            return tuple(plain)
        case "after":
            return after_of({name: plain})
        case "start" | "end":
            return date.fromisoformat(plain)
        case "skip_dates":
            return tuple(date.fromisoformat(day) for day in plain)
        case "gap":
            return Gap(plain)
        case "fold":
            return Fold(plain)
        case _:
            return plain
