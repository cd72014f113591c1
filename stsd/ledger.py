"""The ledger of one job: which occurrences its schedules demanded, and which are accounted for.

What is open is kept as spans, so that a year without records costs no more than a minute of it.
Nothing here knows of records, files or clocks.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from stsd.triggers import Schedule


class Verdict(Enum):
    """What an entry for an instant, or for a span of them, is in the ledger."""

    FIRST = auto()  # it was open, and is accounted for by this entry
    AGAIN = auto()  # it had been accounted for
    NOT_DEMANDED = auto()
    TOO_EARLY = auto()  # before the ledger begins
    MISCOUNTED = auto()
    DEFERRED = auto()  # a span that later entries may bring to its count


@dataclass(frozen=True, slots=True)
class Series:
    """`count` demanded occurrences, the `first` and the `last` of them as instants."""

    first: int
    last: int
    count: int


class Demand:
    """Schedules one after the other, each in force later than its `since` and until the next
    one's, that instant included."""

    __slots__ = ("_schedules", "sinces")

    def __init__(self, since: int, schedule: Schedule) -> None:
        self.sinces = [since]
        self._schedules = [schedule]

    def is_current(self, schedule: Schedule) -> bool:
        """Whether that schedule is in force."""
        return schedule == self._schedules[-1]

    def change(self, since: int, schedule: Schedule) -> None:
        """Another schedule from `since` on, which is not before the present one's."""
        self.sinces.append(since)
        self._schedules.append(schedule)

    def next_after(self, instant: int) -> int | None:
        """The first demanded instant that is strictly later; None: there is none."""
        if instant >= self.sinces[-1]:
            return _next(self._schedules[-1], instant)
        for number in range(max(0, bisect_right(self.sinces, instant) - 1), len(self.sinces)):
            found = _next(self._schedules[number], max(instant, self.sinces[number]))
            if found is not None and found <= self._end(number, found):
                return found
        return None

    def asks_for(self, instant: int) -> bool:
        """Whether that very instant is demanded."""
        return self.next_after(instant - 1) == instant

    def series(self, after: int, until: int) -> Series | None:
        """What is demanded later than `after` and not later than `until`; None: nothing."""
        first, last, count = None, 0, 0
        for number in range(len(self.sinces)):
            low, high = max(after, self.sinces[number]), self._end(number, until)
            if low >= high:
                continue
            found = _series(self._schedules[number], low, high)
            if found is not None:
                first = found.first if first is None else first
                last, count = found.last, count + found.count
        return None if first is None else Series(first, last, count)

    def count(self, after: int, until: int) -> int:
        """How many instants are demanded later than `after` and not later than `until`."""
        series = self.series(after, until)
        return 0 if series is None else series.count

    def _end(self, number: int, until: int) -> int:
        following = number + 1
        return min(until, self.sinces[following]) if following < len(self.sinces) else until


@lru_cache(maxsize=1 << 14)
def _next(schedule: Schedule, instant: int) -> int | None:
    """Jobs share schedules, and are due at the same instants."""
    due = schedule.next_after(instant)
    return None if due is None else due.at


def _series(schedule: Schedule, after: int, until: int) -> Series | None:
    begin = schedule.next_after(after)
    if begin is None or begin.at > until:
        return None
    second = schedule.next_after(begin.at)
    if second is None or second.at > until:
        return Series(begin.at, begin.at, 1)
    end = schedule.last(begin.at, until) or second
    return Series(begin.at, end.at, schedule.count(after, until))


class Ledger:
    """What was demanded later than `since`, less what has been accounted for.

    Instants up to `floor` are none of its business. `head` is where the reckoning has come to:
    what is demanded up to it is accounted for, or lies in one of the `_open` spans, each
    (after, until], in order and apart from each other. `latest` is the last instant accounted
    for; `end` where a clock set back has ended the ledger. `claims` are spans said to hold fewer
    missed occurrences than were open in them by then.
    """

    __slots__ = ("_open", "begin", "claims", "demand", "end", "head", "latest")

    def __init__(self, since: int, schedule: Schedule, floor: int) -> None:
        self.demand = Demand(since, schedule)
        self.begin = self.head = max(since, floor)
        self.latest = since
        self.end: int | None = None
        self.claims: list[Series] = []
        self._open: list[tuple[int, int]] = []

    def goes_back(self, since: int) -> bool:
        """Whether a schedule in force since then would be due once more at accounted instants."""
        return since < self.latest or since < self.demand.sinces[-1]

    def wants(self, at: int) -> bool:
        """Whether that instant is demanded and open."""
        if at > self.head:
            return (self.end is None or at <= self.end) and self.demand.asks_for(at)
        return at > self.begin and self._span_with(at) is not None and self.demand.asks_for(at)

    def settle(self, at: int) -> Verdict:
        """Account for one occurrence."""
        if at <= self.begin:
            self.latest = max(self.latest, at)
            return Verdict.TOO_EARLY
        if at > self.head:
            following = self.demand.next_after(self.head)
            if following != at:
                if not self.demand.asks_for(at):
                    return Verdict.NOT_DEMANDED
                self._open.append((self.head, at - 1))
            self.head = at
            self.latest = max(self.latest, at)
            return Verdict.FIRST
        if not self.demand.asks_for(at):
            return Verdict.NOT_DEMANDED
        number = self._span_with(at)
        if number is None:
            return Verdict.AGAIN
        after, until = self._open[number]
        parts = [(after, at - 1), (at, until)]
        self._open[number : number + 1] = [part for part in parts if self._holds_any(part)]
        return Verdict.FIRST

    def miss(self, first: int, last: int, count: int) -> tuple[Verdict, int]:
        """Account for all that is open from `first` to `last`, said to be `count` occurrences.
        The number is how many were, where they are accounted for now."""
        if last <= self.begin:
            self.latest = max(self.latest, last)
            return Verdict.TOO_EARLY, 0
        cut_off = first <= self.begin
        if not self.demand.asks_for(last) or not (cut_off or self.demand.asks_for(first)):
            return Verdict.NOT_DEMANDED, 0
        if last > self.head:
            self._open.append((self.head, last))
            self.head = last
        self.latest = max(self.latest, last)
        found = sum(self.demand.count(*part) for part in self._open_within(first, last))
        if found > count:
            self.claims.append(Series(first, last, count))
            return Verdict.DEFERRED, 0
        self._clear(first, last)
        if found == count or cut_off:
            return Verdict.FIRST, found
        return (Verdict.MISCOUNTED if found else Verdict.AGAIN), found

    def honour(self, claim: Series) -> int:
        """How many occurrences a claim holds in the end, all of them accounted for by it."""
        parts = self._open_within(claim.first, claim.last)
        found = sum(self.demand.count(*part) for part in parts)
        self._clear(claim.first, claim.last)
        return found

    def close(self, horizon: int, now: int) -> tuple[list[Series], int]:
        """What is lost, being open up to the horizon; and how many are pending, being open or due
        after it and not later than `now`."""
        spans = list(self._open)
        if max(horizon, now) > self.head:
            spans.append((self.head, max(horizon, now)))
        lost = [self.demand.series(after, min(until, horizon)) for after, until in spans]
        pending = sum(self.demand.count(max(after, horizon), until) for after, until in spans)
        return [series for series in lost if series is not None], pending

    def _span_with(self, at: int) -> int | None:
        number = bisect_left(self._open, (at,)) - 1
        return number if number >= 0 and at <= self._open[number][1] else None

    def _holds_any(self, part: tuple[int, int]) -> bool:
        following = self.demand.next_after(part[0])
        return following is not None and following <= part[1]

    def _between(self, first: int, last: int) -> tuple[int, int]:
        """Which of the open spans reach into first <= i <= last, as a slice of the list."""
        begin = bisect_left(self._open, (first,))
        if begin and self._open[begin - 1][1] >= first:
            begin -= 1
        return begin, bisect_left(self._open, (last,))

    def _open_within(self, first: int, last: int) -> list[tuple[int, int]]:
        begin, end = self._between(first, last)
        return [(max(after, first - 1), min(until, last)) for after, until in self._open[begin:end]]

    def _clear(self, first: int, last: int) -> None:
        begin, end = self._between(first, last)
        rests = []
        for after, until in self._open[begin:end]:
            rests += [(after, min(until, first - 1)), (max(after, last), until)]
        self._open[begin:end] = [part for part in rests if part[0] < part[1]]
