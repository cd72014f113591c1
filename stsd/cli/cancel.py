"""`stsd cancel`: ends runs before their time, in whatever phase they are."""

from __future__ import annotations

import argparse

from stsd.cli.talk import ask
from stsd.cli.terminal import tell
from stsd.errors import UsageError

EXAMPLE = """\
examples:
  stsd cancel backup@20261121T023000Z          this run
  stsd cancel backup                           all runs of the job that have not ended

A running attempt is sent its job's stop_signal, and KILL after its stop_grace; no other attempt
follows. A run that waits, for its turn or for its next attempt, is called off."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd cancel`."""
    parser.add_argument(
        "runs", nargs="*", metavar="RUN|JOB", help="runs by their ids, or all of a job"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the ids of the runs that are called off; 1 if there were none."""
    if not arguments.runs:
        raise UsageError("name a run or a job (stsd status shows what is running)")
    cancelled = ask(arguments, "cancel", runs=list(dict.fromkeys(arguments.runs)))["cancelled"]
    for run_id in cancelled:
        print(run_id)
    if not cancelled:
        tell(f"nothing to cancel: no run of {', '.join(arguments.runs)} is going on")
    return 0 if cancelled else 1
