"""Folding: what is left still says how things stand, and how often they happened."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stsd.folding import folded
from stsd.notices import Event, Notice

T0 = 1_795_255_200.0


def notice(event: Event, at: int = 0, **fields: Any) -> Notice:
    return Notice(event, "job", T0 + at, "why", **fields)


def recovered(*ended: Event, at: int = 0, count: int = 1) -> Notice:
    return notice(Event.RECOVERED, at, ended=ended, count=count, since=T0)


def fold(notices: list[Notice]) -> list[Notice]:
    """All of them, one after the other."""
    left: list[Notice] = []
    for later in notices:
        gone, later = folded(left, later)
        left = [each for index, each in enumerate(left) if index not in gone] + [later]
    return left


def standing(notices: list[Notice]) -> set[Event]:
    """What somebody who reads them takes to be wrong now."""
    wrong: set[Event] = set()
    for each in notices:
        wrong = wrong - set(each.ended) if each.event is Event.RECOVERED else wrong | {each.event}
    return wrong


def test_what_has_begun_and_is_over_is_told_by_its_end_alone() -> None:
    end = recovered(Event.FAILED, at=60)
    assert fold([notice(Event.FAILED), end]) == [end]


def test_a_reminder_stands_for_what_was_not_told_before_it() -> None:
    first = notice(Event.FAILED, since=T0)
    [left] = fold([first, notice(Event.FAILED, 3600, since=T0, count=7, reminder=1)])
    assert (left.at, left.since, left.count, left.reminder) == (T0 + 3600, T0, 7, 0)


def test_a_reminder_of_what_was_told_stays_one() -> None:
    reminders = [notice(Event.LATE, n * 3600, since=T0, reminder=n) for n in (1, 2, 3)]
    assert [each.reminder for each in fold(reminders)] == [3]


def test_what_happens_again_is_counted() -> None:
    [left] = fold([notice(Event.MISSED, n, since=T0 + n, count=2) for n in range(5)])
    assert (left.count, left.since, left.at) == (10, T0, T0 + 4)


def test_ends_of_the_same_thing_become_one() -> None:
    flapping = [
        each
        for n in range(100)
        for each in (
            notice(Event.FAILED, 60 * n, count=2),
            recovered(Event.FAILED, at=60 * n + 30, count=2),
        )
    ]
    [left] = fold(flapping)
    assert (left.event, left.ended, left.count) == (Event.RECOVERED, (Event.FAILED,), 200)


def test_an_end_does_not_move_behind_what_has_begun_again() -> None:
    again = notice(Event.FAILED, 120)
    first_end, other_end = recovered(Event.FAILED, at=60), recovered(Event.LATE, at=180)
    assert fold([first_end, again, other_end]) == [first_end, again, other_end]


def test_things_of_different_kinds_are_not_thrown_together() -> None:
    both = [notice(Event.FAILED), notice(Event.LATE, 60)]
    assert fold(both) == both


ONSETS = [event for event in Event if event is not Event.RECOVERED]
NOTICES = st.one_of(
    st.builds(notice, st.sampled_from(ONSETS), reminder=st.integers(0, 3)),
    st.lists(st.sampled_from(ONSETS), min_size=1, unique=True).map(lambda e: recovered(*e)),
)


@given(st.lists(NOTICES, max_size=60))
def test_what_is_left_says_how_things_stand_and_is_little(notices: list[Notice]) -> None:
    left = fold(notices)
    assert standing(left) == standing(notices)
    assert len(left) <= 2 * len(Event)
    told = {each.event for each in notices}
    assert {each.event for each in left} <= told
