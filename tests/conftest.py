"""Fixtures for all tests."""

from __future__ import annotations

import ctypes
import fcntl
import gc
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Stsd

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@pytest.hookimpl(tryfirst=True)  # before it is asked which tests are marked
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What waits for minutes begins first, so that no worker is alone with it in the end. Tests
    that would wait for each other are marked, to be run by one process."""
    items.sort(key=lambda item: item.path.name != "test_telling.py")
    for item in items:
        if isinstance(item, pytest.Function) and "alone" in item.fixturenames:
            item.add_marker("alone")


def pytest_collection_finish() -> None:
    """What three thousand tests are made of is never garbage: it need not be looked at each time
    that a test has garbage collected."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _adopting_no_orphans() -> Iterator[None]:
    """What stsd makes of its own process, where a test runs its rooms in that of the tests, must
    not tell in the tests after it."""
    yield
    assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


@pytest.fixture
def alone() -> Iterator[None]:
    """For tests that take the whole machine, or count the processes of a user: one at a time, in
    whatever worker they are."""
    with (Path(tempfile.gettempdir()) / "stsd-tests-alone.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture
def stsd(tmp_path: Path) -> Iterator[Stsd]:
    """A folder with a jobfile; a daemon started on it does not outlive the test."""
    with_folder = Stsd(tmp_path)
    try:
        yield with_folder
    finally:
        with_folder.__exit__(None, None, None)
