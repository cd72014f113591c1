"""The books of a universe, reckoned up: what was demanded against what the history says.

Reads the history's lines as any reader would, and shares no code with stsd.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.simulation.chains import Chains
from tests.simulation.demand import between, demanded
from tests.simulation.drawing import DAY, START
from tests.simulation.pauses import Pauses
from tests.simulation.universe import Universe

FIRST = START - 2 * DAY
BY_TIME = ("cron", "every", "at")
NEVER_BEGUN = ("cancelled", "spawn_failed")


@dataclass
class _Job:
    """How often each instant is demanded, at least and at most, and is accounted for.

    `versions` are the instants of each of its schedules, of which `known` have been told of: what
    is missed is never what a later schedule asks for, though the clock may have been set back, nor
    what an earlier one would have asked for after its end.
    """

    least: Counter[int] = field(default_factory=Counter)
    most: Counter[int] = field(default_factory=Counter)
    done: Counter[int] = field(default_factory=Counter)
    versions: list[set[int]] = field(default_factory=list)
    known: int = 0

    def asked_by_now(self, at: int) -> bool:
        return any(at in instants for instants in self.versions[: self.known])


@dataclass
class Reckoning:
    """`faults` is empty where the books balance."""

    faults: list[str]
    demanded: int = 0
    run: int = 0
    skipped: int = 0
    missed: int = 0


def reckon(universe: Universe) -> Reckoning:
    jobs = _demands(universe)
    total = Reckoning(list(universe.violations))
    total.demanded = sum(sum(job.least.values()) for job in jobs.values())
    runs: dict[str, dict[str, Any]] = {}
    chains, pauses = Chains(), Pauses()
    for record in _records(universe.disk.log_dir / "history"):
        event = record["event"]
        chains.take(record)
        pauses.take(record)
        if event == "schedule" and record["when"] is not None and record["job"] in jobs:
            jobs[record["job"]].known += 1
        elif event == "skipped":
            if record["trigger"] not in BY_TIME:
                continue
            total.skipped += 1
            _account(jobs, total, record["job"], _instant(record["scheduled"]), "skipped")
        elif event == "missed":
            _account_span(jobs, total, record)
        elif event in ("intent", "started", "finished"):
            if _is_first(runs, record):
                total.run += 1
                _account(jobs, total, record["job"], _instant(record["scheduled"]), "run")
            _follow(runs, total, record)
    for name, job in jobs.items():
        short = [at for at, least in job.least.items() if job.done[at] < least]
        if short:
            total.faults.append(f"{name}: {len(short)} lost, the first at {min(short)}")
    _check_ends(runs, total)
    total.faults += chains.closed() + pauses.faults
    total.faults = [f"seed {universe.seed}: {fault}" for fault in total.faults]
    return total


def _demands(universe: Universe) -> dict[str, _Job]:
    last = FIRST + (universe.profile.days + 70) * DAY
    jobs: dict[str, _Job] = {}
    for name, versions in universe.versions.items():
        job = jobs[name] = _Job()
        for version in versions:
            if version.when.after:
                job.versions.append(set())
                continue
            form = universe.drawing.forms[version.when]
            instants = demanded(form, name if form.splay else "", FIRST, last)
            assert version.until is not None, "everything was closed at the end"
            ended = max(version.until, version.spare[1])
            job.versions.append(set(between(instants, version.since, ended)))
            low, high = version.first_spare
            for at in between(instants, version.since, version.until):
                if low < at <= high:  # nothing repeats, and nothing is left out
                    job.most[at] = job.least[at] = max(1, job.most[at])
                else:
                    job.most[at] += 1
                    job.least[at] += 1
            low, high = version.spare
            if version.until < high:
                for at in between(instants, max(version.since, version.until), high):
                    job.most[at] = max(1, job.most[at])
    return jobs


def _records(folder: Path) -> Iterator[dict[str, Any]]:
    for segment in sorted(folder.glob("*.jsonl")):
        with segment.open("rb") as lines:
            for line in lines:
                if line.endswith(b"\n"):  # a torn line may end a segment
                    yield json.loads(line)


@lru_cache(maxsize=100_000)
def _instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _is_first(runs: dict[str, dict[str, Any]], record: dict[str, Any]) -> bool:
    """Whether this is the first that is heard of an occurrence."""
    if record["trigger"] not in BY_TIME or record["attempt"] != 1:
        return False
    if record["event"] == "intent":
        return True
    known = runs.get(record["run"])
    return record["event"] == "finished" and (known is None or known["over"])


def _follow(runs: dict[str, dict[str, Any]], total: Reckoning, record: dict[str, Any]) -> None:
    """Attempts are numbered without a gap, and each ends before the next one begins."""
    name, attempt, event = record["run"], record["attempt"], record["event"]
    run = runs.get(name)
    if run is None or (run["over"] and attempt == 1 and event != "started"):
        run = runs[name] = {"attempt": 0, "open": False, "over": False, "put_off": False}
    if event == "intent":
        if run["open"] or attempt != run["attempt"] + 1:
            total.faults.append(f"{name}: attempt {attempt} begins after {run}")
        run |= {"attempt": attempt, "open": True, "put_off": False}
    elif event == "started":
        if not run["open"] or attempt != run["attempt"]:
            total.faults.append(f"{name}: attempt {attempt} is started after {run}")
    else:
        begun = run["open"] and attempt == run["attempt"]
        called_off = not run["open"] and attempt == run["attempt"] + 1
        if run["over"] or not (begun or (called_off and record["outcome"] in NEVER_BEGUN)):
            total.faults.append(f"{name}: attempt {attempt} ends {record['outcome']} after {run}")
        put_off = record["will_retry_at"] is not None
        run |= {"attempt": attempt, "open": False, "over": not put_off, "put_off": put_off}


def _check_ends(runs: dict[str, dict[str, Any]], total: Reckoning) -> None:
    for name, run in runs.items():
        if not run["over"]:
            total.faults.append(f"{name}: its end is not on record: {run}")


def _account(jobs: dict[str, _Job], total: Reckoning, name: str, at: int, how: str) -> None:
    job = jobs.setdefault(name, _Job())
    job.done[at] += 1
    if job.done[at] > job.most[at]:
        what = "twice" if job.most[at] else "without being due"
        total.faults.append(f"{name}: {at} is accounted for {what}, {how}")


def _account_span(jobs: dict[str, _Job], total: Reckoning, record: dict[str, Any]) -> None:
    job = jobs.setdefault(record["job"], _Job())
    first, last = _instant(record["first"]), _instant(record["last"])
    span = [at for at in job.most if first <= at <= last and job.asked_by_now(at)]
    due = [at for at in span if job.done[at] < job.least[at]]
    spare = [at for at in span if job.done[at] >= job.least[at] and job.done[at] < job.most[at]]
    total.missed += record["count"]
    if not len(due) <= record["count"] <= len(due) + len(spare):
        total.faults.append(f"{record['job']}: {record['count']} missed, not {len(due)}: {record}")
    ends = {first, last} - {at for at in span if job.done[at] < job.most[at]}
    if ends:
        total.faults.append(f"{record['job']}: missed from or to {sorted(ends)}: {record}")
    for at in due:
        job.done[at] += 1
