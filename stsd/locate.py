"""Where a key or a value stands in the text of a jobfile.

The TOML parser keeps no positions, and a valid jobfile needs none; so the text is walked a second
time, for the few keys that something is to be said about. The text must be valid TOML: whoever
calls has had it parsed. Nothing is decided here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from stsd.values import Step

Path = tuple[Step, ...]

_BLANK = re.compile(r"(?:[ \t\r\n,]++|#[^\n]*+)*+")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SPACE = re.compile(r"[ \t]*")
_STRING = re.compile(
    r'"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}'
    r"|'''(?:[^']++|'(?!''))*+'{3,5}"
    r'|"(?:[^"\\\n]++|\\.)*+"'
    r"|'[^'\n]*+'",
    re.DOTALL,
)
_PLAIN = re.compile(r"\d{4}-\d\d-\d\d [^,\]}\s#]+|[^,\]}\s#]+")
_ESCAPE = re.compile(r'\\(?:[btnfre"\\]|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|x([0-9A-Fa-f]{2}))')
_SHORT = {"b": "\b", "t": "\t", "n": "\n", "f": "\f", "r": "\r", "e": "\x1b"}
_BRACKETS = re.compile(rf"{_STRING.pattern}|#[^\n]*|([\[{{])|([\]}}])", re.DOTALL)
_MANY_PARTS = re.compile(r"(?:[A-Za-z0-9_-]++[ \t]*\.[ \t]*){100}")
_DIGITS = re.compile(rf"{_STRING.pattern}|#[^\n]*|(\d[\d_]{{4300,}})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Spot:
    """Offsets into the text: of the key, and of its value (for a table, of its name)."""

    key: int
    value: int


def locate(text: str, paths: Iterable[Path]) -> dict[Path, Spot]:
    """Where each of the paths stands that is there; reads no further than to the last of them."""
    walker = _Walker(text, set(paths))
    walker.walk()
    return walker.found


def line_and_column(text: str, offset: int) -> tuple[int, int]:
    """The place of an offset for a reader, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def line_at(text: str, offset: int) -> str:
    """The whole line in which an offset lies, without its end."""
    end = text.find("\n", offset)
    line = text[text.rfind("\n", 0, offset) + 1 : end if end >= 0 else len(text)]
    return line.rstrip("\r")


def inside(text: str, offset: int, column: int) -> int:
    """The offset of a character (counted from 1) of the string that starts at an offset; that of
    the string itself where escapes or line ends make the count uncertain."""
    string = _STRING.match(text, offset)
    if string is None:
        return offset
    quotes = 3 if text.startswith(('"""', "'''"), offset) else 1
    target = offset + quotes + column - 1
    before = text[offset:target]
    uncertain = target >= string.end() or "\n" in before or ("\\" in before and before[0] == '"')
    return offset if uncertain else target


def deeper_than(text: str, levels: int) -> int:
    """The offset of the first bracket or brace that is nested deeper than so many levels, else of
    the first key of more than a hundred parts, in a text that need not be valid; else 0."""
    depth = 0
    for match in _BRACKETS.finditer(text):
        if match[1]:
            depth += 1
            if depth > levels:
                return match.start()
        elif match[2]:
            depth = max(0, depth - 1)
    dotted = _MANY_PARTS.search(text)
    return dotted.start() if dotted else 0


def too_long_a_number(text: str) -> int:
    """The offset of the first number of more than 4,300 digits, in a text that need not be
    valid; 0 if there is none."""
    return next((match.start() for match in _DIGITS.finditer(text) if match[1]), 0)


@dataclass(slots=True)
class _Open:
    """An array (`index` counts its items) or an inline table that has not ended yet."""

    path: Path
    closer: str
    index: int = -1


class _Walker:
    """One walk through a text, from statement to statement."""

    def __init__(self, text: str, wanted: set[Path]) -> None:
        self.text = text
        self.wanted = wanted
        self.found: dict[Path, Spot] = {}
        self._at = 0
        self._counts: dict[Path, int] = {}

    def walk(self) -> None:
        table: Path = ()
        self._skip(_BLANK)
        while self._at < len(self.text) and len(self.found) < len(self.wanted):
            if self.text[self._at] == "[":
                table = self._header()
            else:
                self._value(*self._key(table))
            self._skip(_BLANK)

    def _header(self) -> Path:
        """The path of a table's header; for one of an array of tables, with its index."""
        several = self.text.startswith("[[", self._at)
        self._at += 2 if several else 1
        path: Path = ()
        start = self._at
        while True:
            part, start = self._part()
            path = (*path, part)
            if not self._take("."):
                break
            self._mark(path, start, start)
            if path in self._counts:
                path = (*path, self._counts[path])
        self._mark(path, start, start)
        self._at += 2 if several else 1
        if several:
            self._counts[path] = self._counts.get(path, -1) + 1
            path = (*path, self._counts[path])
            self._mark(path, start, start)
        return path

    def _key(self, table: Path) -> tuple[Path, int]:
        """The path of a key, dotted or not, and the offset of its last part; up to the value."""
        path = table
        while True:
            part, start = self._part()
            path = (*path, part)
            if not self._take("."):
                break
            self._mark(path, start, start)
        self._take("=")
        return path, start

    def _value(self, path: Path, key: int) -> None:
        """Passes a value and all that is in it."""
        stack: list[_Open] = []
        while True:
            self._skip(_SPACE)
            self._mark(path, key, self._at)
            self._enter(path, stack)
            while stack and self._leave(stack[-1]):
                stack.pop()
            if not stack:
                return
            inner = stack[-1]
            if inner.closer == "]":
                inner.index += 1
                path, key = (*inner.path, inner.index), self._at
            else:
                path, key = self._key(inner.path)

    def _enter(self, path: Path, stack: list[_Open]) -> None:
        """Passes a plain value, or the opening of one that holds others."""
        char = self.text[self._at]
        if char in "[{":
            self._at += 1
            stack.append(_Open(path, "]" if char == "[" else "}"))
        elif char in "\"'":
            self._skip(_STRING)
        else:
            self._skip(_PLAIN)

    def _leave(self, inner: _Open) -> bool:
        """Whether the array or inline table at hand ends here; if so, passes its end."""
        self._skip(_BLANK)
        if self.text[self._at] != inner.closer:
            return False
        self._at += 1
        return True

    def _part(self) -> tuple[str, int]:
        """One part of a key, and where it starts."""
        self._skip(_SPACE)
        start = self._at
        if self.text[start] in "\"'":
            self._skip(_STRING)
            raw = self.text[start + 1 : self._at - 1]
            return (raw if self.text[start] == "'" else _ESCAPE.sub(_unescaped, raw)), start
        self._skip(_BARE)
        return self.text[start : self._at], start

    def _take(self, char: str) -> bool:
        """Whether the next character but blanks is this one; if so, passes it."""
        self._skip(_SPACE)
        if not self.text.startswith(char, self._at):
            return False
        self._at += 1
        return True

    def _skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self._at)
        if match is not None:
            self._at = match.end()

    def _mark(self, path: Path, key: int, value: int) -> None:
        if path in self.wanted:
            self.found.setdefault(path, Spot(key, value))


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    return chr(int(code, 16)) if code else _SHORT.get(match[0][1], match[0][1])
