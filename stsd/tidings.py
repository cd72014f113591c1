"""What the herald tells its daemon: lines for the log, what is amiss with jobs, and how it stands
with those who are to be told.

Tells what has changed, and not more often than anybody would look.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from stsd.addressees import public
from stsd.desk import Desk
from stsd.gathering import Lost
from stsd.lane import Delivery, Standing
from stsd.notices import Target
from stsd.pings import GivenUp
from stsd.post import Came
from stsd.units import rfc3339
from stsd.wire import Wire

PAUSE_S = 1.0
MOST_TARGETS = 100
"""Of which the daemon is told how they stand; the log knows of all."""


class Tidings:
    """What has been told on this wire. `mono` is the monotonic clock."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._conditions: dict[str, list[str]] = {}
        self._targets: dict[str, dict[str, object]] = {}
        self._numbers: dict[Target, str] = {}
        self._audience = 0
        self._after = 0.0
        self._stale = True
        self._revision = 0

    def say(self, level: str, event: str, **fields: object) -> None:
        """A line for the log; see `stsd.logs`."""
        self._wire.tell("log", [[level, event, fields]])

    def due(self) -> float | None:
        """When `tell` has something to do, on the monotonic clock."""
        return self._after if self._stale else None

    def tell(self, desk: Desk, mono: float, *, hurry: bool = False) -> None:
        """Tell what has changed since the last time; unless in a `hurry`, not if that was just
        now."""
        self._stale = desk.revision != self._revision
        if not self._stale or (mono < self._after and not hurry):
            return
        self._stale, self._after = False, mono + PAUSE_S
        self._revision = desk.revision
        conditions = desk.standing()
        self._changed("conditions", self._conditions, conditions, [])
        self._conditions = conditions
        standings = sorted(desk.standings(), key=lambda each: each.failing_since or float("inf"))
        shown = standings[:MOST_TARGETS]
        targets = {self._number(each.target): _fields(each) for each in shown}
        self._numbers = {each.target: self._numbers[each.target] for each in shown}
        self._changed("targets", self._targets, targets, None)
        self._targets = targets
        if self._audience != len(desk.audience):
            self._audience = len(desk.audience)
            self._wire.tell("audience", self._audience)

    def say_what_came(self, came: Came, standing: Standing | None) -> None:
        """A delivery was made, or not; of calls only those given up are told."""
        if not isinstance(came.what, Delivery) or standing is None:
            return
        answered = came.answered
        fields: dict[str, Any] = {
            "target": answered.place or public(came.what.target),
            "notices": len(came.what.notices),
            "delivery": came.what.id,
            "tries": came.what.tries,
        }
        if answered.ok:
            self.say("info", "told", **fields, answer=answered.said or None)
            return
        again = None if standing.again_at is None else rfc3339(standing.again_at)
        level = "error" if answered.hopeless else "warning"
        self.say(level, "not_told", **fields, problem=answered.said, again_at=again)

    def say_what_is_lost(self, lost: Iterable[Lost], given_up: Iterable[GivenUp]) -> None:
        """What nobody will ever be told."""
        for each in lost:
            target = public(each.target)
            self.say("error", "notices_lost", target=target, notices=each.count, reason=each.why)
        for one in given_up:
            call = one.call
            self.say("warning", "not_pinged", job=call.job, what=call.kind, problem=one.said)

    def _number(self, target: Target) -> str:
        """What tells targets from each other that have the same name."""
        if target not in self._numbers:
            taken = {int(number) for number in self._numbers.values()}
            self._numbers[target] = str(max(taken, default=0) + 1)
        return self._numbers[target]

    def _changed(
        self, word: str, before: dict[str, Any], after: dict[str, Any], gone: object
    ) -> None:
        changed = {name: value for name, value in after.items() if before.get(name) != value}
        changed |= {name: gone for name in before if name not in after}
        if changed:
            self._wire.tell(word, changed)


def _fields(standing: Standing) -> dict[str, object]:
    since = standing.failing_since
    return {
        "target": public(standing.target),
        "waiting": standing.waiting,
        "failing_since": None if since is None else rfc3339(since),
        "problem": standing.problem,
    }
