"""The values of a jobfile that have a shape of their own: tables within a job, and choices that
no other room knows yet.

Declarative as the kinds they are made of; which key holds which of them is told by `stsd.keys`.
"""

from __future__ import annotations

from stsd.kinds import Account, FilePath, JsonData, Outcomes, Secrets
from stsd.model import Backoff, Fold, Gap, Outcome
from stsd.noticekinds import DaySpan, Recipient
from stsd.notices import Event
from stsd.values import (
    Choice,
    Duration,
    Either,
    Field,
    Flag,
    ListOf,
    Number,
    SetOf,
    Size,
    Table,
    Text,
    Whole,
)
from stsd.webkinds import Headers, HostPort, MessageAddress, Template, WebAddress

NAME_PATTERN = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


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
COMMAND = Either(Text("a command"), ListOf(Text("a string", empty=True)))
HTTP = Table(
    (
        Field("url", WebAddress(), "the address, http or https", required=True),
        Field(
            "method",
            Text("an HTTP method in capitals", "[A-Z]+(-[A-Z]+)*"),
            "what is asked for",
            '("GET", or "POST" where something is sent)',
        ),
        Field("headers", Headers(), "headers by name"),
        Field("body", Template(empty=True), "what is sent, as text"),
        Field("json", JsonData(free=True), "what is sent, as JSON; instead of `body`"),
        Field(
            "expect",
            ListOf(Whole(200, 599), alone=True),
            "the status codes that are a success",
            "(any from 200 to 299)",
        ),
        Field("timeout", Duration(), "how long the server may be silent", '"1m"'),
    )
)
MESSAGE = Table(
    (
        Field("to", ListOf(MessageAddress(), alone=True), "the addresses", required=True),
        Field("title", Template(line=True), "the subject"),
        Field("body", Template(empty=True), "the text"),
    )
)
_JOB_NAME = Text("a job's name", NAME_PATTERN)
AFTER = ListOf(
    Either(
        _JOB_NAME,
        Table(
            (
                Field("job", _JOB_NAME, "the job to follow", required=True),
                Field("outcome", Outcomes(), "how that one must end", '"succeeded"'),
            )
        ),
    ),
    alone=True,
)
SECRETS = Secrets(
    Table(
        (
            Field("file", FilePath(), "a file that holds nothing else"),
            Field(
                "credential",
                Text("a credential's name", r"(?!\.\.?$)[^/ \t\n\r\f\v]{1,255}"),
                "the name of a credential of systemd's, in $CREDENTIALS_DIRECTORY",
            ),
            Field("command", COMMAND, "a command that prints it"),
        )
    )
)
LIMITS = Table(
    (
        Field("memory", Size(1 << 20), "bytes of memory"),
        Field("cpu", Number(0.01, 4096), "processors; 0.5 is half of one"),
        Field("cpu_time", Duration(), "time on the processor"),
        # 0, 1 and 2 are taken, and the loader needs one to open libraries with.
        Field("open_files", Whole(4, 1 << 30), "open file descriptors of a process"),
        Field("processes", Whole(1, 1 << 22), "processes and threads"),
        Field("file_size", Size(), "bytes of a file it writes"),
    )
)
WAIT_FOR = Table(
    (
        Field("network", HostPort(), "a host and port that must take a connection"),
        Field("path", FilePath(), "a file or folder that must be there"),
        Field("job", _JOB_NAME, "a job that must have succeeded"),
        Field("within", Duration(), "how long ago `job` may have succeeded", "(any time ago)"),
        Field("load", Number(0.01, 100_000), "the load of the machine (1 minute) must be below it"),
        Field("timeout", Duration(), "how long is waited; after that the run is skipped", '"5m"'),
    )
)
OUTPUT = Table(
    (
        Field("max_size", Size(1024), "bytes that are kept of one attempt's output", '"10M"'),
        Field("keep", Duration(), "how long they are kept", "(as long as the history)"),
        Field("tee", Flag(), "whether each line goes to the log as well", "false"),
    )
)
RECIPIENT = Recipient(
    Table(
        (
            Field("webhook", WebAddress(), "an address that is sent JSON"),
            Field("secret", Template(), "a key that signs it"),
            Field(
                "command",
                COMMAND,
                "a command: JSON on its standard input, words in $STSD_SUBJECT and $STSD_TEXT",
            ),
        )
    )
)
NOTIFY = Table(
    (
        Field("to", ListOf(RECIPIENT, alone=True), "who is told"),
        Field(
            "on",
            SetOf(Choice(tuple(Event))),
            "what of",
            '["failed", "recovered", "late", "missed", "slow", "silent", "held"]',
        ),
        Field("remind", Duration(), "how often it is told again while it lasts", "(not at all)"),
        Field(
            "quiet",
            DaySpan(),
            "the part of the day, in the job's zone, in which nobody is told until it is over",
            "(none)",
        ),
    )
)
PING = Either(
    WebAddress(),
    Table(
        (
            Field("start", WebAddress(), "the address that is told of a start"),
            Field("success", WebAddress(), "the one that is told of a success"),
            Field("failure", WebAddress(), "the one that is told of a failure"),
        )
    ),
)
USER = Account()
GROUP_NAME = Account(group=True)
POOL = Text("a pool's name", NAME_PATTERN)
TAG = Text("a word of letters, digits and . _ : / -", "[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,63}")
METRICS = Table(
    (
        Field("file", FilePath(), "a file for node_exporter's textfile collector"),
        Field("listen", HostPort(), "where they are served by HTTP, at /metrics"),
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
        Field("users", ListOf(USER, alone=True), "users who may do everything"),
        Field("groups", ListOf(GROUP_NAME, alone=True), "groups whose members may do everything"),
        Field("read_users", ListOf(USER, alone=True), "users who may only look"),
        Field("read_groups", ListOf(GROUP_NAME, alone=True), "groups whose members may only look"),
    )
)
