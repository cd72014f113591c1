"""`stsd logs`: the captured output of runs."""

from __future__ import annotations

import argparse
import codecs
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stsd.archive import newest_first
from stsd.cli.common import log_dir_of, style, tell_damage, visible
from stsd.errors import StsdError, UsageError
from stsd.output import output_name

EXAMPLE = """\
examples:
  stsd logs                                    the output of the last ten runs
  stsd logs backup                             of the job's last run, all attempts
  stsd logs backup@20261121T023000Z            of this run
  stsd logs backup -f                          and whatever it prints from now on"""

FOLLOW_POLL_S = 0.2
_BLOCK = 1 << 16
_FOLLOWED_FILES = 64


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd logs`."""
    parser.add_argument("subject", nargs="?", metavar="JOB|RUN", help="a job, or the id of a run")
    parser.add_argument(
        "-n", type=int, metavar="N", help="how many runs (default: 1 of a job, 10 of all)"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes next")


def run(arguments: argparse.Namespace) -> int:
    """Print the output of a run, of a job's last runs, or of everybody's."""
    if arguments.n is not None and arguments.n < 1:
        raise UsageError("-n counts from 1")
    log_dir, subject = log_dir_of(arguments), arguments.subject
    wanted = arguments.n or (1 if subject else 10)
    runs = _runs(log_dir, subject, wanted)
    files = [path for run in runs for path in _files(log_dir, run)]
    if not arguments.follow:
        _tell_what_is_not_there(log_dir, subject, runs, files)
    terminal = sys.stdout.isatty()
    printer = _Printer(headed=terminal or len(files) > 1 or arguments.follow, raw=not terminal)
    for path in files:
        printer.go_on_with(path)
    while arguments.follow:
        time.sleep(FOLLOW_POLL_S)
        for run in runs if _is_run(subject) else _runs(log_dir, subject, wanted):
            for path in _files(log_dir, run):
                printer.go_on_with(path)
        printer.go_on_with_all()
    return 0


@dataclass(frozen=True, slots=True)
class _Run:
    """A run and how many attempts it is known to have begun."""

    job: str
    id: str
    attempts: int


def _tell_what_is_not_there(
    log_dir: Path, subject: str | None, runs: list[_Run], files: list[Path]
) -> None:
    """Says who printed nothing, and which output was removed as it grew old. Raises StsdError if
    there was some and nothing is left, or if there was no run."""
    absent = {run.id for run in runs if run.attempts and not any(_files(log_dir, run))}
    if not files and not absent:
        raise StsdError(f"no output of {subject} in {log_dir}" if subject else "no run yet")
    printed = _which_printed(log_dir, absent)
    removed = [run.id for run in runs if run.id in printed]
    for run in runs:
        if run.id in absent - printed:
            print(f"stsd: {run.id} has printed nothing", file=sys.stderr)
    if removed and not files:
        raise StsdError(f"the output of {', '.join(removed)} has been removed")
    for run_id in removed:
        print(f"stsd: the output of {run_id} has been removed", file=sys.stderr)


def _which_printed(log_dir: Path, runs: set[str]) -> set[str]:
    """Those of the runs with an attempt of which something was kept."""
    printed: set[str] = set()
    sought = set(runs)
    for record in newest_first(log_dir, tell_damage) if runs else ():
        run_id = record.get("run")
        if run_id not in sought:
            continue
        if record.get("output_bytes"):
            printed.add(run_id)
            sought.remove(run_id)
        elif record["event"] == "started" and record.get("attempt") == 1:
            sought.remove(run_id)
        if not sought:
            break
    return printed


def _runs(log_dir: Path, subject: str | None, wanted: int) -> list[_Run]:
    """The runs asked for, in the order in which they began."""
    if subject is None or not _is_run(subject):
        return list(_last_runs(log_dir, subject, wanted))[::-1]
    run = _Run(subject.rpartition("@")[0], subject, 0)
    if any(_files(log_dir, run)):
        return [run]
    return [replace(run, attempts=_attempts_of(log_dir, subject))]


def _is_run(subject: str | None) -> bool:
    return subject is not None and "@" in subject


def _last_runs(log_dir: Path, job: str | None, runs: int) -> Iterator[_Run]:
    seen: set[str] = set()
    for record in _starts(log_dir):
        if job is not None and record["job"] != job:
            continue
        if record["run"] not in seen:
            seen.add(record["run"])
            yield _Run(record["job"], record["run"], record["attempt"])
        if len(seen) == runs:
            return


def _attempts_of(log_dir: Path, run_id: str) -> int:
    """The number of a run's last attempt that began, 0 if there is no record of any."""
    numbers = (record["attempt"] for record in _starts(log_dir) if record["run"] == run_id)
    return next(numbers, 0)


def _starts(log_dir: Path) -> Iterator[dict[str, Any]]:
    """The records of attempts that began, newest first."""
    for record in newest_first(log_dir, tell_damage):
        if record["event"] == "started" and {"job", "run", "attempt"} <= record.keys():
            yield record


def _files(log_dir: Path, run: _Run) -> Iterator[Path]:
    """The output that is there: of every attempt that is known to have begun, and of those that
    follow; they are numbered from 1 on."""
    attempt = 1
    while (path := log_dir / output_name(run.job, run.id, attempt)).exists() or (
        attempt <= run.attempts
    ):
        if path.exists():
            yield path
        attempt += 1


class _Printer:
    """Prints files from where it left off, each under a heading of its own if `headed`.

    Off a terminal the bytes are passed on as they are (`raw`); on one they are shown as text, with
    control characters made visible: what a job prints is data.
    """

    def __init__(self, headed: bool, raw: bool) -> None:
        self._headed = headed
        self._raw = raw
        self._offsets: dict[Path, int] = {}
        self._current: Path | None = None

    def go_on_with_all(self) -> None:
        """Whatever has been added to the files printed last."""
        for path in list(self._offsets)[-_FOLLOWED_FILES:]:
            self.go_on_with(path)

    def go_on_with(self, path: Path) -> None:
        """What was added to this file; of a file not seen before, all of it."""
        new = path not in self._offsets
        decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        with path.open("rb") as file:
            file.seek(self._offsets.get(path, 0))
            while block := file.read(_BLOCK):
                self._head(path)
                self._write(block, decoder)
            self._offsets[path] = file.tell()
        if new:
            self._head(path)
        sys.stdout.flush()

    def _head(self, path: Path) -> None:
        if self._headed and path != self._current:
            run_id, attempt, _ = path.name.rsplit(".", 2)
            print(style(f"==> {run_id} attempt {attempt} <==", "bold", sys.stdout), flush=True)
        self._current = path

    def _write(self, block: bytes, decoder: codecs.IncrementalDecoder) -> None:
        if self._raw:
            sys.stdout.buffer.write(block)
        else:
            sys.stdout.write(visible(decoder.decode(block)))
