"""`stsd reload`: the jobfile as it is now comes into force, as a whole or not at all."""

from __future__ import annotations

import argparse
import sys
import time

from stsd.cli import check
from stsd.cli.common import print_json
from stsd.cli.planview import as_records, difference, summed
from stsd.cli.talk import ask
from stsd.cli.terminal import terminal_of, write
from stsd.errors import NoDaemonError

EXAMPLE = """\
examples:
  stsd reload                                  as SIGHUP, and says what changed
  stsd reload --dry-run                        what would change
  stsd reload --dry-run --json | jq 'select(.change == "removed").job'

Running jobs go on; nothing is run for a time that has passed."""


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd reload`."""
    parser.add_argument("-n", "--dry-run", action="store_true", help="change nothing")
    parser.add_argument("--json", action="store_true", help="one JSON line a difference")


def run(arguments: argparse.Namespace) -> int:
    """Print the difference between what was in force and the jobfile."""
    dry = arguments.dry_run
    try:
        plan = ask(arguments, "plan" if dry else "reload")["plan"]
    except NoDaemonError:
        if dry:  # as much as can be said without one
            code = check.run(arguments)
            if code:
                return code
        raise
    if arguments.json:
        for record in as_records(plan):
            print_json(record)
        return 0
    write(difference(plan, time.time(), terminal_of(sys.stdout)), sys.stdout)
    print(f"{'a reload would do' if dry else 'reloaded'}: {summed(plan)}")
    return 0
