"""Carries out an `http` task in a child: one request, its answer into the output.

`PYTHON -I http_request.py WHAT`, the task as a JSON object on standard input (the attributes of
`stsd.model.HttpTask`); WHAT is for `ps` alone. Prints the status line and the body as it comes;
exits 0 if the status was expected, else 1 with a sentence on standard error. What variables hold
is in no message of this program.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import socket
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

if __name__ == "__main__":  # isolated, so that not even stsd is found where it is not installed
    sys.path.append(str(Path(__file__).parents[1]))

from stsd import __version__
from stsd.references import UnsetError, filled, filled_address, filled_json

_CHUNK = 64 * 1024
_MOST_REDIRECTS = 10
_REDIRECTS = (301, 302, 303, 307, 308)
# Of the headers of a jobfile, those that go to whatever host a redirect leads to: any other may
# hold what lets somebody in.
_FOR_ANYBODY = ("accept", "accept-language", "user-agent")
# RFC 3986: what may stand in a URL; all else is percent-encoded.
_IN_URLS = "%/?#:@!$&'()*+,;=~[]"


class FailedError(Exception):
    """The request did not succeed; the text says why. `unsure`: for all that is known, it may have
    had its effect."""

    def __init__(self, why: str, *, unsure: bool = False) -> None:
        super().__init__(why)
        self.unsure = unsure


class _BadAddressError(Exception):
    """A URL that cannot be called; the text says what it is, without quoting it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request to be sent, complete; `url` is absolute, and without user and password."""

    url: str
    method: str
    headers: Mapping[str, str]
    body: bytes | None


class _Unfollowed(urllib.request.HTTPErrorProcessor):
    """Lets every answer through, whatever its status."""

    def http_response(self, request: urllib.request.Request, response: Any) -> Any:
        """The response as it is."""
        return response

    https_response = http_response


def main() -> None:
    """Do what standard input says."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    spec = json.load(sys.stdin)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        perform(spec, os.environ)
    except (FailedError, UnsetError) as error:
        what = f"{spec['method']} {public(spec['url'])}"
        why = f"cannot be sent: {error}" if isinstance(error, UnsetError) else error
        print(f"stsd: {what} {why}", file=sys.stderr)
        sys.exit(1)


def perform(spec: Mapping[str, Any], variables: Mapping[str, str]) -> None:
    """Send the request, follow where it is redirected, and print the answer.

    Raises FailedError, or UnsetError for a reference to a variable that is not set.
    """
    expected = spec["expect"] or range(200, 300)
    patience = spec["timeout"]
    opener = _opener()
    request = prepared(spec, variables)
    for _ in range(_MOST_REDIRECTS + 1):
        with _sent(opener, request, patience) as answer:
            following = None if answer.status in expected else redirected(request, answer)
            if following is None:
                _print(answer, patience)
                if answer.status not in expected:
                    raise FailedError(f"answered {answer.status} (expected {_listed(spec)})")
                return
        request = following
    raise FailedError(f"was redirected more than {_MOST_REDIRECTS} times")


def prepared(spec: Mapping[str, Any], variables: Mapping[str, str]) -> Request:
    """The request with the values of the variables in it."""
    url, headers = addressed(spec["url"], variables)
    for name, text in spec["headers"]:
        value = filled(text, variables).strip()
        if any(char in value for char in "\r\n\0"):
            raise FailedError(f"has a newline in its header {name}")
        headers[name.title()] = _bytes(value).decode("latin-1")
    body = spec["body"]
    if body is not None:
        fill = filled_json if spec["json"] else filled
        body = _bytes(fill(body, variables))
    return Request(url, spec["method"], headers, body)


def addressed(template: str, variables: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The URL that an address of a jobfile means, and the headers that whoever calls it sends.

    Raises FailedError, or UnsetError for a reference to a variable that is not set.
    """
    try:
        url, credentials = _address(filled_address(template, variables))
    except _BadAddressError as error:
        raise FailedError(f"has {error}") from None
    headers = {"User-Agent": f"stsd/{__version__}"}
    if credentials:
        headers["Authorization"] = f"Basic {base64.b64encode(credentials).decode()}"
    return url, headers


def answer_to(request: Request, patience: float, most: int) -> tuple[int, str, bytes]:
    """Status and reason of what is answered to one request, which is not followed anywhere, and,
    unless it is a success, the beginning of the body, at most `most` bytes. `patience` is for how
    many seconds the server may be silent.

    Raises FailedError.
    """
    with _sent(_opener(), request, patience) as answer:
        body = b""
        if not 200 <= answer.status < 300:
            with suppress(OSError, http.client.HTTPException):  # the status says what matters
                body = answer.read1(most)
        return answer.status, answer.reason, body


def redirected(request: Request, answer: http.client.HTTPResponse) -> Request | None:
    """The request that an answer asks for in the place of this one; None if the answer is final.

    As browsers do, what was posted is not posted again. Raises FailedError where following would
    give away what was protected.
    """
    target = answer.headers.get("Location")
    if answer.status not in _REDIRECTS or not target:
        return None
    if request.method not in ("GET", "HEAD") and answer.status in (307, 308):
        return None
    try:
        url, _ = _address(urljoin(request.url, target.encode("latin-1").decode(errors="replace")))
    except (_BadAddressError, ValueError):
        raise FailedError("was redirected to no address of http or https") from None
    was, now = urlsplit(request.url), urlsplit(url)
    if was.scheme == "https" and now.scheme != "https":
        raise FailedError("was redirected from https to http, which is not followed")
    same = (was.scheme, was.hostname, was.port) == (now.scheme, now.hostname, now.port)
    headers = {
        name: value
        for name, value in request.headers.items()
        if name != "Content-Type" and (same or name.lower() in _FOR_ANYBODY)
    }
    method = "HEAD" if request.method == "HEAD" else "GET"
    return Request(url, method, headers, None)


def public(url: str) -> str:
    """A URL as it stands in the jobfile, without what may be secret: user, password, query."""
    before, mark, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    whole = f"{before}{mark}{host.rpartition('@')[2]}{slash}{path}"
    return whole.partition("?")[0].partition("#")[0]


def _address(url: str) -> tuple[str, bytes]:
    """A URL as it goes over the line, and the user and password that it held.

    Raises _BadAddressError."""
    if any(ord(char) < 32 or ord(char) == 127 for char in url):
        raise _BadAddressError("an address with a control character")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
        name = (host or "").encode("idna").decode() if ":" not in (host or "") else f"[{host}]"
    except ValueError:
        raise _BadAddressError("no valid address") from None
    if parts.scheme not in ("http", "https") or not name:
        raise _BadAddressError("an address that is not of http or https")
    place = name if port is None else f"{name}:{port}"
    path = quote(_bytes(parts.path) or "/", _IN_URLS)
    query = quote(_bytes(parts.query), _IN_URLS)
    user, _, _ = parts.netloc.rpartition("@")
    address = parts._replace(netloc=place, path=path, query=query, fragment="")
    return address.geturl(), unquote_to_bytes(user)


def _opener() -> urllib.request.OpenerDirector:
    """What opens http and https, through the proxies of the environment, and nothing else."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        _Unfollowed(),
    ):
        opener.add_handler(handler)
    opener.addheaders = []
    return opener


def _sent(
    opener: urllib.request.OpenerDirector, request: Request, timeout: float
) -> http.client.HTTPResponse:
    """The answer to a request, its body still to be read. Raises FailedError."""
    made = urllib.request.Request(  # noqa: S310 - of http or https, as `_address` has seen to
        request.url, request.body, dict(request.headers), method=request.method
    )
    with _in_words(timeout, "got no answer"):
        answer: http.client.HTTPResponse = opener.open(made, timeout=timeout)
        return answer


def _print(answer: http.client.HTTPResponse, timeout: float) -> None:
    """The status line and the body on standard output, piece by piece as they come."""
    version = f"HTTP/{answer.version // 10}.{answer.version % 10}"
    _write(f"{version} {answer.status} {answer.reason}\n".encode("latin-1", "replace"))
    left = answer.length
    with _in_words(timeout, "broke off its answer"):
        while left is None or left > 0:
            # Until Python 3.12, read1 itself does not count what is left.
            piece = answer.read1(_CHUNK if left is None else min(_CHUNK, left))
            if not piece:
                break
            _write(piece)
            if left is not None:
                left -= len(piece)
    if left:
        raise FailedError(f"broke off its answer, {left} bytes before the end")


def _write(data: bytes) -> None:
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(1, view) :]
    except OSError as error:
        raise FailedError(f"answered, but the answer cannot be written: {error.strerror}") from None


@contextmanager
def _in_words(timeout: float, otherwise: str) -> Iterator[None]:
    """Turns whatever goes wrong on the line into a FailedError. The words are ours or the
    system's: those of the library may quote what was sent."""
    try:
        yield
    except (OSError, http.client.HTTPException) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        unsure = isinstance(cause, TimeoutError | http.client.RemoteDisconnected)
        raise FailedError(_said(cause, timeout, otherwise), unsure=unsure) from None


def _said(cause: object, timeout: float, otherwise: str) -> str:
    match cause:
        case ssl.SSLCertVerificationError():
            return f"has a certificate that is not valid: {cause.verify_message}"
        case ssl.SSLError():
            return f"cannot be spoken to by TLS: {cause.reason or 'no reason given'}"
        case TimeoutError():
            return f"was silent for {timeout:g} s"
        case socket.gaierror():
            return f"has a host that is not found: {cause.strerror}"
        case http.client.RemoteDisconnected():
            return "ended the connection without an answer"
        case http.client.HTTPException():
            return f"{otherwise}: what came is not HTTP"
        case OSError() if cause.strerror:
            return f"{otherwise}: {cause.strerror}"
        case OSError():  # a proxy that would not connect; its words hold no more than its status
            return f"{otherwise}: {cause}"
        case _:
            return otherwise


def _listed(spec: Mapping[str, Any]) -> str:
    return ", ".join(map(str, spec["expect"])) or "any from 200 to 299"


def _bytes(text: str) -> bytes:
    """The text in UTF-8; bytes of the environment that were no text are themselves again."""
    return text.encode(errors="surrogateescape")


if __name__ == "__main__":
    main()
