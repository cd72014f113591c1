"""What `stsd status JOB` shows: one job in depth. Pure: what is known of it goes in, lines come
out."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import islice

from stsd.addressees import public
from stsd.cli.common import visible
from stsd.cli.statusview import PHASES, SHADES, SIGNS, Row, amiss_of, last_of, pause_of, recent_of
from stsd.cli.table import Column, cell, table
from stsd.cli.terminal import Line, Span, Terminal, width_of, wrapped
from stsd.cli.wording import clock_time, coming, counted, instant_of, listed, span
from stsd.model import (
    ArgvTask,
    HttpTask,
    Job,
    Limits,
    MessageTask,
    Overlap,
    PythonTask,
    ShellTask,
    Task,
)
from stsd.triggers import Schedule, schedule_for
from stsd.units import format_duration, format_size, time_of_day
from stsd.wallclock import local

_LATER = 2
_LABEL = len("schedule")
_SIZES = ("memory", "file_size")


@dataclass(frozen=True, slots=True)
class Known:
    """All that is known of a job: its row, its definition (None where the jobfile does not give
    the one in force), the records of its last attempts, the newest first, and where its output
    is; `notes` say why something is not known."""

    row: Row
    job: Job | None = None
    last: Sequence[Row] = ()
    output_dir: str = ""
    notes: Sequence[str] = field(default=())


def in_depth(known: Known, now: float, terminal: Terminal) -> list[Line]:
    """The job as a paragraph of labelled lines, and a table of its last attempts."""
    row = known.row
    lines: list[Line] = [_title(row)]
    before = ""
    for label, value in _facts(known, now, terminal):
        lines += _labelled(label if label != before else "", value, terminal)
        before = label
    if known.last:
        lines += [(), *_last_attempts(known.last, now, terminal)]
    return lines


def _title(row: Row) -> Line:
    told = f": {visible(row['description'])}" if row["description"] else ""
    return (Span(row["job"], "bold"), Span(told))


def _facts(known: Known, now: float, terminal: Terminal) -> Iterator[tuple[str, Line]]:
    row, job = known.row, known.job
    yield "state", cell(row["state"], SHADES.get(row["state"], ""))
    if amiss_of(row):
        yield "amiss", cell(", ".join(amiss_of(row)), "red")
    if row["paused"] is not None:
        since = clock_time(instant_of(row["paused"]["since"]), now)
        yield "paused", cell(f"since {since}, {pause_of(row['paused'], now)}", "yellow")
    for run in row["running"]:
        yield "run", _live(run, row["usual_s"], now)
    yield "schedule", cell(f"{visible(row['schedule'])}{_zone(job)}")
    yield from (("next", cell(text)) for text in _next(row, job, now))
    if row["last_outcome"] is not None:
        yield "last", last_of(row, now, wide=True)
    if row["recent"]:
        yield "recent", _recent(row, terminal)
    if job is not None:
        yield from ((label, cell(visible(text))) for label, text in _terms(job))
    if row["tags"]:
        yield "tags", cell(", ".join(row["tags"]))
    if known.output_dir:
        yield "output", cell(known.output_dir)
    yield from (("note", cell(note, "yellow")) for note in known.notes)


def _labelled(label: str, value: Line, terminal: Terminal) -> list[Line]:
    """`   label: value`, on several lines where the terminal is narrow."""
    head = Span(f"{label:>{_LABEL}}{':' if label else ' '} ", "dim")
    *firsts, last = value or (Span(""),)
    taken = sum(width_of(span.text) for span in firsts)
    room = None if terminal.columns is None else max(terminal.columns - _LABEL - 2, 20)
    first, *more = wrapped(last.text, room, taken)
    blank = Span(" " * (_LABEL + 2))
    lines: list[Line] = [(head, *firsts, Span(first, last.shade))]
    return lines + [(blank, Span(text, last.shade)) for text in more]


def _live(run: Row, usual_s: float | None, now: float) -> Line:
    """A run that has not ended: for how long, and in what state."""
    pid, since = run["pid"], instant_of(run["since"])
    when = f"for {span(now - since)}" if since <= now else coming(since - now)
    usual = f", usually {span(usual_s)}" if usual_s is not None and pid is not None else ""
    phase = PHASES.get(run["phase"], run["phase"])
    attempt = f", attempt {run['attempt']}" if run["attempt"] > 1 else ""
    process = f", pid {pid}" if pid is not None else ""
    told = f"{phase} {when}{usual}{attempt}{process}"
    return (Span(run["run"], "cyan"), Span(" "), Span(told))


def _next(row: Row, job: Job | None, now: float) -> list[str]:
    """The next occurrences: the first one as the daemon has it, those behind it by the jobfile."""
    if row["next"] is None:
        return []
    first = datetime.fromisoformat(row["next"])
    moments = [first]
    if job is not None:
        later = islice(_instants(schedule_for(job.when, job.name), int(first.timestamp())), _LATER)
        moments += [local(instant, job.when.timezone) for instant in later]
    return [
        f"{moment:%a} {moment.isoformat(' ')[:19]} {moment.isoformat()[19:]},"
        f" {coming(moment.timestamp() - now)}"
        for moment in moments
    ]


def _zone(job: Job | None) -> str:
    """The zone whose clocks the schedule goes by, if it goes by any."""
    by_clock = job is not None and (job.when.cron or job.when.at)
    return f" ({job.when.timezone})" if job is not None and by_clock else ""


def _instants(schedule: Schedule, at: int) -> Iterator[int]:
    """The occurrences behind an instant."""
    due = schedule.next_after(at)
    while due is not None:
        yield due.at
        due = schedule.next_after(due.at)


def _summed(outcomes: Sequence[str]) -> str:
    """How many of each: `8 succeeded, 2 failed`."""
    counts, order = Counter(outcomes), list(SIGNS)
    names = sorted(counts, key=lambda name: order.index(name) if name in SIGNS else len(order))
    return ", ".join(f"{counts[name]} {name}" for name in names)


def _recent(row: Row, terminal: Terminal) -> Line:
    words = _summed([outcome for outcome, _ in row["recent"]])
    usual = f", usually in {span(row['usual_s'])}" if row["usual_s"] is not None else ""
    signs = (*recent_of(row, terminal), Span(" ")) if terminal.glyphs else ()
    return (*signs, Span(f"{words}{usual}"))


# -- the definition


def _terms(job: Job) -> Iterator[tuple[str, str]]:
    """What the job runs and on what terms, of all that is not as it is by default."""
    yield "runs", _task(job.task)
    if job.user is not None or job.group is not None:
        group = f", group {job.group}" if job.group is not None else ""
        yield "as", f"{job.user if job.user is not None else 'the daemon'}{group}"
    limits = ", ".join(_limits(job))
    if limits:
        yield "limits", limits
    policies = ", ".join(_policies(job))
    if policies:
        yield "policies", policies
    expected = ", ".join(_expectations(job))
    if expected:
        yield "expected", expected
    if job.notify is not None:
        targets = ", ".join(dict.fromkeys(map(public, job.notify.to)))
        yield "told", f"{targets} ({', '.join(sorted(job.notify.on))})"


def _task(task: Task) -> str:
    match task:
        case ShellTask():
            return task.command
        case ArgvTask():
            return shlex.join(task.argv)
        case PythonTask():
            return f"{task.target}, a Python function"
        case HttpTask():
            return f"{task.method} {task.url}"
        case MessageTask():
            return f"a message to {counted(len(task.to), 'address', 'addresses')}"


def _limits(job: Job) -> Iterator[str]:
    if job.timeout is not None:
        yield f"timeout {format_duration(job.timeout)}"
    for limit in fields(Limits):
        value = getattr(job.limits, limit.name) if job.limits is not None else None
        if value is None:
            continue
        if limit.name in _SIZES:
            value = format_size(value)
        elif limit.name == "cpu_time":
            value = format_duration(value)
        yield f"{limit.name} {value}"


def _policies(job: Job) -> Iterator[str]:
    if job.retry.max:
        yield counted(job.retry.max, "retry", "retries")
    if job.overlap is not Overlap.SKIP:
        yield f"overlap {job.overlap}"
    if job.max_running is not None:
        yield f"at most {job.max_running} at once"
    if job.pools:
        yield f"{'pool' if len(job.pools) == 1 else 'pools'} {listed(list(job.pools))}"
    if job.priority:
        yield f"priority {job.priority}"
    if job.condition is not None:
        yield "with a condition"


def _expectations(job: Job) -> Iterator[str]:
    """What makes it late, silent or slow."""
    if job.deadline is not None:
        yield f"a success by {time_of_day(job.deadline)}"
    if job.max_age is not None:
        yield f"a success every {format_duration(job.max_age)}"
    if job.slow is not None and job.slow.seconds is not None:
        yield f"in {format_duration(job.slow.seconds)}"
    if job.slow is not None and job.slow.factor is not None:
        yield f"in {job.slow.factor:g} times what most runs take"
    if job.min_output is not None:
        yield f"{format_size(job.min_output)} of output"


# -- the last attempts


def _last_attempts(records: Sequence[Row], now: float, terminal: Terminal) -> list[Line]:
    columns = (
        Column("RUN", least=24),
        Column("ENDED"),
        Column("OUTCOME"),
        Column("TOOK", leaves=1),
        Column("DETAILS", leaves=2, least=12),
    )
    rows = [
        (
            cell(record["run"]),
            cell(clock_time(instant_of(record["at"]), now)),
            cell(record["outcome"], SIGNS.get(record["outcome"], ("", ""))[1]),
            cell("" if record["duration_s"] is None else span(record["duration_s"])),
            cell(_ending(record)),
        )
        for record in records
    ]
    return table(columns, rows, terminal)


def _ending(record: Row) -> str:
    attempt = f"attempt {record['attempt']}" if record["attempt"] > 1 else ""
    if record["error"]:
        ending = visible(record["error"])
    elif record["signal"]:
        ending = record["signal"]
    else:
        ending = f"exit {record['exit_code']}" if record["exit_code"] else ""
    return ", ".join(filter(None, (attempt, ending)))
