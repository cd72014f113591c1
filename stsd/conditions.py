"""What is wrong with each job, and when somebody is to be told: the history's records and the time
in, notices out.

Follows the history and nothing else, so that what it says does not depend on when it looks. Sends
nothing, and has neither clock nor file of its own; the present is handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stsd import grounds
from stsd.conduct import Conduct, conduct_of, first_seen
from stsd.judgement import concerns, found_in, next_look, pass_time, redefined, take_in
from stsd.model import Job
from stsd.notices import Event, Notice
from stsd.telling import Telling
from stsd.timeline import Timeline
from stsd.units import from_rfc3339

Known = Mapping[str, Any]
"""What is known of each job, by name, as JSON values."""

GRACE_S = 2.0
"""How long after an instant it is judged: what came before it is in the history by then."""

_ORDER = {event: number for number, event in enumerate(Event)}
_ASIDE = {"paused"}
_NOT_WHILE_PAUSED = (Event.LATE, Event.SILENT)


class Conditions:
    """What is wrong with the `jobs` of the jobfile, and has been told of.

    `known` is what an earlier one knew, by `known()` or the sum of its `changed()`; None where
    that is lost: then each record that there is goes to `learn` before anything else. Raises
    KeyError, TypeError or ValueError for a `known` that is none. All of `now` are wall clock.
    """

    def __init__(self, jobs: Mapping[str, Job], known: Known | None, now: float) -> None:
        known = {} if known is None else known
        self._jobs: dict[str, Job] = {}
        self._conducts = {
            name: conduct_of(fields) for name, fields in known.items() if set(fields) != _ASIDE
        }
        # Of jobs that are not among ours, since they may come, or come back.
        self._paused: dict[str, float] = {
            name: fields["paused"] for name, fields in known.items() if set(fields) == _ASIDE
        }
        self._timeline: Timeline[str] = Timeline()
        self._troubled: set[str] = set()
        self._changed: set[str] = set()
        self.reload(jobs, now)

    def learn(self, record: Mapping[str, Any]) -> None:
        """One record of the history, of which nobody is told. Raises as `take`."""
        self._take(record, None)

    def take(self, record: Mapping[str, Any], now: float) -> list[Notice]:
        """The next record of the history. Raises KeyError, TypeError or ValueError for what is
        no record."""
        return self._take(record, now)

    def held(self, error: str | None, now: float) -> list[Notice]:
        """Why the history cannot be written, None: it can. To be told at every start, too."""
        notices: list[Notice] = []
        for name, job in self._jobs.items():
            telling = Telling(job, self._conducts[name], now)
            is_held = Event.HELD in telling.conduct.lasting
            if is_held != (error is not None):
                _hold(telling, error, now)
                notices += telling.notices
                self._settle(telling)
        return notices

    def due(self) -> float | None:
        """When `tick` has something to do, if no record comes before."""
        earliest = self._timeline.earliest()
        return None if earliest is None else earliest + GRACE_S

    def tick(self, now: float) -> list[Notice]:
        """What the time alone brings. All records that there are should have been taken."""
        names, until = [], now - GRACE_S
        while (earliest := self._timeline.earliest()) is not None and earliest + GRACE_S <= now:
            until = max(until, earliest)  # which rounding may have made the later one
            names.append(self._timeline.pop())
        notices: list[Notice] = []
        for name in filter(None, names):
            telling = Telling(self._jobs[name], self._conducts[name], now)
            pass_time(telling, until)
            telling.remind(until)
            notices += telling.notices
            self._settle(telling)
        return notices

    def reload(self, jobs: Mapping[str, Job], now: float) -> None:
        """Another jobfile is in force; `jobs` are all of its jobs."""
        for name in [name for name in self._conducts if name not in jobs]:
            self._forget(name)
        for name, job in jobs.items():
            before = self._jobs.get(name)
            if before is job or before == job:
                continue
            conduct = self._conducts.get(name)
            if conduct is None:
                conduct = self._conducts[name] = first_seen(now, self._paused.pop(name, None))
            if before is not None:
                redefined(before, job, conduct, now)
            found_in(job, conduct)
            self._settle(Telling(job, conduct, now))
        self._jobs = dict(jobs)

    def known(self) -> dict[str, Any]:
        """All that is to be known after a restart, by job."""
        return {name: self._fields(name) for name in (*self._conducts, *self._paused)}

    def changed(self) -> dict[str, Any]:
        """Of `known()` what has changed since the last call; None: the job is to be forgotten."""
        changed = {name: self._fields(name) for name in self._changed}
        self._changed.clear()
        return changed

    def standing(self) -> dict[str, list[str]]:
        """The conditions in force, by job; no job without any."""
        found = {name: _in_force(self._conducts[name]) for name in sorted(self._troubled)}
        return {name: events for name, events in found.items() if events}

    def _take(self, record: Mapping[str, Any], now: float | None) -> list[Notice]:
        if not concerns(record):
            return []
        job = self._jobs.get(record["job"])
        if job is None:
            self._set_aside(record)
            return []
        telling = Telling(job, self._conducts[job.name], now)
        take_in(record, telling)
        self._settle(telling)
        return telling.notices

    def _settle(self, telling: Telling) -> None:
        name, look = telling.job.name, next_look(telling)
        self._changed.add(name)
        if look is None:
            self._timeline.drop(name)
        else:
            self._timeline.set(name, look)
        if telling.conduct.lasting:
            self._troubled.add(name)
        else:
            self._troubled.discard(name)

    def _fields(self, name: str) -> dict[str, Any] | None:
        if name in self._paused:
            return {"paused": self._paused[name]}
        conduct = self._conducts.get(name)
        return None if conduct is None else conduct.fields()

    def _set_aside(self, record: Mapping[str, Any]) -> None:
        """Keep of a job that is not among ours whether somebody has paused it."""
        name, event = record["job"], record["event"]
        if event == "paused":
            self._paused.setdefault(name, from_rfc3339(record["at"]))
        elif event != "resumed" or self._paused.pop(name, None) is None:
            return
        self._changed.add(name)

    def _forget(self, name: str) -> None:
        conduct = self._conducts.pop(name)
        if conduct.paused is not None:
            self._paused[name] = conduct.paused
        self._timeline.drop(name)
        self._troubled.discard(name)
        self._changed.add(name)


def _hold(telling: Telling, error: str | None, now: float) -> None:
    job = telling.job
    if error is not None:
        telling.begin(Notice(Event.HELD, job.name, now, grounds.of_holding(job, error)))
        return
    telling.end(
        (Event.HELD,),
        lambda ended, since, failures: Notice(
            Event.RECOVERED, job.name, now, grounds.HISTORY_BACK, since=since, ended=ended
        ),
    )


def _in_force(conduct: Conduct) -> list[str]:
    hidden = () if conduct.paused is None else _NOT_WHILE_PAUSED
    events = sorted(conduct.lasting, key=_ORDER.__getitem__)
    return [str(event) for event in events if event not in hidden]
