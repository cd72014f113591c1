"""Opening files with care; what follows from a doubt is tested with those who ask."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stsd import trust
from stsd.trust import Reason, UnreadableError

NOBODY = 65534
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    made = tmp_path / "file"
    made.write_bytes(b"content")
    made.chmod(0o644)
    return made


def reason(path: Path | str, largest: int = 100) -> Reason:
    with pytest.raises(UnreadableError) as raised:
        trust.read(str(path), largest)
    return raised.value.reason


def doubts(path: Path, *trusted: int) -> list[str]:
    return [message for message, _ in trust.doubts(str(path), trust.read(str(path), 100), trusted)]


def test_a_file_is_read_whole_and_not_shown_in_a_repr(path: Path) -> None:
    content = trust.read(str(path), 7)
    assert content.data == b"content"
    assert "content" not in repr(content).replace("Content", "")


def test_each_reason_not_to_read_a_file_is_told_apart(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    os.mkfifo(tmp_path / "pipe")
    assert reason(tmp_path / "nothing") is Reason.MISSING
    assert reason(path / "below") is Reason.MISSING
    assert reason(tmp_path / "link") is Reason.LINK
    assert reason(tmp_path / "pipe") is Reason.KIND
    assert reason(tmp_path) is Reason.KIND
    assert reason(path, 6) is Reason.SIZE
    assert reason("a\0b") is Reason.NAME
    assert reason("x" * 300) is Reason.OTHER


def test_a_file_without_an_end_is_not_read(tmp_path: Path) -> None:
    """Its size says nothing, and reading it would never be over."""
    assert reason("/proc/self/status", 10) is Reason.SIZE
    assert reason("/dev/zero") is Reason.KIND


def test_a_file_that_only_its_owner_may_change_is_in_no_doubt(path: Path) -> None:
    assert doubts(path, os.geteuid()) == []


@AS_ROOT
def test_whom_a_file_and_its_folder_belong_to_is_in_doubt_unless_it_is_trusted(path: Path) -> None:
    os.chown(path, NOBODY, -1)
    os.chown(path.parent, NOBODY, -1)
    assert doubts(path) == [
        "belongs to user 65534",
        f"lies in {path.parent}, which belongs to user 65534",
    ]
    assert doubts(path, NOBODY) == []


def test_who_may_write_is_in_doubt_but_for_a_sticky_folder(path: Path) -> None:
    path.chmod(0o664)
    path.parent.chmod(0o777)
    assert doubts(path, os.geteuid()) == [
        "may be written by others than its owner",
        f"lies in {path.parent}, where others than its owner may write",
    ]
    path.chmod(0o644)
    path.parent.chmod(0o1777)
    assert doubts(path, os.geteuid()) == []
