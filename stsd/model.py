"""The words of stsd: jobs, triggers, outcomes and policies as frozen values.

Nothing here reads a clock, a file or the environment. An instant of a schedule is an `int`,
seconds since the Unix epoch in UTC; a reading of the clock is a `float` of the same scale.
Durations are seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from stsd.interventions import ByHand
from stsd.notices import Notify, Ping, Slow


class TriggerKind(StrEnum):
    """What made a job due."""

    CRON = "cron"
    EVERY = "every"
    AT = "at"
    ON_START = "on_start"
    AFTER = "after"
    MANUAL = "manual"


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    SPAWN_FAILED = "spawn_failed"


class SkipReason(StrEnum):
    """Why a due occurrence was not run on purpose."""

    OVERLAP = "overlap"
    PAUSED = "paused"
    CONDITION = "condition"
    SUPERSEDED = "superseded"


class MissReason(StrEnum):
    """Why occurrences fell due unseen: stsd was not running; the machine slept, the process was
    stopped or the clock was set forward; or the history could not be written."""

    DOWN = "down"
    SLEPT = "slept"
    HELD = "held"


class Overlap(StrEnum):
    """What happens when a job is due while a run of it has not ended."""

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"
    REPLACE = "replace"


class CatchUp(StrEnum):
    """Which of the occurrences that passed unseen are run afterwards."""

    LATEST = "latest"
    ALL = "all"
    NONE = "none"


class Delivery(StrEnum):
    """What a crash may do to an occurrence: lose it, or repeat it."""

    AT_MOST_ONCE = "at_most_once"
    AT_LEAST_ONCE = "at_least_once"


class LogFailure(StrEnum):
    """What becomes of a job while the history cannot be written."""

    HOLD = "hold"
    RUN = "run"


class Backoff(StrEnum):
    """How the delay grows from attempt to attempt."""

    CONSTANT = "constant"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


class Gap(StrEnum):
    """What a fixed-time job does when its time is skipped: fire after the gap, or not at all."""

    AFTER = "after"
    SKIP = "skip"


class Fold(StrEnum):
    """What a fixed-time job does when its time is repeated: fire at the first pass, or at both."""

    FIRST = "first"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class ShellTask:
    """A string for the shell: `SHELL -c COMMAND`."""

    command: str
    shell: str = "/bin/sh"


@dataclass(frozen=True, slots=True)
class ArgvTask:
    """A program and its arguments, without a shell."""

    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PythonTask:
    """A Python entry point `package.module:callable`.

    `args` and `kwargs` are JSON texts (an array, an object), so that the value is hashable and
    goes to any interpreter. An empty `interpreter` means the one that stsd itself runs on.
    """

    target: str
    args: str = "[]"
    kwargs: str = "{}"
    path: tuple[str, ...] = ()
    interpreter: str = ""


@dataclass(frozen=True, slots=True)
class HttpTask:
    """One HTTP request. `headers` are in the order of the jobfile; `body` is text or None, and
    JSON where `json` is true; of `expect`, the status codes that are a success, empty means any
    from 200 to 299; `timeout` is how long the server may be silent, in seconds. In `url`, headers
    and `body`, `${NAME}` stands for a variable's value (see `stsd.references`)."""

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: str | None = None
    json: bool = False
    expect: tuple[int, ...] = ()
    timeout: float = 60.0


@dataclass(frozen=True, slots=True)
class MessageTask:
    """One message to each of the addresses `to`, which are URLs of apprise. In all three,
    `${NAME}` stands for a variable's value."""

    to: tuple[str, ...]
    title: str = ""
    body: str = ""


Task = ShellTask | ArgvTask | PythonTask | HttpTask | MessageTask


@dataclass(frozen=True, slots=True)
class After:
    """Another job whose end makes a job due, where it ends in one of `outcomes`."""

    job: str
    outcomes: frozenset[Outcome] = frozenset({Outcome.SUCCEEDED})


@dataclass(frozen=True, slots=True)
class When:
    """The schedule of a job as written, in plain values; what it means is told by `stsd.triggers`.

    `every` is in whole seconds on a grid through `anchor` (an instant); `splay` in whole seconds;
    `start` and `end` are the first and the last day on which the job may fire, in `timezone`, an
    IANA name; `skip_holidays` names a country, as in `DE` or `DE-BY`. `after` makes the job due
    when all of the jobs it names have ended as it asks since it was last due.
    """

    cron: tuple[str, ...] = ()
    every: int | None = None
    at: tuple[str, ...] = ()
    on_start: bool = False
    after: tuple[After, ...] = ()
    timezone: str = "UTC"
    anchor: int = 0
    splay: int = 0
    start: date | None = None
    end: date | None = None
    skip_dates: tuple[date, ...] = ()
    skip_holidays: str = ""
    gap: Gap = Gap.AFTER
    fold: Fold = Fold.FIRST


RETRIED_BY_DEFAULT = frozenset({Outcome.FAILED, Outcome.TIMED_OUT, Outcome.SPAWN_FAILED})


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed attempt is followed by another one; all durations in seconds.

    `max` counts the retries, not the attempts; `jitter` is the share of the delay by which it may
    vary in either direction (0 to 1); `within` gives up that long after the scheduled instant.
    """

    max: int = 0
    delay: float = 10.0
    backoff: Backoff = Backoff.CONSTANT
    max_delay: float = 3600.0
    jitter: float = 0.0
    on: frozenset[Outcome] = RETRIED_BY_DEFAULT
    within: float | None = None


INHERITED = frozenset(
    {"HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"}
)
"""The variables that jobs have of the daemon's own environment, besides the INHERITED_TOO."""
INHERITED_TOO = "LC_"


@dataclass(frozen=True, slots=True)
class Secret:
    """An environment variable whose value is in a file, in a credential of systemd's, or is what
    a command prints; one of the three is given."""

    name: str
    file: str = ""
    credential: str = ""
    command: ShellTask | ArgvTask | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """What one attempt may use. `memory` and `file_size` in bytes, `cpu_time` in seconds of
    processor time, `cpu` in processors (0.5: half of one); None: no limit."""

    memory: int | None = None
    cpu: float | None = None
    cpu_time: float | None = None
    open_files: int | None = None
    processes: int | None = None
    file_size: int | None = None


@dataclass(frozen=True, slots=True)
class WaitFor:
    """What must be so before a run starts, all of it: a TCP connection to `network` (host and
    port), the existence of `path` (absolute), a success of `job` (with `within`: in the last that
    many seconds), a machine load (one minute) below `load`. After `timeout` seconds the
    occurrence is skipped."""

    network: tuple[str, int] | None = None
    path: str = ""
    job: str = ""
    within: float | None = None
    load: float | None = None
    timeout: float = 300.0


@dataclass(frozen=True, slots=True)
class Output:
    """What is kept of what an attempt prints: at most `max_size` bytes, for `keep` seconds (None:
    as long as the history); `tee` tells the log each line, too."""

    max_size: int = 10 * 1024 * 1024
    keep: float | None = None
    tee: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """One `[jobs.NAME]` table, complete with its defaults; equal jobs are the same job to a reload.

    `cwd` is absolute. `env` holds what the jobfile adds to the child's environment. `timeout` and
    `stop_grace` are in seconds; no `timeout` lets a run go on for ever. A higher `priority`
    goes first. Of what passed unseen, `catch_up` may run what is no older than `catch_up_window`
    (seconds), and of that the last `catch_up_limit`. `env_files` and the files of `secrets` are
    absolute. `user` and `group` are a name or a number, None for stsd's own. `max_running` is
    None for one run at a time, or any number with `overlap = "allow"`. `condition` is a command
    whose failure skips the run. By the second of the day `deadline`, in its own zone, it is to have
    succeeded on each day on which it is due; its last success is to be younger than `max_age`
    (seconds), and to have printed `min_output` bytes.
    """

    name: str
    task: Task
    when: When = When()
    description: str = ""
    cwd: str = "/"
    env: tuple[tuple[str, str], ...] = ()
    env_files: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    user: str | int | None = None
    group: str | int | None = None
    umask: int = 0o022
    nice: int | None = None
    limits: Limits | None = None
    warm: bool = False
    condition: ShellTask | ArgvTask | None = None
    wait_for: WaitFor | None = None
    timeout: float | None = None
    stop_signal: str = "TERM"
    stop_grace: float = 10.0
    retry: Retry = Retry()
    overlap: Overlap = Overlap.SKIP
    max_running: int | None = None
    pools: tuple[str, ...] = ()
    priority: int = 0
    success_codes: frozenset[int] = frozenset({0})
    catch_up: CatchUp = CatchUp.LATEST
    catch_up_window: float = 3600.0
    catch_up_limit: int = 100
    delivery: Delivery = Delivery.AT_MOST_ONCE
    on_log_failure: LogFailure = LogFailure.HOLD
    enabled: bool = True
    tags: tuple[str, ...] = ()
    output: Output = Output()
    notify: Notify | None = None
    ping: Ping | None = None
    deadline: int | None = None
    max_age: float | None = None
    slow: Slow | None = None
    min_output: int | None = None

    @property
    def is_watched(self) -> bool:
        """Whether anybody wants to be told how it fares."""
        return not (
            self.notify is None
            and self.ping is None
            and self.deadline is None
            and self.max_age is None
            and self.slow is None
            and self.min_output is None
        )


@dataclass(frozen=True, slots=True)
class Run:
    """The execution of one occurrence, or of one trigger by hand.

    `id` is the same for the same occurrence on every machine; `job` is the definition that was in
    force when the run fell due, and stays so through a reload. With `by_hand` it has in it already
    what was given by hand. `trace` is the id of its trace, see
    `stsd.tracecontext`; empty: it has none.
    """

    id: str
    job: Job
    scheduled: int
    trigger: TriggerKind
    by_hand: ByHand | None = None
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks read at one moment, in seconds: `wall` since the epoch (UTC), `mono` of
    CLOCK_MONOTONIC, which stands still while the machine sleeps."""

    wall: float
    mono: float
