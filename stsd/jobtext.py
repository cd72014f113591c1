"""Jobs as the text of a jobfile: TOML as a person would write it.

Knows TOML and nothing of what the keys mean.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Value: TypeAlias = "str | bool | tuple[str, ...] | Mapping[str, Value]"

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class JobText:
    """A `[jobs.NAME]` table; `comments` stand above it, `notes` below its last key."""

    name: str
    keys: Mapping[str, Value]
    comments: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def comment(text: str) -> str:
    """One line of comment. What TOML has no place for there is shown as an escape."""
    plain = "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
    return f"# {plain}".rstrip()


def table(header: str, keys: Mapping[str, Value], notes: Iterable[str] = ()) -> list[str]:
    """The lines of a table."""
    lines = [f"[{header}]"]
    lines += [f"{key} = {written(value)}" for key, value in keys.items()]
    return lines + [comment(note) for note in notes]


def job(text: JobText) -> list[str]:
    """The lines of a job, comments included."""
    above = [comment(each) for each in text.comments]
    return above + table(f"jobs.{_key(text.name)}", text.keys, text.notes)


def written(value: Value) -> str:
    """A value in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_string, value))}]"
    inner = ", ".join(f"{_key(name)} = {written(entry)}" for name, entry in value.items())
    return f"{{ {inner} }}" if inner else "{}"


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _basic(name)


def _string(text: str) -> str:
    """A string with as few escapes as can be."""
    lines = text.split("\n")
    plain = all(line.replace("\t", "").isprintable() for line in lines)
    if len(lines) > 1 and plain and "'''" not in text and not text.endswith("'"):
        return f"'''\n{text}'''"
    if len(lines) == 1 and plain and "'" not in text and ('"' in text or "\\" in text):
        return f"'{text}'"
    return _basic(text)


def _basic(text: str) -> str:
    """A string in double quotes. JSON's escapes are TOML's, but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
