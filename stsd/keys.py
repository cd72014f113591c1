"""The table of keys: every key a jobfile may hold, told once.

Reading, the reference page and the schema are all made from this table; nothing else may know
a key by itself.
"""

from __future__ import annotations

from stsd.jobkeys import HOW, WHAT, WHEN
from stsd.key import Group, Key
from stsd.kinds import FilePath, Zone
from stsd.policykeys import POLICIES, REPORTS
from stsd.shapes import CONTROL, HISTORY, METRICS, POOL
from stsd.values import Duration, ListOf, TableOf, Text, Whole

_DAEMON = (
    Key(
        Group.DAEMON,
        "timezone",
        Zone(),
        "The zone of every job that names none, by its IANA name.",
        '"Europe/Berlin"',
        "(that of the machine)",
    ),
    Key(
        Group.DAEMON,
        "log_dir",
        FilePath(),
        "Where the log, the history and captured output are kept.",
        '"/var/log/stsd"',
        "($LOGS_DIRECTORY, else $XDG_STATE_HOME/stsd/log)",
    ),
    Key(
        Group.DAEMON,
        "state_dir",
        FilePath(),
        "Where what a restart needs is kept.",
        '"/var/lib/stsd"',
        "($STATE_DIRECTORY, else $XDG_STATE_HOME/stsd)",
    ),
    Key(
        Group.DAEMON, "max_running", Whole(1, 10_000), "How many attempts run at once.", "32", "16"
    ),
    Key(
        Group.DAEMON,
        "include",
        ListOf(Text("a file or a pattern", longest=4095), alone=True),
        "Files to read as well, as names or patterns.",
        '["jobs.d/*.toml"]',
        "(none)",
    ),
    Key(
        Group.DAEMON,
        "stop_timeout",
        Duration(),
        "How long running jobs may go on after stsd was told to stop.",
        '"2m"',
        '"30s"',
    ),
    Key(
        Group.DAEMON,
        "pools",
        TableOf(Whole(1, 10_000), POOL),
        "Slots of the pools of jobs; a pool that is not named here has one.",
        "{ db = 2 }",
        "(none)",
    ),
    Key(
        Group.DAEMON,
        "metrics",
        METRICS,
        "Where numbers for Prometheus are told.",
        '{ file = "/var/lib/prometheus/node-exporter/stsd.prom", listen = "127.0.0.1:9464" }',
        "(nowhere)",
    ),
    Key(
        Group.DAEMON,
        "history",
        HISTORY,
        "How much history and captured output is kept, by whole days; the oldest goes first.",
        '{ keep = "90d", max_size = "1G" }',
        "(all of it)",
    ),
    Key(
        Group.DAEMON,
        "control",
        CONTROL,
        "Who besides root and its own user may use stsd's control socket.",
        '{ groups = ["adm"], read_users = ["daemon"] }',
        "(nobody)",
    ),
)

DAEMON_KEYS = {key.name: key for key in _DAEMON}
JOB_KEYS = {key.name: key for key in (*WHAT, *WHEN, *HOW, *POLICIES, *REPORTS)}
