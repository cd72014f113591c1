"""The jobfile as a daemon reads it at its start: in a copy of the process, while this one gets
ready.

What the parser leaves behind goes with the copy, and of what comes back equal values are one: ten
thousand jobs take half of the memory that they would take if they were read here. Puts nothing in
force, and reads once.
"""

from __future__ import annotations

import selectors
from collections.abc import Callable, Iterator
from functools import partial

from stsd.errors import JobfileError
from stsd.settings import Jobfile
from stsd.twin import Twin, TwinError
from stsd.uncollected import uncollected


class FirstReading:
    """One reading, under way from now on. `load` raises JobfileError; it is called in the copy, and
    here only where the copy cannot do it."""

    def __init__(self, load: Callable[[], Jobfile]) -> None:
        self._load = load
        self._selector = selectors.DefaultSelector()
        try:
            self._twin: Twin | None = Twin(self._selector, partial(_found, load))
        except OSError:
            self._twin = None

    def result(self) -> Jobfile:
        """The jobfile, when it has been read; to be asked for once. Raises JobfileError."""
        with self._selector, uncollected():
            found = None if self._twin is None else self._awaited(self._twin)
        match found:
            case Jobfile():
                return found
            case JobfileError():
                raise found
            case _:
                return self._load()

    def _awaited(self, twin: Twin) -> object:
        """What the copy has found; None if it has not come to an end."""
        try:
            while not twin.ended:
                self._selector.select()
                twin.hear()
        finally:
            if not twin.ended:  # a signal: nobody waits any more
                twin.drop()
        try:
            return next(twin.findings(), None)
        except TwinError:
            return None


def _found(load: Callable[[], Jobfile]) -> Iterator[Jobfile | JobfileError]:
    try:
        yield load()
    except JobfileError as error:
        yield error
