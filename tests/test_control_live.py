"""The control socket of a real daemon, through its end, its restart and its enemies."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stsd.client import find
from stsd.errors import NoDaemonError
from stsd.sockets import NAME
from tests.support import Stsd, wait_for

FLOOD = """
import socket, sys
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(sys.argv[1])
    while True:
        connection.sendall(b'{"stsd": 1, "do": "status"}\\n' * 100)
        while len(connection.recv(1 << 16)) == 1 << 16:
            pass
"""


def test_a_daemon_says_who_it_is(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\n')
    with stsd.start().client() as client:
        assert client.hello["pid"] == stsd.pid
        assert client.hello["jobfile"] == str(stsd.jobfile)
        assert (client.hello["jobs"], client.hello["may"]) == (1, "change")


def test_the_socket_goes_with_the_daemon(stsd: Stsd) -> None:
    with stsd.start().client() as client:
        assert client.path.exists()
        assert stsd.stop() == 0
        assert not client.path.exists()
        with pytest.raises(NoDaemonError, match="has hung up"):
            client.ask("status")


def test_what_a_killed_daemon_leaves_is_replaced_by_the_next(stsd: Stsd) -> None:
    with stsd.start().client() as client:
        os.kill(stsd.pid, signal.SIGKILL)
        wait_for(lambda: stsd.process and stsd.process.poll() is not None, "the daemon's end")
    assert client.path.exists()
    with pytest.raises(NoDaemonError, match="nobody listens there"):
        find(stsd.jobfile, stsd.environment)
    with stsd.start().client() as client:
        assert client.hello["pid"] == stsd.pid


def test_a_restart_in_place_makes_the_socket_anew(stsd: Stsd) -> None:
    with stsd.start().client() as before:
        stsd.signal(signal.SIGUSR2)
        stsd.wait_for_event("started_daemon", 2)
        with pytest.raises(NoDaemonError, match="has hung up"):
            before.ask("status")
    with stsd.client() as after:
        assert after.hello["pid"] == stsd.pid


def test_a_second_daemon_beside_it_has_its_own(stsd: Stsd, tmp_path: Path) -> None:
    stsd.start()
    (tmp_path / "b").mkdir()
    other = Stsd(tmp_path / "b")
    other._runtime = stsd._runtime
    with other, other.client() as client, stsd.client() as first:
        assert client.path == tmp_path / "b" / "state" / NAME
        assert (client.hello["pid"], first.hello["pid"]) == (other.pid, stsd.pid)


def test_a_daemon_without_a_place_for_it_does_its_work(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\non_start = true\n')
    stsd._runtime.chmod(0o777)
    (stsd.folder / "state").mkdir(mode=0o777)
    (stsd.folder / "state").chmod(0o777)
    stsd.start()
    tried = stsd.wait_for_event("no_control_socket")["tried"]
    assert all("others than its owner may write" in fault for fault in tried.values())
    wait_for(lambda: stsd.records("finished"), "the job's end")


@pytest.mark.slow
def test_no_job_is_late_for_clients_that_flood_hang_or_do_not_read(stsd: Stsd) -> None:
    jobs = [f'[jobs.j{number}]\ncommand = "true"\ncron = "0 0 1 1 *"\n' for number in range(200)]
    stsd.write('[jobs.tick]\ncommand = "true"\nevery = 1\n' + "".join(jobs))
    with stsd.start().client() as client:
        path = str(client.path)
    floods = [subprocess.Popen([sys.executable, "-c", FLOOD, path]) for _ in range(6)]
    hanging = [socket.socket(socket.AF_UNIX) for _ in range(20)]
    try:
        for number, connection in enumerate(hanging):
            connection.connect(path)
            connection.send(b'{"stsd": 1, "do": "status"}\n' * 20 if number % 2 else b"{")
        first = len(stsd.records("started"))
        wait_for(lambda: len(stsd.records("started")) >= first + 5, "five more seconds")
    finally:
        for flood in floods:
            flood.kill()
            flood.wait()
        for connection in hanging:
            connection.close()
    late = [record["late_s"] for record in stsd.records("started")[first:]]
    assert max(late) < 1.0, late
    assert stsd.records("missed") == []
    with stsd.client() as client:
        assert client.ask("status")["daemon"]["jobs"] == 201
