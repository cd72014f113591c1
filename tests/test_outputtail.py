"""The end of an output: which lines, and what is left of what is in them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stsd.letter import TAIL_BYTES, TAIL_LINES
from stsd.outputtail import shown, tail_of


def test_the_last_lines_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("".join(f"line {number}\n" for number in range(100)))
    tail = tail_of(path)
    assert len(tail) == TAIL_LINES
    assert (tail[0], tail[-1]) == ("line 80", "line 99")


def test_of_a_long_output_only_its_end_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it all would take a while
        file.seek(0, os.SEEK_END)
        file.write(b"x" * TAIL_BYTES + b"\nthe end\n")
    assert tail_of(path) == ("the end",)


def test_a_single_line_without_end_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"x" * 100_000)
    (line,) = tail_of(path)
    assert len(line) == 500
    assert line.endswith("…")


def test_an_output_that_is_gone_has_no_lines(tmp_path: Path) -> None:
    assert tail_of(tmp_path / "x.log") == ()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    (tmp_path / "x.log").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic link"):
        tail_of(tmp_path / "x.log")


def test_no_lines_are_made_of_nothing() -> None:
    assert shown(b"") == ()
    assert shown(b"\n\n") == ()


@pytest.mark.parametrize(
    ("printed", "seen"),
    [
        (b"\x1b[1;31mred\x1b[0m", "red"),
        (b"\x1b[2J\x1b[Hcleared", "cleared"),
        (b"\x1b]0;a title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1bPsixel\x1b\\picture", "picture"),
        (b"\x1b(Bplain\x1b7\x1b8", "plain"),
        (b"10%\r50%\r100% done", "100% done"),
        (b"dos line\r", "dos line"),
        (b"a\tb", "a       b"),
        (b"nul \x00 bell \x07 back \x08", "nul \\x00 bell \\x07 back \\x08"),
        (b"alone \x1b", "alone \\x1b"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("Grüße 漢字 \u202e".encode(), "Grüße 漢字 \\u202e"),
        (b"\xc2\x9b31mC1", "\\x9b31mC1"),
    ],
)
def test_what_would_move_a_terminal_is_taken_out_or_shown(printed: bytes, seen: str) -> None:
    assert shown(printed + b"\n") == (seen,)
