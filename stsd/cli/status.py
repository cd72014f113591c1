"""`stsd status`: the jobs at a glance, or one in depth; asked of the daemon, else of its files."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from itertools import chain
from pathlib import Path

from stsd.cli.answers import Answer, Damaged, answer_to
from stsd.cli.common import print_json, tell_damage, visible
from stsd.cli.statusview import glance, summary
from stsd.cli.terminal import Line, Span, Terminal, tell, terminal_of, working, write
from stsd.cli.watch import Picture, watch
from stsd.cli.wording import clock_time, span
from stsd.errors import StsdError, UsageError

EXAMPLE = """\
examples:
  stsd status                                  all jobs: state, last end, next time, last ten ends
  stsd status backup                           one job in depth
  stsd status --watch --tag nightly            drawn anew each second; q leaves
  stsd status --json | jq -r 'select(.last_outcome == "failed").job'

In RECENT, the newest last: ✓ succeeded, ✗ failed, T timed_out, S spawn_failed, I interrupted,
C cancelled; in words where there are no colours (NO_COLOR=1) and off a terminal."""

_FIRST = ("job", "state", "next", "last_outcome", "running")
_SEPARATOR: Line = ()


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd status`."""
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="these jobs, each in depth")
    parser.add_argument("--tag", action="append", metavar="T", help="only jobs with this tag")
    parser.add_argument("-w", "--watch", action="store_true", help="drawn anew each second")
    parser.add_argument("--json", action="store_true", help="one JSON line a job")


def run(arguments: argparse.Namespace) -> int:
    """Print the state of jobs; without a daemon as its files tell it, which is no failure."""
    if arguments.watch:
        if arguments.json:
            raise UsageError("--watch is for people, --json for programs; give one of the two")
        _watch(arguments)
        return 0
    with working("asking stsd"):
        answer = answer_to(arguments)
    if answer.told:
        tell(f"stsd: {answer.told}", "yellow")
    if arguments.json:
        for row in answer.rows:
            print_json({name: row[name] for name in chain(_FIRST, row)})
        return 0
    with working("reading the jobfile and the history"):
        picture = _picture(arguments, answer, time.time(), terminal_of(sys.stdout))
    write([*picture.head, *picture.body, *picture.foot], sys.stdout)
    return 0


def _picture(
    arguments: argparse.Namespace, answer: Answer, now: float, terminal: Terminal
) -> Picture:
    if arguments.jobs:
        return _in_depth(answer, now, terminal)
    lines = glance(answer.rows, now, terminal)
    foot = summary(answer.rows, answer.daemon, now, terminal)
    if not lines:
        tags = f" with the tag {visible(' or '.join(arguments.tag))}" if arguments.tag else ""
        return Picture((), [(Span(f"no jobs{tags}"),)], foot[1:])
    return Picture(lines[:1], lines[1:], foot)


def _in_depth(answer: Answer, now: float, terminal: Terminal) -> Picture:
    """Job by job."""
    from stsd.cli.jobview import in_depth
    from stsd.cli.knowledge import known_of

    lines: list[Line] = []
    for number, known in enumerate(known_of(answer)):
        lines += [*([_SEPARATOR] if number else []), *in_depth(known, now, terminal)]
    return Picture((), lines)


def _watch(arguments: argparse.Namespace) -> None:
    live = _Live(arguments)
    watch(live.draw)


class _Live:
    """What `--watch` draws: the last answer, under a line that tells how old it is."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._lost_at: float | None = None
        self._trouble = ""
        self._refresh(tell_damage)

    def draw(self, terminal: Terminal) -> Picture:
        """The picture of this moment."""
        now = time.time()
        try:
            self._refresh(_told_at_first)
        except StsdError as error:
            self._trouble = str(error).splitlines()[0]
            self._lost_at = self._lost_at or now
        else:
            self._lost_at = None
        picture = _picture(self._arguments, self._answer, now, terminal)
        return replace(picture, head=[self._title(now), *picture.head])

    def _refresh(self, damaged: Damaged) -> None:
        self._answer = answer_to(self._arguments, damaged)

    def _title(self, now: float) -> Line:
        clock = f"{clock_time(now, now)}  (q leaves)"
        if self._lost_at is not None:
            lost = f"no answer for {span(now - self._lost_at)}: {self._trouble}  "
            return (Span(lost, "red"), Span(clock, "dim"))
        if self._answer.daemon is None:
            return (Span("no daemon is running; from its files  ", "red"), Span(clock, "dim"))
        return (Span(clock, "dim"),)


def _told_at_first(segment: Path, line: bytes) -> None:
    """Damaged lines are told before the screen is taken over."""
