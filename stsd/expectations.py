"""Runs that wait for something before they start: the `wait_for` of their jobs.

Decides when it is looked for, and whether another job's success is recent enough; what lies
outside of stsd the shell looks at.
"""

from __future__ import annotations

from stsd.messages import Action, Probe, Probed
from stsd.model import Reading, TriggerKind, WaitFor
from stsd.roster import Roster
from stsd.runs import Alarm, Live, Phase, Timers

LOOK_AGAIN_S = 2.0


def is_awaited(live: Live) -> bool:
    """Whether anything is to be waited for. A run by hand is wanted now, and a repeated attempt
    has waited."""
    if live.run.job.wait_for is None or live.attempt > 1:
        return False
    return live.run.trigger is not TriggerKind.MANUAL


class Expectations:
    """`successes` are the wall-clock times at which jobs have last succeeded."""

    def __init__(self, roster: Roster, timers: Timers, actions: list[Action]) -> None:
        self.successes: dict[str, float] = {}
        self._roster = roster
        self._timers = timers
        self._actions = actions

    def begin(self, live: Live, now: Reading) -> None:
        """The run waits from now on."""
        wait_for = _of(live)
        self._timers.set((Alarm.PATIENCE, live.run.id), now.mono + wait_for.timeout)
        self.look(self._roster.put(live.moved(Phase.EXPECTING)), now)

    def look(self, live: Live, now: Reading) -> None:
        """See whether all is there; what is outside of stsd only after what is inside."""
        wait_for = _of(live)
        missing = self._missing_success(wait_for, now)
        if missing:
            self._look_again(live, missing, now)
        elif wait_for.network or wait_for.path or wait_for.load is not None:
            self._actions.append(Probe(live.run))
        else:
            self._fulfil(live)

    def hear(self, probed: Probed, now: Reading) -> None:
        """Take in what was seen; of a run that waits no more it is of no interest."""
        live = self._roster.get(probed.run_id)
        if live is None or live.phase is not Phase.EXPECTING:
            return
        if probed.missing:
            self._look_again(live, probed.missing, now)
        else:
            self._fulfil(live)

    def _look_again(self, live: Live, missing: str, now: Reading) -> None:
        self._roster.put(live.lacking(missing))
        self._timers.set((Alarm.LOOK, live.run.id), now.mono + LOOK_AGAIN_S)

    def _fulfil(self, live: Live) -> None:
        self._timers.drop((Alarm.PATIENCE, live.run.id))
        self._roster.make_ready(live)

    def _missing_success(self, wait_for: WaitFor, now: Reading) -> str:
        if not wait_for.job:
            return ""
        success = self.successes.get(wait_for.job)
        if success is None:
            return f"{wait_for.job} has not succeeded yet"
        if wait_for.within is not None and now.wall - success > wait_for.within:
            return f"{wait_for.job} has not succeeded for {now.wall - success:.0f} s"
        return ""


def _of(live: Live) -> WaitFor:
    wait_for = live.run.job.wait_for
    if wait_for is None:
        raise ValueError(f"{live.run.id} waits for nothing")
    return wait_for
