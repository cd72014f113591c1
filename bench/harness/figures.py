"""Figures out of repeated measurements, and tables out of figures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of what repeated measurements gave, the least and the most."""

    median: float
    least: float
    most: float
    times: int


def spread(values: Sequence[float]) -> Spread:
    """Of at least one value."""
    return Spread(statistics.median(values), min(values), max(values), len(values))


def rank(ordered: Sequence[float], share: float) -> float:
    """The value that at least this share of the values does not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True)
class Column:
    """`unit` is shown in the head. With `ratio`, each figure is also shown as a multiple of the
    base row's."""

    key: str
    title: str
    unit: str = ""
    ratio: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows by peer, each with figures by column; what is missing is shown as a dash."""

    title: str
    columns: tuple[Column, ...]
    rows: Mapping[str, Mapping[str, Spread]]
    base: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """What one measure found. `facts` are the figures that goals are about; `failed` names peers
    that did not do it, and why."""

    tables: tuple[Table, ...]
    facts: Mapping[str, float]
    failed: Mapping[str, str] = field(default_factory=dict)


def text_of(value: float) -> str:
    """Three digits, more only before the point."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"
