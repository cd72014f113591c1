"""The books, checked by counting on one's fingers: what was demanded, second by second, against
what the history says and what the jobs themselves have witnessed.

Shares no code with stsd. Knows only grids: `every`, and the cron expressions `* * * * *` and
`*/N * * * *`.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

Record = dict[str, Any]
BY_TIME = ("cron", "every", "at")


def instant(text: str) -> int:
    """Seconds since the epoch, cut down to whole ones."""
    return int(datetime.fromisoformat(text).timestamp())


def lines_of(history: Path) -> list[bytes]:
    """All lines that are complete, oldest first; older days may be compressed."""
    paths = sorted(history.glob("*.jsonl*"))
    whole = (
        gzip.decompress(p.read_bytes()) if p.suffix == ".gz" else p.read_bytes() for p in paths
    )
    return [line for text in whole for line in text.split(b"\n")[:-1]]


def records_of(history: Path) -> list[Record]:
    """Every record; raises ValueError where a line is none."""
    return [json.loads(line) for line in lines_of(history)]


def witnessed(witness: Path) -> Counter[tuple[str, int]]:
    """How often each attempt has told of itself."""
    lines = witness.read_text().splitlines() if witness.exists() else []
    return Counter((run, int(attempt)) for run, attempt in map(str.split, lines))


def faults_of(records: Iterable[Record], witness: Path | None = None) -> list[str]:
    """Whatever does not balance, one sentence each."""
    every = list(records)
    told = witnessed(witness) if witness else Counter[tuple[str, int]]()
    found = _faults_of_attempts(every, told)
    for job in sorted({record["job"] for record in every if "job" in record}):
        found += _faults_of_job(job, [record for record in every if record.get("job") == job])
    return found


def _period(when: Record) -> int:
    if when.get("every"):
        return int(when["every"])
    (expression,) = when["cron"]
    minute, *rest = expression.split()
    assert rest == ["*"] * 4, expression
    return 60 if minute == "*" else 60 * int(minute.removeprefix("*/"))


def _demanded(schedules: list[Record], until: int) -> set[int]:
    """Each schedule counts from after its `since` up to that of the next one, or to `until`."""
    ends = [*(instant(record["since"]) for record in schedules[1:]), until][: len(schedules)]
    demanded: set[int] = set()
    for record, end in zip(schedules, ends, strict=True):
        if record["when"] is None:
            continue
        step = _period(record["when"])
        first = (instant(record["since"]) // step + 1) * step
        demanded |= set(range(first, end + 1, step))
    return demanded


def _faults_of_job(job: str, records: list[Record]) -> list[str]:
    runs = {
        record["run"]: instant(record["scheduled"])
        for record in records
        if record["event"] == "intent" and record["trigger"] in BY_TIME
    }
    skipped = [instant(record["scheduled"]) for record in records if record["event"] == "skipped"]
    missed = [record for record in records if record["event"] == "missed"]
    singly = Counter([*runs.values(), *skipped])
    last = max([*singly, *(instant(record["last"]) for record in missed)], default=0)
    schedules = [record for record in records if record["event"] == "schedule"]
    if schedules and schedules[-1]["when"] is None:
        last = instant(schedules[-1]["since"])
    demanded = _demanded(schedules, last)
    found = [f"{job}: {at} is accounted for {n} times" for at, n in singly.items() if n > 1]
    found += [f"{job}: {at} was not demanded" for at in sorted(set(singly) - demanded)]
    is_open = demanded - set(singly)
    for record in missed:
        span = range(instant(record["first"]), instant(record["last"]) + 1)
        inside = {at for at in is_open if at in span}
        if len(inside) != record["count"]:
            found.append(f"{job}: {len(inside)} were open in {record}")
        is_open -= inside
    return found + [f"{job}: nothing accounts for {at}" for at in sorted(is_open)]


def _faults_of_attempts(records: list[Record], told: Counter[tuple[str, int]]) -> list[str]:
    def attempts(event: str) -> Counter[tuple[str, int]]:
        return Counter((r["run"], r["attempt"]) for r in records if r["event"] == event)

    intents, started, finished = attempts("intent"), attempts("started"), attempts("finished")
    to_be_retried = {
        (record["run"], record["attempt"] + 1)
        for record in records
        if record["event"] == "finished" and record["will_retry_at"] is not None
    }
    called_off = {
        (record["run"], record["attempt"])
        for record in records
        if record["event"] == "finished" and record["outcome"] == "cancelled"
    }
    succeeded = {
        (record["run"], record["attempt"])
        for record in records
        if record["event"] == "finished" and record["outcome"] == "succeeded"
    }
    found = [
        f"{attempt} has {count} {event} records"
        for event, counts in (("intent", intents), ("started", started), ("finished", finished))
        for attempt, count in counts.items()
        if count > 1
    ]
    found += [f"{attempt} has run {count} times" for attempt, count in told.items() if count > 1]
    found += [f"{a} was started without an intent" for a in started if a not in intents]
    found += [f"{a} ended without an intent" for a in finished.keys() - intents - called_off]
    found += [f"{a} has run without an intent" for a in told if a not in intents]
    found += [
        f"{a} is a retry that nobody asked for" for a in intents if _uncalled(a, to_be_retried)
    ]
    if told:
        found += [f"{a} succeeded and has not run" for a in succeeded if a not in told]
    return found


def _uncalled(attempt: tuple[str, int], to_be_retried: set[tuple[str, int]]) -> bool:
    return attempt[1] > 1 and attempt not in to_be_retried
