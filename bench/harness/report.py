"""What was measured, for people (Markdown) and for programs (JSON), with the machine's description
and beside it the goals.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from harness.bench import Extent
from harness.figures import Result, Spread, Table, text_of
from harness.goals import GOALS
from harness.workshop import REPOSITORY


def machine(folder: Path) -> dict[str, str]:
    """What the figures depend on; `folder` is where the schedulers worked."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal: *(\d+)", Path("/proc/meminfo").read_text())
    kind = subprocess.run(
        ["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    return {
        "processor": f"{os.cpu_count()} x {cpu[1] if cpu else platform.machine()}",
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "kernel": platform.release().partition("-")[0],  # without a build's own name
        "system": system,
        "python": platform.python_version(),
        "files": kind,
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "commit": _commit(),
    }


def _commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=REPOSITORY, capture_output=True, text=True)
        return done.stdout.strip()

    try:
        changed = " and changes" if git("status", "--porcelain", "--", "stsd") else ""
        return (git("rev-parse", "--short", "HEAD") or "unknown") + changed
    except FileNotFoundError:
        return "unknown"


def goals(facts: Mapping[str, float]) -> list[dict[str, str]]:
    """Each goal beside what was measured of it, and whether it holds."""
    lines = []
    for goal in GOALS:
        value = goal.measured(facts)
        lines.append(
            {
                "what": goal.what,
                "goal": f"{goal.relation} {text_of(goal.limit)}{goal.unit}",
                "measured": "not measured" if value is None else text_of(value) + goal.unit,
                "holds": "" if value is None else "yes" if goal.holds(value) else "**no**",
            }
        )
    return lines


def markdown(
    about: Mapping[str, str],
    peers: Mapping[str, str],
    missing: Mapping[str, str],
    results: Mapping[str, Result],
) -> str:
    """The whole report."""
    parts = [f"# Measured on {datetime.now(UTC):%Y-%m-%d %H:%M} UTC\n"]
    parts.append("".join(f"- {name}: {value}\n" for name, value in about.items()))
    parts.append("Measured: " + ", ".join(f"{name} {peers[name]}" for name in peers) + ".\n")
    if missing:
        gone = "; ".join(f"{name}: {why}" for name, why in missing.items())
        parts.append(f"Not here: {gone}.\n")
    parts.append(
        "Figures are medians of the rounds, with the least and the most of them where there were "
        "several; behind an x, how many times the first row's.\n"
    )
    if facts := _facts(results):
        lines = goals(facts)
        rows = [list(line.values()) for line in lines if line["holds"]]
        parts.append("## Goals\n\n" + _grid(["what", "goal", "measured", "holds"], rows))
        if unknown := [line["what"] for line in lines if not line["holds"]]:
            parts.append(f"Not measured: {'; '.join(unknown)}.\n")
    for name, result in results.items():
        parts.append(f"## {name.capitalize()}\n")
        parts += [_table(table) for table in result.tables]
        parts += [f"- {peer} left out: {why}\n" for peer, why in result.failed.items()]
    return "\n".join(parts)


def write(folder: Path, text: str, figures: dict[str, object]) -> Path:
    """Both files, named after the time; returns the one for people."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):%Y-%m-%dT%H%M%SZ}.md"
    path.write_text(text)
    path.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n")
    return path


def data(
    about: Mapping[str, str],
    peers: Mapping[str, str],
    missing: Mapping[str, str],
    results: Mapping[str, Result],
    extent: Extent,
) -> dict[str, object]:
    """The same for programs, with all figures that were not shown."""
    return {
        "machine": dict(about),
        "peers": dict(peers),
        "missing": dict(missing),
        "extent": asdict(extent),
        "goals": goals(_facts(results)),
        "measures": {name: asdict(result) for name, result in results.items()},
    }


def _facts(results: Mapping[str, Result]) -> dict[str, float]:
    return {key: value for result in results.values() for key, value in result.facts.items()}


def _table(table: Table) -> str:
    head = ["", *(f"{c.title}, {c.unit}" if c.unit else c.title for c in table.columns)]
    base = table.rows.get(table.base, {})
    rows = []
    for name, figures in table.rows.items():
        row = [name]
        for column in table.columns:
            own = figures.get(column.key)
            other = base.get(column.key) if column.ratio and name != table.base else None
            row.append("—" if own is None else _cell(own, other))
        rows.append(row)
    first = [row for row in rows if row[0] == table.base]
    rest = [row for row in rows if row[0] != table.base]
    notes = "".join(f"\n{note}\n" for note in table.notes)
    return f"### {table.title}\n\n{_grid(head, first + rest)}{notes}"


def _cell(own: Spread, base: Spread | None) -> str:
    text = text_of(own.median)
    if own.times > 1:
        text += f" ({text_of(own.least)} to {text_of(own.most)})"
    if base is not None and base.median:
        text += f" x{text_of(own.median / base.median)}"
    return text


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]

    def line(row: Sequence[str]) -> str:
        first, *rest = row
        cells = [first.ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        return f"| {' | '.join(cells)} |\n"

    rule = [f"{'-' * widths[0]}", *("-" * (width - 1) + ":" for width in widths[1:])]
    return line(head) + line(rule) + "".join(line(row) for row in rows)
