"""`stsd history`: what ran, newest first."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

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
from stsd.history import newest_first
from stsd.model import Outcome
from stsd.units import format_duration, format_size

EXAMPLE = """\
examples:
  stsd history                                 the last twenty attempts of all jobs
  stsd history backup -n 5
  stsd history --since 2h --outcome failed
  stsd history --json | jq .duration_s"""

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
    parser.add_argument("-n", type=int, default=20, metavar="N", help="how many (default 20)")
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
    rows = [_row(record) for record in islice(_one_per_attempt(found), arguments.n)]
    if not rows:
        print("nothing yet" if not (arguments.job or since or arguments.outcome) else "nothing")
        return 0
    print_table(("SCHEDULED", "JOB", "OUTCOME", "TOOK", "PEAK", "DETAILS"), rows, _COLOURS)
    return 0


def _wanted(
    log_dir: Path, arguments: argparse.Namespace, since: float | None
) -> Iterator[dict[str, Any]]:
    for record in newest_first(log_dir, tell_damage):
        if since is not None and _instant(record["at"]) < since:
            return
        if arguments.job and record["job"] != arguments.job:
            continue
        if arguments.outcome and record.get("outcome") != arguments.outcome:
            continue
        yield record


def _one_per_attempt(records: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Leave out the start of every attempt whose end has been seen; a start without an end is an
    attempt that is running, or was cut off."""
    ended: set[tuple[str, int]] = set()
    for record in records:
        if record["event"] == "finished":
            ended.add((record["run"], record["attempt"]))
        elif record["event"] == "started" and (record["run"], record["attempt"]) in ended:
            ended.discard((record["run"], record["attempt"]))
            continue
        yield record


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    job, event = record["job"], record["event"]
    if event == "missed":
        span = f"{record['count']} from {_shown(record['first'])} to {_shown(record['last'])}"
        return (_shown(record["last"]), job, "missed", "", "", f"{record['reason']}: {span}")
    when = _shown(record["scheduled"])
    if event == "skipped":
        return (when, job, "skipped", "", "", record["reason"])
    attempt = f"attempt {record['attempt']}" if record["attempt"] > 1 else ""
    if event == "started":
        return (when, job, "started", "", "", _joined(attempt, f"pid {record['pid']}"))
    took, peak = record["duration_s"], record["max_rss_bytes"]
    return (
        when,
        job,
        record["outcome"],
        "" if took is None else format_duration(took),
        "" if peak is None else format_size(peak),
        _joined(attempt, _ending(record), _retry(record)),
    )


def _ending(record: dict[str, Any]) -> str:
    if record["error"]:
        return visible(record["error"])
    if record["signal"]:
        return str(record["signal"])
    return f"exit {record['exit_code']}" if record["exit_code"] else ""


def _retry(record: dict[str, Any]) -> str:
    retry_at = record["will_retry_at"]
    return f"next attempt at {_shown(retry_at)[11:]}" if retry_at else ""


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _shown(instant: str) -> str:
    return local_time(_instant(instant))


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
