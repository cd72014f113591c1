"""What is kept of an output: bounds, masks, lines; without a process."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsd import sieve
from stsd.sieve import LINE_MAX, LINES_A_SECOND, NEAR, RETRY_S, TAIL, KeptFile, Lines, Masker

MARKER = re.compile(rb"^\[stsd: ([0-9,]+) bytes left out here\]\n", re.MULTILINE)


def kept_file(folder: Path, max_size: int) -> tuple[KeptFile, Path]:
    path = folder / "output" / "job" / "run.1.log"
    return KeptFile(os.fsencode(path), max_size), path


def numbered(lines: int, width: int = 79) -> bytes:
    return b"".join(b"%0*d\n" % (width, number) for number in range(lines))


def left_out(content: bytes) -> list[int]:
    return [int(found.replace(b",", b"")) for found in MARKER.findall(content)]


# -- the file


def test_what_fits_is_kept_byte_for_byte_and_nothing_is_added(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    file, path = kept_file(tmp_path, len(content))
    for start in range(0, len(content), 7001):
        file.add(content[start : start + 7001])
    file.end()
    assert path.read_bytes() == content
    assert (file.kept, file.lost) == (len(content), 0)


def test_no_file_is_made_for_a_job_that_prints_nothing(tmp_path: Path) -> None:
    file, path = kept_file(tmp_path, 1000)
    file.end()
    assert not path.parent.exists()


def test_file_and_folder_are_for_their_owner_alone(tmp_path: Path) -> None:
    file, path = kept_file(tmp_path, 1000)
    file.add(b"x")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    file.end()


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    file, path = kept_file(tmp_path, 1000)
    path.parent.mkdir(parents=True)
    target = tmp_path / "target"
    path.symlink_to(target)
    file.add(b"x")
    file.end()
    assert not target.exists()
    assert file.trouble
    assert (file.kept, file.lost) == (0, 1)


def test_a_file_that_is_there_already_is_appended_to(tmp_path: Path) -> None:
    for text in (b"first\n", b"second\n"):
        file, path = kept_file(tmp_path, 1000)
        file.add(text)
        file.end()
    assert path.read_bytes() == b"first\nsecond\n"


@pytest.mark.parametrize("piece", [1, 80, 4095, 4096, 65536, 1 << 20])
def test_of_too_much_head_and_tail_are_kept_around_a_line_that_tells_the_rest(
    tmp_path: Path, piece: int
) -> None:
    content = numbered(40_000 if piece > 1 else 4000)
    limit = 400_000 if piece > 1 else 40_000
    file, path = kept_file(tmp_path, limit)
    for start in range(0, len(content), piece):
        file.add(content[start : start + piece])
    file.end()
    head, tail = MARKER.split(path.read_bytes())[::2]
    assert file.kept == len(head) + len(tail) <= limit
    assert file.kept > limit - 2 * NEAR
    assert [file.lost] == left_out(path.read_bytes()) == [len(content) - file.kept]
    assert content.startswith(head)
    assert content.endswith(tail)
    assert head.endswith(b"\n")
    assert tail.startswith(b"0")
    assert len(tail.splitlines()[0]) == 79
    assert abs(len(tail) - min(TAIL, limit // 2)) <= 2 * NEAR


def test_the_head_is_in_the_file_at_once_and_the_tail_at_the_end(tmp_path: Path) -> None:
    file, path = kept_file(tmp_path, 2000)
    file.add(b"a" * 900)
    assert path.read_bytes() == b"a" * 900
    file.add(b"b" * 200)
    assert path.read_bytes() == b"a" * 900 + b"b" * 100
    file.add(b"c" * 900)
    assert path.stat().st_size == 1000
    file.end()
    assert path.read_bytes() == b"a" * 900 + b"b" * 200 + b"c" * 900
    assert file.lost == 0


def test_an_output_without_line_ends_is_cut_where_it_must_be(tmp_path: Path) -> None:
    file, path = kept_file(tmp_path, 1000)
    for _ in range(100):
        file.add(b"x" * 100)
    file.end()
    assert path.read_bytes() == b"%s\n[stsd: 9,000 bytes left out here]\n%s" % (
        b"x" * 500,
        b"x" * 500,
    )


@pytest.mark.parametrize("limit", [0, 1, 2, 3])
def test_the_smallest_limits_hold(tmp_path: Path, limit: int) -> None:
    file, path = kept_file(tmp_path, limit)
    for _ in range(10):
        file.add(b"xyz")
    file.end()
    assert (file.kept, file.lost) == (limit, 30 - limit)
    assert path.exists() == (limit > 0)


def test_what_is_held_of_an_endless_output_is_bounded(tmp_path: Path) -> None:
    for piece in (b"x", b"x" * 100, b"x" * 65536):
        file, _ = kept_file(tmp_path, 1000)
        for _ in range(300_000 // len(piece)):
            file.add(piece)
        assert sum(map(len, file._held)) <= TAIL + 2 * 65536
        assert len(file._held) <= 2 * TAIL // sieve.SMALL


class BadDisk:
    """Lets `space` more bytes be written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.space = 0
        self.now = 100.0
        self._write: Callable[[int, bytes], int] = os.write
        monkeypatch.setattr(os, "write", self.write)
        monkeypatch.setattr(sieve.time, "monotonic", lambda: self.now)

    def write(self, fd: int, data: bytes) -> int:
        if self.space == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(fd, data[: self.space])
        self.space -= written
        return written


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> BadDisk:
    return BadDisk(monkeypatch)


def test_what_a_full_disk_did_not_take_is_counted(tmp_path: Path, disk: BadDisk) -> None:
    file, path = kept_file(tmp_path, 1_000_000)
    disk.space = 1000
    file.add(b"x" * 1500)
    assert file.trouble == "No space left on device"
    file.end()
    assert (file.kept, file.lost) == (1000, 500)
    assert path.stat().st_size == 1000


def test_a_full_disk_that_has_space_again_goes_on_without_a_gap(
    tmp_path: Path, disk: BadDisk
) -> None:
    content = numbered(100)
    file, path = kept_file(tmp_path, 1_000_000)
    disk.space = 1000
    file.add(content[:4000])
    disk.space = 1_000_000
    file.add(content[4000:5000])
    assert path.stat().st_size == 1000  # it is left alone for a while
    disk.now += RETRY_S
    file.add(content[5000:6000])
    assert path.read_bytes() == content[:6000]
    assert file.trouble == ""
    file.add(content[6000:])
    file.end()
    assert path.read_bytes() == content
    assert (file.kept, file.lost) == (len(content), 0)


def test_what_was_too_much_for_the_memory_while_the_disk_was_full_is_told_in_the_file(
    tmp_path: Path, disk: BadDisk
) -> None:
    content = numbered(10_000)
    file, path = kept_file(tmp_path, 10_000_000)
    disk.space = 1000
    for start in range(0, len(content), 8000):
        file.add(content[start : start + 8000])
    disk.space, disk.now = 10_000_000, disk.now + RETRY_S
    file.add(b"and so on\n")
    file.end()
    assert left_out(path.read_bytes()) == [file.lost]
    head, _, tail = MARKER.split(path.read_bytes())
    assert content.startswith(head[:-1])  # the line break was stsd's
    assert (content + b"and so on\n").endswith(tail)
    assert file.kept + file.lost == len(content) + len(b"and so on\n")


# -- masks


def fed(masker: Masker, pieces: list[bytes]) -> bytes:
    return b"".join([*map(masker.feed, pieces), masker.feed(b"", last=True)])


def cut(text: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(place, len(text)) for place in at), len(text)]
    return [text[start:stop] for start, stop in pairwise(edges)]


letters = st.text("ab", min_size=1, max_size=5).map(str.encode)


@given(
    st.text("abc", max_size=40).map(str.encode),
    st.lists(letters, min_size=1, max_size=4),
    st.lists(st.integers(0, 40), max_size=8),
)
def test_no_byte_of_a_secret_gets_through_however_the_output_is_cut(
    text: bytes, secrets: list[bytes], at: list[int]
) -> None:
    hidden = set()
    for secret in secrets:
        for start in range(len(text)):
            if text.startswith(secret, start):
                hidden.update(range(start, start + len(secret)))
    masker = Masker(secrets)
    shown = fed(masker, cut(text, at))
    assert shown == fed(Masker(secrets), [text])
    assert shown.replace(b"***", b"") == bytes(
        byte for place, byte in enumerate(text) if place not in hidden
    )
    assert (b"***" in shown) == bool(hidden)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"the password is hunter2!", b"the password is ***!"),
        (b"hunter2hunter2", b"******"),
        (b"hunterhunter2", b"hunter***"),
        (b"hunter", b"hunter"),
        (b"\xff\x00hunter2\xfe", b"\xff\x00***\xfe"),
    ],
)
def test_a_secret_is_masked_and_nothing_else(text: bytes, shown: bytes) -> None:
    for size in (1, 2, 3, len(text)):
        pieces = [text[start : start + size] for start in range(0, len(text), size)]
        assert fed(Masker([b"hunter2"]), pieces) == shown


def test_only_what_may_be_the_beginning_of_a_secret_is_held_back() -> None:
    masker = Masker([b"hunter2", b"tea"])
    assert masker.feed(b"Password: ") == b"Password: "
    assert masker.feed(b"hun") == b""
    assert masker.feed(b"t") == b""
    assert masker.feed(b"ing a t") == b"hunting a "
    assert masker.feed(b"iger") == b"tiger"


def test_secrets_that_overlap_are_masked_as_one() -> None:
    assert fed(Masker([b"abcd", b"cdef"]), [b"-abc", b"def-"]) == b"-***-"


def test_the_beginning_of_a_secret_right_behind_a_masked_one_is_not_shown_by_halves() -> None:
    masker = Masker([b"abab"])
    assert masker.feed(b"-abab") == b"-***"
    assert masker.feed(b"ab-") == b"-"


# -- lines


def test_lines_are_told_when_they_are_complete() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntw", 0.0, False) == [b"one"]
    assert lines.feed(b"o\r\n\nthr", 0.0, False) == [b"two", b""]
    assert lines.end() == [b"thr"]


def test_a_long_line_is_cut_and_takes_no_memory() -> None:
    lines = Lines()
    for _ in range(100):
        assert lines.feed(b"x" * 65536, 0.0, False) == []
    assert len(lines._part) <= LINE_MAX + 1
    assert lines.feed(b"\n", 0.0, False) == [b"x" * LINE_MAX + "…".encode()]
    assert lines.feed(b"y" * LINE_MAX + b"\n", 0.0, False) == [b"y" * LINE_MAX]


def test_a_flood_of_lines_is_cut_and_told_once_its_second_is_over() -> None:
    lines = Lines()
    flood = b"line\n" * 1000
    assert lines.feed(flood, 10.0, False) == [b"line"] * LINES_A_SECOND
    assert lines.feed(flood + b"part", 10.9, False) == []
    assert lines.feed(b" of a line\n", 11.0, False) == [
        b"[stsd: %d lines left out here]" % (2000 - LINES_A_SECOND),
        b"part of a line",
    ]
    assert lines.end() == []


def test_lines_are_dropped_while_nobody_takes_them() -> None:
    lines = Lines()
    assert lines.feed(b"one\ntwo\nthr", 0.0, True) == []
    assert lines.feed(b"ee\nfour\n", 0.1, False) == [
        b"[stsd: 2 lines left out here]",
        b"three",
        b"four",
    ]
