"""The files that stsd lays down for a newcomer: a first jobfile, and the units for systemd.

They ship as templates that are right as they stand; here the paths of this installation are put
in. Reads the templates and nothing else, and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from importlib.resources import files

from stsd.errors import StsdError

_EXEC = re.compile(r"^(Exec\w+)=\S+ (run|reload) --config (\S+)$", re.MULTILINE)
_RELOAD = re.compile(r"^ExecReload=(.+) (?:reload|check) --config (\S+)$", re.MULTILINE)
_SPECIAL = re.compile(r"[\s\"'\\$]|[^ -~]")
_FOLDERS = ('log_dir = "run/log"', 'state_dir = "run/state"')


class Variant(StrEnum):
    """Who runs stsd, by the name of the unit's template."""

    SYSTEM = "stsd.service"
    UNPRIVILEGED = "stsd-unprivileged.service"
    USER = "stsd-user.service"


def unit(variant: Variant, program: Sequence[str], jobfile: str | None = None) -> str:
    """The text of a unit that runs this program (absolute, with its first arguments) on a jobfile,
    by default the one of the template.

    Raises StsdError for paths that a unit cannot hold.
    """
    text = _template(f"systemd/{variant}")
    command = " ".join(_word(word) for word in program)
    usual = _EXEC.findall(text)[0][2]
    text = _EXEC.sub(rf"\1={command} \2 --config \3", text)
    if jobfile is None:
        return text
    for name in (usual, usual.replace("%E", "~/.config")):
        text = text.replace(name, _word(jobfile))
    return text


def reload_drop_in(text: str) -> str:
    """The drop-in with which systemd 253 and later do the reloads of the unit with this text."""
    program, jobfile = _RELOAD.findall(text)[0]
    check = f"ExecReload={program} check --config {jobfile}"
    return _RELOAD.sub(lambda _: check, _template("systemd/stsd-notify-reload.conf"))


def first_jobfile(log_dir: str, state_dir: str) -> str:
    """A jobfile that runs as it is and explains itself, with these folders."""
    text = _template("jobs.toml")
    for line, folder in zip(_FOLDERS, (log_dir, state_dir), strict=True):
        name = line.partition(" ")[0]
        text = text.replace(line, f'{name} = "{folder}"')
    return text


def _template(name: str) -> str:
    return files("stsd").joinpath("templates", name).read_text(encoding="utf-8")


def _word(path: str) -> str:
    """A path as one word of a command line in a unit; see systemd.service(5), "Command lines"."""
    if _SPECIAL.search(path):
        raise StsdError(
            f"a unit cannot name {path!r} (let the path be of plain characters, without spaces)"
        )
    return path.replace("%", "%%")
