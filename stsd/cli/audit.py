"""`stsd audit`: the books, what was demanded against what is recorded."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from math import ceil, floor
from pathlib import Path
from typing import Any

from stsd.archive import oldest_first
from stsd.audit import audit
from stsd.books import Books, Discrepancy, Kind, Marks, Tally
from stsd.cli.common import (
    local_time,
    places_of,
    print_json,
    print_table,
    style,
    tell_damage,
    visible,
)
from stsd.cli.moments import parse_instant
from stsd.errors import UsageError
from stsd.places import Places
from stsd.recovery import born
from stsd.units import rfc3339

EXAMPLE = """\
examples:
  stsd audit                                   all jobs, as far back as the history goes
  stsd audit backup --since 2026-11-01
  stsd audit --json | jq 'select(.event == "discrepancy")'"""

# More jobs than this are summed up, unless each of them is asked for.
_ROWS = 30
# What the daemon has seen of a process that has just ended is on record within this time.
_SECOND_LOOK_S = 1.0
_SHOWN_DAMAGE = 5
_HEAD = ("JOB", "DEMANDED", "RUN", "SKIPPED", "MISSED", "PENDING", "DISCREPANCIES")


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd audit`."""
    parser.add_argument("job", nargs="?", metavar="JOB", help="only this job")
    parser.add_argument(
        "--since", metavar="T", help="only what was due from then on: 2026-11-21T02:30, 2h"
    )
    parser.add_argument(
        "-v", "--all", action="store_true", help="a row for each job, however many there are"
    )
    parser.add_argument(
        "--json", action="store_true", help="discrepancies, jobs and the sum, one JSON line each"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print what is wrong and the sums; 1 if the books do not balance."""
    now = time.time()
    since = ceil(parse_instant(arguments.since, now)) if arguments.since else None
    where = places_of(arguments)
    look = _look(where, arguments.job, since)
    if any(fault.kind is Kind.UNFINISHED for fault in look.books.discrepancies):
        time.sleep(_SECOND_LOOK_S)
        look = _look(where, arguments.job, since)
    look.tell_damage()
    if arguments.job is not None and not look.books.jobs and look.names:
        close = difflib.get_close_matches(arguments.job, look.names, 1)
        remedy = f" (did you mean {close[0]}?)" if close else ""
        raise UsageError(f"no job {visible(arguments.job)} is on the books{remedy}")
    if arguments.json:
        _print_lines(look)
    else:
        _print_tables(look, arguments.all or len(look.books.jobs) <= _ROWS)
    return 0 if look.books.balanced else 1


@dataclass(slots=True)
class _Look:
    """What was found, and what on the way there could not be read. `names` are those of the
    jobs in the history, gathered only where one of them was asked for."""

    books: Books = field(default_factory=lambda: Books({}))
    names: set[str] = field(default_factory=set)
    lines: list[tuple[Path, bytes]] = field(default_factory=list)
    damaged: int = 0

    def damage(self, segment: Path, line: bytes) -> None:
        self.damaged += 1
        if len(self.lines) < _SHOWN_DAMAGE:
            self.lines.append((segment, line))

    def tell_damage(self) -> None:
        for segment, line in self.lines:
            tell_damage(segment, line)

    def gather(self, records: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
        for record in records:
            name = record.get("job")
            if isinstance(name, str):
                self.names.add(name)
            yield record


def _look(where: Places, job: str | None, since: int | None) -> _Look:
    # The state before the history: what it says is accounted for is on record by then.
    now, marks, look = floor(time.time()), _marks(where.state_dir / "state.json"), _Look()
    folder = where.log_dir / "history"
    records: Iterable[Mapping[str, Any]] = oldest_first(where.log_dir, look.damage)
    look.books = audit(
        records if job is None else look.gather(records),
        now,
        marks=marks,
        lives=lambda pid, birth: born(pid) == birth,
        job=job,
        since=since,
        damaged=lambda record: look.damage(folder, json.dumps(record).encode()),
    )
    return look


def _marks(path: Path) -> Marks | None:
    """The marks of the daemon's state; None where there is none that can be read."""
    try:
        return Marks.of(json.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, KeyError, TypeError, ValueError) as error:
        told = f"stsd: {path}: cannot be read, and each job is taken to be where its records end"
        print(style(f"{told}: {error}", "yellow", sys.stderr), file=sys.stderr)
        return None


# -- for programs


def _print_lines(look: _Look) -> None:
    books = look.books
    for fault in books.discrepancies:
        line = asdict(fault) | {"first": rfc3339(fault.first), "last": rfc3339(fault.last)}
        print_json({"event": "discrepancy"} | line)
    for job, tally in books.jobs.items():
        print_json({"event": "job", "job": job} | _plain(tally))
    total = _plain(books.total()) if books.jobs else {"since": None, "demanded": 0}
    sums = {"event": "books", "balanced": books.balanced, "jobs": len(books.jobs)}
    print_json(sums | total | {"damaged": look.damaged})


def _plain(tally: Tally) -> dict[str, Any]:
    return asdict(tally) | {"since": rfc3339(tally.since)}


# -- for people


def _print_tables(look: _Look, every_job: bool) -> None:
    books = look.books
    if books.discrepancies:
        faults = [_fault(fault) for fault in books.discrepancies]
        print_table(("DUE", "JOB", "WHAT", "DETAILS"), faults, dict.fromkeys(Kind, "red"))
        print()
    if not books.jobs:
        print(f"nothing is on the books yet{_damage(look)}")
        return
    rows = [
        _row(visible(job), tally)
        for job, tally in books.jobs.items()
        if every_job or tally.discrepancies
    ]
    if len(books.jobs) > 1:
        rows.append(_row(f"all {len(books.jobs)}", books.total()))
    print_table(_HEAD, rows, {})
    print(_sentence(books) + _damage(look))


def _fault(fault: Discrepancy) -> tuple[str, ...]:
    details = visible(fault.details)
    if fault.run is not None:
        details = f"{visible(fault.run)}: {details}"
    if fault.count > 1:
        details = f"{fault.count} until {local_time(fault.last)}: {details}"
    return (local_time(fault.first), visible(fault.job), fault.kind, details)


def _row(name: str, tally: Tally) -> tuple[str, ...]:
    counts = (tally.demanded, tally.run, tally.skipped, tally.missed, tally.pending)
    return (name, *map(str, counts), str(tally.discrepancies))


def _sentence(books: Books) -> str:
    total, jobs = books.total(), len(books.jobs)
    past = _counted(total.demanded - total.pending, "occurrence")
    covered = f"{past} of {_counted(jobs, 'job')} since {local_time(total.since)}"
    if total.pending:
        covered += f", {total.pending:,} more pending"
    if books.balanced:
        return f"the books balance: {covered}"
    faults: Counter[Kind] = Counter()
    for fault in books.discrepancies:
        faults[fault.kind] += fault.count
    told = ", ".join(f"{faults[kind]} {kind}" for kind in Kind if faults[kind])
    return f"the books do not balance: {told}; {covered}"


def _damage(look: _Look) -> str:
    return f" ({_counted(look.damaged, 'damaged line')} passed over)" if look.damaged else ""


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"
