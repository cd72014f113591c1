"""Who goes next where pools have few slots."""

from __future__ import annotations

from collections.abc import Sequence

from stsd.runqueue import RunQueue

NEVER = float("-inf")


def next_of(queue: RunQueue, needs: dict[str, Sequence[str]], overdue: float = NEVER) -> str | None:
    run = queue.pop(overdue)
    if run is not None:
        queue.take(needs[run])
    return run


def queue_of(
    waiting: Sequence[tuple[str, Sequence[str]]], **slots: int
) -> tuple[RunQueue, dict[str, Sequence[str]]]:
    queue = RunQueue(slots)
    for place, (run, needs) in enumerate(waiting):
        queue.push(run, needs, float(place))
    return queue, dict(waiting)


def test_without_pools_the_lowest_place_goes_first() -> None:
    queue = RunQueue({})
    for run, place in (("b", 2.0), ("a", 1.0), ("c", 3.0)):
        queue.push(run, (), place)
    assert [queue.pop(NEVER) for _ in range(4)] == ["a", "b", "c", None]


def test_a_run_whose_pool_is_full_is_passed_over() -> None:
    queue, needs = queue_of([("a", ["db"]), ("b", ["db"]), ("c", [])])
    assert [next_of(queue, needs) for _ in range(3)] == ["a", "c", None]


def test_a_slot_that_is_given_back_goes_to_the_first_who_waits() -> None:
    queue, needs = queue_of([("a", ["db"]), ("b", ["db"]), ("c", ["db"])])
    next_of(queue, needs)
    queue.give_back(["db"])
    assert [next_of(queue, needs), next_of(queue, needs)] == ["b", None]


def test_a_pool_has_as_many_slots_as_it_is_given() -> None:
    queue, needs = queue_of([("a", ["db"]), ("b", ["db"]), ("c", ["db"])], db=2)
    assert [next_of(queue, needs) for _ in range(3)] == ["a", "b", None]


def test_a_run_takes_all_of_its_pools_or_none() -> None:
    queue, needs = queue_of([("a", ["x"]), ("both", ["x", "y"]), ("b", ["y"])])
    assert [next_of(queue, needs) for _ in range(3)] == ["a", "b", None]
    queue.give_back(["x"])
    assert next_of(queue, needs) is None
    queue.give_back(["y"])
    assert next_of(queue, needs) == "both"


def test_two_busy_pools_do_not_pass_by_for_ever_a_run_that_needs_both() -> None:
    queue, needs = queue_of([("x1", ["x"]), ("y1", ["y"]), ("both", ["x", "y"]), ("x2", ["x"])])
    assert [next_of(queue, needs), next_of(queue, needs)] == ["x1", "y1"]
    assert next_of(queue, needs, overdue=100.0) is None
    queue.give_back(["x"])
    assert next_of(queue, needs, overdue=100.0) is None  # x is kept for it
    queue.give_back(["y"])
    assert next_of(queue, needs, overdue=100.0) == "both"
    queue.give_back(["x", "y"])
    assert next_of(queue, needs, overdue=100.0) == "x2"


def test_what_was_kept_free_is_let_go_when_the_run_waits_no_more() -> None:
    queue, needs = queue_of([("x1", ["x"]), ("y1", ["y"]), ("both", ["x", "y"]), ("x2", ["x"])])
    next_of(queue, needs)
    next_of(queue, needs)
    next_of(queue, needs, overdue=100.0)
    queue.give_back(["x"])
    queue.drop("both")
    assert next_of(queue, needs, overdue=100.0) == "x2"


def test_two_overdue_runs_never_wait_for_each_other() -> None:
    waiting = [("x1", ["x"]), ("y1", ["y"]), ("one", ["x", "y"]), ("other", ["y", "x", "z"])]
    queue, needs = queue_of(waiting)
    done: list[str] = []
    while True:
        running = []
        while (run := next_of(queue, needs, overdue=100.0)) is not None:
            running.append(run)
        if not running:
            break
        for run in running:
            queue.give_back(needs[run])
        done += running
    assert sorted(done) == ["one", "other", "x1", "y1"]


def test_a_pool_that_grows_lets_in_who_waits() -> None:
    queue, needs = queue_of([("a", ["db"]), ("b", ["db"])])
    assert [next_of(queue, needs), next_of(queue, needs)] == ["a", None]
    queue.resize({"db": 2})
    assert next_of(queue, needs) == "b"


def test_a_dropped_run_never_comes_and_lets_the_next_one_pass_in_its_order() -> None:
    queue = RunQueue({})
    queue.push("early", ["p"], 1.0)
    queue.push("late", ["p"], 9.0)
    queue.push("other", (), 5.0)
    queue.drop("early")
    assert [queue.pop(NEVER) for _ in range(3)] == ["other", "late", None]
