"""How long a Python job takes to its first line: from the daemon's call that starts it to the first
statement of its function, cold and warm; and beside that a task of a Celery prefork worker, from
`delay()` to its first statement, with a redis-server of Debian's and Celery in an environment of
its own, which is made for it. (A worker's process goes from task to task; stsd's is forked anew.)

python bench/bench_warm.py [RUNS]
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from stsd.child import ChildSpec, program
from stsd.starter import Answer, Starter

# What a job of some size imports, all of it of the standard library.
JOB = """
import time
import asyncio, decimal, email.message, http.client, json, logging.handlers, sqlite3
import urllib.request, xml.etree.ElementTree, zipfile
def run(): print(time.monotonic_ns(), flush=True)
"""
CELERY = """
import time
import asyncio, decimal, email.message, http.client, json, logging.handlers, sqlite3
import urllib.request, xml.etree.ElementTree, zipfile
from celery import Celery
app = Celery("tasks", broker="redis://localhost:{port}/0")
@app.task
def run():
    with open("{told}", "a") as told:
        told.write(f"{{time.monotonic_ns()}}\\n")
"""
CLIENT = """
import sys, time, tasks
for line in sys.stdin:
    begun = time.monotonic_ns()
    tasks.run.delay()
    print(begun, flush=True)
"""


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{runs} runs of each, one after another, {os.cpu_count()} processors\n")
    with tempfile.TemporaryDirectory(prefix="stsd-bench-") as name:
        folder = Path(name)
        (folder / "job.py").write_text(JOB)
        starts = Starts(folder)
        with celery_worker(folder) as task:
            starts.first_line(warm=True)
            if task:
                task()
            cold, warm, celery = [], [], []
            for _ in range(runs):  # in turns, so that all have the same weather
                cold.append(starts.first_line(warm=False))
                warm.append(starts.first_line(warm=True))
                if task:
                    celery.append(task())
        starts.starter.close()
        print(f"{'':36} median       p99   of cold")
        show("cold", cold, cold)
        show("warm", warm, cold)
        if celery:
            show("Celery, prefork worker, redis", celery, cold)


def show(name: str, times: list[float], base: list[float]) -> None:
    (median, p99), (usual, _) = percentiles(times), percentiles(base)
    print(f"{name:36} {median * 1000:6.1f} ms {p99 * 1000:6.1f} ms {median / usual:7.2f}")


def percentiles(times: list[float]) -> tuple[float, float]:
    ordered = sorted(times)
    return ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]


class Starts:
    """Starts of one function, as the daemon makes them."""

    def __init__(self, folder: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.starter = Starter(self.selector)
        task = {"target": "job:run", "args": [], "kwargs": {}, "path": []}
        self.spec = ChildSpec(
            argv=(sys.executable, program("entry"), "job:run"),
            env={"PATH": os.defpath},
            cwd=str(folder),
            umask=0o022,
            stdin=json.dumps(task).encode(),
            warm=(sys.executable, program("warm"), "job"),
        )

    def first_line(self, *, warm: bool) -> float:
        """Seconds from the call to the function's first line."""
        ours, theirs = os.pipe()
        spec = self.spec if warm else replace(self.spec, warm=())
        begun = time.monotonic_ns()
        pid = self.starter.start("a", spec, theirs)
        os.close(theirs)
        while pid is None:
            for key, _ in self.selector.select():
                for answer in self.starter.hear(key.fd):
                    assert isinstance(answer, Answer), answer
                    pid = answer.pid
        with open(ours) as output:
            reached = int(output.readline())
        os.waitpid(pid, 0)
        return (reached - begun) / 1e9


@contextlib.contextmanager
def celery_worker(folder: Path) -> Iterator[Callable[[], float] | None]:
    """What has a task done by a worker, and returns the seconds to its first line."""
    python = celery_python(folder / "venv")
    if python is None:
        yield None
        return
    port, told = free_port(), folder / "told"
    told.touch()
    (folder / "tasks.py").write_text(CELERY.format(port=port, told=told))
    with contextlib.ExitStack() as stack:

        def begin(*command: str | Path, **options: Any) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                command, cwd=folder, text=True, env=os.environ | {"C_FORCE_ROOT": "1"}, **options
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return process

        quiet: dict[str, int] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        begin("redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1", **quiet)
        begin(
            *(python, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "2"),
            *("-l", "error", "--without-gossip", "--without-mingle", "--without-heartbeat"),
            **quiet,
        )
        pipes: dict[str, int] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        client = begin(python, "-c", CLIENT, **pipes)

        def task() -> float:
            assert client.stdin is not None
            assert client.stdout is not None
            before = told.read_text()
            client.stdin.write("\n")
            client.stdin.flush()
            begun = int(client.stdout.readline())
            while (after := told.read_text()) == before or not after.endswith("\n"):
                time.sleep(0.0005)
            return (int(after.split()[-1]) - begun) / 1e9

        yield task


def celery_python(folder: Path) -> Path | None:
    """The Python of an environment with Celery in it, made anew; none, and why, where it cannot
    be made."""
    if shutil.which("redis-server") is None:
        print("Celery: not measured (it needs redis-server: apt-get install redis-server)")
        return None
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    if subprocess.run([*pip, "celery[redis]"], stdin=subprocess.DEVNULL).returncode:
        print("Celery: not measured (it could not be installed)")
        return None
    return python


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
