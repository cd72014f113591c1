"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Stsd


@pytest.fixture
def stsd(tmp_path: Path) -> Iterator[Stsd]:
    """A folder with a jobfile; a daemon started on it does not outlive the test."""
    with_folder = Stsd(tmp_path)
    try:
        yield with_folder
    finally:
        with_folder.__exit__(None, None, None)
