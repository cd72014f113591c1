"""The metrics of a daemon in their file and at their endpoint, and what is told when one fails."""

from __future__ import annotations

import http.client
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stsd.bulletin import FILE_S, Bulletin
from stsd.desk import Desk
from stsd.notices import Metrics
from stsd.settings import Jobfile, Settings
from tests.support import wait_for

NOW = 1_795_255_200.0


class Herald:
    """A bulletin with a selector and a monotonic clock of its own."""

    def __init__(self, folder: Path) -> None:
        self.said: list[dict[str, Any]] = []
        self.desk = Desk({}, {}, NOW, lambda: "id", NOW, anew=True)
        self.mono = 0.0
        self._selector = selectors.DefaultSelector()
        self.bulletin = Bulletin(self._selector, folder, os.getpid(), self._say)

    def reload(self, file: Path | None = None, listen: tuple[str, int] | None = None) -> None:
        metrics = Metrics(None if file is None else str(file), listen)
        self.bulletin.reload(Jobfile(Path("jobs.toml"), Settings(metrics=metrics)), self.mono)
        self.tend()

    def tend(self) -> None:
        self.bulletin.tend(self.desk, NOW + self.mono, self.mono)

    def hear(self) -> None:
        """A turn of the loop."""
        if self._selector.select(0.02):
            self.bulletin.hear(self.mono)
        self.tend()

    def wait_for_said(self, event: str, count: int = 1) -> dict[str, Any]:
        def enough() -> list[dict[str, Any]]:
            self.hear()
            found = [said for said in self.said if said["event"] == event]
            return found if len(found) >= count else []

        return wait_for(enough, f"{count} times {event}")[-1]

    def _say(self, level: str, event: str, **fields: object) -> None:
        self.said.append({"level": level, "event": event, **fields})


@pytest.fixture
def herald(tmp_path: Path) -> Iterator[Herald]:
    herald = Herald(tmp_path)
    yield herald
    herald.bulletin.close()


def numbers(path: Path) -> dict[str, float]:
    """What stands in a file, but for what has labels."""
    lines = path.read_text().splitlines()
    pairs = (line.split(" ") for line in lines if not line.startswith("#") and "{" not in line)
    return {name: float(value) for name, value in pairs}


def scraped(herald: Herald, port: int) -> str:
    """What the endpoint answers, while the herald goes on turning."""
    answers: list[str] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("GET", "/metrics")
        answers.append(connection.getresponse().read().decode())

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()

    def answered() -> list[str]:
        herald.hear()
        return answers

    return wait_for(answered, "an answer")[0]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_file_is_written_at_once_and_again_when_it_is_old(
    herald: Herald, tmp_path: Path
) -> None:
    path = tmp_path / "stsd.prom"
    herald.reload(path)
    assert numbers(path)["stsd_exposed_timestamp_seconds"] == NOW
    herald.mono = FILE_S - 1
    herald.tend()
    assert numbers(path)["stsd_exposed_timestamp_seconds"] == NOW
    assert herald.bulletin.due() == FILE_S
    herald.mono = FILE_S
    herald.tend()
    assert numbers(path)["stsd_exposed_timestamp_seconds"] == NOW + FILE_S


def test_what_the_daemon_says_of_itself_is_told(herald: Herald, tmp_path: Path) -> None:
    path = tmp_path / "stsd.prom"
    herald.bulletin.told({"running": 3, "started": NOW - 5}, 0.0)
    herald.bulletin.told({"held": True}, 0.0)
    herald.reload(path)
    found = numbers(path)
    assert found["stsd_running"] == 3
    assert found["stsd_start_timestamp_seconds"] == NOW - 5
    assert found["stsd_held"] == 1
    assert found["stsd_memory_bytes"] > 1_000_000
    assert found["stsd_disk_size_bytes"] >= found["stsd_disk_free_bytes"]


def test_the_longest_delay_of_the_loop_is_told_for_a_minute(herald: Herald, tmp_path: Path) -> None:
    path = tmp_path / "stsd.prom"
    herald.bulletin.told({"loop_delay_s": 2.5}, 0.0)
    herald.bulletin.told({"loop_delay_s": 0.25}, 30.0)
    herald.mono = 60.0
    herald.reload(path)
    assert numbers(path)["stsd_loop_delay_seconds"] == 2.5
    herald.mono = 80.0
    herald.tend()
    assert numbers(path)["stsd_loop_delay_seconds"] == 0.25


def test_a_file_that_cannot_be_written_is_told_once_until_it_can(
    herald: Herald, tmp_path: Path
) -> None:
    path = tmp_path / "missing" / "stsd.prom"
    herald.reload(path)
    for _ in range(2):
        herald.mono += FILE_S
        herald.tend()
    (said,) = herald.said
    assert (said["level"], said["event"], said["file"]) == (
        "error",
        "metrics_not_written",
        str(path),
    )
    assert said["problem"] == "No such file or directory"
    path.parent.mkdir()
    herald.mono += FILE_S
    herald.tend()
    assert path.exists()


def test_the_endpoint_is_served_and_says_where(herald: Herald) -> None:
    port = free_port()
    herald.reload(listen=("127.0.0.1", port))
    assert herald.wait_for_said("metrics_served")["at"] == f"http://127.0.0.1:{port}/metrics"
    assert "stsd_jobs 0\n" in scraped(herald, port)


def test_nothing_is_due_while_nobody_asks(herald: Herald) -> None:
    herald.reload(listen=("127.0.0.1", free_port()))
    herald.wait_for_said("metrics_served")
    assert herald.bulletin.due() is None


def test_a_port_that_is_taken_is_told_and_tried_again_ever_less_often(herald: Herald) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = int(other.getsockname()[1])
        herald.reload(listen=("127.0.0.1", port))
        said = herald.wait_for_said("metrics_not_served")
        assert (said["at"], said["again_in_s"]) == (f"127.0.0.1:{port}", 1.0)
        assert said["problem"].startswith("another program listens there")
        assert herald.bulletin.due() == 1.0
        herald.mono = 1.0
        assert herald.wait_for_said("metrics_not_served", 2)["again_in_s"] == 2.0
    herald.mono = 3.0
    herald.wait_for_said("metrics_served")
    assert "stsd_jobs 0\n" in scraped(herald, port)


def test_another_address_is_served_instead_and_none_ends_the_server(herald: Herald) -> None:
    first, second = free_port(), free_port()
    herald.reload(listen=("127.0.0.1", first))
    herald.wait_for_said("metrics_served")
    herald.reload(listen=("127.0.0.1", second))
    herald.wait_for_said("metrics_served", 2)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", first))
    herald.reload()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", second))
    assert herald.bulletin.due() is None
