"""The JSON Schema of the jobfile, for editors: made from the table of keys that validates it.

It never refuses what stsd accepts. What no schema can say (schedules, zones, names of users, what
keys of several jobs mean together) is left to `stsd check`.

Draft 7, since that is what all schema-aware TOML editors read.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable
from typing import Any

import tomli

from stsd.key import Key
from stsd.keys import DAEMON_KEYS, JOB_KEYS
from stsd.kinds import (
    DAY,
    LARGEST_ID,
    MINUTE,
    OWN_VARIABLES,
    UMASK,
    VARIABLE,
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
from stsd.model import Outcome
from stsd.noticekinds import (
    DAY_SPAN,
    FACTOR,
    TIME_OF_DAY,
    DaySpan,
    OrFalse,
    Recipient,
    Slowness,
    TimeOfDay,
)
from stsd.shapes import NAME_PATTERN
from stsd.tasks import OF_PYTHON, WHATS
from stsd.units import DURATION, LARGEST_SIZE, LONGEST_SECONDS, SIZE
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
from stsd.webkinds import (
    HEADER_NAME,
    HOST_PORT,
    Headers,
    HostPort,
    MessageAddress,
    Template,
    WebAddress,
)

Schema = dict[str, Any]
"""A JSON Schema, or a part of one, as `json.dumps` takes it."""

_REFERENCES = r"(?:[^$]|\$\$\{|\$\{[A-Za-z_][A-Za-z0-9_]*\}|\$(?!\{))*"
_NOT_EMPTY = r"\S"
_LONGEST_QUANTITY = 64
"""Characters of a duration or a size that stsd reads."""


def schema() -> Schema:
    """The schema of a whole jobfile, or of one that it includes."""
    keys = list(JOB_KEYS.values())
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Jobfile of stsd",
        "description": "What stsd runs, and when. `stsd check` finds what a schema cannot.",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "daemon": {
                "description": "The daemon itself.",
                **_closed({key.name: _of_key(key) for key in DAEMON_KEYS.values()}),
            },
            "defaults": {
                "description": "Keys for all jobs; a job's own key takes the place of these.",
                **_closed({key.name: _reference(key.name) for key in keys if key.in_defaults}),
            },
            "jobs": {
                "description": "The jobs, each by its name.",
                "type": "object",
                "propertyNames": {"pattern": _whole(NAME_PATTERN)},
                "additionalProperties": _reference("job"),
            },
        },
        "definitions": {
            "job": {
                "description": "One job: what is run, when and how.",
                **_closed({key.name: _reference(key.name) for key in keys}),
                "oneOf": [{"required": [name]} for name in WHATS],
                "dependencies": {name: ["python"] for name in OF_PYTHON},
            },
            **{key.name: _of_key(key) for key in keys},
        },
    }


def _reference(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}


def _of_key(key: Key) -> Schema:
    told = _told(key.says, key.default)
    told["description"] += f"\n\nExample: {key.name} = {key.example}"
    told["examples"] = [_as_json(_toml(key.example))]
    return {**told, **of(key.kind), **_BETWEEN.get(key.name, {})}


def _of_field(field: Field) -> Schema:
    says = f"{field.says[0].upper()}{field.says[1:]}."
    return {**_told(says, field.default), **of(field.kind)}


def _told(says: str, default: str) -> Schema:
    """What is said of a key; `default` is TOML, or words in (brackets)."""
    if not default:
        return {"description": says}
    if default.startswith("("):
        return {"description": f"{says}\n\nDefault: {default.strip('()')}"}
    value = _as_json(_toml(default))
    return {"description": f"{says}\n\nDefault: {default}", "default": value}


def _toml(text: str) -> object:
    return tomli.loads(f"value = {text}")["value"]


def _as_json(value: object) -> object:
    """A TOML value as it is presented to a schema: dates and times are strings."""
    match value:
        case dict():
            return {name: _as_json(entry) for name, entry in value.items()}
        case list():
            return [_as_json(entry) for entry in value]
        case bool() | int() | float() | str():
            return value
        case _:
            return str(value).replace(" ", "T").replace("+00:00", "Z")


def of(kind: Kind) -> Schema:
    """What a kind of value accepts, as far as a schema can say it.

    Raises KeyError for a kind that has no place here yet.
    """
    match kind:
        case ListOf(item=item, least=least, alone=alone):
            several = {"type": "array", "items": of(item), "minItems": least}
            return _any(of(item), several) if alone else several
        case SetOf(item=item):
            return of(ListOf(item))
        case Either(text=text, other=other):
            return _any(of(text), of(other))
        case OrFalse(kind=inner):
            return _any(of(inner), {"const": False})
        case Recipient(table=table):
            one = {**of(table), "oneOf": [{"required": [way]} for way in ("webhook", "command")]}
            return _any(_SPECIAL[MessageAddress], {**one, "dependencies": {"secret": ["webhook"]}})
        case Table(fields=fields):
            required = [field.name for field in fields if field.required]
            closed = _closed({field.name: _of_field(field) for field in fields})
            return {**closed, "required": required} if required else closed
        case TableOf(kind=inner, names=names):
            return _named(of(inner), _text(names))
        case Secrets(place=place):
            one = {**of(place), "minProperties": 1, "maxProperties": 1}
            return _named(one, {**_text(VARIABLE), "not": {"enum": list(OWN_VARIABLES)}})
        case _:
            return _of_plain(kind)


def _of_plain(kind: Kind) -> Schema:
    match kind:
        case Text():
            return _text(kind)
        case Template(empty=empty, line=line):
            return _template(empty=empty, line=line)
        case Choice(words=words):
            return {"type": "string", "enum": [str(word) for word in words]}
        case FilePath(absolute=absolute):
            return {"type": "string", "pattern": "^[/~]" if absolute else _NOT_EMPTY}
        case JsonData(table=table, free=free):
            return {} if free else {"type": "object" if table else "array"}
        case _:
            return _of_quantity(kind)


def _of_quantity(kind: Kind) -> Schema:
    match kind:
        case Whole(low=low, high=high):
            return {"type": "integer", "minimum": low, "maximum": high}
        case Number(low=low, high=high):
            return {"type": "number", "minimum": low, "maximum": high}
        case Duration(whole=whole):
            return _duration(whole=whole)
        case Size(least=least):
            number = {"type": "integer", "minimum": least, "maximum": LARGEST_SIZE}
            return _any(_quantity(f"^(?=.*[1-9]){SIZE.pattern}$"), number)
        case Account():
            number = {"type": "integer", "minimum": 0, "maximum": LARGEST_ID - 1}
            return _any({"type": "string", "pattern": _NOT_EMPTY}, number)
        case _:
            return _SPECIAL[type(kind)]


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _named(entry: Schema, names: Schema) -> Schema:
    """A table whose keys the user chooses."""
    return {"type": "object", "propertyNames": names, "additionalProperties": entry}


def _any(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _whole(pattern: str) -> str:
    return f"^(?:{pattern})$"


def _text(text: Text) -> Schema:
    found: Schema = {"type": "string", "maxLength": text.longest}
    if text.pattern:
        return {**found, "pattern": _whole(text.pattern)}
    return found if text.empty else {**found, "pattern": _NOT_EMPTY}


def _template(*, empty: bool, line: bool) -> Schema:
    """A text with references to variables; a `line` is no more than one."""
    patterns = [_whole(_REFERENCES)]
    patterns += [] if empty else [_NOT_EMPTY]
    patterns += [r"^[^\r\n]*$"] if line else []
    return {"type": "string", "allOf": [{"pattern": pattern} for pattern in patterns]}


def _duration(*, whole: bool) -> Schema:
    number: Schema = {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_SECONDS}
    if whole:
        number = {"type": "integer", "minimum": 1, "maximum": LONGEST_SECONDS}
    return _any(_quantity(rf"^(?=.*[1-9])\s*{DURATION.pattern}\s*$"), number)


def _quantity(pattern: str) -> Schema:
    return {"type": "string", "maxLength": _LONGEST_QUANTITY, "pattern": pattern}


def _in_any_case(words: Iterable[str]) -> str:
    """A pattern for words in capitals or not; there is no flag for that in all dialects."""
    return "|".join("".join(_both_cases(char) for char in word) for word in words)


def _both_cases(char: str) -> str:
    return f"[{char.upper()}{char.lower()}]" if char.isalpha() else char


def _signals() -> Schema:
    """Their names; an editor offers those without SIG in capitals."""
    known = [name.removeprefix("SIG") for name in signal.Signals.__members__ if name != "SIGSTOP"]
    pattern = _whole(f"(?:[Ss][Ii][Gg])?(?:{_in_any_case(sorted(known))})")
    return _any({"enum": sorted(known)}, {"type": "string", "pattern": pattern})


def _one_of_these(names: Iterable[str]) -> Schema:
    return {"anyOf": [{"required": [name]} for name in names]}


_OUTCOMES = [str(outcome) for outcome in Outcome]
_LINE = _template(empty=False, line=True)
_SPECIAL: dict[type, Schema] = {
    Day: {"type": "string", "pattern": _whole(DAY)},
    Flag: {"type": "boolean"},
    Environment: _named(
        {"type": "string"}, {"pattern": "^[^=]+$", "not": {"enum": list(OWN_VARIABLES)}}
    ),
    Headers: _named(_template(empty=True, line=True), {"pattern": _whole(HEADER_NAME)}),
    HostPort: {"type": "string", "pattern": _whole(HOST_PORT)},
    Instant: {"type": "string", "pattern": f"^{MINUTE}.*([Zz]|[+-][0-9:]+)$"},
    MessageAddress: _any(
        {**_LINE, "pattern": r"^[A-Za-z][A-Za-z0-9]*://."}, {**_LINE, "pattern": r"^\$\{"}
    ),
    Outcomes: _any(
        {"type": "string", "enum": [*_OUTCOMES, "any"]},
        {"type": "array", "items": {"type": "string", "enum": _OUTCOMES}, "minItems": 1},
    ),
    SignalName: _signals(),
    Umask: {"type": "string", "pattern": _whole(UMASK)},
    WebAddress: {**_LINE, "pattern": r"^(?:[Hh][Tt][Tt][Pp][Ss]?://[^/]|\$\{)"},
    TimeOfDay: {"type": "string", "pattern": _whole(TIME_OF_DAY)},
    DaySpan: {"type": "string", "pattern": _whole(f" *{DAY_SPAN} *")},
    Slowness: _any({"type": "string", "pattern": _whole(FACTOR)}, _duration(whole=False)),
    Zone: {"type": "string", "pattern": "^[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*$"},
}

# What the fields of a table mean together; said by the rooms that read them as well.
_BETWEEN: dict[str, Schema] = {
    "http": {"not": {"required": ["body", "json"]}},
    "message": _one_of_these(("title", "body")),
    "wait_for": _one_of_these(("network", "path", "job", "load")),
    "ping": {"minProperties": 1},
    "metrics": {"minProperties": 1},
}
