"""What is known of a notice, in words: one headline, a few facts, the command that shows more.

Shared by all that is made of them: text, chat and mail. Whatever came from outside is escaped here
once, so that no line ends, no header begins and no terminal obeys where nobody has meant it to.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from datetime import datetime

from stsd.letter import TAIL_BYTES, TAIL_LINES, Letter, Told
from stsd.notices import Event, Notice
from stsd.units import escaped, format_duration, format_size, rfc3339
from stsd.wallclock import zone

LONGEST_WHY = 300
_LONGEST_SUBJECT = 180
_LONGEST_DESCRIPTION = 200
_SUCCEEDED = "succeeded"

# What hurts most goes first.
BY_WEIGHT = (
    Event.HELD,
    Event.FAILED,
    Event.SILENT,
    Event.LATE,
    Event.MISSED,
    Event.SLOW,
    Event.ATTEMPT_FAILED,
    Event.SKIPPED,
    Event.RECOVERED,
)
_OUTCOMES = {
    "failed": "failed",
    "timed_out": "timed out",
    "cancelled": "cancelled",
    "interrupted": "interrupted",
    "spawn_failed": "could not be started",
    _SUCCEEDED: "succeeded",
}
# Of which a reason says the same again at its beginning (`stsd.grounds.of_failure`).
_SAID_TWICE = frozenset({"timed_out", "interrupted", "spawn_failed"})
_OF_MANY = {
    Event.FAILED: "failed",
    Event.ATTEMPT_FAILED: "failed, to be retried",
    Event.RECOVERED: "recovered",
    Event.LATE: "late",
    Event.MISSED: "missed",
    Event.SKIPPED: "skipped",
    Event.SLOW: "slow",
    Event.SILENT: "silent",
    Event.HELD: "held",
}
# Of those that have been told before, and last.
_OF_MANY_STILL = {
    Event.FAILED: "still failing",
    Event.LATE: "still late",
    Event.SLOW: "still slow",
    Event.SILENT: "still silent",
    Event.HELD: "still held",
}
_TRIGGERS = {
    "manual": "by hand",
    "on_start": "at the start of stsd",
    "after": "after other jobs",
}


def subject(letter: Letter, *, brief: bool = False) -> str:
    """One line for a mail's subject; a `brief` one, for the title of a chat's message, has nothing
    in it that came from outside, such as the reason."""
    alone = letter.alone
    if alone is None:
        what = summary(letter)
    else:
        what = headline(alone.notice) if brief else sentence(alone.notice)
    mark = "TEST: " if letter.test else ""
    place = f" ({escaped(letter.host)})"
    return f"[stsd] {mark}{_cut(what, _LONGEST_SUBJECT - len(place) - len(mark))}{place}"


def summary(letter: Letter) -> str:
    """A digest in one line: `3 jobs failed, 2 late, 1 recovered`."""
    parts: list[str] = []
    for event, told in grouped(letter.told):
        jobs = len({each.notice.job for each in told})
        noun = (" job" if jobs == 1 else " jobs") if not parts else ""
        words = _OF_MANY_STILL if all(each.notice.reminder for each in told) else _OF_MANY
        parts.append(f"{jobs:,}{noun} {words.get(event, _OF_MANY[event])}")
    if letter.dropped:
        parts.append(f"{letter.dropped:,} more that were not kept")
    return ", ".join(parts)


def grouped(told: Iterable[Told]) -> list[tuple[Event, list[Told]]]:
    """The notices by what they are about, the gravest first, else in their order."""
    found: dict[Event, list[Told]] = {event: [] for event in BY_WEIGHT}
    for each in told:
        found[each.notice.event].append(each)
    return [(event, group) for event, group in found.items() if group]


def by_weight(told: Iterable[Told]) -> list[Told]:
    """The notices in the same order."""
    return [each for _, group in grouped(told) for each in group]


def heading(event: Event, number: int) -> str:
    """What stands above the notices of a kind, in a digest."""
    return f"{_OF_MANY[event]} ({number:,})" if number > 1 else _OF_MANY[event]


def sentence(notice: Notice) -> str:
    """Headline and reason: `backup failed: exit code 2`, `backup timed out after 1h`."""
    head, reason = headline(notice), why(notice)
    if notice.outcome in _SAID_TWICE and (how := _OUTCOMES[notice.outcome]) in head:
        return head + reason.removeprefix(how)
    return f"{head}: {reason}" if reason else head


def headline(notice: Notice) -> str:
    """What has happened to which job, in a few words."""
    still = "still " if notice.reminder else ""
    times = f" {notice.count:,} times" if notice.count > 1 else ""
    runs = "a run" if notice.count == 1 else f"{notice.count:,} runs"
    too_little = notice.event is Event.SILENT and notice.outcome == _SUCCEEDED
    words = {
        Event.FAILED: "still fails" if still else _failed(notice),
        Event.ATTEMPT_FAILED: f"{_failed(notice)} in attempt {notice.attempt or 1}",
        Event.RECOVERED: "recovered",
        Event.LATE: f"is {still}late",
        Event.MISSED: f"missed {runs}",
        Event.SKIPPED: f"was skipped{times}",
        Event.SLOW: "was slow" if notice.outcome else f"is {still}slow",
        Event.SILENT: "printed too little" if too_little else f"is {still}silent",
        Event.HELD: f"is {still}held",
    }
    return f"{escaped(notice.job)} {words[notice.event]}"


def why(notice: Notice) -> str:
    """The reason, on one line."""
    return _cut(escaped(" ".join(notice.why.split())), LONGEST_WHY)


def in_short(told: Told) -> str:
    """The reason in a line of a digest; of what is told again, with how long that has lasted."""
    notice = told.notice
    if not notice.reminder or notice.since is None:
        return why(notice)
    runs = f"{notice.count:,} runs " if _in_a_row(notice) else ""
    began = datetime.fromtimestamp(notice.since, zone(told.zone))
    return f"{why(notice)} ({runs}since {began:%Y-%m-%d %H:%M})"


def description(told: Told) -> str:
    """What the job is for, on one line."""
    return _cut(escaped(" ".join(told.description.split())), _LONGEST_DESCRIPTION)


def facts(told: Told) -> list[tuple[str, str]]:
    """What else is known, as labels and values."""
    notice = told.notice
    found = [
        ("Run", escaped(notice.run or "")),
        ("Due", _due(told)),
        ("Attempt", str(notice.attempt) if notice.attempt and notice.attempt > 1 else ""),
        ("Outcome", _outcome(notice)),
        ("Took", _took(notice)),
        _lasting(told),
        ("In a row", _in_a_row(notice)),
        ("Is over", _over(notice)),
        _next(told),
    ]
    return [(label, value) for label, value in found if value]


def output_heading(told: Told, shown: int) -> str:
    """What stands above the last `shown` lines of the output."""
    size = told.notice.output_bytes
    if shown == len(told.tail) < TAIL_LINES and size <= TAIL_BYTES:
        return "Its output"
    of_how_much = f" ({format_size(size)})" if size else ""  # not known while it runs
    return f"The end of its output{of_how_much}"


def more(notice: Notice, jobfile: str) -> str:
    """The command that shows more, fit to be pasted; for `jobfile` see `stsd.letter.Letter`."""
    job = escaped(notice.job)
    if notice.event in (Event.MISSED, Event.SKIPPED) and notice.scheduled is not None:
        return _command(jobfile, "why", job, "--at", rfc3339(notice.scheduled))
    if notice.event is Event.HELD:
        return overview(jobfile)
    if notice.run:
        if notice.output is not None:
            return _command(jobfile, "logs", escaped(notice.run))
        what = ("logs", "-f") if is_running(notice) else ("history", "--run")
        return _command(jobfile, *what, escaped(notice.run))
    return _command(jobfile, "history", job)


def overview(jobfile: str) -> str:
    """The command that shows how all jobs fare."""
    return _command(jobfile, "status")


def _command(jobfile: str, name: str, *words: str) -> str:
    named = ("-c", escaped(shlex.quote(jobfile))) if jobfile else ()
    return " ".join(("stsd", name, *named, *words))


def is_running(notice: Notice) -> bool:
    """Whether it is about a run that has not ended."""
    return notice.run is not None and notice.outcome is None and notice.event is Event.SLOW


def moment(instant: float, zone_name: str) -> str:
    """An instant in a job's zone, for a reader who may be in another one."""
    there = datetime.fromtimestamp(instant, zone(zone_name))
    return f"{there:%a %Y-%m-%d %H:%M:%S} ({zone_name})"


def time_of_day(told: Told) -> str:
    """When a notice came about, short, for a line of a digest."""
    return f"{datetime.fromtimestamp(told.notice.at, zone(told.zone)):%a %H:%M %Z}"


def _failed(notice: Notice) -> str:
    was = "was " if notice.outcome in ("interrupted", "cancelled") else ""
    return was + _OUTCOMES.get(notice.outcome or "failed", "failed")


def _due(told: Told) -> str:
    scheduled, trigger = told.notice.scheduled, told.notice.trigger
    if scheduled is None:
        return ""
    by = f", {_TRIGGERS.get(trigger, f'by {escaped(trigger)}')}" if trigger else ""
    return f"{moment(scheduled, told.zone)}{by}"


def _outcome(notice: Notice) -> str:
    if notice.outcome is None:
        return ""
    parts = [_OUTCOMES.get(notice.outcome, escaped(notice.outcome))]
    if notice.exit_code is not None and notice.outcome != _SUCCEEDED:
        parts.append(f"exit code {notice.exit_code}")
    if notice.signal:
        parts.append(f"signal {escaped(notice.signal)}")
    if notice.error:
        parts.append(_cut(escaped(notice.error), LONGEST_WHY))
    return ", ".join(parts)


def _took(notice: Notice) -> str:
    if notice.duration_s is None:
        return ""
    so_far = " so far" if notice.outcome is None else ""
    usual = f", usually {format_duration(notice.usual_s)}" if notice.usual_s is not None else ""
    return f"{format_duration(notice.duration_s)}{so_far}{usual}"


def _lasting(told: Told) -> tuple[str, str]:
    since, at = told.notice.since, told.notice.at
    if since is None or at - since < 1:
        return "", ""
    began, long = moment(since, told.zone), format_duration(at - since)
    if told.notice.event is Event.RECOVERED:
        return "Lasted", f"{long}, since {began}"
    return "Since", f"{began}, for {long}"


def _in_a_row(notice: Notice) -> str:
    of_runs = notice.event in (Event.FAILED, Event.RECOVERED)
    return f"{notice.count:,} runs failed" if of_runs and notice.count > 1 else ""


def _over(notice: Notice) -> str:
    ended = ((event, _OF_MANY[event]) for event in notice.ended)
    return ", ".join("failing" if it is Event.ATTEMPT_FAILED else was for it, was in ended)


def _next(told: Told) -> tuple[str, str]:
    if told.next is None:
        return "", ""
    is_attempt = told.next == told.notice.will_retry_at
    return ("Next try" if is_attempt else "Next due"), moment(told.next, told.zone)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
