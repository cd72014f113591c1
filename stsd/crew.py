"""All hands that work on runs, as one: they probe, prepare, start, signal and reap.

Takes the core's actions and gives back its events. Decides nothing, and never waits.
"""

from __future__ import annotations

import selectors
from collections.abc import Iterable, Mapping
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stsd import cgroups
from stsd.capture import Capture, Line, Trouble
from stsd.errors import SpawnError
from stsd.memory import Open
from stsd.messages import (
    Abandon,
    Event,
    Exited,
    Prepare,
    Prepared,
    Probe,
    Send,
    Spawn,
    Spawned,
    SpawnFailed,
)
from stsd.pool import LINGER_POLL_S, Heard, Leftovers, Pool
from stsd.preparation import Preparation
from stsd.probes import Probes
from stsd.starter import Answer, Starter
from stsd.traces import Traces
from stsd.warmth import Chilled

Order = Probe | Prepare | Abandon | Spawn | Send

# How long an end, or a restart in place, waits for children that are just being started.
SETTLE_S = 2.0


class Crew:
    """The hands of one daemon. `environ` is the children's base environment; what children print
    for the log goes to `log`, and so does what goes wrong beside the runs."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        log_dir: Path,
        state_dir: Path,
        environ: Mapping[str, str],
        log: FilteringBoundLogger,
    ) -> None:
        self._log = log
        self._starter = Starter(selector)
        self._capture = Capture(selector, log_dir)
        self._cgroups = self._found(state_dir)
        self._pool = Pool(selector, log_dir, environ, self._starter, self._capture, self._cgroups)
        self._probes = Probes(selector)
        self._traces = Traces(state_dir / "errands")
        self._preparation = Preparation(selector, self._starter, environ, self._traces)

    def perform(self, order: Order) -> Event | None:
        """Do what the core wants; its answer, if there is one already."""
        match order:
            case Probe():
                return self._probes.begin(order.run)
            case Prepare():
                return self._preparation.begin(order.run, order.attempt)
            case Abandon():
                self._probes.abandon(order.run_id)
                self._preparation.abandon(order.run_id)
            case Spawn():
                return self._spawn(order)
            case Send():
                self._pool.send(order.run_id, order.signal)
        return None

    def begun(self) -> list[Event]:
        """What has been started by `perform`; to be called before anything else is heard."""
        return self._sorted(self._pool.begun())

    def hear(self, key: selectors.SelectorKey) -> list[Event]:
        """What a descriptor that is ready has to tell the core."""
        if key.data is self._probes:
            probed = self._probes.hear(key.fd)
            return [probed] if probed is not None else []
        if key.data is self._preparation:
            prepared = self._preparation.hear(key.fd)
            return [prepared] if prepared is not None else []
        return self._sorted(self._pool.hear(key.fd))

    def tend(self, mono: float) -> list[Event]:
        """What no descriptor tells; to be called in each turn, after `hear`."""
        return self._sorted(self._pool.tend(mono))

    def patience(self) -> float | None:
        """In how many seconds `tend` wants to be called again; None: when something happens."""
        return LINGER_POLL_S if self._pool.lingering else None

    def adopt(self, attempt: Open) -> None:
        """Watch a child that an earlier daemon started. Raises OSError if it has gone."""
        self._pool.adopt(attempt)

    def sweep(self, attempts: Iterable[Open]) -> None:
        """Tidy up after an earlier daemon, of which only these attempts go on."""
        for run_id in self._traces.sweep():
            self._tell_killed(run_id, errand="condition or secret")
        if self._cgroups is not None:
            keep = [(attempt.run, attempt.attempt) for attempt in attempts]
            for run_id, count in self._cgroups.sweep(keep):
                self._tell_killed(run_id, processes=count)

    def renew(self) -> None:
        """The jobs may have changed, and the modules that they import."""
        self._pool.renew()

    def settle(self) -> list[Event]:
        """All that can be known at once, before this process ends or is replaced by another. What
        is being started for nobody any more is ended."""
        self._probes.close()
        self._preparation.close()
        events = self._sorted(self._pool.settle(SETTLE_S))
        self._capture.close()
        self._starter.close()
        return events

    def _tell_killed(self, run_id: str, **what: object) -> None:
        """Of what outlived its run, or its daemon, and was killed for that."""
        job = run_id.rpartition("@")[0]
        self._log.warning("killed_leftovers", job=job, run=run_id, **what)

    def _found(self, state_dir: Path) -> cgroups.Cgroups | None:
        try:
            return cgroups.find(state_dir)
        except OSError as error:
            self._log.warning("no_cgroups", error=str(error), instead="rlimits")
            return None

    def _spawn(self, order: Spawn) -> Event | None:
        given = self._preparation.take(order.run.id)
        try:
            self._pool.spawn(order.run, order.attempt, given.env, given.hide)
        except SpawnError as error:
            return SpawnFailed(order.run.id, str(error))
        return None

    def _sorted(self, heard: Iterable[Heard]) -> list[Event]:
        """What of it is for the core; the rest is told to whom it concerns."""
        events: list[Event] = []
        for news in heard:
            match news:
                case Line():
                    self._log.info("output", run=news.run_id, line=news.text)
                case Trouble():
                    self._log.error(news.event, run=news.run_id, error=news.error)
                case Chilled():
                    self._log.warning(
                        "started_cold", run=news.run_id, module=news.module, reason=news.reason
                    )
                case Leftovers():
                    self._tell_killed(news.run_id, processes=news.count)
                case Answer():
                    prepared: Prepared | None = self._preparation.answered(news)
                    events += [prepared] if prepared is not None else []
                case Spawned() | SpawnFailed() | Exited():
                    events.append(news)
        return events
