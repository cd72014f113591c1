"""The trace that a run belongs to, in the words of W3C Trace Context: one trace a run, one span an
attempt, so that what a job tells of itself elsewhere can be joined to the history.

Ids are hashes, not dice: of the machine, the run's id and the attempt. So a restarted daemon knows
them, and two machines with the same jobfile do not share them. Sends nothing to anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

TRACEPARENT = "TRACEPARENT"
"""The environment variable, named as OpenTelemetry's "Environment Variables as Context Propagation
Carriers" has it."""

_SAMPLED = "01"
# Of a later version than "00", more may follow; "ff" is none (W3C Trace Context, 4.3).
_PARENT = re.compile(
    r"(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?"
)


def trace_of(machine: str, run_id: str, env: Iterable[tuple[str, str]]) -> str:
    """The trace id of a run, 32 hexadecimal digits: that of the TRACEPARENT which its `env` gives,
    if that is a valid one, else one of its own. `machine` is what tells this machine from others;
    it cannot be found out from the id."""
    parent = _parent(env)
    if parent is not None:
        return parent[1]
    return _hash(run_id, 16, machine)


def span_of(trace: str, run_id: str, attempt: int) -> str:
    """The span id of an attempt, 16 hexadecimal digits."""
    return _hash(f"{run_id} {attempt}", 8, trace)


def traceparent(trace: str, run_id: str, attempt: int, env: Iterable[tuple[str, str]]) -> str:
    """What the child of an attempt is given: the attempt's span as the parent of its own, with the
    flags of a parent that `env` gives."""
    parent = _parent(env)
    flags = _SAMPLED if parent is None else parent[2]
    return f"00-{trace}-{span_of(trace, run_id, attempt)}-{flags}"


def _parent(env: Iterable[tuple[str, str]]) -> re.Match[str] | None:
    for name, value in env:
        if name == TRACEPARENT:
            return _PARENT.fullmatch(value)
    return None


def _hash(text: str, size: int, key: str) -> str:
    return blake2b(text.encode(), digest_size=size, key=key.encode()[:64]).hexdigest()
