"""One client of the control socket that waits for runs: what it is told until all of them are over.

Passes the output of an attempt on as a descriptor, and copies no byte of it.
"""

from __future__ import annotations

from collections.abc import Callable

from stsd.protocol import encode
from stsd.records import Finished, Record, Skipped, Started
from stsd.visitor import Visitor


class Watch:
    """What a client waits for. `open_output` returns a descriptor of the output of an attempt, open
    for reading, or None as long as there is none."""

    def __init__(
        self,
        visitor: Visitor,
        runs: tuple[str, ...],
        open_output: Callable[[Started], int | None],
        mono: float,
    ) -> None:
        self._visitor = visitor
        self._open_output = open_output
        self._outcomes: dict[str, str | None] = dict.fromkeys(runs)
        # Attempts whose output has not been passed on.
        self._silent: dict[str, Started] = {}
        visitor.waiting = True
        self._conclude(mono)

    @property
    def is_over(self) -> bool:
        """Whether the client has its answer."""
        return not self._visitor.waiting

    @property
    def is_looking(self) -> bool:
        """Whether `look` could find something."""
        return bool(self._silent)

    def tell(self, record: Record, mono: float) -> None:
        """A record has been written, perhaps of a run that is waited for."""
        if not isinstance(record, Started | Finished | Skipped) or record.run is None:
            return
        run = record.run
        if self._outcomes.get(run, "not waited for") is not None:
            return
        if isinstance(record, Finished):
            self._look_for(run, mono)  # now or never
            self._silent.pop(run, None)
        self._visitor.put(encode("record", record.fields()), mono)
        match record:
            case Started():
                self._silent[run] = record
            case Finished(will_retry_at=None):
                self.finish(run, record.outcome, mono)
            case Skipped():
                self.finish(run, "skipped", mono)

    def finish(self, run: str, outcome: str, mono: float) -> None:
        """A run is over, if it is waited for; with the last of them the client gets its answer."""
        if self._outcomes.get(run, "not waited for") is None:
            self._outcomes[run] = outcome
            self._conclude(mono)

    def look(self, mono: float) -> None:
        """The file of an attempt's output is made when there is something to be kept: pass on what
        there is by now."""
        for run in list(self._silent):
            self._look_for(run, mono)

    def _look_for(self, run: str, mono: float) -> None:
        started = self._silent.get(run)
        descriptor = self._open_output(started) if started is not None else None
        if started is not None and descriptor is not None:
            del self._silent[run]
            line = encode("output", {"run": run, "attempt": started.attempt})
            self._visitor.put(line, mono, descriptor)

    def _conclude(self, mono: float) -> None:
        if None not in self._outcomes.values():
            self._visitor.waiting = False
            answer = {"runs": list(self._outcomes), "outcomes": self._outcomes}
            self._visitor.put(encode("answer", answer), mono)
