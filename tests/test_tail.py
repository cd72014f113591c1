"""Following the history: midnight, rotation, half a line, what a failed disk makes written anew."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest

from stsd.history import History
from stsd.model import SkipReason, TriggerKind
from stsd.records import Skipped, encode
from stsd.tail import Tail

T0 = 1_795_255_200  # 2026-11-21T10:00:00Z
DAY = 86400


def record(number: int, at: float = T0) -> Skipped:
    return Skipped("job", number, SkipReason.OVERLAP, at, TriggerKind.CRON)


def numbers(tail: Tail) -> list[int]:
    """Which records are new; each was scheduled at its number."""
    return [
        int(str(each["scheduled"])[14:16]) * 60 + int(str(each["scheduled"])[17:19])
        for each in tail.news()
    ]


@pytest.fixture
def history(tmp_path: Path) -> History:
    history = History(tmp_path)
    write(history, record(0))
    return history


@pytest.fixture
def tail(tmp_path: Path, history: History) -> Iterator[Tail]:
    tail = Tail(tmp_path, refuse)
    yield tail
    tail.close()


def write(history: History, *records: Skipped) -> None:
    for each in records:
        history.append(each)
    history.sync()


def refuse(path: Path, line: bytes) -> None:
    raise AssertionError(f"{path}: {line!r}")


def test_only_what_is_added_is_told_and_once(tail: Tail, history: History) -> None:
    assert numbers(tail) == []
    write(history, record(1), record(2))
    assert numbers(tail) == [1, 2]
    assert numbers(tail) == []
    write(history, record(3))
    assert numbers(tail) == [3]


def test_at_midnight_it_goes_on_with_the_next_segment(tail: Tail, history: History) -> None:
    write(history, record(1), record(2, T0 + DAY), record(3, T0 + 2 * DAY))
    assert numbers(tail) == [1, 2, 3]
    write(history, record(4, T0 + 2 * DAY))
    assert numbers(tail) == [4]


def test_a_history_that_does_not_exist_yet_is_followed_from_its_first_record(
    tmp_path: Path,
) -> None:
    tail = Tail(tmp_path / "log", refuse)
    assert numbers(tail) == []
    write(History(tmp_path / "log"), record(1))
    assert numbers(tail) == [1]
    tail.close()


def test_after_a_rotation_both_files_are_read(tail: Tail, history: History, tmp_path: Path) -> None:
    segment = tmp_path / "history" / "2026-11-21.jsonl"
    write(history, record(1))
    segment.rename(segment.with_suffix(".1"))
    history.reopen()
    write(history, record(2))
    assert numbers(tail) == [1, 2]


def test_half_a_line_is_told_when_it_is_whole(tail: Tail, tmp_path: Path) -> None:
    line = encode(record(1))
    with (tmp_path / "history" / "2026-11-21.jsonl").open("ab", buffering=0) as file:
        file.write(line[:40])
        assert numbers(tail) == []
        file.write(line[40:])
        assert numbers(tail) == [1]


def test_a_segment_that_was_cut_back_is_followed_from_its_new_end(
    tail: Tail, tmp_path: Path
) -> None:
    segment = tmp_path / "history" / "2026-11-21.jsonl"
    safe = segment.stat().st_size
    with segment.open("ab", buffering=0) as file:
        file.write(encode(record(1)))
        assert numbers(tail) == [1]
        file.truncate(safe)
        assert numbers(tail) == []
        file.write(encode(record(1)) + encode(record(2)))
        assert numbers(tail)[-1] == 2


def test_a_day_that_was_compressed_meanwhile_is_read_as_well(
    tail: Tail, history: History, tmp_path: Path
) -> None:
    write(history, record(1, T0 + DAY))
    segment = tmp_path / "history" / "2026-11-22.jsonl"
    segment.with_suffix(".jsonl.gz").write_bytes(gzip.compress(segment.read_bytes()))
    segment.unlink()
    write(history, record(2, T0 + 2 * DAY))
    assert numbers(tail) == [1, 2]


def test_a_damaged_line_is_told_of_and_passed_over(tmp_path: Path, history: History) -> None:
    damaged: list[bytes] = []
    tail = Tail(tmp_path, lambda path, line: damaged.append(line))
    with (tmp_path / "history" / "2026-11-21.jsonl").open("ab") as file:
        file.write(b"no record\n" + encode(record(1)))
    assert numbers(tail) == [1]
    assert damaged == [b"no record\n"]
    tail.close()
