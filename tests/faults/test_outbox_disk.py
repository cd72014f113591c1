"""The herald's database on disks that are full, read-only, or lose their power."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stsd.outbox import Found, Outbox, Rooms
from tests.faults.support import Disk, needs_ext4

T0 = 1_795_255_200.0

pytestmark = [needs_ext4]


@pytest.fixture
def disk(disk_of: Callable[[str], Disk]) -> Disk:
    return disk_of("8M")


@pytest.fixture
def outbox(disk: Disk) -> Iterator[Outbox]:
    outbox = Outbox(disk.mountpoint, T0)
    outbox.load()
    yield outbox
    outbox.close()


def nothing() -> Rooms:
    raise AssertionError("nothing was lost")


def big(number: int) -> Rooms:
    return {"x": {f"key{number}": "x" * 50_000, "last": number}}


def loaded(folder: Path) -> Found:
    outbox = Outbox(folder, T0)
    found = outbox.load()
    outbox.close()
    return found


def test_what_a_full_disk_does_not_take_is_kept_until_there_is_space(
    disk: Disk, outbox: Outbox
) -> None:
    outbox.commit(0, big(0), nothing, T0)
    filler = disk.fill()
    for number in range(1, 10):
        assert outbox.commit(number, big(number), nothing, T0) == ""
        assert "full" in outbox.problem
    assert outbox.commit(9, {}, nothing, T0) == ""
    assert "full" in outbox.problem
    filler.unlink()
    assert outbox.commit(9, {}, nothing, T0) == ""
    assert outbox.problem == ""
    outbox.close()
    found = loaded(disk.mountpoint)
    assert found.cursor == found.rooms["x"]["last"] == 9
    assert found.rooms["x"].keys() == {"last", *(f"key{number}" for number in range(10))}


def test_a_database_on_a_full_disk_can_be_read_and_loses_nothing(
    disk: Disk, outbox: Outbox
) -> None:
    outbox.commit(1, big(1), nothing, T0)
    outbox.close()
    filler = disk.fill()
    again = Outbox(disk.mountpoint, T0)
    assert again.load().cursor == 1
    again.commit(2, big(2), lambda: big(1) | big(2), T0)
    assert "full" in again.problem
    filler.unlink()
    again.commit(2, {}, lambda: {"x": {**big(1)["x"], **big(2)["x"]}}, T0)
    assert again.problem == ""
    again.close()
    assert loaded(disk.mountpoint).rooms["x"].keys() == {"key1", "key2", "last"}


def test_a_disk_that_becomes_read_only_is_gone_on_without(disk: Disk, outbox: Outbox) -> None:
    outbox.commit(1, big(1), nothing, T0)
    outbox.close()
    subprocess.run(["mount", "-o", "remount,ro", disk.mountpoint], check=True)
    again = Outbox(disk.mountpoint, T0)
    assert again.load().cursor == 1
    assert again.problem != ""
    again.commit(2, big(2), dict, T0)
    assert again.problem != ""
    subprocess.run(["mount", "-o", "remount,rw", disk.mountpoint], check=True)
    again.commit(2, {}, lambda: {"x": {**big(1)["x"], **big(2)["x"]}}, T0)
    assert again.problem == ""
    again.close()
    assert loaded(disk.mountpoint).rooms["x"].keys() == {"key1", "key2", "last"}


@pytest.mark.parametrize("turns", [1, 2, 30])
def test_what_is_committed_survives_a_power_cut(disk: Disk, outbox: Outbox, turns: int) -> None:
    for number in range(1, turns + 1):
        outbox.commit(number, big(number), nothing, T0)
        assert outbox.problem == ""
    disk.cut_power()
    outbox.commit(99, big(99), nothing, T0)
    assert outbox.problem != ""
    outbox.close()
    disk.unmount()
    disk.mount()
    found = loaded(disk.mountpoint)
    assert (found.warning, found.cursor) == ("", turns)
    assert len(found.rooms["x"]) == turns + 1
