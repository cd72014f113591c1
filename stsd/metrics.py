"""The list of all metrics: their names, their kinds, and what their numbers are made of.

`OF_STSD` and `PER_JOB` are the whole of it, and docs/metrics.md explains it. Names are by
Prometheus' conventions: base units, `_total` for what only grows. A label is the name of a job or a
word of ours, so that there are never more series than jobs make. It is `job_name`, since `job` is
Prometheus' own name for what it scrapes. Values only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

from stsd.model import MissReason, Outcome, SkipReason
from stsd.tallies import DURATIONS, LATENESSES, Spread, Tally


@dataclass(frozen=True, slots=True)
class Gauges:
    """What is told of stsd as a whole; what is None is not known, and not told.

    `at` is when all this was so, `started` when the daemon was started, `reloaded` when the
    jobfile in force was read, and `reload_ok` whether the last try to read it went well: seconds of
    the wall clock. `running`, `queued` and `delayed` count runs: those that have a process, that
    wait for a place, and that wait for their time. `held` is whether runs are held since the
    history cannot be written. `loop_delay_s` is the longest that the timer loop has been kept from
    its work of late. `conditions` are those in force, by job. `told` and `failed` are tries to
    deliver notices; `lost` ones were given up, and `waiting` ones are still to be told.
    """

    at: float
    version: str
    jobs: int
    started: float | None = None
    reloaded: float | None = None
    reload_ok: bool | None = None
    running: int | None = None
    queued: int | None = None
    delayed: int | None = None
    held: bool | None = None
    loop_delay_s: float | None = None
    memory_bytes: int | None = None
    history_bytes: int | None = None
    disk_free_bytes: int | None = None
    disk_size_bytes: int | None = None
    conditions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    told: int = 0
    failed: int = 0
    lost: int = 0
    waiting: int | None = None


Source = TypeVar("Source")
Labels = tuple[tuple[str, str], ...]
Sample = tuple[str, Labels, float]
"""What follows the metric's name (`_sum`, or nothing), the labels but `job_name`, and the value."""


@dataclass(frozen=True, slots=True)
class Metric(Generic[Source]):
    """One metric; `kind` is `counter`, `gauge` or `histogram`, and `samples` makes its numbers."""

    name: str
    kind: str
    help: str
    samples: Callable[[Source], Iterable[Sample]]


def _one(read: Callable[[Source], float | None]) -> Callable[[Source], Iterator[Sample]]:
    """The samples of a metric that has a single number, where that is known."""

    def samples(source: Source) -> Iterator[Sample]:
        value = read(source)
        if value is not None:
            yield "", (), int(value) if isinstance(value, bool) else value

    return samples


def _spread(read: Callable[[Tally], Spread]) -> Callable[[Tally], Iterator[Sample]]:
    """The samples of a histogram: each bucket has in it what is in those before. There are none
    as long as nothing has been counted."""

    def samples(tally: Tally) -> Iterator[Sample]:
        spread = read(tally)
        total = 0
        if not any(spread.counts):
            return
        for label, count in zip(_BUCKETS[spread.bounds], spread.counts, strict=True):
            total += count
            yield "_bucket", label, total
        yield "_sum", (), spread.sum_s
        yield "_count", (), total

    return samples


_BUCKETS: dict[tuple[float, ...], tuple[Labels, ...]] = {
    bounds: tuple((("le", "+Inf" if bound == inf else str(bound)),) for bound in (*bounds, inf))
    for bounds in (DURATIONS, LATENESSES)
}
# Also what has not happened yet, since a series that begins with 1 has not grown, to Prometheus.
_OUTCOMES: tuple[tuple[Outcome, Labels], ...] = tuple((it, (("outcome", it),)) for it in Outcome)
_SKIPS: tuple[tuple[SkipReason, Labels], ...] = tuple((it, (("reason", it),)) for it in SkipReason)
_MISSES: tuple[tuple[MissReason, Labels], ...] = tuple((it, (("reason", it),)) for it in MissReason)


def _conditions(gauges: Gauges) -> Iterator[Sample]:
    for job, conditions in sorted(gauges.conditions.items()):
        for condition in conditions:
            yield "", (("job_name", job), ("condition", condition)), 1


OF_STSD: tuple[Metric[Gauges], ...] = (
    Metric(
        "stsd_build_info",
        "gauge",
        "The version of stsd that runs.",
        lambda gauges: [("", (("version", gauges.version),), 1)],
    ),
    Metric(
        "stsd_exposed_timestamp_seconds",
        "gauge",
        "When these numbers were told.",
        _one(lambda gauges: gauges.at),
    ),
    Metric(
        "stsd_start_timestamp_seconds",
        "gauge",
        "When the daemon was started.",
        _one(lambda gauges: gauges.started),
    ),
    Metric(
        "stsd_config_last_reload_successful",
        "gauge",
        "Whether the jobfile could be read the last time it was.",
        _one(lambda gauges: gauges.reload_ok),
    ),
    Metric(
        "stsd_config_last_reload_success_timestamp_seconds",
        "gauge",
        "When the jobfile in force was read.",
        _one(lambda gauges: gauges.reloaded),
    ),
    Metric(
        "stsd_jobs",
        "gauge",
        "Jobs in the jobfile.",
        _one(lambda gauges: gauges.jobs),
    ),
    Metric(
        "stsd_running",
        "gauge",
        "Runs that have a process.",
        _one(lambda gauges: gauges.running),
    ),
    Metric(
        "stsd_queued",
        "gauge",
        "Runs that wait for a place.",
        _one(lambda gauges: gauges.queued),
    ),
    Metric(
        "stsd_delayed",
        "gauge",
        "Runs that wait for their next attempt.",
        _one(lambda gauges: gauges.delayed),
    ),
    Metric(
        "stsd_held",
        "gauge",
        "Whether runs are held, since the history cannot be written.",
        _one(lambda gauges: gauges.held),
    ),
    Metric(
        "stsd_loop_delay_seconds",
        "gauge",
        "The longest that the timer loop was kept from its work of late.",
        _one(lambda gauges: gauges.loop_delay_s),
    ),
    Metric(
        "stsd_memory_bytes",
        "gauge",
        "Memory that the daemon has resident.",
        _one(lambda gauges: gauges.memory_bytes),
    ),
    Metric(
        "stsd_history_bytes",
        "gauge",
        "What the history takes on the disk, without the output of the runs.",
        _one(lambda gauges: gauges.history_bytes),
    ),
    Metric(
        "stsd_disk_free_bytes",
        "gauge",
        "What is free on the file system of the log folder.",
        _one(lambda gauges: gauges.disk_free_bytes),
    ),
    Metric(
        "stsd_disk_size_bytes",
        "gauge",
        "The size of that file system.",
        _one(lambda gauges: gauges.disk_size_bytes),
    ),
    Metric(
        "stsd_job_condition",
        "gauge",
        "A condition that a job is in, as late; there is none that it is not in.",
        _conditions,
    ),
    Metric(
        "stsd_notifications_total",
        "counter",
        "Tries to tell somebody, by what became of them.",
        lambda gauges: [
            ("", (("result", "told"),), gauges.told),
            ("", (("result", "failed"),), gauges.failed),
        ],
    ),
    Metric(
        "stsd_notices_lost_total",
        "counter",
        "Notices that were given up.",
        _one(lambda gauges: gauges.lost),
    ),
    Metric(
        "stsd_notifications_waiting",
        "gauge",
        "Notices that are still to be told.",
        _one(lambda gauges: gauges.waiting),
    ),
)
PER_JOB: tuple[Metric[Tally], ...] = (
    Metric(
        "stsd_runs_total",
        "counter",
        "Runs that have ended, by how their last attempt did.",
        lambda tally: [("", labels, tally.runs[it]) for it, labels in _OUTCOMES],
    ),
    Metric(
        "stsd_retries_total",
        "counter",
        "Attempts that were followed by another one.",
        _one(lambda tally: tally.retries),
    ),
    Metric(
        "stsd_skipped_total",
        "counter",
        "Occurrences that were not run on purpose.",
        lambda tally: [("", labels, tally.skipped[it]) for it, labels in _SKIPS],
    ),
    Metric(
        "stsd_missed_total",
        "counter",
        "Occurrences that fell due unseen and were not caught up.",
        lambda tally: [("", labels, tally.missed[it]) for it, labels in _MISSES],
    ),
    Metric(
        "stsd_last_success_timestamp_seconds",
        "gauge",
        "When the last run that succeeded ended.",
        _one(lambda tally: tally.last_success),
    ),
    Metric(
        "stsd_last_run_timestamp_seconds",
        "gauge",
        "When the last run ended.",
        _one(lambda tally: tally.last_run),
    ),
    Metric(
        "stsd_last_run_successful",
        "gauge",
        "Whether the last run that nobody cancelled succeeded.",
        _one(lambda tally: tally.well),
    ),
    Metric(
        "stsd_run_duration_seconds",
        "histogram",
        "How long the last attempts of runs took.",
        _spread(lambda tally: tally.durations),
    ),
    Metric(
        "stsd_start_lateness_seconds",
        "histogram",
        "How long after their time attempts were started.",
        _spread(lambda tally: tally.latenesses),
    ),
)
