"""Why somebody is told: one sentence for each condition, for a person who has just been woken.

Instants are given to the minute in the job's zone, with its name. A sentence stays true for as long
as the condition lasts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from stsd.model import Job, LogFailure, MissReason, Outcome, SkipReason
from stsd.notices import Event
from stsd.units import escaped, format_duration, format_size
from stsd.wallclock import local

_SKIPPED = {
    SkipReason.OVERLAP: "an earlier run has not ended",
    SkipReason.CONDITION: "what it needs was not so",
    SkipReason.SUPERSEDED: "something else took its place",
}
_MISSED = {
    MissReason.DOWN: "stsd was not running",
    MissReason.SLEPT: "the machine slept, stsd was stopped, or the clock was set forward",
    MissReason.HELD: "the history could not be written",
}
_ENDED = {
    Outcome.TIMED_OUT: "timed out",
    Outcome.INTERRUPTED: "interrupted",
    Outcome.SPAWN_FAILED: "could not be started",
}
_WAS = {
    Event.ATTEMPT_FAILED: "failing",
    Event.LATE: "late",
    Event.SILENT: "silent",
    Event.SLOW: "slow",
}


def of_failure(record: Mapping[str, Any]) -> str:
    """Why an attempt has failed, by its `finished` record."""
    duration = record["duration_s"]
    how = _ENDED.get(record["outcome"], "")
    if how and duration is not None:
        how = f"{how} after {format_duration(duration)}"
    said = _last_word(record)
    return ": ".join(part for part in (how, said) if part) or str(record["outcome"])


def _last_word(record: Mapping[str, Any]) -> str:
    if record["error"]:
        return escaped(str(record["error"]))
    if record["outcome"] == Outcome.TIMED_OUT:  # it was stsd that ended it
        return ""
    if record["signal"]:
        return f"ended by {record['signal']}"
    return "" if record["exit_code"] is None else f"exit code {record['exit_code']}"


def of_lateness(job: Job, deadline: int, success: float | None) -> str:
    """Nothing has succeeded in time."""
    last = "none is known" if success is None else f"the last success ended {_when(job, success)}"
    return f"no success by its deadline, {_when(job, deadline)}; {last}"


def of_silence(job: Job, success: float | None, since: float) -> str:
    """Nothing has succeeded for too long; what has never succeeded is known since `since`."""
    span = "" if job.max_age is None else format_duration(job.max_age)
    asked = f"though it is to succeed at least every {span}"
    if success is None:
        return f"no success at all, known since {_when(job, since)}, {asked}"
    return f"no success since {_when(job, success)}, {asked}"


def of_small_output(printed: int, least: int) -> str:
    """A success that has printed next to nothing."""
    return f"succeeded, but printed {format_size(printed)} of at least {format_size(least)}"


def of_slowness(job: Job, limit: float, taken: float, *, over: bool) -> str:
    """A run that takes, or has taken, longer than `limit` seconds."""
    took = (
        f"took {format_duration(taken)}" if over else f"has taken {format_duration(taken)} so far"
    )
    if job.slow is None or job.slow.factor is None:
        return f"{took}; more than {format_duration(limit)} is slow"
    usual = format_duration(limit / job.slow.factor)
    return f"{took}; 95 of 100 runs take at most {usual}, and {job.slow.factor:g}x that is slow"


def of_misses(job: Job, count: int, first: int, last: int, reason: str) -> str:
    """Occurrences that fell due unseen."""
    because = _MISSED[MissReason(reason)]
    if count == 1:
        return f"the occurrence of {_when(job, first)} was missed: {because}"
    span = f"from {_when(job, first, zone=False)} to {_when(job, last)}"
    return f"{count:,} occurrences {span} were missed: {because}"


def of_skip(job: Job, scheduled: int, reason: str, detail: str | None) -> str:
    """An occurrence that was left out."""
    because = _SKIPPED[SkipReason(reason)] + (f": {escaped(detail)}" if detail else "")
    return f"the occurrence of {_when(job, scheduled)} was skipped: {because}"


def of_holding(job: Job, error: str) -> str:
    """The history cannot be written."""
    held = "it is not run until that is mended"
    fate = held if job.on_log_failure is LogFailure.HOLD else "it is run without a record"
    return f"the history cannot be written ({escaped(error)}): {fate}"


def of_recovery(job: Job, ended: Iterable[Event], failures: int, since: float) -> str:
    """A success, and what is over with it since `since`; so many runs had failed before."""
    if failures:
        runs = "1 failed run" if failures == 1 else f"{failures:,} failed runs"
        return f"succeeded, after {runs} since {_when(job, since)}"
    was = " and ".join(_WAS[event] for event in ended)
    return f"succeeded; it was {was} since {_when(job, since)}"


def of_start_after(job: Job, since: float) -> str:
    """It is run again, after occurrences that were not."""
    return f"runs again; occurrences were left out since {_when(job, since)}"


HISTORY_BACK = "the history can be written again"


def _when(job: Job, instant: float, *, zone: bool = True) -> str:
    moment = local(int(instant), job.when.timezone)
    return f"{moment:%Y-%m-%d %H:%M}" + (f" ({job.when.timezone})" if zone else "")
