"""The copy of a process that works something out beside it."""

from __future__ import annotations

import fcntl
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from stsd.twin import Twin, TwinError
from tests.support import DEADLINE_S, descriptors, wait_for


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as made:
        yield made


def wait_for_end(selector: selectors.BaseSelector, twin: Twin) -> None:
    end = time.monotonic() + DEADLINE_S
    while not twin.ended:
        for key, _ in selector.select(end - time.monotonic()):
            assert key.data is twin
            twin.hear()
        assert time.monotonic() < end, "it does not end"


def found(selector: selectors.BaseSelector, work: Callable[[], Iterable[object]]) -> list[Any]:
    twin = Twin(selector, work)
    wait_for_end(selector, twin)
    return list(twin.findings())


def fault(selector: selectors.BaseSelector, work: Callable[[], Iterable[object]]) -> str:
    with pytest.raises(TwinError) as raised:
        found(selector, work)
    return str(raised.value)


def for_ever() -> Iterator[object]:
    yield "something"
    time.sleep(3600)


def test_what_it_finds_comes_piece_by_piece(selector: selectors.BaseSelector) -> None:
    pieces = ["one", {"two": 2}, b"3" * 1_000_000]
    assert found(selector, lambda: pieces) == pieces


def test_it_knows_what_the_process_knows_and_changes_nothing(
    selector: selectors.BaseSelector,
) -> None:
    known = ["before"]

    def work() -> Iterator[object]:
        known.append("in the copy")
        yield known

    assert found(selector, work) == [["before", "in the copy"]]
    assert known == ["before"]


def test_it_is_another_process_in_a_session_of_its_own(selector: selectors.BaseSelector) -> None:
    pid, session = found(selector, lambda: [os.getpid(), os.getsid(0)])
    assert pid == session != os.getpid()


def test_a_fault_in_it_is_told_with_its_place(selector: selectors.BaseSelector) -> None:
    def work() -> Iterator[object]:
        yield "a piece that nobody gets"
        raise ZeroDivisionError("of nothing")

    told = fault(selector, work)
    assert told.endswith("ZeroDivisionError: of nothing")
    assert "test_twin.py" in told


def test_one_that_is_killed_is_told(selector: selectors.BaseSelector) -> None:
    def work() -> Iterator[object]:
        os.kill(os.getpid(), signal.SIGKILL)
        yield "never"

    assert fault(selector, work) == "the process for it was ended by a signal (Killed)"


def test_one_that_leaves_the_work_by_the_exit_is_told(selector: selectors.BaseSelector) -> None:
    def work() -> Iterator[object]:
        yield "a piece"
        raise SystemExit(0)

    assert "SystemExit" in fault(selector, work)


def test_it_keeps_nothing_open_of_the_process(
    selector: selectors.BaseSelector, tmp_path: Path
) -> None:
    def open_files() -> Iterator[object]:
        for number in sorted(map(int, os.listdir("/proc/self/fd"))):
            with suppress(FileNotFoundError):  # that of the listing
                yield number, os.readlink(f"/proc/self/fd/{number}")

    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held = found(selector, open_files)
        twin = Twin(selector, for_ever)
    *standard, (_, own) = held
    assert standard == [(0, "/dev/null"), (1, "/dev/null"), (2, "/dev/null")]
    assert own == "/memfd:twin (deleted)"
    try:
        with (tmp_path / "lock").open("w") as lock:
            deadline = time.monotonic() + DEADLINE_S
            while not taken(lock.fileno()):
                assert time.monotonic() < deadline, "the copy holds the lock"
    finally:
        twin.drop()
        wait_for_end(selector, twin)


def taken(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_a_signal_to_it_is_no_order_to_the_process(selector: selectors.BaseSelector) -> None:
    inbox, outbox = socket.socketpair()
    before = signal.signal(signal.SIGHUP, lambda number, frame: None)
    with inbox, outbox:
        inbox.setblocking(False)
        outbox.setblocking(False)
        signal.set_wakeup_fd(outbox.fileno())
        try:

            def work() -> Iterator[object]:
                os.kill(os.getpid(), signal.SIGHUP)
                yield "still there"

            assert found(selector, work) == ["still there"]
            with pytest.raises(BlockingIOError):
                inbox.recv(1)
        finally:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGHUP, before)


def test_one_that_is_dropped_ends_and_leaves_nothing(selector: selectors.BaseSelector) -> None:
    before = descriptors()
    twin = Twin(selector, for_ever)
    twin.drop()
    wait_for_end(selector, twin)
    assert descriptors() == before


def test_one_that_has_been_asked_leaves_nothing(selector: selectors.BaseSelector) -> None:
    before = descriptors()
    assert found(selector, lambda: [1, 2]) == [1, 2]
    assert descriptors() == before
    assert selector.get_map() == {}


def test_one_that_is_dropped_before_all_is_taken_closes_nothing_twice(
    selector: selectors.BaseSelector,
) -> None:
    before = descriptors()
    twin = Twin(selector, lambda: ["one", "two"])
    wait_for_end(selector, twin)
    pieces = twin.findings()
    assert next(pieces) == "one"
    twin.drop()
    with open(os.devnull) as other:  # it has the number that was free
        del pieces
        os.fstat(other.fileno())
    assert descriptors() == before


def test_where_somebody_else_has_waited_for_it_its_end_is_not_known(
    selector: selectors.BaseSelector, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    twin = Twin(selector, lambda: [wait_for(go.exists, "the word to go")])
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # then the kernel waits for children
    try:
        go.touch()
        twin.join(DEADLINE_S)
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert twin.ended
    with pytest.raises(TwinError, match="how the process for it has ended is not known"):
        list(twin.findings())
    assert selector.get_map() == {}


def test_its_end_is_waited_for_no_longer_than_is_said(selector: selectors.BaseSelector) -> None:
    twin = Twin(selector, for_ever)
    twin.join(0.05)
    assert not twin.ended
    twin.drop()
    twin.join(DEADLINE_S)
    assert twin.ended


def test_where_there_can_be_no_process_nothing_is_left_of_it(
    selector: selectors.BaseSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise BlockingIOError("Resource temporarily unavailable")

    before = descriptors()
    monkeypatch.setattr(os, "fork", fork)
    with pytest.raises(BlockingIOError):
        Twin(selector, for_ever)
    assert descriptors() == before
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
