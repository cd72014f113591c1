"""`stsd next`: the coming occurrences, of a jobfile or of one expression, without a daemon."""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import chain, islice, takewhile
from math import floor

from stsd.cli.common import (
    caret_under,
    config_path,
    print_json,
    style,
    visible,
)
from stsd.cli.moments import parse_instant
from stsd.cron import is_hashed
from stsd.describe import describe, describe_at, describe_every
from stsd.errors import ScheduleError, UnitError, UsageError
from stsd.jobfile import load, machine_zone
from stsd.model import Job, ShellTask, When
from stsd.triggers import Schedule, expand, schedule_for
from stsd.units import format_duration, parse_duration
from stsd.values import did_you_mean
from stsd.wallclock import local

EXAMPLE = """\
examples:
  stsd next                                    the next ten occurrences of all jobs
  stsd next backup report -n 20
  stsd next --until 2026-12-24
  stsd next --cron '30 2 * * *' --timezone America/New_York --from 2026-03-07
  stsd next --every 90m
  stsd next --at 'mon-fri 10:30' --timezone Europe/Berlin"""

_USUAL = 10
_NUMBER = re.compile(r"[0-9]{1,20}")
_MOMENT_WIDTH = len("Sun 2026-03-08 03:00:00 -04:00")
_FROM_NOW_WIDTH = len("in 23h59m")
_SHORTEST_NAME = 12


@dataclass(frozen=True, slots=True)
class Coming:
    """One occurrence to be shown."""

    at: int
    order: int
    job: Job
    schedule: Schedule


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd next`."""
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="only these jobs")
    parser.add_argument("-n", type=int, metavar="N", help=f"how many (default: {_USUAL})")
    parser.add_argument("--from", dest="start", metavar="T", help="after this time (default: now)")
    parser.add_argument("--until", metavar="T", help="up to this time; then -n has no default")
    one = parser.add_argument_group("one schedule instead of a jobfile, of one or more of")
    one.add_argument("--cron", action="append", metavar="EXPR", help="a cron expression")
    one.add_argument("--every", action="append", metavar="DURATION", help="an interval")
    one.add_argument("--at", action="append", metavar="TIME", help="a time of day or week")
    one.add_argument("--timezone", metavar="ZONE", help="its zone (default: the machine's)")
    parser.add_argument("--json", action="store_true", help="one JSON line an occurrence")


def run(arguments: argparse.Namespace) -> int:
    """Print the coming occurrences of all that was asked for, in the order of time."""
    if arguments.n is not None and arguments.n < 1:
        raise UsageError("-n counts from 1")
    zone = arguments.timezone or machine_zone()
    written = bool(arguments.cron or arguments.every or arguments.at)
    if arguments.timezone and not written:
        raise UsageError("--timezone goes with --cron, --every or --at; a job has its own")
    jobs = [_from_arguments(arguments, zone)] if written else _from_jobfile(arguments)
    now = time.time()
    start = parse_instant(arguments.start, now, zone) if arguments.start else now
    coming = _coming(jobs, start)
    limit = arguments.n or _USUAL
    if arguments.until:
        until = parse_instant(arguments.until, now, zone)
        if until <= start:
            raise UsageError(f"--until {arguments.until} is not after {arguments.start or 'now'}")
        coming = takewhile(lambda item: item.at <= until, coming)
        limit = arguments.n
    shown = islice(coming, limit)
    if arguments.json:
        for item in shown:
            at = local(item.at, item.job.when.timezone).isoformat()
            print_json({"job": item.job.name, "at": at})
    else:
        if written:
            _explain(jobs[0])
        _print_table(shown, jobs, now, with_names=not written)
    return 0


# -- one schedule from the command line


def _from_arguments(arguments: argparse.Namespace, zone: str) -> Job:
    if arguments.jobs:
        raise UsageError("name jobs of a jobfile, or give an expression, not both")
    crons, ats, periods = arguments.cron or [], arguments.at or [], arguments.every or []
    if len(periods) > 1:
        raise UsageError("--every is given twice; a job has one period")
    every = _period(periods[0]) if periods else None
    for text in crons:
        _checked(When(cron=(text,), timezone=zone), text)
    for text in ats:
        _checked(When(at=(text,), timezone=zone), text)
    name = " + ".join([*crons, *ats, *(f"every {text}" for text in periods)])
    when = When(cron=tuple(crons), at=tuple(ats), every=every, timezone=zone)
    return Job(name, ShellTask(""), _checked(when, ""))


def _checked(when: When, text: str) -> When:
    """The schedule without its macros. Raises UsageError, which points at the place in the text."""
    try:
        when = expand(when)
        schedule_for(when, "")
    except ScheduleError as error:
        place = ""
        if text and error.column is not None and error.key != "timezone":
            line, caret = caret_under(text, error.column)
            place = f"\n  {line}\n  {caret}"
        raise UsageError(f"--{error.key}: {error}{place}") from error
    return when


def _period(text: str) -> int:
    """Whole seconds of what a jobfile's `every` takes: a duration, or a number of seconds."""
    try:
        seconds = parse_duration(int(text) if _NUMBER.fullmatch(text) else text)
    except UnitError as error:
        raise UsageError(f"--every: {error}") from error
    if not seconds.is_integer():
        raise UsageError(f"--every: {text} is not a whole number of seconds (at least 1s)")
    return int(seconds)


def _explain(job: Job) -> None:
    """What the schedule means, in words; on standard error, so that the table stays a table."""
    if job.when.on_start:
        _tell("@reboot: when stsd starts")
    for text in job.when.cron:
        _tell(f"{text}: {describe(text, job.name)}")
        if is_hashed(text):
            _tell("H is another value for each job's name; `stsd next JOB` has the real one")
    for text in job.when.at:
        _tell(f"{text}: {describe_at(text)}")
    if job.when.every is not None:
        _tell(describe_every(job.when.every))


# -- jobs of a jobfile


def _from_jobfile(arguments: argparse.Namespace) -> list[Job]:
    jobfile = load(config_path(arguments), local_zone=machine_zone())
    named = list(dict.fromkeys(arguments.jobs))
    for name in named:
        if name not in jobfile.jobs:
            hint = did_you_mean(name, jobfile.jobs)
            remedy = f" ({hint})" if hint else ""
            raise UsageError(f"no job {visible(name)} in {jobfile.path}{remedy}")
    jobs = [jobfile.jobs[name] for name in named]
    for job in jobs:
        if not job.enabled:
            _tell(f"{job.name} is not enabled; this is when it would run")
        if schedule_for(job.when, job.name) == Schedule():
            how = "when stsd starts" if job.when.on_start else "by hand only"
            _tell(f"{job.name} is started {how}")
    return jobs or [job for job in jobfile.jobs.values() if job.enabled]


def _tell(text: str) -> None:
    """One line for a person; standard output is for the occurrences."""
    print(visible(text), file=sys.stderr)


# -- the occurrences


def _coming(jobs: Iterable[Job], start: float) -> Iterator[Coming]:
    streams = [_of_one(job, order, floor(start)) for order, job in enumerate(jobs)]
    return merge(*streams, key=lambda item: (item.at, item.order))


def _of_one(job: Job, order: int, start: int) -> Iterator[Coming]:
    schedule = schedule_for(job.when, job.name)
    due = schedule.next_after(start)
    while due is not None:
        yield Coming(due.at, order, job, schedule)
        due = schedule.next_after(due.at)


def _print_table(
    coming: Iterator[Coming], jobs: list[Job], now: float, *, with_names: bool
) -> None:
    """Row by row as they come, for there may be millions."""
    zones = {job.when.timezone for job in jobs}
    widths = [_MOMENT_WIDTH if len(zones) == 1 else _MOMENT_WIDTH + len(" AEST"), _FROM_NOW_WIDTH]
    names = max((len(job.name) for job in jobs), default=0) if with_names else 0
    widths += [max(len("JOB"), min(names, _room_for_names(sum(widths))))] if with_names else []
    head = ["WHEN" if len(zones) > 1 else f"WHEN ({next(iter(zones), '')})", "FROM NOW"]
    head += ["JOB"] if with_names else []
    first = next(coming, None)
    if first is None:
        _tell("nothing comes")
        return
    print(style(_row(head, widths, "NOTE"), "dim", sys.stdout))
    for item in chain([first], coming):
        cells = [_shown(local(item.at, item.job.when.timezone), abbreviated=len(zones) > 1)]
        cells.append(_from_now(item.at - now))
        cells += [_cut(item.job.name, widths[2])] if with_names else []
        note = str(item.schedule.explain(item.at) or "")
        print(_row(cells, widths, style(note, "yellow", sys.stdout) if note else ""))


def _room_for_names(taken: int) -> int:
    """How long a job's name may be: to the edge of the screen; off a terminal, any length."""
    if not sys.stdout.isatty():
        return sys.maxsize
    columns = shutil.get_terminal_size().columns
    return max(_SHORTEST_NAME, columns - taken - len("      NOTE"))


def _row(cells: list[str], widths: list[int], note: str) -> str:
    padded = [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
    return "  ".join([*padded, note]).rstrip()


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else f"{name[: width - 1]}…"


def _shown(moment: datetime, *, abbreviated: bool) -> str:
    """`Sun 2026-03-08 03:00:00 -04:00`, with the zone's `EDT` where rows of several zones meet."""
    name = moment.tzname() or ""
    zone = f" {name}" if abbreviated and name.isalpha() else ""
    return f"{moment:%a} {moment.isoformat(' ')[:19]} {moment.isoformat()[19:]}{zone}"


def _from_now(seconds: float) -> str:
    whole = round(seconds)
    return f"in {format_duration(whole)}" if whole >= 0 else f"{format_duration(-whole)} ago"
