"""Python entry points in a child, in this interpreter and in another one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from stsd import entry
from stsd.link import memory_file

MODULE = """
import asyncio, os, subprocess, sys, threading

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
def reads(): print([sys.stdin.read(), os.readlink("/proc/self/fd/0")])
def descriptors(): print(subprocess.run(["ls", "/proc/self/fd"], capture_output=True, text=True))
def fails(): raise ValueError("no\\n  rates " + "x" * 5000)
def notes():
    error = KeyError("a")
    error.add_note("noted")
    raise error
def syntax(): compile("a b", "x", "exec")
def thread():
    t = threading.Thread(target=fails)
    t.start()
    t.join()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(MODULE)
    return tmp_path


def run(
    folder: Path, target: str, *args: object, python: str = sys.executable, **kwargs: object
) -> subprocess.CompletedProcess[str]:
    spec = {"target": target, "args": args, "kwargs": kwargs, "path": []}
    command = [python, entry.__file__, target]
    return subprocess.run(
        command, input=json.dumps(spec), cwd=folder, capture_output=True, text=True, check=False
    )


def told_by(folder: Path, target: str) -> str:
    """What is behind the JSON object when the child has ended."""
    spec = json.dumps({"target": target, "args": [], "kwargs": {}, "path": []}).encode()
    fd = memory_file("stdin", spec)
    try:
        command = [sys.executable, entry.__file__, target]
        subprocess.run(command, stdin=fd, cwd=folder, capture_output=True, check=False)
        return os.pread(fd, 10_000, len(spec)).decode()
    finally:
        os.close(fd)


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


def test_standard_input_is_empty_and_dev_null(folder: Path) -> None:
    assert run(folder, "mine:reads").stdout == "['', '/dev/null']\n"


def test_what_it_was_given_is_not_in_its_command_line(folder: Path) -> None:
    (folder / "look.py").write_text("def run(word): print(open('/proc/self/cmdline').read())\n")
    done = run(folder, "look:run", "secret")
    assert "look:run" in done.stdout
    assert "secret" not in done.stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("function", ""),
        ("exits", ""),
        ("fails", ("ValueError: no rates " + "x" * 5000)[:1000]),
        ("notes", "KeyError: 'a'"),
        ("syntax", "SyntaxError: invalid syntax"),
        ("thread", ""),
        ("nothing", "AttributeError: module 'mine' has no attribute 'nothing'"),
    ],
)
def test_the_last_line_of_an_exception_is_left_for_the_record(
    folder: Path, name: str, told: str
) -> None:
    assert told_by(folder, f"mine:{name}") == told


def test_the_programs_of_a_job_inherit_none_of_its_descriptors(folder: Path) -> None:
    spec = json.dumps({"target": "mine:descriptors", "args": [], "kwargs": {}, "path": []})
    fd = memory_file("stdin", spec.encode())
    try:
        command = [sys.executable, entry.__file__, "mine:descriptors"]
        done = subprocess.run(command, stdin=fd, cwd=folder, capture_output=True, text=True)
    finally:
        os.close(fd)
    assert "stdout='0\\n1\\n2\\n3\\n'" in done.stdout  # the last one is of ls itself
