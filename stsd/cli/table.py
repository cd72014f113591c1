"""Tables that fit: columns that give way, in an order of their own, where the screen is narrow."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from stsd.cli.terminal import Line, Span, Terminal, cut, width_of

_GAP = "  "
_BREAKS = re.compile(r"\s*[\t\n]\s*")


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. It is left out where `leaves` says when: of several the one with the
    highest number goes first, and 0 stays. It gets narrower, down to `least` columns, where that
    is given."""

    title: str
    leaves: int = 0
    least: int = 0


def cell(text: str, shade: str = "") -> Line:
    """A cell of one shade; without text it has none. A row is one line, whatever is in it."""
    text = _BREAKS.sub(" ", text)
    return (Span(text, shade),) if text else ()


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[Line]], terminal: Terminal
) -> list[Line]:
    """The head and the rows as lines. Columns without any text are left out; where the rest is
    too wide for the terminal, columns leave or get narrower, and what is too wide even so is cut
    at the edge."""
    shown = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    widths = {
        index: max(width_of(columns[index].title), *(_width(row[index]) for row in rows))
        for index in shown
    }
    if terminal.columns is not None:
        shown = _fitted(columns, shown, widths, terminal.columns)
    head = [cell(column.title, "dim") for column in columns]
    lines = [_line(row, shown, widths, terminal) for row in [head, *rows]]
    return lines if terminal.columns is None else [shorter(line, terminal) for line in lines]


def shorter(line: Line, terminal: Terminal) -> Line:
    """The line without what would not fit on the terminal."""
    return line if terminal.columns is None else _cut(line, terminal.columns, terminal)


def _width(line: Line) -> int:
    width = 0
    for text, _ in line:
        width += width_of(text)
    return width


def _fitted(
    columns: Sequence[Column], shown: list[int], widths: dict[int, int], room: int
) -> list[int]:
    """The columns that stay; those that get narrower do so in `widths`."""
    while True:
        excess = sum(widths[index] + len(_GAP) for index in shown) - len(_GAP) - room
        spare = sum(_spare(columns[index], widths[index]) for index in shown)
        if excess <= spare:
            break
        leaving = max(shown, key=lambda index: columns[index].leaves)
        if not columns[leaving].leaves:
            break
        shown = [index for index in shown if index != leaving]
    for _ in range(excess):  # those with the most to spare give first
        widest = max(shown, key=lambda index: _spare(columns[index], widths[index]))
        widths[widest] -= 1 if _spare(columns[widest], widths[widest]) else 0
    return shown


def _spare(column: Column, width: int) -> int:
    """How much narrower a column can get."""
    return max(0, width - max(column.least, len(column.title))) if column.least else 0


def _line(
    row: Sequence[Line], shown: Sequence[int], widths: dict[int, int], terminal: Terminal
) -> Line:
    """A row without blanks at its end."""
    line: list[Span] = []
    blanks = 0
    for index in shown:
        content, room = row[index], widths[index]
        width = _width(content)
        if width > room:
            content = _cut(content, room, terminal)
            width = _width(content)
        if content:
            if blanks:
                line.append(Span(" " * blanks))
            line += content
            blanks = 0
        blanks += room - width + len(_GAP)
    return tuple(line)


def _cut(line: Line, columns: int, terminal: Terminal) -> Line:
    if _width(line) <= columns:
        return line
    kept: list[Span] = []
    for span in line:
        room = columns - _width(tuple(kept))
        kept.append(Span(cut(span.text, room, terminal), span.shade))
        if kept[-1].text != span.text:
            break
    return tuple(kept)
