"""The keys of a job, second part of the table of keys: policies, and what is reported."""

from __future__ import annotations

from stsd.key import Group, Key
from stsd.kinds import SignalName
from stsd.model import CatchUp, Delivery, LogFailure, Overlap
from stsd.noticekinds import OrFalse, Slowness, TimeOfDay
from stsd.shapes import NOTIFY, OUTPUT, PING, POOL, RETRY
from stsd.values import Choice, Duration, ListOf, SetOf, Size, Whole

POLICIES = (
    Key(
        Group.POLICY,
        "timeout",
        Duration(),
        "An attempt that takes longer is stopped.",
        '"1h"',
        "(none)",
    ),
    Key(
        Group.POLICY,
        "stop_signal",
        SignalName(),
        "The signal that asks it to stop.",
        '"INT"',
        '"TERM"',
    ),
    Key(
        Group.POLICY,
        "stop_grace",
        Duration(),
        "How long it may take to stop before it is killed.",
        '"30s"',
        '"10s"',
    ),
    Key(
        Group.POLICY,
        "retry",
        RETRY,
        "Whether and when a failed attempt is followed by another one.",
        '{ max = 3, delay = "10s", backoff = "exponential", max_delay = "10m", jitter = 0.1 }',
        "{ max = 0 }",
    ),
    Key(
        Group.POLICY,
        "overlap",
        Choice(tuple(Overlap)),
        "What happens when it is due while a run of it has not ended.",
        '"queue"',
        '"skip"',
    ),
    Key(
        Group.POLICY,
        "priority",
        Whole(-1000, 1000),
        "Who goes first when there is no room for all that is due; higher before lower.",
        "10",
        "0",
    ),
    Key(
        Group.POLICY,
        "success_codes",
        SetOf(Whole(0, 255)),
        "The exit codes that are a success.",
        "[0, 3]",
        "[0]",
    ),
    Key(
        Group.POLICY,
        "max_running",
        Whole(1, 10_000),
        "How many runs of it there may be at once; `overlap` says what becomes of more.",
        "2",
        '(1, or any number with overlap = "allow")',
    ),
    Key(
        Group.POLICY,
        "pools",
        ListOf(POOL, alone=True),
        "Named slots it shares with other jobs: it runs while it has one of each.",
        '["db"]',
        "(none)",
    ),
    Key(
        Group.POLICY,
        "catch_up",
        Choice(tuple(CatchUp)),
        "Which of the occurrences that were missed are run afterwards.",
        '"all"',
        '"latest"',
    ),
    Key(
        Group.POLICY,
        "catch_up_window",
        Duration(),
        "How old a missed occurrence may be to be run.",
        '"6h"',
        '"1h"',
    ),
    Key(
        Group.POLICY,
        "catch_up_limit",
        Whole(1, 100_000),
        'How many of them are run with catch_up = "all".',
        "10",
        "100",
    ),
    Key(
        Group.POLICY,
        "delivery",
        Choice(tuple(Delivery)),
        "Whether a crash may rather lose an occurrence or repeat it.",
        '"at_least_once"',
        '"at_most_once"',
    ),
    Key(
        Group.POLICY,
        "on_log_failure",
        Choice(tuple(LogFailure)),
        "Whether it runs while the history cannot be written.",
        '"run"',
        '"hold"',
    ),
)

REPORTS = (
    Key(
        Group.REPORT,
        "output",
        OUTPUT,
        "What is kept of what it prints.",
        '{ max_size = "1M", keep = "30d", tee = true }',
        '{ max_size = "10M", tee = false }',
    ),
    Key(
        Group.REPORT,
        "notify",
        OrFalse(NOTIFY),
        "Who is told of what; false: nobody, whatever `[defaults]` say.",
        '{ to = "mailto://ops@example.com", on = ["failed", "recovered"], quiet = "22:00-07:00" }',
        "(nobody is told)",
    ),
    Key(
        Group.REPORT,
        "ping",
        OrFalse(PING),
        "What is told of each run: an address by the convention of healthchecks.io, or addresses.",
        '"https://hc-ping.com/${CHECK}"',
        "(none)",
    ),
    Key(
        Group.REPORT,
        "deadline",
        OrFalse(TimeOfDay()),
        "The time, in the job's zone, by which it must have succeeded on each day it is due.",
        '"06:00"',
        "(none)",
    ),
    Key(
        Group.REPORT,
        "max_age",
        OrFalse(Duration()),
        "How long ago its last success may be.",
        '"26h"',
        "(any time ago)",
    ),
    Key(
        Group.REPORT,
        "slow",
        OrFalse(Slowness()),
        "What is slow: a duration, or a multiple of what 95 of 100 of its runs have taken.",
        '"2x"',
        "(nothing is)",
    ),
    Key(
        Group.REPORT,
        "min_output",
        OrFalse(Size()),
        "A success that prints less is told of as `silent`.",
        '"1K"',
        "(any)",
    ),
)
