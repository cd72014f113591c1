"""The values of a jobfile that have a shape of their own: tables within a job, and choices that
no other room knows yet.

Declarative as the kinds they are made of; which key holds which of them is told by `stsd.keys`.
"""

from __future__ import annotations

from enum import StrEnum

from stsd.kinds import FilePath, JsonData
from stsd.model import Backoff, Fold, Gap, Outcome
from stsd.values import (
    Choice,
    Duration,
    Either,
    Field,
    ListOf,
    Number,
    SetOf,
    Size,
    Table,
    TableOf,
    Text,
    Whole,
)

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


class Event(StrEnum):
    """What a notification can be sent about."""

    FAILED = "failed"
    RECOVERED = "recovered"
    LATE = "late"
    MISSED = "missed"
    SILENT = "silent"
    SLOW = "slow"


_RETRIABLE = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.SPAWN_FAILED, Outcome.INTERRUPTED)
RETRY = Table(
    (
        Field("max", Whole(0, 1_000_000), "how many attempts may follow the first one", "0"),
        Field("delay", Duration(), "the pause before the next attempt", '"10s"'),
        Field(
            "backoff", Choice(tuple(Backoff)), "how the pause grows with each attempt", '"constant"'
        ),
        Field("max_delay", Duration(), "the longest pause", '("1h", or `delay` if that is longer)'),
        Field("jitter", Number(0, 1), "the share of the pause by which it may vary", "0"),
        Field(
            "on",
            SetOf(Choice(_RETRIABLE)),
            "the outcomes that are retried",
            '["failed", "timed_out", "spawn_failed"]',
        ),
        Field("within", Duration(), "no attempt starts later than this after the scheduled time"),
    )
)
DST = Table(
    (
        Field(
            "gap",
            Choice(tuple(Gap)),
            'a wall time that is skipped fires "after" the gap, or is left out ("skip")',
            '"after"',
        ),
        Field(
            "fold",
            Choice(tuple(Fold)),
            'a wall time that is repeated fires at its "first" pass, or at "both"',
            '"first"',
        ),
    )
)
HTTP = Table(
    (
        Field("url", Text("a URL"), "the address", required=True),
        Field("method", Text("an HTTP method"), '"GET", or "POST" with a body'),
        Field("headers", TableOf(Text(empty=True)), "headers by name"),
        Field("body", Text(empty=True), "what is sent, as text"),
        Field("json", JsonData(table=True), "what is sent, as JSON"),
        Field("expect", SetOf(Whole(100, 599)), "the status codes that are a success", "[200]"),
    )
)
URLS = ListOf(Text("a URL"))
MESSAGE = Table(
    (
        Field("to", URLS, "the addresses", required=True),
        Field("title", Text(), "the subject"),
        Field("body", Text(empty=True), "the text"),
    )
)
_JOB_NAME = Text("a job's name", NAME_PATTERN)
AFTER = ListOf(
    Either(
        _JOB_NAME,
        Table(
            (
                Field("job", _JOB_NAME, "the job to follow", required=True),
                Field("outcome", Choice(tuple(Outcome)), "how that one must end", '"succeeded"'),
            )
        ),
    )
)
LIMITS = Table(
    (
        Field("memory", Size(), "bytes of memory"),
        Field("cpu_time", Duration(), "time on the processor"),
        Field("open_files", Whole(3, 1 << 20), "open file descriptors"),
        Field("processes", Whole(1, 1 << 22), "processes of its user"),
        Field("file_size", Size(), "bytes of a file it writes"),
    )
)
WAIT_FOR = Table(
    (
        Field("network", Text("HOST:PORT"), "a host and port that must answer"),
        Field("timeout", Duration(), "how long to wait"),
    )
)
OUTPUT = Table(
    (
        Field("max_size", Size(), "bytes that are kept of one attempt's output"),
        Field("keep", Duration(), "how long output is kept"),
    )
)
NOTIFY = Table(
    (
        Field("on", SetOf(Choice(tuple(Event))), "what is told"),
        Field("to", URLS, "whom", required=True),
        Field("remind", Duration(), "how often it is told again while it lasts"),
        Field("quiet", Duration(), "at most one message in this time"),
    )
)
USER = Either(Text("a user's name"), Whole(0, 1 << 31))
GROUP_NAME = Either(Text("a group's name"), Whole(0, 1 << 31))
TAG = Text("a word of letters, digits and . _ : / -", r"[\w][\w.:/-]{0,63}")
METRICS = Table(
    (
        Field("file", FilePath(), "a file for the textfile collector"),
        Field("listen", Text("HOST:PORT"), "an address to serve them at"),
    )
)
HISTORY = Table(
    (
        Field("keep", Duration(), "how long"),
        Field("max_size", Size(), "how many bytes, with the output of the runs"),
    )
)
CONTROL = Table(
    (
        Field("users", ListOf(USER), "users who may"),
        Field("groups", ListOf(GROUP_NAME), "groups whose members may"),
    )
)
