"""The endpoint: real clients on loopback, well-behaved and otherwise, and a herald that hands it
the numbers or does not."""

from __future__ import annotations

import contextlib
import http.client
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

import pytest

from stsd import metrics_server
from stsd.endpoint import Endpoint, Heard
from stsd.metrics_server import Server, judged, listeners_at
from tests.support import descriptors, wait_for

PATIENT_S = 30.0


class Herald:
    """Runs an endpoint as the herald does, and hands it `numbers` whenever it wants some."""

    def __init__(self, numbers: bytes | None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.numbers = numbers
        self.handed = 0
        self.listening: list[str] = []
        self.ended: str | None = None
        self._selector = selectors.DefaultSelector()
        self.endpoint = Endpoint(self._selector, "endpoint", (host, port))
        self._over = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Herald:
        self._thread.start()
        wait_for(lambda: self.listening or self.ended, "the server listens", PATIENT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._over = True
        self._thread.join(PATIENT_S)
        self.endpoint.close()
        self._selector.close()

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.listening[0].rpartition(":")
        return host.strip("[]"), int(port)

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=PATIENT_S)

    def ask(self, method: str = "GET", path: str = "/metrics", body: bytes | None = None) -> Answer:
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENT_S)
        connection.request(method, path, body)
        response = connection.getresponse()
        return Answer(response.status, dict(response.getheaders()), response.read())

    def _run(self) -> None:
        while not self._over and self.ended is None:
            if self._selector.select(0.02):
                self._hear(self.endpoint.hear())

    def _hear(self, heard: Heard) -> None:
        self.listening += heard.listening
        self.ended = heard.ended
        if heard.wanted and self.numbers is not None:
            self.handed += 1
            self.endpoint.publish([self.numbers])


class Answer:
    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


@pytest.fixture
def herald() -> Iterator[Herald]:
    with Herald(b"stsd_jobs 3\n") as running:
        yield running


def test_the_numbers_are_served_with_the_type_that_prometheus_expects(herald: Herald) -> None:
    answer = herald.ask()
    assert (answer.status, answer.body) == (200, b"stsd_jobs 3\n")
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


def test_head_is_told_how_much_there_would_be(herald: Herald) -> None:
    answer = herald.ask("HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["Content-Length"] == "12"
    assert herald.ask("HEAD", "/").body == b""


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\n\r\n", 200),
        (b"GET /metrics?collect=all HTTP/1.0\r\n\r\n", 200),
        (b"GET http://example.com:9464/metrics HTTP/1.1\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\n\n", 200),
        (b"GET / HTTP/1.1\r\n\r\n", 404),
        (b"GET /metrics/ HTTP/1.1\r\n\r\n", 404),
        (b"GET /../etc/passwd HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET /metrics HTTP/2.0\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
    ],
)
def test_a_request_is_judged_by_its_first_line(request_: bytes, status: int) -> None:
    assert judged(request_)[0] is HTTPStatus(status)


def test_what_else_is_allowed_is_told(herald: Herald) -> None:
    refused = herald.ask("POST", body=b"x" * 5_000_000)
    assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")
    missing = herald.ask(path="/")
    assert (missing.status, missing.body) == (404, b"404 Not Found: the metrics are at /metrics\n")


def test_a_request_that_is_too_long_is_refused(herald: Herald) -> None:
    with herald.connect() as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")


def test_a_request_may_come_byte_by_byte_and_its_sender_stop_sending(herald: Herald) -> None:
    with herald.connect() as client:
        for byte in b"GET /metrics HTTP/1.0\r\n\r\n":
            client.send(bytes([byte]))
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answer:
            assert answer.read().endswith(b"\r\n\r\nstsd_jobs 3\n")


def test_numbers_are_fetched_only_when_somebody_wants_them_and_they_are_stale(
    herald: Herald,
) -> None:
    assert herald.handed == 0
    herald.ask()
    herald.numbers = b"stsd_jobs 4\n"
    wait_for(lambda: herald.ask().body == b"stsd_jobs 4\n", "new numbers", PATIENT_S)
    assert herald.handed == 2


def test_clients_that_say_nothing_or_take_nothing_hold_up_nobody() -> None:
    with Herald(b"n 1\n" * 4_000_000) as herald, contextlib.ExitStack() as open_:
        for _ in range(20):
            open_.enter_context(herald.connect())
        greedy = open_.enter_context(herald.connect())
        greedy.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        assert greedy.recv(10).startswith(b"HTTP/1.1")
        for _ in range(3):
            assert len(herald.ask().body) == 16_000_000


def test_a_slow_client_gets_the_numbers_it_began_with_to_their_end() -> None:
    with Herald(b"1" * 8_000_000) as herald, herald.connect() as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        received = slow.recv(1000)
        herald.numbers = b"2" * 100
        wait_for(lambda: herald.ask().body == herald.numbers, "new numbers", PATIENT_S)
        with slow.makefile("rb") as answer:
            received += answer.read()
    assert received.partition(b"\r\n\r\n")[2] == b"1" * 8_000_000


def test_more_connections_than_there_is_room_for_hold_up_nobody(herald: Herald) -> None:
    with contextlib.ExitStack() as open_:
        for _ in range(3 * metrics_server.CLIENTS_MAX):
            open_.enter_context(herald.connect())
        assert herald.ask().status == 200


def test_no_descriptor_is_left_behind_by_clients_of_any_kind(herald: Herald) -> None:
    def open_there() -> int:
        return len(os.listdir(f"/proc/{herald.endpoint.pid}/fd"))

    herald.ask()
    wait_for(lambda: open_there() <= 6, "the first client has gone", PATIENT_S)
    before = open_there()
    for _ in range(20):
        herald.ask()
        herald.ask("HEAD")
        herald.ask(path="/nowhere")
        herald.connect().close()
        herald.endpoint.publish([b"stsd_jobs 3\n"])
    wait_for(lambda: open_there() <= before, "all clients are gone", PATIENT_S)


def test_a_port_that_another_program_has_is_told(herald: Herald) -> None:
    with Herald(None, *herald.address) as second:
        assert second.ended == "another program listens there (`ss -ltnp` names it)"


def test_an_address_that_is_not_the_machines_is_told() -> None:
    with Herald(None, "192.0.2.1", 9464) as herald:
        assert herald.ended == "this machine does not have that address"


def test_a_name_is_listened_at_with_all_its_addresses() -> None:
    found = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    listening = listeners_at("localhost", 0)
    bound = {listener.getsockname()[0] for listener in listening}
    for listener in listening:
        listener.close()
    assert bound <= found
    assert bound


def test_the_server_ends_with_its_herald(tmp_path: Path) -> None:
    before = descriptors()
    with Herald(b"n 1\n") as herald:
        client = herald.connect()
        pid = herald.endpoint.pid
    client.close()
    assert not os.path.exists(f"/proc/{pid}")
    assert descriptors() == before


def test_a_herald_that_is_killed_takes_its_server_along() -> None:
    program = (
        "import selectors, time; from stsd.endpoint import Endpoint\n"
        "selector = selectors.DefaultSelector()\n"
        "endpoint = Endpoint(selector, None, ('127.0.0.1', 0))\n"
        "print(endpoint.pid, flush=True); time.sleep(60)"
    )
    argv = [sys.executable, "-c", program]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as herald:
        assert herald.stdout is not None
        pid = int(herald.stdout.readline())
        herald.kill()
    wait_for(lambda: not _runs(pid), "the server has ended", PATIENT_S)


def test_a_server_that_is_killed_is_told_of() -> None:
    with Herald(b"n 1\n") as herald:
        os.kill(herald.endpoint.pid, signal.SIGKILL)
        assert wait_for(lambda: herald.ended, "the end is told") == "it ended, with -9"


def test_numbers_for_a_server_that_has_gone_are_dropped() -> None:
    with Herald(b"n 1\n") as herald:
        os.kill(herald.endpoint.pid, signal.SIGKILL)
        wait_for(lambda: herald.ended, "the end is told")
        herald.endpoint.publish([b"n 2\n"])


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become nobody")
def test_the_server_is_not_root(herald: Herald) -> None:
    lines = Path(f"/proc/{herald.endpoint.pid}/status").read_text().splitlines()
    said = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert said["Uid"].split() == said["Gid"].split() == ["65534"] * 4
    assert said["Groups"].split() == []
    assert int(said["CapEff"], 16) == 0


class Inside:
    """A server in a thread of the test, so that its patience can be shortened."""

    def __init__(self) -> None:
        self.ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        (self._listener,) = listeners_at("127.0.0.1", 0)
        self._thread = threading.Thread(target=Server(its, [self._listener]).run, daemon=True)
        self.ours.settimeout(PATIENT_S)

    def __enter__(self) -> Inside:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ours.close()
        self._thread.join(PATIENT_S)
        assert not self._thread.is_alive()

    def connect(self, request: bytes = b"") -> socket.socket:
        client = socket.create_connection(self._listener.getsockname(), timeout=PATIENT_S)
        client.sendall(request)
        return client

    def publish(self, numbers: bytes) -> None:
        fd = os.memfd_create("numbers")
        os.write(fd, numbers)
        socket.send_fds(self.ours, [b"N"], [fd])
        os.close(fd)


GET = b"GET /metrics HTTP/1.1\r\n\r\n"


def whole(client: socket.socket) -> bytes:
    with client, client.makefile("rb") as answer:
        return answer.read()


def test_a_herald_that_does_not_answer_is_waited_for_only_so_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_server, "PATIENCE_S", 0.2)
    monkeypatch.setattr(metrics_server, "FRESH_S", 0.0)
    with Inside() as server:
        assert whole(server.connect(GET)).startswith(b"HTTP/1.1 503 ")
        server.publish(b"n 1\n")
        first = server.connect(GET)
        assert whole(first).endswith(b"\r\n\r\nn 1\n")
        assert [server.ours.recv(10) for _ in range(2)] == [b"W", b"W"]


def test_clients_that_come_together_share_one_set_of_numbers() -> None:
    with Inside() as server:
        clients = [server.connect(GET) for _ in range(5)]
        assert server.ours.recv(10) == b"W"
        server.publish(b"n 1\n")
        assert all(whole(client).endswith(b"\r\n\r\nn 1\n") for client in clients)
        server.ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.ours.recv(10)


def test_a_client_that_does_not_come_to_the_point_is_hung_up_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_S", 0.2)
    with Inside() as server:
        assert whole(server.connect(b"GET /metr")) == b""
        assert whole(server.connect()) == b""


def test_a_client_that_takes_nothing_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "ANSWER_S", 0.3)
    with Inside() as server:
        server.publish(b"1" * 50_000_000)
        before = len(descriptors())
        client = server.connect(GET)
        assert client.recv(8) == b"HTTP/1.1"
        wait_for(lambda: len(descriptors()) == before + 1, "the server's end is closed")
        with contextlib.suppress(ConnectionResetError):
            assert len(whole(client)) < 50_000_000


def test_who_has_asked_for_nothing_yet_makes_room_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "CLIENTS_MAX", 3)
    with Inside() as server:
        asking = server.connect(GET)
        assert server.ours.recv(10) == b"W"
        idle = [server.connect() for _ in range(3)]
        assert idle[0].recv(1) == b""
        server.publish(b"n 1\n")
        assert whole(asking).endswith(b"n 1\n")
        for client in idle:
            client.close()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
