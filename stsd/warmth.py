"""Which launchers are kept warm: a process each that has imported a job's module, and forks for
every run of it; see `stsd.warm`.

One is good for the runs that would import the same in the same way: same interpreter, module,
import folders, folder, user and environment (but for what is about the run itself). It becomes
that user before it imports anything. Decides when to have one; what cannot be warm is run cold.
"""

from __future__ import annotations

import hashlib
import json
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from stsd.child import ABOUT_THE_RUN, ChildSpec
from stsd.link import Link, Request

# How long a module that cannot be kept warm is left cold, unless there is a reload.
COLD_S = 300.0


@dataclass(frozen=True, slots=True)
class Chilled:
    """A module cannot be kept warm, so that its runs start cold; `run_id` is the first of them."""

    run_id: str
    module: str
    reason: str


class Warmth:
    """The warm launchers of one daemon. `begin` starts the process of one: `selector` and `data`
    are those of `Link`."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        data: object,
        begin: Callable[[ChildSpec, socket.socket], None],
    ) -> None:
        self._selector = selector
        self._data = data
        self._begin = begin
        self._links: dict[str, Link] = {}
        self._cold_until: dict[str, float] = {}

    def link(self, spec: ChildSpec) -> Link | None:
        """The way to the launcher for a child; None: it is to be started cold."""
        key = _key(spec)
        if time.monotonic() < self._cold_until.get(key, 0.0):
            return None
        if key not in self._links:
            of_its_own = replace(
                spec, argv=spec.warm, warm=(), env=_lasting(spec), nice=None, rlimits=(), cgroup=""
            )
            self._links[key] = Link(
                self._selector, self._data, lambda theirs: self._begin(of_its_own, theirs)
            )
        return self._links[key]

    def keep(self, request: Request) -> None:
        """What is asked once more goes by a link that is kept, for it may have been let go of."""
        request.link = self._links.setdefault(_key(request.spec), request.link)

    def owner(self, fd: int) -> Link | None:
        """The link whose descriptor this is."""
        return next((link for link in self._links.values() if link.owns(fd)), None)

    def chill(self, spec: ChildSpec) -> None:
        """Leave what this child is of cold for a while."""
        key = _key(spec)
        self._cold_until[key] = time.monotonic() + COLD_S
        if key in self._links:
            self._links[key].close()

    def renew(self) -> None:
        """Let all of them end; the next run of each begins another one."""
        self._cold_until.clear()
        for link in self._links.values():
            link.close()
        self._links = {key: link for key, link in self._links.items() if link.busy}


def _lasting(spec: ChildSpec) -> dict[str, str]:
    return {name: value for name, value in spec.env.items() if name not in ABOUT_THE_RUN}


def _key(spec: ChildSpec) -> str:
    """A digest, lest the values of secrets are kept for longer than they are needed."""
    what = (spec.warm, spec.cwd, spec.user, spec.group, sorted(_lasting(spec).items()))
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()
