"""Reading the keys of one table by the table of keys: each value through its kind, each fault
with its place.

It knows keys only one by one; what keys mean together is decided by `stsd.jobs`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from stsd.key import Key
from stsd.keys import DAEMON_KEYS, JOB_KEYS
from stsd.report import Place, Report
from stsd.units import escaped
from stsd.values import BadValueError, Fault, did_you_mean

_MERGED = ("retry", "dst", "env", "secrets", "limits", "output", "notify")
"""Tables in which a job overrides the defaults key by key."""


class Reader:
    """Reads tables of keys, and remembers what each text meant: few jobs are unlike all others."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._meanings: dict[tuple[str, str, str], Any] = {}

    def fields(
        self, place: Place, table: Mapping[str, object], known: Mapping[str, Key]
    ) -> dict[str, Any]:
        """The model's values by key, of the keys that are right; the others are reported."""
        fields: dict[str, Any] = {}
        folder = place.source.folder
        for name, value in table.items():
            key = known.get(name)
            if key is None:
                self._refuse(place, name, value, known)
                continue
            try:
                if type(value) is str:
                    fields[name] = self._meaning(name, key.kind.read, value, folder)
                else:
                    fields[name] = key.kind.read(value, folder)
            except BadValueError as bad:
                for fault in bad.faults:
                    self._report.error(place, fault.under(name))
        return fields

    def merged(self, defaults: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
        """The defaults, overridden key by key; some tables are so within."""
        if not defaults:
            return own
        result = defaults | own
        for name in _MERGED:
            if isinstance(own.get(name), dict) and isinstance(defaults.get(name), dict):
                result[name] = defaults[name] | own[name]
        return result

    def _meaning(
        self, name: str, read: Callable[[object, str], Any], text: str, folder: str
    ) -> Any:
        slot = (name, text, folder)
        if slot not in self._meanings:
            self._meanings[slot] = read(text, folder)
        return self._meanings[slot]

    def _refuse(self, place: Place, name: str, value: object, known: Mapping[str, Key]) -> None:
        """Reports a key that has no place in this table."""
        if self._report.full:
            self._report.one_more()
        else:
            self._report.error(place, _unknown(place, name, value, known))


def _unknown(place: Place, name: str, value: object, known: Mapping[str, Key]) -> Fault:
    """What to say of a key that is none of this table's."""
    is_daemon = known is DAEMON_KEYS
    if name in JOB_KEYS and is_daemon:
        remedy = "write it below [jobs.NAME], or below [defaults] for all jobs"
    elif name in JOB_KEYS:
        return Fault("cannot be a default", "write it into each job", (name,), on_key=True)
    elif name in DAEMON_KEYS:
        remedy = "write it below [daemon]"
    else:
        remedy = did_you_mean(name, known)
        if not remedy and isinstance(value, dict) and len(place.path) == 2:
            whole = escaped(f"{place.path[1]}.{name}"[:80])
            remedy = f'a name with dots stands in quotes: [jobs."{whole}"]'
    return Fault("is not a known key", remedy, (name,), on_key=True)
