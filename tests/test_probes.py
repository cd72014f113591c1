"""One look each at the outside: real sockets, real name lookups, real files."""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stsd import resolver
from stsd.messages import Probed
from stsd.model import ArgvTask, Job, Run, TriggerKind, WaitFor
from stsd.probes import Probes
from stsd.resolver import Resolver
from tests.support import descriptors


class Loop:
    """A selector that hands what it hears to the probes, as the daemon does."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.probes = Probes(self.selector)

    def ask(self, wait_for: WaitFor, run_id: str = "a@1") -> str:
        """What one look finds missing."""
        answer = self.probes.begin(run(wait_for, run_id)) or self.answers(1)[0]
        assert answer.run_id == run_id
        return answer.missing

    def answers(self, count: int, deadline_s: float = 15.0) -> list[Probed]:
        found: list[Probed] = []
        end = time.monotonic() + deadline_s
        while len(found) < count:
            assert time.monotonic() < end, f"{found} and no more"
            found += self.turn(0.2)
        return found

    def turn(self, longest_s: float) -> list[Probed]:
        heard = []
        for key, _ in self.selector.select(longest_s):
            assert key.data is self.probes
            heard.append(self.probes.hear(key.fd))
        return [answer for answer in heard if answer is not None]

    def quiet(self) -> bool:
        """Whether nothing is left of whatever was under way."""
        return not self.selector.get_map()


def run(wait_for: WaitFor | None, run_id: str = "a@1") -> Run:
    job = Job("a", ArgvTask(("true",)), wait_for=wait_for)
    return Run(run_id, job, 0, TriggerKind.MANUAL)


@pytest.fixture
def loop() -> Iterator[Loop]:
    made = Loop()
    before = open_descriptors()
    yield made
    assert made.quiet()
    assert open_descriptors() == before
    made.selector.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def port_of(server: socket.socket) -> int:
    return int(server.getsockname()[1])


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return port_of(server)


def open_descriptors() -> int:
    return len(descriptors())


def children() -> set[str]:
    pid = os.getpid()
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def test_a_run_that_waits_for_nothing_has_all_it_needs(loop: Loop) -> None:
    assert loop.probes.begin(run(None)) == Probed("a@1", "")


def test_a_path_is_missing_until_it_is_there(loop: Loop, tmp_path: Path) -> None:
    path = tmp_path / "ready"
    assert loop.ask(WaitFor(path=str(path))) == f"no file {path}"
    path.touch()
    assert loop.ask(WaitFor(path=str(path))) == ""


def test_a_path_through_a_file_is_missing(loop: Loop, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert loop.ask(WaitFor(path=f"{tmp_path}/file/x")) == f"no file {tmp_path}/file/x"


def test_a_load_too_high_is_told_with_its_limit(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (7.204, 1.0, 1.0))
    assert loop.ask(WaitFor(load=4.0)) == "load 7.2, not below 4"
    assert loop.ask(WaitFor(load=7.5)) == ""


def test_the_load_of_this_machine_is_below_a_million_and_not_below_nothing(loop: Loop) -> None:
    assert loop.ask(WaitFor(load=1e6)) == ""
    assert loop.ask(WaitFor(load=-1.0)).endswith("not below -1")


def test_a_listening_port_is_there(loop: Loop, listener: socket.socket) -> None:
    assert loop.ask(WaitFor(network=("127.0.0.1", port_of(listener)))) == ""


def test_a_port_where_nobody_listens_refuses(loop: Loop) -> None:
    port = closed_port()
    missing = loop.ask(WaitFor(network=("127.0.0.1", port)))
    assert missing == f"no connection to 127.0.0.1:{port}: connection refused"


def test_an_address_of_ipv6_stands_in_brackets(loop: Loop) -> None:
    missing = loop.ask(WaitFor(network=("::1", 1)))
    assert missing.startswith("no connection to [::1]:1: ")


def test_a_name_is_looked_up_and_all_its_addresses_are_tried(
    loop: Loop, listener: socket.socket
) -> None:
    assert loop.ask(WaitFor(network=("localhost", port_of(listener)))) == ""
    port = closed_port()
    missing = loop.ask(WaitFor(network=("localhost", port)))
    assert missing.startswith(f"no connection to localhost:{port}: ")


def test_an_address_is_not_looked_up(
    loop: Loop, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> int:
        raise AssertionError("looked up")

    monkeypatch.setattr(Resolver, "ask", never)
    assert loop.ask(WaitFor(network=("127.0.0.1", port_of(listener)))) == ""


def test_a_name_that_nobody_knows_is_told(loop: Loop) -> None:
    missing = loop.ask(WaitFor(network=("no-such-host.invalid", 443)))
    prefix = "no connection to no-such-host.invalid:443: "
    assert missing.startswith(prefix)
    assert missing.removeprefix(prefix) in (
        "name or service not known",
        "temporary failure in name resolution",
    )


def test_what_is_no_host_name_is_told(loop: Loop) -> None:
    missing = loop.ask(WaitFor(network=("a..b", 443)))
    assert missing == "no connection to a..b:443: it is not a host name"


def test_a_name_is_looked_up_once_in_a_while(
    loop: Loop, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    wait_for = WaitFor(network=("localhost", port_of(listener)))
    assert loop.ask(wait_for) == ""
    monkeypatch.setattr(resolver, "_PROGRAM", "/nonexistent")
    assert loop.ask(wait_for) == ""


@pytest.mark.slow
def test_a_host_that_never_answers_is_given_up_after_five_seconds(loop: Loop) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        crowd = [socket.socket() for _ in range(3)]
        for client in crowd:  # the queue of the listener is full, so it takes no more
            client.setblocking(False)
            client.connect_ex(deaf.getsockname())
        begin = time.monotonic()
        port = port_of(deaf)
        missing = loop.ask(WaitFor(network=("127.0.0.1", port)))
        assert missing == f"no connection to 127.0.0.1:{port}: no answer within 5 s"
        assert 4.5 < time.monotonic() - begin < 7
        for client in crowd:
            client.close()


def test_what_is_near_is_looked_for_before_what_is_far(loop: Loop, tmp_path: Path) -> None:
    wait_for = WaitFor(path=f"{tmp_path}/x", load=-1.0, network=("127.0.0.1", 1))
    answer = loop.probes.begin(run(wait_for))
    assert answer is not None
    assert answer.missing.startswith(f"no file {tmp_path}/x; load ")


def test_nothing_is_left_of_an_abandoned_connection(loop: Loop) -> None:
    # 192.0.2.0/24 is for documentation: nobody is there, or nothing leads there.
    assert loop.probes.begin(run(WaitFor(network=("192.0.2.1", 9)))) is None
    loop.probes.abandon("a@1")
    assert loop.quiet()
    assert loop.turn(0.1) == []


def test_the_lookup_of_an_abandoned_look_is_ended_and_reaped(loop: Loop) -> None:
    others = children()
    assert loop.probes.begin(run(WaitFor(network=("localhost", 9)))) is None
    assert len(children() - others) == 1
    loop.probes.abandon("a@1")
    end = time.monotonic() + 5
    while not loop.quiet():
        assert loop.turn(0.2) == []
        assert time.monotonic() < end
    assert children() <= others


def test_a_lookup_that_takes_too_long_is_told(
    loop: Loop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "hangs.py"
    program.write_text("import os, signal; os.kill(os.getpid(), signal.SIGALRM)")
    monkeypatch.setattr(resolver, "_PROGRAM", str(program))
    missing = loop.ask(WaitFor(network=("slow.example", 9)))
    assert missing == (
        "no connection to slow.example:9: its name could not be looked up within 5 s"
    )


def test_no_more_than_sixteen_names_are_looked_up_at_a_time(loop: Loop) -> None:
    looks = [
        loop.probes.begin(run(WaitFor(network=(f"h{number}.invalid", 9)), f"a@{number}"))
        for number in range(20)
    ]
    at_once = [answer for answer in looks if answer is not None]
    assert {answer.missing.partition(": ")[2] for answer in at_once} == {
        "16 other names are being looked up"
    }
    assert len(at_once) == 4
    assert len(loop.answers(16)) == 16


def test_descriptors_that_have_run_out_are_told_and_are_no_fault(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(socket, "socket", none_left)
    missing = loop.ask(WaitFor(network=("127.0.0.1", 9)))
    assert missing == "no connection to 127.0.0.1:9: too many open files"


def test_a_descriptor_that_has_changed_hands_is_not_taken_for_a_connection(loop: Loop) -> None:
    assert loop.probes.begin(run(WaitFor(network=("192.0.2.1", 9)))) is None
    (fd,) = loop.selector.get_map()
    if loop.turn(0):  # nothing leads there, so it has been answered
        pytest.skip("this machine has no route to try")
    assert loop.probes.hear(fd) is None
    assert not loop.quiet()
    loop.probes.close()
