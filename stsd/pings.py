"""What dead man's switches are to be told of the runs of each job: calls out of the history's
records, in their order for each job.

Calls nobody itself; has neither clock nor file. The present is handed in.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from stsd import grounds
from stsd.model import Job, Outcome
from stsd.notices import Ping
from stsd.timeline import Timeline
from stsd.units import format_duration

RETRY_S = 10.0
"""The wait after the first call that failed; it doubles with each one more."""
GIVE_UP_S = 15 * 60.0
"""So long after it came about a call is of no more use."""

_IDS = uuid.uuid5(uuid.NAMESPACE_OID, "stsd.run")


class PingKind(StrEnum):
    """What is told."""

    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class PingCall:
    """One call, to be made by POST. `id` is its own, and the same when it is tried again; in `url`,
    `${NAME}` stands for a variable's value. `body` is text; the end of what the run has printed,
    in the file `output` (relative to the log folder; None: there is none), is to follow it."""

    id: str
    job: str
    kind: PingKind
    url: str
    body: str
    output: str | None


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A call that has failed for too long: `said` is what was answered last."""

    call: PingCall
    said: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What a call is made of, but for the address, which is the jobfile's at that time. It waits
    since `at`, and has failed `tries` times."""

    kind: PingKind
    run: str
    exit_code: int | None
    body: str
    output: str | None
    at: float
    tries: int = 0

    @property
    def id(self) -> str:
        """A run has one call of each kind."""
        return f"{self.run} {self.kind}"

    def fields(self) -> list[Any]:
        """As a JSON value."""
        return [
            self.kind,
            self.run,
            self.exit_code,
            self.body,
            self.output,
            self.at,
            self.tries,
        ]


class Pings:
    """The calls that wait, by job: of each kind the newest one alone, since nobody cares for what
    an older one would say.

    `known` is what an earlier one knew, by `known()` or the sum of its `changed()`. Raises
    KeyError, TypeError or ValueError for a `known` that is none. Records that are merely learnt
    are not for here.
    """

    def __init__(self, jobs: Mapping[str, Job], known: Mapping[str, Any]) -> None:
        self._jobs: Mapping[str, Job] = {}
        self._waiting = {name: list(map(_waiting_of, calls)) for name, calls in known.items()}
        self._called: dict[str, str] = {}  # the job of each call that is under way
        self._timeline: Timeline[str] = Timeline()
        self._changed: set[str] = set()
        self._given_up: list[GivenUp] = []
        for name, calls in self._waiting.items():
            self._timeline.set(name, calls[0].at)
        self.reload(jobs)

    def take(self, record: Mapping[str, Any], now: float) -> None:
        """The next record of the history. Raises KeyError, TypeError or ValueError for none."""
        if record["event"] not in ("started", "finished"):
            return
        job = self._jobs.get(record["job"])
        if job is None or job.ping is None:
            return
        call = _call_for(record, now)
        if call is None or call.id in self._called or not _address(job.ping, call):
            return
        before = self._waiting.get(job.name, [])
        kept = [each for each in before if each.id in self._called or not _outdates(call, each)]
        self._waiting[job.name] = [*kept, call]
        self._changed.add(job.name)
        if not kept or kept[0] is not before[0]:
            self._timeline.set(job.name, now)

    def due(self) -> float | None:
        """When `tick` has something to do, if nothing else happens before."""
        return self._timeline.earliest()

    def tick(self, now: float) -> list[PingCall]:
        """The calls to be made now; each is under way until it is `answered`, and of a job at
        most one."""
        calls = []
        while (name := self._timeline.pop_due(now)) is not None:
            call = self._made(name, self._waiting[name][0])
            self._called[call.id] = name
            calls.append(call)
        return calls

    def answered(self, call_id: str, ok: bool, said: str, now: float) -> None:
        """A call has been made, or could not be; `said` is what was answered, for the log. One that
        is not under way any more is passed over."""
        name = self._called.pop(call_id, None)
        if name is None:
            return
        call, *others = self._waiting[name]
        delay = RETRY_S * 2.0**call.tries
        if ok or any(_outdates(each, replace(call, tries=call.tries + 1)) for each in others):
            self._go_on(name, others, now)
        elif now + delay <= call.at + GIVE_UP_S:
            again = replace(call, tries=call.tries + 1)
            self._go_on(name, [again, *others], now + delay)
        else:
            self._given_up.append(GivenUp(self._made(name, call), said))
            self._go_on(name, others, now)

    def given_up(self) -> list[GivenUp]:
        """The calls given up since the last time that this was asked, for the log."""
        given_up, self._given_up = self._given_up, []
        return given_up

    def reload(self, jobs: Mapping[str, Job]) -> None:
        """Another jobfile is in force: what waits is told to the addresses in it, or to none."""
        self._jobs = dict(jobs)
        for name, calls in list(self._waiting.items()):
            ping = jobs[name].ping if name in jobs else None
            kept = [] if ping is None else [call for call in calls if _address(ping, call)]
            if kept[:1] != calls[:1]:
                self._called.pop(calls[0].id, None)
                self._go_on(name, kept, calls[0].at)
            elif kept != calls:
                self._waiting[name] = kept
                self._changed.add(name)

    def known(self) -> dict[str, Any]:
        """All that is to be known after a restart, by job; none without a call that waits."""
        return {name: [each.fields() for each in calls] for name, calls in self._waiting.items()}

    def changed(self) -> dict[str, Any]:
        """Of `known()` what has changed since the last call of this; None: nothing waits."""
        changed: dict[str, Any] = {}
        for name in self._changed:
            calls = self._waiting.get(name)
            changed[name] = None if calls is None else [each.fields() for each in calls]
        self._changed.clear()
        return changed

    def _go_on(self, name: str, calls: list[_Waiting], at: float) -> None:
        """These are the calls that wait for a job now, the first one to be made at `at`."""
        self._changed.add(name)
        if calls:
            self._waiting[name] = calls
            self._timeline.set(name, at)
        else:
            del self._waiting[name]
            self._timeline.drop(name)

    def _made(self, name: str, call: _Waiting) -> PingCall:
        ping = self._jobs[name].ping
        url = "" if ping is None else _address(ping, call)
        return PingCall(call.id, name, call.kind, url, call.body, call.output)


def _call_for(record: Mapping[str, Any], now: float) -> _Waiting | None:
    """What a record of a run asks for. A run starts once, however many attempts it takes; what was
    cancelled was so wanted."""
    run = record["run"]
    if record["event"] == "started":
        if record["attempt"] > 1:
            return None
        return _Waiting(PingKind.START, run, None, _body(record), None, now)
    outcome = Outcome(record["outcome"])
    if record["will_retry_at"] is not None or outcome is Outcome.CANCELLED:
        return None
    kind = PingKind.SUCCESS if outcome is Outcome.SUCCEEDED else PingKind.FAILURE
    body = _body(record) + _ending(record)
    return _Waiting(kind, run, record["exit_code"], body, record["output"], now)


def _outdates(later: _Waiting, call: _Waiting) -> bool:
    """Whether nobody need know any more what an older call says. A start that could not be told
    must not hold up the end."""
    return later.kind is call.kind or (call.kind is PingKind.START and call.tries > 0)


def _body(record: Mapping[str, Any]) -> str:
    names = ("job", "run", "scheduled", "trigger", "attempt")
    return "".join(f"{name}: {record[name]}\n" for name in names)


def _ending(record: Mapping[str, Any]) -> str:
    duration, outcome = record["duration_s"], record["outcome"]
    lines = [f"outcome: {outcome}"]
    lines += [] if outcome == Outcome.SUCCEEDED else [f"reason: {grounds.of_failure(record)}"]
    lines += [] if duration is None else [f"duration: {format_duration(duration)}"]
    return "".join(f"{line}\n" for line in lines)


def _address(ping: Ping, call: _Waiting) -> str:
    """Where a call goes; empty: nowhere.

    By the convention of healthchecks.io (https://healthchecks.io/docs/http_api/) the kind stands
    behind the address, of a failure the exit code (0 would be a success); `rid` tells which start
    an end belongs to.
    """
    if not ping.check:
        addresses = {PingKind.START: ping.start, PingKind.SUCCESS: ping.success}
        return addresses.get(call.kind, ping.failure)
    path, asks, query = ping.check.partition("?")
    if call.kind is PingKind.START:
        path = f"{path.rstrip('/')}/start"
    elif call.kind is PingKind.FAILURE:
        path = f"{path.rstrip('/')}/{call.exit_code or 'fail'}"
    return f"{path}?{query}{'&' if asks else ''}rid={uuid.uuid5(_IDS, call.run)}"


def _waiting_of(fields: Any) -> _Waiting:
    kind, run, exit_code, body, output, at, tries = fields
    return _Waiting(PingKind(kind), run, exit_code, body, output, at, tries)
