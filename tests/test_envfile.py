"""Environment files, as they stand on the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from stsd import envfile
from stsd.envfile import EnvFileError

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.env"


def refusal(path: Path) -> str:
    with pytest.raises(EnvFileError) as raised:
        envfile.read(str(path))
    return str(raised.value).replace(str(path), "FILE")


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("A=b\nC=d\n", {"A": "b", "C": "d"}),
        ("A=b", {"A": "b"}),
        ("A=b\r\nC=d\r\n", {"A": "b", "C": "d"}),
        ("\n# words\n\n  A=b\n", {"A": "b"}),
        ("export A=b\n", {"A": "b"}),
        ("A=\nB=''\n", {"A": "", "B": ""}),
        ("A=two words \n", {"A": "two words"}),
        ("A=' kept '\n", {"A": " kept "}),
        ("A=1 # a comment\nB=a#b\n", {"A": "1", "B": "a#b"}),
        ("A=\"a\\nb\"\nB='a\\nb'\n", {"A": "a\nb", "B": "a\\nb"}),
        (
            'KEY="-----BEGIN\nxyz==\n-----END"\nB=1\n',
            {"KEY": "-----BEGIN\nxyz==\n-----END", "B": "1"},
        ),
        ("A=${HOME} $(id) `id`\n", {"A": "${HOME} $(id) `id`"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("A=grün\n", {"A": "grün"}),
        ("URL=postgres://u:p@h/db?a=b&c=d\n", {"URL": "postgres://u:p@h/db?a=b&c=d"}),
    ],
)
def test_a_file_means_what_other_readers_of_such_files_take_it_for(
    text: str, variables: dict[str, str]
) -> None:
    assert envfile.parse("FILE", text.encode()) == variables


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"A=1\nhunter2\n", 2),
        (b"\n\n\nhunter2\n", 4),
        (b'A=1\n\nB="hunter2\n', 3),
        (b"KEY=-----BEGIN\nhunter2+/==\n", 2),
        (b"1A=hunter2\n", 1),
        (b"a.b=hunter2\n", 1),
        (b"=hunter2\n", 1),
        (b'A="hunter2"x\n', 1),
        (b"A: hunter2\n", 1),
    ],
)
def test_what_is_no_assignment_is_refused_by_line_and_not_shown(data: bytes, line: int) -> None:
    with pytest.raises(EnvFileError) as raised:
        envfile.parse("FILE", data)
    assert str(raised.value) == (
        f"FILE:{line}: is not NAME=value (quotes go around the whole value)"
    )


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"A=1\nB=\xff\n", "FILE:2: is not UTF-8 (save the file as UTF-8)"),
        (b"A=1\nB=a\0b\n", "FILE:2: holds a NUL character (take it out)"),
        (
            b"A=1\nB=" + b"x" * 131_072,
            "FILE:2: B is 131,075 bytes long (at most 131,072 with its name)",
        ),
    ],
)
def test_what_no_environment_can_hold_is_refused(data: bytes, error: str) -> None:
    with pytest.raises(EnvFileError) as raised:
        envfile.parse("FILE", data)
    assert str(raised.value) == error


def test_a_line_of_blanks_does_not_hold_up_the_loop() -> None:
    data = b"A=x" + b" " * 200_000 + b"y\n"
    begin = time.process_time()
    with pytest.raises(EnvFileError, match="FILE:1: holds a thousand blanks"):
        envfile.parse("FILE", data)
    assert time.process_time() - begin < 0.5


def test_a_file_that_is_not_there_is_told(path: Path) -> None:
    assert refusal(path) == "FILE: there is no such file"


def test_a_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").write_text("A=1\n")
    path.symlink_to(tmp_path / "real")
    assert refusal(path).startswith("FILE: is a symbolic link to ")


def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    assert refusal(path) == "FILE: is not a regular file"


def test_a_file_too_large_is_refused(path: Path) -> None:
    path.write_bytes(b"#" * (256 * 1024 + 1))
    assert refusal(path) == "FILE: is too large: 256.0 KiB (at most 256.0 KiB)"


@AS_ROOT
def test_under_root_a_file_that_others_may_write_is_refused(path: Path) -> None:
    path.write_text("A=1\n")
    path.chmod(0o664)
    assert refusal(path) == "FILE: may be written by others than its owner (chmod go-w FILE)"


@AS_ROOT
def test_under_root_a_file_of_another_user_is_refused(path: Path) -> None:
    path.write_text("A=1\n")
    os.chown(path, 65534, -1)
    assert refusal(path) == (
        "FILE: belongs to user 65534 (let it belong to root or to stsd's own user)"
    )


@AS_ROOT
def test_under_root_a_file_in_a_folder_where_others_write_is_refused(path: Path) -> None:
    path.write_text("A=1\n")
    path.parent.chmod(0o777)
    assert "where others than its owner may write" in refusal(path)


def test_a_file_is_read_as_it_is_now(path: Path) -> None:
    path.write_text("A=1\n")
    assert envfile.read(str(path)) == {"A": "1"}
    path.write_text("A=2\n")
    assert envfile.read(str(path)) == {"A": "2"}
