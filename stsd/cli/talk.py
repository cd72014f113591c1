"""What the commands share that ask a daemon: which one, which jobs, and what a refusal means."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stsd.cli.common import config_path, visible
from stsd.cli.terminal import working
from stsd.client import Client, RefusedError, find
from stsd.errors import StsdError, UsageError
from stsd.protocol import Trouble

_MISUSES = (Trouble.UNKNOWN_JOB, Trouble.BAD_REQUEST, Trouble.INVALID_JOBFILE)


def daemon_of(arguments: argparse.Namespace) -> Client:
    """The daemon of the jobfile that is meant. Raises NoDaemonError, RefusedError."""
    named = bool(arguments.config or os.environ.get("STSD_CONFIG"))
    return find(config_path(arguments), named=named)


def ask(arguments: argparse.Namespace, do: str, **wanted: object) -> dict[str, Any]:
    """The daemon's answer to one request. Raises as `daemon_of` and `explained`."""
    with working("waiting for stsd"), daemon_of(arguments) as client:
        try:
            return client.ask(do, **wanted)
        except RefusedError as error:
            raise explained(error) from error


def explained(error: RefusedError) -> StsdError:
    """The refusal as this command line tells it: what was written wrongly is a wrong usage."""
    return UsageError(str(error)) if error.kind in _MISUSES else error


def unknown_job(name: str, known: Iterable[str], path: Path) -> UsageError:
    """The refusal of a name that no job has."""
    from stsd.values import did_you_mean

    hint = did_you_mean(name, known)
    return UsageError(f"no job {visible(name)} in {path}{f' ({hint})' if hint else ''}")


def add_selection(parser: argparse.ArgumentParser) -> None:
    """Jobs by name or by tag."""
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="these jobs")
    parser.add_argument("--tag", action="append", metavar="T", help="all jobs with this tag")


def selection(arguments: argparse.Namespace) -> dict[str, list[str]]:
    """The jobs and tags of a request that changes something. Raises UsageError without any."""
    if not arguments.jobs and not arguments.tag:
        raise UsageError("name jobs, or give a --tag (stsd status shows the jobs)")
    return {
        "jobs": list(dict.fromkeys(arguments.jobs)),
        "tags": list(dict.fromkeys(arguments.tag or ())),
    }
