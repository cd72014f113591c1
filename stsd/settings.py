"""What a jobfile says as a whole: the `[daemon]` table, and the jobs beside it.

The values of one job are in `stsd.model`; like them these are frozen, and read nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from stsd.model import Job
from stsd.notices import Metrics


@dataclass(frozen=True, slots=True)
class Access:
    """Who else may use the control socket, by name or number; the `read_` ones may only look."""

    users: tuple[str | int, ...] = ()
    groups: tuple[str | int, ...] = ()
    read_users: tuple[str | int, ...] = ()
    read_groups: tuple[str | int, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """The `[daemon]` table. `pools` are named slots and their number; a pool that is not among
    them has one. `log_dir` and `state_dir` are None where the jobfile leaves them to
    the environment; `timezone` is an IANA name; `stop_timeout` and `history_keep` are in seconds,
    `history_max_size` in bytes, both None for no limit."""

    timezone: str = "UTC"
    log_dir: Path | None = None
    state_dir: Path | None = None
    max_running: int = 16
    pools: tuple[tuple[str, int], ...] = ()
    stop_timeout: float = 30.0
    history_keep: float | None = None
    history_max_size: int | None = None
    control: Access = Access()
    metrics: Metrics | None = None


@dataclass(frozen=True, slots=True)
class Jobfile:
    """A valid jobfile and whatever it includes: `files` are the absolute paths that were read, the
    named one first; `jobs` are in the order of the files; `warnings` are for the user to read."""

    path: Path
    settings: Settings = Settings()
    jobs: dict[str, Job] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
