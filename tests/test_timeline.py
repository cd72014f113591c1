"""The heap of deadlines."""

from __future__ import annotations

import random

from stsd.timeline import Timeline


def drained(timeline: Timeline[str]) -> list[str]:
    keys = []
    while (key := timeline.pop()) is not None:
        keys.append(key)
    return keys


def test_keys_come_out_by_deadline() -> None:
    timeline: Timeline[str] = Timeline()
    for key, deadline in [("c", 3.0), ("a", 1.0), ("b", 2.0)]:
        timeline.set(key, deadline)
    assert drained(timeline) == ["a", "b", "c"]


def test_equal_deadlines_come_out_in_the_order_they_were_set() -> None:
    timeline: Timeline[str] = Timeline()
    for key in ("z", "a", "m"):
        timeline.set(key, 1.0)
    assert drained(timeline) == ["z", "a", "m"]


def test_nothing_is_due_before_its_deadline() -> None:
    timeline: Timeline[str] = Timeline()
    timeline.set("a", 10.0)
    assert timeline.pop_due(9.999) is None
    assert timeline.pop_due(10.0) == "a"


def test_a_moved_key_comes_out_once_at_its_new_deadline() -> None:
    timeline: Timeline[str] = Timeline()
    timeline.set("a", 1.0)
    timeline.set("b", 2.0)
    timeline.set("a", 3.0)
    assert timeline.earliest() == 2.0
    assert drained(timeline) == ["b", "a"]


def test_a_dropped_key_never_comes_out() -> None:
    timeline: Timeline[str] = Timeline()
    timeline.set("a", 1.0)
    timeline.drop("a")
    timeline.drop("never there")
    assert timeline.earliest() is None
    assert len(timeline) == 0


def test_stale_entries_do_not_pile_up() -> None:
    timeline: Timeline[str] = Timeline()
    for number in range(10_000):
        timeline.set("a", float(number))
    assert len(timeline._heap) < 100
    assert timeline.earliest() == 9999.0


def test_it_agrees_with_sorting_whatever_is_moved_and_dropped() -> None:
    draw = random.Random(7)
    timeline: Timeline[int] = Timeline()
    model: dict[int, float] = {}
    for _ in range(3000):
        key = draw.randrange(50)
        if draw.random() < 0.3:
            timeline.drop(key)
            model.pop(key, None)
        else:
            model[key] = draw.random()
            timeline.set(key, model[key])
        assert timeline.earliest() == min(model.values(), default=None)
    out = []
    while (key_out := timeline.pop()) is not None:
        out.append(key_out)
    assert out == sorted(model, key=lambda key: model[key])
