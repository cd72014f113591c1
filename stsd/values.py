"""The kinds of value a jobfile may hold, each as a small declarative type.

A kind knows what it accepts and how that becomes a value of the model; its fields are plain data,
so that a schema or a reference page can be written from them. Kinds never look at other keys,
at a clock or at the file system.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol

from stsd.errors import UnitError
from stsd.units import format_size, parse_duration, parse_size, shown

LONGEST_STRING = 128 * 1024
"""What the kernel takes as one argument or environment string, its final NUL included
(MAX_ARG_STRLEN of execve(2) on pages of 4 KiB)."""

Step = str | int
"""A key of a table or an index of an array."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a value: `path` leads into it, `column` (1-based) into its text;
    `on_key` where the key itself is at fault and not what it holds."""

    message: str
    remedy: str = ""
    path: tuple[Step, ...] = ()
    column: int | None = None
    on_key: bool = False

    def under(self, step: Step) -> Fault:
        """The same fault, as seen from the table or array that holds the value."""
        return Fault(self.message, self.remedy, (step, *self.path), self.column, self.on_key)


class BadValueError(Exception):
    """A value that its kind refuses, with every fault that was found in it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        super().__init__()
        self.faults = tuple(faults)


class Kind(Protocol):
    """What a key may hold."""

    def read(self, value: object, folder: str) -> Any:
        """The model's value for a TOML value; `folder` is the absolute one of the file at hand.

        Raises BadValueError.
        """
        ...


def refuse(message: str, remedy: str = "") -> BadValueError:
    """The exception for a value with a single fault."""
    return BadValueError((Fault(message, remedy),))


def did_you_mean(word: str, known: Iterable[str], otherwise: str = "") -> str:
    """The remedy for a misspelt word: the known one that is nearest to it, if any is near."""
    near = difflib.get_close_matches(word[:64].lower(), list(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else otherwise


@dataclass(frozen=True, slots=True)
class Text:
    """A string without NUL. `pattern` is a regular expression for all of it, `form` the same in
    words; `longest` counts bytes of UTF-8."""

    form: str = "a string"
    pattern: str = ""
    empty: bool = False
    longest: int = LONGEST_STRING - 1

    def read(self, value: object, folder: str) -> str:
        """The string as it is."""
        if type(value) is not str:
            raise refuse(f"must be {self.form}, not {shown(value)}", _quoted(value))
        if "\0" in value:
            raise BadValueError([Fault("holds a NUL character", "take it out")])
        if not self.empty and (not value or value.isspace()):
            raise refuse("is empty", f"write {self.form}")
        if len(value) * 4 > self.longest and len(value.encode()) > self.longest:
            size = len(value.encode())
            raise refuse(f"is {size:,} bytes long", f"at most {self.longest:,} are possible")
        if self.pattern and not _compiled(self.pattern).fullmatch(value):
            raise refuse(f"{shown(value)} is not {self.form}")
        return value


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    def read(self, value: object, folder: str) -> bool:
        """The truth value."""
        if type(value) is not bool:
            remedy = f"write {value}, without quotes" if value in ("true", "false") else ""
            raise refuse(f"must be true or false, not {shown(value)}", remedy)
        return value


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int
    high: int

    def read(self, value: object, folder: str) -> int:
        """The number."""
        if type(value) is not int:
            raise refuse(
                f"must be a whole number, not {shown(value)}",
                f"write a number from {self.low} to {self.high}, without quotes",
            )
        if not self.low <= value <= self.high:
            raise refuse(f"{shown(value)} is out of range", f"from {self.low} to {self.high}")
        return value


@dataclass(frozen=True, slots=True)
class Number:
    """A number from `low` to `high`, fractions allowed."""

    low: float
    high: float

    def read(self, value: object, folder: str) -> float:
        """The number."""
        if type(value) is not int and type(value) is not float:
            raise refuse(
                f"must be a number, not {shown(value)}",
                f"write a number from {self.low:g} to {self.high:g}, without quotes",
            )
        if math.isnan(value) or not self.low <= value <= self.high:
            raise refuse(f"{shown(value)} is out of range", f"from {self.low:g} to {self.high:g}")
        return float(value)


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time as text or a number of seconds; `whole` takes whole seconds alone."""

    whole: bool = False

    def read(self, value: object, folder: str) -> float:
        """Seconds: an `int` where `whole`, else a `float`."""
        try:
            seconds = parse_duration(value)
        except UnitError as error:
            raise refuse(error.message, error.remedy) from None
        if not self.whole:
            return seconds
        if not seconds.is_integer():
            raise refuse(
                f"{shown(value)} is not a whole number of seconds",
                "parts of a second are not supported; at least 1s",
            )
        return int(seconds)


@dataclass(frozen=True, slots=True)
class Size:
    """A number of bytes, as text or a number; `least` of them."""

    least: int = 1

    def read(self, value: object, folder: str) -> int:
        """Bytes."""
        try:
            size = parse_size(value)
        except UnitError as error:
            raise refuse(error.message, error.remedy) from None
        if size < self.least:
            raise refuse(f"{shown(value)} is too small", f"at least {format_size(self.least)}")
        return size


@dataclass(frozen=True, slots=True)
class Choice:
    """One word of an enumeration."""

    words: tuple[StrEnum, ...]

    def read(self, value: object, folder: str) -> StrEnum:
        """The member of the enumeration."""
        for word in self.words:
            if word == value:
                return word
        choices = ", ".join(f'"{word}"' for word in self.words)
        if type(value) is not str:
            raise refuse(f"must be one of {choices}, not {shown(value)}")
        near = did_you_mean(value, self.words)
        raise refuse(f"{shown(value)} is none of {choices}", near)


@dataclass(frozen=True, slots=True)
class ListOf:
    """An array of at least `least` values of one kind; `alone` takes a single one without
    brackets as well."""

    item: Kind
    least: int = 1
    alone: bool = False

    def read(self, value: object, folder: str) -> tuple[Any, ...]:
        """The values in their order."""
        if type(value) is not list:
            if self.alone:
                return (self.item.read(value, folder),)
            raise refuse(f"must be an array, not {shown(value)}", "put it into [brackets]")
        if len(value) < self.least:
            raise refuse("is an empty array", "leave the key out, or name at least one")
        items: list[Any] = []
        faults: list[Fault] = []
        for index, entry in enumerate(value):
            try:
                items.append(self.item.read(entry, folder))
            except BadValueError as bad:
                faults += [fault.under(index) for fault in bad.faults]
        if faults:
            raise BadValueError(faults)
        return tuple(items)


@dataclass(frozen=True, slots=True)
class SetOf:
    """An array of values of one kind whose order says nothing; at least one of them."""

    item: Kind

    def read(self, value: object, folder: str) -> frozenset[Any]:
        """The values."""
        return frozenset(ListOf(self.item).read(value, folder))


@dataclass(frozen=True, slots=True)
class Either:
    """A value of TOML type str, or a value of the other kind."""

    text: Kind
    other: Kind

    def read(self, value: object, folder: str) -> Any:
        """What the kind for its type makes of it."""
        return (self.text if type(value) is str else self.other).read(value, folder)


@dataclass(frozen=True, slots=True)
class Field:
    """One key of an inline table; `default` is TOML, or words in (brackets)."""

    name: str
    kind: Kind
    says: str
    default: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a fixed set of keys."""

    fields: tuple[Field, ...]

    def read(self, value: object, folder: str) -> dict[str, Any]:
        """The values by key, of the keys that are there."""
        if type(value) is not dict:
            names = ", ".join(field.name for field in self.fields)
            raise refuse(f"must be a table, not {shown(value)}", f"its keys are {names}")
        known = {field.name: field for field in self.fields}
        values: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, entry in value.items():
            if name not in known:
                remedy = did_you_mean(name, known, f"its keys are {', '.join(known)}")
                faults.append(Fault("is not a known key", remedy, (name,), on_key=True))
                continue
            try:
                values[name] = known[name].kind.read(entry, folder)
            except BadValueError as bad:
                faults += [fault.under(name) for fault in bad.faults]
        for field in self.fields:
            if field.required and field.name not in value:
                faults.append(Fault(f"`{field.name}` is missing", field.says))
        if faults:
            raise BadValueError(faults)
        return values


@dataclass(frozen=True, slots=True)
class TableOf:
    """A table whose keys the user chooses, each with a value of one kind; `names` is what a key
    may be."""

    kind: Kind
    names: Text = Text("a name")

    def read(self, value: object, folder: str) -> dict[str, Any]:
        """The values by key."""
        if type(value) is not dict:
            raise refuse(f"must be a table, not {shown(value)}", 'such as { NAME = "value" }')
        values: dict[str, Any] = {}
        faults: list[Fault] = []
        for name, entry in value.items():
            faults += self._misnamed(name)
            try:
                values[name] = self.kind.read(entry, folder)
            except BadValueError as bad:
                faults += [fault.under(name) for fault in bad.faults]
        if faults:
            raise BadValueError(faults)
        return values

    def _misnamed(self, name: str) -> list[Fault]:
        """What is wrong with a key."""
        try:
            self.names.read(name, "")
        except BadValueError as bad:
            return [Fault(f.message, f.remedy, (name,), on_key=True) for f in bad.faults]
        return []


def _quoted(value: object) -> str:
    """The remedy for a number or truth value where a string belongs."""
    if isinstance(value, bool | int | float) and len(shown(value)) < 40:
        return f'put it into quotes: "{shown(value)}"'
    return ""


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)
