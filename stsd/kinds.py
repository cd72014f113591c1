"""The kinds of value that only a jobfile has: signals, paths, days, environments and their like.

As all kinds (see `stsd.values`) they are declarative and look at nothing but the value itself,
besides the time-zone database and the users of the machine.
"""

from __future__ import annotations

import difflib
import grp
import json
import os
import pwd
import re
import signal
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from stsd.errors import ScheduleError
from stsd.model import Outcome
from stsd.units import shown
from stsd.values import (
    LONGEST_STRING,
    BadValueError,
    Choice,
    Fault,
    SetOf,
    Table,
    TableOf,
    Text,
    did_you_mean,
    refuse,
)
from stsd.wallclock import check_zone

LARGEST_ID = (1 << 32) - 1  # which itself means "none" to setuid(2) and its like
OWN_VARIABLES = ("STSD_JOB", "STSD_RUN_ID", "STSD_SCHEDULED_AT", "STSD_ATTEMPT", "STSD_TRIGGER")
UMASK = "0?[0-7]{3}"
DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
MINUTE = f"{DAY}[Tt ][0-9]{{2}}:[0-9]{{2}}"


@dataclass(frozen=True, slots=True)
class Umask:
    """A file mode mask, as octal digits in a string."""

    def read(self, value: object, folder: str) -> int:
        """The mask."""
        if type(value) is not str or not re.fullmatch(UMASK, value):
            raise refuse(
                f"must be three octal digits in quotes, not {shown(value)}",
                'write "022"; TOML has no octal numbers without a prefix',
            )
        return int(value, 8)


@dataclass(frozen=True, slots=True)
class SignalName:
    """The name of a signal, with or without SIG; not STOP, which ends nothing."""

    def read(self, value: object, folder: str) -> str:
        """The name without SIG, in capitals."""
        if type(value) is not str:
            raise refuse(
                f"must be the name of a signal, not {shown(value)}", 'such as "TERM" or "INT"'
            )
        name = value.upper().removeprefix("SIG")
        if f"SIG{name}" not in signal.Signals.__members__:
            known = [known.removeprefix("SIG") for known in signal.Signals.__members__]
            near = difflib.get_close_matches(name[:64], known, n=1, cutoff=0.5)
            remedy = f"did you mean `{near[0]}`?" if near else 'such as "TERM" or "INT"'
            raise refuse(f"{shown(value)} is not a signal", remedy)
        if name == "STOP":
            raise refuse("STOP halts a process but does not end it", 'such as "TERM" or "KILL"')
        return name


@dataclass(frozen=True, slots=True)
class FilePath:
    """A path; a relative one starts at the folder of the file that names it, `~` at a home.
    `absolute` refuses relative ones."""

    absolute: bool = False

    def read(self, value: object, folder: str) -> str:
        """The absolute path; `..` stays, since a link may come before it."""
        path = _PATH_TEXT.read(value, folder)
        if path.startswith("~"):
            home = os.path.expanduser(path)
            if home.startswith("~"):
                raise refuse(f"{shown(path)} names the home of an unknown user")
            path = home
        if self.absolute and not path.startswith("/"):
            raise refuse(f"{shown(path)} is not an absolute path", 'such as "/bin/bash"')
        return _tidy(os.path.join(folder, path))


@dataclass(frozen=True, slots=True)
class Day:
    """A calendar day: a TOML date, or "2026-12-31"."""

    def read(self, value: object, folder: str) -> date:
        """The day."""
        if type(value) is date:
            return value
        if type(value) is str and re.fullmatch(DAY, value):
            try:
                return date.fromisoformat(value)
            except ValueError:
                raise refuse(f"there is no day {value}") from None
        raise refuse(f"must be a date, not {shown(value)}", "such as 2026-12-31")


@dataclass(frozen=True, slots=True)
class Instant:
    """A point in time: a TOML date-time with offset, or the same (RFC 3339) as a string."""

    def read(self, value: object, folder: str) -> int:
        """Whole seconds since the Unix epoch."""
        moment: object = value
        if type(value) is str and re.match(MINUTE, value):
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                raise refuse(f"there is no time {shown(value)}") from None
        remedy = "such as 2026-01-01T06:00:00Z"
        if type(moment) is not datetime:
            raise refuse(f"must be a date and time with its offset, not {shown(value)}", remedy)
        if moment.tzinfo is None:
            raise refuse(f"{shown(value)} has no offset from UTC", remedy)
        if moment.microsecond:
            raise refuse(f"{shown(value)} is not a whole second", remedy)
        return int(moment.timestamp())


@dataclass(frozen=True, slots=True)
class Zone:
    """The name of a time zone in the IANA database."""

    def read(self, value: object, folder: str) -> str:
        """The name."""
        if type(value) is not str:
            raise refuse(f"must be a time zone, not {shown(value)}", 'such as "Europe/Berlin"')
        try:
            check_zone(value)
        except ScheduleError as error:
            raise refuse(error.message, error.remedy) from None
        return value


@dataclass(frozen=True, slots=True)
class Environment:
    """A table of environment variables, all of them strings."""

    def read(self, value: object, folder: str) -> dict[str, str]:
        """The values by name."""
        if type(value) is not dict:
            raise refuse(f"must be a table, not {shown(value)}", 'such as { NAME = "value" }')
        faults = [fault.under(name) for name, text in value.items() for fault in _of(name, text)]
        if faults:
            raise BadValueError(faults)
        return value


@dataclass(frozen=True, slots=True)
class Secrets:
    """A table of environment variables, each with the one place where its value is."""

    place: Table

    def read(self, value: object, folder: str) -> dict[str, dict[str, Any]]:
        """The place of each, by name: a single key of `place` and its value."""
        places = TableOf(self.place, VARIABLE).read(value, folder)
        faults = [Fault(*_OWN, (name,), on_key=True) for name in places if name in OWN_VARIABLES]
        names = ", ".join(field.name for field in self.place.fields)
        for name, place in places.items():
            if len(place) != 1:
                found = "nowhere" if not place else f"in {' and in '.join(place)}"
                faults.append(Fault(f"is {found}", f"one of {names}", (name,)))
        if faults:
            raise BadValueError(faults)
        return places


def _of(name: str, text: object) -> tuple[Fault, ...]:
    """What is wrong with one environment variable."""
    if not name or "=" in name or "\0" in name:
        return (Fault("is not a name for a variable", "without = and NUL", on_key=True),)
    if name in OWN_VARIABLES:
        return (Fault(*_OWN, on_key=True),)
    try:
        _VARIABLE.read(text, "")
    except BadValueError as bad:
        return bad.faults
    size = len(name.encode()) + 1 + len(str(text).encode()) + 1
    if size > LONGEST_STRING:
        return (Fault(f"is {size:,} bytes long", f"at most {LONGEST_STRING:,} with its name"),)
    return ()


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the machine, or a group if `group`: by its name, which must be known, or by its
    number."""

    group: bool = False

    def read(self, value: object, folder: str) -> str | int:
        """The name or the number."""
        noun = "group" if self.group else "user"
        if type(value) is int:
            if not 0 <= value < LARGEST_ID:
                raise refuse(f"{shown(value)} is no number of a {noun}", "from 0 to 4294967294")
            return value
        name = Text(f"a {noun}'s name or number").read(value, folder)
        try:
            if self.group:
                grp.getgrnam(name)
            else:
                pwd.getpwnam(name)
        except (KeyError, UnicodeEncodeError):
            raise refuse(f"there is no {noun} {shown(name)}", self._remedy(name)) from None
        return name

    def _remedy(self, name: str) -> str:
        if name.isdecimal():
            return "write a number without quotes"
        if self.group:
            return did_you_mean(name, (entry.gr_name for entry in grp.getgrall()))
        return did_you_mean(name, (entry.pw_name for entry in pwd.getpwall()))


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One outcome, an array of them, or "any" for all there are."""

    def read(self, value: object, folder: str) -> frozenset[Outcome]:
        """The outcomes."""
        if value == "any":
            return frozenset(Outcome)
        if type(value) is list:
            return SetOf(Choice(tuple(Outcome))).read(value, folder)
        return frozenset({Outcome(Choice((*Outcome, _Any.ANY)).read(value, folder))})


class _Any(StrEnum):
    ANY = "any"


@dataclass(frozen=True, slots=True)
class JsonData:
    """What JSON can say: an array, a table if `table`, or anything if `free`."""

    table: bool = False
    free: bool = False

    def read(self, value: object, folder: str) -> str:
        """The JSON text."""
        if not self.free and type(value) is not (dict if self.table else list):
            wanted = "a table" if self.table else "an array"
            raise refuse(f"must be {wanted}, not {shown(value)}")
        try:
            return json.dumps(value, allow_nan=False)
        except TypeError:
            raise refuse("holds a date or a time", "write it as a string") from None
        except RecursionError:
            raise refuse("is nested too deep", "a few hundred levels are possible") from None
        except ValueError:
            raise refuse("holds nan, inf or an endless number", "write it as a string") from None


def _tidy(path: str) -> str:
    """The path without `.` and doubled slashes; `..` stays, since a link may come before it."""
    if ".." in path.split("/"):
        return path
    return os.path.normpath(path)


_OWN = ("is set by stsd itself", "choose another name")
VARIABLE = Text("a variable's name: letters, digits and _", r"[A-Za-z_][A-Za-z0-9_]*")
_PATH_TEXT = Text("a path", longest=4095)
_VARIABLE = Text("a string", empty=True, longest=LONGEST_STRING)
