"""Which records of the history a command is asked for: by job, tag, time, outcome, trigger, run.

A line that cannot be meant is told from its bytes, so that most of a long history is never parsed.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fnmatch import translate
from pathlib import Path
from typing import Any

from stsd.archive import Wanted, newest_first
from stsd.cli.common import config_path, tell_damage, visible
from stsd.errors import UsageError
from stsd.values import did_you_mean

_UNFINISHED = (b'{"event":"intent"', b'{"event":"started"')
_SET_BACK_S = 3 * 3600.0
"""Records may be this much out of order: so far is a clock set back that is put right."""
_GLOB = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class Jobs:
    """Jobs by name; `patterns` may have `*`, `?` and `[...]`. None at all means every job."""

    names: frozenset[str] = frozenset()
    patterns: tuple[re.Pattern[str], ...] = ()

    def __contains__(self, name: object) -> bool:
        if not (self.names or self.patterns) or name in self.names:
            return True
        return isinstance(name, str) and any(each.fullmatch(name) for each in self.patterns)


@dataclass(frozen=True, slots=True)
class Selection:
    """What records have to be like; None and an empty set ask for nothing. `since` and `until`
    are about when a record was written, `outcomes` has `skipped` and `missed` as well, `slower`
    is in seconds; `ended` leaves out what is known of attempts besides their ends."""

    jobs: Jobs = Jobs()
    since: float | None = None
    until: float | None = None
    outcomes: frozenset[str] = frozenset()
    triggers: frozenset[str] = frozenset()
    run: str | None = None
    slower: float | None = None
    ended: bool = False

    def __contains__(self, record: Mapping[str, Any]) -> bool:
        took = record.get("duration_s")
        return (
            record.get("job") in self.jobs
            and (self.run is None or record.get("run") == self.run)
            and (not self.outcomes or outcome_of(record) in self.outcomes)
            and (not self.triggers or record.get("trigger") in self.triggers)
            and (self.slower is None or (isinstance(took, int | float) and took > self.slower))
        )


def outcome_of(record: Mapping[str, Any]) -> str | None:
    """How an attempt ended, or that there was none: `skipped`, `missed`; else None."""
    event = record["event"]
    return event if event in ("skipped", "missed") else record.get("outcome")


def jobs_asked_for(arguments: argparse.Namespace) -> Jobs:
    """By the names and patterns of `arguments.jobs`, and by `--tag`, which is looked up in the
    jobfile. Raises UsageError for a tag that no job has, JobfileError."""
    words, tags = arguments.jobs, arguments.tag or []
    names = {word for word in words if not _GLOB.search(word)}
    patterns = tuple(re.compile(translate(word)) for word in words if _GLOB.search(word))
    if tags:
        names |= _tagged(config_path(arguments), tags)
    return Jobs(frozenset(names), patterns)


def _tagged(path: Path, tags: list[str]) -> set[str]:
    from stsd.jobfile import load, machine_zone

    jobfile = load(path, local_zone=machine_zone())
    known = {tag for job in jobfile.jobs.values() for tag in job.tags}
    for tag in tags:
        if tag not in known:
            hint = did_you_mean(tag, known)
            remedy = f" ({hint})" if hint else ""
            raise UsageError(f"no job in {path} has the tag {visible(tag)}{remedy}")
    return {job.name for job in jobfile.jobs.values() if set(job.tags) & set(tags)}


def newest(log_dir: Path, selection: Selection) -> Iterator[dict[str, Any]]:
    """The records selected, the last written one first."""
    first, last = _day_of(selection.since, date.min), _day_of(selection.until, date.max)
    records = newest_first(log_dir, tell_damage, first, last, _prefilter(selection))
    if selection.since is not None or selection.until is not None:
        records = _between(records, selection.since, selection.until)
    return (record for record in records if record in selection)


def _between(
    records: Iterator[dict[str, Any]], since: float | None, until: float | None
) -> Iterator[dict[str, Any]]:
    """Those that were written in that time; one that does not say when is let through."""
    for record in records:
        at = _instant_in(record)
        if at is not None and since is not None and at < since - _SET_BACK_S:
            return
        if at is None or ((since is None or at >= since) and (until is None or at < until)):
            yield record


def jobs_named(names: frozenset[str]) -> Callable[[bytes], bool]:
    """Tells a line about one of the jobs from its bytes; a substring is found many times faster
    than a record is parsed, or an expression matched."""
    needles = [f'"job":"{name}"'.encode() for name in sorted(names)]
    if len(needles) == 1:
        needle = needles[0]
        return lambda line: needle in line
    return lambda line: any(needle in line for needle in needles)


def _prefilter(selection: Selection) -> Wanted | None:
    """What tells from a line whether it can be meant. One that is damaged may be passed over."""
    tests: list[Callable[[bytes], bool]] = []
    if selection.ended or selection.outcomes or selection.slower is not None:
        tests.append(lambda line: not line.startswith(_UNFINISHED))
    if selection.run is not None:
        run = f'"run":"{selection.run}"'.encode()
        tests.append(lambda line: run in line)
    elif selection.jobs.names and not selection.jobs.patterns:
        tests.append(jobs_named(selection.jobs.names))
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda line: all(test(line) for test in tests)


def _day_of(instant: float | None, unbounded: date) -> date:
    """Its day in UTC."""
    try:
        return unbounded if instant is None else datetime.fromtimestamp(instant, UTC).date()
    except (ValueError, OverflowError, OSError):  # no day of the calendar
        return unbounded


def _instant_in(record: Mapping[str, Any]) -> float | None:
    """When it was written, if it says so: a byte may have flipped."""
    try:
        return datetime.fromisoformat(record["at"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return None
