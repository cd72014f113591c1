"""The command line: which commands there are, and the way from an argument list to an exit code.

Imports only what the named command needs; `--version` and `--help` none of the core.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from stsd import __version__
from stsd.errors import JobfileError, ScheduleError, StsdError, UnitError, UsageError

COMMANDS = {
    "run": "the daemon, in the foreground or detached",
    "check": "validate the jobfile",
    "next": "the coming occurrences of a jobfile, or of one expression",
    "history": "what ran, newest first",
    "logs": "the captured output of runs",
    "audit": "the books: what was demanded against what is recorded",
}

DONE, FAILED, MISUSED, NO_DAEMON = 0, 1, 2, 3
_MISUSES = (UsageError, UnitError, ScheduleError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 done, 1 the thing asked about failed, 2 wrong
    usage or invalid jobfile, 3 no daemon to talk to."""
    words = list(sys.argv[1:] if argv is None else argv)
    plain = [word for word in words if not word.startswith("-")]
    parser = _parser(plain[0] if plain else None)
    arguments = parser.parse_args(words)
    if arguments.command is None:
        parser.print_help()
        return DONE
    try:
        code: int = arguments.run(arguments)
        sys.stdout.flush()
    except JobfileError as error:
        print(error, file=sys.stderr)
        return MISUSED
    except StsdError as error:
        print(f"stsd: {error}", file=sys.stderr)
        return MISUSED if isinstance(error, _MISUSES) else FAILED
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # `stsd history | head`: the reader has seen enough. Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    return code


def _parser(named: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stsd", description="A cron-like daemon with a TOML jobfile, whose books balance."
    )
    parser.add_argument("--version", action="version", version=f"stsd {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary)
        if name == named:
            _configure(command, name, summary)
    return parser


def _configure(command: argparse.ArgumentParser, name: str, summary: str) -> None:
    module = importlib.import_module(f"stsd.cli.{name}")
    command.description = f"{summary[0].upper()}{summary[1:]}."
    command.epilog = module.EXAMPLE
    command.formatter_class = argparse.RawDescriptionHelpFormatter
    command.add_argument(
        "-c",
        "--config",
        metavar="FILE",
        help="the jobfile (else $STSD_CONFIG, ./jobs.toml, /etc/stsd/jobs.toml)",
    )
    module.configure(command)
    command.set_defaults(run=module.run)
