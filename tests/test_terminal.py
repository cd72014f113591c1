"""What a stream can show; tables that fit; times as people read them."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import termios
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsd.cli import terminal as terminals
from stsd.cli.table import Column, cell, table
from stsd.cli.terminal import Span, Terminal, cut, terminal_of, text_of, width_of, working, wrapped
from stsd.cli.wording import ago, clock_time, coming, counted, instant_of, listed, span

NOW = instant_of("2026-11-21T12:00:00Z")


@pytest.fixture
def screen() -> Iterator[io.TextIOWrapper]:
    """A stream to a terminal of 50 columns."""
    ours, theirs = pty.openpty()
    stream = os.fdopen(theirs, "w", encoding="utf-8")
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 50, 0, 0))
    yield stream
    stream.close()
    os.close(ours)


# -- what a stream can show


def test_a_terminal_has_colours_glyphs_and_a_width(screen: io.TextIOWrapper) -> None:
    assert terminal_of(screen, {"TERM": "xterm"}) == Terminal(True, True, True, 50)


def test_a_pipe_has_none_of_them() -> None:
    with open(os.devnull, "w") as pipe:
        assert terminal_of(pipe, {"TERM": "xterm"}) == Terminal(False, False, False, None)


def test_no_color_takes_the_glyphs_as_well(screen: io.TextIOWrapper) -> None:
    assert terminal_of(screen, {"NO_COLOR": "1"}) == Terminal(True, False, False, 50)
    assert terminal_of(screen, {"NO_COLOR": ""}).colour


def test_a_dumb_terminal_takes_text_alone(screen: io.TextIOWrapper) -> None:
    assert terminal_of(screen, {"TERM": "dumb"}) == Terminal(False, False, False, 50)


def test_force_color_colours_a_pipe_unless_no_color_forbids_it() -> None:
    with open(os.devnull, "w") as pipe:
        assert terminal_of(pipe, {"FORCE_COLOR": "1"}).colour
        assert not terminal_of(pipe, {"FORCE_COLOR": "0"}).colour
        assert not terminal_of(pipe, {"FORCE_COLOR": "1", "NO_COLOR": "1"}).colour


def test_columns_names_a_width_for_any_stream(screen: io.TextIOWrapper) -> None:
    assert terminal_of(screen, {"COLUMNS": "72"}).columns == 72
    assert terminal_of(screen, {"COLUMNS": "wide"}).columns == 50
    assert terminal_of(screen, {"COLUMNS": "0"}).columns == 50


def test_a_stream_that_cannot_encode_glyphs_gets_none(screen: io.TextIOWrapper) -> None:
    latin = io.TextIOWrapper(screen.buffer, encoding="iso-8859-1")
    try:
        assert not terminal_of(latin, {"TERM": "xterm"}).glyphs
    finally:
        latin.detach()


def test_shades_are_written_where_there_are_colours() -> None:
    line = (Span("ok", "green"), Span(" now"))
    assert text_of(line, Terminal(colour=True)) == "\x1b[32mok\x1b[0m now"
    assert text_of(line, Terminal()) == "ok now"


# -- width


def test_wide_signs_take_two_columns_and_combining_ones_none() -> None:
    assert width_of("abc") == 3
    assert width_of("日本") == 4
    assert width_of("e\u0301") == 1


@given(st.text(max_size=40), st.integers(1, 30))
def test_what_is_cut_fits_and_nothing_is_cut_that_did(text: str, columns: int) -> None:
    done = cut(text, columns, Terminal(glyphs=True))
    assert width_of(done) <= columns
    assert done == text if width_of(text) <= columns else done.endswith("…")


def test_text_is_wrapped_between_words_and_a_long_word_is_left_whole() -> None:
    assert wrapped("one two three", 7) == ["one two", "three"]
    assert wrapped("one two", None) == ["one two"]
    assert wrapped("/a/very/long/path", 5) == ["/a/very/long/path"]
    assert wrapped("two three", 9, taken=5) == ["two", "three"]


# -- tables


COLUMNS = (Column("JOB", least=5), Column("STATE"), Column("NOTE", leaves=1, least=6))
ROWS = [
    (cell("a-long-name"), cell("idle"), cell("a note of some length")),
    (cell("b"), cell("running"), ()),
]


def drawn(columns: int | None) -> list[str]:
    screen = Terminal(columns=columns)
    return [text_of(line, screen) for line in table(COLUMNS, ROWS, screen)]


def test_a_table_has_all_of_everything_where_nothing_limits_it() -> None:
    assert drawn(None) == [
        "JOB          STATE    NOTE",
        "a-long-name  idle     a note of some length",
        "b            running",
    ]


def test_columns_get_narrower_those_with_the_most_to_spare_first() -> None:
    assert drawn(34) == [
        "JOB          STATE    NOTE",
        "a-long-name  idle     a note of s~",
        "b            running",
    ]


def test_a_column_leaves_that_would_get_too_narrow() -> None:
    assert drawn(19)[:2] == ["JOB         STATE", "a-long-na~  idle"]


@pytest.mark.parametrize("columns", range(1, 60))
def test_no_line_of_a_table_is_wider_than_the_screen(columns: int) -> None:
    assert max(map(len, drawn(columns))) <= columns


def test_a_column_without_any_text_is_left_out() -> None:
    lines = table(COLUMNS, [(cell("a"), (), ())], Terminal())
    assert [text_of(line, Terminal()) for line in lines] == ["JOB", "a"]


# -- words


def test_durations_are_told_in_two_units_at_most() -> None:
    assert [span(s) for s in (0, 0.04, 0.5, 4.4, 312, 9000, 187200)] == [
        *("0s", "0.04s", "0.5s", "4s", "5m12s", "2h30m", "2d4h")
    ]


def test_past_and_future_are_told_from_now() -> None:
    assert (ago(0.2), ago(185)) == ("just now", "3m5s ago")
    assert (coming(0.2), coming(-5), coming(9000)) == ("now", "now", "in 2h30m")


def test_an_instant_is_told_no_longer_than_it_has_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    told = [clock_time(NOW + days * 86400, NOW) for days in (0, 1, -3, 30)]
    assert told == ["12:00:00", "Sun 12:00", "Wed 12:00", "2026-12-21 12:00"]


def test_counts_and_lists_read_as_sentences() -> None:
    assert (counted(1, "job"), counted(1000, "job")) == ("1 job", "1,000 jobs")
    assert counted(2, "retry", "retries") == "2 retries"
    assert (listed(["a"]), listed(["a", "b", "c"])) == ("a", "a, b and c")


# -- what takes long


def test_what_takes_long_is_told_on_a_terminal_and_taken_back(
    screen: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(terminals, "_QUIET_S", 0.02)
    monkeypatch.setattr(os, "write", lambda _, data: said.append(data.decode()))
    with working("counting"):
        end = time.monotonic() + 10
        while not said and time.monotonic() < end:
            time.sleep(0.01)  # is interrupted by the signal, and goes on
    assert "counting ... 0s" in said[0]
    assert said[-1] == "\r\x1b[K"


def test_what_is_quick_is_not_told(
    screen: io.TextIOWrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bytes] = []
    monkeypatch.setattr("sys.stderr", screen)
    monkeypatch.setattr(os, "write", lambda _, data: said.append(data))
    with working("counting"):
        pass
    assert said == []
