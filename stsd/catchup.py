"""What becomes of occurrences that have passed unseen: which are run after all, which are missed.

Costs hardly more after a year than after a minute: spans are counted and searched, not walked.
"""

from __future__ import annotations

from dataclasses import dataclass

from stsd.memory import Book
from stsd.model import CatchUp, Job
from stsd.triggers import Due, Schedule


@dataclass(frozen=True, slots=True)
class Passed:
    """`count` occurrences from `first` to `last` that are not to be run."""

    first: int
    last: int
    count: int


@dataclass(frozen=True, slots=True)
class Unsettled:
    """The occurrences of a schedule that nothing accounts for yet: `holes` one by one, and all
    that are later than `after` and not later than `until`."""

    holes: tuple[Due, ...]
    after: int
    until: int


def unsettled(schedule: Schedule, book: Book, until: int) -> Unsettled:
    """What a job's book leaves open up to `until`."""
    settled, spans = book.settled, sorted(book.spans)
    known = book.newest
    holes = []
    at = book.mark
    while at < min(known, until):
        due = schedule.next_after(at)
        if due is None or due.at > min(known, until):
            break
        at = due.at
        span = next((span for span in spans if span[0] <= at <= span[1]), None)
        if span is not None:
            at = span[1]
        elif at not in settled:
            holes.append(due)
    return Unsettled(tuple(holes), max(book.mark, min(known, until)), until)


def limit_of(job: Job) -> int:
    """How many runs at most the job's `catch_up` allows for."""
    return {CatchUp.NONE: 0, CatchUp.LATEST: 1, CatchUp.ALL: job.catch_up_limit}[job.catch_up]


def settle(
    schedule: Schedule, left_open: Unsettled, limit: int, oldest: float
) -> tuple[tuple[Due, ...], Passed | None]:
    """What to run, the earliest first: the last `limit` of what is not before the instant
    `oldest`; and what is missed."""
    run: list[Due] = []
    until = left_open.until
    while len(run) < limit:
        due = schedule.last(left_open.after, until)
        if due is None or due.at < oldest:
            break
        run.append(due)
        until = due.at - 1
    holes = list(left_open.holes)
    if schedule.last(left_open.after, until) is None:
        while holes and len(run) < limit and holes[-1].at >= oldest:
            run.append(holes.pop())
    run.reverse()
    return tuple(run), _passed(schedule, holes, left_open.after, until)


def _passed(schedule: Schedule, holes: list[Due], after: int, until: int) -> Passed | None:
    last = schedule.last(after, until)
    if last is None:
        return Passed(holes[0].at, holes[-1].at, len(holes)) if holes else None
    first = holes[0] if holes else schedule.next_after(after)
    if first is None:
        raise ValueError("a schedule has a last occurrence and no first one")
    return Passed(first.at, last.at, len(holes) + schedule.count(after, last.at))
