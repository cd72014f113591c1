"""`stsd resume`: ends the pause of jobs. What fell due meanwhile is not run."""

from __future__ import annotations

import argparse

from stsd.cli.talk import add_selection, ask, selection
from stsd.cli.terminal import tell

EXAMPLE = """\
examples:
  stsd resume backup
  stsd resume --tag nightly

Nothing is run for a time that has passed; `stsd trigger` does that."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd resume`."""
    add_selection(parser)


def run(arguments: argparse.Namespace) -> int:
    """Resume the jobs; one that is not paused is no error."""
    resumed = ask(arguments, "resume", **selection(arguments))["resumed"]
    for job in resumed:
        print(f"{job} is resumed")
    for job in arguments.jobs:
        if job not in resumed:
            tell(f"{job} was not paused")
    if not resumed and not arguments.jobs:
        tell("none of these jobs was paused")
    return 0
