"""What `stsd status` shows at a glance: the jobs as a table, the daemon in a line. Pure: rows as
the control socket gives them go in, lines come out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from stsd.cli.common import visible
from stsd.cli.table import Column, cell, shorter, table
from stsd.cli.terminal import Line, Span, Terminal, wrapped
from stsd.cli.wording import ago, clock_time, coming, counted, instant_of, span

Row = Mapping[str, Any]

SIGNS = {
    "succeeded": ("✓", "green"),
    "failed": ("✗", "red"),
    "timed_out": ("T", "red"),
    "spawn_failed": ("S", "red"),
    "interrupted": ("I", "yellow"),
    "cancelled": ("C", "yellow"),
}
SHADES = {
    "running": "cyan",
    "queued": "yellow",
    "waiting": "yellow",
    "retrying": "yellow",
    "paused": "yellow",
    "disabled": "dim",
}
_TOLD_BY_LAST = ("failed", "attempt_failed")
_WIDE = 150
_COLUMNS = (
    Column("JOB", least=10),
    Column("STATE"),
    Column("LAST"),
    Column("NEXT"),
    Column("RECENT", leaves=1),
    Column("DETAILS", leaves=2, least=16),
    Column("DESCRIPTION", leaves=3, least=24),
)
PHASES = {
    "blocked": "an earlier run has not ended",
    "expecting": "waits for what it needs",
    "ready": "waits for a place",
    "preparing": "is being prepared",
    "committing": "is being recorded",
    "stopping": "has been asked to stop",
    "delayed": "waits for its next attempt",
}


def glance(rows: Sequence[Row], now: float, terminal: Terminal) -> list[Line]:
    """The table of all jobs; nothing when there are none."""
    if not rows:
        return []
    wide = terminal.columns is None or terminal.columns >= _WIDE
    cells = [
        (
            cell(row["job"]),
            cell(_state(row, now), SHADES.get(row["state"], "")),
            last_of(row, now, wide=wide),
            cell(next_of(row, now, wide=wide)),
            recent_of(row, terminal),
            _details(row, now),
            cell(visible(row["description"] or "")),
        )
        for row in rows
    ]
    return table(_COLUMNS, cells, terminal)


def _state(row: Row, now: float) -> str:
    """The state, and of a running job for how long."""
    since = [instant_of(run["since"]) for run in row["running"] if run["pid"] is not None]
    if row["state"] != "running" or not since:
        return str(row["state"])
    return f"running {span(now - min(since))}"


def last_of(row: Row, now: float, *, wide: bool) -> Line:
    """How the last run ended, and how long ago."""
    outcome, at = row["last_outcome"], row["last_at"]
    if outcome is None:
        return ()
    told = Span(outcome, SIGNS.get(outcome, ("", ""))[1])
    if at is None:
        return (told,)
    instant = instant_of(at)
    clock = f" ({clock_time(instant, now)})" if wide else ""
    return (told, Span(" "), Span(f"{ago(now - instant)}{clock}"))


def next_of(row: Row, now: float, *, wide: bool) -> str:
    """When the job is due next, and in how long."""
    if row["next"] is None:
        return ""
    instant = instant_of(row["next"])
    clock = f" ({clock_time(instant, now)})" if wide else ""
    return f"{coming(instant - now)}{clock}"


def recent_of(row: Row, terminal: Terminal) -> Line:
    """How the last runs ended, the newest last: a sign each, or in words how many succeeded."""
    outcomes = [outcome for outcome, _ in row["recent"]]
    if not terminal.glyphs and outcomes:
        return cell(f"{outcomes.count('succeeded')} of {len(outcomes)} succeeded")
    return tuple(Span(*SIGNS.get(outcome, ("?", ""))) for outcome in outcomes)


def _details(row: Row, now: float) -> Line:
    """What is amiss, unless how the last run ended says so, and what the job is at."""
    amiss = ", ".join(alert for alert in amiss_of(row) if alert not in _TOLD_BY_LAST)
    doing = _doing(row, now)
    if not amiss:
        return cell(doing)
    return (Span(amiss, "red"), *cell(f", {doing}" if doing else ""))


def amiss_of(row: Row) -> Sequence[str]:
    """What is amiss with a job; nothing by a daemon that is older than this command."""
    found: Sequence[str] = row.get("alerts", ())
    return found


def _doing(row: Row, now: float) -> str:
    if row["paused"] is not None:
        return pause_of(row["paused"], now)
    runs = row["running"]
    if len(runs) > 1:
        phases = Counter("running" if run["pid"] is not None else run["phase"] for run in runs)
        return ", ".join(f"{number} {phase}" for phase, number in phases.items())
    return "".join(_activity(run, row["usual_s"], now) for run in runs)


def _activity(run: Row, usual_s: float | None, now: float) -> str:
    """What a run is at."""
    if run["phase"] == "delayed":
        return f"attempt {run['attempt']} {coming(instant_of(run['since']) - now)}"
    pieces = [PHASES[run["phase"]]] if run["phase"] in PHASES else []
    if run["attempt"] > 1:
        pieces.append(f"attempt {run['attempt']}")
    if usual_s is not None and run["pid"] is not None:
        pieces.append(f"usually {span(usual_s)}")
    return ", ".join(pieces)


def pause_of(paused: Mapping[str, Any], now: float) -> str:
    """Until when, by whom and why: `until 14:00:00 (in 2h), by root: migration`."""
    until = paused["until"]
    if until is None:
        told = "until it is resumed"
    else:
        instant = instant_of(until)
        told = f"until {clock_time(instant, now)} ({coming(instant - now)})"
    by = f", by {visible(paused['by'])}" if paused["by"] else ""
    reason = f": {visible(paused['reason'])}" if paused["reason"] else ""
    return f"{told}{by}{reason}"


# -- the daemon


def summary(rows: Sequence[Row], daemon: Row | None, now: float, terminal: Terminal) -> list[Line]:
    """The jobs in numbers, the daemon in a line, and what is wrong with it; None: there is none."""
    states = Counter(row["state"] for row in rows)
    told = [f"{states[state]:,} {state}" for state in SHADES if states[state]]
    numbers = counted(len(rows), "job") + (f": {', '.join(told)}" if told else "")
    lines: list[Line] = [(Span(text),) for text in wrapped(numbers, terminal.columns)]
    if daemon is None:
        return lines
    since = instant_of(daemon["since"])
    about = (
        f"stsd {daemon['version']}, pid {daemon['pid']}, up {span(now - since)},"
        f" {visible(daemon['jobfile'])}"
    )
    lines.append(shorter((Span(about, "dim"),), terminal))
    telling = daemon.get("telling")  # which one that is older than this command does not know
    if telling is not None and telling["audience"]:
        lines.append(shorter((Span(_telling(telling), "dim"),), terminal))
    return [*lines, *alerts(daemon, now, terminal)]


def _telling(telling: Row) -> str:
    """Who is told how jobs fare: `notifications: to 2 targets, 3 wait`."""
    waiting = sum(target["waiting"] for target in telling["targets"])
    told = f"notifications: to {counted(telling['audience'], 'target')}"
    return told + (f", {waiting:,} wait" if waiting else "")


def alerts(daemon: Row, now: float, terminal: Terminal) -> list[Line]:
    """What keeps the daemon from doing its work."""
    told: list[tuple[str, str]] = []
    if daemon["held"]:
        told.append(("the history cannot be written: jobs are held until it can", "red"))
    if daemon["stopping"]:
        told.append(("stsd is stopping: nothing more is started", "yellow"))
    reload = daemon["reload"]
    if reload is not None and reload["problem"]:
        when = ago(now - instant_of(reload["at"]))
        told.append(
            (f"the last reload, {when}, was refused: {visible(reload['problem'])}", "yellow")
        )
    told += [(words, "red") for words in _untold(daemon.get("telling"), now)]
    return [
        (Span(text, shade),) for words, shade in told for text in wrapped(words, terminal.columns)
    ]


def _untold(telling: Row | None, now: float) -> Iterator[str]:
    """What keeps people from being told."""
    if telling is None:
        return
    if telling["problem"]:
        yield f"nobody is told how jobs fare: {visible(telling['problem'])}"
    for target in telling["targets"]:
        if target["failing_since"] is not None:
            long = span(now - instant_of(target["failing_since"]))
            yield (
                f"{visible(target['target'])} cannot be told, for {long} now:"
                f" {visible(target['problem'])}"
            )
