"""`stsd init`: a first jobfile, and the unit with which systemd runs this installation of stsd.

Never overwrites without being told to, and a jobfile that systemd's stsd reads not even then.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import stsd
from stsd.cli.common import SYSTEM_JOBFILE, style
from stsd.errors import StsdError, UsageError
from stsd.unitfile import Variant, first_jobfile, reload_drop_in, unit

EXAMPLE = """\
examples:
  stsd init                                    ./jobs.toml, to begin with
  sudo stsd init --systemd                     a service that runs /etc/stsd/jobs.toml
  sudo stsd init --systemd --unprivileged      the same, for jobs that need no root
  stsd init --systemd --user                   a service of yours, without root
  stsd init --systemd --print                  what it would write"""
TAKES_JOBFILE = False

_WAITS_FOR_RELOADS = 253  # the version of systemd from which on Type=notify-reload is known
_HIDDEN = {
    Variant.SYSTEM: ("/tmp", "/var/tmp"),  # noqa: S108 - named, not used: PrivateTmp= hides them
    Variant.UNPRIVILEGED: ("/tmp", "/var/tmp", "/home", "/root", "/run/user"),  # noqa: S108
    Variant.USER: (),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd init`."""
    parser.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        type=Path,
        help="the jobfile to write, or that the unit names (default: ./jobs.toml; with --systemd "
        "/etc/stsd/jobs.toml, with --user ~/.config/stsd/jobs.toml)",
    )
    parser.add_argument(
        "--systemd", action="store_true", help="write the unit, and the jobfile if there is none"
    )
    whose = parser.add_mutually_exclusive_group()
    whose.add_argument("--user", action="store_true", help="with --systemd: a service of your own")
    whose.add_argument(
        "--unprivileged",
        action="store_true",
        help="with --systemd: a service without root's rights, tightly sandboxed",
    )
    parser.add_argument(
        "--root", metavar="DIR", type=Path, help="with --systemd: write below this folder"
    )
    parser.add_argument("--print", action="store_true", help="show it instead of writing it")
    parser.add_argument("--force", action="store_true", help="overwrite what is there")


def run(arguments: argparse.Namespace) -> int:
    """Write a jobfile, or a unit; or show what would be written."""
    if arguments.systemd:
        return _systemd(arguments)
    for name in ("user", "unprivileged", "root"):
        if getattr(arguments, name):
            raise UsageError(f"--{name} goes with --systemd")
    text = first_jobfile("run/log", "run/state")
    if arguments.print:
        print(text, end="")
        return 0
    path = arguments.config or Path("jobs.toml")
    _write(path, text, force=arguments.force)
    named = "" if path == Path("jobs.toml") else f" -c {path}"
    print(f"wrote {path}; next:")
    print(f"  stsd check{named}    is it right?")
    print(f"  stsd run{named}      run it; Ctrl-C ends it")
    return 0


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be written for systemd: the unit's files, and the jobfile if it is missing."""

    variant: Variant
    program: tuple[str, ...]
    units: tuple[tuple[Path, str], ...]
    jobfile: Path
    first: str


def _systemd(arguments: argparse.Namespace) -> int:
    plan = _planned(arguments)
    if arguments.print:
        print("\n".join(f"# {path}\n{text}" for path, text in plan.units), end="")
        return 0
    _check_reach(plan)
    root = arguments.root or Path("/")
    for path, text in plan.units:
        _write(_below(root, path), text, force=arguments.force)
        print(f"wrote {_below(root, path)}")
    print(f"  it runs {' '.join(plan.program)}")
    jobfile = _below(root, plan.jobfile)
    if os.path.lexists(jobfile):
        print(f"kept {jobfile}, which is there already")
    else:
        _write(jobfile, plan.first, force=False, private=plan.variant is Variant.SYSTEM)
        print(f"wrote {jobfile}, a first jobfile")
    print("next:")
    for line in _next_steps(plan):
        print(f"  {line}")
    return 0


def _planned(arguments: argparse.Namespace) -> _Plan:
    variant = Variant.SYSTEM
    folder, jobfile, state, named = Path("/etc/systemd/system"), SYSTEM_JOBFILE, "/var/lib/stsd", ""
    log_dir = "/var/log/stsd"
    if arguments.unprivileged:
        variant = Variant.UNPRIVILEGED
    elif arguments.user:
        variant = Variant.USER
        config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
        folder, jobfile = config / "systemd" / "user", config / "stsd" / "jobs.toml"
        state = str(Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state") / "stsd")
        log_dir = f"{state}/log"
    if arguments.config:
        jobfile = arguments.config.absolute()
        named = str(jobfile)
    program = _program()
    text = unit(variant, program, named or None)
    units = [(folder / "stsd.service", text)]
    if _version_of_systemd() >= _WAITS_FOR_RELOADS:
        units.append((folder / "stsd.service.d" / "notify-reload.conf", reload_drop_in(text)))
    return _Plan(variant, program, tuple(units), jobfile, first_jobfile(log_dir, state))


def _program() -> tuple[str, ...]:
    """How this installation is called: by the name it was called by now, not by what that links
    to, since an update may move that."""
    called = Path(sys.argv[0])
    if called.name == "stsd" and called.is_file():
        return (os.path.abspath(called),)
    return (sys.executable, "-m", "stsd")


def _version_of_systemd() -> int:
    """0 where there is none."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return 0
    done = subprocess.run([systemctl, "--version"], capture_output=True, text=True, check=False)
    match = re.match(r"systemd (\d+)", done.stdout)
    return int(match[1]) if match else 0


def _check_reach(plan: _Plan) -> None:
    """Refuses a unit that could not start this installation; warns of one that others could use
    to become root."""
    package = str(Path(stsd.__file__).parent)
    paths = (plan.program[0], sys.prefix, os.path.realpath(sys.executable), package)
    for path in paths:
        hidden = [top for top in _HIDDEN[plan.variant] if Path(path).is_relative_to(top)]
        if hidden:
            raise StsdError(
                f"{path} is below {hidden[0]}, which is hidden from this service "
                "(install stsd elsewhere, such as in /opt/stsd)"
            )
        if plan.variant is Variant.UNPRIVILEGED:
            _check_open(path)
    if plan.variant is Variant.USER:
        return
    for path, owner in {path: os.stat(path).st_uid for path in paths}.items():
        if owner != 0:
            told = f"warning: {path} belongs to user {owner}, who may change what the service runs"
            print(style(told, "yellow", sys.stderr), file=sys.stderr)


def _check_open(path: str) -> None:
    """Refuses a path that not everyone may follow."""
    for step in (Path(path), *Path(path).parents):
        if not step.stat().st_mode & 0o001:
            raise StsdError(
                f"{path} cannot be reached by a service without root's rights: {step} is closed to "
                "others (install stsd elsewhere, such as in /opt/stsd)"
            )


def _next_steps(plan: _Plan) -> Iterator[str]:
    user = " --user" if plan.variant is Variant.USER else ""
    yield f"systemctl{user} daemon-reload"
    yield f"systemctl{user} enable --now stsd"
    yield f"systemctl{user} status stsd"
    if user:
        yield "loginctl enable-linger      # so that jobs run while you are not logged in"
    if plan.jobfile != SYSTEM_JOBFILE:
        yield f"export STSD_CONFIG={plan.jobfile}      # for commands such as stsd history"


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _write(path: Path, text: str, *, force: bool, private: bool = False) -> None:
    """Writes a file whole or not at all, and the folders on the way to it; `private` closes a
    folder that is made for it to others. Raises StsdError."""
    if not force and os.path.lexists(path):
        raise StsdError(f"{path} is there already (--force overwrites it)")
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(mode=0o750 if private else 0o755, parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
        with open(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, 0o644)
            file.write(text)
        os.replace(draft, path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise StsdError(f"{path} cannot be written: {_in_words(error, path)}") from None


def _in_words(error: OSError, path: Path) -> str:
    match error:
        case PermissionError() if path.suffix == ".toml":
            return "permission denied (name another place with -c)"
        case PermissionError():
            return "permission denied (call it as root, or with --user)"
        case FileExistsError() | NotADirectoryError():
            return "one of its folders is a file"
        case _:
            return str(error.strerror)
