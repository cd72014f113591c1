"""In what surroundings a job runs: as whom, with what limits and secrets, after what conditions.

From the keys of a table to the values of the model, with what is wrong between the keys. Whoever
checks a jobfile need not be who runs it, so what only lacks a right is an error `to_run` alone.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
from dataclasses import dataclass
from typing import Any

from stsd.model import Limits, Output, Secret, WaitFor
from stsd.report import Place, Report
from stsd.tasks import command_of
from stsd.units import shown
from stsd.values import Fault

_KEYS = frozenset(
    {
        "env_file",
        "secrets",
        "user",
        "group",
        "nice",
        "limits",
        "condition",
        "wait_for",
        "output",
        "pools",
    }
)


@dataclass(frozen=True, slots=True)
class Rights:
    """Who reads the jobfile: the effective user; and whether that is who runs its jobs."""

    uid: int
    to_run: bool = False


class Surroundings:
    """The keys that say how jobs are run, in the model's words."""

    def __init__(self, report: Report, rights: Rights) -> None:
        self._report = report
        self._rights = rights

    def of(self, place: Place, fields: dict[str, Any]) -> dict[str, Any]:
        """The attributes of a Job that come of these keys; none where there are no such keys."""
        if _KEYS.isdisjoint(fields):
            return {}
        made: dict[str, Any] = {
            key: fields[key] for key in ("user", "group", "nice", "pools") if key in fields
        }
        if "env_file" in fields:
            made["env_files"] = fields["env_file"]
        if "secrets" in fields:
            made["secrets"] = self._secrets(place, fields)
        if fields.get("limits"):
            made["limits"] = Limits(**fields["limits"])
        if "condition" in fields:
            command = fields["condition"]
            made["condition"] = command_of(self._report, place, ("condition",), command, fields)
        if "wait_for" in fields:
            made["wait_for"] = self._wait_for(place, fields["wait_for"])
        if "output" in fields:
            made["output"] = Output(**fields["output"])
        self._check_pools(place, fields.get("pools", ()))
        self._check_rights(place, fields)
        return made

    def _secrets(self, place: Place, fields: dict[str, Any]) -> tuple[Secret, ...]:
        secrets = []
        for name, source in sorted(fields["secrets"].items()):
            if name in fields.get("env", {}):
                fault = Fault("is in `env`, too", "take one out", ("secrets", name), on_key=True)
                self._report.error(place, fault)
            if "command" in source:
                path = ("secrets", name, "command")
                command = command_of(self._report, place, path, source["command"], fields)
                secrets.append(Secret(name, command=command))
            else:
                secrets.append(Secret(name, **source))
        return tuple(secrets)

    def _wait_for(self, place: Place, table: dict[str, Any]) -> WaitFor:
        if table.keys() <= {"within", "timeout"}:
            fault = Fault("says nothing to wait for", "one of network, path, job, load", _WAIT_FOR)
            self._report.error(place, fault)
        elif "within" in table and "job" not in table:
            fault = Fault(
                "belongs to `job`, which is not there",
                "take it out",
                (*_WAIT_FOR, "within"),
                on_key=True,
            )
            self._report.error(place, fault)
        return WaitFor(**table)

    def _check_pools(self, place: Place, pools: tuple[str, ...]) -> None:
        for index, pool in enumerate(pools):
            if pool in pools[:index]:
                fault = Fault(f"{shown(pool)} is there twice", "take one out", ("pools", index))
                self._report.error(place, fault)

    def _check_rights(self, place: Place, fields: dict[str, Any]) -> None:
        """What of `user`, `group` and `nice` the system will not grant."""
        user, group = fields.get("user"), fields.get("group")
        if isinstance(user, int) and group is None and not _has_entry(user):
            message = f"no user has the number {user}, so there is no telling its group"
            self._report.error(place, Fault(message, "add a `group`", ("user",)))
        if self._rights.uid == 0:
            return
        if user is not None and _uid_of(user) != self._rights.uid:
            message = f"only root may run a job as the user {shown(user)}"
            self._lacking(place, Fault(message, "run stsd as root, or take it out", ("user",)))
        elif group is not None and _gid_of(group) != os.getegid():
            message = f"only root may run a job as the group {shown(group)}"
            self._lacking(place, Fault(message, "run stsd as root, or take it out", ("group",)))
        if fields.get("nice", _LAST_NICE) < (least := _least_nice()):
            message = f"{fields['nice']} takes root's rights"
            self._report.warn(place, Fault(message, f"at least {least}", ("nice",)))

    def _lacking(self, place: Place, fault: Fault) -> None:
        """An error for whoever is to run the job; a warning for others."""
        if self._rights.to_run:
            self._report.error(place, fault)
        else:
            self._report.warn(place, fault)


def _has_entry(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _uid_of(user: str | int) -> int:
    return user if isinstance(user, int) else pwd.getpwnam(user).pw_uid


def _gid_of(group: str | int) -> int:
    return group if isinstance(group, int) else grp.getgrnam(group).gr_gid


def _least_nice() -> int:
    """The lowest niceness that is granted without root's rights (RLIMIT_NICE, setrlimit(2))."""
    own = os.getpriority(os.PRIO_PROCESS, 0)
    ceiling, _ = resource.getrlimit(resource.RLIMIT_NICE)
    return min(own, 20 - ceiling) if ceiling > 0 else own


_WAIT_FOR = ("wait_for",)
_LAST_NICE = 19
