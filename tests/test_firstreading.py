"""The first reading of a jobfile, in a real copy of this process."""

from __future__ import annotations

import gc
import os
import signal
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from stsd.errors import JobfileError
from stsd.firstreading import FirstReading
from stsd.jobfile import load
from stsd.memory import Memory
from stsd.messages import Begin
from stsd.model import Reading, ShellTask
from stsd.scheduler import Scheduler
from stsd.settings import Jobfile

HERE = os.getpid()


def reading_of(text: str, folder: Path) -> Callable[[], Jobfile]:
    """What reads a jobfile of this text."""
    folder.chmod(0o755)
    path = folder / "jobs.toml"
    path.write_text(text)
    path.chmod(0o644)
    return partial(load, path, local_zone="Europe/Berlin")


def children() -> list[int]:
    """Of this process, those that live and those that nobody has waited for."""
    return [int(pid) for pid in Path("/proc/thread-self/children").read_text().split()]


def test_it_is_what_a_reading_in_this_process_gives(tmp_path: Path) -> None:
    tables = "".join(
        f'[jobs.j{number}]\ncommand = ["true", "{number}"]\ncron = "{number} * * * *"\n'
        f'retry = {{ max = 2 }}\nenv = {{ N = "{number}" }}\n'
        for number in range(60)
    )
    read = reading_of(f'[defaults]\ncwd = "/nowhere"\n{tables}', tmp_path)
    assert FirstReading(read).result() == read()
    assert len(read().warnings) == 1


def test_equal_values_are_still_one(tmp_path: Path) -> None:
    lines = 'command = "true"\ncron = "@daily"\ntags = ["x"]\n'
    jobs = FirstReading(reading_of(f"[jobs.a]\n{lines}[jobs.b]\n{lines}", tmp_path)).result().jobs
    assert jobs["a"].when is jobs["b"].when
    assert jobs["a"].task is jobs["b"].task
    assert jobs["a"].tags is jobs["b"].tags
    assert [name for name in jobs if jobs[name].name is not name] == []


def test_all_that_is_wrong_comes_back_with_its_places(tmp_path: Path) -> None:
    faults = "".join(f"[jobs.j{number}]\nnonsense = 1\n" for number in range(70))
    read = reading_of(faults, tmp_path)
    with pytest.raises(JobfileError) as here:
        read()
    with pytest.raises(JobfileError) as there:
        FirstReading(read).result()
    assert there.value.problems == here.value.problems
    assert there.value.more == here.value.more > 0
    assert str(there.value) == str(here.value)


def test_what_the_copy_cannot_do_is_done_here() -> None:
    def deadly_elsewhere() -> Jobfile:
        if os.getpid() != HERE:
            os.kill(os.getpid(), signal.SIGKILL)
        return Jobfile(Path("here"))

    assert FirstReading(deadly_elsewhere).result() == Jobfile(Path("here"))


def test_a_fault_of_our_own_is_raised_as_it_is() -> None:
    def broken() -> Jobfile:
        raise LookupError("a fault")

    with pytest.raises(LookupError, match="a fault"):
        FirstReading(broken).result()


def test_without_a_process_to_be_had_it_is_read_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_fork() -> int:
        raise BlockingIOError("no more processes")

    read = reading_of('[jobs.a]\ncommand = "true"\n', tmp_path)
    monkeypatch.setattr(os, "fork", no_fork)
    assert FirstReading(read).result().jobs["a"].task == ShellTask("true")


def test_where_the_kernel_waits_for_the_copy_it_is_read_here(tmp_path: Path) -> None:
    """As under a parent that ignores SIGCHLD, which is handed down."""
    read = reading_of('[jobs.a]\ncommand = "true"\n', tmp_path)
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert FirstReading(read).result().jobs["a"].task == ShellTask("true")
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    read = reading_of('[jobs.a]\ncommand = "true"\n', tmp_path)
    open_before, children_before = os.listdir("/proc/self/fd"), children()
    FirstReading(read).result()
    assert os.listdir("/proc/self/fd") == open_before
    assert children() == children_before


ALIKE = '[jobs.alike-{0}]\ncommand = ["prog", "--all"]\ncron = "0 {hour} * * *"\n'
UNLIKE = """
[jobs.unlike-{0}]
description = "The backup of site {0}"
command = "/usr/local/bin/backup --site {0} --to /srv/backup/{0}"
cron = "{minute} {hour} * * *"
splay = "5m"
env = {{ SITE = "{0}", LANG = "C.UTF-8" }}
"""


@pytest.mark.parametrize(("table", "most"), [(ALIKE, 650), (UNLIKE, 1700)], ids=["alike", "unlike"])
def test_what_a_daemon_holds_of_a_job_is_small(table: str, most: int, tmp_path: Path) -> None:
    def held(count: int) -> int:
        tables = (table.format(n, minute=n % 60, hour=n % 24) for n in range(count))
        read = reading_of("".join(tables), tmp_path)
        gc.collect()
        tracemalloc.start()
        try:
            scheduler = Scheduler(FirstReading(read).result(), lambda: 0.5)
            scheduler.step(Begin(Memory(), False), Reading(1_800_000_000.0, 1000.0))
            gc.collect()
            return tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()

    held(10)  # what is read and made but once
    few, many = held(50), held(550)
    assert (many - few) / 500 < most
