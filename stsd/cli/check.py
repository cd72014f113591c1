"""`stsd check`: says everything that is wrong with a jobfile, and what will be."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence

from stsd import cgroups, limits
from stsd.cli.common import caret_under, config_path, print_json, style
from stsd.errors import JobfileError, Problem
from stsd.jobfile import examine, machine_zone
from stsd.model import Job
from stsd.outlook import Outlook
from stsd.places import places
from stsd.report import MOST
from stsd.settings import Jobfile
from stsd.units import escaped

EXAMPLE = """\
examples:
  stsd check -c jobs.toml
  stsd check --json | jq -r .message
"""

_SHADES = {"error": "red", "warning": "yellow"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this command."""
    parser.add_argument(
        "--json", action="store_true", help="one JSON object a line for each error and warning"
    )


def run(arguments: argparse.Namespace) -> int:
    """Checks the jobfile: 0 if it is valid, whatever there is to warn of; 2 if it is not."""
    path = config_path(arguments)
    try:
        examined = examine(path, local_zone=machine_zone())
    except JobfileError as error:
        _tell("error", error.problems, as_json=arguments.json)
        if not arguments.json:
            if error.more:
                print(f"and {error.more} more", file=sys.stderr)
            count = _counted(len(error.problems) + error.more, "problem")
            print(f"{count} in {escaped(str(path))}", file=sys.stderr)
        return 2
    foreseen = Outlook(int(time.time())).of(examined.jobfile)
    found = [((each.job, each.key), each.message, each.remedy) for each in foreseen]
    limited = [job for job in examined.jobfile.jobs.values() if job.limits is not None]
    controllers, note = _means(examined.jobfile) if limited else (frozenset(), "")
    found += [caveat for job in limited for caveat in _caveats(job, controllers)]
    _tell("warning", examined.warnings + examined.problems(found[:MOST]), as_json=arguments.json)
    if arguments.json:
        if note:
            _tell("note", [Problem(str(path), 0, 0, "limits", note)], as_json=True)
        return 0
    if len(found) > MOST:
        print(f"and {len(found) - MOST:,} more", file=sys.stderr)
    jobs = _counted(len(examined.jobfile.jobs), "job")
    total = len(examined.warnings) + len(found)
    warned = f", {_counted(total, 'warning')}" if total else ""
    print(f"{escaped(str(path))}: {jobs}, no problems{warned}")
    if note:
        print(f"limits {note}")
    return 0


def _means(jobfile: Jobfile) -> tuple[frozenset[str], str]:
    """The controllers that stsd will have on this machine, and what follows from that, in words:
    for a stsd that is started as this command was or, where that is the way, by systemd."""
    state_dir = places(jobfile.settings, os.environ).state_dir
    host = cgroups.delegated(state_dir)
    if host is not None:
        controllers = cgroups.controllers_within(host, state_dir)
        return controllers, limits.means(controllers)
    controllers = cgroups.controllers_of_systemd()
    if not controllers:
        return controllers, limits.means(controllers)
    by_hand = limits.means(frozenset())
    return controllers, (
        f"{limits.means(controllers)} (as a service with Delegate=cpu memory pids;"
        f" started by hand from here {by_hand})"
    )


def _caveats(job: Job, controllers: frozenset[str]) -> list[tuple[tuple[str, str], str, str]]:
    if job.limits is None:
        return []
    as_root = os.geteuid() == 0 and job.user in (None, 0, "root")
    sentences = limits.caveats(job.limits, controllers, as_root=as_root)
    return [((job.name, "limits"), sentence, "") for sentence in sentences]


def _tell(severity: str, problems: Sequence[Problem], *, as_json: bool) -> None:
    """Each problem: to a program on standard output, to a person on standard error."""
    for problem in problems:
        if as_json:
            print_json(
                {
                    "severity": severity,
                    "file": problem.file,
                    "line": problem.line,
                    "column": problem.column,
                    "key": problem.where,
                    "message": problem.message,
                    "remedy": problem.remedy,
                }
            )
            continue
        place, said = _two_parts(problem)
        if severity == "warning":
            said = f"warning: {said}"
        told = f"{style(place, 'bold', sys.stderr)}{style(said, _SHADES[severity], sys.stderr)}"
        print(told, file=sys.stderr)
        for line in excerpt(problem):
            print(style(line, "dim", sys.stderr), file=sys.stderr)


def excerpt(problem: Problem) -> list[str]:
    """The line of a problem and a caret beneath it; nothing where there is no line to show."""
    if not problem.source:
        return []
    line, caret = caret_under(problem.source, problem.column)
    number = str(problem.line)
    return [f"  {number} | {line}", f"  {' ' * len(number)} | {caret}"]


def _two_parts(problem: Problem) -> tuple[str, str]:
    """`FILE:LINE:COL: ` and the rest."""
    place = f"{problem.file}:{problem.line}:{problem.column}: " if problem.line else ""
    place = place or f"{problem.file}: "
    return place, str(problem).removeprefix(place)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
