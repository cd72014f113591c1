"""Cron expressions: from their text to the wall times they name.

Five fields, or six with the seconds first, and the macros. Zones, gaps and folds are no concern
of this room.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import lru_cache

from stsd.calendar import EVERY_MONTH, LONGEST, DayRule, WallTimes
from stsd.cronfields import (
    HOUR,
    MINUTE,
    MONTH,
    MONTH_NAMES,
    SECOND,
    Token,
    cut,
    month_days,
    numbers,
    week_days,
)
from stsd.errors import ScheduleError

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LONGEST_TEXT = 1000
_LAYOUT = "minute hour day-of-month month day-of-week, with the second before them if wanted"
_HASHED = re.compile(r"(?<![a-z])h(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Expression:
    """What a cron expression says: its wall times, and whether the job is a wildcard job, which
    follows real time through changes of the clock."""

    times: WallTimes
    wildcard: bool


def parse(text: str, job_name: str) -> Expression:
    """What an expression or a macro means; `job_name` decides what `H` stands for.

    Raises ScheduleError for whatever time.md does not allow, and for a day that never comes.
    """
    return _parse(text, job_name if is_hashed(text) else "")


def is_hashed(text: str) -> bool:
    """Whether the meaning of an expression depends on the job's name."""
    return _HASHED.search(text) is not None


@lru_cache(maxsize=4096)
def _parse(text: str, job_name: str) -> Expression:
    tokens = _split(text)
    if len(tokens) == 5:
        tokens = [Token("0", 1), *tokens]
    names = [job_name if is_hashed(token.text) else "" for token in tokens]
    second, minute, hour, day_of_month, month, day_of_week = tokens
    seconds = numbers(SECOND, second, names[0])
    minutes = numbers(MINUTE, minute, names[1])
    hours = numbers(HOUR, hour, names[2])
    rule = DayRule(
        month_days=month_days(day_of_month, names[3]),
        months=_all_months(numbers(MONTH, month, names[4])),
        week_days=week_days(day_of_week, names[5]),
        both=any(token.text[0] in "*?" for token in (day_of_month, day_of_week)),
    )
    _check_days(rule, day_of_month)
    of_day = tuple(each * 60 + other for each in hours for other in minutes)
    times = WallTimes(of_day, seconds, _shared(rule))
    return Expression(times, wildcard=any(token.text[0] == "*" for token in (minute, hour)))


@lru_cache(maxsize=4096)
def _shared(rule: DayRule) -> DayRule:
    """One object for all equal rules, so that they share what they remember."""
    return rule


def _all_months(months: tuple[int, ...]) -> tuple[int, ...]:
    return EVERY_MONTH if months == EVERY_MONTH else months


def _check_days(rule: DayRule, token: Token) -> None:
    if rule.ever():
        return
    longest = max(LONGEST[month - 1] for month in rule.months)
    months = ", ".join(MONTH_NAMES[month - 1] for month in rule.months)
    if len(rule.months) < 12 and rule.month_days and not rule.week_days:
        remedy = f"the longest of these months ({months}) has {longest} days"
    else:
        remedy = "no month has a day that matches both day fields"
    raise token.error(f"`{token.text}` is a day that never comes", remedy)


def _split(text: str) -> list[Token]:
    """The fields of an expression, five or six, macros replaced."""
    _check_text(text)
    tokens = [Token(match[0], match.start() + 1) for match in re.finditer(r"[^ \t\r\n]+", text)]
    if not tokens:
        raise ScheduleError("cron", "the expression is empty", f"write {_LAYOUT}", 1)
    if tokens[0].text.startswith("@"):
        return [Token(field, tokens[0].column) for field in _macro(tokens).split()]
    if tokens[0].text.upper().startswith(("TZ=", "CRON_TZ=")):
        raise tokens[0].error("an expression has no zone", "use the key `timezone`")
    if len(tokens) == 7:
        remedy = f"write {_LAYOUT}; for certain years use the keys `start` and `end`"
        raise tokens[6].error("7 fields, of which the last would be a year", remedy)
    if len(tokens) not in (5, 6):
        count = "1 field" if len(tokens) == 1 else f"{len(tokens)} fields"
        raise tokens[-1].error(f"{count} instead of 5 or 6", f"write {_LAYOUT}")
    return tokens


def _check_text(text: str) -> None:
    if len(text) > _LONGEST_TEXT:
        message = f"an expression of {len(text)} characters"
        raise ScheduleError("cron", message, f"at most {_LONGEST_TEXT}", 1)
    strange = re.search(r"[^ \t\r\n!-~]", text)
    if strange:
        message = f"{strange[0]!a} does not belong into an expression"
        raise ScheduleError("cron", message, "write it in plain ASCII", strange.start() + 1)


def _macro(tokens: list[Token]) -> str:
    word = tokens[0]
    expression = MACROS.get(word.text.lower())
    if expression is None:
        known = [*MACROS, "@reboot", "@every"]
        close = difflib.get_close_matches(word.text.lower(), known, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        raise word.error(f"`{cut(word.text)}` is not a macro", remedy)
    if len(tokens) > 1:
        raise tokens[1].error(f"`{cut(tokens[1].text)}` after {word.text}", "leave it out")
    return expression
