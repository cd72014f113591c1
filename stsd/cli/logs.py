"""`stsd logs`: the captured output of runs, and what follows."""

from __future__ import annotations

import argparse
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from stsd.archive import newest_first
from stsd.cli.common import local_time, log_dir_of, tell_damage, visible
from stsd.cli.moments import HELP, parse_instant
from stsd.cli.outputs import Attempt, Manner, Output, Printer
from stsd.cli.selection import Jobs, Selection, jobs_asked_for, newest
from stsd.cli.terminal import tell, working
from stsd.cli.wording import instant_of
from stsd.errors import StsdError, UsageError
from stsd.follow import Follower, end_of
from stsd.output import output_name
from stsd.records import ending_in_words

EXAMPLE = """\
examples:
  stsd logs                                    the output of the last ten runs
  stsd logs backup                             of the job's last run, all attempts
  stsd logs backup@20261121T023000Z            of this run
  stsd logs backup --since yesterday           of all its runs since then
  stsd logs backup -f                          and whatever it prints from now on
  stsd logs 'web-*' -f                         of several jobs, each line with its job's name"""

FOLLOW_POLL_S = 0.2
_REMEMBERED = 4096
_OF_ATTEMPTS = ("intent", "started", "finished")


@dataclass(frozen=True, slots=True)
class _Run:
    """A run, and how many attempts it is known to have begun; `live`: the last one of them has
    no end yet; `over`: none follows."""

    job: str
    id: str
    attempts: int
    live: bool = False
    over: bool = False


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is asked for: runs by their ids, else jobs; `attempt` is the number of the only
    one that is."""

    runs: tuple[str, ...]
    jobs: Jobs
    named: int
    attempt: int | None

    @property
    def single(self) -> bool:
        """Whether all output is of one job."""
        return len(self.runs) + self.named == 1 and not self.jobs.patterns

    def __contains__(self, record: dict[str, Any]) -> bool:
        if not {"job", "run", "attempt"} <= record.keys():
            return False
        if self.attempt is not None and record["attempt"] != self.attempt:
            return False
        if self.runs or self.named:
            asked = self.named and record["job"] in self.jobs
            return bool(asked) or record["run"] in self.runs
        return True


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd logs`."""
    parser.add_argument(
        "subjects", nargs="*", metavar="JOB|RUN", help="jobs ('web-*' works), or ids of runs"
    )
    parser.add_argument("--tag", action="append", metavar="TAG", help="and jobs with this tag")
    parser.add_argument(
        "-n", type=int, metavar="N", help="how many runs (default: 1 of each job, 10 of all)"
    )
    parser.add_argument("--since", metavar="T", help=f"all runs that went on after: {HELP}")
    parser.add_argument("--attempt", type=int, metavar="N", help="only this attempt of each run")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes next")


def run(arguments: argparse.Namespace) -> int:
    """Print the output of runs, of jobs' last runs, or of everybody's."""
    for option in ("n", "attempt"):
        if (number := getattr(arguments, option)) is not None and number < 1:
            raise UsageError(f"{'-n' if option == 'n' else '--attempt'} counts from 1")
    log_dir, subject = log_dir_of(arguments), _subject(arguments)
    since = parse_instant(arguments.since, time.time()) if arguments.since else None
    # Where the history ends is noted before it is looked through, lest anything falls between.
    with closing(Follower(log_dir, tell_damage, end_of(log_dir))) as history:
        with working("looking through the history"):
            runs = _runs(log_dir, subject, arguments.n, since)
        attempts = [attempt for run in runs for attempt in _attempts(log_dir, run, subject)]
        if not arguments.follow:
            _tell_what_is_not_there(log_dir, arguments, runs, attempts)
            _print_all(log_dir, attempts)
            return 0
        return _Watcher(log_dir, subject, attempts, runs).run(history)


def _subject(arguments: argparse.Namespace) -> _Subject:
    runs = tuple(word for word in arguments.subjects if "@" in word)
    words = [word for word in arguments.subjects if "@" not in word]
    jobs = jobs_asked_for(argparse.Namespace(**{**vars(arguments), "jobs": words}))
    named = len(jobs.names) + len(jobs.patterns)
    return _Subject(runs, jobs, named, arguments.attempt)


def _print_all(log_dir: Path, attempts: list[Attempt]) -> None:
    headed = sys.stdout.isatty() or len(attempts) > 1
    printer = Printer(Manner.HEADED if headed else Manner.BARE)
    for attempt in attempts:
        with closing(Output(log_dir, attempt)) as output:
            printer.head(attempt)
            for block in output.news():
                printer.print(attempt, block)
            printer.end(attempt)
    printer.flush()


# -- what there is


def _runs(log_dir: Path, subject: _Subject, wanted: int | None, since: float | None) -> list[_Run]:
    """The runs asked for, in the order in which their last attempts began."""
    found = [_run_of(log_dir, run_id) for run_id in subject.runs]
    if subject.named or not subject.runs:
        found += list(_last_runs(log_dir, subject, wanted, since))[::-1]
    return found


def _run_of(log_dir: Path, run_id: str) -> _Run:
    """What is known of a run; without any record it has begun no attempt."""
    run = _Run(run_id.rpartition("@")[0], run_id, 0)
    told = map(_as_told_by, newest(log_dir, Selection(run=run_id)))
    return next(filter(None, told), run)


def _as_told_by(record: dict[str, Any]) -> _Run | None:
    """A run by its last record; None for a record of anything else, or one that lost a field."""
    if record["event"] not in _OF_ATTEMPTS or not {"job", "run", "attempt"} <= record.keys():
        return None
    ended = record["event"] == "finished"
    over = ended and record.get("will_retry_at") is None
    # What is about to start may not have begun, if that is the last that is known of it.
    attempts = record["attempt"] - (record["event"] == "intent")
    return _Run(record["job"], record["run"], attempts, not ended, over)


def _last_runs(
    log_dir: Path, subject: _Subject, wanted: int | None, since: float | None
) -> Iterator[_Run]:
    """The last runs of each of the jobs that are named, or else of all of them together."""
    names = () if subject.jobs.patterns else subject.jobs.names
    limit = wanted or (None if since is not None else 1 if names else 10)
    left = dict.fromkeys(names, limit) or {"": limit}
    seen: set[str] = set()
    ends: dict[str, _Run] = {}
    for record in newest(log_dir, Selection(jobs=subject.jobs, since=since)):
        run = _as_told_by(record)
        if run is None or run.id in seen:
            continue
        if record["event"] == "finished":
            ends.setdefault(run.id, run)
            continue
        key = run.job if names else ""
        room = left[key]
        if room == 0:
            continue
        seen.add(run.id)
        yield ends.pop(run.id, run)
        if room is not None:
            left[key] = room - 1
        if not any(room is None or room for room in left.values()):
            return


def _attempts(log_dir: Path, run: _Run, subject: _Subject) -> Iterator[Attempt]:
    """Those whose output is there: of every attempt that is known to have begun, and of any that
    follow; they are numbered from 1 on."""
    for number in count(1):
        there = (log_dir / output_name(run.job, run.id, number)).exists()
        if not there and number > run.attempts:
            return
        if there and subject.attempt in (None, number):
            yield Attempt(run.job, run.id, number)


def _tell_what_is_not_there(
    log_dir: Path, arguments: argparse.Namespace, runs: list[_Run], attempts: list[Attempt]
) -> None:
    """Says who printed nothing, and which output was removed as it grew old. Raises StsdError if
    there was some and nothing is left, or if there was no run."""
    number: int | None = arguments.attempt
    found = {attempt.run for attempt in attempts}
    absent = [run for run in runs if run.attempts >= (number or 1) and run.id not in found]
    if not attempts and not absent:
        named = ", ".join(map(visible, arguments.subjects))
        which = f"attempt {number} of " if number and runs else ""
        subject = f"{which}{named or 'these runs'}"
        bounded = named or number or arguments.since or arguments.tag
        raise StsdError(f"no output of {subject} in {log_dir}" if bounded else "no run yet")
    printed = _which_printed(log_dir, {run.id for run in absent}, number)
    removed = [run.id for run in runs if run.id in printed]
    of = f"attempt {number} of " if number else ""
    for run in absent:
        if run.id not in printed:
            print(f"stsd: {of}{visible(run.id)} has printed nothing", file=sys.stderr)
    if removed and not attempts:
        raise StsdError(f"the output of {of}{', '.join(map(visible, removed))} has been removed")
    for run_id in removed:
        print(f"stsd: the output of {of}{visible(run_id)} has been removed", file=sys.stderr)


def _which_printed(log_dir: Path, runs: set[str], number: int | None) -> set[str]:
    """Those of the runs with an attempt, or with this one, of which something was kept."""
    printed: set[str] = set()
    sought = set(runs)
    for record in newest_first(log_dir, tell_damage) if runs else ():
        run_id = record.get("run")
        if run_id not in sought:
            continue
        if record.get("output_bytes") and number in (None, record.get("attempt")):
            printed.add(run_id)
            sought.remove(run_id)
        elif record["event"] == "started" and record.get("attempt") == 1:
            sought.remove(run_id)
        if not sought:
            break
    return printed


# -- what comes next


class _Watcher:
    """Prints what attempts print, from attempt to attempt and from run to run."""

    def __init__(
        self, log_dir: Path, subject: _Subject, attempts: Iterable[Attempt], runs: list[_Run]
    ) -> None:
        _allow_many_files()
        self._log_dir = log_dir
        self._subject = subject
        self._printer = Printer(
            Manner.HEADED if subject.single else Manner.PREFIXED,
            max(map(len, subject.jobs.names), default=0),
        )
        self._open = {attempt: Output(log_dir, attempt) for attempt in attempts}
        self._known = dict.fromkeys(self._open)
        live = {Attempt(run.job, run.id, run.attempts) for run in runs if run.live}
        self._ended = {attempt: "" for attempt in self._open if attempt not in live}
        over = {run.id for run in runs if run.over}
        only_runs = subject.runs and not subject.named
        self._waited_for = set(subject.runs) - over if only_runs else None
        for run in runs:
            if not run.attempts and not run.live:
                tell(f"stsd: nothing is known of {visible(run.id)} yet", "dim")

    def run(self, history: Follower) -> int:
        """Go on until nothing more can come: with jobs, until somebody ends it."""
        try:
            while self._waited_for is None or self._waited_for or self._open:
                for record in history.news():
                    if record["event"] in _OF_ATTEMPTS:
                        self._hear(record)
                self._print()
                if self._waited_for != set() or self._open:
                    time.sleep(FOLLOW_POLL_S)
        finally:
            for attempt in self._open:
                self._printer.end(attempt)
            self._printer.flush()
        return 0

    def _hear(self, record: dict[str, Any]) -> None:
        over = record["event"] == "finished" and record.get("will_retry_at") is None
        if self._waited_for is not None and over:
            self._waited_for.discard(record.get("run", ""))
        if record not in self._subject:
            return
        attempt = Attempt(record["job"], record["run"], record["attempt"])
        if attempt not in self._known:
            self._known[attempt] = None
            self._open[attempt] = Output(self._log_dir, attempt)
            if len(self._known) > _REMEMBERED:
                del self._known[next(iter(self._known))]
        if record["event"] == "finished" and attempt in self._open:
            self._ended[attempt] = _how_it_ended(record)

    def _print(self) -> None:
        """Whatever has been added; of those that have ended it is the last."""
        for attempt, output in list(self._open.items()):
            for block in output.news():
                self._printer.print(attempt, block)
            told = self._ended.pop(attempt, None)
            if told is not None:
                self._printer.end(attempt)
                self._printer.flush()
                output.close()
                del self._open[attempt]
                if told:
                    tell(f"stsd: {visible(attempt.run)} {told}", "dim")
        self._printer.flush()


def _how_it_ended(record: dict[str, Any]) -> str:
    """As a sentence without its subject; empty for a record that has lost a field."""
    try:
        why, retry_at = ending_in_words(record), record["will_retry_at"]
        again = f", next attempt at {local_time(instant_of(retry_at))[11:]}" if retry_at else ""
        why = f" ({why})" if why else ""
        return f"attempt {record['attempt']} {record['outcome']}{why}{again}"
    except (KeyError, TypeError, ValueError):
        return ""


def _allow_many_files() -> None:
    """Each live attempt has a file open."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
