"""News between two processes, as JSON lines that never wait."""

from __future__ import annotations

import errno
import json
import os
import selectors
import socket
from collections.abc import Iterator

import pytest

from stsd.wire import MOST_ITEMS, Wire


@pytest.fixture
def ends() -> Iterator[tuple[Wire, Wire]]:
    first, second = (Wire(end) for end in socket.socketpair())
    yield first, second
    first.close()
    second.close()


def test_what_is_told_is_heard_in_one_line(ends: tuple[Wire, Wire]) -> None:
    ours, theirs = ends
    ours.tell("news", True)
    ours.tell("held", None)
    ours.flush()
    assert list(theirs.heard()) == [{"news": True, "held": None}]
    assert list(theirs.heard()) == []
    assert not theirs.ended


def test_what_nobody_reads_makes_no_queue_and_the_newest_comes_through(
    ends: tuple[Wire, Wire],
) -> None:
    ours, theirs = ends
    for number in range(20_000):
        ours.tell("gauges", {"running": number})
        ours.flush()
    assert ours.has_unsent
    assert ours.wanted & selectors.EVENT_WRITE
    heard = []
    while ours.has_unsent:
        heard += theirs.heard()
        ours.flush()
    heard += theirs.heard()
    assert heard[-1] == {"gauges": {"running": 19_999}}
    assert len(heard) < 20_000


def test_a_line_that_cannot_be_held_any_more_has_ended_and_nothing_else() -> None:
    class Poor(socket.socket):
        def send(self, *_: object) -> int:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))

    ours, theirs = socket.socketpair()
    with theirs, Poor(fileno=ours.detach()) as end:
        wire = Wire(end)
        wire.tell("news", True)
        wire.flush()
        assert wire.ended
        assert not wire.has_unsent


def test_of_a_word_that_waits_objects_are_merged_and_lists_joined_up_to_a_bound(
    ends: tuple[Wire, Wire],
) -> None:
    ours, theirs = ends
    ours.tell("conditions", {"a": ["late"], "b": ["slow"]})
    ours.tell("conditions", {"a": []})
    ours.tell("log", [1])
    ours.tell("log", [2] * MOST_ITEMS)
    ours.flush()
    (said,) = theirs.heard()
    assert said["conditions"] == {"a": [], "b": ["slow"]}
    assert said["log"] == [1, *[2] * (MOST_ITEMS - 1)]


def test_a_line_that_comes_in_pieces_is_heard_when_it_is_whole(ends: tuple[Wire, Wire]) -> None:
    ours, theirs = ends
    line = json.dumps({"news": "ä" * 5}).encode() + b"\n"
    for byte in line[:-1]:
        ours.socket.send(bytes([byte]))
        assert list(theirs.heard()) == []
    ours.socket.send(line[-1:])
    assert list(theirs.heard()) == [{"news": "ä" * 5}]


def test_the_last_words_are_heard_and_then_the_end(ends: tuple[Wire, Wire]) -> None:
    ours, theirs = ends
    ours.tell("news", True)
    ours.flush()
    ours.socket.shutdown(socket.SHUT_WR)
    assert list(theirs.heard()) == [{"news": True}]
    assert theirs.ended
    theirs.tell("log", ["it was heard"])
    theirs.flush()
    assert list(ours.heard()) == [{"log": ["it was heard"]}]


@pytest.mark.parametrize("line", [b"no JSON\n", b"[1]\n", b"[" * 100_000 + b"\n", b"\xff\n"])
def test_what_is_no_object_ends_it(ends: tuple[Wire, Wire], line: bytes) -> None:
    ours, theirs = ends
    ours.socket.sendall(line + b'{"news": true}\n')
    assert list(theirs.heard()) == []
    assert theirs.ended


def test_telling_somebody_who_has_gone_does_nothing(ends: tuple[Wire, Wire]) -> None:
    ours, theirs = ends
    theirs.close()
    for _ in range(3):
        ours.tell("news", True)
        ours.flush()
    assert ours.ended
    assert not ours.has_unsent
