"""Reading the segments of the history, plain and compressed, from either end."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stsd.archive import newest_first, oldest_first, tail_position
from stsd.history import History
from stsd.model import SkipReason, TriggerKind
from stsd.records import Skipped, encode
from stsd.segments import parsed, segments

DAY = 86400


def line(number: int, day: int = 0) -> bytes:
    """The record of a number, written on that day."""
    return encode(Skipped("job", number, SkipReason.OVERLAP, float(day * DAY), TriggerKind.CRON))


def numbers(records: Any) -> list[int]:
    """The numbers of such records."""
    seconds = [record["scheduled"][14:19].split(":") for record in records]
    return [60 * int(minutes) + int(rest) for minutes, rest in seconds]


def put(log_dir: Path, day: int, content: bytes, *, packed: bool = False) -> Path:
    """A segment with this content."""
    folder = log_dir / "history"
    folder.mkdir(exist_ok=True)
    path = folder / f"1970-01-{day + 1:02}.jsonl{'.gz' if packed else ''}"
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def both_ways(log_dir: Path) -> list[int]:
    """The numbers that are read forwards, which are those that are read backwards."""
    forwards = numbers(oldest_first(log_dir, refuse))
    assert numbers(newest_first(log_dir, refuse)) == forwards[::-1]
    return forwards


def refuse(path: Path, damaged: bytes) -> None:
    raise AssertionError(f"{path}: {damaged!r}")


def damage(log_dir: Path) -> tuple[list[int], list[tuple[str, bytes]]]:
    """What is read, and what is told of as damaged, either way."""
    found: list[tuple[list[int], list[tuple[str, bytes]]]] = []
    for read in (oldest_first, newest_first):
        told: list[tuple[str, bytes]] = []
        records = numbers(
            read(log_dir, lambda path, what, told=told: told.append((path.name, what)))
        )
        found.append((sorted(records), sorted(told)))
    assert found[0] == found[1]
    return found[0]


def lines_of(*numbered: int, day: int = 0) -> bytes:
    return b"".join(line(number, day) for number in numbered)


def test_plain_and_compressed_segments_are_read_alike(tmp_path: Path) -> None:
    put(tmp_path, 0, lines_of(1, 2), packed=True)
    put(tmp_path, 1, lines_of(3, 4, day=1))
    put(tmp_path, 2, lines_of(5, 6, day=2), packed=True)
    assert both_ways(tmp_path) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("packed", [False, True])
def test_segments_larger_than_a_block_are_read_whole(tmp_path: Path, packed: bool) -> None:
    put(tmp_path, 0, lines_of(*range(3000)), packed=packed)
    assert both_ways(tmp_path) == list(range(3000))


def test_a_line_larger_than_a_block_is_read_whole(tmp_path: Path) -> None:
    record = {**json.loads(line(2)), "error": "x" * 200_000}
    put(tmp_path, 0, line(1) + json.dumps(record).encode() + b"\n" + line(3))
    assert both_ways(tmp_path) == [1, 2, 3]


def test_files_that_are_no_segments_are_not_read(tmp_path: Path) -> None:
    put(tmp_path, 0, line(1))
    for name in ("1970-01-02.jsonl.gz.tmp", "1970-13-99.jsonl", "notes.txt", "x1970-01-02.jsonl"):
        (tmp_path / "history" / name).write_bytes(line(2))
    (tmp_path / "history" / "1970-01-03.jsonl").mkdir()
    assert both_ways(tmp_path) == [1]


def test_no_history_at_all_is_no_error(tmp_path: Path) -> None:
    assert both_ways(tmp_path / "nowhere") == []
    assert tail_position(tmp_path / "nowhere") is None


# -- damage


def test_a_damaged_line_is_reported_and_passed_over(tmp_path: Path) -> None:
    broken = line(2).replace(b'Z","reason"', b'Z,"reason"')
    put(tmp_path, 0, line(1) + broken + line(3))
    assert damage(tmp_path) == ([1, 3], [("1970-01-01.jsonl", broken.rstrip(b"\n"))])


@pytest.mark.parametrize(
    "junk", [b"", b"[" * 100_000, b"\x00" * 5000, b"[1]", b'{"job":1}', b"\xff\xfe", b"1,2"]
)
def test_whatever_a_line_holds_it_harms_no_other(tmp_path: Path, junk: bytes) -> None:
    put(tmp_path, 0, line(1) + junk + b"\n" + line(3))
    assert damage(tmp_path) == ([1, 3], [("1970-01-01.jsonl", junk)])


def test_the_halves_of_a_line_do_not_become_one_again() -> None:
    for at in range(1, len(line(1)) - 1):
        halves = [line(1)[:at] + b"\n", line(1)[at:]]
        assert parsed(halves) == [None, None]


def test_a_line_that_is_being_written_is_no_damage(tmp_path: Path) -> None:
    put(tmp_path, 0, lines_of(1))
    put(tmp_path, 1, lines_of(2, day=1) + b'{"event":"skip')
    assert both_ways(tmp_path) == [1, 2]


def test_a_line_that_was_never_finished_is_damage_once_there_is_a_newer_segment(
    tmp_path: Path,
) -> None:
    put(tmp_path, 0, lines_of(1) + b'{"event":"skip')
    put(tmp_path, 1, lines_of(2, day=1))
    assert damage(tmp_path) == ([1, 2], [("1970-01-01.jsonl", b'{"event":"skip')])


def test_a_compressed_segment_that_is_cut_off_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = put(tmp_path, 0, lines_of(*range(1500)), packed=True)
    path.write_bytes(path.read_bytes()[:-2000])
    put(tmp_path, 1, lines_of(3000, day=1))
    read, told = damage(tmp_path)
    assert read[-1] == 3000
    assert 0 < len(read) < 1501
    assert read[:-1] == list(range(len(read) - 1))
    assert {name for name, _ in told} == {path.name}


# -- a day with two files


def test_of_a_segment_and_its_compressed_copy_one_counts(tmp_path: Path) -> None:
    put(tmp_path, 0, lines_of(1, 2))
    put(tmp_path, 0, lines_of(1, 2), packed=True)
    put(tmp_path, 1, lines_of(3, day=1))
    assert both_ways(tmp_path) == [1, 2, 3]


def test_a_half_written_compressed_copy_hides_nothing(tmp_path: Path) -> None:
    put(tmp_path, 0, lines_of(*range(1500)))
    copy = put(tmp_path, 0, lines_of(*range(1500)), packed=True)
    copy.write_bytes(copy.read_bytes()[:-2000])
    assert both_ways(tmp_path) == list(range(1500))


def test_what_was_written_after_a_segment_was_compressed_counts_as_well(tmp_path: Path) -> None:
    put(tmp_path, 0, lines_of(1, 2), packed=True)
    put(tmp_path, 0, lines_of(3, 4))
    assert both_ways(tmp_path) == [1, 2, 3, 4]


def test_once_it_has_been_put_into_the_compressed_segment_it_counts_once(tmp_path: Path) -> None:
    put(tmp_path, 0, lines_of(1, 2, 3, 4), packed=True)
    put(tmp_path, 0, lines_of(3, 4))
    assert both_ways(tmp_path) == [1, 2, 3, 4]


# -- what is carried over


@pytest.mark.parametrize("packed", [False, True])
def test_lines_from_older_segments_count_in_the_oldest_alone(tmp_path: Path, packed: bool) -> None:
    older = put(tmp_path, 0, lines_of(1, 2))
    put(tmp_path, 1, lines_of(2, day=0) + lines_of(3, 4, day=1), packed=packed)
    assert both_ways(tmp_path) == [1, 2, 3, 4]
    older.unlink()
    assert both_ways(tmp_path) == [2, 3, 4]


def test_records_from_before_the_clock_was_set_back_stay_where_they_are(tmp_path: Path) -> None:
    put(tmp_path, 0, lines_of(1))
    put(tmp_path, 1, lines_of(2, day=1) + lines_of(3, day=0) + lines_of(4, day=1))
    assert both_ways(tmp_path) == [1, 2, 3, 4]


# -- while segments are compressed and removed


def test_a_segment_that_is_compressed_meanwhile_is_read_once(tmp_path: Path) -> None:
    paths = [put(tmp_path, day, lines_of(2 * day, 2 * day + 1, day=day)) for day in range(3)]
    for read, expected in ((oldest_first, [0, 1, 2, 3, 4, 5]), (newest_first, [5, 4, 3, 2, 1, 0])):
        records = iter(read(tmp_path, refuse))
        first = next(records)
        for path in paths:
            compress(path)
        assert numbers([first, *records]) == expected
        for path in paths:
            path.write_bytes(gzip.decompress(path.with_name(path.name + ".gz").read_bytes()))
            path.with_name(path.name + ".gz").unlink()


def test_a_segment_that_is_removed_meanwhile_is_passed_over(tmp_path: Path) -> None:
    for read in (oldest_first, newest_first):
        paths = [put(tmp_path, day, lines_of(day, day=day)) for day in range(3)]
        records = iter(read(tmp_path, refuse))
        first = next(records)
        paths[1].unlink()
        assert sorted(numbers([first, *records])) == [0, 2]


def compress(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


# -- positions


def history_of(log_dir: Path, days: Sequence[int]) -> History:
    history = History(log_dir)
    for number, day in enumerate(days):
        history.append(
            Skipped("job", number, SkipReason.OVERLAP, float(day * DAY), TriggerKind.CRON)
        )
    history.flush()
    return history


def test_reading_goes_on_behind_a_position(tmp_path: Path) -> None:
    history_of(tmp_path, [0, 0, 1])
    position = tail_position(tmp_path)
    assert position is not None
    history_of(tmp_path, [1, 2])
    read = oldest_first(tmp_path, refuse, position)
    assert read.began == position
    assert [record["at"][:10] for record in read] == ["1970-01-02", "1970-01-03"]


def test_the_end_is_that_of_the_last_whole_line(tmp_path: Path) -> None:
    path = put(tmp_path, 0, lines_of(1, 2))
    whole = path.stat().st_size
    assert tail_position(tmp_path) == (path.name, whole)
    for rest in (b"{", b"x" * 100_000):
        path.write_bytes(lines_of(1, 2) + rest)
        assert tail_position(tmp_path) == (path.name, whole)
    path.write_bytes(b"{")
    assert tail_position(tmp_path) == (path.name, 0)


def test_there_is_no_position_in_a_compressed_segment(tmp_path: Path) -> None:
    put(tmp_path, 0, lines_of(1), packed=True)
    assert tail_position(tmp_path) is None


@pytest.mark.parametrize(
    "what", ["gone", "compressed", "shorter", "not at a line", "of another name"]
)
def test_without_the_position_the_whole_history_is_read(tmp_path: Path, what: str) -> None:
    path = put(tmp_path, 0, lines_of(1, 2))
    put(tmp_path, 1, lines_of(3, day=1))
    name, offset = path.name, len(line(1))
    expected = [1, 2, 3]
    match what:
        case "gone":
            path.unlink()
            expected = [3]
        case "compressed":
            compress(path)
        case "shorter":
            path.write_bytes(b"")
            expected = [3]
        case "not at a line":
            offset += 1
        case "of another name":
            name = "../history/1970-01-01.jsonl"
    read = oldest_first(tmp_path, refuse, (name, offset))
    assert read.began is None
    assert numbers(read) == expected


def test_the_beginning_of_a_segment_is_a_position_too(tmp_path: Path) -> None:
    put(tmp_path, 0, lines_of(1))
    path = put(tmp_path, 1, lines_of(2, day=1))
    read = oldest_first(tmp_path, refuse, (path.name, 0))
    assert read.began == (path.name, 0)
    assert numbers(read) == [2]


def test_segments_are_told_in_the_order_of_their_days(tmp_path: Path) -> None:
    for day in (2, 0, 1):
        put(tmp_path, day, b"")
    assert [segment.day.day for segment in segments(tmp_path)] == [1, 2, 3]
