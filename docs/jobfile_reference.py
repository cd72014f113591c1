"""Writes the tables of docs/jobfile.md from the table of keys, when it is run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from stsd.key import Group, Key
from stsd.keys import DAEMON_KEYS, JOB_KEYS
from stsd.kinds import (
    Account,
    Day,
    Environment,
    FilePath,
    Instant,
    JsonData,
    Outcomes,
    Secrets,
    SignalName,
    Umask,
    Zone,
)
from stsd.noticekinds import DaySpan, OrFalse, Recipient, Slowness, TimeOfDay
from stsd.values import (
    Choice,
    Duration,
    Either,
    Field,
    Flag,
    Kind,
    ListOf,
    Number,
    SetOf,
    Size,
    Table,
    TableOf,
    Text,
    Whole,
)
from stsd.webkinds import Headers, HostPort, MessageAddress, Template, WebAddress

PAGE = Path(__file__).with_name("jobfile.md")
START, END = "<!-- keys: written by jobfile_reference.py -->\n", "<!-- end of keys -->\n"


def kind_in_words(kind: Kind) -> str:
    """What a key may hold, for a reader."""
    match kind:
        case ListOf(item=item, alone=True):
            return f"{kind_in_words(item)}, or an array of such"
        case ListOf(item=item) | SetOf(item=item):
            return f"array of: {kind_in_words(item)}"
        case Either(text=text, other=other):
            return f"{kind_in_words(text)}, or {kind_in_words(other)}"
        case Table(fields=fields):
            return "table with " + ", ".join(f"`{field.name}`" for field in fields)
        case TableOf(kind=inner) | Secrets(place=inner):
            return f"table of names, each with a {kind_in_words(inner)}"
        case OrFalse(kind=inner):
            return f"{kind_in_words(inner)}, or `false`"
        case _:
            return _plain_in_words(kind)


def _plain_in_words(kind: Kind) -> str:
    match kind:
        case Text(form=form) | Template(form=form):
            return form
        case Account(group=group):
            return f"name or number of a {'group' if group else 'user'}"
        case JsonData(free=True):
            return "JSON value"
        case Whole(low=low, high=high):
            return f"whole number, {low} to {high}"
        case Number(low=low, high=high):
            return f"number, {low:g} to {high:g}"
        case Duration(whole=True):
            return "duration in whole seconds"
        case Choice(words=words):
            return ", ".join(f'`"{word}"`' for word in words)
        case JsonData(table=True):
            return "table of JSON values"
        case _:
            return _SPECIAL[type(kind)]


_SPECIAL: dict[type, str] = {
    Day: "date",
    Environment: "table of strings",
    Headers: "table of strings",
    HostPort: "`HOST:PORT`",
    Recipient: "URL of apprise or of a webhook, or a table",
    TimeOfDay: "time of day",
    DaySpan: "part of the day",
    Slowness: 'duration, or a factor such as `"2x"`',
    MessageAddress: "URL of apprise",
    Outcomes: 'outcome, array of such, or `"any"`',
    WebAddress: "URL",
    FilePath: "path",
    Instant: "date and time with offset",
    JsonData: "array of JSON values",
    Flag: "`true` or `false`",
    Duration: "duration",
    Size: "size",
    SignalName: "name of a signal",
    Umask: "octal digits in quotes",
    Zone: "time zone",
}


def reference() -> str:
    """The sections of the page, one for each group of keys."""
    sections = []
    keys = [*DAEMON_KEYS.values(), *JOB_KEYS.values()]
    for group in Group:
        here = [key for key in keys if key.group is group]
        sections.append(f"## {group}\n\n{_table(here)}")
        sections += [_fields(key) for key in here]
    return "\n".join(section for section in sections if section)


def _table(keys: list[Key]) -> str:
    rows = [
        f"| `{key.name}` | {key.says} | {_cell(kind_in_words(key.kind))} | {_cell(_default(key))} "
        f"| `{_cell(f'{key.name} = {key.example}')}` |"
        for key in keys
    ]
    head = "| key | meaning | value | default | example |\n| --- | --- | --- | --- | --- |\n"
    return head + "\n".join(rows) + "\n"


def _fields(key: Key) -> str:
    """What the keys of an inline table mean."""
    lines = [
        f"- `{key.name}.{name}`: {field.says} ({kind_in_words(field.kind)})"
        f"{f'; default: {_default(field)}' if field.default else ''}"
        for name, field in fields_within(key.kind)
    ]
    return "\n".join(lines) + "\n" if lines else ""


def fields_within(kind: Kind) -> Iterator[tuple[str, Field]]:
    """The fields of the table with fixed keys that a key holds, and of those in it, each with the
    names on the way to it."""
    table, way = _table_within(kind)
    for field in table.fields if table is not None else ():
        yield f"{way}{field.name}", field
        for name, inner in fields_within(field.kind):
            yield f"{way}{field.name}.{name}", inner


def _table_within(kind: Kind) -> tuple[Table | None, str]:
    match kind:
        case Table():
            return kind, ""
        case Recipient(table=inner) | Either(other=inner):
            return _table_within(inner)
        case Secrets(place=table):
            return table, "NAME."
        case ListOf(item=inner) | OrFalse(kind=inner):
            return _table_within(inner)
        case _:
            return None, ""


def _default(key: Key | Field) -> str:
    if not key.default:
        return ""
    return key.default.strip("()") if key.default.startswith("(") else f"`{key.default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def page() -> str:
    """The page with its tables as they should be."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{reference()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
