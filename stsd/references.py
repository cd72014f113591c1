"""References to variables, `${NAME}`, in what an http or a message task sends: their syntax, and
what they become in the child, so that a secret need not stand in the jobfile.

Used by the intake, and by the programs that carry such tasks out; it imports nothing of stsd.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from urllib.parse import quote

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)\})?")
_ADDRESS = re.compile(r"([^:/?#$]+://)(?:([^/?#]*)@)?([^/?#]*)(.*)", re.DOTALL)


class UnsetError(Exception):
    """A reference to a variable that is not set; the text says to which."""


def malformed(text: str) -> int | None:
    """The index of a `${` that no name and brace follow, if there is one."""
    for match in _REFERENCE.finditer(text):
        if match[0] == "${":
            return match.start()
    return None


def referenced(text: str) -> set[str]:
    """The names of the variables that a text refers to."""
    return {match[1] for match in _REFERENCE.finditer(text) if match[1]}


def filled(text: str, variables: Mapping[str, str]) -> str:
    """The text with the variables' values in the place of the references; `$${` becomes `${`.

    Raises UnsetError.
    """
    return _filled(text, variables, lambda value: value)


def filled_json(text: str, variables: Mapping[str, str]) -> str:
    """The same for a JSON text whose references are within strings, and stay so whatever the
    values hold."""
    return _filled(text, variables, lambda value: json.dumps(value)[1:-1])


def filled_address(text: str, variables: Mapping[str, str]) -> str:
    """The same for a URL: a value is percent-encoded, so that one in the path cannot change the
    query; at the very start, or as a host, it stays as it is (`${URL}`, `https://${HOST}/`)."""
    parts = _ADDRESS.fullmatch(text)
    if parts is None:
        return filled(text, variables)
    scheme, user, host, rest = parts.groups()
    user = "" if user is None else _filled(user, variables, _quoted_wholly) + "@"
    return scheme + user + filled(host, variables) + _filled(rest, variables, _quoted)


def _quoted(value: str) -> str:
    return quote(value, errors="surrogateescape")


def _quoted_wholly(value: str) -> str:
    return quote(value, "", errors="surrogateescape")


def _filled(text: str, variables: Mapping[str, str], encode: Callable[[str], str]) -> str:
    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if name not in variables:
            raise UnsetError(f"the variable {name} is not set")
        return encode(variables[name])

    return _REFERENCE.sub(value, text)
