"""The lines of a crontab: settings, entries, comments, and what is none of them.

Reads as Debian's cron does or, where that is said, as cronie does; it decides nothing about what
stsd makes of a line, and looks at nothing but the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from stsd.crontabmeaning import REBOOT, times_of
from stsd.errors import ScheduleError, StsdError

_BLANKS = " \t"
_USER_LAYOUT = "write: minute hour day-of-month month day-of-week command"
_SYSTEM_LAYOUT = "write: minute hour day-of-month month day-of-week user command"
_NAME = r"""(?:"(?P<double>[^"=]*)"|'(?P<single>[^'=]*)'|(?P<plain>[^\s="'][^\s=]*))"""
_SETTING = re.compile(_NAME + r"\s*=\s*(?P<value>.*)", re.DOTALL)
_ESCAPED = {
    "debian": re.compile(r"\\[\\%]|\\.|%", re.DOTALL),
    "cronie": re.compile(r"\\%|\\.|%", re.DOTALL),
}


class Dialect(StrEnum):
    """Whose crontab it is: that of Debian's cron, or of cronie (Fedora, Red Hat, Arch)."""

    DEBIAN = "debian"
    CRONIE = "cronie"


class CrontabError(StsdError):
    """A line that cron does not take, or that cannot be meant; `remedy` is what would be right."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} ({remedy})" if remedy else message)
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Setting:
    """`NAME=value`, in force for the entries below it. `bare`: nothing at all after the `=`."""

    name: str
    value: str
    bare: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """What is run and when: five fields with single blanks between them, or a nickname.

    `user` is empty in a user's crontab. `stdin` is what stood after the first `%`, newlines put
    in; empty where there is none. `quiet` is cronie's leading `-`: keep it out of the syslog.
    """

    when: str
    user: str
    command: str
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment without its `#`; `entry` is the entry that it would be without it."""

    text: str
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Blank:
    """An empty line."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line by its number, from 1, and what it is."""

    number: int
    meaning: Setting | Entry | Comment | Blank | CrontabError


@dataclass(frozen=True, slots=True)
class Crontab:
    """What a crontab says. `ended`: the last line has its newline, without which Debian's cron
    ignores the file; `carriage`: lines end as on Windows, which no shell forgives."""

    lines: tuple[Line, ...]
    ended: bool = True
    carriage: bool = False


def read(data: bytes, dialect: Dialect, *, system: bool) -> Crontab:
    """A crontab line by line; `system` says that its entries have a user before the command."""
    text = data.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    carriage = "\r\n" in text
    pieces = text.replace("\r\n", "\n").split("\n")
    ended = not pieces[-1].strip(_BLANKS)
    lines = enumerate(pieces if pieces[-1] else pieces[:-1], 1)
    read_lines = tuple(Line(number, _meaning(piece, dialect, system)) for number, piece in lines)
    return Crontab(read_lines, ended, carriage)


def _meaning(
    text: str, dialect: Dialect, system: bool
) -> Setting | Entry | Comment | Blank | CrontabError:
    line = text.lstrip(_BLANKS)
    if not line.strip():
        return Blank()
    if line.startswith("#"):
        words = line.strip("# \t").encode("utf-8", "surrogateescape").decode(errors="replace")
        return Comment(words, _commented_out(words, dialect, system))
    if not line.isprintable() and (strange := re.search("[\0\udc80-\udcff]", line)):
        what = "a NUL" if strange[0] == "\0" else "a byte that is not UTF-8"
        return CrontabError(f"there is {what}", "write it in UTF-8")
    setting = _setting(line, dialect)
    if setting is not None:
        return setting
    try:
        return _entry(line, dialect, system)
    except CrontabError as error:
        return error


def _commented_out(words: str, dialect: Dialect, system: bool) -> Entry | None:
    """The entry that a comment would be. One that explains the fields (`m h dom mon dow command`)
    is none, and neither is a sentence: it has no such times."""
    try:
        return _entry(words, dialect, system)
    except CrontabError:
        return None


def _setting(line: str, dialect: Dialect) -> Setting | None:
    match = _SETTING.fullmatch(line)
    if match is None:
        return None
    name = match["double"] or match["single"] or match["plain"] or ""
    value = match["value"].rstrip()
    quote = value[:1]
    if quote not in ("'", '"'):
        return Setting(name, value, bare=not value)
    if value.find(quote, 1) != len(value) - 1 or len(value) == 1:
        return None  # cron takes a line with something behind the quotes for an entry
    inner = value[1:-1]
    if dialect is Dialect.DEBIAN and len(inner) > 1 and inner[0] in "'\"" and inner[0] == inner[-1]:
        inner = inner[1:-1]
    return Setting(name, inner)


def _entry(line: str, dialect: Dialect, system: bool) -> Entry:
    # A dash keeps cronie from telling the syslog of each start; stsd tells it nothing.
    when, rest = _when(line.removeprefix("-") if dialect is Dialect.CRONIE else line)
    user = ""
    if system:
        user, *after = re.split(f"[{_BLANKS}]+", rest, maxsplit=1)
        rest = after[0] if after else ""
        if not rest:
            raise CrontabError("there is no command after the user", _SYSTEM_LAYOUT)
    elif rest.startswith("*"):
        raise CrontabError("there are more than five fields", "cron has no seconds and no years")
    command, stdin = _halves(rest, dialect)
    if not command.strip():
        raise CrontabError("there is no command", _USER_LAYOUT)
    return Entry(when, user, command, stdin)


def _when(line: str) -> tuple[str, str]:
    """The times of an entry, and the rest of its line."""
    count = 1 if line.startswith("@") else 5
    *fields, rest = [*re.split(f"[{_BLANKS}]+", line, maxsplit=count), ""][: count + 1]
    when = " ".join(fields)
    if len(fields) < count or (count == 5 and not re.match("[0-9*]", fields[0])):
        raise CrontabError("is neither NAME=value nor five fields and a command", _USER_LAYOUT)
    if when != REBOOT:
        try:
            times_of(when)
        except ScheduleError as error:
            raise CrontabError(error.message, error.remedy) from error
    return when, rest


def _halves(text: str, dialect: Dialect) -> tuple[str, str]:
    """The command, and what it reads: cut at the first `%` without a backslash before it.

    In the command Debian's cron takes the backslash from `\\%` and from `\\\\`, cronie only from
    the former; in what it reads both make a newline of `%` and take the backslash from `\\%`.
    """
    cut = len(text)
    command: list[str] = []
    begin = 0
    for match in _ESCAPED[dialect].finditer(text):
        if match[0] == "%":
            cut = match.start()
            break
        if match[0] == r"\%" or (match[0] == r"\\" and dialect is Dialect.DEBIAN):
            command.append(text[begin : match.start()])
            begin = match.start() + 1
    command.append(text[begin:cut])
    stdin = re.sub(r"\\%|%", _of_percent, text[cut + 1 :])
    return "".join(command), stdin if not stdin or stdin.endswith("\n") else f"{stdin}\n"


def _of_percent(match: re.Match[str]) -> str:
    return "\n" if match[0] == "%" else "%"
