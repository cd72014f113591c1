"""One file of a jobfile: opened with care, decoded, and read as TOML.

Whoever may write to a jobfile decides what root runs; so for root a file that is not to be trusted
is refused. What the keys mean is decided elsewhere.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli

from stsd import trust
from stsd.errors import JobfileError, Problem
from stsd.locate import deeper_than, line_and_column, line_at, too_long_a_number
from stsd.trust import Content, Reason, UnreadableError
from stsd.units import escaped

LARGEST = 16 * 1024 * 1024
"""Bytes of one file; a jobfile of ten thousand jobs has one or two million."""

_LONGEST_LINE = 400
_ENDS = re.compile(rb"\r(?!\n)")
_DEEPEST = 100
_FIRST_KEY = re.compile(r"\s*([^=\s]+)\s*=")
_WAYS_OUT = {
    Reason.MISSING: "name another one with -c",
    Reason.KIND: "name a TOML file",
    Reason.SIZE: "spread the jobs over included files",
}
_REMEDIES = {
    "Invalid value": "text stands in quotes",
    "Illegal character '\\n'": "close the string with a quote before the line ends",
    "Unescaped '\\' in a string": "in 'single quotes' a backslash is a plain character",
    "Expected newline or end of document after a statement": "one KEY = VALUE a line",
    "Cannot mutate immutable namespace": "write all of the table in one place",
    "Invalid date or datetime": "there is no such day or time",
}


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A file that was read: `name` as the user gave it, the absolute `path` and `folder`, its
    text and its tables; `identity` is device and inode."""

    name: str
    path: Path
    folder: str
    identity: tuple[int, int]
    text: str
    tables: dict[str, Any]
    distrust: tuple[Problem, ...]


def read(name: str, *, trusted_uid: int) -> Source:
    """Reads a file. `distrust` of the answer says what of its owner and mode is to be warned of.

    Raises JobfileError if it cannot be opened, is no TOML, or (for root) may be written by others.
    """
    content, distrust = _content(name, trusted_uid)
    text = _decoded(name, content.data)
    absolute = Path(os.path.abspath(name))
    return Source(
        name=name,
        path=absolute,
        folder=str(absolute.parent),
        identity=(content.status.st_dev, content.status.st_ino),
        text=text,
        tables=_parsed(name, text),
        distrust=distrust,
    )


def problem_at(
    name: str, text: str, offset: int, where: str, message: str, remedy: str = ""
) -> Problem:
    """A problem at an offset of a file's text."""
    line, column = line_and_column(text, offset)
    source = line_at(text, offset)
    shown = source if len(source) <= _LONGEST_LINE else ""
    return Problem(escaped(name), line, column, where, message, remedy, shown)


def _content(name: str, trusted_uid: int) -> tuple[Content, tuple[Problem, ...]]:
    """A file, and what there is to say against its owner and mode."""
    try:
        content = trust.read(name, LARGEST)
    except UnreadableError as error:
        remedies = [error.remedy, _WAYS_OUT.get(error.reason, "")]
        raise _refused(name, error.message, "; ".join(filter(None, remedies))) from None
    distrust = tuple(
        Problem(escaped(name), 0, 0, "", message, remedy)
        for message, remedy in trust.doubts(name, content, (trusted_uid,))
    )
    if distrust and trusted_uid == 0:
        raise JobfileError(distrust)
    return content, distrust


def _decoded(name: str, data: bytes) -> str:
    """The text of a file. Raises JobfileError for what no editor should have saved."""
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise _refused(name, "starts with a byte order mark", "save it as UTF-8 without BOM", 1)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = line_and_column(before, len(before))
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        problem = Problem(escaped(name), line, column, "", message, "save the file as UTF-8")
        raise JobfileError([problem]) from None
    if lone := _ENDS.search(data):
        offset = len(data[: lone.start()].decode())
        message = "a carriage return that is not followed by a newline"
        remedy = "save the file with Unix line ends"
        raise JobfileError([problem_at(name, text, offset, "", message, remedy)])
    return text


def _parsed(name: str, text: str) -> dict[str, Any]:
    """The tables of a TOML text. Raises JobfileError with the first fault of its syntax."""
    try:
        return tomli.loads(text)
    except tomli.TOMLDecodeError as error:
        problem = _syntax(name, text.replace("\r\n", "\n"), error)
    except RecursionError:
        place = deeper_than(text, _DEEPEST)
        problem = problem_at(
            name, text, place, "", "is nested too deep", f"{_DEEPEST} levels are plenty"
        )
    except ValueError:  # CPython converts no more than 4,300 digits
        place = too_long_a_number(text)
        problem = problem_at(name, text, place, "", "a number of thousands of digits")
    raise JobfileError([problem])


def _syntax(name: str, text: str, error: tomli.TOMLDecodeError) -> Problem:
    """The parser's complaint in the words of this house; `text` as the parser saw it."""
    message, offset = error.msg, min(error.pos, len(text))
    remedy = _REMEDIES.get(message, "")
    if message.startswith("Cannot declare"):
        message, remedy = f"{_header(text, offset)} is there twice", "join the two"
        offset = text.rfind("\n", 0, offset) + 1
    elif message == "Cannot overwrite a value":
        line = text.rfind("\n", 0, offset) + 1
        key = _FIRST_KEY.match(text, line)
        if key is not None and "\n" not in text[line : key.start(1)]:
            message, offset = f"the key {escaped(key[1])} is there twice", key.start(1)
        remedy = "take one of the two out"
    return problem_at(name, text, offset, "", escaped(message[:1].lower() + message[1:]), remedy)


def _header(text: str, offset: int) -> str:
    """The header of a table that ends at an offset, for an error."""
    header = line_at(text, offset).split("#")[0].strip()
    return f"the table {escaped(header)}" if len(header) <= 80 else "this table"


def _refused(name: str, message: str, remedy: str = "", line: int = 0) -> JobfileError:
    return JobfileError([Problem(escaped(name), line, line, "", message, remedy)])
