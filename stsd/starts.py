"""The last steps before a start: the intent goes to the disk, and only then a child is asked for.

Decides nothing of who is to be started; whoever is has its place in the pool by now.
"""

from __future__ import annotations

from stsd.messages import Action, Commit, Spawn, Write
from stsd.model import LogFailure, Reading
from stsd.records import Intent
from stsd.roster import Roster
from stsd.runs import Live, Phase, intent


class Starts:
    """Runs between getting their place and being started: `_wanted` have no intent yet, those in
    `_committing` have one on its way to the disk."""

    def __init__(self, roster: Roster, actions: list[Action]) -> None:
        self._roster = roster
        self._actions = actions
        self._wanted: list[str] = []
        self._committing: list[str] = []

    def want(self, live: Live) -> None:
        """The run is to be started as soon as its intent is on the disk."""
        self._roster.put(live.moved(Phase.COMMITTING))
        self._wanted.append(live.run.id)

    def record(self, now: Reading, held: bool) -> None:
        """Bring the intents of all that are wanted to the disk at once. Where that is known to be
        failing (`held`), start what is to run unrecorded, and let the others wait."""
        wanted, self._wanted = self._waiting(self._wanted), []
        intents: list[Intent] = []
        for live in wanted:
            if not held:
                self._committing.append(live.run.id)
                intents.append(intent(live, now))
            elif live.run.job.on_log_failure is LogFailure.RUN:
                self._actions.append(Write(intent(live, now)))
                self._start(live)
            else:
                self._wanted.append(live.run.id)
        if intents:
            self._actions.append(Commit(tuple(intents)))

    def committed(self) -> None:
        """The intents are on the disk: start what has waited for that."""
        for live in self._taken():
            self._start(live)

    def unrecorded(self) -> None:
        """The intents are not on the disk: start what is to run all the same."""
        for live in self._taken():
            if live.run.job.on_log_failure is LogFailure.RUN:
                self._start(live)
            else:
                self._committing.append(live.run.id)

    def _taken(self) -> list[Live]:
        taken, self._committing = self._waiting(self._committing), []
        return taken

    def _waiting(self, run_ids: list[str]) -> list[Live]:
        """Those of the runs that have not been called off meanwhile."""
        lives = [self._roster.get(run_id) for run_id in run_ids]
        return [live for live in lives if live is not None and live.phase is Phase.COMMITTING]

    def _start(self, live: Live) -> None:
        self._roster.put(live.moved(Phase.RUNNING))
        self._actions.append(Spawn(live.run, live.attempt))
