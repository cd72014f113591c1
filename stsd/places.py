"""Where stsd keeps its files, by the jobfile, by systemd's environment or by XDG's.

Decides on names only; creates nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stsd.settings import Settings


@dataclass(frozen=True, slots=True)
class Places:
    """The two folders of a daemon, absolute."""

    log_dir: Path
    state_dir: Path


def places(settings: Settings, environ: Mapping[str, str]) -> Places:
    """The jobfile's folders, else systemd's ($LOGS_DIRECTORY and $STATE_DIRECTORY, see
    systemd.exec(5)), else those below $XDG_STATE_HOME (XDG Base Directory Specification)."""
    state_home = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "stsd"
    return Places(
        log_dir=settings.log_dir or _first(environ.get("LOGS_DIRECTORY")) or state_home / "log",
        state_dir=settings.state_dir or _first(environ.get("STATE_DIRECTORY")) or state_home,
    )


def _first(folders: str | None) -> Path | None:
    """systemd separates several folders by colons; the first one is ours."""
    return Path(folders.split(":")[0]) if folders else None
