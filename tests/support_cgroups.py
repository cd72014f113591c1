"""A control group of a test's own, for a daemon to live in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stsd import cgroups


@contextmanager
def group_of_its_own() -> Iterator[Path]:
    """An empty group without controllers, marked as systemd would mark it; in the end whatever
    lives in it is killed. Skips the test where none can be made."""
    point = next((point for root, point in cgroups._mounts() if root == Path("/")), None)
    if os.geteuid() != 0 or point is None or not os.access(point, os.W_OK):
        pytest.skip("needs root, and a cgroup v2 mount that can be written to")
    folder = point / f"test-stsd-{os.getpid()}"
    folder.mkdir()
    try:
        os.setxattr(folder, "user.delegate", b"1")
        yield folder
    finally:
        (folder / "cgroup.kill").write_text("1")
        while not cgroups._removed(folder):
            pass
