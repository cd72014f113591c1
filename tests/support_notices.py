"""Notices as people get them: one of a job that failed, one of each other kind, and digests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from stsd.letter import Letter, Told
from stsd.notices import Event, Notice
from stsd.outputtail import shown

DUE = 1795228200
"""2026-11-21 02:30:00 UTC."""

PRINTED = b"""\
pg_dump: last built-in OID is 16383
\x1b[32mdumping\x1b[0m 10%\r\x1b[32mdumping\x1b[0m 100%
pg_dump: error: connection to server at "db1" (10.0.0.7), port 5432 failed: FATAL:  remaining \
connection slots are reserved for roles with the SUPERUSER attribute
<script>alert("1")</script> & more
zstd: aVeryLongWordWithoutAnyBlankThatHasToBeBrokenSomewhereOrTheWholePageGetsWiderThanAnyPhone\
AndThatWouldBeAPity0123456789
\xff\xfe broken \x00 bytes \x1b]0;a title\x07\xe2\x80\xaeturned
"""


def notice(event: Event = Event.FAILED, job: str = "backup", **fields: Any) -> Notice:
    """A notice about the run of 02:30, three seconds after it began."""
    known: dict[str, Any] = {
        "run": f"{job}@20261121T023000Z",
        "scheduled": DUE,
        "trigger": "cron",
        "attempt": 3,
        "outcome": "failed",
        "exit_code": 2,
        "started": DUE + 0.5,
        "duration_s": 3.2,
        "usual_s": 242.0,
        "output": f"output/{job}/{job}@20261121T023000Z.3.log",
        "output_bytes": 9216,
        "why": "exit code 2",
    }
    return Notice(event, job, DUE + 4.0, **(known | fields))


def bare(event: Event, job: str, why: str, **fields: Any) -> Notice:
    """A notice of no run."""
    return Notice(event, job, DUE + 4.0, why, **fields)


def told(of: Notice, **fields: Any) -> Told:
    known: dict[str, Any] = {
        "zone": "Europe/Berlin",
        "description": "Nightly dump of the shop's database",
        "next": DUE + 86400.0,
        "tail": shown(PRINTED) if of.output is not None and of.event is Event.FAILED else (),
    }
    return Told(of, **(known | fields))


def letter(*all_told: Told, **fields: Any) -> Letter:
    return replace(Letter("5f1c", "db1.example.com", all_told), **fields)


FAILED = letter(told(notice()))
RECOVERED = letter(
    told(
        notice(
            Event.RECOVERED,
            why="succeeded",
            outcome="succeeded",
            exit_code=0,
            since=DUE - 4 * 86400.0,
            count=4,
            ended=(Event.FAILED, Event.LATE),
        )
    )
)
LATE = letter(
    told(
        bare(Event.LATE, "report", "no success by 06:00 (Europe/Berlin)"),
        description="",
    )
)
THREE = letter(*RECOVERED.told, *LATE.told, *FAILED.told)
MANY = letter(
    *(
        told(notice(job=f"import.{number:03}"), zone="UTC", description="", tail=())
        for number in range(490)
    ),
    *(
        told(bare(Event.LATE, f"late-{n}", "no success by 06:00 (UTC)"), zone="UTC")
        for n in range(8)
    ),
    told(bare(Event.HELD, "rates", "the history cannot be written: No space left on device")),
    dropped=12,
)
TEST = replace(FAILED, test=True)
EVERY = {
    "failed": FAILED,
    "recovered": RECOVERED,
    "late": LATE,
    "three": THREE,
    "many": MANY,
    "test": TEST,
}
