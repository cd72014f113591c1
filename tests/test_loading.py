"""Reading the jobfile anew, in a copy of the process."""

from __future__ import annotations

import os
import selectors
import time
import zoneinfo
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import structlog
from structlog.testing import LogCapture

from stsd import wallclock
from stsd.difference import Plan, difference
from stsd.errors import JobfileError
from stsd.jobfile import load
from stsd.loading import PATIENCE_S, Aim, Ask, Fresh, Loading, Read
from stsd.model import Reading
from stsd.settings import Jobfile
from stsd.twin import Twin
from tests.support import DEADLINE_S, descriptors

WALL = 1_800_000_000.0
JOB = '[jobs.{0}]\ncommand = "true"\ncron = "0 {1} * * *"\n'


class Reader:
    """A loop around a `Loading`, for jobfiles of the test's folder. `reading` stands in for what
    reads them."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.log = LogCapture()
        self.mono = 1000.0
        self.begun = 0
        self.reading: Callable[[], Jobfile] = partial(load, Path("jobs.toml"), local_zone="UTC")
        log = structlog.wrap_logger(
            None,
            processors=[self.log],
            wrapper_class=structlog.make_filtering_bound_logger(0),
        )
        self.loading = Loading(self.selector, self._read, self._begun, log)
        self.old = Jobfile(Path("jobs.toml").absolute())

    def put(self, text: str) -> None:
        """Write the jobfile, and have it in force."""
        Path("jobs.toml").write_text(text)
        self.old = load(Path("jobs.toml"), local_zone="UTC")

    def turn(self) -> Read | None:
        for key, _ in self.selector.select(0.01):
            assert isinstance(key.data, Twin)
            key.data.hear()
        return self.loading.tend(self.old, Reading(WALL, self.mono))

    def end(self) -> Read:
        """What the next reading ends with."""
        deadline = time.monotonic() + DEADLINE_S
        while (read := self.turn()) is None:
            assert time.monotonic() < deadline, "the reading does not end"
        return read

    def read(self, aim: Aim = Aim.RELOAD) -> Fresh:
        self.loading.ask(Ask(aim))
        result = self.end().result
        assert isinstance(result, Fresh), result
        return result

    def refused(self) -> JobfileError:
        self.loading.ask(Ask(Aim.RELOAD))
        result = self.end().result
        assert isinstance(result, JobfileError)
        return result

    def close(self) -> None:
        self.loading.close()
        deadline = time.monotonic() + DEADLINE_S
        while self.selector.get_map():
            self.turn()
            assert time.monotonic() < deadline, "a copy does not end"
        self.selector.close()

    def _read(self) -> Jobfile:
        return self.reading()

    def _begun(self, asked: object) -> None:
        self.begun += 1


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    monkeypatch.chdir(tmp_path)
    made = Reader()
    yield made
    made.close()


def jobs(*names: str, hour: int = 3) -> str:
    return "".join(JOB.format(name, hour) for name in names)


def hanging() -> Jobfile:
    time.sleep(3600)
    raise AssertionError("nobody has ended it")


# -- what is read


def test_jobs_that_have_not_changed_are_the_same_objects(reader: Reader) -> None:
    reader.put(jobs("a", "b"))
    Path("jobs.toml").write_text(jobs("a") + jobs("b", hour=4) + jobs("c"))
    fresh = reader.read().jobfile
    assert fresh == load(Path("jobs.toml"), local_zone="UTC")
    assert fresh.jobs["a"] is reader.old.jobs["a"]
    assert fresh.jobs["b"] is not reader.old.jobs["b"]


@pytest.mark.parametrize(
    "text",
    [
        jobs("c", "a", "b"),
        jobs("a"),
        jobs("x", "a", "y", "b", "c"),
        jobs("x"),
        "[daemon]\nmax_running = 3\n" + jobs("a", "b", "c"),
        "",
    ],
)
def test_it_is_as_if_it_had_been_read_in_the_loop(reader: Reader, text: str) -> None:
    reader.put(jobs("a", "b", "c"))
    Path("jobs.toml").write_text(text)
    expected = load(Path("jobs.toml"), local_zone="UTC")
    fresh = reader.read().jobfile
    assert fresh == expected
    assert list(fresh.jobs) == list(expected.jobs)


def test_many_changes_come_a_few_in_a_turn(reader: Reader) -> None:
    names = [f"job-{number}" for number in range(1000)]
    reader.put(jobs(*names))
    Path("jobs.toml").write_text(jobs(*names, hour=4))
    reader.loading.ask(Ask(Aim.RELOAD))
    turns, deadline = 0, time.monotonic() + DEADLINE_S
    while reader.turn() is None:
        turns += reader.loading.patience(reader.mono) == 0.0
        assert time.monotonic() < deadline
    assert turns >= 10


def test_faults_are_those_that_a_check_finds(reader: Reader) -> None:
    reader.put(jobs("a"))
    broken = [f'[jobs.b{number}]\ncomand = "true"\n' for number in range(300)]
    Path("jobs.toml").write_text("".join(broken))
    with pytest.raises(JobfileError) as expected:
        load(Path("jobs.toml"), local_zone="UTC")
    error = reader.refused()
    assert str(error) == str(expected.value)
    assert error.problems == expected.value.problems
    assert [each.source for each in error.problems] == [
        each.source for each in expected.value.problems
    ]
    assert error.more == expected.value.more > 0


def test_who_wants_to_know_is_told_what_differs(reader: Reader) -> None:
    reader.put(jobs("a", "b"))
    Path("jobs.toml").write_text(jobs("a", "c"))
    told: list[Plan | JobfileError | None] = []
    reader.loading.ask(Ask(Aim.PLAN, told.append))
    read = reader.end()
    assert told == []
    read.tell()
    expected = load(Path("jobs.toml"), local_zone="UTC")
    assert told == [difference(reader.old, expected, WALL)]


def test_zones_whose_data_have_changed_come_along(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    zoned = '[daemon]\ntimezone = "Europe/Berlin"\n' + jobs("a")
    reader.put(zoned)
    wallclock.clock("Europe/Berlin")
    tokyo = wallclock.clock("Asia/Tokyo").data
    Path("Europe").mkdir()
    Path("Europe/Berlin").write_bytes(tokyo)
    monkeypatch.setattr(zoneinfo, "TZPATH", (os.getcwd(), *zoneinfo.TZPATH))
    before = wallclock.clock("Europe/Berlin")
    assert dict(reader.read().zones) == {"Europe/Berlin": tokyo}
    assert wallclock.clock("Europe/Berlin") is before


# -- when it cannot be read


def test_a_fault_in_the_reading_leaves_the_loop_alone(reader: Reader) -> None:
    reader.put(jobs("a"))

    def faulty() -> Jobfile:
        raise ZeroDivisionError("of nothing")

    reader.reading = faulty
    (problem,) = reader.refused().problems
    assert problem.file == str(reader.old.path)
    assert problem.message.startswith("could not be read: ")
    assert problem.message.endswith("ZeroDivisionError: of nothing")


def test_where_there_can_be_no_process_it_is_refused(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", fork)
    (problem,) = reader.refused().problems
    assert problem.message.endswith("there is no process for it: Resource temporarily unavailable")


# -- one after the other


def test_whoever_asks_during_a_reading_gets_one_more_after_it(reader: Reader) -> None:
    reader.put(jobs("a"))
    reader.loading.ask(Ask(Aim.RELOAD))
    reader.turn()
    Path("jobs.toml").write_text(jobs("late"))
    for aim in (Aim.RELOAD, Aim.RELOAD, Aim.RESTART):
        reader.loading.ask(Ask(aim))
    first, second = reader.end(), reader.end()
    assert (len(first.asked), len(second.asked)) == (1, 3)
    assert second.is_for(Aim.RESTART)
    assert not first.is_for(Aim.RESTART)
    assert isinstance(second.result, Fresh)
    assert list(second.result.jobfile.jobs) == ["late"]
    assert reader.begun == 2
    assert reader.loading.patience(reader.mono) is None


def test_a_reading_that_hangs_is_told_once(reader: Reader) -> None:
    reader.put(jobs("a"))
    reader.reading = hanging
    reader.loading.ask(Ask(Aim.RELOAD))
    reader.turn()
    assert reader.loading.patience(reader.mono) == PATIENCE_S
    for _ in range(3):
        reader.mono += PATIENCE_S
        assert reader.turn() is None
    (entry,) = reader.log.entries
    assert (entry["event"], entry["path"]) == ("jobfile_not_read_yet", str(reader.old.path))
    assert reader.loading.patience(reader.mono) is None


def test_whoever_asks_when_one_hangs_has_it_begun_anew_for_all(reader: Reader) -> None:
    reader.put(jobs("a"))
    sound, reader.reading = reader.reading, hanging
    reader.loading.ask(Ask(Aim.PLAN))
    reader.turn()
    reader.mono += PATIENCE_S
    reader.reading = sound
    reader.loading.ask(Ask(Aim.RELOAD))
    read = reader.end()
    assert [ask.aim for ask in read.asked] == [Aim.PLAN, Aim.RELOAD]
    assert isinstance(read.result, Fresh)


def test_at_the_end_all_who_wait_are_told_and_no_process_is_left(reader: Reader) -> None:
    before = descriptors()
    told: list[Plan | JobfileError | None] = []
    reader.reading = hanging
    reader.loading.ask(Ask(Aim.PLAN, told.append))
    reader.turn()
    reader.loading.ask(Ask(Aim.RELOAD, told.append))
    reader.loading.close()
    assert told == [None, None]
    deadline = time.monotonic() + DEADLINE_S
    while reader.selector.get_map():
        assert reader.turn() is None
        assert time.monotonic() < deadline
    assert descriptors() == before
