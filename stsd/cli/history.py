"""`stsd history`: what ran, newest first."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from stsd.archive import newest_first
from stsd.cli.common import (
    local_time,
    log_dir_of,
    parse_instant,
    print_json,
    print_table,
    tell_damage,
    visible,
)
from stsd.errors import UsageError
from stsd.model import Outcome
from stsd.units import format_duration, format_size

EXAMPLE = """\
examples:
  stsd history                                 the last twenty attempts of all jobs
  stsd history backup -n 5
  stsd history --since 2h --outcome failed
  stsd history --json | jq .duration_s"""

_OF_ATTEMPTS = ("intent", "started", "finished")
_COLOURS = {
    "succeeded": "green",
    "started": "cyan",
    "skipped": "yellow",
    "missed": "red",
    **{outcome.value: "red" for outcome in Outcome if outcome is not Outcome.SUCCEEDED},
}


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd history`."""
    parser.add_argument("job", nargs="?", metavar="JOB", help="only this job")
    parser.add_argument("-n", type=int, default=20, metavar="N", help="how many rows (default 20)")
    parser.add_argument("--since", metavar="T", help="not older: 2026-11-21, 2026-11-21T02:30, 2h")
    parser.add_argument(
        "--outcome",
        choices=[outcome.value for outcome in Outcome],
        help="only attempts that ended so",
    )
    parser.add_argument("--json", action="store_true", help="the records, one JSON line each")


def run(arguments: argparse.Namespace) -> int:
    """Print the newest records; as a table, one row an attempt."""
    if arguments.n < 1:
        raise UsageError("-n counts from 1")
    since = parse_instant(arguments.since, time.time()) if arguments.since else None
    found = _wanted(log_dir_of(arguments), arguments, since)
    if arguments.json:
        for record in islice(found, arguments.n):
            print_json(record)
        return 0
    told = filter(None, map(_row_of, _one_per_attempt(found)))
    rows = list(islice(told, arguments.n))
    if not rows:
        print("nothing yet" if not (arguments.job or since or arguments.outcome) else "nothing")
        return 0
    print_table(("SCHEDULED", "JOB", "OUTCOME", "TOOK", "PEAK", "DETAILS"), rows, _COLOURS)
    return 0


def _wanted(
    log_dir: Path, arguments: argparse.Namespace, since: float | None
) -> Iterator[dict[str, Any]]:
    for record in newest_first(log_dir, tell_damage, _day_of(since)):
        if since is not None and (at := _instant_in(record)) is not None and at < since:
            return
        if arguments.job and record.get("job") != arguments.job:
            continue
        if arguments.outcome and record.get("outcome") != arguments.outcome:
            continue
        yield record


def _day_of(since: float | None) -> date:
    """The first day of which there may be records, in UTC."""
    try:
        return date.min if since is None else datetime.fromtimestamp(since, UTC).date()
    except (ValueError, OverflowError, OSError):  # no day of the calendar
        return date.min


def _one_per_attempt(records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One record of each attempt: its end, else its start, else that it was to be started; and
    what else is for a table. A start without an end is an attempt that is running, or was cut off.
    """
    told: set[tuple[str | None, int | None]] = set()
    for record in records:
        event = record["event"]
        if event in ("skipped", "missed"):
            yield record
        elif event in _OF_ATTEMPTS:
            attempt = (record.get("run"), record.get("attempt"))
            if attempt not in told:
                yield record
            if event == "intent":
                told.discard(attempt)  # there is nothing of it further back
            else:
                told.add(attempt)


def _row_of(record: dict[str, Any]) -> tuple[str, ...] | None:
    """The row of a record; None for one that has lost a field, by a byte that flipped."""
    try:
        return _row(record)
    except (KeyError, TypeError, ValueError):
        tell_damage(Path("history"), json.dumps(record).encode())
        return None


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    job, event = record["job"], record["event"]
    if event == "missed":
        span = f"{record['count']} from {_shown(record['first'])} to {_shown(record['last'])}"
        return (_shown(record["last"]), job, "missed", "", "", f"{record['reason']}: {span}")
    when = _shown(record["scheduled"])
    if event == "skipped":
        return (when, job, "skipped", "", "", record["reason"])
    attempt = f"attempt {record['attempt']}" if record["attempt"] > 1 else ""
    if event == "intent":
        return (when, job, "started", "", "", _joined(attempt, "not known to have begun"))
    if event == "started":
        return (when, job, "started", "", "", _joined(attempt, f"pid {record['pid']}"))
    took, peak = record["duration_s"], record["max_rss_bytes"]
    return (
        when,
        job,
        record["outcome"],
        "" if took is None else format_duration(took),
        "" if peak is None else format_size(peak),
        _joined(attempt, _ending(record), _left_out(record), _retry(record)),
    )


def _ending(record: dict[str, Any]) -> str:
    if record["error"]:
        return visible(record["error"])
    if record["signal"]:
        return str(record["signal"])
    return f"exit {record['exit_code']}" if record["exit_code"] else ""


def _left_out(record: dict[str, Any]) -> str:
    """Of the output; the records of earlier versions do not tell."""
    size = record.get("output_discarded")
    return f"{format_size(size)} of output left out" if size else ""


def _retry(record: dict[str, Any]) -> str:
    retry_at = record["will_retry_at"]
    return f"next attempt at {_shown(retry_at)[11:]}" if retry_at else ""


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _instant_in(record: dict[str, Any]) -> float | None:
    """When it was written, if it says so: a byte may have flipped."""
    try:
        return _instant(record["at"])
    except (KeyError, TypeError, ValueError):
        return None


def _shown(instant: str) -> str:
    return local_time(_instant(instant))


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
