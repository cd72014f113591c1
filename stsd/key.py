"""What is told of one key of a jobfile."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stsd.values import Kind

SOON = "leave it out for now"
"""What to do about a key to come for which there is no other way yet."""


class Group(StrEnum):
    """What a key is about, in the order in which a reader asks."""

    DAEMON = "The daemon"
    WHAT = "What is run"
    WHEN = "When it is run"
    HOW = "How it is run"
    POLICY = "What happens when it fails, hangs or is due again"
    REPORT = "Output and reports"


@dataclass(frozen=True, slots=True)
class Key:
    """One key of `[daemon]` or of a job.

    `example` and `default` are TOML; a `default` in words stands in (brackets). `instead` is None
    for a key that is acted upon; else it says what to use until then, and may be empty.
    """

    group: Group
    name: str
    kind: Kind
    says: str
    example: str
    default: str = ""
    instead: str | None = None
    in_defaults: bool = True
