"""Notes of the processes that must not outlive a daemon, on real processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from stsd.recovery import boot_id, born
from stsd.traces import Traces


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "errands"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """The leader of a group, with another process in it; both have its output open."""
    command = ["sh", "-c", "sleep 1000 & echo; wait"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        if child.returncode is None:
            os.killpg(child.pid, signal.SIGKILL)


def goes_on(child: subprocess.Popen[bytes]) -> bool:
    return child.poll() is None


def test_what_was_noted_and_goes_on_is_killed_with_its_group(
    folder: Path, child: subprocess.Popen[bytes]
) -> None:
    Traces(folder).leave(child.pid, "a@2026-11-21T02:30:00Z")
    assert Traces(folder).sweep() == ["a@2026-11-21T02:30:00Z"]
    assert child.stdout is not None
    assert child.stdout.read() == b""  # nobody is left who has it open
    assert child.wait() == -signal.SIGKILL
    assert list(folder.iterdir()) == []


def test_what_was_wiped_is_left_alone(folder: Path, child: subprocess.Popen[bytes]) -> None:
    traces = Traces(folder)
    traces.leave(child.pid, "a@1")
    traces.wipe(child.pid)
    assert Traces(folder).sweep() == []
    assert goes_on(child)


@pytest.mark.parametrize("what", ["another boot", "another birth"])
def test_a_namesake_of_what_was_noted_is_left_alone(
    what: str, folder: Path, child: subprocess.Popen[bytes]
) -> None:
    folder.mkdir()
    boot = "some-boot" if what == "another boot" else boot_id()
    at = 1 if what == "another birth" else born(child.pid)
    (folder / str(child.pid)).symlink_to(f"{boot}:{at}:a@1")
    assert Traces(folder).sweep() == []
    assert goes_on(child)
    assert list(folder.iterdir()) == []


def test_a_note_out_of_date_is_replaced(folder: Path, child: subprocess.Popen[bytes]) -> None:
    folder.mkdir()
    (folder / str(child.pid)).symlink_to("some-boot:1:old@1")
    Traces(folder).leave(child.pid, "new@1")
    assert Traces(folder).sweep() == ["new@1"]


def test_what_is_no_note_does_no_harm(folder: Path) -> None:
    folder.mkdir()
    (folder / "17").write_text("no link")
    (folder / "18").symlink_to("nonsense")
    (folder / "0").symlink_to(f"{boot_id()}:None:a@1")
    (folder / "7x").symlink_to(f"{boot_id()}:7:a@1")
    (folder / "readme").touch()
    assert Traces(folder).sweep() == []
    assert (folder / "readme").exists()


def test_what_cannot_be_noted_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    traces = Traces(tmp_path / "file" / "errands")
    traces.leave(os.getpid(), "a@1")
    traces.wipe(os.getpid())
    assert traces.sweep() == []
