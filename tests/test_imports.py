"""The floors of the house hold: no contract of pyproject.toml is broken, and each can be.

A contract that nothing can break proves nothing, so each is shown a copy of the package with a
planted violation.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
LINT_IMPORTS = Path(sys.executable).with_name("lint-imports")

pytestmark = pytest.mark.skipif(
    not LINT_IMPORTS.exists(), reason="needs import-linter in the environment (make test)"
)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package and of its contracts."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "stsd", tmp_path / "stsd", ignore=ignored)
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def lint(folder: Path) -> tuple[int, str]:
    """Exit status and words of import-linter, on the package in `folder`."""
    done = subprocess.run(
        [LINT_IMPORTS, "--no-cache"], cwd=folder, capture_output=True, text=True, timeout=60
    )
    return done.returncode, " ".join(f"{done.stdout}{done.stderr}".split())


def plant(folder: Path, room: str, line: str) -> None:
    with (folder / "stsd" / f"{room}.py").open("a") as module:
        module.write(f"\n{line}\n")


@pytest.mark.slow
def test_no_room_imports_upwards(copy: Path) -> None:
    status, said = lint(copy)
    assert status == 0, said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("room", "line", "contract"),
    [
        ("units", "import stsd.scheduler", "Imports run downwards only BROKEN"),
        ("triggers", "import stsd.keys", "Imports run downwards only BROKEN"),
        ("keys", "import stsd.timeline", "Imports run downwards only BROKEN"),
        ("timeline", "import stsd.history", "Imports run downwards only BROKEN"),
        ("pool", "import stsd.daemon", "Imports run downwards only BROKEN"),
        ("daemon", "from stsd.cli import common", "Imports run downwards only BROKEN"),
        ("scheduler", "import subprocess", "The core decides and does nothing else BROKEN"),
        ("dispatch", "from time import sleep", "The core decides and does nothing else BROKEN"),
        ("retry", "import random", "The core decides and does nothing else BROKEN"),
        ("triggers", "import os.path", "The core decides and does nothing else BROKEN"),
        ("records", "import structlog", "The core decides and does nothing else BROKEN"),
        ("entry", "import stsd.units", "Imports run downwards only BROKEN"),
        ("entry", "import tomli", "The entry needs nothing that has to be installed BROKEN"),
        ("pool", "import threading", "No threads and no asyncio in the daemon BROKEN"),
    ],
)
def test_a_planted_violation_is_found(copy: Path, room: str, line: str, contract: str) -> None:
    plant(copy, room, line)
    status, said = lint(copy)
    assert status == 1
    assert contract in said


@pytest.mark.slow
def test_a_room_that_stands_on_no_floor_is_found(copy: Path) -> None:
    (copy / "stsd" / "cellar.py").write_text('"""Nobody placed it."""\n')
    status, said = lint(copy)
    assert status == 1
    assert "stsd.cellar" in said
