"""Tells people what they are to know, and pings: `python -m stsd.deliver`, a process of its own.

Reads items on standard input, one JSON object a line as `stsd.parcel` makes them, and carries them
out in their order until the input ends. It may wait for whatever it talks to, though no longer than
`LONGEST_S` for each. For each item it writes one line on standard output, as soon as it is done:

    {"id": "…", "ok": false, "hopeless": true, "unsure": false, "place": "mailto://…", "said": "…"}

`said` is one sentence without secrets: what was answered, or why nobody was told; `place` is who
was to be told, likewise. `hopeless` says that trying again is unlikely to help: an address that is
none, a status such as 404; `unsure` that somebody may have been told after all. Needs the daemon's
environment, with CREDENTIALS_DIRECTORY where secrets are credentials. It keeps nothing, and may be
killed at any time: whatever was not answered for may or may not have been told.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from stsd import http_request, outputtail, variables
from stsd.addressees import public
from stsd.envfile import EnvFileError
from stsd.http_request import FailedError, Request
from stsd.letter import Letter, Told
from stsd.listening import heard
from stsd.noticehtml import page
from stsd.notices import Event, Means, Target, notice_of
from stsd.noticetext import markdown, plain
from stsd.noticewords import BY_WEIGHT, is_running, subject
from stsd.output import output_name
from stsd.references import UnsetError, filled, filled_address, referenced
from stsd.send_message import attempted, masked
from stsd.units import escaped
from stsd.variables import Found
from stsd.vault import SecretError
from stsd.webhook import body_of, signature

LONGEST_S = 60
"""How long one item may take."""
_SILENT_S = 20.0
_MOST_READ = 4096
_LONGEST_SAID = 300
_SHORTEST_SECRET = 4
_LONGEST_TEXT = 16 * 1024
_TAILS = 30
# Of the statuses that blame the request, those that may be over soon (RFC 9110, RFC 6585).
_PASSING = frozenset({408, 425, 429})
_NOT_INSTALLED = "apprise is not installed (pip install 'stsd[messages]')"
_SHELL = "/bin/sh"
_NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an item; see above for the fields."""

    id: str
    ok: bool
    hopeless: bool
    unsure: bool
    place: str
    said: str


class _UntoldError(Exception):
    """Nobody was told; the text says why."""

    def __init__(self, said: str, place: str = "", *, hopeless: bool = False) -> None:
        super().__init__(said)
        self.place = place
        self.hopeless = hopeless


class _OverdueError(BaseException):
    """An item has taken too long. No Exception, so that no library takes it for one of its own."""


def main() -> int:
    """Do what standard input says, item by item."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, _overdue)
    for line in sys.stdin.buffer:
        result = carried_out(json.loads(line))
        print(json.dumps(asdict(result)), flush=True)
    return 0


def carried_out(item: Mapping[str, Any]) -> Result:
    """Tells or pings, and what came of it. The caller has made `LONGEST_S` hold by SIGALRM."""
    place = _place(item)
    signal.alarm(LONGEST_S)
    hide: tuple[str, ...] = ()
    try:
        wanted = _wanted(item)
        found = variables.found(item["variables"], wanted)
        hide = (*found.hide, *(found.values.get(name, "") for name in wanted or ()))
        exact, said = _means_of(item)(item, found)
        place = exact or place
    except _UntoldError as error:
        return _result(item, error.place or place, str(error), hide, hopeless=error.hopeless)
    except (UnsetError, EnvFileError, SecretError) as error:
        return _result(item, place, str(error), hide, hopeless=True)
    except FailedError as error:
        return _result(item, place, str(error), hide, unsure=error.unsure)
    except _OverdueError:
        return _result(item, place, f"took longer than {LONGEST_S} s", hide, unsure=True)
    finally:
        signal.alarm(0)
    return _result(item, place, said, hide, ok=True)


def letter_of(item: Mapping[str, Any]) -> Letter:
    """What is said in a delivery, with the ends of the outputs as far as anybody will read them."""
    log_dir, told = Path(item["log_dir"]), []
    for number, each in enumerate(item["notices"]):
        notice = notice_of(each["notice"])
        output = notice.output
        if output is None and is_running(notice):
            output = output_name(notice.job, str(notice.run), notice.attempt or 1)
        tail = () if output is None or number >= _TAILS else _tail(log_dir / output)
        told.append(Told(notice, each["zone"], each["description"], each["next"], tail))
    return Letter(
        item["id"], item["host"], tuple(told), item["dropped"], item["test"], item["jobfile"]
    )


def _tail(path: Path) -> tuple[str, ...]:
    try:
        return outputtail.tail_of(path)
    except OSError as error:
        return (f"(it cannot be read: {error.strerror})",)


# -- the four means


def _message(item: Mapping[str, Any], found: Found) -> tuple[str, str]:
    """Tells by apprise."""
    try:
        import apprise
    except ImportError:
        raise _UntoldError(_NOT_INSTALLED, hopeless=True) from None
    url = filled_address(item["target"]["address"], found.values)
    letter = letter_of(item)
    done = attempted(_marked(url, letter), lambda service: _told(service, letter), apprise)
    if not done.place:
        raise _UntoldError(f"apprise does not understand the address: {done.why}", hopeless=True)
    if not done.is_told:
        raise _UntoldError(done.why or "apprise does not say why", done.place)
    return done.place, f"told, but {done.why}" if done.why else "told"


def _told(service: Any, letter: Letter) -> bool:
    """Tells one service in the form that suits it best."""
    form = _form(service)
    title = subject(letter, brief=form == "markdown")
    room = int(service.body_maxlen)
    if not service.title_maxlen:  # apprise puts it above the text
        room -= len(title) + 2
    match form:
        case "html":
            body = page(letter)
        case "markdown":
            body = markdown(letter, room)
        case _:
            body = plain(letter, room)
    kind = _kind(letter)
    return bool(service.notify(title=title, body=body, body_format=form, notify_type=kind))


def _kind(letter: Letter) -> str:
    """What apprise calls it, by the gravest of the notices: the colour or sign of a message."""
    events = {each.notice.event for each in letter.told}
    gravest = next(event for event in BY_WEIGHT if event in events)
    return {Event.HELD: "failure", Event.FAILED: "failure", Event.RECOVERED: "success"}.get(
        gravest, "warning"
    )


def _form(service: Any) -> str:
    """Which of the forms of a message suits a service. Of those that take HTML first, some are
    mails, and some are chats that know a few tags only, and no title."""
    declared = service.notify_format
    several = declared if isinstance(declared, tuple | list) else (declared,)
    forms = [str(getattr(form, "value", form)) for form in several]
    if forms[0] == "html":
        return "markdown" if "markdown" in forms else "html" if service.title_maxlen else "text"
    return "markdown" if "markdown" in forms and "html" not in forms else "text"


def _marked(url: str, letter: Letter) -> str:
    """The address with headers for a mail: which delivery it is, and (RFC 3834) that no machine is
    to answer it."""
    if not url.lower().startswith(("mailto://", "mailtos://")):
        return url
    sign = "&" if "?" in url else "?"
    return f"{url}{sign}+Stsd-Delivery={letter.delivery}&+Auto-Submitted=auto-generated"


def _webhook(item: Mapping[str, Any], found: Found) -> tuple[str, str]:
    target = item["target"]
    url, headers = http_request.addressed(target["address"], found.values)
    body = body_of(letter_of(item))
    headers |= {"Content-Type": "application/json", "Stsd-Delivery": item["id"]}
    if target["secret"]:
        secret = filled(target["secret"], found.values)
        headers["Stsd-Signature"] = signature(body, secret, int(time.time()))
    return _posted(Request(url, "POST", headers, body))


def _ping(item: Mapping[str, Any], found: Found) -> tuple[str, str]:
    url, headers = http_request.addressed(item["url"], found.values)
    headers |= {"Content-Type": "text/plain; charset=utf-8"}
    body = item["body"]
    if item["output"] is not None:
        tail = _tail(Path(item["log_dir"]) / item["output"])
        body = "\n".join([body, *tail, ""]) if tail else body
    return _posted(Request(url, "POST", headers, body.encode(errors="replace")))


def _posted(request: Request) -> tuple[str, str]:
    """Sends it, and what was answered."""
    status, reason, body = http_request.answer_to(request, _SILENT_S, _MOST_READ)
    said = f"answered {status} {reason}".rstrip()
    if 200 <= status < 300:
        return "", said
    if 300 <= status < 400:
        said += ", which is not followed"
    words = " ".join(body.decode(errors="replace").split())
    origin = "://".join(urlsplit(request.url)[:2])
    told = f"{said}: {masked(words, request.url, origin)}" if words else said
    raise _UntoldError(told, hopeless=300 <= status < 500 and status not in _PASSING)


def _command(item: Mapping[str, Any], found: Found) -> tuple[str, str]:
    target, letter = item["target"], letter_of(item)
    alone = letter.alone
    env = {
        **found.values,
        "STSD_EVENT": "digest" if alone is None else alone.notice.event.value,
        "STSD_JOB": "" if alone is None else alone.notice.job,
        "STSD_RUN_ID": "" if alone is None else alone.notice.run or "",
        "STSD_HOST": letter.host,
        "STSD_DELIVERY": letter.delivery,
        "STSD_TEST": "1" if letter.test else "",
        "STSD_SUBJECT": subject(letter),
        "STSD_TEXT": plain(letter, _LONGEST_TEXT),
    }
    argv = target["argv"] or [_SHELL, "-c", target["shell"]]
    try:
        code, words = heard(argv, body_of(letter), env, found.cwd)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise _UntoldError(f"cannot be started: {why}", hopeless=True) from None
    how = f"exited {code}" if code >= 0 else f"was killed by {signal.Signals(-code).name}"
    if code:
        said = "; ".join([f"{how}: {words}" if words else how, *found.lacks])
        raise _UntoldError(said, hopeless=code == _NOT_FOUND)
    return "", how


_BY_MEANS: dict[str, Callable[[Mapping[str, Any], Found], tuple[str, str]]] = {
    Means.MESSAGE: _message,
    Means.WEBHOOK: _webhook,
    Means.COMMAND: _command,
}


def _means_of(item: Mapping[str, Any]) -> Callable[[Mapping[str, Any], Found], tuple[str, str]]:
    return _ping if item["kind"] == "ping" else _BY_MEANS[item["target"]["means"]]


# -- what is needed, and what may be shown


def _target(item: Mapping[str, Any]) -> Target:
    if item["kind"] == "ping":
        return Target(Means.WEBHOOK, address=item["url"])
    fields = item["target"]
    return Target(
        Means(fields["means"]),
        fields["address"],
        fields["secret"],
        fields["shell"],
        tuple(fields["argv"]),
    )


def _place(item: Mapping[str, Any]) -> str:
    return public(_target(item))


def _wanted(item: Mapping[str, Any]) -> frozenset[str] | None:
    """The variables that an item needs; a command may need any."""
    target = _target(item)
    if target.means is Means.COMMAND:
        return None
    return frozenset(referenced(target.address) | referenced(target.secret))


def _result(
    item: Mapping[str, Any],
    place: str,
    said: str,
    hide: tuple[str, ...],
    *,
    ok: bool = False,
    hopeless: bool = False,
    unsure: bool = False,
) -> Result:
    for value in sorted(hide, key=len, reverse=True):
        if len(value) >= _SHORTEST_SECRET:
            said = said.replace(value, "***")
    said = escaped(said)
    if len(said) > _LONGEST_SAID:
        said = f"{said[: _LONGEST_SAID - 1]}…"
    return Result(item["id"], ok, hopeless, unsure, place, said)


def _overdue(number: int, frame: FrameType | None) -> None:
    raise _OverdueError


if __name__ == "__main__":
    sys.exit(main())
