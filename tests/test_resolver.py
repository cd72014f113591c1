"""Names to addresses by real children, remembered by a clock that the test turns."""

from __future__ import annotations

import os
import selectors
from collections.abc import Iterator
from pathlib import Path

import pytest

from stsd import lookup, resolver
from stsd.resolver import FORGOTTEN_S, REMEMBERED_S, Found, Resolver, is_address
from tests.support import descriptors, wait_for


class Bench:
    """A resolver, its selector and its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.selector = selectors.DefaultSelector()
        self.resolver = Resolver(self.selector, self, lambda: self.now)

    def find(self, host: str) -> Found:
        """What a child finds out of a host."""
        pidfd = self.resolver.ask(host)
        return wait_for(lambda: self.hear(pidfd), f"the addresses of {host}")

    def hear(self, pidfd: int) -> Found | None:
        ready = [key.fd for key, _ in self.selector.select(0.1)]
        return self.resolver.hear(pidfd) if pidfd in ready else None


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    before = len(descriptors())
    yield made
    assert not made.selector.get_map()
    assert len(descriptors()) == before
    made.selector.close()


def lying(folder: Path, lines: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another program stand in for the one that looks names up."""
    program = folder / "lookup.py"
    program.write_text(f"print({lines!r}, end='')")
    monkeypatch.setattr(resolver, "_PROGRAM", str(program))


def test_localhost_is_found_by_a_child(bench: Bench) -> None:
    assert set(bench.find("localhost").addresses) & {"127.0.0.1", "::1"}


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%lo"])
def test_an_address_is_known_at_once(bench: Bench, host: str) -> None:
    assert bench.resolver.known(host) == Found((host,))


@pytest.mark.parametrize("host", ["localhost", "example.com", "a..b", "1.2.3.4.5", "x" * 300])
def test_a_name_is_no_address(host: str) -> None:
    assert not is_address(host)


def test_what_was_found_is_remembered_for_a_while(bench: Bench) -> None:
    assert bench.resolver.known("localhost") is None
    found = bench.find("localhost")
    bench.now += REMEMBERED_S - 0.1
    assert bench.resolver.known("localhost") == found
    bench.now += 0.2
    assert bench.resolver.known("localhost") is None


def test_that_nothing_was_found_is_remembered_for_a_shorter_while(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying(tmp_path, "-Name or service not known\n", monkeypatch)
    assert bench.find("h.example") == Found(why="name or service not known")
    bench.now += FORGOTTEN_S - 0.1
    assert bench.resolver.known("h.example") == Found(why="name or service not known")
    bench.now += 0.2
    assert bench.resolver.known("h.example") is None


def test_all_addresses_are_found_in_their_order(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying(tmp_path, "+2001:db8::1\n+192.0.2.7\n", monkeypatch)
    assert bench.find("h.example").addresses == ("2001:db8::1", "192.0.2.7")


def test_a_child_that_ends_without_a_word_was_too_slow(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lying(tmp_path, "", monkeypatch)
    assert bench.find("h.example").why == "its name could not be looked up within 5 s"


def test_a_resolver_that_hangs_is_ended_by_its_alarm(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "hangs.py"
    text = Path(lookup.__file__).read_text().replace("LONGEST_S = 5", "LONGEST_S = 1")
    hangs = "def addresses(host: str) -> list[str]:\n    signal.pause()\n\n\nif __name__"
    program.write_text(text.replace("if __name__", hangs))
    monkeypatch.setattr(resolver, "_PROGRAM", str(program))
    assert bench.find("h.example").why == "its name could not be looked up within 5 s"


def test_what_nobody_asks_for_any_more_is_not_told_and_not_remembered(bench: Bench) -> None:
    pidfd = bench.resolver.ask("localhost")
    bench.resolver.drop(pidfd)
    wait_for(lambda: bench.hear(pidfd) or not bench.selector.get_map(), "the child to be reaped")
    assert bench.resolver.known("localhost") is None


def test_a_child_that_goes_on_is_not_taken_for_one_that_has_ended(bench: Bench) -> None:
    pidfd = bench.resolver.ask("localhost")
    os.kill(_child_of(pidfd), 19)  # SIGSTOP: certainly not over
    assert bench.resolver.hear(pidfd) is None
    bench.resolver.drop(pidfd)
    wait_for(lambda: bench.hear(pidfd) or not bench.selector.get_map(), "the child to be reaped")


def _child_of(pidfd: int) -> int:
    lines = Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pid:"))
