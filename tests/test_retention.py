"""Keeping the history: compression, removal, and what a removed segment leaves behind."""

from __future__ import annotations

import errno
import fcntl
import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from stsd.archive import newest_first, oldest_first
from stsd.model import ArgvTask, Job, Outcome, Output, TriggerKind, When
from stsd.output import output_name
from stsd.places import Places
from stsd.records import Begun, Finished, Intent, Planned, Record, Started, encode
from stsd.retention import Did, Kept, Limits, command, keep
from stsd.settings import Settings
from stsd.sieve import KeptFile
from stsd.units import rfc3339

pytestmark = pytest.mark.slow

DAY = 86400
HOUR = 3600
TODAY = 20_000
"""The number of a day since the epoch; in these tests it is noon of it."""
NOW = TODAY * DAY + 12 * HOUR
NO_LIMITS = Limits()
STRACE = shutil.which("strace")


class Log:
    """A log folder that is filled by hand; days count from today backwards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "history").mkdir(parents=True)

    def segment(self, ago: int) -> Path:
        return self.folder / "history" / f"{day(ago)}.jsonl"

    def add(self, ago: int, *records: Record) -> None:
        with self.segment(ago).open("ab") as file:
            file.writelines(map(encode, records))

    def ran(self, ago: int, job: str = "job", hour: int = 1) -> Path:
        """An attempt that succeeded, with its output."""
        path = self.printed(ago, job, hour)
        self.add(ago, *attempt(ago, job, hour))
        return path

    def printed(self, ago: int, job: str, hour: int) -> Path:
        path = self.folder / output_name(job, run_id(ago, job, hour), 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{job} {ago} {hour}\n")
        os.utime(path, (at(ago, hour), at(ago, hour)))
        return path

    def keep(self, limits: Limits = NO_LIMITS, now: float = NOW) -> list[Kept]:
        """All the steps there are to do."""
        steps = []
        while (kept := keep(self.folder, now=now, limits=limits)).more:
            steps.append(kept)
            assert len(steps) < 100
        return steps

    def records(self, *events: str) -> list[dict[str, Any]]:
        """What is read of it, which is the same from either end."""
        records = list(oldest_first(self.folder, refuse))
        assert list(newest_first(self.folder, refuse)) == records[::-1]
        return [record for record in records if not events or record["event"] in events]

    def names(self) -> list[str]:
        return sorted(path.name for path in (self.folder / "history").iterdir())

    def outputs(self) -> list[str]:
        files = (self.folder / "output").rglob("*.log")
        return sorted(str(path.relative_to(self.folder)) for path in files)


def refuse(path: Path, damaged: bytes) -> None:
    raise AssertionError(f"{path}: {damaged!r}")


def at(ago: int, hour: float) -> int:
    return int((TODAY - ago) * DAY + hour * HOUR)


def day(ago: int) -> str:
    return rfc3339(at(ago, 0))[:10]


def run_id(ago: int, job: str, hour: int) -> str:
    return f"{job}@{at(ago, hour)}"


def intent(ago: int, job: str, hour: int) -> Intent:
    when = at(ago, hour)
    return Intent(run_id(ago, job, hour), job, when, TriggerKind.CRON, 1, when + 0.001)


def start(ago: int, job: str, hour: int) -> Started:
    when = at(ago, hour)
    run = run_id(ago, job, hour)
    return Started(run, job, when, TriggerKind.CRON, 1, when + 0.002, 0.002, 4711, 99)


def end(ago: int, job: str, hour: int, *, lasted_s: float = 1.0) -> Finished:
    when, run = at(ago, hour), run_id(ago, job, hour)
    output = output_name(job, run, 1)
    ended = when + lasted_s
    return Finished(run, job, when, TriggerKind.CRON, 1, Outcome.SUCCEEDED, ended, 0, output=output)


def attempt(ago: int, job: str = "job", hour: int = 1) -> tuple[Record, ...]:
    return intent(ago, job, hour), start(ago, job, hour), end(ago, job, hour)


def begun(ago: int, boot: str = "boot", hour: float = 0.5) -> Begun:
    return Begun(1, boot, "1.0", float(at(ago, hour)))


def planned(ago: int, job: str, *, hour: float = 0.5, every: int | None = HOUR) -> Planned:
    when = None if every is None else When(every=every)
    return Planned(job, when, at(ago, hour), float(at(ago, hour)))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


# -- compression


def test_segments_older_than_yesterday_are_compressed_and_still_read(log: Log) -> None:
    for ago in (4, 3, 2, 1, 0):
        log.ran(ago)
    before = log.records()
    assert log.keep() == [Kept(Did.COMPRESSED, date_of(ago)) for ago in (4, 3, 2)]
    assert log.records() == before
    assert log.names() == [
        f"{day(4)}.jsonl.gz",
        f"{day(3)}.jsonl.gz",
        f"{day(2)}.jsonl.gz",
        f"{day(1)}.jsonl",
        f"{day(0)}.jsonl",
    ]
    assert len(log.outputs()) == 5


def date_of(ago: int) -> date:
    return date.fromisoformat(day(ago))


def test_a_compressed_segment_is_what_gunzip_makes_the_plain_one_of(log: Log) -> None:
    log.ran(2)
    plain = log.segment(2).read_bytes()
    log.keep()
    packed = log.segment(2).with_suffix(".jsonl.gz")
    assert subprocess.run(["gunzip", "-c", packed], capture_output=True).stdout == plain
    assert packed.stat().st_mode & 0o777 == 0o600


def test_a_segment_that_somebody_appends_to_is_left_alone(log: Log) -> None:
    log.ran(3)
    log.ran(2)
    with log.segment(3).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert [step.day for step in log.keep(Limits(keep_s=0))] == [date_of(2)]
        assert log.segment(3).exists()
    assert [step.did for step in log.keep()] == [Did.COMPRESSED]


def test_segments_of_days_to_come_are_left_alone(log: Log) -> None:
    log.ran(-400)
    log.ran(0)
    assert log.keep(Limits(keep_s=1, max_size=1)) == []


def test_a_torn_line_stays_as_it_is(log: Log) -> None:
    log.ran(3)
    with log.segment(3).open("ab") as file:
        file.write(b'{"event":"fin')
    plain = log.segment(3).read_bytes()
    log.ran(0)
    log.keep()
    assert gzip.decompress(log.segment(3).with_suffix(".jsonl.gz").read_bytes()) == plain


def test_what_was_written_after_the_compression_is_put_in_as_well(log: Log) -> None:
    log.ran(3, hour=1)
    log.ran(0)
    log.keep()
    log.ran(3, hour=2)
    before = log.records()
    assert len(before) == 9
    assert [step.did for step in log.keep()] == [Did.COMPRESSED]
    assert log.records() == before
    assert log.names() == [f"{day(3)}.jsonl.gz", f"{day(0)}.jsonl"]


# -- removal


def test_what_is_older_than_keep_is_removed_with_its_output(log: Log) -> None:
    for ago in range(6, -1, -1):
        log.ran(ago)
    steps = log.keep(Limits(keep_s=3 * DAY))
    removed = [step.day for step in steps if step.did is Did.REMOVED]
    assert removed == [date_of(6), date_of(5), date_of(4)]
    kept = [record["at"][:10] for record in log.records("finished")]
    assert kept == [day(ago) for ago in (3, 2, 1, 0)]
    assert log.outputs() == [record["output"] for record in log.records("finished")]


def test_a_day_is_kept_until_all_of_it_is_too_old(log: Log) -> None:
    log.ran(3)
    log.ran(0)
    midnight = TODAY * DAY - 2 * DAY
    assert Did.REMOVED not in {s.did for s in log.keep(Limits(5 * DAY), midnight + 5 * DAY - 1)}
    assert Did.REMOVED in {s.did for s in log.keep(Limits(5 * DAY), midnight + 5 * DAY)}


def test_the_oldest_go_until_history_and_output_fit(log: Log) -> None:
    for ago in range(6, -1, -1):
        log.ran(ago).write_bytes(b"x" * 10_000)
    log.keep(Limits(max_size=45_000))
    assert [record["at"][:10] for record in log.records("finished")] == [
        day(ago) for ago in (3, 2, 1, 0)
    ]
    assert len(log.outputs()) == 4


def test_todays_segment_stays_whatever_the_limits(log: Log) -> None:
    log.ran(0)
    before = log.segment(0).read_bytes()
    assert log.keep(Limits(keep_s=0, max_size=1)) == []
    assert log.segment(0).read_bytes() == before


def test_without_limits_nothing_is_removed(log: Log) -> None:
    log.printed(500, "orphan", 1)
    for ago in (400, 300, 0):
        log.ran(ago)
    log.keep()
    assert len(log.records("finished")) == 3
    assert len(log.outputs()) == 4


@pytest.mark.parametrize("name", ["../secret.log", "output/../../secret.log", "/etc/secret.log"])
def test_a_record_cannot_name_a_file_outside_the_output(log: Log, name: str) -> None:
    victim = log.folder.parent / "secret.log"
    victim.write_text("keep me")
    record = {**end(5, "job", 1).fields(), "output": name}
    log.segment(5).write_bytes(json.dumps(record).encode() + b"\n")
    log.ran(0)
    assert [step.outputs for step in log.keep(Limits(keep_s=DAY))] == [0]
    assert victim.exists()


# -- output that no record names


def test_output_of_attempts_that_were_cut_off_goes_as_it_grows_older_than_the_history(
    log: Log,
) -> None:
    log.printed(9, "lost", 1)
    kept = log.printed(2, "lost", 1)
    for ago in (5, 3, 0):
        log.ran(ago)
    log.keep(Limits(keep_s=3 * DAY))
    assert [name for name in log.outputs() if "lost" in name] == [str(kept.relative_to(log.folder))]


def test_output_of_a_run_that_goes_on_stays_however_old(log: Log) -> None:
    path = log.printed(9, "long", 1)
    log.add(9, begun(9), intent(9, "long", 1), start(9, "long", 1))
    for ago in (8, 7, 3, 0):
        log.ran(ago)
    log.keep(Limits(keep_s=2 * DAY))
    assert path.exists()
    assert log.records("started")[0]["job"] == "long"


def test_output_of_a_run_that_ended_late_goes_with_the_record_of_its_end(log: Log) -> None:
    path = log.printed(9, "long", 1)
    log.add(9, begun(9), intent(9, "long", 1), start(9, "long", 1))
    log.add(5, end(9, "long", 1, lasted_s=4 * DAY))
    log.ran(3)
    log.ran(0)
    log.keep(Limits(keep_s=5 * DAY))
    assert path.exists()
    assert len(log.records("finished")) == 3
    log.keep(Limits(keep_s=5 * DAY), NOW + DAY)
    assert not path.exists()
    assert len(log.records("finished")) == 2


def test_the_folder_of_a_job_goes_when_it_has_been_empty_for_a_day(log: Log) -> None:
    folder = log.ran(9, "gone").parent
    log.ran(3)
    log.ran(0)
    log.keep(Limits(keep_s=5 * DAY))
    assert list(folder.iterdir()) == []
    os.utime(folder, (NOW - DAY - 1, NOW - DAY - 1))
    assert [step.did for step in log.keep(Limits(keep_s=5 * DAY))] == [Did.SWEPT]
    assert not folder.exists()
    assert (log.folder / "output" / "job").exists()


# -- what is carried over


def test_the_schedules_in_force_outlast_the_segments_that_told_of_them(log: Log) -> None:
    log.add(9, planned(9, "a"), planned(9, "b"), planned(9, "a", hour=2, every=60))
    for ago in (9, 8, 5, 3, 0):
        log.ran(ago)
    log.keep(Limits(keep_s=5 * DAY))
    told = log.records("schedule")
    assert [(r["job"], r["when"], r["at"][:10]) for r in told] == [
        ("b", {"every": HOUR}, day(9)),
        ("a", {"every": 60}, day(9)),
    ]
    last_second_of_what_was_removed = rfc3339(at(8, 24) - 1)
    assert {r["since"] for r in told} == {last_second_of_what_was_removed}
    assert log.records()[:2] == told


def test_a_schedule_that_changes_later_counts_until_then(log: Log) -> None:
    log.add(9, planned(9, "a"))
    log.add(8, planned(8, "a", every=60))
    log.add(7, planned(7, "a", every=90))
    log.ran(0)
    log.keep(Limits(keep_s=8 * DAY))
    assert [(r["when"]["every"], r["since"]) for r in log.records("schedule")] == [
        (HOUR, rfc3339(at(9, 24) - 1)),
        (60, rfc3339(at(8, 0.5))),
        (90, rfc3339(at(7, 0.5))),
    ]


def test_the_schedule_of_a_job_that_is_no_longer_due_is_dropped(log: Log) -> None:
    log.add(9, planned(9, "a"), planned(9, "a", hour=2, every=None))
    for ago in (7, 0):
        log.ran(ago)
    log.keep(Limits(keep_s=5 * DAY))
    assert log.records("schedule") == []


def test_a_run_that_goes_on_is_carried_over_until_it_has_ended(log: Log) -> None:
    log.add(9, begun(9, "first"), intent(9, "long", 1), start(9, "long", 1))
    log.add(8, begun(8, "second"))
    for ago in (7, 5, 3, 0):
        log.ran(ago)
    log.add(4, end(9, "long", 1, lasted_s=5 * DAY))
    log.keep(Limits(keep_s=5 * DAY))
    assert [r.get("boot", r.get("run")) for r in log.records()[:4]] == [
        "first",
        run_id(9, "long", 1),
        run_id(9, "long", 1),
        "second",
    ]
    log.keep(Limits(keep_s=5 * DAY), NOW + 3 * DAY)
    assert not [r for r in log.records() if r.get("job") == "long"]


def test_a_run_that_waits_for_its_next_attempt_is_carried_over_with_its_output(log: Log) -> None:
    path = log.printed(9, "slow", 1)
    failed = replace(end(9, "slow", 1), outcome=Outcome.FAILED, will_retry_at=float(at(4, 1)))
    log.add(9, intent(9, "slow", 1), start(9, "slow", 1), failed)
    for ago in (7, 3, 0):
        log.ran(ago)
    log.add(4, replace(intent(9, "slow", 1), attempt=2, at=float(at(4, 1))))
    log.add(4, replace(end(9, "slow", 1), attempt=2, at=float(at(4, 1))))
    log.keep(Limits(keep_s=6 * DAY))
    assert log.records()[0] == failed.fields()
    assert path.exists()
    log.keep(Limits(keep_s=6 * DAY), NOW + 3 * DAY)
    assert {r["job"] for r in log.records()} == {"job"}
    assert not path.exists()


def test_the_books_balance_for_what_is_kept(log: Log) -> None:
    for job in ("a", "b"):
        log.add(9, planned(9, job, every=6 * HOUR))
    log.add(6, planned(6, "b", hour=13, every=12 * HOUR))
    for ago in range(9, -1, -1):
        for hour in (6, 12, 18, 24):
            log.ran(ago - hour // 24, "a", hour % 24)
            if ago > 6 or (ago == 6 and hour < 13) or hour in (12, 24):
                log.ran(ago - hour // 24, "b", hour % 24)
    jobfile = log.folder / "jobs.toml"
    jobfile.write_text(f'[daemon]\nlog_dir = "{log.folder}"\nstate_dir = "{log.folder}/state"\n')
    for kept_days in (30, 8, 6, 4):
        log.keep(Limits(keep_s=kept_days * DAY))
        words = [sys.executable, "-m", "stsd", "audit", "-c", str(jobfile)]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "the books balance" in done.stdout


def test_a_segment_stays_while_only_todays_could_take_its_schedules(log: Log) -> None:
    log.add(1, planned(1, "a"))
    log.ran(0)
    live = log.segment(0).read_bytes()
    assert log.keep(Limits(keep_s=0, max_size=1)) == []
    assert log.segment(0).read_bytes() == live
    assert len(log.records("schedule")) == 1


# -- trouble


def test_a_full_disk_leaves_everything_as_it_was(log: Log) -> None:
    for ago in (5, 3, 0):
        log.ran(ago)
    before, names = log.records(), log.names()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            keep(log.folder, now=NOW, limits=NO_LIMITS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert log.records() == before
    assert log.names() == names


def test_with_no_space_to_compress_what_is_too_much_is_removed(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ago in (5, 4, 1, 0):
        log.ran(ago)

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert keep(log.folder, now=NOW, limits=Limits(max_size=1)).did is Did.REMOVED
    with pytest.raises(OSError, match="No space"):
        keep(log.folder, now=NOW, limits=NO_LIMITS)


def test_a_damaged_segment_does_not_hold_up_the_others(log: Log) -> None:
    for ago in (9, 7, 5, 0):
        log.add(ago, planned(ago, f"job{ago}"))
        log.ran(ago)
    log.keep()
    for ago in (9, 7):
        packed = log.segment(ago).with_suffix(".jsonl.gz")
        packed.write_bytes(packed.read_bytes()[:-9])
    log.keep(Limits(keep_s=4 * DAY))
    assert log.names() == [f"{day(5)}.jsonl.gz", f"{day(0)}.jsonl"]
    assert len(log.records("finished")) == 2


def filled(folder: Path) -> Log:
    """A history with everything that there is to be kept or to go."""
    log = Log(folder)
    log.printed(12, "lost", 1)
    log.add(8, begun(8), planned(8, "job"), planned(8, "old"), intent(8, "long", 1))
    log.add(8, start(8, "long", 1), planned(8, "old", hour=2, every=None))
    log.printed(8, "long", 1)
    for ago in (8, 7, 5, 3, 1, 0):
        log.ran(ago)
        log.ran(ago, "other", 2)
    return log


KEEP_ALL = """
import sys
from pathlib import Path
from stsd.retention import Limits, keep
while keep(Path(sys.argv[1]), now=int(sys.argv[2]), limits=Limits(keep_s=int(sys.argv[3]))).more:
    pass
"""
LIMIT_S = 4 * DAY


def states() -> Iterable[list[dict[str, Any]]]:
    """What may be read of that history at any time: what is read between the steps."""
    with tempfile.TemporaryDirectory() as folder:
        log = filled(Path(folder) / "log")
        yield log.records()
        while keep(log.folder, now=NOW, limits=Limits(LIMIT_S)).more:
            yield log.records()


@pytest.mark.skipif(STRACE is None, reason="needs strace, to break system calls")
@pytest.mark.parametrize(
    "fault",
    [
        "signal=SIGKILL",
        pytest.param("error=EIO", marks=pytest.mark.slow),
        pytest.param("error=ENOSPC", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "rename", "unlink", "rmdir", "flock"])
def test_broken_off_anywhere_no_record_is_lost_or_doubled(
    tmp_path: Path, call: str, fault: str
) -> None:
    allowed = list(states())
    whole = filled(tmp_path / "whole")
    whole.keep(Limits(LIMIT_S))
    number, injected = 0, True
    while injected:
        number += 1
        log = filled(tmp_path / str(number))
        if call == "rmdir":
            old_and_empty(log)
        injected = broken(log, f"{call}:{fault}:when={number}")
        assert log.records() in allowed
        log.keep(Limits(LIMIT_S))
        assert log.records() == allowed[-1]
        assert log.outputs() == whole.outputs()
        assert log.names() == whole.names()
    assert number > 1


def old_and_empty(log: Log) -> None:
    folder = log.folder / "output" / "empty"
    folder.mkdir()
    os.utime(folder, (0, 0))


def broken(log: Log, fault: str) -> bool:
    """Whether the keeping of the history came as far as the fault."""
    trace = log.folder / "trace"
    call = fault.partition(":")[0]
    words = [sys.executable, "-c", KEEP_ALL, str(log.folder), str(NOW), str(LIMIT_S)]
    traced = [str(STRACE), "-qq", "-o", str(trace), "-e", f"trace={call}", "-e", f"inject={fault}"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([*traced, *words], capture_output=True, env=environment)
    told = trace.read_text()
    trace.unlink()
    injected = "INJECTED" in told or done.returncode < 0
    assert injected or done.returncode == 0, done.stderr
    return injected


# -- output that its job keeps for a shorter time


def test_output_goes_when_its_job_wants_it_no_longer_and_the_records_stay(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for ago in (1, 3, 5):
        log.ran(ago, "short")
        log.ran(ago, "long")
        log.ran(ago, "other")
    records = log.records()
    steps = log.keep(Limits(output_keep_s={"short": 2.0 * DAY, "long": 4.0 * DAY, "never": 1.0}))
    assert [step for step in steps if step.outputs] == [Kept(Did.EXPIRED, outputs=3)]
    assert log.records() == records
    left = {(job, ago) for job in ("short", "long", "other") for ago in (1, 3, 5)}
    left -= {("short", 3), ("short", 5), ("long", 5)}
    assert log.outputs() == sorted(output_name(job, run_id(ago, job, 1), 1) for job, ago in left)


def test_output_that_is_still_written_into_is_not_too_old(tmp_path: Path) -> None:
    log = Log(tmp_path)
    limits = Limits(output_keep_s={"job": float(DAY)})
    path = log.ran(3)
    file = KeptFile(os.fsencode(path), 1000)
    file.add(b"after a long silence\n")
    os.utime(path, (at(3, 1), at(3, 1)))
    log.keep(limits)
    assert path.exists()
    file.end()
    log.keep(limits)
    assert not path.exists()


def test_what_is_no_file_of_output_is_left_where_it_is(tmp_path: Path) -> None:
    log = Log(tmp_path)
    path = log.ran(3)
    target = tmp_path / "target"
    target.touch()
    link = path.with_name("link.log")
    link.symlink_to(target)
    other = path.with_name("notes.txt")
    other.touch()
    for aged in (target, other):
        os.utime(aged, (at(3, 1), at(3, 1)))
    os.utime(link, (at(3, 1), at(3, 1)), follow_symlinks=False)
    log.keep(Limits(output_keep_s={"job": float(DAY)}))
    assert not path.exists()
    assert link.is_symlink()
    assert target.exists()
    assert other.exists()


def test_a_short_life_of_output_alone_sweeps_nothing_else(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.ran(1)
    stray = log.printed(9, "job", 2)
    log.keep(Limits(output_keep_s={"another": 1.0}))
    assert stray.exists()


# -- the process of its own


def run(
    folder: Path, settings: Settings, jobs: Iterable[Job] = ()
) -> tuple[int, list[dict[str, Any]]]:
    words = command(Places(folder, folder), settings, jobs)
    done = subprocess.run(words, capture_output=True, text=True, cwd="/", timeout=30)
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_the_command_does_all_there_is_to_do_and_tells_of_it(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    days_since = int(time.time()) // DAY - TODAY
    for ago in (9, 4, 0):
        log.ran(ago - days_since)
    settings = Settings(history_keep=6.0 * DAY, history_max_size=10_000_000)
    assert run(log.folder, settings) == (
        0,
        [
            {"did": "removed", "day": day(9 - days_since), "outputs": 1},
            {"did": "compressed", "day": day(4 - days_since), "outputs": 0},
        ],
    )
    assert len(log.records("finished")) == 2
    assert run(log.folder, settings) == (0, [])


def test_the_command_knows_for_how_long_each_job_keeps_its_output(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    days_since = int(time.time()) // DAY - TODAY
    for ago in (1, 3, 5):
        log.ran(ago - days_since, "short")
        log.ran(ago - days_since, "long")
        log.ran(ago - days_since, "other")
    jobs = [
        Job("short", ArgvTask(("true",)), output=Output(keep=2.5 * DAY)),
        Job("long", ArgvTask(("true",)), output=Output(keep=4.5 * DAY)),
        Job("other", ArgvTask(("true",))),
    ]
    many = [Job(f"job-{n:060}", jobs[0].task, output=Output(keep=1.0)) for n in range(10_000)]
    status, told = run(log.folder, Settings(), [*jobs, *many])
    assert status == 0
    assert told[0] == {"did": "expired", "day": None, "outputs": 3}
    assert len(log.outputs()) == 6


def test_the_command_on_no_history_does_nothing(tmp_path: Path) -> None:
    assert run(tmp_path / "nowhere", Settings()) == (0, [])


def test_the_command_does_nothing_while_another_one_is_at_it(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.ran(3)
    fd = os.open(log.folder / "history", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert run(log.folder, Settings()) == (0, [])
    finally:
        os.close(fd)
    assert run(log.folder, Settings())[1] != []


def test_the_command_says_why_it_cannot_go_on(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.ran(3)
    (log.folder / "history" / f"{day(3)}.jsonl.gz.tmp").mkdir()
    status, told = run(log.folder, Settings())
    assert status == 1
    assert told[-1]["did"] == "failed"
    assert "jsonl.gz.tmp" in told[-1]["error"]


def test_nothing_in_the_working_folder_is_run(tmp_path: Path) -> None:
    log = Log(tmp_path / "log")
    log.ran(3)
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    words = command(Places(log.folder, log.folder), Settings())
    assert subprocess.run(words, cwd=tmp_path, stdout=subprocess.DEVNULL).returncode == 0
