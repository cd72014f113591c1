"""Waiting for runs: their output as it comes, what becomes of them, and the verdict.

Standard output is the jobs'; what stsd says of them goes to standard error.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from stsd.cli.common import visible
from stsd.cli.outputs import Attempt, Manner, Printer
from stsd.cli.terminal import tell
from stsd.cli.wording import coming, instant_of, span
from stsd.client import Told
from stsd.model import Outcome

POLL_S = 0.1
"""How often the output is looked at while nothing else happens."""
_BLOCK = 1 << 16


class Waiting:
    """Runs that are waited for, from the lines that the daemon tells of them. `runs` are their
    ids, once they are known; `outcomes` is None until the last of them has ended."""

    def __init__(self) -> None:
        self.runs: tuple[str, ...] = ()
        self.skipped: tuple[str, ...] = ()
        self.outcomes: dict[str, str] | None = None
        self._printer = Printer(Manner.BARE)
        self._open: dict[Attempt, _Followed] = {}

    @property
    def verdict(self) -> bool:
        """Whether all that were asked for have been run, and have succeeded."""
        ends = (self.outcomes or {}).get
        return not self.skipped and all(ends(run) == Outcome.SUCCEEDED for run in self.runs)

    def follow(self, lines: Iterable[Told | None]) -> None:
        """Go along with them to the end. Raises as `Client.follow` does."""
        try:
            for told in lines:
                if told is not None:
                    self._take(told)
                self._print_news()
        finally:
            for followed in self._open.values():
                followed.close()

    def _take(self, told: Told) -> None:
        if told.runs is not None:
            self.runs, self.skipped = told.runs, told.skipped
            if len(self.runs) > 1:
                jobs = (run.rpartition("@")[0] for run in self.runs)
                self._printer = Printer(Manner.PREFIXED, max(map(len, jobs)))
            for run in self.runs:
                tell(f"triggered {run}", "dim")
            tell_skipped(self.skipped)
        elif told.output is not None and told.descriptor is not None:
            run, number = told.output
            attempt = Attempt(run.rpartition("@")[0], run, number)
            self._open[attempt] = _Followed(told.descriptor)
        elif told.record is not None:
            self._note(told.record)
        elif told.answer is not None:
            self.outcomes = told.answer["outcomes"]

    def _note(self, record: Mapping[str, Any]) -> None:
        if record["event"] == "finished":
            self._end(Attempt(record["job"], record["run"], record["attempt"]))
            _tell_end(record)
        elif record["event"] == "skipped":
            detail = f", {visible(record['detail'])}" if record.get("detail") else ""
            tell(f"{record['run']} was skipped: {record['reason']}{detail}", "yellow")

    def _end(self, attempt: Attempt) -> None:
        """The attempt has ended, and all that it has printed is in its file."""
        followed = self._open.pop(attempt, None)
        if followed is not None:
            followed.print(self._printer, attempt)
            followed.close()
        self._printer.end(attempt)
        self._printer.flush()

    def _print_news(self) -> None:
        for attempt, followed in self._open.items():
            followed.print(self._printer, attempt)
        self._printer.flush()


def tell_skipped(jobs: Iterable[str]) -> None:
    """Jobs of which no run was made."""
    for job in jobs:
        tell(f"{job} is skipped: it has as many runs as it may have at once", "yellow")


class _Followed:
    """The output of an attempt that is printed while it grows. Its own offset, since one that
    comes with a descriptor may be shared."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._offset = 0

    def print(self, printer: Printer, attempt: Attempt) -> None:
        while block := os.pread(self._descriptor, _BLOCK, self._offset):
            self._offset += len(block)
            printer.print(attempt, block)

    def close(self) -> None:
        os.close(self._descriptor)


def _tell_end(record: Mapping[str, Any]) -> None:
    took = record["duration_s"]
    ending = (
        f"{record['run']} attempt {record['attempt']}" if record["attempt"] > 1 else record["run"]
    )
    told = f"{ending} {record['outcome']}"
    if took is not None:
        told += f" after {span(took)}"
    why = _why(record)
    told += f": {why}" if why else ""
    if record["will_retry_at"] is not None:
        left = instant_of(record["will_retry_at"]) - time.time()
        told += f"; attempt {record['attempt'] + 1} {coming(left)}"
    tell(told, "green" if record["outcome"] == Outcome.SUCCEEDED else "red")


def _why(record: Mapping[str, Any]) -> str:
    if record["error"]:
        return visible(record["error"])
    if record["signal"]:
        return f"ended by {record['signal']}"
    return f"exit {record['exit_code']}" if record["exit_code"] else ""
