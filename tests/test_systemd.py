"""The words to systemd, heard on real datagram sockets."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from stsd.systemd import LONGEST_STATUS, Notifier


@dataclass
class Manager:
    """systemd's end of the line."""

    address: str
    line: socket.socket
    problems: list[str] = field(default_factory=list)

    def heard(self) -> list[str]:
        """The words of the datagram that has arrived; BlockingIOError when there is none."""
        return self.line.recv(8192).decode().split("\n")

    def silent(self) -> bool:
        try:
            self.heard()
        except BlockingIOError:
            return True
        return False

    def notifier(self, **environ: str) -> Notifier:
        variables = {"NOTIFY_SOCKET": self.address, **environ}
        return Notifier.from_environment(variables, os.getpid(), self.problems.append)


def listen(address: str) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    line.bind(address)
    line.setblocking(False)
    return line


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    address = str(tmp_path / "notify")
    with listen(address) as line:
        yield Manager(address, line)


def test_ready_carries_its_status_in_one_datagram(manager: Manager) -> None:
    manager.notifier().ready("12 jobs")
    assert manager.heard() == ["READY=1", "STATUS=12 jobs"]


def test_an_abstract_socket_is_spoken_to_as_well() -> None:
    name = f"stsd-test-{os.getpid()}-{time.monotonic_ns()}"
    with listen(f"\0{name}") as line:
        manager = Manager(f"@{name}", line)
        manager.notifier().ready()
        assert manager.heard() == ["READY=1"]
        assert manager.problems == []


def test_reloading_bears_the_monotonic_time_of_its_beginning(manager: Manager) -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    manager.notifier().reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    word, stamp = manager.heard()
    assert word == "RELOADING=1"
    name, _, usec = stamp.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(usec) <= after


def test_stopping_asks_for_the_time_that_the_jobfile_grants(manager: Manager) -> None:
    manager.notifier().stopping(40.5, "waiting for 2 runs")
    words = ["STOPPING=1", "EXTEND_TIMEOUT_USEC=40500000", "STATUS=waiting for 2 runs"]
    assert manager.heard() == words


def test_stopping_without_a_span_leaves_the_units_own_timeout(manager: Manager) -> None:
    manager.notifier().stopping()
    assert manager.heard() == ["STOPPING=1"]


def test_a_line_break_in_a_status_cannot_become_a_word(manager: Manager) -> None:
    manager.notifier().status("job a\nSTOPPING=1\r\n\tfailed")
    assert manager.heard() == ["STATUS=job a STOPPING=1 failed"]


def test_a_long_or_undecodable_status_is_cut_and_sent(manager: Manager) -> None:
    manager.notifier().status("\udcff" + "x" * 10_000)
    assert manager.heard() == ["STATUS=?" + "x" * (LONGEST_STATUS - 1)]


def test_the_variables_are_taken_out_of_the_environment(manager: Manager) -> None:
    environ = {
        "NOTIFY_SOCKET": manager.address,
        "WATCHDOG_USEC": "30000000",
        "WATCHDOG_PID": str(os.getpid()),
        "HOME": "/root",
    }
    Notifier.from_environment(environ, os.getpid())
    assert environ == {"HOME": "/root"}


@pytest.mark.parametrize("named", [True, False])
def test_the_watchdog_is_fed_at_half_of_its_span(manager: Manager, named: bool) -> None:
    environ = {"WATCHDOG_PID": str(os.getpid())} if named else {}
    notifier = manager.notifier(WATCHDOG_USEC="30000000", **environ)
    assert notifier.watchdog_interval == 15.0
    notifier.watchdog()
    assert manager.heard() == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-5"},
        {"WATCHDOG_USEC": "1e6"},
        {"WATCHDOG_USEC": "٣"},
        {"WATCHDOG_USEC": "9" * 5000},
    ],
)
def test_a_watchdog_that_is_not_ours_is_never_fed(
    manager: Manager, environ: dict[str, str]
) -> None:
    notifier = manager.notifier(**environ)
    assert notifier.watchdog_interval is None
    notifier.watchdog()
    assert manager.silent()


def test_without_a_listener_every_word_is_a_no_op() -> None:
    problems: list[str] = []
    notifier = Notifier.from_environment({"WATCHDOG_USEC": "5000000"}, 1, problems.append)
    assert notifier.watchdog_interval is None
    notifier.ready("up")
    notifier.reloading()
    notifier.stopping(1.0)
    notifier.status("here")
    notifier.watchdog()
    assert problems == []


def test_an_address_of_another_kind_is_reported_and_not_used() -> None:
    problems: list[str] = []
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": "vsock:2:1"}, 1, problems.append)
    notifier.ready()
    assert len(problems) == 1
    assert "vsock:2:1" in problems[0]


def test_a_vanished_socket_is_reported_once_for_each_outage(manager: Manager) -> None:
    notifier = manager.notifier()
    os.unlink(manager.address)
    notifier.status("one")
    notifier.status("two")
    assert len(manager.problems) == 1
    assert "STATUS" in manager.problems[0]
    assert manager.address in manager.problems[0]
    with listen(manager.address) as line:
        notifier.status("three")
        assert line.recv(100) == b"STATUS=three"
    os.unlink(manager.address)
    notifier.ready()
    assert len(manager.problems) == 2


def test_a_manager_that_does_not_read_cannot_hold_the_loop(manager: Manager) -> None:
    notifier = manager.notifier(WATCHDOG_USEC="2000000")
    began = time.monotonic()
    for _ in range(5000):  # more than any queue of datagrams holds
        notifier.watchdog()
    assert time.monotonic() - began < 2
    assert len(manager.problems) == 1


def test_a_missing_listener_is_told_on_standard_error_by_default(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    Notifier(str(tmp_path / "gone")).ready()
    assert capsys.readouterr().err.startswith("stsd: systemd could not be told READY: ")
