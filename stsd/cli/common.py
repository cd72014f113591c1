"""What the commands share: which jobfile, colours, tables, instants as a person writes them."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from stsd.cli.terminal import painted, terminal_of

if TYPE_CHECKING:
    from stsd.places import Places
    from stsd.settings import Settings

SYSTEM_JOBFILE = Path("/etc/stsd/jobs.toml")
# What LogsDirectory= and StateDirectory= of the unit make.
_SERVICE = {"LOGS_DIRECTORY": Path("/var/log/stsd"), "STATE_DIRECTORY": Path("/var/lib/stsd")}
_LONGEST_LINE = 120
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def config_path(arguments: argparse.Namespace) -> Path:
    """The jobfile: `-c`, else $STSD_CONFIG, else ./jobs.toml, else /etc/stsd/jobs.toml."""
    named = arguments.config or os.environ.get("STSD_CONFIG")
    if named:
        return Path(named)
    here = Path("jobs.toml")
    return here if here.exists() else SYSTEM_JOBFILE


def log_dir_of(arguments: argparse.Namespace) -> Path:
    """The log folder of the daemon that runs this jobfile."""
    return places_of(arguments).log_dir


def places_of(arguments: argparse.Namespace) -> Places:
    """The folders of the daemon that runs this jobfile. Where neither the jobfile nor the
    environment names them, that daemon is asked: it may have been given them by systemd."""
    from stsd.jobfile import load_settings
    from stsd.places import Places

    path = config_path(arguments)
    settings = load_settings(path)
    if settings.log_dir is None and not os.environ.get("LOGS_DIRECTORY"):
        from stsd.client import RefusedError, find
        from stsd.errors import NoDaemonError

        with suppress(NoDaemonError, RefusedError), find(path) as client:
            return Places(Path(client.hello["log_dir"]), Path(client.hello["state_dir"]))
    return files_of(settings, path)


def files_of(settings: Settings, path: Path) -> Places:
    """The folders of a daemon that cannot be asked, by its jobfile, the environment or XDG. Those
    of the service, if it is the service's jobfile: systemd has made them and tells only it."""
    from stsd.places import places

    environ = dict(os.environ)
    if path.absolute() == SYSTEM_JOBFILE and os.path.lexists(_SERVICE["STATE_DIRECTORY"]):
        environ = {**{name: str(folder) for name, folder in _SERVICE.items()}, **environ}
    return places(settings, environ)


def tell_damage(segment: Path, line: bytes) -> None:
    """Warn of a line of the history that is no record."""
    told = f"stsd: {segment}: a damaged line is passed over: {visible(repr(line[:60]))}"
    print(style(told, "yellow", sys.stderr), file=sys.stderr)


def style(text: str, name: str, stream: TextIO) -> str:
    """The text in a colour or weight, where the stream has them."""
    return painted(text, name, terminal_of(stream))


def visible(text: str) -> str:
    """Text from outside, with its control characters shown instead of obeyed."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def caret_under(text: str, column: int) -> tuple[str, str]:
    """One line of text from outside, cut to what a screen holds, and the line beneath it with a
    caret under the column (from 1)."""
    first = max(0, column - _LONGEST_LINE // 2) if len(text) > _LONGEST_LINE else 0
    before = visible(text[first : column - 1].replace("\t", " "))
    after = visible(text[column - 1 : first + _LONGEST_LINE].replace("\t", " "))
    return f"{before}{after}", f"{' ' * len(before)}^"


def print_json(record: Mapping[str, Any]) -> None:
    """One JSON line on standard output."""
    print(json.dumps(record, ensure_ascii=True))


def print_table(
    head: Sequence[str], rows: Sequence[Sequence[str]], colours: Mapping[str, str]
) -> None:
    """Columns on standard output, as wide as their widest cell; `colours` by a cell's text."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for number, row in enumerate([head, *rows]):
        cells = []
        for text, width in zip(row, widths, strict=True):
            shade = "dim" if number == 0 else colours.get(text)
            padded = text.ljust(width)
            cells.append(style(padded, shade, sys.stdout) if shade else padded)
        print("  ".join(cells).rstrip())


def local_time(instant: float) -> str:
    """An instant for a reader on this machine: `2026-11-21 02:30:00`."""
    return f"{datetime.fromtimestamp(instant, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
