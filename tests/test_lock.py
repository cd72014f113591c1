"""One daemon per state folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stsd.errors import StsdError
from stsd.lock import Lock, holder

HOLDER = """
import sys, time
from pathlib import Path
from stsd.lock import Lock
lock = Lock(Path(sys.argv[1]))
lock.sign()
print("held", flush=True)
time.sleep(60)
"""


def test_a_taken_lock_is_refused_and_names_the_holder(tmp_path: Path) -> None:
    Lock(tmp_path).sign()
    with pytest.raises(StsdError, match=f"pid {os.getpid()}"):
        Lock(tmp_path)


def test_the_lock_goes_with_its_process_even_by_sigkill(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    other = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"held\n"
    with pytest.raises(StsdError, match=f"pid {other.pid}"):
        Lock(tmp_path)
    assert holder(tmp_path) == other.pid
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert holder(tmp_path) is None
    Lock(tmp_path).sign()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_nobody_holds_the_lock_of_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert holder(tmp_path / "none") is None
