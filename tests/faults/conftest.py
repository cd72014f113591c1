"""Fixtures for the faults."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.support import Box, Disk


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    """A folder with a witness; a daemon started on it does not outlive the test."""
    box = Box(tmp_path)
    try:
        yield box
    finally:
        box.__exit__(None, None, None)


@pytest.fixture
def disk_of(tmp_path: Path) -> Iterator[Callable[[str], Disk]]:
    """Makes an ext4 of a given size; it is unmounted behind the test, whatever holds it."""
    disks: list[Disk] = []

    def make(size: str) -> Disk:
        disks.append(Disk(tmp_path, size))
        return disks[-1]

    yield make
    for disk in disks:
        if disk.mountpoint.is_mount():
            subprocess.run(["umount", "--lazy", disk.mountpoint], check=True)
