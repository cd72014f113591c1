"""Waiting to a fraction of a millisecond."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator

import pytest

from stsd.sleep import Ready, sleep


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as selector:
        yield selector


def through(selector: selectors.BaseSelector, due: float, other: float) -> tuple[int, Ready]:
    """How often it returned until what was `due`, or the `other` thing to do, had come."""
    turns, ready = 0, Ready()
    while not ready and (left := min(due, other) - time.time()) > 0:
        ready = sleep(selector, left, due)
        turns += 1
    return turns, ready


def test_what_is_due_is_woken_for_to_a_fraction_of_a_millisecond(
    selector: selectors.BaseSelector,
) -> None:
    late = []
    for _ in range(30):
        due = time.time() + 0.0203  # a wait that the selector alone would make 0.7 ms longer
        through(selector, due, due + 1)
        late.append(time.time() - due)
    assert 0 <= min(late) < 0.0005


def test_what_is_not_due_by_the_clock_takes_one_turn(selector: selectors.BaseSelector) -> None:
    now = time.time()
    turns, ready = through(selector, now + 60, now + 0.02)
    assert (turns, ready) == (1, [])
    assert time.time() >= now + 0.02


def test_a_descriptor_that_is_ready_ends_it(selector: selectors.BaseSelector) -> None:
    end, other_end = os.pipe()
    try:
        selector.register(end, selectors.EVENT_READ)
        os.write(other_end, b"!")
        begun = time.monotonic()
        ready = sleep(selector, 30, time.time() + 30)
        assert [key.fd for key, _ in ready] == [end]
        assert time.monotonic() < begun + 15
    finally:
        os.close(end)
        os.close(other_end)


def test_what_is_ready_is_told_when_nothing_is_left_to_wait(
    selector: selectors.BaseSelector,
) -> None:
    end, other_end = os.pipe()
    try:
        selector.register(end, selectors.EVENT_READ)
        os.write(other_end, b"!")
        assert [key.fd for key, _ in sleep(selector, 0.0, time.time())] == [end]
        assert [key.fd for key, _ in sleep(selector, 0.0005, time.time() + 0.0005)] == [end]
    finally:
        os.close(end)
        os.close(other_end)
