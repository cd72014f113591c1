"""Secrets in files and credentials: what is taken, and what is refused without being shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stsd import vault
from stsd.vault import SecretError

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
NOBODY = 65534
VALUE = b"hunter2\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    made = tmp_path / "db"
    made.write_bytes(VALUE)
    made.chmod(0o600)
    return made


def refusal(path: Path, user: str | int | None = None) -> str:
    with pytest.raises(SecretError) as raised:
        vault.from_file(str(path), user)
    assert "hunter2" not in str(raised.value)
    return str(raised.value).replace(str(path), "FILE").replace(str(path.parent), "FOLDER")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"hunter2", "hunter2"),
        (b"hunter2\n", "hunter2"),
        (b"hunter2\r\n", "hunter2"),
        (b"hunter2\n\n", "hunter2\n"),
        (b" hunter2 \n", " hunter2 "),
        (b"two\nlines\n", "two\nlines"),
        ("grün\n".encode(), "grün"),
    ],
)
def test_one_newline_at_the_end_is_no_part_of_a_secret(path: Path, data: bytes, value: str) -> None:
    path.write_bytes(data)
    assert vault.from_file(str(path), None) == value


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", "FILE is empty"),
        (b"\n", "FILE is empty"),
        (b"hunter2\0", "FILE holds a NUL character (a variable cannot; encode it, as text)"),
        (b"hunter2\xff", "FILE is not UTF-8 (encode it, such as by base64)"),
        (b"hunter2" * 10_000, "FILE: is too large: 68.4 KiB (at most 64.0 KiB)"),
    ],
)
def test_what_no_variable_can_hold_is_refused(path: Path, data: bytes, error: str) -> None:
    path.write_bytes(data)
    assert refusal(path) == error


@pytest.mark.parametrize(
    ("mode", "what"),
    [
        (0o644, "is readable by others (mode 0644"),
        (0o604, "is readable by others (mode 0604"),
        (0o602, "is open to others (mode 0602"),
        (0o601, "is open to others (mode 0601"),
        (0o660, "may be written by its group (mode 0660"),
    ],
)
def test_a_file_with_a_loose_mode_is_refused_with_what_would_be_right(
    path: Path, mode: int, what: str
) -> None:
    path.chmod(mode)
    assert refusal(path) == f"FILE {what}; would be right: chmod 600)"


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_owner_and_group_may_read_it(path: Path, mode: int) -> None:
    path.chmod(mode)
    assert vault.from_file(str(path), None) == "hunter2"


@AS_ROOT
@pytest.mark.parametrize("user", [NOBODY, "nobody"])
def test_a_file_of_the_jobs_user_is_taken_and_that_of_another_is_not(
    path: Path, user: str | int
) -> None:
    os.chown(path, NOBODY, -1)
    assert vault.from_file(str(path), user) == "hunter2"
    for other in (None, "daemon", 1):
        assert refusal(path, other) == (
            "FILE belongs to user 65534 (let it belong to root, to stsd's or to the job's user)"
        )


@AS_ROOT
def test_a_file_of_root_in_a_folder_of_the_jobs_user_is_refused(path: Path) -> None:
    """The user could have put it there: a link to, or another name of, what they may not read."""
    os.chown(path.parent, NOBODY, -1)
    assert refusal(path, NOBODY) == (
        "FILE lies in FOLDER, which belongs to user 65534"
        " (let the folder belong to root or to the file's owner)"
    )
    os.chown(path, NOBODY, -1)
    assert vault.from_file(str(path), NOBODY) == "hunter2"


@AS_ROOT
def test_a_file_behind_a_link_of_the_jobs_user_is_refused(path: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "app").symlink_to(path.parent)
    os.chown(home, NOBODY, -1)
    assert "which belongs to user 65534" in refusal(home / "app" / "db", NOBODY)


@AS_ROOT
def test_a_file_in_a_folder_where_others_write_is_refused(path: Path) -> None:
    path.parent.chmod(0o777)
    assert "where others than its owner may write" in refusal(path)


def test_a_link_is_not_followed(path: Path) -> None:
    link = path.with_name("link")
    link.symlink_to(path)
    assert "is a symbolic link to" in refusal(link)


def test_a_pipe_is_refused_and_not_waited_for(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)
    assert refusal(path) == "FILE: is not a regular file"


def test_a_file_that_is_not_there_is_told(path: Path) -> None:
    path.unlink()
    assert refusal(path) == "FILE: there is no such file"


def test_a_credential_is_read_from_the_folder_that_systemd_made(path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(path.parent)}
    path.chmod(0o440)
    assert vault.from_credential("db", environ) == "hunter2"


def test_a_credential_that_was_not_passed_is_told_with_the_setting(path: Path) -> None:
    with pytest.raises(SecretError) as raised:
        vault.from_credential("db", {})
    assert str(raised.value) == (
        "systemd has passed no credentials to stsd"
        " (LoadCredential=db:PATH in the service's [Service] section)"
    )
    with pytest.raises(SecretError, match="no such file"):
        vault.from_credential("other", {"CREDENTIALS_DIRECTORY": str(path.parent)})
