"""Deliveries and calls on their way: who carries which of them, and who has to wait for that.

A delivery goes out alone, so that no target waits for another one; calls of dead man's switches go
together by host. Decides nothing of what becomes of them, and never waits.
"""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stsd.couriers import Answered, Couriers, Item
from stsd.lane import Delivery
from stsd.model import Job
from stsd.parcel import item_for, ping_item
from stsd.pings import PingCall

MOST_COURIERS = 16
"""At once; a target that hangs takes one for a minute."""
MOST_CALLS = 50
"""With one courier."""
PATIENCE_S = 75.0
"""For each item: a courier minds its own time, but for what cannot be interrupted."""


@dataclass(frozen=True, slots=True)
class Came:
    """What became of a delivery or a call."""

    what: Delivery | PingCall
    answered: Answered


class Post:
    """All that is on its way. `selector` gets descriptors with a Couriers as their data: they are
    to be handed to `hear`. `host` is the name of this machine; `jobfile` is absolute."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        environ: Mapping[str, str],
        jobfile: Path,
        log_dir: Path,
        host: str,
    ) -> None:
        self._couriers = Couriers(selector, environ)
        self._jobfile = jobfile
        self._log_dir = log_dir
        self._host = host
        self._out: dict[str, Delivery | PingCall] = {}
        self._deliveries: deque[Delivery] = deque()
        self._calls: dict[str, deque[PingCall]] = {}
        self._called: dict[str, set[str]] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way."""
        return not self._out

    def put(self, deliveries: Iterable[Delivery], calls: Iterable[PingCall]) -> None:
        """These are to go out; each is answered by a Came."""
        for delivery in deliveries:
            self._out[delivery.id] = delivery
            self._deliveries.append(delivery)
        for call in calls:
            self._out[call.id] = call
            self._calls.setdefault(_host_of(call), deque()).append(call)

    def hear(self, fd: int) -> list[Came]:
        """What a descriptor that is ready has to tell."""
        return [self._came(answered) for answered in self._couriers.hear(fd)]

    def tend(self, jobs: Mapping[str, Job], now: float, mono: float) -> list[Came]:
        """Send out what there is room for, and end what takes too long; what could not be sent out
        at all comes back. `now` is the wall clock, `mono` the monotonic one."""
        self._couriers.tend(mono)
        back: list[Came] = []
        while self._deliveries and self._couriers.count < MOST_COURIERS:
            delivery = self._deliveries.popleft()
            back += self._send([self._parcel(delivery, jobs, now)], mono)
        for host in [host for host in self._calls if host not in self._called]:
            if self._couriers.count < MOST_COURIERS:
                back += self._call(host, jobs, mono)
        return back

    def due(self) -> float | None:
        """When `tend` has something to do, on the monotonic clock."""
        return self._couriers.due()

    def close(self) -> None:
        """End whatever is on its way."""
        self._couriers.close()

    def _parcel(self, delivery: Delivery, jobs: Mapping[str, Job], now: float) -> Item:
        return item_for(
            delivery.id,
            delivery.target,
            delivery.notices,
            jobs,
            jobfile=self._jobfile,
            log_dir=self._log_dir,
            host=self._host,
            now=now,
            dropped=delivery.dropped,
        )

    def _call(self, host: str, jobs: Mapping[str, Job], mono: float) -> list[Came]:
        """Make the next calls to a host, all that wait or as many as may go together."""
        waiting = self._calls[host]
        calls = [waiting.popleft() for _ in range(min(MOST_CALLS, len(waiting)))]
        if not waiting:
            del self._calls[host]
        self._called[host] = {call.id for call in calls}
        known = [call for call in calls if call.job in jobs]
        back = [
            self._came(Answered(call.id, ok=False, said="the job has left the jobfile"))
            for call in calls
            if call.job not in jobs
        ]
        items = [
            ping_item(
                call.id, call.url, call.body, call.output, jobs[call.job], log_dir=self._log_dir
            )
            for call in known
        ]
        return back + (self._send(items, mono) if items else [])

    def _send(self, items: Sequence[Item], mono: float) -> list[Came]:
        try:
            self._couriers.send(items, mono + PATIENCE_S * len(items))
        except OSError as error:
            why = f"the process to do it cannot be started: {error.strerror or error}"
            return [self._came(Answered(str(item["id"]), ok=False, said=why)) for item in items]
        return []

    def _came(self, answered: Answered) -> Came:
        what = self._out.pop(answered.id)
        if isinstance(what, PingCall):
            under_way = self._called[_host_of(what)]
            under_way.discard(what.id)
            if not under_way:
                del self._called[_host_of(what)]
        return Came(what, answered)


def _host_of(call: PingCall) -> str:
    return urlsplit(call.url).netloc.rpartition("@")[2]
