"""Where the control socket is, and whose it is."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from stsd.sockets import NAME, Listening, UnfitFolderError, candidates, connected, folders


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_systemds_folder_is_the_best_place() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/run/user/7"}
    assert folders(environ, Path("/state"), 7) == (Path("/run/a"), Path("/state"))


def test_a_user_has_it_in_the_runtime_folder_of_the_login() -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/7"}
    assert folders(environ, Path("/state"), 7) == (Path("/run/user/7/stsd"), Path("/state"))


def test_root_has_it_where_it_outlives_the_login() -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/0"}
    assert folders(environ, Path("/state"), 0) == (Path("/run/stsd"), Path("/state"))


def test_without_any_runtime_folder_it_is_with_the_state() -> None:
    assert folders({"XDG_RUNTIME_DIR": ""}, Path("/state"), 7) == (Path("/state"),)


def test_a_client_looks_wherever_a_daemon_may_have_it() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/a", "XDG_RUNTIME_DIR": "/run/user/7"}
    found = [str(path.parent) for path in candidates(environ)]
    assert found == ["/run/a", "/run/user/7/stsd", "/run/stsd", "/var/lib/stsd"]
    assert next(candidates({})) == Path("/run/stsd") / NAME


def test_the_socket_is_its_owners_alone_unless_others_may(tmp_path: Path) -> None:
    listening = Listening(tmp_path, 0o600)
    assert mode_of(listening.path) == 0o600
    listening.permit(0o666)
    assert mode_of(listening.path) == 0o666
    listening.close()


def test_whatever_the_umask_is(tmp_path: Path) -> None:
    before = os.umask(0o777)
    try:
        listening = Listening(tmp_path / "run", 0o666)
        assert os.umask(0o777) == 0o777
    finally:
        os.umask(before)
    assert mode_of(listening.path) == 0o666
    assert mode_of(tmp_path / "run") == 0o755
    listening.close()


def test_what_a_dead_daemon_has_left_is_replaced(tmp_path: Path) -> None:
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(os.fspath(tmp_path / NAME))
    dead.close()
    listening = Listening(tmp_path, 0o600)
    connected(tmp_path / NAME).close()
    listening.close()


def test_what_a_living_daemon_listens_on_is_not(tmp_path: Path) -> None:
    first = Listening(tmp_path, 0o600)
    with pytest.raises(UnfitFolderError, match="another daemon has its socket in"):
        Listening(tmp_path, 0o600)
    assert not first.lost
    connected(first.path).close()
    first.close()
    Listening(tmp_path, 0o600).close()


def test_closing_takes_the_name_away(tmp_path: Path) -> None:
    listening = Listening(tmp_path, 0o600)
    listening.close()
    assert not (tmp_path / NAME).exists()


def test_closing_leaves_a_name_that_is_anothers_by_now(tmp_path: Path) -> None:
    listening = Listening(tmp_path, 0o600)
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).write_text("mine")
    assert listening.lost
    listening.permit(0o666)
    listening.close()
    assert (tmp_path / NAME).read_text() == "mine"
    assert mode_of(tmp_path / NAME) != 0o666


def test_a_folder_that_others_may_write_to_is_no_place_for_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(UnfitFolderError, match="others than its owner may write"):
        Listening(tmp_path, 0o600)
    assert not (tmp_path / NAME).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_no_place_for_it(tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4711)
    with pytest.raises(UnfitFolderError, match="belongs to user 4711"):
        Listening(tmp_path, 0o600)


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "control.lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        Listening(tmp_path, 0o600)
    assert not (tmp_path / "elsewhere").exists()


def test_a_name_may_be_longer_than_the_kernel_takes_it(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 200)
    listening = Listening(folder, 0o600)
    connected(folder / NAME).close()
    assert listening.socket.accept()
    listening.close()
    assert not (folder / NAME).exists()


def test_nothing_stays_open_of_a_socket_that_could_not_be_made(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    before = os.listdir("/proc/self/fd")
    for _ in range(3):
        with pytest.raises(UnfitFolderError):
            Listening(tmp_path, 0o600)
    assert len(os.listdir("/proc/self/fd")) == len(before)
