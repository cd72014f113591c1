"""The fields of a cron expression: from the text of each to the values it names.

Values, lists, ranges, steps, names, `H`, and the special days `L`, `LW`, `15W`, `mon#1` and
`5L`. Whatever is wrong is told with the field and the column.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from stsd.calendar import MonthDays, WeekDays
from stsd.errors import ScheduleError

MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ITEM = re.compile(
    r"(?P<star>[*?])|(?P<hash>[hH])(?:\((?P<from>[^()]*)-(?P<to>[^()]*)\))?"
    r"|(?P<low>[^-#/()]+)(?:-(?P<high>[^-#/()]+))?"
)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the grammar: its name, its values, and their names where they have any."""

    name: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    wraps: bool = False

    @property
    def article(self) -> str:
        """The name as in "not an hour"."""
        return f"an {self.name}" if self.name == "hour" else f"a {self.name}"

    @property
    def remedy(self) -> str:
        """The values of the field, for a reader."""
        if not self.names:
            return f"{self.first}-{self.last}"
        last = 7 if self is DAY_OF_WEEK else self.last
        return f"{self.first}-{last} or {self.names[0]}-{self.names[-1]}"


SECOND = Field("second", 0, 59)
MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY_OF_MONTH = Field("day of month", 1, 31)
MONTH = Field("month", 1, 12, MONTH_NAMES, wraps=True)
DAY_OF_WEEK = Field("day of week", 0, 6, WEEKDAY_NAMES, wraps=True)
FIELDS = (SECOND, MINUTE, HOUR, DAY_OF_MONTH, MONTH, DAY_OF_WEEK)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of an expression and its 1-based column."""

    text: str
    column: int

    def part(self, begin: int, end: int | None = None) -> Token:
        """The piece of this piece from `begin` to `end`."""
        return Token(self.text[begin:end], self.column + begin)

    def error(self, message: str, remedy: str) -> ScheduleError:
        """A fault of the expression that stands here."""
        return ScheduleError("cron", message, remedy, self.column)


@lru_cache(maxsize=8192)
def numbers(what: Field, token: Token, job_name: str) -> tuple[int, ...]:
    """The values of a field that has numbers only."""
    return _Reading(what, token, job_name).numbers()


@lru_cache(maxsize=8192)
def month_days(token: Token, job_name: str) -> MonthDays | None:
    """What a day-of-month field names; None for any day."""
    return _Reading(DAY_OF_MONTH, token, job_name).month_days()


@lru_cache(maxsize=8192)
def week_days(token: Token, job_name: str) -> WeekDays | None:
    """What a day-of-week field names; None for any day."""
    return _Reading(DAY_OF_WEEK, token, job_name).week_days()


class _Reading:
    """The reading of one field for one job."""

    def __init__(self, what: Field, token: Token, job_name: str) -> None:
        self.what = what
        self.token = token
        self.job_name = job_name

    def numbers(self) -> tuple[int, ...]:
        """The values of a field that has numbers only."""
        return _sorted(number for item in self._items() for number in self._values(item))

    def month_days(self) -> MonthDays | None:
        """The day-of-month field; None for any day."""
        numbers: set[int] = set()
        before_last: set[int] = set()
        nearest: set[int] = set()
        last_weekday = False
        for item in self._items():
            text = item.text.upper()
            if text == "LW":
                last_weekday = True
            elif text == "L" or text.startswith("L-"):
                before_last.add(self._back(item))
            elif text.endswith("W"):
                nearest.add(self._number(item.part(0, -1)))
            else:
                numbers.update(self._values(item))
        if len(numbers) == 31 and self.token.text[0] in "*?":
            return None
        return MonthDays(_sorted(numbers), _sorted(before_last), _sorted(nearest), last_weekday)

    def week_days(self) -> WeekDays | None:
        """The day-of-week field; None for any day."""
        numbers: set[int] = set()
        nth: set[tuple[int, int]] = set()
        last: set[int] = set()
        for item in self._items():
            name, mark, which = item.text.partition("#")
            if mark:
                number = self._number(item.part(0, len(name))) % 7
                nth.add((number, self._which(item.part(len(name) + 1), which)))
            elif item.text.upper().endswith("L"):
                last.add(self._last(item))
            else:
                numbers.update(number % 7 for number in self._values(item))
        if len(numbers) == 7 and self.token.text[0] in "*?":
            return None
        return WeekDays(_sorted(numbers), tuple(sorted(nth)), _sorted(last))

    def _items(self) -> Iterable[Token]:
        column = 0
        for text in self.token.text.split(","):
            item = self.token.part(column, column + len(text))
            if not text:
                raise item.error(
                    f"an empty item in the {self.what.name} field", "leave the comma out"
                )
            yield item
            column += len(text) + 1

    def _values(self, item: Token) -> Iterable[int]:
        """The values of `*`, `a`, `a-b`, `H` and `H(a-b)`, with or without a step."""
        body, slash, _ = item.text.partition("/")
        step = self._step(item.part(len(body) + 1)) if slash else 0
        match = _ITEM.fullmatch(body)
        if match is None:
            raise self._not_a_value(item)
        if match["star"]:
            return self._star(item, step or 1)
        if match["hash"]:
            return self._hash(item, match, step)
        low = self._number(item.part(*match.span("low")))
        if match["high"] is not None:
            return self._range(item.part(0, len(body)), match, low, step or 1)
        if not slash:
            return (low,)
        return range(low, self.what.last + 1, step) if low <= self.what.last else (low,)

    def _star(self, item: Token, step: int) -> Iterable[int]:
        if item.text[0] == "?" and self.what not in (DAY_OF_MONTH, DAY_OF_WEEK):
            raise item.error(
                f"`?` in the {self.what.name} field", "write `*`; `?` is for the day fields"
            )
        return range(self.what.first, self.what.last + 1, step)

    def _range(self, item: Token, match: re.Match[str], low: int, step: int) -> Iterable[int]:
        what = self.what
        high = self._number(item.part(*match.span("high")))
        if low <= high:
            return range(low, high + 1, step)
        size = what.last - what.first + 1
        if what.wraps and low <= what.last:
            wrapped = range(low, high + size + 1, step)
            return tuple((value - what.first) % size + what.first for value in wrapped)
        if what.wraps:  # 7-2: the Sunday that begins the week
            return range(low - size, high + 1, step)
        remedy = f"write `{_span(low, what.last)},{_span(what.first, high)}`"
        raise item.error(f"`{item.text}` runs backwards in the {what.name} field", remedy)

    def _hash(self, item: Token, match: re.Match[str], step: int) -> Iterable[int]:
        """Jenkins' H: one value of the range, or with a step a grid that begins at one."""
        low, high = self.what.first, self.what.last
        if self.what is DAY_OF_MONTH:
            high = 28
        if match["from"] is not None:
            low = self._number(item.part(*match.span("from")))
            high = self._number(item.part(*match.span("to")))
        if low > high:
            message = f"`{item.text}` runs backwards in the {self.what.name} field"
            raise item.error(message, f"write `H({high}-{low})`")
        size = high - low + 1
        chosen = _digest(f"{self.job_name}\0{self.what.name}")
        if not step:
            return (low + chosen % size,)
        return range(low + chosen % min(step, size), high + 1, step)

    def _number(self, token: Token) -> int:
        what = self.what
        lowered = token.text.lower()
        if lowered in what.names:
            return what.names.index(lowered) + what.first
        number = _digits(token.text)
        last = 7 if what is DAY_OF_WEEK else what.last
        if number is None or not what.first <= number <= last:
            raise self._not_a_value(token)
        return number

    def _not_a_value(self, token: Token) -> ScheduleError:
        what = self.what
        close = difflib.get_close_matches(token.text.lower()[:20], what.names, n=1, cutoff=0.5)
        remedy = f"did you mean `{close[0]}`?" if close else what.remedy
        if token.text.upper() == "L" and what is DAY_OF_WEEK:
            remedy = "write `5L` for the last Friday of the month"
        if what is HOUR and token.text == "24":
            remedy = "midnight is 0; 0-23"
        return token.error(f"`{cut(token.text)}` is not {what.article}", remedy)

    def _step(self, token: Token) -> int:
        step = _digits(token.text)
        if not step:
            raise token.error(
                f"`{cut(token.text)}` is not a step of the {self.what.name} field",
                f"a whole number from 1 to {self.what.last - self.what.first + 1}",
            )
        return step

    def _back(self, item: Token) -> int:
        if len(item.text) == 1:
            return 0
        back = _digits(item.text[2:])
        if back is None or back > 30:
            raise item.part(2).error(
                f"`{cut(item.text)}` is not a day of month", "L-1 to L-30, or L for the last day"
            )
        return back

    def _last(self, item: Token) -> int:
        if len(item.text) == 1:
            raise self._not_a_value(item)
        return self._number(item.part(0, -1)) % 7

    def _which(self, token: Token, text: str) -> int:
        which = _digits(text)
        if which is None or not 1 <= which <= 5:
            raise token.error(
                f"`{cut(text)}` is not the number of a weekday in its month",
                "1-5, as in `mon#1`; for the last one write `1L`",
            )
        return which


def _sorted(values: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(values)))


def _span(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"


def _digits(text: str) -> int | None:
    """A number of ASCII digits alone, none with a sign; no field has one of more than 6."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def cut(text: str) -> str:
    """A piece of a user's text, short enough to be quoted."""
    return text if len(text) <= 40 else f"{text[:37]}..."
