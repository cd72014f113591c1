"""What the records of the history, and the time that passes, mean for one job: which conditions
begin, and which are over.

Decides on values alone. Of a run that has not ended only the time tells; everything else follows
from the records, whenever they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import floor, inf, nextafter
from typing import Any

from stsd import grounds
from stsd.conduct import Conduct, Underway
from stsd.deadlines import Held, next_deadline, unmet
from stsd.drafting import of_end, of_misses, of_skip, of_underway
from stsd.durations import slow_after
from stsd.model import Job, Outcome, Overlap, SkipReason
from stsd.notices import Event, Notice
from stsd.telling import Telling
from stsd.units import from_rfc3339

Record = Mapping[str, Any]

_RUN = frozenset({"at", "run", "scheduled", "trigger", "attempt"})
_NEEDED = {
    "started": _RUN,
    "finished": _RUN
    | {"outcome", "exit_code", "signal", "started", "duration_s", "error", "will_retry_at"}
    | {"output", "output_bytes"},
    "skipped": frozenset({"at", "scheduled", "reason"}),
    "missed": frozenset({"at", "first", "last", "count", "reason"}),
    "schedule": frozenset({"at", "since"}),
    "paused": frozenset({"at"}),
    "resumed": frozenset({"at"}),
}
_TOLD_SKIPS = frozenset({SkipReason.OVERLAP, SkipReason.CONDITION, SkipReason.SUPERSEDED})
_LEFT_OUT = (Event.MISSED, Event.SKIPPED)
_CURED = (Event.FAILED, Event.ATTEMPT_FAILED, Event.LATE)


def concerns(record: Record) -> bool:
    """Whether it says anything of how a job fares. Raises KeyError for a record that lacks what
    such a record has."""
    needed = _NEEDED.get(record["event"])
    if needed is not None and not needed <= record.keys():
        raise KeyError(", ".join(sorted(needed - record.keys())))
    return needed is not None


def take_in(record: Record, telling: Telling) -> None:
    """One record of the job, which `concerns` has let pass. Raises TypeError or ValueError for a
    value that cannot be."""
    at, conduct, event = from_rfc3339(record["at"]), telling.conduct, record["event"]
    if not conduct.is_seen:
        _see(telling.job, conduct, at)
    begun = conduct.underway.pop(record["run"], None) if event == "finished" else None
    if telling.now is not None:
        pass_time(telling, nextafter(at, -inf))
    if event == "finished":
        _finished(record, at, begun, telling)
    elif event == "started":
        _started(record, at, telling)
    elif event == "missed":
        telling.begin(of_misses(record, telling.job, at))
    elif event == "skipped" and record["reason"] in _TOLD_SKIPS:
        telling.begin(of_skip(record, telling.job, at))
    else:
        _ruled(record, at, telling.job, conduct)


def pass_time(telling: Telling, until: float) -> None:
    """Begin what has come about by the time alone, up to and with the instant `until`."""
    job, conduct = telling.job, telling.conduct
    found: list[Notice] = []
    if conduct.underway:
        found += _overdue(job, conduct, until)
    if conduct.deadline is not None and conduct.deadline <= until:
        found += _lateness(job, conduct, until)
    if job.max_age is not None and conduct.since + job.max_age <= until:
        found += _silence(job, conduct, conduct.since + job.max_age)
    for notice in sorted(found, key=lambda each: each.at):
        telling.begin(notice)


def next_look(telling: Telling) -> float | None:
    """The next instant by which the time alone may bring anything."""
    job, conduct = telling.job, telling.conduct
    if not job.enabled:
        return None
    instants = [
        each.started + each.limit
        for each in conduct.underway.values()
        if each.limit is not None and not each.is_slow
    ]
    if conduct.paused is None:
        if conduct.deadline is not None and Event.LATE not in conduct.lasting:
            instants.append(conduct.deadline)
        if job.max_age is not None and Event.SILENT not in conduct.lasting:
            instants.append(conduct.since + job.max_age)
    if conduct.lasting:
        reminder = telling.reminder_due()
        instants += [] if reminder is None else [reminder]
    return min(instants, default=None)


def judged(job: Job, conduct: Conduct, until: float) -> None:
    """The deadlines up to that instant are judged."""
    conduct.judged = until
    conduct.deadline = next_deadline(job, until) if job.enabled else None


def redefined(before: Job, job: Job, conduct: Conduct, now: float) -> None:
    """The job is another one from now on. What it was judged by and is not any more is over, and
    nobody is told; nothing is asked of it for a time that has passed."""
    if (before.when, before.enabled) != (job.when, job.enabled):
        conduct.watched = now
    if job.enabled and not before.enabled:
        conduct.since = now
    if (before.deadline, before.when.timezone) != (job.deadline, job.when.timezone):
        conduct.lasting.pop(Event.LATE, None)
        conduct.judged = now
    if before.slow != job.slow:
        limit = slow_after(job, conduct.durations)
        for run, each in conduct.underway.items():
            conduct.underway[run] = replace(each, limit=limit, is_slow=False)
    asked = (before.max_age, before.min_output), (job.max_age, job.min_output)
    if asked[0] != asked[1] and not _is_silent(job, conduct, now):
        conduct.lasting.pop(Event.SILENT, None)


def found_in(job: Job, conduct: Conduct) -> None:
    """Judge by this job from now on; the conditions that nothing in it asks for are forgotten."""
    judged(job, conduct, conduct.judged)
    if not job.enabled:
        conduct.lasting.clear()
    if job.deadline is None:
        conduct.lasting.pop(Event.LATE, None)
    if job.max_age is None and job.min_output is None:
        conduct.lasting.pop(Event.SILENT, None)
    if job.slow is None:
        conduct.lasting.pop(Event.SLOW, None)


# -- records


def _see(job: Job, conduct: Conduct, at: float) -> None:
    """The first thing that the history tells of the job, which may be older than what we know."""
    conduct.is_seen = True
    conduct.since = min(conduct.since, at)
    conduct.watched = min(conduct.watched, at)
    judged(job, conduct, min(conduct.judged, at))


def _started(record: Record, at: float, telling: Telling) -> None:
    job, conduct = telling.job, telling.conduct
    if job.overlap is not Overlap.ALLOW:  # the end of one that is left here has been lost
        conduct.underway.clear()
    scheduled = int(from_rfc3339(record["scheduled"]))
    limit = slow_after(job, conduct.durations)
    begun = Underway(scheduled, record["trigger"], record["attempt"], at, limit)
    conduct.underway[record["run"]] = begun

    def over(ended: tuple[Event, ...], since: float, failures: int) -> Notice:
        why = grounds.of_start_after(job, since)
        notice = of_underway(Event.RECOVERED, job, conduct, record["run"], begun, at, why)
        return replace(notice, since=since, ended=ended)

    if conduct.lasting:
        telling.end(_LEFT_OUT, over)


def _finished(record: Record, at: float, begun: Underway | None, telling: Telling) -> None:
    outcome = Outcome(record["outcome"])
    is_slow = _judge_slowness(record, at, begun, telling)
    if outcome is Outcome.SUCCEEDED:
        _succeeded(record, at, telling, is_slow=is_slow)
    elif record["will_retry_at"] is not None:
        _attempt_failed(record, at, telling)
    else:
        telling.drop(Event.ATTEMPT_FAILED)
        if outcome is not Outcome.CANCELLED:
            why = grounds.of_failure(record)
            telling.begin(of_end(Event.FAILED, record, telling.conduct, at, why))


def _judge_slowness(record: Record, at: float, begun: Underway | None, telling: Telling) -> bool:
    """Whether the attempt was slow; what was told of it as it ran is brought up to date."""
    job, conduct, taken = telling.job, telling.conduct, record["duration_s"]
    limit = slow_after(job, conduct.durations) if begun is None else begun.limit
    if limit is None or taken is None or taken <= limit:
        return False
    why = grounds.of_slowness(job, limit, taken, over=True)
    telling.begin(of_end(Event.SLOW, record, conduct, at, why))
    return True


def _succeeded(record: Record, at: float, telling: Telling, *, is_slow: bool) -> None:
    job, conduct = telling.job, telling.conduct
    printed = record["output_bytes"] + record.get("output_discarded", 0)
    is_small = job.min_output is not None and printed < job.min_output

    def over(ended: tuple[Event, ...], since: float, failures: int) -> Notice:
        why = grounds.of_recovery(job, ended, failures, since)
        notice = of_end(Event.RECOVERED, record, conduct, at, why)
        return replace(notice, since=since, count=max(1, failures), ended=ended)

    if conduct.lasting:
        cured = _CURED if is_small else (*_CURED, Event.SILENT)
        telling.end(cured if is_slow else (*cured, Event.SLOW), over)
    if is_small and job.min_output is not None:
        why = grounds.of_small_output(printed, job.min_output)
        telling.begin(of_end(Event.SILENT, record, conduct, at, why))
    conduct.since = conduct.success = at
    conduct.printed = printed
    if record["duration_s"] is not None:
        conduct.durations.add(record["duration_s"])


def _attempt_failed(record: Record, at: float, telling: Telling) -> None:
    """One that will be retried. Of a job that is known to fail its attempts are no news."""
    failed = telling.conduct.lasting.get(Event.FAILED)
    if failed is None or failed.told_at is None:
        why = grounds.of_failure(record)
        telling.begin(of_end(Event.ATTEMPT_FAILED, record, telling.conduct, at, why))


def _ruled(record: Record, at: float, job: Job, conduct: Conduct) -> None:
    """What people have decided: another schedule, a pause or its end. The span of a pause does not
    count."""
    event = record["event"]
    if event == "schedule":
        conduct.watched = from_rfc3339(record["since"])
    elif event == "paused":
        conduct.paused = at if conduct.paused is None else conduct.paused
    elif event == "resumed" and conduct.paused is not None:
        conduct.since += at - max(conduct.paused, conduct.since)
        conduct.paused = None
        conduct.watched = max(conduct.watched, at)
        judged(job, conduct, max(conduct.judged, at))


# -- time


def _overdue(job: Job, conduct: Conduct, until: float) -> list[Notice]:
    """The attempts under way that are slow by now."""
    found = []
    for run, each in conduct.underway.items():
        if each.limit is None or each.is_slow or each.started + each.limit > until:
            continue
        conduct.underway[run] = replace(each, is_slow=True)
        why = grounds.of_slowness(job, each.limit, each.limit, over=False)
        at = each.started + each.limit
        found.append(of_underway(Event.SLOW, job, conduct, run, each, at, why))
    return found


def _lateness(job: Job, conduct: Conduct, until: float) -> list[Notice]:
    """Deadlines that pass while the job is paused, or late already, are not judged."""
    deadline = None
    if conduct.paused is None and Event.LATE not in conduct.lasting:
        held = Held(conduct.success, conduct.watched, conduct.judged)
        deadline = unmet(job, held, floor(until))
    judged(job, conduct, until)
    if deadline is None:
        return []
    why = grounds.of_lateness(job, deadline, conduct.success)
    return [Notice(Event.LATE, job.name, float(deadline), why, usual_s=conduct.durations.usual())]


def _silence(job: Job, conduct: Conduct, at: float) -> list[Notice]:
    if conduct.paused is not None or Event.SILENT in conduct.lasting:
        return []
    why = grounds.of_silence(job, conduct.success, conduct.since)
    return [Notice(Event.SILENT, job.name, at, why, usual_s=conduct.durations.usual())]


def _is_silent(job: Job, conduct: Conduct, now: float) -> bool:
    """Whether a job that was silent still is, by what it is asked for now."""
    printed = conduct.printed
    is_small = job.min_output is not None and printed is not None and printed < job.min_output
    return is_small or (job.max_age is not None and conduct.since + job.max_age <= now)
