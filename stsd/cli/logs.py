"""`stsd logs`: the captured output of runs."""

from __future__ import annotations

import argparse
import codecs
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from stsd.cli.common import log_dir_of, style, tell_damage, visible
from stsd.errors import StsdError, UsageError
from stsd.history import newest_first
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
    files = _attempts(log_dir, subject, wanted)
    if not files and not arguments.follow:
        raise StsdError(f"no output of {subject} in {log_dir}" if subject else "no run yet")
    terminal = sys.stdout.isatty()
    printer = _Printer(headed=terminal or len(files) > 1 or arguments.follow, raw=not terminal)
    for path in files:
        printer.go_on_with(path)
    while arguments.follow:
        time.sleep(FOLLOW_POLL_S)
        for path in _attempts(log_dir, subject, wanted):
            printer.go_on_with(path)
        printer.go_on_with_all()
    return 0


def _attempts(log_dir: Path, subject: str | None, runs: int) -> list[Path]:
    """The output files asked for, in the order in which their runs began."""
    if subject is not None and "@" in subject:
        chosen = [(subject.rpartition("@")[0], subject)]
    else:
        chosen = list(_last_runs(log_dir, subject, runs))[::-1]
    return [path for job, run_id in chosen for path in _files(log_dir, job, run_id)]


def _last_runs(log_dir: Path, job: str | None, runs: int) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for record in newest_first(log_dir, tell_damage):
        if record["event"] != "started" or (job is not None and record["job"] != job):
            continue
        if record["run"] not in seen:
            seen.add(record["run"])
            yield record["job"], record["run"]
        if len(seen) == runs:
            return


def _files(log_dir: Path, job: str, run_id: str) -> Iterator[Path]:
    """Attempts are numbered from 1 on, so the first number without a file is the end."""
    attempt = 1
    while (path := log_dir / output_name(job, run_id, attempt)).exists():
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
