"""The one sentence that says why somebody is told."""

from __future__ import annotations

import pytest

from stsd import grounds
from stsd.model import MissReason, Outcome
from stsd.notices import Event, Slow
from tests.support_story import a_job, instant

AT = instant("2026-07-01T02:00:30Z")
WHEN = "2026-07-01 04:00 (Europe/Berlin)"


@pytest.mark.parametrize(
    ("reason", "because"),
    [
        (MissReason.DOWN, "stsd was not running"),
        (MissReason.SLEPT, "the machine slept, stsd was stopped, or the clock was set forward"),
        (MissReason.HELD, "the history could not be written"),
    ],
)
def test_a_single_miss_names_its_time_and_every_reason_has_words(
    reason: MissReason, because: str
) -> None:
    said = grounds.of_misses(a_job(), 1, int(AT), int(AT), reason)
    assert said == f"the occurrence of {WHEN} was missed: {because}"


def test_many_misses_are_told_with_their_span() -> None:
    said = grounds.of_misses(a_job(), 1440, int(AT), int(AT) + 86400, "down")
    assert said.startswith("1,440 occurrences from 2026-07-01 04:00 to 2026-07-02 04:00 (Eur")


@pytest.mark.parametrize(
    ("ended", "failures", "said"),
    [
        ((Event.FAILED, Event.LATE), 1, f"succeeded, after 1 failed run since {WHEN}"),
        ((Event.FAILED,), 1200, f"succeeded, after 1,200 failed runs since {WHEN}"),
        ((Event.LATE, Event.SILENT), 0, f"succeeded; it was late and silent since {WHEN}"),
        ((Event.SLOW,), 0, f"succeeded; it was slow since {WHEN}"),
        ((Event.ATTEMPT_FAILED,), 0, f"succeeded; it was failing since {WHEN}"),
    ],
)
def test_a_recovery_says_what_is_over(ended: tuple[Event, ...], failures: int, said: str) -> None:
    assert grounds.of_recovery(a_job(), ended, failures, AT) == said


def test_what_came_from_outside_is_shown_without_its_escapes() -> None:
    assert "\x1b" not in grounds.of_skip(a_job(), int(AT), "condition", "\x1b[2Jgone")
    assert "\x1b" not in grounds.of_holding(a_job(), "\x1b[2Jgone")
    record = {"outcome": Outcome.FAILED, "duration_s": 1.0, "error": "\x1b[2Jgone"}
    assert grounds.of_failure(record) == "\\x1b[2Jgone"


def test_slowness_is_told_in_the_terms_of_the_jobfile() -> None:
    job = a_job(slow=Slow(factor=1.5))
    assert grounds.of_slowness(job, 360.0, 720.0, over=True) == (
        "took 12m; 95 of 100 runs take at most 4m, and 1.5x that is slow"
    )
