"""The words of telling, as JSON and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsd.notices import Event, Notice, notice_fields, notice_of

FAILED = Notice(Event.FAILED, "backup", 1.5, "exit code 2")

INSTANTS = st.floats(0, 4e9)
NOTICES = st.builds(
    Notice,
    at=INSTANTS,
    since=st.none() | INSTANTS,
    run=st.none() | st.text(),
    exit_code=st.none() | st.integers(0, 255),
    output_bytes=st.integers(0, 1 << 40),
    count=st.integers(1, 1000),
    reminder=st.integers(0, 9),
    ended=st.lists(st.sampled_from(Event)).map(tuple),
)


@given(NOTICES)
def test_a_notice_is_the_same_after_a_way_through_json(notice: Notice) -> None:
    assert notice_of(json.loads(json.dumps(notice_fields(notice)))) == notice


def test_what_says_no_more_than_its_default_is_left_out() -> None:
    assert notice_fields(FAILED) == {
        "event": "failed",
        "job": "backup",
        "at": 1.5,
        "why": "exit code 2",
    }


def test_a_field_of_a_later_stsd_is_passed_over() -> None:
    assert notice_of(notice_fields(FAILED) | {"mood": "bad"}) == FAILED


@pytest.mark.parametrize(
    "fields", [{}, {"event": "failed"}, notice_fields(FAILED) | {"event": "burnt"}]
)
def test_what_is_no_notice_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        notice_of(fields)
