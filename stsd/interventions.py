"""What a person does to jobs by hand: starts one with more than it has, or pauses it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ByHand:
    """Who started a run by hand, and what it is given beside what its job says: `kwargs` (a JSON
    object) and `env`."""

    by: str
    kwargs: str = "{}"
    env: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Pause:
    """From `since` on, up to `until` (None: until somebody resumes it), a job is not run when it
    is due; `by` is who wanted that."""

    since: float
    until: float | None = None
    reason: str | None = None
    by: str | None = None
