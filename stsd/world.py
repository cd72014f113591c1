"""What the daemon is given of the outside by whoever starts it. Does nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from stsd.journal import Journal
from stsd.logs import Sink
from stsd.places import Places
from stsd.settings import Jobfile
from stsd.systemd import Notifier


@dataclass(frozen=True, slots=True)
class World:
    """What a daemon is given of the outside. `load` reads the jobfile anew, and raises
    JobfileError; `restart` replaces the process in place, and does not return; `in_place` tells
    that this has just been done; `environ` is the children's base environment; `sockets` are the
    folders that the control socket may be in."""

    load: Callable[[], Jobfile]
    restart: Callable[[], None]
    in_place: bool
    places: Places
    environ: Mapping[str, str]
    log: FilteringBoundLogger
    sink: Sink | Journal
    notifier: Notifier
    sockets: Sequence[Path]
