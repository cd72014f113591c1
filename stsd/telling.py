"""From the beginning of a condition to its end: people are told once, reminded while it lasts, and
told of the end if they had been told of the beginning.

Works on what is known of one job, and hands out notices; it does not know what a condition is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from stsd.conduct import Conduct, Lasting
from stsd.model import Job
from stsd.notices import Event, Notice

_COUNTED = frozenset({Event.FAILED, Event.MISSED, Event.SKIPPED})

WhenOver = Callable[[tuple[Event, ...], float, int], Notice]
"""Makes the notice of conditions that are over: of these, since that instant, with so many failed
runs."""


@dataclass(slots=True)
class Telling:
    """What there is to tell of one job now, in `notices`; `now` is None where nobody is told."""

    job: Job
    conduct: Conduct
    now: float | None
    notices: list[Notice] = field(default_factory=list)

    def begin(self, notice: Notice) -> None:
        """A condition has begun, or been met once more: then its count rises, and nobody is told
        again. Who was not told when it began (nobody had asked yet) is told then."""
        if not self.job.enabled:
            return
        before = self.conduct.lasting.get(notice.event)
        told_at = None
        if before is None:
            notice = replace(notice, since=notice.at)
        else:
            told_at, old = before.told_at, before.notice
            count = old.count + notice.count if notice.event in _COUNTED else 1
            notice = replace(notice, since=old.since, count=count, reminder=old.reminder)
        if told_at is None and self.now is not None and self.is_wanted(notice.event):
            told_at = self.now
            self.notices.append(notice)
        self.conduct.lasting[notice.event] = Lasting(notice, told_at)

    def end(self, events: Iterable[Event], when_over: WhenOver) -> None:
        """These conditions are over, as far as they are in force."""
        lasting = self.conduct.lasting
        over = [lasting.pop(event) for event in events if event in lasting]
        told = [each.notice for each in over if each.told_at is not None]
        if not told or self.now is None or not self.is_wanted(Event.RECOVERED):
            return
        since = min(each.at if each.since is None else each.since for each in told)
        failures = next((each.count for each in told if each.event is Event.FAILED), 0)
        self.notices.append(when_over(tuple(each.event for each in told), since, failures))

    def drop(self, event: Event) -> None:
        """A condition is over, or makes no sense any more, and nobody need know."""
        self.conduct.lasting.pop(event, None)

    def remind(self, until: float) -> None:
        """Tell once more of what lasts, where that has fallen due no later than `until`."""
        remind = self.remind_after
        if remind is None:
            return
        for event, each in self.conduct.lasting.items():
            if each.told_at is None or each.told_at + remind > until or not self.is_wanted(event):
                continue
            notice = replace(each.notice, reminder=each.notice.reminder + 1)
            self.conduct.lasting[event] = Lasting(notice, self.now)
            self.notices.append(notice)

    def reminder_due(self) -> float | None:
        """When the next reminder is."""
        remind = self.remind_after
        if remind is None:
            return None
        told = (
            each.told_at
            for event, each in self.conduct.lasting.items()
            if each.told_at is not None and self.is_wanted(event)
        )
        first = min(told, default=None)
        return None if first is None else first + remind

    @property
    def remind_after(self) -> float | None:
        """How long nobody is told again; None: for ever. Of a paused job somebody knows."""
        notify = self.job.notify
        return None if notify is None or self.conduct.paused is not None else notify.remind

    def is_wanted(self, event: Event) -> bool:
        """Whether somebody wants to be told of it."""
        return self.job.notify is not None and event in self.job.notify.on
