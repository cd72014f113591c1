"""The kinds of value that are about telling people: who is told, times of day, what is slow.

As all kinds (see `stsd.values`) they are declarative, and look at nothing but the value itself.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import time
from typing import Any

from stsd.notices import Means, Quiet, Slow, Target
from stsd.units import shown
from stsd.values import BadValueError, Duration, Fault, Kind, Table, refuse
from stsd.webkinds import MessageAddress, WebAddress

TIME_OF_DAY = r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9])?"
DAY_SPAN = rf"({TIME_OF_DAY}) *- *({TIME_OF_DAY}|24:00(?::00)?)"
FACTOR = r"([1-9][0-9]{0,2}(?:\.[0-9]{1,3})?)x"

_WAYS = ("webhook", "command")
_RECIPIENT = 'such as "mailto://…", { webhook = "https://…" } or { command = "…" }'
_SLOW = 'write a duration such as "20m", or a factor from "1x" on, such as "2x"'


@dataclass(frozen=True, slots=True)
class OrFalse:
    """A value of another kind, or false: that key is off, whatever `[defaults]` say."""

    kind: Kind

    def read(self, value: object, folder: str) -> Any:
        """What the other kind makes of it; None for false."""
        return None if value is False else self.kind.read(value, folder)


@dataclass(frozen=True, slots=True)
class TimeOfDay:
    """A time of day: "06:00", "06:00:30", or a local time of TOML's."""

    def read(self, value: object, folder: str) -> int:
        """The second of the day."""
        if type(value) is time and not value.microsecond:
            return value.hour * 3600 + value.minute * 60 + value.second
        if type(value) is not str:
            raise refuse(f"must be a time of day, not {shown(value)}", 'such as "06:00"')
        if re.fullmatch(TIME_OF_DAY, value):
            return _second(value)
        if re.fullmatch("[0-9]{1,2}:[0-9]{1,2}(:[0-9]{1,2})?", value):
            raise refuse(f"there is no time of day {shown(value)}", 'from "00:00" to "23:59:59"')
        raise refuse(f"{shown(value)} is not a time of day", 'such as "06:00" or "06:00:30"')


@dataclass(frozen=True, slots=True)
class DaySpan:
    """A part of the day, "22:00-07:00"; it may go across midnight, or end there ("24:00")."""

    def read(self, value: object, folder: str) -> Quiet:
        """Its begin and its end."""
        if type(value) is not str:
            raise refuse(f"must be a part of the day, not {shown(value)}", 'such as "22:00-07:00"')
        match = re.fullmatch(DAY_SPAN, value.strip())
        if match is None:
            remedy = 'write "22:00-07:00", with times from 00:00 to 23:59:59'
            raise refuse(f"{shown(value)} is not a part of the day", remedy)
        begin, end = _second(match[1]), _second(match[2]) % 86400
        if begin == end:
            raise refuse(f"{shown(value)} ends when it begins", "leave it out, or move an end")
        return Quiet(begin, end)


@dataclass(frozen=True, slots=True)
class Slowness:
    """A duration, or "2x" for a multiple of what the job's runs have usually taken."""

    def read(self, value: object, folder: str) -> Slow:
        """One of the two."""
        if type(value) is not str or not value.strip().endswith(("x", "X")):
            try:
                return Slow(seconds=Duration().read(value, folder))
            except BadValueError as bad:
                raise BadValueError([Fault(bad.faults[0].message, _SLOW)]) from None
        match = re.fullmatch(FACTOR, value)
        if match is None:
            raise refuse(f"{shown(value)} is not a factor", _SLOW)
        return Slow(factor=float(match[1]))


@dataclass(frozen=True, slots=True)
class Recipient:
    """Somebody to be told: an address as a string, where http and https mean a webhook and all
    else one of apprise's; or a `table` with one of `webhook` and `command`."""

    table: Table

    def read(self, value: object, folder: str) -> Target:
        """The target."""
        if type(value) is str:
            if re.match("https?://", value, re.IGNORECASE):
                return Target(Means.WEBHOOK, WebAddress().read(value, folder))
            return Target(Means.MESSAGE, MessageAddress().read(value, folder))
        if type(value) is not dict:
            raise refuse(f"must be an address or a table, not {shown(value)}", _RECIPIENT)
        table = self.table.read(value, folder)
        ways = [way for way in _WAYS if way in table]
        if len(ways) != 1:
            said = "is both a `webhook` and a `command`" if ways else "says nobody to tell"
            raise refuse(said, "make two of it" if ways else _RECIPIENT)
        if "webhook" in table:
            return Target(Means.WEBHOOK, table["webhook"], table.get("secret", ""))
        if "secret" in table:
            raise _fault("belongs to `webhook`, which is not there", "take it out", "secret")
        if isinstance(table["command"], str):
            return Target(Means.COMMAND, shell=table["command"])
        if not table["command"][0]:
            raise _fault("the name of the program is empty", "", "command")
        return Target(Means.COMMAND, argv=table["command"])


def _fault(message: str, remedy: str, key: str) -> BadValueError:
    return BadValueError([Fault(message, remedy, (key,), on_key=key == "secret")])


def _second(text: str) -> int:
    hours, minutes, *seconds = map(int, text.split(":"))
    return hours * 3600 + minutes * 60 + sum(seconds)
