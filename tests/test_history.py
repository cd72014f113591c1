"""Writing and reading the run history."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stsd.archive import newest_first
from stsd.history import History
from stsd.model import SkipReason, TriggerKind
from stsd.records import Skipped

DAY = 86400


def record(number: int, at: float = 0.0) -> Skipped:
    return Skipped("job", number, SkipReason.OVERLAP, at, TriggerKind.CRON)


def read(log_dir: Path) -> list[str]:
    return [r["scheduled"] for r in newest_first(log_dir, lambda path, line: None)]


def instants(*numbers: int) -> list[str]:
    return [f"1970-01-01T00:{number // 60:02}:{number % 60:02}Z" for number in numbers]


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Python ignores SIGXFSZ, so that a write beyond the limit is short, then EFBIG."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_records_come_back_newest_first(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number in (1, 2, 3):
        history.append(record(number))
    history.flush()
    assert read(tmp_path) == instants(3, 2, 1)


def test_each_utc_day_has_a_segment_of_its_own(tmp_path: Path) -> None:
    history = History(tmp_path)
    for at in (DAY - 0.001, DAY, 2.5 * DAY):
        history.append(record(int(at / DAY), at))
    history.flush()
    names = sorted(path.name for path in (tmp_path / "history").iterdir())
    assert names == ["1970-01-01.jsonl", "1970-01-02.jsonl", "1970-01-03.jsonl"]
    assert read(tmp_path) == instants(2, 1, 0)


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.append(record(1))
    history.flush()
    assert (tmp_path / "history").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "history" / "1970-01-01.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_history_larger_than_a_block_is_read_whole(tmp_path: Path) -> None:
    history = History(tmp_path)
    for number in range(3000):
        history.append(record(number))
    history.flush()
    assert read(tmp_path) == instants(*range(2999, -1, -1))


def test_a_line_that_does_not_fit_is_taken_back_and_written_when_there_is_space(
    tmp_path: Path,
) -> None:
    history = History(tmp_path)
    history.append(record(1))
    history.flush()
    segment = tmp_path / "history" / "1970-01-01.jsonl"
    whole = segment.read_bytes()
    history.append(record(2))
    with file_size_limit(len(whole) + 10), pytest.raises(OSError, match=r"No space|too large"):
        history.flush()
    assert segment.read_bytes() == whole
    assert history.waiting == 1
    history.flush()
    assert read(tmp_path) == instants(2, 1)


@pytest.mark.parametrize("kept", range(1, 90, 7))
def test_a_torn_last_line_is_cut_off_before_anything_is_appended(tmp_path: Path, kept: int) -> None:
    history = History(tmp_path)
    history.append(record(1))
    history.append(record(2))
    history.flush()
    segment = tmp_path / "history" / "1970-01-01.jsonl"
    first, second = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(first + second[: min(kept, len(second) - 1)])
    later = History(tmp_path)
    later.append(record(3))
    later.flush()
    assert read(tmp_path) == instants(3, 1)


def test_every_byte_is_ascii_whatever_a_job_is_called_or_says(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.append(Skipped("j\u00f6b\n\x1b[31m", 1, SkipReason.OVERLAP, 0.0, TriggerKind.CRON))
    history.flush()
    raw = (tmp_path / "history" / "1970-01-01.jsonl").read_bytes()
    assert raw.isascii()
    assert raw.count(b"\n") == 1
    assert b"\x1b" not in raw
