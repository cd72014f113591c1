"""What is known of one job to judge it by: its last success, its durations, the runs that are under
way, and what is wrong with it. Its state is JSON.

Decides nothing: see `stsd.conditions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stsd.durations import Durations
from stsd.notices import Event, Notice, notice_fields, notice_of


@dataclass(frozen=True, slots=True)
class Lasting:
    """A condition in force: what there is to say of it, brought up to date, and when somebody was
    last told (wall clock); None: nobody was."""

    notice: Notice
    told_at: float | None = None


@dataclass(frozen=True, slots=True)
class Underway:
    """An attempt that has begun and not ended. It is slow after `limit` seconds (None: nobody can
    say), and `is_slow` if that has been found already."""

    scheduled: int
    trigger: str
    attempt: int
    started: float
    limit: float | None
    is_slow: bool = False

    def fields(self) -> list[Any]:
        """As a JSON value."""
        return [
            self.scheduled,
            self.trigger,
            self.attempt,
            self.started,
            self.limit,
            self.is_slow,
        ]


@dataclass(slots=True)
class Conduct:
    """All of it, of one job; instants are wall clock.

    `is_seen` is whether the history has told of it at all. Its age counts from `since`: its last
    success, or else when it was first seen; the spans in which it was paused do not count. Its
    schedule is in force from `watched` on, and deadlines are judged up to `judged`. It has been
    paused since `paused`. Its last `success` has `printed` so many bytes. The next `deadline`
    follows from its job, and is no part of the state.
    """

    since: float
    watched: float
    judged: float
    is_seen: bool = False
    success: float | None = None
    printed: int | None = None
    paused: float | None = None
    durations: Durations = field(default_factory=Durations)
    underway: dict[str, Underway] = field(default_factory=dict)
    lasting: dict[Event, Lasting] = field(default_factory=dict)
    deadline: int | None = None

    def fields(self) -> dict[str, Any]:
        """As a JSON value."""
        return {
            "since": self.since,
            "watched": self.watched,
            "judged": self.judged,
            "is_seen": self.is_seen,
            "success": self.success,
            "printed": self.printed,
            "paused": self.paused,
            "durations": self.durations.fields(),
            "underway": {run: each.fields() for run, each in self.underway.items()},
            "lasting": [
                [each.told_at, notice_fields(each.notice)] for each in self.lasting.values()
            ],
        }


def conduct_of(fields: Mapping[str, Any]) -> Conduct:
    """What `fields` gave. Raises KeyError, TypeError or ValueError for anything else."""
    lasting = [Lasting(notice_of(notice), told_at) for told_at, notice in fields["lasting"]]
    underway = fields["underway"].items()
    known: dict[str, Any] = dict(fields) | {
        "durations": Durations(fields["durations"]),
        "underway": {run: Underway(*each) for run, each in underway},
        "lasting": {each.notice.event: each for each in lasting},
    }
    return Conduct(**known)


def first_seen(at: float, paused: float | None) -> Conduct:
    """Of a job of which nothing is known before, but since when it is `paused`."""
    return Conduct(since=at, watched=at, judged=at, paused=paused)
