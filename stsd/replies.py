"""What is asked of the daemon over its control socket, and the ways in which it is answered: words
between those who know the socket and those who know the jobs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stsd.peers import Peer
from stsd.protocol import Right, Trouble


@dataclass(frozen=True, slots=True)
class Request:
    """What a peer asks for, and may do; `arguments` are as in `stsd.protocol.Asked`."""

    peer: Peer
    may: Right
    do: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Done:
    """The answer: a JSON object."""

    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Refused:
    """An error is the answer; `problems` are those of an invalid jobfile."""

    kind: Trouble
    message: str
    problems: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Waiting:
    """The answer comes when all these runs are over; until then the client is told of them.
    `skipped` are jobs of which no run was made."""

    runs: tuple[str, ...]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """The answer, after a line for each of the rows, which may be many and are not asked for all
    at once."""

    rows: Iterator[Mapping[str, object]]
    fields: Mapping[str, object]


@dataclass(slots=True, eq=False)
class Later:
    """The answer comes when it is there, in whichever turn that is: `reply` is set once, by whoever
    has made this."""

    reply: Done | Refused | None = None


Reply = Done | Refused | Waiting | Listing | Later
