"""The herald's database: what is committed stays, and whatever is wrong with it, it goes on."""

from __future__ import annotations

import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stsd.outbox import NAME, Found, Outbox, Rooms
from tests.faults.support import needs_strace, traced
from tests.support import wait_for

T0 = 1_795_255_200.0
TURN: Rooms = {"conditions": {"a": {"since": 1.5, "why": "naïve"}, "b": [1, None]}, "pings": {}}


def nothing() -> Rooms:
    raise AssertionError("nothing was lost")


class Boxes:
    """Outboxes of one folder, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / NAME
        self.outbox = Outbox(folder, T0)

    def open(self, at: float = T0) -> Found:
        self.outbox.close()
        self.outbox = Outbox(self.folder, at)
        return self.outbox.load()

    def commit(
        self, cursor: Any, changed: Rooms, whole: Callable[[], Rooms] = nothing, at: float = T0
    ) -> str:
        return self.outbox.commit(cursor, changed, whole, at)

    def written(self) -> bytes:
        """The file of an outbox in which something is, and that is closed."""
        self.open()
        for number in range(200):
            self.commit(number, {"rooms": {f"key{number}": "x" * number}})
        self.outbox.close()
        return self.path.read_bytes()

    def aside(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob(f"{NAME}.damaged-*"))


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Boxes]:
    boxes = Boxes(tmp_path)
    yield boxes
    boxes.outbox.close()


def test_what_is_committed_is_there_again(boxes: Boxes) -> None:
    assert boxes.open() == Found()
    assert boxes.commit(["2026-11-21", 7], TURN) == ""
    found = boxes.open()
    assert found == Found(["2026-11-21", 7], {"conditions": TURN["conditions"]})
    assert boxes.outbox.problem == ""


def test_what_is_none_is_forgotten_and_what_is_not_named_stays(boxes: Boxes) -> None:
    boxes.open()
    boxes.commit(1, {"x": {"a": 1, "b": 2}, "y": {"a": 3}})
    boxes.commit(2, {"x": {"a": None, "c": 4}})
    assert boxes.open() == Found(2, {"x": {"b": 2, "c": 4}, "y": {"a": 3}})


def test_only_its_owner_can_read_it(boxes: Boxes) -> None:
    boxes.open()
    boxes.commit(1, TURN)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in boxes.folder.iterdir()}
    assert modes == {NAME: 0o600, f"{NAME}-wal": 0o600}
    boxes.outbox.close()
    boxes.path.chmod(0o644)
    boxes.open()
    assert stat.S_IMODE(boxes.path.stat().st_mode) == 0o600


def test_it_is_one_file_when_it_is_closed(boxes: Boxes) -> None:
    boxes.open()
    boxes.commit(1, TURN)
    boxes.outbox.close()
    assert [path.name for path in boxes.folder.iterdir()] == [NAME]


def test_a_second_process_is_refused(boxes: Boxes) -> None:
    boxes.open()
    program = f"""
from pathlib import Path
from stsd import outbox
outbox._BUSY_S = 0.1
outbox.Outbox(Path({str(boxes.folder)!r}), 0).load()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert f"StsdError: another process has {boxes.path} open" in done.stderr


def test_a_turn_without_news_writes_nothing(boxes: Boxes) -> None:
    boxes.open()
    boxes.commit(1, TURN)
    before = (boxes.folder / f"{NAME}-wal").stat()
    boxes.commit(1, {"x": {}})
    assert (boxes.folder / f"{NAME}-wal").stat() == before


@needs_strace
def test_a_commit_is_on_the_disk_before_it_returns(tmp_path: Path) -> None:
    program = f"""
import os
from pathlib import Path
from stsd.outbox import Outbox
outbox = Outbox(Path({str(tmp_path)!r}), 0)
outbox.load()
outbox.commit(1, {{"x": {{"a": 1}}}}, dict, 0)
for number in range(3):
    os.write(1, b"begin")
    outbox.commit(number + 2, {{"x": {{"a": number}}}}, dict, 0)
    os.write(1, b"end")
"""
    trace = tmp_path / "trace"
    command = [*traced("trace=write,pwrite64,fdatasync,fsync", output=trace), sys.executable]
    subprocess.run([*command, "-c", program], check=True, capture_output=True)
    wait_for(lambda: trace.read_text().count('"end"') == 3, "the trace")
    turns = trace.read_text().split('"begin"')[1:]
    for turn in (turn.partition('"end"')[0] for turn in turns):
        calls = [line.partition("(")[0] for line in turn.splitlines() if "herald.db-wal" in line]
        assert calls[0] == "pwrite64"
        assert calls[-1] in ("fdatasync", "fsync")


@needs_strace
@pytest.mark.parametrize("failures", ["12", "12..13", "12..16"])
def test_behind_a_sync_that_failed_nothing_is_written(tmp_path: Path, failures: str) -> None:
    program = f"""
import os
from pathlib import Path
from stsd.outbox import Outbox
folder, known = Path({str(tmp_path)!r}), {{}}
outbox = Outbox(folder, 0)
outbox.load()
for number in range(20):
    known[str(number)] = number
    outbox.commit(number, {{"x": {{str(number): number}}}}, None, 0)
    os.write(1, b"problem" if outbox.problem else b"fine")
outbox.close()
found = Outbox(folder, 0).load()
assert (found.cursor, found.rooms) == (19, {{"x": known}}), found
"""
    trace = tmp_path / "trace"
    calls = "write,pwrite64,fdatasync,ftruncate,unlink"
    fault = f"inject=fdatasync:error=EIO:when={failures}"
    command = [*traced(f"trace={calls}", fault, output=trace), sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    wait_for(lambda: trace.read_text().count('"fine"') > 10, "the trace")
    *_, in_between = trace.read_text().rpartition('"problem"')
    lines = in_between.partition('"fine"')[0].splitlines()
    journal = [line.partition("(")[0] for line in lines if f"{NAME}-wal" in line]
    anew = min(journal.index(call) for call in ("ftruncate", "unlink") if call in journal)
    assert "pwrite64" not in journal[:anew]
    assert journal[-1] == "fdatasync"


# -- crashes

WRITER = """
import sys
from pathlib import Path
from stsd.outbox import Outbox
outbox = Outbox(Path(sys.argv[1]), 0)
number = outbox.load().cursor or 0
while True:
    number += 1
    rooms = {"a": {"x": number, str(number % 50): "y" * (number % 997)}, "b": {"x": number}}
    rooms["a"][str((number + 25) % 50)] = None
    outbox.commit(number, rooms, None, 0)
    print(number, flush=True)
"""


@pytest.mark.slow
def test_after_sigkill_each_turn_is_there_wholly_or_not_at_all(boxes: Boxes) -> None:
    chance = random.Random(1)
    last = 0
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(boxes.folder)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 40)):
            last = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split("\n")[:-1]
        last = int(rest[-1]) if rest else last
        writer.wait()
        writer.stdout.close()
        found = boxes.open()
        boxes.outbox.close()
        assert found.warning == ""
        assert found.cursor in (last, last + 1)
        assert found.cursor == found.rooms["a"]["x"] == found.rooms["b"]["x"]
        assert str((found.cursor + 25) % 50) not in found.rooms["a"]


def test_a_database_that_is_cut_at_any_place_is_gone_on_with_or_put_aside(boxes: Boxes) -> None:
    whole = boxes.written()
    chance = random.Random(2)
    for size in [0, 1, 15, 16, 99, 100, 101, *(chance.randrange(len(whole)) for _ in range(20))]:
        boxes.path.write_bytes(whole[:size])
        found = boxes.open()
        assert boxes.outbox.problem == ""
        assert found.cursor is None
        assert bool(found.warning) == (size > 1), size  # SQLite takes one byte for none
        boxes.commit("new", TURN)
        assert boxes.open().cursor == "new"
        boxes.outbox.close()


def test_a_database_with_a_changed_byte_is_gone_on_with_or_put_aside(boxes: Boxes) -> None:
    whole = boxes.written()
    chance = random.Random(3)
    warnings = 0
    for _ in range(40):
        place = chance.choice([chance.randrange(100), chance.randrange(len(whole))])
        damaged = bytearray(whole)
        damaged[place] ^= chance.randrange(1, 256)
        boxes.path.write_bytes(damaged)
        found = boxes.open()
        assert boxes.outbox.problem == ""
        warnings += bool(found.warning)
        boxes.commit("new", TURN)
        assert boxes.open().cursor == "new"
        boxes.outbox.close()
    assert 0 < warnings < 40


@pytest.mark.parametrize("content", [b"no database, but some text\n" * 40, b"\0" * 4096])
def test_what_is_no_database_is_put_aside_with_a_warning(boxes: Boxes, content: bytes) -> None:
    boxes.path.write_bytes(content)
    found = boxes.open()
    assert boxes.aside() == [f"{NAME}.damaged-20261121T100000Z"]
    assert (boxes.folder / boxes.aside()[0]).read_bytes() == content
    assert found.warning.startswith(f"{boxes.path} is damaged: ")
    assert "it is now herald.db.damaged-20261121T100000Z" in found.warning


def test_a_database_of_a_newer_stsd_is_put_aside(boxes: Boxes) -> None:
    with sqlite3.connect(boxes.path) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    assert "is of a newer stsd (version 7, this one knows 1)" in boxes.open().warning


def test_somebody_elses_database_is_put_aside(boxes: Boxes) -> None:
    with sqlite3.connect(boxes.path) as database:
        database.execute("CREATE TABLE theirs (x)")
    database.close()
    assert "is no database of stsd's" in boxes.open().warning


@pytest.mark.parametrize("value", ["'{'", "NULL + 1", "7", "x'ff'"])
def test_a_value_that_is_no_json_makes_the_database_damaged(boxes: Boxes, value: str) -> None:
    boxes.written()
    with sqlite3.connect(boxes.path) as database:
        database.execute("DROP TABLE kept")
        database.execute("CREATE TABLE kept (room, key, value)")
        database.execute(f"INSERT INTO kept VALUES ('a', 'b', {value})")
    database.close()
    assert "is damaged" in boxes.open().warning


def test_the_last_three_that_were_put_aside_are_kept(boxes: Boxes) -> None:
    for second in range(5):
        boxes.outbox.close()
        boxes.path.write_text("no database" * 100)
        boxes.open(T0 + second)
    assert boxes.aside() == [f"{NAME}.damaged-20261121T10000{second}Z" for second in (2, 3, 4)]


# -- while it is open


def test_a_database_that_was_removed_is_written_anew_from_what_is_known(boxes: Boxes) -> None:
    boxes.open()
    boxes.commit(1, {"x": {"a": 1}})
    boxes.path.unlink()
    warning = boxes.commit(2, {"x": {"b": 2}}, lambda: {"x": {"a": 1, "b": 2}})
    assert warning == f"{boxes.path} was taken away, and is written anew"
    assert boxes.commit(3, {"x": {"c": 3}}) == ""
    assert boxes.open() == Found(3, {"x": {"a": 1, "b": 2, "c": 3}})


def test_a_database_that_gets_damaged_is_written_anew_from_what_is_known(boxes: Boxes) -> None:
    boxes.written()
    boxes.open()
    boxes.commit(0, {"x": {"a": 0}})
    assert boxes.outbox._database is not None
    connection = boxes.outbox._database._connection
    connection.execute("DROP TABLE kept")  # as damage would be: of what it takes to be its own
    warning = boxes.commit(1, {"x": {"a": 1}}, lambda: {"x": {"a": 1}, "y": {"b": 2}})
    assert "is damaged: no such table: kept; it is now herald.db.damaged-" in warning
    assert boxes.open() == Found(1, {"x": {"a": 1}, "y": {"b": 2}})


def test_a_folder_that_is_gone_is_a_problem_until_it_is_back(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    outbox = Outbox(folder, T0)
    assert outbox.load() == Found()
    assert "No such file or directory" in outbox.problem
    assert outbox.commit(1, {"x": {"a": 1}}, dict, T0) == ""
    assert outbox.problem != ""
    folder.mkdir()
    outbox.commit(1, {}, lambda: {"x": {"a": 1}}, T0)
    assert outbox.problem == ""
    outbox.close()
    assert Outbox(folder, T0).load() == Found(1, {"x": {"a": 1}})


def test_no_link_is_followed(boxes: Boxes, tmp_path: Path) -> None:
    other = tmp_path / "other"
    boxes.path.symlink_to(other)
    assert boxes.open() == Found()
    assert "symbolic link" in boxes.outbox.problem.lower()
    assert not other.exists()


def test_a_folder_that_cannot_be_written_to_is_read_as_far_as_it_can_be(boxes: Boxes) -> None:
    boxes.open()
    boxes.commit(1, {"x": {"a": 1}})
    boxes.outbox.close()
    shutil.copytree(boxes.folder, boxes.folder / "copy")
    copy = boxes.folder / "copy"
    (copy / f"{NAME}-wal").mkdir()  # so that there can be no journal
    outbox = Outbox(copy, T0)
    assert outbox.load() == Found(1, {"x": {"a": 1}})
    assert outbox.problem != ""
    outbox.commit(2, {"x": {"b": 2}}, lambda: {"x": {"a": 1, "b": 2}}, T0)
    assert outbox.problem != ""
    (copy / f"{NAME}-wal").rmdir()
    outbox.commit(2, {}, lambda: {"x": {"a": 1, "b": 2}}, T0)
    assert outbox.problem == ""
    outbox.close()
    assert Outbox(copy, T0).load() == Found(2, {"x": {"a": 1, "b": 2}})
