"""The kinds of value that are of the network: addresses, headers, and texts with references to
variables in them.

As all kinds (see `stsd.values`) they are declarative, and look at nothing but the value itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from stsd.references import malformed
from stsd.units import shown
from stsd.values import BadValueError, Fault, Text, refuse

HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
SET_BY_STSD = ("content-length", "transfer-encoding", "connection")
_HTTP = r"(?i:https?)://(?:[^/?#@]*@)?(?:\[[0-9a-fA-F:.]+\]|[^/?#:@]+)(?::([^/?#]*))?(?:[/?#].*)?"
HOST_PORT = r"(\[[0-9a-fA-F:.]+\]|[^\[\]:/@]+):([0-9]{1,5})"


@dataclass(frozen=True, slots=True)
class Template:
    """A text in which `${NAME}` stands for a variable's value; on one `line` if told so."""

    form: str = "a string"
    empty: bool = False
    line: bool = False

    def read(self, value: object, folder: str) -> str:
        """The text as it is."""
        text = Text(self.form, empty=self.empty, longest=LONGEST_TEMPLATE).read(value, folder)
        if self.line and ("\n" in text or "\r" in text):
            raise refuse("holds a newline", "write it on one line")
        place = malformed(text)
        if place is not None:
            remedy = "write ${NAME} for a variable's value, or $${ for the two characters"
            raise BadValueError([Fault(f"no variable in {shown(text[place:])}", remedy)])
        return text


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An http or https URL; where it starts with `${NAME}`, only the run can tell."""

    def read(self, value: object, folder: str) -> str:
        """The URL as it is."""
        url = _URL.read(value, folder)
        if any(char.isspace() or not char.isprintable() for char in url):
            raise refuse(f"{shown(url)} holds a space or a control character", "write %20")
        match = re.fullmatch(_HTTP, url)
        if not _is_split(url) or (match is None and not url.startswith("${")):
            raise refuse(f"{shown(url)} is not a web address", 'such as "https://example.com/"')
        port = match and match[1]
        if port and not port.startswith("${") and not _is_port(port):
            raise refuse(f"{shown(port)} is not a port", "from 1 to 65535")
        return url


@dataclass(frozen=True, slots=True)
class Headers:
    """A table of HTTP headers."""

    def read(self, value: object, folder: str) -> dict[str, str]:
        """The values by name."""
        if type(value) is not dict:
            raise refuse(f"must be a table, not {shown(value)}", 'such as { NAME = "value" }')
        faults: list[Fault] = []
        seen: set[str] = set()
        for name, text in value.items():
            faults += _of(name, text, seen)
            seen.add(name.lower())
        if faults:
            raise BadValueError(faults)
        return value


def _of(name: str, text: object, seen: set[str]) -> tuple[Fault, ...]:
    """What is wrong with one header."""
    if not re.fullmatch(HEADER_NAME, name):
        return (Fault("is not a header's name", "", (name,), on_key=True),)
    if name.lower() in SET_BY_STSD:
        return (Fault("is set by stsd itself", "take it out", (name,), on_key=True),)
    if name.lower() in seen:
        return (Fault("is there twice, but for its case", "take one out", (name,), on_key=True),)
    try:
        _HEADER.read(text, "")
    except BadValueError as bad:
        return tuple(fault.under(name) for fault in bad.faults)
    return ()


@dataclass(frozen=True, slots=True)
class MessageAddress:
    """An address of apprise's: a URL of its own scheme for each service."""

    def read(self, value: object, folder: str) -> str:
        """The URL as it is."""
        url = _URL.read(value, folder)
        if not url.startswith("${") and not re.match(r"[a-z][a-z0-9]*s?://.", url, re.I | re.ASCII):
            remedy = 'such as "mailto://user:password@example.com"'
            raise refuse(f"{shown(url)} is not an address for a message", remedy)
        return url


@dataclass(frozen=True, slots=True)
class HostPort:
    """A host and a port: `"example.com:443"`, `"[::1]:443"`."""

    def read(self, value: object, folder: str) -> tuple[str, int]:
        """Host (an IPv6 address without its brackets) and port."""
        text = Text("a host and a port").read(value, folder)
        match = re.fullmatch(HOST_PORT, text)
        if match is None or any(char.isspace() for char in text):
            remedy = 'such as "example.com:443" or "[::1]:443"'
            raise refuse(f"{shown(text)} is not a host and a port", remedy)
        if not _is_port(match[2]):
            raise refuse(f"{match[2]} is not a port", "from 1 to 65535")
        return match[1].strip("[]"), int(match[2])


def _is_split(url: str) -> bool:
    """Whether the standard library finds its way through a URL."""
    try:
        urlsplit(url)
    except ValueError:
        return False
    return True


def _is_port(text: str) -> bool:
    return bool(re.fullmatch("[0-9]{1,5}", text)) and 0 < int(text) < 65536


LONGEST_TEMPLATE = 1024 * 1024
_URL = Template("a URL", line=True)
_HEADER = Template(empty=True, line=True)
