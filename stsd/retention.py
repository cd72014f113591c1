"""Keeping the history: old segments are compressed, and the oldest are removed with the output
that their records name. Output of jobs that ask for it goes before its records.

Works in a process of its own, a step at a time; killed at any point it loses no record and doubles
none. Never touches the segment of today, nor a file that somebody holds a lock on (flock(2)): that
one is being appended to. No clock but in `main`.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import gzip
import json
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from stsd.archive import oldest_first
from stsd.carry import carry_of, outputs_of
from stsd.history import sync_folder
from stsd.model import Job
from stsd.places import Places
from stsd.segments import Segment, read_lines, segments
from stsd.settings import Settings

_DAY = timedelta(days=1)
_LEVEL = 6
"""Of gzip: a tenth of the size; 9 takes twice the time for another 5 %."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_NICE = 10
_NAMES_A_WORD = 1000
"""An argument may have 128 KiB (execve(2)), a name 64 characters."""
_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); import stsd.retention as r; sys.exit(r.main())"
)
"""Starts `main` wherever the package lies, and takes nothing from the working folder."""


class Did(StrEnum):
    """What a step has done."""

    NOTHING = "nothing"
    COMPRESSED = "compressed"
    EXPIRED = "expired"
    REMOVED = "removed"
    SWEPT = "swept"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept: seconds of history, and bytes of history and output; None is no limit.
    `output_keep_s` are the seconds of output by job, where it is to go before the history."""

    keep_s: float | None = None
    max_size: int | None = None
    output_keep_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kept:
    """A step: what was done, to the segment of which day, and how many files of output went."""

    did: Did
    day: date | None = None
    outputs: int = 0

    @property
    def more(self) -> bool:
        """Whether another step may find something to do."""
        return self.did is not Did.NOTHING


def keep(log_dir: Path, *, now: float, limits: Limits) -> Kept:
    """Do one thing that is to be done, at most a segment's work.

    Segments older than yesterday's (UTC) are compressed. Output that has not grown for its job's
    `output_keep_s` goes, unless it is being written. The oldest is removed when all of it is
    older than `keep_s`, or while history and output together exceed `max_size`; what of it is still
    in force is put at the head of the next one first, and where that one cannot be changed, since
    it is today's, the segment stays. Output that no record names, and that is older than all that
    is kept, goes as well. Raises OSError; when there is no space to do one thing, the others are
    tried before.
    """
    trouble: OSError | None = None
    keeper = _Keeper(log_dir, now, limits)
    for step in (keeper.expire, keeper.age, keeper.compress, keeper.shrink, keeper.sweep):
        try:
            kept = step()
        except OSError as error:
            if error.errno not in _NO_SPACE:
                raise
            trouble = error
        else:
            if kept is not None:
                return kept
    if trouble is not None:
        raise trouble
    return Kept(Did.NOTHING)


class _Keeper:
    """One step."""

    def __init__(self, log_dir: Path, now: float, limits: Limits) -> None:
        self._log_dir = log_dir
        self._now = now
        self._limits = limits
        self._today = datetime.fromtimestamp(now, UTC).date()

    def expire(self) -> Kept | None:
        """Remove the oldest segment if nothing in it is to be kept for its age."""
        found = segments(self._log_dir)
        if not found or self._limits.keep_s is None:
            return None
        if _begin(found[0].day + _DAY) > self._now - self._limits.keep_s:
            return None
        return self._remove(found)

    def age(self) -> Kept | None:
        """Remove the output that its job does not want to be kept any longer."""
        removed = 0
        for job, keep_s in self._limits.output_keep_s.items():
            for name, status in _outputs_of_job(self._log_dir, job):
                if stat.S_ISREG(status.st_mode) and status.st_mtime < self._now - keep_s:
                    removed += self._unlink_if_free(name)
        return Kept(Did.EXPIRED, outputs=removed) if removed else None

    def compress(self) -> Kept | None:
        """Compress the oldest segment that is plain and older than yesterday's."""
        for segment in segments(self._log_dir):
            if segment.day < self._today - _DAY and _plain(self._log_dir, segment.day).exists():
                with _locked(self._log_dir, segment.day) as free:
                    if free:
                        _pack(self._log_dir, segment)
                        return Kept(Did.COMPRESSED, segment.day)
        return None

    def shrink(self) -> Kept | None:
        """Remove the oldest segment if all together is too large."""
        if self._limits.max_size is None or _size(self._log_dir) <= self._limits.max_size:
            return None
        return self._remove(segments(self._log_dir))

    def sweep(self) -> Kept | None:
        """Remove output that is older than all that is kept and that no record names, and the
        folders of jobs that have been empty for a day."""
        found = segments(self._log_dir)
        if not found or (self._limits.keep_s is None and self._limits.max_size is None):
            return None
        oldest = min(_begin(found[0].day), self._now - (self._limits.keep_s or 0))
        old = {name for name, status in _outputs(self._log_dir) if status.st_mtime < oldest}
        if old:
            for record in oldest_first(self._log_dir, lambda path, line: None):
                old -= outputs_of(record)
        removed = self._unlink(old)
        folders = sum(map(self._remove_if_empty, _job_folders(self._log_dir)))
        return Kept(Did.SWEPT, outputs=removed) if removed or folders else None

    def _remove(self, found: list[Segment]) -> Kept | None:
        """Remove the first of these segments: its output, then itself, once the next one says what
        is still in force of it."""
        if len(found) < 2 or found[0].day >= self._today:
            return None
        oldest, heir = found[:2]
        carry = carry_of(oldest)
        with (
            _locked(self._log_dir, oldest.day) as oldest_is_free,
            _locked(self._log_dir, heir.day) as heir_is_free,
        ):
            if not oldest_is_free:
                return None
            if carry.lines and (heir.day >= self._today or not heir_is_free):
                return None
            removed = self._unlink(carry.outputs)
            if carry.lines:
                _pack(self._log_dir, heir, carry.lines)
            packed = _packed(self._log_dir, oldest.day)
            for path in (_unfinished(packed), packed, _plain(self._log_dir, oldest.day)):
                path.unlink(missing_ok=True)
        return Kept(Did.REMOVED, oldest.day, removed)

    def _unlink(self, outputs: Iterable[str]) -> int:
        """Remove files of output; how many there were."""
        removed = 0
        for name in outputs:
            with suppress(FileNotFoundError, NotADirectoryError):
                (self._log_dir / name).unlink()
                removed += 1
        return removed

    def _unlink_if_free(self, name: str) -> bool:
        """Remove a file of output that nobody writes into; whether there was one."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(self._log_dir / name, flags)
        except FileNotFoundError:
            return False
        with _lock(fd) as free:
            return free and self._unlink([name]) > 0

    def _remove_if_empty(self, folder: os.DirEntry[str]) -> bool:
        """Only a folder in which nothing has changed for a day: a new one is about to be used."""
        if folder.stat(follow_symlinks=False).st_mtime > self._now - _DAY.total_seconds():
            return False
        try:
            os.rmdir(folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                raise
            return False
        return True


def command(places: Places, settings: Settings, jobs: Iterable[Job] = ()) -> list[str]:
    """The program and arguments that keep the history of a daemon: to be run at its start and once
    a day. Prints a JSON line for each thing that it does; exits with 1 if it cannot go on."""
    words = [sys.executable, "-P", "-c", _START, str(Path(__file__).parent.parent)]
    if settings.history_keep is not None:
        words += ["--keep", str(settings.history_keep)]
    if settings.history_max_size is not None:
        words += ["--max-size", str(settings.history_max_size)]
    for keep_s, names in _by_keep(jobs).items():
        for first in range(0, len(names), _NAMES_A_WORD):
            some = ",".join(names[first : first + _NAMES_A_WORD])
            words += ["--output-keep", f"{keep_s}:{some}"]
    return [*words, "--", str(places.log_dir)]


def _by_keep(jobs: Iterable[Job]) -> dict[float, list[str]]:
    """The jobs whose output is to go before the history, by after how many seconds."""
    found: dict[float, list[str]] = {}
    for job in jobs:
        if job.output.keep is not None:
            found.setdefault(job.output.keep, []).append(job.name)
    return found


def _output_keep(word: str) -> dict[str, float]:
    """What `command` wrote: `SECONDS:JOB,JOB`."""
    seconds, _, names = word.partition(":")
    return dict.fromkeys(names.split(","), float(seconds))


def main() -> int:
    """Do all there is to do, out of the way of everything else."""
    parser = argparse.ArgumentParser(description="Keep the history of stsd.")
    parser.add_argument("log_dir", type=Path)
    parser.add_argument("--keep", type=float, metavar="SECONDS")
    parser.add_argument("--max-size", type=int, metavar="BYTES")
    parser.add_argument(
        "--output-keep", type=_output_keep, action="append", default=[], metavar="SECONDS:JOBS"
    )
    arguments = parser.parse_args()
    os.nice(_NICE)
    output_keep_s = {job: s for some in arguments.output_keep for job, s in some.items()}
    limits = Limits(arguments.keep, arguments.max_size, output_keep_s)
    try:
        with _alone(arguments.log_dir) as alone:
            while alone:
                kept = keep(arguments.log_dir, now=time.time(), limits=limits)
                if not kept.more:
                    break
                told = {"did": kept.did, "day": kept.day and str(kept.day), "outputs": kept.outputs}
                print(json.dumps(told), flush=True)
    except OSError as error:
        print(json.dumps({"did": "failed", "error": str(error)}), flush=True)
        return 1
    return 0


# -- files


def _pack(log_dir: Path, segment: Segment, head: Iterable[bytes] | None = None) -> None:
    """Put the segment into one compressed file, with another `head` if one is given.

    Whoever reads it meanwhile, or after a crash at any point, finds the one or the other.
    """
    packed = _packed(log_dir, segment.day)
    unfinished = _unfinished(packed)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with open(os.open(unfinished, flags, 0o600), "wb") as file:
            with gzip.GzipFile("", "wb", _LEVEL, file, mtime=0) as target:
                target.writelines(head or ())
                for lines in _whole_lines(segment, head is None):
                    target.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        unfinished.rename(packed)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise
    sync_folder(packed.parent)
    _plain(log_dir, segment.day).unlink(missing_ok=True)
    sync_folder(packed.parent)


def _whole_lines(segment: Segment, head: bool) -> Iterator[list[bytes]]:
    """The lines of a segment; what was torn off at the end of one file ends there."""
    torn = False
    for lines in read_lines(segment, head=head):
        if torn:
            yield [b"\n"]
        yield lines
        torn = not lines[-1].endswith(b"\n")


def _plain(log_dir: Path, day: date) -> Path:
    return log_dir / "history" / f"{day}.jsonl"


def _packed(log_dir: Path, day: date) -> Path:
    return log_dir / "history" / f"{day}.jsonl.gz"


def _unfinished(packed: Path) -> Path:
    return packed.with_name(packed.name + ".tmp")


@contextmanager
def _locked(log_dir: Path, day: date) -> Iterator[bool]:
    """Whether nobody appends to the segment of a day, and nobody begins to as long as this holds:
    who does has a shared lock on the plain file."""
    try:
        fd = os.open(_plain(log_dir, day), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        yield True
        return
    with _lock(fd) as free:
        yield free


@contextmanager
def _alone(log_dir: Path) -> Iterator[bool]:
    """Whether nobody else keeps this history, and nobody begins to as long as this holds."""
    try:
        fd = os.open(log_dir / "history", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    with _lock(fd) as free:
        yield free


@contextmanager
def _lock(fd: int) -> Iterator[bool]:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(fd)


def _begin(day: date) -> float:
    return datetime.combine(day, datetime.min.time(), UTC).timestamp()


def _size(log_dir: Path) -> int:
    """Bytes of history and output together."""
    kept = (path for segment in segments(log_dir) for path in segment.parts)
    output = sum(status.st_size for _, status in _outputs(log_dir))
    return sum(path.stat().st_size for path in kept) + output


def _job_folders(log_dir: Path) -> list[os.DirEntry[str]]:
    """The folders of output."""
    with suppress(FileNotFoundError), os.scandir(log_dir / "output") as entries:
        return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _outputs(log_dir: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Every file of output, as records name it."""
    for folder in _job_folders(log_dir):
        yield from _outputs_of_job(log_dir, folder.name)


def _outputs_of_job(log_dir: Path, job: str) -> Iterator[tuple[str, os.stat_result]]:
    gone = (FileNotFoundError, NotADirectoryError)
    with suppress(*gone), os.scandir(log_dir / "output" / job) as entries:
        for entry in entries:
            if entry.name.endswith(".log"):
                status = entry.stat(follow_symlinks=False)
                yield f"output/{job}/{entry.name}", status
