"""The words of telling: what people are told of a job, who they are, and what exactly was said.

Values only, as in `stsd.model`. Instants are readings of the wall clock in seconds, durations are
seconds, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class Event(StrEnum):
    """What somebody can be told of."""

    FAILED = "failed"
    ATTEMPT_FAILED = "attempt_failed"
    RECOVERED = "recovered"
    LATE = "late"
    MISSED = "missed"
    SKIPPED = "skipped"
    SLOW = "slow"
    SILENT = "silent"
    HELD = "held"


ON_BY_DEFAULT = frozenset(
    {Event.FAILED, Event.RECOVERED, Event.LATE, Event.MISSED, Event.SLOW, Event.SILENT, Event.HELD}
)


class Means(StrEnum):
    """How a target is reached."""

    MESSAGE = "message"
    WEBHOOK = "webhook"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class Target:
    """Somebody who is told. `address` is a URL of apprise's or of a webhook, in which `${NAME}`
    stands for a variable's value; `secret`, likewise, signs what a webhook is sent (empty: it is
    not signed). A command is a shell's, in `shell`, or a program with its arguments, in `argv`.
    `scope` tells targets that look the same from each other, whose variables mean something else
    from job to job; the intake leaves it empty, see `stsd.addressees`."""

    means: Means
    address: str = ""
    secret: str = ""
    shell: str = ""
    argv: tuple[str, ...] = ()
    scope: str = ""


@dataclass(frozen=True, slots=True)
class Quiet:
    """The part of a day, in the job's zone, in which nobody is told anything: from the second of
    the day `begin` up to `end`, across midnight if that is the smaller one."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told of what. Told again every `remind` seconds while it lasts (None: once)."""

    to: tuple[Target, ...]
    on: frozenset[Event] = ON_BY_DEFAULT
    remind: float | None = None
    quiet: Quiet | None = None


@dataclass(frozen=True, slots=True)
class Ping:
    """Addresses that are told of each run: of its start, its success and its failure; an empty one
    is not. With `check`, they are made from that one by the convention of healthchecks.io. In all
    of them `${NAME}` stands for a variable's value."""

    check: str = ""
    start: str = ""
    success: str = ""
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Slow:
    """When a run is slow: after `seconds`, or after `factor` times what 95 of 100 runs that
    succeeded have taken. One of the two is given."""

    seconds: float | None = None
    factor: float | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where numbers are told: in a file (absolute), at a host and port; None: not so."""

    file: str | None = None
    listen: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing that somebody is to know of a job.

    `at` is when it came about, `since` when what lasts has begun (of `recovered`: what is over).
    What is of one run is empty for a notice of none: `run`, `trigger` and `outcome` are as in the
    history, `scheduled` is an instant. `usual_s` is what half of the last successes have taken
    less than; `output` is relative to the log folder. `why` is one sentence for people. `count` is
    of occurrences missed or skipped, or of runs that have failed in a row; `reminder` counts from
    1, and is 0 when the thing is told for the first time. `ended` is what a `recovered` is about.
    """

    event: Event
    job: str
    at: float
    why: str
    since: float | None = None
    run: str | None = None
    scheduled: int | None = None
    trigger: str | None = None
    attempt: int | None = None
    outcome: str | None = None
    exit_code: int | None = None
    signal: str | None = None
    error: str | None = None
    started: float | None = None
    duration_s: float | None = None
    usual_s: float | None = None
    output: str | None = None
    output_bytes: int = 0
    will_retry_at: float | None = None
    count: int = 1
    reminder: int = 0
    ended: tuple[Event, ...] = field(default=())


def notice_fields(notice: Notice) -> dict[str, Any]:
    """As a JSON object; what says no more than its default is left out."""
    return {
        name: list(value) if name == "ended" else value
        for name, default in _FIELDS.items()
        if (value := getattr(notice, name)) != default
    }


def notice_of(fields: Mapping[str, Any]) -> Notice:
    """What `notice_fields` gave; a field that is not known is passed over. Raises KeyError,
    TypeError or ValueError for what is no notice."""
    known: dict[str, Any] = {name: fields[name] for name in _FIELDS if name in fields}
    known["event"] = Event(known["event"])
    if "ended" in known:
        known["ended"] = tuple(map(Event, known["ended"]))
    return Notice(**known)


_FIELDS = {each.name: each.default for each in fields(Notice)} | {"ended": ()}
