"""Who is told of a job, and of what: from the keys `notify` and `ping` to the words of telling,
with what is wrong between the keys.

Equal ones become one value, as jobs mostly have them from `[defaults]`. Whether anybody can be
reached is not asked here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

from stsd.model import INHERITED, INHERITED_TOO, Job
from stsd.notices import Event, Means, Notify, Ping
from stsd.references import referenced
from stsd.report import Place, Report, written_at
from stsd.source import Source
from stsd.values import Fault, Step

_TOLD_BY = (
    ("deadline", Event.LATE),
    ("max_age", Event.SILENT),
    ("slow", Event.SLOW),
    ("min_output", Event.SILENT),
)

# Who answers any other JSON than their own with an error, and how apprise calls them.
_SERVICES = {
    "hooks.slack.com": "slack://…",
    "discord.com": "discord://…",
    "discordapp.com": "discord://…",
    "chat.googleapis.com": "gchat://…",
    "api.telegram.org": "tgram://…",
}


class Audience:
    """The keys that say who is told, in the model's words; `main` is the jobfile's own file."""

    def __init__(self, report: Report, main: Source) -> None:
        self._report = report
        self._main = main
        self._known: dict[tuple[object, ...], Notify | None] = {}
        self._warned: set[tuple[Place, str]] = set()

    def of(self, place: Place, fields: dict[str, Any]) -> dict[str, Any]:
        """The attributes of a Job that come of these keys; none where there are no such keys."""
        made: dict[str, Any] = {}
        if fields.get("notify") is not None:
            made["notify"] = self._notify(place, fields["notify"])
        ping = fields.get("ping")
        if ping is not None:
            made["ping"] = Ping(check=ping) if isinstance(ping, str) else self._pings(place, ping)
        return made

    def check(self, place: Place, job: Job) -> None:
        """Warns of what nobody will be told of, though it is asked for."""
        if (job.notify is not None or job.ping is not None) and not job.env_files:
            self._check_variables(place, job)
        if job.notify is None:
            return
        if job.notify.on == {Event.RECOVERED}:
            message = "`recovered` alone tells of the end of what was told before: never"
            self._warn(place, "notify", ("on",), message, 'add "failed"')
        for index, target in enumerate(job.notify.to):
            if target.means is not Means.WEBHOOK:  # what else it is, apprise alone can take apart
                continue
            known = _SERVICES.get(urlsplit(target.address).hostname or "")
            if known is not None:
                message = "this service takes messages of its own shape, not what a webhook is sent"
                self._warn(place, "notify", ("to", index), message, f'its "{known}" of apprise')
        for key, event in _TOLD_BY:
            if getattr(job, key) is not None and event not in job.notify.on:
                message = f'nobody is notified of it: `notify.on` has no "{event}"'
                self._warn(place, key, (), message, "add it")

    def _check_variables(self, place: Place, job: Job) -> None:
        """What is to stand in an address, and is nowhere, belongs to the job, not to the place
        where the address is written."""
        known = INHERITED.union([name for name, _ in job.env], [each.name for each in job.secrets])
        for key, words in (("notify", _words_of(job.notify)), ("ping", _pinged(job.ping))):
            for name in sorted(set().union(*map(referenced, words)) - known):
                if not name.startswith(INHERITED_TOO):
                    message = f"`{key}` takes the variable {name}, which the job does not have"
                    remedy = "add it to `env`, `env_file` or `secrets`"
                    self._report.warn(place, Fault(message, remedy))

    def _notify(self, place: Place, table: dict[str, Any]) -> Notify | None:
        slot = tuple(table.items())
        if slot not in self._known:
            self._known[slot] = self._checked(written_at(place, "notify", self._main), table)
        return self._known[slot]

    def _checked(self, place: Place, table: dict[str, Any]) -> Notify | None:
        if "to" not in table:
            remedy = 'add to = "mailto://…", or notify = false to tell nobody'
            self._report.error(place, Fault("says nobody to tell", remedy))
            return None
        for index in _repeated(table["to"]):
            self._report.error(place, Fault("is there twice", "take one out", ("to", index)))
        return Notify(**table)

    def _pings(self, place: Place, table: dict[str, Any]) -> Ping:
        if not table:
            fault = Fault("says nobody to tell", "one of start, success, failure")
            self._report.error(written_at(place, "ping", self._main), fault)
        return Ping(**table)

    def _warn(
        self, job: Place, key: str, path: tuple[Step, ...], message: str, remedy: str
    ) -> None:
        """A warning at where a key is written, which is one place for many jobs."""
        place = written_at(job, key, self._main)
        if (place, message) not in self._warned:
            self._warned.add((place, message))
            self._report.warn(place, Fault(message, remedy, path))


def _words_of(notify: Notify | None) -> Iterable[str]:
    return () if notify is None else (f"{to.address} {to.secret}" for to in notify.to)


def _pinged(ping: Ping | None) -> Iterable[str]:
    return () if ping is None else (ping.check, ping.start, ping.success, ping.failure)


def _repeated(entries: tuple[object, ...]) -> Iterable[int]:
    return (index for index, entry in enumerate(entries) if entry in entries[:index])
