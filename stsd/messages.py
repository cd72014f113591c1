"""The vocabulary between the core and its shell: events go in, actions come out.

Values only. The shell performs the actions of one step in their order, before the next step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stsd.interventions import ByHand
from stsd.memory import Memory
from stsd.model import Run
from stsd.records import Intent, Record
from stsd.settings import Jobfile


@dataclass(frozen=True, slots=True)
class Begin:
    """The daemon is up; comes first, and once. `memory` is what the last one left behind;
    `in_place` tells that this process was the last one, too."""

    memory: Memory
    in_place: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed, nothing else."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """The child of an attempt exists. It was started `ago_s` before: others came first, that were
    due with it."""

    run_id: str
    pid: int
    born: int
    ago_s: float = 0.0


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The child of an attempt could not be made; `error` is for the job's owner."""

    run_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The child of an attempt has ended: by itself with `exit_code`, or by `signal` (its name).
    Neither is known of a child of an earlier daemon.

    `cpu_s` and `max_rss_bytes` are of the child and its own children; `output` is relative to the
    log folder and holds `output_bytes`, without the `output_discarded` that were too many.
    `error` is what is known beyond exit code and signal, such as that its memory ran out. The
    child itself ended `ago_s` before: its output was waited for.
    """

    run_id: str
    exit_code: int | None
    signal: str | None
    cpu_s: float | None
    max_rss_bytes: int | None
    output: str
    output_bytes: int
    output_discarded: int = 0
    error: str | None = None
    ago_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Probed:
    """Whether what a run waits for is there. `missing` says in words what is not; empty: all is."""

    run_id: str
    missing: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """The condition of a run has been asked, and its secrets have been fetched. `unmet` says why
    the condition does not hold, `error` why there is no getting at a secret; both empty: go."""

    run_id: str
    unmet: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Committed:
    """The intents of every Commit so far are on the disk."""


@dataclass(frozen=True, slots=True)
class DiskFailed:
    """The history cannot be written; what was to be written is kept and tried again."""

    error: str


@dataclass(frozen=True, slots=True)
class DiskBack:
    """All that was to be written has been written."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Another jobfile is in force, as a whole; a job that has not changed may be the same object.
    The clocks of `zones` go by other data than before."""

    jobfile: Jobfile
    zones: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Trigger:
    """A job is started by hand. Raises KeyError in the core when there is no such job."""

    job: str
    by_hand: ByHand | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """A run is called off by hand, in whatever phase it is. Unknown runs have ended already."""

    run_id: str


@dataclass(frozen=True, slots=True)
class PauseJobs:
    """These jobs are not to be run when they are due, for `for_s` seconds (None: until they are
    resumed); `by` is who wants that."""

    jobs: tuple[str, ...]
    for_s: float | None = None
    reason: str | None = None
    by: str | None = None


@dataclass(frozen=True, slots=True)
class ResumeJobs:
    """These jobs are to be run again when they are due. Those that are not paused stay so."""

    jobs: tuple[str, ...]
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """stsd is asked to end; asked a second time it no longer waits, a third time it kills."""


Event = (
    Begin
    | Tick
    | Spawned
    | SpawnFailed
    | Exited
    | Probed
    | Prepared
    | Committed
    | DiskFailed
    | DiskBack
    | Reload
    | Trigger
    | Cancel
    | PauseJobs
    | ResumeJobs
    | Stop
)


@dataclass(frozen=True, slots=True)
class Commit:
    """Bring these intents, and all records before them, to the disk for good; the answer is a
    Committed or a DiskFailed."""

    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """Look whether what a run waits for outside of stsd is there; the answer is a Probed."""

    run: Run


@dataclass(frozen=True, slots=True)
class Prepare:
    """Ask the condition of a run, unless this is a repeated attempt, and fetch its secrets; the
    answer is a Prepared."""

    run: Run
    attempt: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Leave off probing for a run, or preparing it; no answer is wanted any more."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start a child; the answer, at once or later, is a Spawned or a SpawnFailed."""

    run: Run
    attempt: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send a signal (its name without SIG) to a run's whole process group."""

    run_id: str
    signal: str


@dataclass(frozen=True, slots=True)
class Write:
    """Append a record to the history."""

    record: Record


@dataclass(frozen=True, slots=True)
class Say:
    """Tell the log. `level` is `debug`, `info`, `warning` or `error`."""

    level: str
    event: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Quit:
    """Nothing is left to be done: end the process."""


Action = Commit | Probe | Prepare | Abandon | Spawn | Send | Write | Say | Quit
