"""Python entry points in a child, in this interpreter and in another one."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from stsd import entry

MODULE = """
import asyncio, sys

def function(*args, **kwargs): print(args, sorted(kwargs.items()))
async def coroutine(word): await asyncio.sleep(0); print("async", word)
class Job:
    def __init__(self, word): self.word = word
    def run(self): print("ran", self.word)
class AsyncJob:
    async def run(self): print("ran async")
class Namespace:
    @staticmethod
    def inner(): print("inner")
def returns(): return 17
def exits(): sys.exit(9)
def prefix(): print(sys.prefix)
def argv(): print(sys.argv)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    return tmp_path


def run(
    folder: Path, target: str, *args: object, python: str = sys.executable, **kwargs: object
) -> subprocess.CompletedProcess[str]:
    spec = {"target": target, "args": args, "kwargs": kwargs, "path": []}
    command = [python, entry.__file__, json.dumps(spec)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("name", "args", "printed"),
    [
        ("function", (1, "b"), "(1, 'b') []"),
        ("coroutine", ("x",), "async x"),
        ("Job", ("y",), "ran y"),
        ("AsyncJob", (), "ran async"),
        ("Namespace.inner", (), "inner"),
        ("argv", (), "['mine:argv']"),
    ],
)
def test_whatever_can_be_an_entry_point_is_run(
    folder: Path, name: str, args: tuple[object, ...], printed: str
) -> None:
    done = run(folder, f"mine:{name}", *args)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, printed, "")


def test_keyword_arguments_arrive(folder: Path) -> None:
    assert run(folder, "mine:function", base="USD").stdout == "() [('base', 'USD')]\n"


def test_what_it_returns_does_not_matter(folder: Path) -> None:
    assert run(folder, "mine:returns").returncode == 0


def test_its_own_exit_status_counts(folder: Path) -> None:
    assert run(folder, "mine:exits").returncode == 9


def test_stsds_own_modules_do_not_shadow_the_jobs(folder: Path) -> None:
    (folder / "errors.py").write_text("def run(): print('the job has errors of its own')\n")
    assert run(folder, "errors:run").stdout == "the job has errors of its own\n"


def test_an_interpreter_without_stsd_will_do(folder: Path) -> None:
    venv.create(folder / "other", with_pip=False)
    done = run(folder, "mine:prefix", python=str(folder / "other" / "bin" / "python"))
    assert done.stdout.strip() == str(folder / "other")


def test_a_missing_name_says_where_was_looked(folder: Path) -> None:
    done = run(folder, "mine:nothing")
    assert done.returncode == 1
    assert f"cannot find mine:nothing in {folder}" in done.stderr
