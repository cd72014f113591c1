"""`stsd pause`: what falls due of these jobs is skipped, on record, until they are resumed."""

from __future__ import annotations

import argparse
import time

from stsd.cli.talk import add_selection, ask, selection
from stsd.cli.wording import clock_time, coming
from stsd.errors import UnitError, UsageError
from stsd.units import parse_duration

EXAMPLE = """\
examples:
  stsd pause backup                            until `stsd resume backup`
  stsd pause backup --for 2h --reason 'the disk is being changed'
  stsd pause --tag nightly

A running job goes on; a pause outlives a restart of stsd."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd pause`."""
    add_selection(parser)
    parser.add_argument("--for", dest="duration", metavar="TIME", help="for so long: 90s, 2h, 1d")
    parser.add_argument("--reason", metavar="TEXT", help="why; `stsd status` shows it")


def run(arguments: argparse.Namespace) -> int:
    """Pause the jobs and say until when."""
    seconds = _seconds(arguments.duration)
    chosen = selection(arguments)
    answer = ask(arguments, "pause", **chosen, for_s=seconds, reason=arguments.reason)
    now = time.time()
    until = "it is resumed"
    if seconds is not None:
        until = f"{clock_time(now + seconds, now)} ({coming(seconds)})"
    for job in answer["paused"]:
        print(f"{job} is paused until {until}")
    return 0


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except UnitError as error:
        raise UsageError(f"--for: {error}") from error
