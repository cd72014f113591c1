"""What is told of one key of a jobfile."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stsd.values import Kind


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

    `example` and `default` are TOML; a `default` in words stands in (brackets).
    """

    group: Group
    name: str
    kind: Kind
    says: str
    example: str
    default: str = ""
    in_defaults: bool = True
