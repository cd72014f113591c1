"""The command line: which commands there are, and the way from an argument list to an exit code.

Imports only what the named command needs; `--version` and `--help` none of the core.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Collection, Sequence

from stsd import __version__

COMMANDS = {
    "run": "the daemon, in the foreground or detached",
    "check": "validate the jobfile",
    "next": "the coming occurrences of a jobfile, or of one expression",
    "status": "jobs with their last end, next time and running runs",
    "trigger": "start jobs by hand",
    "cancel": "end runs before their time",
    "pause": "skip what falls due of jobs, for a while or until they are resumed",
    "resume": "end the pause of jobs",
    "reload": "bring the jobfile into force, or see what that would change",
    "history": "what ran, newest first",
    "logs": "the captured output of runs",
    "why": "why a job ran, or did not run, at a time",
    "notify": "try out whether people are told of a job",
    "audit": "the books: what was demanded against what is recorded",
    "import-crontab": "a jobfile of crontabs, and what could not be carried over",
    "init": "a first jobfile, or the unit that has systemd run stsd",
    "schema": "the JSON Schema of the jobfile, for editors",
    "completion": "what makes a shell complete the words of stsd",
}

DONE, FAILED, MISUSED, NO_DAEMON = 0, 1, 2, 3
_VERSION = f"stsd {__version__}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 the thing asked about failed, 2 wrong
    usage or invalid jobfile, 3 no daemon to talk to."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words == ["--version"]:  # at once, without a parser for each command
        print(_VERSION)
        return DONE
    plain = [word for word in words if not word.startswith("-")]
    parser = build_parser(plain[:1])
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return DONE
    return _perform(arguments)


def _perform(arguments: argparse.Namespace) -> int:
    """Run the command that was parsed, and tell what it refuses."""
    from stsd.errors import (  # a third of what `--version` would take
        JobfileError,
        NoDaemonError,
        ScheduleError,
        StsdError,
        UnitError,
        UsageError,
    )

    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except JobfileError as error:
        print(error, file=sys.stderr)
        return MISUSED
    except StsdError as error:
        print(f"stsd: {error}", file=sys.stderr)
        if isinstance(error, NoDaemonError):
            return NO_DAEMON
        return MISUSED if isinstance(error, UsageError | UnitError | ScheduleError) else FAILED
    except KeyboardInterrupt:
        return 130
    except PermissionError as error:
        remedy = "it is for root and the user who runs stsd"
        print(f"stsd: {error.filename}: permission denied ({remedy})", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # `stsd history | head`: the reader has seen enough. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return code


def build_parser(configured: Collection[str]) -> argparse.ArgumentParser:
    """The parser of the whole command line; only those of the `configured` commands know their
    options, since these cost an import each."""
    parser = argparse.ArgumentParser(
        prog="stsd", description="A cron-like daemon with a TOML jobfile, whose books balance."
    )
    parser.add_argument("--version", action="version", version=_VERSION)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name in configured:
            _configure(command, name, summary)
    return parser


def _configure(command: argparse.ArgumentParser, name: str, summary: str) -> None:
    module = importlib.import_module(f"stsd.cli.{name.replace('-', '_')}")
    command.description = f"{summary[0].upper()}{summary[1:]}."
    command.epilog = module.EXAMPLE
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    if getattr(module, "TAKES_JOBFILE", True):
        command.add_argument(
            "-c",
            "--config",
            metavar="FILE",
            help="the jobfile (else $STSD_CONFIG, ./jobs.toml, /etc/stsd/jobs.toml)",
        )
    module.configure(command)
    command.set_defaults(run=module.run)
