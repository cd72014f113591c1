"""The words of the control socket, for both of its ends: JSON lines, version 1.

Told in docs/control.md. Reads what may come from anybody, and so takes nothing for granted;
does no I/O.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NoReturn

from stsd.errors import StsdError
from stsd.units import parse_duration, shown

VERSION = 1
LONGEST_LINE = 64 * 1024
"""Bytes of a request, without its newline."""
_DEEPEST = 32


class Right(StrEnum):
    """What a peer may do: look, or look and give orders."""

    READ = "read"
    CHANGE = "change"


class Trouble(StrEnum):
    """The kinds of error."""

    BAD_REQUEST = "bad_request"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    FORBIDDEN = "forbidden"
    UNKNOWN_JOB = "unknown_job"
    UNKNOWN_RUN = "unknown_run"
    INVALID_JOBFILE = "invalid_jobfile"
    STOPPING = "stopping"
    BUSY = "busy"
    NOT_POSSIBLE = "not_possible"


class BadRequestError(StsdError):
    """A line that is no request of this version. `kind` is what to answer."""

    def __init__(self, message: str, kind: Trouble = Trouble.BAD_REQUEST) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `arguments` are complete and of the right types: names are tuples of strings,
    what was left out is empty, or None, or False."""

    do: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Argument:
    """`read` returns the value, or raises ValueError with what it must be."""

    read: Callable[[object], Any]
    default: Any = None


@dataclass(frozen=True, slots=True)
class Order:
    """What can be asked for: the right that it takes, and its arguments."""

    right: Right
    arguments: Mapping[str, _Argument]


def parse(line: bytes) -> Asked:
    """The request of a line, with or without its newline. Raises BadRequestError."""
    request = _object(line)
    if "stsd" not in request:
        raise BadRequestError(f'the version is missing (write "stsd": {VERSION})')
    version, do = request.pop("stsd"), request.pop("do", None)
    if type(version) is not int or version != VERSION:
        raise BadRequestError(
            f"version {shown(version)} of the protocol is not spoken here (only {VERSION})",
            Trouble.UNSUPPORTED,
        )
    order = ORDERS.get(do) if isinstance(do, str) else None
    if order is None or not isinstance(do, str):
        what = "missing" if do is None else shown(do)
        raise BadRequestError(f'"do" is {what} (it can be {", ".join(ORDERS)})')
    return Asked(do, _arguments(do, order, request))


def encode(kind: str, content: object) -> bytes:
    """A line that is sent, of one key, in ASCII and with its newline."""
    text = json.dumps({kind: content}, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def encode_request(do: str, arguments: Mapping[str, object]) -> bytes:
    """The line that asks for something. Raises ValueError for what JSON cannot say."""
    request = {"stsd": VERSION, "do": do, **arguments}
    text = json.dumps(request, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.encode("ascii") + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(
            line.decode("utf-8"),
            object_pairs_hook=_without_twins,
            parse_constant=_no_number,
            parse_float=_finite,
        )
        _check_depth(value)
    except RecursionError:
        raise BadRequestError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise BadRequestError("it is no UTF-8") from None
    except ValueError as error:
        raise BadRequestError(f"it is no JSON: {error}") from None
    if type(value) is not dict:
        raise BadRequestError("it is no JSON object")
    return value


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number


def _check_depth(value: object) -> None:
    """Whoever works on a request later may recurse on it, or write it somewhere. Raises
    ValueError."""
    level: list[object] = [value]
    for _ in range(_DEEPEST):
        inner: list[object] = []
        for entry in level:
            match entry:
                case dict():
                    inner += [*entry, *entry.values()]
                case list():
                    inner += entry
                case str():
                    _check_text(entry)
        if not inner:
            return
        level = inner
    raise ValueError(f"it is nested more than {_DEEPEST} deep")


def _check_text(text: str) -> None:
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half of a surrogate pair is no character")


# -- arguments


def _arguments(do: str, order: Order, given: Mapping[str, object]) -> dict[str, Any]:
    for name in given:
        if name not in order.arguments:
            known = ", ".join(order.arguments) or "none"
            raise BadRequestError(f'"{do}" knows no argument {shown(name)} (known: {known})')
    values = {}
    for name, argument in order.arguments.items():
        value = given.get(name)
        try:
            values[name] = argument.default if value is None else argument.read(value)
        except ValueError as error:
            raise BadRequestError(f'"{name}" of "{do}" {error}, not {shown(value)}') from None
    return values


def _names(value: object) -> tuple[str, ...]:
    if type(value) is not list or not all(type(name) is str for name in value):
        raise ValueError("must be an array of strings")
    return tuple(value)


def _text(value: object) -> str:
    if type(value) is not str:
        raise ValueError("must be a string")
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def _seconds(value: object) -> float:
    if type(value) is str:
        raise ValueError("must be a number of seconds")
    return parse_duration(value)


def _values(value: object) -> dict[str, Any]:
    if type(value) is not dict:
        raise ValueError("must be an object")
    return value


def _environment(value: object) -> dict[str, str]:
    if type(value) is not dict or not all(type(text) is str for text in value.values()):
        raise ValueError("must be an object of strings")
    for name, text in value.items():
        if not name or "=" in name or "\0" in name or "\0" in text:
            raise ValueError('must have names without "=", and no NUL')
    return value


_JOBS = {"jobs": _Argument(_names, ()), "tags": _Argument(_names, ())}
ORDERS: Mapping[str, Order] = {
    "hello": Order(Right.READ, {}),
    "status": Order(Right.READ, _JOBS),
    "plan": Order(Right.READ, {}),
    "trigger": Order(
        Right.CHANGE,
        {
            **_JOBS,
            "kwargs": _Argument(_values),
            "env": _Argument(_environment),
            "wait": _Argument(_flag, default=False),
        },
    ),
    "cancel": Order(Right.CHANGE, {"runs": _Argument(_names, ())}),
    "pause": Order(
        Right.CHANGE, {**_JOBS, "for_s": _Argument(_seconds), "reason": _Argument(_text)}
    ),
    "resume": Order(Right.CHANGE, _JOBS),
    "reload": Order(Right.CHANGE, {}),
}
