"""Starting children as the daemon does, and having them tell what they see of themselves."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stsd.child import ChildSpec
from stsd.starter import Answer, Starter
from stsd.warmth import Chilled
from tests.support import wait_for

# Prints, as one JSON object, all that a child inherits. Runs under `python -I -S`.
LOOK = r"""
import json, os, resource, sys
status = dict(line.split(":\t", 1) for line in open("/proc/self/status").read().splitlines())
mask = os.umask(0)
print(json.dumps({
    "uids": os.getresuid(), "gids": os.getresgid(), "groups": sorted(os.getgroups()),
    "signals": {name: int(status[name], 16) for name in ("SigBlk", "SigIgn", "SigCgt")},
    "fds": {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{fd}")},
    "limits": {name: resource.getrlimit(getattr(resource, name))
               for name in dir(resource) if name.startswith("RLIMIT_")},
    "env": dict(os.environ), "cwd": os.getcwd(), "umask": mask,
    "nice": os.getpriority(os.PRIO_PROCESS, 0),
    "pid": os.getpid(), "sid": os.getsid(0), "pgid": os.getpgrp(), "ppid": os.getppid(),
    "cgroup": open("/proc/self/cgroup").read(), "stdin": sys.stdin.read(),
}))
"""
# By python itself, as soon as it starts.
IGNORED_BY_PYTHON = 1 << 12 | 1 << 24  # SIGPIPE, SIGXFSZ
CAUGHT_BY_PYTHON = 1 << 1  # SIGINT
# Signals 32 and 33 are the C library's own.
OF_LIBC = 0b11 << 31


@contextlib.contextmanager
def folder_for_all() -> Iterator[Path]:
    """A folder that any user may enter; pytest's own are for one user alone."""
    with tempfile.TemporaryDirectory(prefix="stsd-test-", dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def python_for_all() -> str:
    """A Python that any user may execute; skips the test where there is none."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        command = [candidate, "-I", "-S", "-c", "pass"]
        with contextlib.suppress(OSError):
            if subprocess.run(command, user="nobody", check=False).returncode == 0:
                return candidate
    pytest.skip("no Python that other users may execute")


PLAIN = ChildSpec(("true",), {"PATH": os.defpath, "COLOUR": "blue"}, "/", 0o022)


class Children:
    """A Starter with a selector, and a file for what its children print."""

    def __init__(self, folder: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.starter = Starter(self.selector)
        self._folder = folder
        self._started = 0
        self._closed = False
        self.chilled: list[Chilled] = []

    def start(self, spec: ChildSpec) -> tuple[int | None, Path]:
        """Its pid if that is known, and the file that it prints into. Raises SpawnError."""
        self._started += 1
        path = self._folder / f"output-{self._started}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return self.starter.start(path.name, spec, fd), path
        finally:
            os.close(fd)

    def answers(self, count: int = 1, deadline_s: float = 10.0) -> list[Answer]:
        """The next answers; what is told of cold starts is put aside."""
        found: list[Answer] = []
        until = time.monotonic() + deadline_s
        while len(found) < count:
            assert time.monotonic() < until, f"{len(found)} of {count} answers"
            for key, _ in self.selector.select(0.1):
                for news in self.starter.hear(key.fd):
                    if isinstance(news, Chilled):
                        self.chilled.append(news)
                    else:
                        found.append(news)
        return found

    def run(self, spec: ChildSpec) -> tuple[int, str]:
        """Exit status and output. Raises SpawnError, and AssertionError for an Answer's error."""
        pid, path = self.start(spec)
        if pid is None:
            answer = self.answers()[0]
            assert answer.pid is not None, answer.error
            pid = answer.pid
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status), path.read_text()

    def refusal(self, spec: ChildSpec) -> str:
        """Why the launcher did not start it."""
        assert self.start(spec)[0] is None
        answer = self.answers()[0]
        assert answer.pid is None
        return answer.error

    def look(self, spec: ChildSpec) -> dict[str, Any]:
        """What a child of this spec sees of itself."""
        python = sys.executable if spec.user is None else python_for_all()
        argv = (python, "-I", "-S", "-c", LOOK)
        code, output = self.run(replace(spec, argv=argv))
        assert code == 0, output
        seen: dict[str, Any] = json.loads(output)
        seen["env"].pop("LC_CTYPE", None)  # Python itself sets it where there is no locale
        return seen

    def launchers(self) -> list[int]:
        """The pids of the launchers that are alive."""
        return [pid for pid in self.starter.disowned if _is_launcher(pid)]

    @property
    def launcher(self) -> int:
        """The pid of the one launcher."""
        (pid,) = self.launchers()
        return pid

    def close(self) -> None:
        """End the launcher, and wait for its end."""
        if self._closed:
            return
        self._closed = True
        self.starter.close()
        for pid in self.starter.disowned:  # of all that is in there, nothing goes on without us
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self.selector.close()


def _is_launcher(pid: int) -> bool:
    return b"launcher.py" in Path(f"/proc/{pid}/cmdline").read_bytes()


@contextlib.contextmanager
def children_in(folder: Path) -> Iterator[Children]:
    """They are ended at the end."""
    children = Children(folder)
    try:
        yield children
    finally:
        children.close()


def launcher_of(pid: int) -> int:
    """The pid of a daemon's launcher, when there is one."""

    def found() -> int:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            for child in map(int, file.read().split()):
                with open(f"/proc/{child}/cmdline", "rb") as cmdline:
                    if b"launcher.py" in cmdline.read():
                        return child
        return 0

    return wait_for(found, "a launcher")
