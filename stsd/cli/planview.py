"""What `stsd reload` shows: the difference between two jobfiles, as the daemon tells it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from stsd.cli.common import visible
from stsd.cli.terminal import Line, Span, Terminal
from stsd.cli.wording import clock_time, coming, counted, instant_of
from stsd.units import format_duration, format_size

Plan = Mapping[str, Any]

_MARKS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}
_DURATIONS = frozenset(
    (
        *("catch_up_window", "cpu_time", "delay", "every", "keep", "max_delay", "splay"),
        *("stop_grace", "stop_timeout", "timeout", "within"),
    )
)
_SIZES = frozenset(("file_size", "max_size", "memory"))
_INDENT = " " * len("~ changed  ")


def difference(plan: Plan, now: float, terminal: Terminal) -> list[Line]:
    """What differs, a paragraph each: a sign, a word and a name, and what there is to say of it."""
    arrow = "→" if terminal.glyphs else "->"
    lines = [_job("added", job, "next", now) for job in plan["added"]]
    lines += [_job("removed", job, "next was", now) for job in plan["removed"]]
    for job in plan["changed"]:
        lines.append(_head("changed", job["job"]))
        lines += [_change(key, arrow) for key in job["keys"]]
        before, after = _when(job["next_before"], now), _when(job["next_after"], now)
        if job["next_before"] != job["next_after"]:
            lines.append((Span(f"{_INDENT}next: {before} {arrow} {after}"),))
    if plan["settings"]:
        lines.append(_head("changed", "[daemon]"))
        lines += [_change(key, arrow) for key in plan["settings"]]
    return lines


def summed(plan: Plan) -> str:
    """`1 job added, 2 jobs changed, 5 jobs unchanged`; `nothing differs` if so."""
    counts = [(len(plan[change]), change) for change in _MARKS]
    told = [f"{counted(number, 'job')} {change}" for number, change in counts if number]
    if plan["settings"]:
        told.append(f"{counted(len(plan['settings']), 'setting')} changed")
    unchanged = f"{counted(plan['unchanged'], 'job')} unchanged"
    return ", ".join([*told, unchanged] if told else ["nothing differs", unchanged])


def as_records(plan: Plan) -> Iterator[dict[str, Any]]:
    """A flat object for each difference, `change` first."""
    for change in _MARKS:
        for job in plan[change]:
            yield {"change": change, **job}
    for key in plan["settings"]:
        yield {"change": "setting", **key}


def _job(change: str, job: Mapping[str, Any], word: str, now: float) -> Line:
    told = "" if job["next"] is None else f"  {word} {_when(job['next'], now)}"
    return _head(change, job["job"], told)


def _head(change: str, name: str, more: str = "") -> Line:
    sign, shade = _MARKS[change]
    return (Span(f"{sign} {change:<7}  ", shade), Span(visible(name), "bold"), Span(more))


def _change(key: Mapping[str, Any], arrow: str) -> Line:
    before, after = (_value(key["key"], key[side]) for side in ("before", "after"))
    return (Span(_INDENT + visible(f"{key['key']}: {before} {arrow} {after}")),)


def _value(key: str, value: object) -> str:
    """A value of a jobfile as a person writes it; numbers of seconds and bytes by their keys."""
    kind = key.rpartition(".")[2]
    match value:
        case None:
            return "not set"
        case str():
            return value or '""'
        case int() | float() if kind in _DURATIONS and value:
            return format_duration(value)
        case int() if kind in _SIZES:
            return format_size(value)
        case _:
            return json.dumps(value, ensure_ascii=False)


def _when(instant: str | None, now: float) -> str:
    if instant is None:
        return "none"
    at = instant_of(instant)
    return f"{clock_time(at, now)} ({coming(at - now)})"
