"""`stsd next`: the coming occurrences, of a jobfile or of one expression, without a daemon."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from heapq import merge
from itertools import islice, takewhile

from stsd.cli.common import config_path, parse_instant, print_json, print_table
from stsd.describe import describe
from stsd.errors import ScheduleError, UsageError
from stsd.jobfile import load, machine_zone
from stsd.model import Job, ShellTask, When
from stsd.triggers import Schedule, expand, schedule_for
from stsd.units import format_duration, parse_duration
from stsd.wallclock import local

EXAMPLE = """\
examples:
  stsd next                                    the next ten occurrences of all jobs
  stsd next backup report -n 20
  stsd next --until 2026-12-24
  stsd next --cron '30 2 * * *' --timezone America/New_York --from 2026-03-07
  stsd next --every 90m
  stsd next --at 'mon-fri 10:30' --timezone Europe/Berlin"""


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
    parser.add_argument("-n", type=int, metavar="N", help="how many (default: 10)")
    parser.add_argument("--from", dest="start", metavar="T", help="after this time (default: now)")
    parser.add_argument("--until", metavar="T", help="not after this time; then -n is no limit")
    one = parser.add_argument_group("one expression instead of a jobfile")
    one.add_argument("--cron", action="append", metavar="EXPR", help="a cron expression")
    one.add_argument("--every", metavar="DURATION", help="an interval")
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
    until = parse_instant(arguments.until, now, zone) if arguments.until else None
    coming = _coming(jobs, start)
    if until is not None:
        coming = takewhile(lambda item: item.at <= until, coming)
    limit = arguments.n or (None if until is not None else 10)
    if written and not arguments.json:
        _explain(jobs[0].when)
    _print(list(islice(coming, limit)), now, arguments.json)
    return 0


def _explain(when: When) -> None:
    """What the expressions mean, in words; on standard error, so that the table stays a table."""
    for text in when.cron:
        print(f"{text}: {describe(text)}", file=sys.stderr)


def _from_arguments(arguments: argparse.Namespace, zone: str) -> Job:
    if arguments.jobs:
        raise UsageError("name jobs of a jobfile, or give an expression, not both")
    words = [*(arguments.cron or []), *(arguments.at or [])]
    try:
        every = _whole_seconds(arguments.every) if arguments.every else None
        when = expand(
            When(
                cron=tuple(arguments.cron or ()),
                at=tuple(arguments.at or ()),
                every=every,
                timezone=zone,
            )
        )
        schedule_for(when, "")
    except ScheduleError as error:
        raise UsageError(f"--{error.key}: {error}") from error
    return Job(
        " ".join([*words, *([f"every {arguments.every}"] if every else [])]), ShellTask(""), when
    )


def _whole_seconds(text: str) -> int:
    seconds = parse_duration(text)
    if seconds != int(seconds):
        raise UsageError(f"--every {text}: schedules are in whole seconds")
    return int(seconds)


def _from_jobfile(arguments: argparse.Namespace) -> list[Job]:
    jobfile = load(config_path(arguments), local_zone=machine_zone())
    unknown = [name for name in arguments.jobs if name not in jobfile.jobs]
    if unknown:
        raise UsageError(f"no job {', '.join(unknown)} in {jobfile.path}")
    jobs = [jobfile.jobs[name] for name in arguments.jobs] or [
        job for job in jobfile.jobs.values() if job.enabled
    ]
    for job in jobs if arguments.jobs else ():
        if schedule_for(job.when, job.name) == Schedule():
            how = "when stsd starts" if job.when.on_start else "by hand only"
            print(f"stsd: {job.name} is started {how}", file=sys.stderr)
    return jobs


def _coming(jobs: Iterable[Job], start: float) -> Iterator[Coming]:
    streams = [_of_one(job, order, int(start)) for order, job in enumerate(jobs)]
    return merge(*streams, key=lambda item: (item.at, item.order))


def _of_one(job: Job, order: int, start: int) -> Iterator[Coming]:
    schedule = schedule_for(job.when, job.name)
    due = schedule.next_after(start)
    while due is not None:
        yield Coming(due.at, order, job, schedule)
        due = schedule.next_after(due.at)


def _print(coming: list[Coming], now: float, as_json: bool) -> None:
    if as_json:
        for item in coming:
            print_json(
                {"job": item.job.name, "at": local(item.at, item.job.when.timezone).isoformat()}
            )
        return
    if not coming:
        print("nothing comes")
        return
    rows = [
        (
            _shown(local(item.at, item.job.when.timezone)),
            _from_now(item.at - now),
            item.job.name,
            str(item.schedule.explain(item.at) or ""),
        )
        for item in coming
    ]
    print_table(("WHEN", "FROM NOW", "JOB", ""), rows, {})


def _shown(moment: datetime) -> str:
    """`Sun 2026-03-08 03:00:00 -04:00`"""
    offset = moment.isoformat()[19:]
    return f"{moment:%a %Y-%m-%d %H:%M:%S} {offset}"


def _from_now(seconds: float) -> str:
    whole = round(seconds)
    return f"in {format_duration(whole)}" if whole >= 0 else f"{format_duration(-whole)} ago"
