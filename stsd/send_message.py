"""Carries out a `message` task in a child: tells each of its addresses, by means of apprise.

`PYTHON -I send_message.py`, the task as a JSON object on standard input (the attributes of
`stsd.model.MessageTask`). Exits 0 if all were told, else 1 with a sentence on standard error for
each that was not. Of an address only scheme and host are shown, and not even the host where a
service takes it for a key.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

if __name__ == "__main__":  # isolated, so that not even stsd is found where it is not installed
    sys.path.append(str(Path(__file__).parents[1]))

from stsd.references import UnsetError, filled, filled_address

_SHORTEST_SECRET = 4
_QUOTED = "Could not load "
_CAUSE = "Socket Exception: "  # how apprise begins the one debug line that tells why


@dataclass(frozen=True, slots=True)
class Attempted:
    """What became of a message. `place` is as much of the address as may be shown, empty for one
    that apprise does not understand; `why` is what apprise has to say, if anything."""

    is_told: bool
    place: str
    why: str


class _Complaints(logging.Handler):
    """What apprise has to say of one address."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep warnings, errors, and what went wrong on the line."""
        text = record.getMessage()
        if record.levelno >= logging.WARNING or text.startswith(_CAUSE):
            self.said.append(text.removeprefix(_CAUSE).rstrip("."))


def main() -> None:
    """Do what standard input says."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    spec = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        import apprise
    except ImportError:
        print(
            "stsd: a message takes apprise, which is not installed (pip install 'stsd[messages]')",
            file=sys.stderr,
        )
        sys.exit(1)
    untold = 0
    for complaint in untold_of(spec, os.environ, apprise):
        print(f"stsd: {complaint}", file=sys.stderr)
        untold += 1
    sys.exit(1 if untold else 0)


def untold_of(spec: Mapping[str, Any], variables: Mapping[str, str], apprise: Any) -> Iterator[str]:
    """Tells all addresses in their order, and says on standard output who was told; yields a
    sentence for each that was not. `apprise` is the module."""
    try:
        title, body = filled(spec["title"], variables), filled(spec["body"], variables)
    except UnsetError as error:
        yield f"the message cannot be sent: {error}"
        return
    for number, template in enumerate(spec["to"], 1):
        which = f"address {number} of {len(spec['to'])}"
        try:
            url = filled_address(template, variables)
        except UnsetError as error:
            yield f"{which} cannot be used: {error}"
            continue
        done = attempted(url, lambda service: _told(service, title, body), apprise)
        if done.is_told:
            print(f"told {done.place}" + (f", but {done.why}" if done.why else ""), flush=True)
        elif not done.place:
            yield f"{which}{_scheme(template)} is none that apprise understands: {done.why}"
        else:
            yield f"{which}, {done.place}, was not told: {done.why or 'apprise does not say why'}"


def attempted(url: str, tell: Callable[[Any], bool], apprise: Any) -> Attempted:
    """Has the service of this address told, by `tell`, which is given apprise's object for it."""
    logger = logging.getLogger("apprise")
    logger.setLevel(logging.DEBUG)
    complaints = _Complaints()
    logger.addHandler(complaints)
    try:
        asset = apprise.AppriseAsset(app_id="stsd", app_desc="stsd")
        service = apprise.Apprise.instantiate(url, asset=asset)
        place = "" if service is None else place_of(service.url(privacy=True))
        is_told = service is not None and tell(service)
    finally:
        logger.removeHandler(complaints)
    # Another complaint says why; this one only quotes the address, which is ours to show.
    said = [each for each in complaints.said if not each.startswith(_QUOTED)] or complaints.said
    return Attempted(is_told, place, masked("; ".join(dict.fromkeys(said)), url, place))


def _told(service: Any, title: str, body: str) -> bool:
    """Tells one service; a title alone is the text as well, since many take none without."""
    if not body:
        title, body = title if service.title_maxlen else "", title
    return bool(service.notify(title=title, body=body, body_format="text"))


def place_of(private_url: str) -> str:
    """Scheme and host of what apprise shows of an address, keys left out."""
    scheme, _, rest = private_url.partition("://")
    host = re.split("[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    return f"{scheme}://{host}"


def masked(text: str, url: str, place: str) -> str:
    """The text with every part of an address that may be secret replaced by `***`."""
    for part in sorted(_parts(url, place), key=len, reverse=True):
        text = text.replace(part, "***")
    return text


def _parts(url: str, place: str) -> set[str]:
    """The user, password, path and query of a URL, piece by piece, and its host unless that is
    shown in its `place` anyway; as they stand and decoded."""
    rest = url.partition("://")[2]
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    user, _, host = authority.rpartition("@")
    parts = urlsplit(f"x://h/{rest[len(authority) :].lstrip('/')}")
    pieces = [*user.split(":"), *parts.path.split("/"), parts.fragment]
    pieces += [text for _, text in parse_qsl(parts.query)]
    if not place.endswith(host):
        pieces += host.split(":")
    both = {*pieces, *(unquote(piece) for piece in pieces)}
    return {piece for piece in both if len(piece) >= _SHORTEST_SECRET}


def _scheme(template: str) -> str:
    """The scheme of an address as the jobfile has it, for a sentence; nothing if that is secret."""
    match = re.match("([a-z][a-z0-9]*)://", template, re.IGNORECASE)
    return f", {match[1]}://…," if match else ""


if __name__ == "__main__":
    main()
