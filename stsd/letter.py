"""What is said in one delivery: the notices of one target, with what their reader needs to act.

Values, made in the child that delivers; what they become in words is `stsd.noticetext`'s.
"""

from __future__ import annotations

from dataclasses import dataclass

from stsd.notices import Notice

TAIL_LINES = 20
TAIL_BYTES = 4096
"""How much of the end of an output is told, at most."""


@dataclass(frozen=True, slots=True)
class Told:
    """A notice, and what is known besides: the job's `description` and `zone` (an IANA name), the
    instant of its `next` attempt or occurrence, and the last lines of the run's output, fit to be
    shown."""

    notice: Notice
    zone: str = "UTC"
    description: str = ""
    next: float | None = None
    tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Letter:
    """One delivery. `host` is the machine it comes from; `dropped` notices were too many to be
    kept; `test`: somebody tries whether it arrives, and nothing has happened. `jobfile` is what a
    command has to be told to know of the jobs; empty: it finds that by itself."""

    delivery: str
    host: str
    told: tuple[Told, ...]
    dropped: int = 0
    test: bool = False
    jobfile: str = ""

    @property
    def alone(self) -> Told | None:
        """The only notice; None of a digest."""
        return self.told[0] if len(self.told) == 1 and not self.dropped else None
