"""Following the history from a cursor: whatever happens to the files, no record is lost or read
twice, and however many there are, few are read at a time."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stsd import follow
from stsd.follow import Cursor, Follower, cursor_of, end_of
from stsd.history import History
from stsd.model import SkipReason, TriggerKind
from stsd.records import Skipped, encode
from stsd.retention import Limits, keep
from stsd.segments import Segment, segments

T0 = 1_795_255_200  # 2026-11-21T10:00:00Z
DAY = 86400


def record(number: int, at: float | None = None) -> Skipped:
    when = T0 + number if at is None else at
    return Skipped("job", number, SkipReason.OVERLAP, float(when), TriggerKind.CRON)


def day_of(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()


class Past:
    """A log folder, its history, and somebody who follows it; each record bears a number."""

    def __init__(self, log_dir: Path) -> None:
        self.log_dir = log_dir
        self.history = History(log_dir)
        self.damaged: list[bytes] = []
        self.cursor: Cursor | None = None
        self.follower = self._follower()

    def _follower(self) -> Follower:
        return Follower(self.log_dir, lambda path, line: self.damaged.append(line), self.cursor)

    def write(self, *numbers: int, day: int = 0) -> None:
        for number in numbers:
            self.history.append(record(number, T0 + day * DAY + number))
        self.history.sync()

    def segment(self, day: int = 0) -> Path:
        return self.log_dir / "history" / f"{day_of(T0 + day * DAY)}.jsonl"

    def news(self, limit: int = 1000) -> list[int]:
        """The numbers of one batch."""
        found = self.follower.batch(limit)
        self.cursor = self.follower.cursor
        return [_number(str(each["scheduled"])) for each in found]

    def restart(self) -> None:
        """Nothing is left of the follower but its cursor, as it is in a database."""
        self.follower.close()
        if self.cursor is not None:
            self.cursor = cursor_of(json.loads(json.dumps(self.cursor.value())))
        self.follower = self._follower()

    def after_restart(self, limit: int = 1000) -> list[int]:
        self.restart()
        return self.news(limit)

    def tidy(self, day: int, keep_s: float | None = None) -> None:
        """What the daily housekeeping does, all of it."""
        self.history.reopen()
        while keep(self.log_dir, now=T0 + day * DAY, limits=Limits(keep_s)).more:
            pass


def _number(scheduled: str) -> int:
    return int(datetime.fromisoformat(scheduled).timestamp())


@pytest.fixture
def past(tmp_path: Path) -> Iterator[Past]:
    past = Past(tmp_path / "log")
    yield past
    past.follower.close()


def test_without_a_cursor_all_of_the_history_is_read(past: Past) -> None:
    past.write(1, 2)
    past.write(3, day=1)
    past.tidy(day=3)
    past.write(4, day=3)
    assert past.news() == [1, 2, 3, 4]
    assert past.news() == []


def test_a_history_that_does_not_exist_yet_is_followed_from_its_first_record(past: Past) -> None:
    assert past.news() == []
    past.write(1)
    assert past.news() == [1]


def test_a_disk_that_fails_between_two_days_costs_no_record(
    past: Past, monkeypatch: pytest.MonkeyPatch
) -> None:
    past.write(1, 2)
    past.write(3, day=1)
    fails = iter((False, True))

    def failing(log_dir: Path) -> list[Segment]:
        if next(fails, False):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return segments(log_dir)

    monkeypatch.setattr(follow, "segments", failing)
    assert past.news() == [1, 2]
    assert past.news() == [3]


def test_what_is_added_is_read_once_also_across_midnights(past: Past) -> None:
    past.write(1)
    assert past.news() == [1]
    past.write(2, 3)
    assert past.news() == [2, 3]
    past.write(4)
    past.write(5, day=1)
    past.write(6, day=4)
    assert past.news() == [4, 5, 6]
    assert past.news() == []


def test_few_are_read_at_a_time_and_none_is_passed_over(past: Past) -> None:
    past.write(*range(10))
    past.write(*range(10, 15), day=1)
    past.tidy(day=2)
    batches = [past.news(4) for _ in range(5)]
    assert batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14], []]


def test_after_a_restart_it_goes_on_behind_the_cursor(past: Past) -> None:
    past.write(1, 2, 3)
    assert past.news(2) == [1, 2]
    assert past.after_restart() == [3]
    assert past.after_restart() == []
    past.write(4)
    assert past.after_restart() == [4]


def test_a_segment_that_has_been_compressed_is_gone_on_with_at_the_same_place(past: Past) -> None:
    past.write(*range(100))
    past.write(*range(100, 110), day=1)
    assert past.news(50) == list(range(50))
    past.tidy(day=2)
    assert not past.segment().exists()
    assert past.after_restart() == list(range(50, 110))


def test_a_segment_that_is_compressed_while_it_is_read_is_read_to_its_end(past: Past) -> None:
    past.write(*range(20))
    assert past.news(10) == list(range(10))
    past.tidy(day=2)
    past.write(20, day=2)
    assert past.news() == list(range(10, 21))


def test_when_the_segment_has_been_removed_the_next_one_is_read(past: Past) -> None:
    for day in range(6):
        past.write(day * 10, day * 10 + 1, day=day)
    assert past.news(3) == [0, 1, 10]
    past.tidy(day=6, keep_s=3 * DAY)
    assert not list(past.log_dir.glob("history/2026-11-2[123]*"))
    assert past.after_restart() == [30, 31, 40, 41, 50, 51]


def test_of_what_was_carried_over_from_removed_segments_only_the_unread_is_read(
    past: Past,
) -> None:
    folder = past.log_dir / "history"
    folder.mkdir(parents=True)
    past.write(1, day=0)
    assert past.news() == [1]
    head = [encode(record(n, T0 + day * DAY)) for n, day in ((0, -1), (2, 1), (3, 2))]
    own = [encode(record(n, T0 + 3 * DAY + n)) for n in (4, 5)]
    past.segment().unlink()
    packed = folder / f"{day_of(T0 + 3 * DAY)}.jsonl.gz"
    packed.write_bytes(gzip.compress(b"".join(head + own)))
    past.restart()
    assert past.news(1) == [2]
    assert past.after_restart(2) == [3, 4]
    assert past.after_restart() == [5]


def test_records_written_after_a_day_was_compressed_are_read(past: Past) -> None:
    past.write(*range(5))
    past.tidy(day=2)
    assert past.news(3) == [0, 1, 2]
    past.segment().write_bytes(encode(record(5)) + encode(record(6)))
    past.restart()
    assert past.news(3) == [3, 4, 5]
    assert past.after_restart() == [6]
    past.tidy(day=2)
    assert not past.segment().exists()
    assert past.after_restart() == []
    past.write(7, day=2)
    assert past.news() == [7]


def test_a_kill_between_compressing_and_removing_a_segment_doubles_nothing(past: Past) -> None:
    past.write(*range(5))
    packed = past.segment().with_suffix(".jsonl.gz")
    packed.write_bytes(gzip.compress(past.segment().read_bytes()))
    assert past.news(3) == [0, 1, 2]
    assert past.after_restart() == [3, 4]
    past.segment().unlink()
    assert past.after_restart() == []
    assert past.news() == []


def test_half_a_line_is_read_when_it_is_whole(past: Past) -> None:
    past.write(1)
    line = encode(record(2))
    with past.segment().open("ab", buffering=0) as file:
        file.write(line[:40])
        assert past.news() == [1]
        assert past.after_restart() == []
        file.write(line[40:])
        assert past.news() == [2]


@pytest.mark.parametrize("restarts", [False, True])
def test_what_is_cut_back_and_written_anew_is_not_read_again(past: Past, restarts: bool) -> None:
    past.write(1, 2)
    safe = past.segment().stat().st_size
    past.write(3, 4)
    whole = past.segment().read_bytes()
    assert past.news() == [1, 2, 3, 4]
    os.truncate(past.segment(), safe)
    assert (past.after_restart() if restarts else past.news()) == []
    with past.segment().open("ab", buffering=0) as file:
        file.write(whole[safe:])
        assert (past.after_restart() if restarts else past.news()) == []
        file.write(encode(record(5)))
        assert (past.after_restart() if restarts else past.news()) == [5]


def test_what_is_written_in_place_of_what_was_cut_back_is_read(past: Past) -> None:
    past.write(1)
    safe = past.segment().stat().st_size
    past.write(2, 3)
    assert past.news() == [1, 2, 3]
    os.truncate(past.segment(), safe)  # the power was cut, and took these two
    with past.segment().open("ab", buffering=0) as file:
        file.write(b"".join(encode(record(number)) for number in (10, 11, 12, 13)))
    assert past.news(3) == [10, 11, 12]
    assert past.after_restart() == [13]


def test_after_a_rotation_both_files_are_read(past: Past) -> None:
    past.write(1)
    assert past.news() == [1]
    past.write(2)
    past.segment().rename(past.segment().with_suffix(".1"))
    past.history.reopen()
    past.write(3)
    assert past.news() == [2, 3]
    past.write(4)
    assert past.after_restart() == [4]


def test_after_a_rotation_and_a_restart_the_new_file_is_read(past: Past) -> None:
    past.write(*range(9))
    assert past.news() == list(range(9))
    past.segment().rename(past.segment().with_suffix(".1"))
    past.history.reopen()
    past.write(9, 10)
    assert past.after_restart() == [9, 10]


def test_a_history_that_was_deleted_begins_anew(past: Past) -> None:
    past.write(1)
    assert past.news() == [1]
    past.segment().unlink()
    past.write(2)
    assert past.news() == [2]
    past.segment().unlink()
    past.write(3)
    assert past.after_restart() == [3]


def test_a_damaged_line_is_told_of_and_passed_over(past: Past) -> None:
    past.write(1)
    with past.segment().open("ab") as file:
        file.write(b"no record\n" + encode(record(2)) + b"torn")
    past.segment(1).write_bytes(encode(record(3, T0 + DAY)))
    assert past.news() == [1, 2, 3]
    assert past.damaged == [b"no record\n", b"torn"]


def test_of_a_damaged_compressed_segment_as_much_is_read_as_can_be(past: Past) -> None:
    past.write(*range(2000))
    past.tidy(day=2)
    packed = past.segment().with_suffix(".jsonl.gz")
    packed.write_bytes(packed.read_bytes()[:-200])
    past.write(5000, day=2)
    found = past.news(10_000)
    assert found[:-1] == list(range(len(found) - 1))
    assert 0 < len(found) - 1 < 2000
    assert found[-1] == 5000
    assert past.damaged


def test_a_very_long_line_is_read(past: Past) -> None:
    past.write(1)
    fields = record(2).fields() | {"detail": "x" * 3_000_000}
    with past.segment().open("ab") as file:
        file.write(json.dumps(fields).encode() + b"\n" + encode(record(3)))
    assert past.news() == [1, 2, 3]
    assert past.after_restart() == []


# -- from the end


def test_behind_the_end_only_what_is_added_is_read(past: Past) -> None:
    past.write(*range(50))
    past.cursor = end_of(past.log_dir)
    assert past.after_restart() == []
    past.write(50, 51)
    assert past.news() == [50, 51]


def test_the_end_of_no_history_is_its_beginning(past: Past) -> None:
    assert end_of(past.log_dir) is None
    past.segment().parent.mkdir(parents=True)
    assert end_of(past.log_dir) is None


def test_a_line_that_is_being_written_stands_behind_the_end(past: Past) -> None:
    past.write(1)
    line = encode(record(2))
    with past.segment().open("ab", buffering=0) as file:
        file.write(line[:40])
        past.cursor = end_of(past.log_dir)
        assert past.after_restart() == []
        file.write(line[40:])
        assert past.news() == [2]


@pytest.mark.parametrize("content", [b"", b"torn"])
def test_of_a_segment_without_a_line_the_end_is_its_beginning(past: Past, content: bytes) -> None:
    past.write(1)
    past.segment(1).write_bytes(content)
    past.cursor = end_of(past.log_dir)
    past.segment(1).write_bytes(encode(record(2, T0 + DAY)))
    assert past.after_restart() == [2]


@pytest.mark.parametrize("late", [False, True])
def test_the_end_may_be_in_a_compressed_segment(past: Past, late: bool) -> None:
    past.write(1, 2)
    past.tidy(day=2)
    if late:
        past.segment().write_bytes(encode(record(3)))
    past.cursor = end_of(past.log_dir)
    assert past.after_restart() == []
    past.write(4, day=2)
    assert past.news() == [4]


def test_all_news_are_read_however_many(past: Past) -> None:
    past.write(*range(2500))
    assert len(list(past.follower.news())) == 2500
    assert list(past.follower.news()) == []


# -- cursors


@pytest.mark.parametrize("value", [None, [], ["2026-11-21", 1], ["x", 1, 1, "", ""], 7])
def test_what_is_no_cursor_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        cursor_of(value)


# -- whatever happens

STEPS = st.lists(
    st.sampled_from(["write", "write", "read", "read one", "restart", "tidy", "midnight", "cut"]),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 1 << 30))
def test_every_record_is_read_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], seed: int
) -> None:
    past = Past(tmp_path_factory.mktemp("past"))
    chance = random.Random(seed)
    written, day = 0, 0
    read: list[int] = []
    for step in steps:
        if step == "write":
            count = chance.randrange(1, 5)
            past.write(*range(written, written + count), day=day)
            written += count
        elif step.startswith("read"):
            read += past.news(1 if step == "read one" else 1000)
        elif step == "restart":
            past.restart()
        elif step == "tidy":
            past.tidy(day=day)
        elif step == "midnight":
            day += 1
        elif past.segment(day).exists():
            lines = past.segment(day).read_bytes().splitlines(keepends=True)
            kept = chance.randrange(len(lines) + 1)
            os.truncate(past.segment(day), sum(map(len, lines[:kept])))
            read += past.news()
            with past.segment(day).open("ab") as file:
                file.writelines(lines[kept:])
    while found := past.news(7):
        read += found
    past.follower.close()
    assert read == list(range(written))
    assert past.damaged == []
