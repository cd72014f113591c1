"""`stsd why`: why a job ran, or did not run, at a time."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any

from stsd.archive import newest_first, oldest_first
from stsd.cli.common import config_path, files_of, print_json, tell_damage, visible
from stsd.cli.moments import HELP, parse_moment
from stsd.cli.selection import Jobs, Selection, jobs_named, newest
from stsd.cli.talk import daemon_of, unknown_job
from stsd.cli.terminal import Line, Span, tell, terminal_of, working, wrapped, write
from stsd.client import RefusedError
from stsd.errors import JobfileError, NoDaemonError
from stsd.evidence import Evidence
from stsd.jobfile import load, load_settings, machine_zone
from stsd.lock import holder
from stsd.notdue import Asked
from stsd.places import Places
from stsd.present import Present
from stsd.settings import Jobfile
from stsd.units import from_rfc3339, rfc3339
from stsd.wallclock import local
from stsd.why import MOST, Answer, Verdict, answers

EXAMPLE = """\
examples:
  stsd why backup                              its last occurrence, and the next one
  stsd why backup --at 02:30
  stsd why backup --at 2026-11-21              all of that day
  stsd why backup --at '2026-03-08 02:30 America/New_York'"""

_STARTS = 10
"""Of so many starts after the time asked about it is found out how long stsd had been down."""
_SHADES = {
    Verdict.RAN: "green",
    Verdict.RUNNING: "cyan",
    Verdict.COMING: "cyan",
    Verdict.MISSED: "red",
    Verdict.LOST: "red",
    Verdict.NOT_DUE: "",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd why`."""
    parser.add_argument("job", metavar="JOB", help="the job")
    parser.add_argument("--at", metavar="T", help=f"when; a day or a minute is meant whole: {HELP}")
    parser.add_argument("-v", "--verbose", action="store_true", help="and the records that tell so")
    parser.add_argument("--json", action="store_true", help="one JSON line an answer")


def run(arguments: argparse.Namespace) -> int:
    """Print what is known of the occurrences of a job at a time, or that there was none."""
    now, zone = time.time(), machine_zone()
    setting = _setting(arguments, now)
    job = arguments.job
    with working("looking through the history"):
        if arguments.at:
            moment = parse_moment(arguments.at, now)
            begin, end = ceil(moment.begin), ceil(moment.end)
            asked = Asked(begin, max(end, begin + 1), begin, zone)
        else:
            asked = _last_and_next(setting, job, now, zone)
        evidence = _evidence(setting, job, asked)
    if not evidence.known and job not in setting.present.jobs:
        raise unknown_job(job, setting.present.jobs, config_path(arguments))
    found = answers(evidence, asked, setting.present)
    if arguments.json:
        for answer in found:
            print_json(_fields(answer))
        return 0
    for number, answer in enumerate(found):
        write(([()] if number else []) + _lines(answer, setting.present, zone), sys.stdout)
        if arguments.verbose:
            for record in answer.evidence:
                print_json(record)
    if len(found) == MOST:
        tell(f"stsd: these are the first {MOST}; a narrower --at shows others", "dim")
    return 0


# -- what is known


@dataclass(frozen=True, slots=True)
class _Setting:
    """Where the history is, and what is known besides it."""

    log_dir: Path
    present: Present


def _setting(arguments: argparse.Namespace, now: float) -> _Setting:
    path, jobfile = config_path(arguments), None
    try:
        jobfile = load(path, local_zone=machine_zone())
        where = files_of(jobfile.settings, path)
    except JobfileError as error:
        where = files_of(load_settings(path), path)
        tell(f"stsd: answered without the jobfile: {visible(str(error.problems[0]))}", "yellow")
    jobs = {} if jobfile is None else jobfile.jobs
    status, log_dir, absent = _status(arguments, where)
    rows = None if status is None else {row["job"]: row for row in status["jobs"]}
    daemon = None if status is None else status["daemon"]
    room = _max_running(jobfile)
    present = Present(now, jobs.get(arguments.job), jobs, room, daemon, rows, absent)
    return _Setting(log_dir, present)


def _max_running(jobfile: Jobfile | None) -> int:
    return 0 if jobfile is None else jobfile.settings.max_running


def _status(
    arguments: argparse.Namespace, where: Places
) -> tuple[dict[str, Any] | None, Path, str]:
    """What the daemon says of all jobs, its log folder, and why it says nothing."""
    try:
        with daemon_of(arguments) as client:
            return client.ask("status"), Path(client.hello["log_dir"]), ""
    except NoDaemonError:
        pid = holder(where.state_dir)
        if pid is None:
            return None, where.log_dir, "no daemon runs"
        return None, where.log_dir, f"another process (pid {pid}) holds {where.state_dir}"
    except RefusedError as error:
        return None, where.log_dir, f"the daemon does not say ({visible(error.message)})"


def _evidence(setting: _Setting, job: str, asked: Asked) -> Evidence:
    definition = setting.present.job
    after = () if definition is None else definition.when.after
    others = frozenset(other.job for other in after)
    evidence = Evidence(job, asked.begin, asked.end, others)
    jobs = jobs_named(others | {job})

    def bears_on(line: bytes) -> bool:
        return jobs(line) or line.startswith(b'{"event":"daemon"')

    for record in oldest_first(setting.log_dir, tell_damage, wanted=bears_on):
        evidence.take(record)
    later = [start for start in evidence.starts if start >= asked.begin]
    for start in later[:_STARTS]:
        evidence.last_signs[start] = _last_sign_before(setting.log_dir, start)
    return evidence


def _last_sign_before(log_dir: Path, start: float) -> float | None:
    """When the last record before this start of stsd was written, if there is one."""
    day = datetime.fromtimestamp(start, UTC).date()
    records = newest_first(log_dir, lambda path, line: None, last=day)
    for record in records:
        if record["event"] == "daemon" and _instant_of(record) == start:
            return next(filter(None, map(_instant_of, records)), None)
    return None


def _instant_of(record: Mapping[str, Any]) -> float | None:
    """When it was written; None if that is damaged."""
    try:
        return from_rfc3339(record["at"])
    except (KeyError, TypeError, ValueError):
        return None


def _last_and_next(setting: _Setting, job: str, now: float, zone: str) -> Asked:
    """From the last occurrence that was due to the next one; without either, the last run."""
    head = b'{"event":"schedule","job":"%b"' % job.encode()
    plans = Evidence(job, now, now)
    for record in oldest_first(
        setting.log_dir, tell_damage, wanted=lambda line: line.startswith(head)
    ):
        plans.take(record)
    asked = Asked(ceil(now), ceil(now) + 1, int(now), zone)
    following = asked.next_after(plans, int(now))
    last = plans.last_before(int(now) + 1)
    if last is None and following is None:
        return _last_run(setting.log_dir, job, asked)
    begin = asked.begin if last is None else last
    end = asked.end if following is None else following + 1
    return Asked(begin, end, begin, zone)


def _last_run(log_dir: Path, job: str, otherwise: Asked) -> Asked:
    for record in newest(log_dir, Selection(Jobs(frozenset((job,))))):
        if isinstance(record.get("scheduled"), str) and record["event"] != "skipped":
            begin = int(from_rfc3339(record["scheduled"]))
            return Asked(begin, begin + 1, begin, otherwise.zone)
    return otherwise


# -- how it is told


def _lines(answer: Answer, present: Present, zone: str) -> list[Line]:
    terminal = terminal_of(sys.stdout)
    room = None if terminal.columns is None else terminal.columns - 4
    due = "" if answer.verdict is Verdict.NOT_DUE else "due "
    head = f"{visible(answer.job)}, {due}{_when(answer, present, zone)}: "
    lines: list[Line] = [
        (Span(head, "bold"), Span(answer.verdict, _SHADES.get(answer.verdict, "yellow"))),
        *((Span(f"  {line}"),) for line in wrapped(answer.because, room)),
    ]
    for detail in answer.details:
        first, *rest = wrapped(detail, room)
        lines += [(Span(f"  - {first}"),), *((Span(f"    {line}"),) for line in rest)]
    return lines


def _when(answer: Answer, present: Present, zone: str) -> str:
    """On this machine's clock, and on the job's where that is another."""
    here = local(answer.at, zone)
    told = f"{here:%a %Y-%m-%d %H:%M:%S}"
    there = here if present.job is None else local(answer.at, present.job.when.timezone)
    if there.utcoffset() != here.utcoffset() and present.job is not None:
        told += f" ({there:%Y-%m-%d %H:%M:%S} in {present.job.when.timezone})"
    return told


def _fields(answer: Answer) -> Mapping[str, Any]:
    return {
        "job": answer.job,
        "at": rfc3339(answer.at),
        "verdict": answer.verdict,
        "because": answer.because,
        "details": answer.details,
        "run": answer.run,
        "evidence": answer.evidence,
    }
