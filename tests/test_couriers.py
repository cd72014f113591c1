"""The children that tell people: what they answer, and what is made of those that do not."""

from __future__ import annotations

import os
import selectors
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stsd import couriers
from stsd.couriers import Answered, Couriers
from tests.support import descriptors, wait_for

ITEMS = [{"id": "1"}, {"id": "2"}]

Speaking = Callable[[str], Couriers]


class Loop:
    """A loop that does nothing but to hear couriers."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self.couriers = Couriers(self.selector, dict(os.environ))

    def answers(self, patience_s: float = 30.0) -> list[Answered]:
        """All that come until nobody is on the way any more."""
        told: list[Answered] = []
        end = time.monotonic() + patience_s
        while self.couriers.count:
            assert time.monotonic() < end
            for key, _ in self.selector.select(0.2):
                told += self.couriers.hear(key.fd)
            self.couriers.tend(time.monotonic())
        return told


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.couriers.close()
    loop.selector.close()


def child_is(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Let another program stand in for the one that delivers."""
    script = folder / "child.py"
    head = "import json, os, sys, time\nitems = [json.loads(line) for line in sys.stdin]\n"
    script.write_text(head + textwrap.dedent(program))
    monkeypatch.setattr(couriers, "process_of", lambda room: ["python3", str(script)])


def soon() -> float:
    return time.monotonic() + 30


def test_each_item_is_answered_and_nothing_is_left_open(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child_is(
        monkeypatch,
        tmp_path,
        """
        for item in items:
            print(json.dumps({"id": item["id"], "ok": True, "said": "250", "place": "here",
                              "hopeless": False}), flush=True)
        """,
    )
    before = descriptors()
    loop.couriers.send(ITEMS, soon())
    told = loop.answers()
    assert told == [Answered(item["id"], ok=True, said="250", place="here") for item in ITEMS]
    assert descriptors() == before


def test_items_larger_than_any_pipe_are_handed_over_at_once(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child_is(
        monkeypatch,
        tmp_path,
        'print(json.dumps({"id": "1", "ok": True, "said": str(len(items[0]["text"]))}))',
    )
    began = time.monotonic()
    loop.couriers.send([{"id": "1", "text": "x" * 3_000_000}], soon())
    assert time.monotonic() - began < 10
    assert [answered.said for answered in loop.answers()] == ["3000000"]


def test_what_a_child_leaves_unanswered_has_failed_and_may_have_been_told(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child_is(
        monkeypatch,
        tmp_path,
        """
        print(json.dumps({"id": "1", "ok": True, "said": ""}), flush=True)
        raise RuntimeError("the password is 12345")
        """,
    )
    loop.couriers.send(ITEMS, soon())
    first, second = loop.answers()
    assert (first.ok, first.unsure) == (True, False)
    assert (second.id, second.ok, second.unsure) == ("2", False, True)
    assert "exit code 1 (RuntimeError)" in second.said
    assert "12345" not in second.said


def test_what_a_child_says_last_counts_though_it_ends_while_it_is_listened_to(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child_is(
        monkeypatch,
        tmp_path,
        """
        for item in items:
            print(json.dumps({"id": item["id"], "ok": True, "said": ""}), flush=True)
        """,
    )
    look = os.waitid

    def at_its_end(*asked: int) -> os.waitid_result | None:
        wait_for(lambda: look(*asked) is not None, "the end of the child", 30)
        return look(*asked)

    monkeypatch.setattr(os, "waitid", at_its_end)
    loop.couriers.send(ITEMS, soon())
    told = loop.couriers.hear(next(iter(loop.selector.get_map())))
    assert [(each.id, each.ok) for each in told] == [("1", True), ("2", True)]


def test_a_child_that_is_killed_has_failed(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child_is(monkeypatch, tmp_path, f"os.kill(os.getpid(), {signal.SIGKILL.value})")
    loop.couriers.send(ITEMS, soon())
    assert {(each.id, each.ok, each.unsure) for each in loop.answers()} == {
        ("1", False, True),
        ("2", False, True),
    }


def test_one_that_takes_too_long_is_killed_with_whatever_it_has_started(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    child_is(
        monkeypatch,
        tmp_path,
        f"""
        child = os.fork()
        if child == 0:
            time.sleep(600)
        open({str(pid)!r}, "w").write(str(child))
        time.sleep(600)
        """,
    )
    loop.couriers.send(ITEMS, time.monotonic() + 600)
    wait_for(lambda: pid.exists() and pid.read_text(), "the child's child", 30)
    grandchild = int(pid.read_text())
    due = loop.couriers.due()
    assert due is not None
    assert due > time.monotonic() + 500
    loop.couriers.tend(due)
    assert {each.said for each in loop.answers()} == {"it took too long"}
    wait_for(lambda: gone(grandchild), "the child's child to be gone", 30)


def gone(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"


def test_a_child_that_prints_without_end_is_cut_off(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child_is(monkeypatch, tmp_path, 'while True: os.write(1, b"x" * 65536)')
    loop.couriers.send(ITEMS, soon())
    assert {each.ok for each in loop.answers()} == {False}


def test_lines_that_are_none_and_ids_that_are_unknown_are_passed_over(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child_is(
        monkeypatch,
        tmp_path,
        """
        print("no JSON", "[1]", '{"id": "1"}', sep="\\n")
        for item, said in (("9", ""), ("1", "yes"), ("1", "")):
            print(json.dumps({"id": item, "ok": True, "said": said}))
        """,
    )
    loop.couriers.send([{"id": "1"}], soon())
    assert [(each.ok, each.said) for each in loop.answers()] == [(True, "yes")]


def test_the_end_takes_all_children_with_it(
    loop: Loop, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    child_is(monkeypatch, tmp_path, "time.sleep(600)")
    before = descriptors()
    loop.couriers.send(ITEMS, soon())
    loop.couriers.send(ITEMS, soon())
    assert loop.couriers.count == 2
    loop.couriers.close()
    assert loop.couriers.count == 0
    assert descriptors() == before
