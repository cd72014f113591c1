"""When the snapshot is written, and by whom."""

from __future__ import annotations

import os
import selectors
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from stsd import snapshot
from stsd.bookkeeper import SNAPSHOT_S, Bookkeeper
from stsd.memory import Book, Memory
from stsd.model import Reading
from stsd.places import Places
from stsd.records import Begun
from stsd.saving import MANY_JOBS, PATIENCE_S, Saving
from stsd.twin import Twin
from tests.support import DEADLINE_S

FEW, MANY = 1, MANY_JOBS + 1


class House:
    """The books of a daemon whose memory is `memory`; `writers` are the processes that were asked
    for it."""

    def __init__(self, folder: Path) -> None:
        self.places = Places(folder / "log", folder / "state")
        for place in (self.places.log_dir, self.places.state_dir):
            place.mkdir()
        self.log = LogCapture()
        self.memory = Memory()
        self.asked = 0
        self.selector = selectors.DefaultSelector()
        self.mono = time.monotonic()
        self.books = Bookkeeper(self.places, self.mono)
        log = structlog.wrap_logger(
            None,
            processors=[self.log],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )
        self.saving = Saving(self.selector, self.books, self._remember, "boot", log)

    def happen(self) -> None:
        """Something is recorded, and it is time for a snapshot."""
        self.books.note(Begun(1, "boot", "1", 1.0), self.mono)
        self.mono += SNAPSHOT_S + 1

    def turn(self, jobs: int, leisure_s: float = inf) -> None:
        self.saving.tend(Reading(5.0, self.mono), lambda: leisure_s, jobs)

    def rest(self, jobs: int) -> None:
        """Turns until no copy is at work."""
        deadline = time.monotonic() + DEADLINE_S
        while self.selector.get_map():
            for key, _ in self.selector.select(deadline - time.monotonic()):
                assert isinstance(key.data, Twin)
                key.data.hear()
            assert time.monotonic() < deadline, "the copy does not end"
        self.turn(jobs)

    def saved(self) -> Memory | None:
        found = snapshot.load(self.places.state_dir)
        return None if found is None else found.memory

    def complaints(self) -> list[str]:
        return [entry["error"] for entry in self.log.entries]

    def _remember(self) -> Memory:
        self.asked += 1
        return self.memory


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    with made.selector:
        made.rest(FEW)


def with_book(mark: int) -> Memory:
    return Memory(books={"a": Book({"every": 5}, 0, mark)}, boot="boot")


@pytest.mark.parametrize(("jobs", "in_the_loop"), [(FEW, 1), (MANY, 0)])
def test_what_many_jobs_leave_to_be_saved_is_saved_by_a_copy(
    house: House, jobs: int, in_the_loop: int
) -> None:
    house.memory = with_book(7)
    house.happen()
    house.turn(jobs)
    house.memory = with_book(8)  # what happens meanwhile is not in it
    house.rest(jobs)
    assert house.asked == in_the_loop
    assert house.saved() == with_book(7)
    assert house.complaints() == []


def test_it_waits_for_a_moment_of_leisure_but_not_for_ever(house: House) -> None:
    house.memory = with_book(7)
    house.happen()
    house.saving._stood_s = 0.5
    house.turn(FEW, leisure_s=0.9)
    assert house.saved() is None
    house.mono += PATIENCE_S
    house.turn(FEW, leisure_s=0.9)
    assert house.saved() == with_book(7)


@pytest.mark.parametrize("jobs", [FEW, MANY])
def test_one_that_fails_is_told_and_tried_again(house: House, jobs: int) -> None:
    house.memory = with_book(7)
    house.happen()
    away = house.places.state_dir.with_name("away")
    house.places.state_dir.rename(away)
    house.turn(jobs)
    house.rest(jobs)
    (complaint,) = house.complaints()
    assert "No such file or directory" in complaint
    away.rename(house.places.state_dir)
    house.mono += SNAPSHOT_S + 1
    house.turn(jobs)
    house.rest(jobs)
    assert house.saved() == with_book(7)


def test_where_there_can_be_no_copy_it_is_told_and_tried_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    house.memory = with_book(7)
    house.happen()
    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", fork)
        house.turn(MANY)
    assert house.complaints() == ["Resource temporarily unavailable"]
    house.mono += SNAPSHOT_S + 1
    house.turn(MANY)
    house.rest(MANY)
    assert house.saved() == with_book(7)


def test_the_last_one_is_whole_whatever_a_copy_is_at(house: House) -> None:
    house.memory = replace(
        with_book(7), successes={f"job-{number}": 1.0 for number in range(200_000)}
    )
    house.happen()
    house.turn(MANY)
    house.memory = with_book(8)
    house.saving.save(Reading(6.0, house.mono))
    assert house.selector.get_map() == {}
    assert house.saved() == with_book(8)


def test_a_history_that_cannot_be_written_is_told(house: House) -> None:
    house.happen()
    shutil.rmtree(house.places.log_dir)
    house.places.log_dir.write_text("no folder")
    house.turn(MANY)
    (complaint,) = house.complaints()
    assert "Not a directory" in complaint or "File exists" in complaint
    assert house.books.failing
