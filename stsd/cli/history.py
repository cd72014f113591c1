"""`stsd history`: what ran, newest first, or in numbers."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from stsd.cli.common import local_time, log_dir_of, print_json, tell_damage, visible
from stsd.cli.moments import HELP, parse_instant
from stsd.cli.selection import Selection, jobs_asked_for, newest
from stsd.cli.table import Column, cell, table
from stsd.cli.terminal import Line, tell, terminal_of, working, write
from stsd.cli.wording import instant_of
from stsd.errors import UsageError
from stsd.model import Outcome, TriggerKind
from stsd.records import ending_in_words
from stsd.summary import Sums, summed
from stsd.units import format_duration, format_size, parse_duration

EXAMPLE = """\
examples:
  stsd history                                 the last twenty attempts of all jobs
  stsd history backup 'report-*' -n 5
  stsd history --since 2h --failed
  stsd history --tag nightly --since yesterday --until today
  stsd history --summary --since 7d            how each job has fared
  stsd history --json | jq .duration_s"""

_USUAL = 20
_OF_ATTEMPTS = ("intent", "started", "finished")
_FAILED = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.INTERRUPTED, Outcome.SPAWN_FAILED})
_OUTCOMES = (*(outcome.value for outcome in Outcome), "skipped", "missed")
_SHADES = {
    "succeeded": "green",
    "started": "cyan",
    "skipped": "yellow",
    "missed": "red",
    **{outcome.value: "red" for outcome in Outcome if outcome is not Outcome.SUCCEEDED},
}
_COLUMNS = (
    Column("SCHEDULED"),
    Column("JOB", least=8),
    Column("OUTCOME"),
    Column("TOOK", leaves=1),
    Column("PEAK", leaves=2),
    Column("DETAILS", least=24),
)


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd history`."""
    parser.add_argument("jobs", nargs="*", metavar="JOB", help="only these jobs; 'web-*' works")
    parser.add_argument("--tag", action="append", metavar="TAG", help="and jobs with this tag")
    parser.add_argument("-n", type=int, metavar="N", help=f"how many rows (default {_USUAL})")
    parser.add_argument("--since", metavar="T", help=f"not older: {HELP}")
    parser.add_argument("--until", metavar="T", help="older than this")
    parser.add_argument(
        "--outcome",
        action="append",
        choices=_OUTCOMES,
        metavar="O",
        help=f"only what ended so, may be repeated: {', '.join(_OUTCOMES)}",
    )
    parser.add_argument(
        "--failed",
        action="store_true",
        help="only attempts that failed, timed out, were interrupted or could not be started",
    )
    parser.add_argument(
        "--trigger",
        action="append",
        choices=[kind.value for kind in TriggerKind],
        metavar="KIND",
        help=f"only what this made due, may be repeated: {', '.join(TriggerKind)}",
    )
    parser.add_argument("--run", dest="run_id", metavar="RUN", help="only the attempts of this run")
    parser.add_argument("--slow", metavar="D", help="only attempts that took longer, as in 5m")
    parser.add_argument(
        "--summary", action="store_true", help="a row a job: how its runs ended, how long they took"
    )
    parser.add_argument("--json", action="store_true", help="the records, one JSON line each")


def run(arguments: argparse.Namespace) -> int:
    """Print the newest records, as a table one row an attempt; or their sums."""
    if arguments.n is not None and arguments.n < 1:
        raise UsageError("-n counts from 1")
    if arguments.summary and arguments.n is not None:
        raise UsageError("--summary counts all there is; --since bounds it, not -n")
    selection = _selection(arguments)
    records = newest(log_dir_of(arguments), selection)
    if arguments.summary:
        _print_summary(records, arguments.json)
    elif arguments.json:
        for record in islice(records, arguments.n or _USUAL):
            print_json(record)
    else:
        _print_rows(records, arguments.n, bounded=selection != Selection())
    return 0


def _selection(arguments: argparse.Namespace) -> Selection:
    now = time.time()
    since = parse_instant(arguments.since, now) if arguments.since else None
    until = parse_instant(arguments.until, now) if arguments.until else None
    if since is not None and until is not None and until <= since:
        raise UsageError(f"--until {arguments.until} is not after --since {arguments.since}")
    outcomes = frozenset(arguments.outcome or ()) | (_FAILED if arguments.failed else frozenset())
    return Selection(
        jobs=jobs_asked_for(arguments),
        since=since,
        until=until,
        outcomes=outcomes,
        triggers=frozenset(arguments.trigger or ()),
        run=arguments.run_id,
        slower=parse_duration(arguments.slow) if arguments.slow else None,
        ended=arguments.summary,
    )


# -- in numbers


def _print_summary(records: Iterator[dict[str, Any]], as_json: bool) -> None:
    with working("counting"):
        jobs = summed(records)
    if as_json:
        for job, sums in jobs.items():
            print_json(_numbers(job, sums))
        return
    if not jobs:
        print("nothing")
        return
    total = Sums()
    for sums in jobs.values():
        total.update(sums)
    told = {visible(job): sums for job, sums in jobs.items()}
    if len(told) > 1:
        told[f"all {len(jobs)}"] = total
    bad = [outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED]
    columns = [
        *(Column("JOB", least=8), Column("RUNS"), Column("OK", leaves=4), Column("RATE")),
        *(Column(outcome.upper().replace("_", " "), leaves=3) for outcome in bad),
        *(Column("RETRIES", leaves=5), Column("SKIPPED", leaves=2), Column("MISSED", leaves=1)),
        *(Column("P50"), Column("P95")),
    ]
    rows = [_summary_row(job, sums, bad) for job, sums in told.items()]
    write(table(columns, rows, terminal_of(sys.stdout)), sys.stdout)


def _numbers(job: str, sums: Sums) -> dict[str, Any]:
    rate = sums.success_rate
    return {
        "job": job,
        "runs": sums.runs,
        **{outcome.value: sums.outcomes[outcome] for outcome in Outcome},
        "retries": sums.retries,
        "skipped": sums.skipped,
        "missed": sums.missed,
        "success_rate": None if rate is None else round(rate, 4),
        "p50_s": sums.durations.percentile(0.5),
        "p95_s": sums.durations.percentile(0.95),
    }


def _summary_row(job: str, sums: Sums, bad: Sequence[Outcome]) -> list[Line]:
    """A column that would have noughts alone has no text, and so is left out."""
    shade = "" if sums.success_rate in (None, 1.0) else "red"
    return [
        cell(job),
        cell(f"{sums.runs:,}"),
        cell(f"{sums.outcomes[Outcome.SUCCEEDED]:,}"),
        cell(_percent(sums.success_rate), shade),
        *(cell(_some(sums.outcomes[outcome]), "red") for outcome in bad),
        cell(_some(sums.retries)),
        cell(_some(sums.skipped), "yellow"),
        cell(_some(sums.missed), "red"),
        cell(_seconds(sums.durations.percentile(0.5))),
        cell(_seconds(sums.durations.percentile(0.95))),
    ]


def _some(number: int) -> str:
    return f"{number:,}" if number else ""


def _percent(rate: float | None) -> str:
    """Never 100 % unless it is: that is what the column is looked at for."""
    if rate is None:
        return ""
    return "100%" if rate == 1 else f"{min(rate * 100, 99.99):.4g}%"


def _seconds(took: float | None) -> str:
    return "" if took is None else format_duration(took)


# -- row by row


def _print_rows(records: Iterator[dict[str, Any]], limit: int | None, *, bounded: bool) -> None:
    told = (row for record in _one_per_attempt(records) if (row := _row_of(record)) is not None)
    with working("looking through the history"):
        rows = list(islice(told, limit or _USUAL))
        more = bounded and limit is None and next(told, None) is not None
    if not rows:
        print("nothing" if bounded else "nothing yet")
        return
    write(table(_COLUMNS, rows, terminal_of(sys.stdout)), sys.stdout)
    if more:
        tell(f"stsd: these are the last {_USUAL}; -n shows more", "dim")


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


def _row_of(record: dict[str, Any]) -> list[Line] | None:
    """The row of a record; None for one that has lost a field, by a byte that flipped."""
    try:
        cells = _row(record)
    except (KeyError, TypeError, ValueError):
        tell_damage(Path("history"), json.dumps(record).encode())
        return None
    return [cell(text, _SHADES.get(text, "")) for text in cells]


def _row(record: dict[str, Any]) -> tuple[str, ...]:
    job, event = record["job"], record["event"]
    if event == "missed":
        span = f"{record['count']} from {_shown(record['first'])} to {_shown(record['last'])}"
        return (_shown(record["last"]), job, "missed", "", "", f"{record['reason']}: {span}")
    when = _shown(record["scheduled"])
    if event == "skipped":
        detail = visible(str(record.get("detail") or ""))
        told = f"{record['reason']}: {detail}" if detail else record["reason"]
        return (when, job, "skipped", "", "", told)
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
        _joined(attempt, ending_in_words(record), _left_out(record), _retry(record)),
    )


def _left_out(record: dict[str, Any]) -> str:
    """Of the output; the records of earlier versions do not tell."""
    size = record.get("output_discarded")
    return f"{format_size(size)} of output left out" if size else ""


def _retry(record: dict[str, Any]) -> str:
    retry_at = record["will_retry_at"]
    return f"next attempt at {_shown(retry_at)[11:]}" if retry_at else ""


def _joined(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _shown(instant: str) -> str:
    return local_time(instant_of(instant))
