"""A delivery as text: what its reader sees, and what no reader may be made to see."""

from __future__ import annotations

from dataclasses import replace
from html import unescape
from typing import Any

import pytest

from stsd.grounds import of_failure
from stsd.letter import Letter
from stsd.noticehtml import page
from stsd.notices import Event, Notice
from stsd.noticetext import listed, markdown, plain
from stsd.noticewords import headline, more, sentence, subject, summary
from tests.support_golden import assert_golden
from tests.support_notices import (
    DUE,
    EVERY,
    FAILED,
    MANY,
    RECOVERED,
    TEST,
    THREE,
    bare,
    letter,
    notice,
    told,
)

HOSTILE = "a\r\nBcc: eve@example.com\x1b[2J\u202e```\n@everyone"


@pytest.mark.parametrize("name", EVERY)
def test_a_message_is_as_it_was_looked_at(name: str) -> None:
    known = EVERY[name]
    assert_golden(f"notice-{name}", f"Subject: {subject(known)}\n\n{plain(known)}\n")


@pytest.mark.parametrize("name", ["failed", "three"])
def test_a_chat_s_message_is_as_it_was_looked_at(name: str) -> None:
    assert_golden(f"notice-chat-{name}", f"{markdown(EVERY[name])}\n")


@pytest.mark.parametrize(
    ("event", "fields", "words"),
    [
        (Event.FAILED, {}, "backup failed"),
        (Event.FAILED, {"outcome": "timed_out"}, "backup timed out"),
        (Event.FAILED, {"outcome": "interrupted"}, "backup was interrupted"),
        (Event.FAILED, {"outcome": "spawn_failed"}, "backup could not be started"),
        (Event.FAILED, {"reminder": 2}, "backup still fails"),
        (Event.ATTEMPT_FAILED, {"attempt": 2}, "backup failed in attempt 2"),
        (Event.RECOVERED, {}, "backup recovered"),
        (Event.LATE, {}, "backup is late"),
        (Event.LATE, {"reminder": 1}, "backup is still late"),
        (Event.MISSED, {"count": 1}, "backup missed a run"),
        (Event.MISSED, {"count": 1440}, "backup missed 1,440 runs"),
        (Event.SKIPPED, {"count": 1}, "backup was skipped"),
        (Event.SKIPPED, {"count": 3}, "backup was skipped 3 times"),
        (Event.SLOW, {"outcome": None}, "backup is slow"),
        (Event.SLOW, {"outcome": "succeeded"}, "backup was slow"),
        (Event.SILENT, {"outcome": None}, "backup is silent"),
        (Event.SILENT, {"outcome": "succeeded"}, "backup printed too little"),
        (Event.HELD, {}, "backup is held"),
    ],
)
def test_a_headline_says_what_has_happened_to_which_job(
    event: Event, fields: dict[str, Any], words: str
) -> None:
    assert headline(notice(event, **fields)) == words


@pytest.mark.parametrize(
    ("event", "outcome", "error", "words"),
    [
        (Event.FAILED, "timed_out", None, "backup timed out after 3s"),
        (Event.FAILED, "spawn_failed", "no file", "backup could not be started: no file"),
        (Event.FAILED, "interrupted", "no news", "backup was interrupted after 3s: no news"),
        (Event.FAILED, "failed", "failed: no", "backup failed: failed: no"),
        (Event.ATTEMPT_FAILED, "timed_out", None, "backup timed out in attempt 2 after 3s"),
    ],
)
def test_a_sentence_says_nothing_twice(
    event: Event, outcome: str, error: str | None, words: str
) -> None:
    duration = None if outcome == "spawn_failed" else 3.0
    why = of_failure({"outcome": outcome, "error": error, "duration_s": duration})
    assert sentence(notice(event, outcome=outcome, why=why, attempt=2)) == words


@pytest.mark.parametrize("known", [FAILED, THREE, MANY], ids=["one", "three", "many"])
@pytest.mark.parametrize("room", [64, 200, 500, 1000, 2000, 4096])
def test_a_text_fits_where_a_service_takes_no_more(known: Letter, room: int) -> None:
    for text in (plain(known, room), markdown(known, room)):
        assert 0 < len(text) <= room


def test_what_does_not_fit_is_the_end_of_the_output_first() -> None:
    short = plain(FAILED, 700)
    assert "turned" in short
    assert "last built-in OID" not in short
    assert "More: stsd logs backup@20261121T023000Z" in short


def test_nothing_from_outside_begins_a_header_a_line_or_a_mention() -> None:
    known = letter(told(notice(why=HOSTILE, error=HOSTILE), description=HOSTILE, tail=()))
    known = letter(*known.told, host="db1\r\nX: y")
    for text in (subject(known), plain(known), markdown(known)):
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "\r" not in text
        assert "\nBcc" not in text
        assert "\n@everyone" not in text
    assert "\n" not in subject(known)
    assert markdown(known).count("```") == 2
    assert subject(known, brief=True) == "[stsd] backup failed (db1\\r\\nX: y)"


def test_a_digest_names_the_gravest_first_and_hides_no_kind() -> None:
    groups = [(event, len(shown), hidden) for event, shown, hidden in listed(MANY, 30)]
    assert groups == [(Event.HELD, 1, 0), (Event.FAILED, 26, 464), (Event.LATE, 3, 5)]
    assert subject(MANY) == (
        "[stsd] 1 job held, 490 failed, 8 late, 12 more that were not kept (db1.example.com)"
    )


def test_a_digest_of_what_lasts_says_that_it_does_and_since_when() -> None:
    again = {"reminder": 2, "since": DUE - 86400.0}
    lasting = [told(notice(job=f"job{n}", count=14, **again)) for n in range(6)]
    late = told(bare(Event.LATE, "report", "no success by 06:00", **again))
    assert summary(letter(*lasting, late)) == "6 jobs still failing, 1 still late"
    assert "exit code 2 (14 runs since 2026-11-20 03:30)\n" in plain(letter(*lasting, late))
    assert "no success by 06:00 (since 2026-11-20 03:30)\n" in plain(letter(*lasting, late))
    assert "(14 runs since 2026-11-20 03:30)" in page(letter(*lasting, late))
    assert summary(letter(*lasting, told(notice(job="new")))) == "7 jobs failed"


def test_two_notices_of_a_job_are_counted_as_one_job() -> None:
    twice = letter(told(notice()), told(notice(reminder=1)))
    assert subject(twice) == "[stsd] 1 job failed (db1.example.com)"


def test_a_test_says_so_in_subject_and_text() -> None:
    assert subject(TEST).startswith("[stsd] TEST: backup failed")
    for text in (plain(TEST), markdown(TEST)):
        assert text.startswith("This is a test")


def test_a_subject_stays_short_however_long_the_reason() -> None:
    long = subject(letter(told(notice(why="x" * 5000))))
    assert len(long) < 220
    assert long.endswith("… (db1.example.com)")


@pytest.mark.parametrize(
    ("known", "command"),
    [
        (notice(), "stsd logs backup@20261121T023000Z"),
        (notice(output=None), "stsd history --run backup@20261121T023000Z"),
        (
            notice(Event.SLOW, outcome=None, output=None),
            "stsd logs -f backup@20261121T023000Z",
        ),
        (bare(Event.LATE, "report", ""), "stsd history report"),
        (
            bare(Event.MISSED, "report", "", scheduled=DUE),
            "stsd why report --at 2026-11-21T02:30:00Z",
        ),
        (notice(Event.SKIPPED), "stsd why backup --at 2026-11-21T02:30:00Z"),
        (bare(Event.HELD, "report", ""), "stsd status"),
    ],
)
def test_the_command_that_shows_more_is_one_that_knows_it(known: Notice, command: str) -> None:
    assert more(known, "") == command


def test_a_command_names_the_jobfile_that_it_would_not_find() -> None:
    known = replace(THREE, jobfile="/srv/my jobs.toml")
    assert more(notice(), known.jobfile) == (
        "stsd logs -c '/srv/my jobs.toml' backup@20261121T023000Z"
    )
    assert "\nMore: stsd history -c '/srv/my jobs.toml' report\n" in plain(known)
    for text in (plain(known), markdown(known)):
        assert "More: stsd status -c '/srv/my jobs.toml'" in text.replace("`", "")
    for text in (plain(known), markdown(known), unescape(page(known))):
        assert text.count("stsd logs -c '/srv/my jobs.toml'") == 2
    assert "stsd status -c '/srv/my jobs.toml'" in unescape(
        page(replace(MANY, jobfile=known.jobfile))
    )


@pytest.mark.parametrize(
    ("lines", "size", "room", "heading"),
    [
        (2, 30, None, "Its output:"),
        (20, 0, None, "The end of its output:"),
        (20, 400, None, "The end of its output (400 B):"),
        (2, 5000, None, "The end of its output (4.9 KiB):"),
        (12, 400, 490, "The end of its output (400 B):"),
    ],
)
def test_it_is_said_whether_the_output_is_all_of_it(
    lines: int, size: int, room: int | None, heading: str
) -> None:
    tail = tuple(f"line {number}" for number in range(lines))
    known = letter(told(notice(output_bytes=size), tail=tail))
    assert heading in plain(known, room)


def test_an_instant_is_told_in_the_job_s_zone() -> None:
    assert "Due:       Sat 2026-11-21 03:30:00 (Europe/Berlin), by cron" in plain(FAILED)


def test_a_next_attempt_is_told_as_one() -> None:
    later = notice(Event.ATTEMPT_FAILED, will_retry_at=DUE + 60.0)
    text = plain(letter(told(later, next=DUE + 60.0, zone="UTC")))
    assert "Next try:  Sat 2026-11-21 02:31:00 (UTC)" in text


def test_what_is_over_is_told_with_how_long_it_lasted() -> None:
    text = plain(RECOVERED)
    assert "Lasted:    4d, since Tue 2026-11-17 03:30:04 (Europe/Berlin)" not in text
    assert "Is over:   failed, late" in text
    assert "In a row:  4 runs failed" in text


def test_attempts_that_succeeded_at_last_were_failing() -> None:
    recovered = notice(Event.RECOVERED, ended=(Event.ATTEMPT_FAILED, Event.SLOW))
    assert "Is over:   failing, slow" in plain(letter(told(recovered)))
