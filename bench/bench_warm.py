"""How long a Python job takes to its first line: from the daemon's call that starts it to the first
statement of its function, cold and warm; and beside that a task of a Celery prefork worker, from
`delay()` to its first statement, where Celery and a redis-server are installed.

python bench/bench_warm.py [RUNS]
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

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


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print(f"{runs} runs of each, one after another, {os.cpu_count()} processors\n")
    print(f"{'':36} median       p99")
    with tempfile.TemporaryDirectory(prefix="stsd-bench-") as name:
        folder = Path(name)
        (folder / "job.py").write_text(JOB)
        starts = Starts(folder)
        cold, warm = [], []
        starts.first_line(warm=True)
        for _ in range(runs):  # in turns, so that both have the same weather
            cold.append(starts.first_line(warm=False))
            warm.append(starts.first_line(warm=True))
        starts.starter.close()
        show("cold", cold)
        show("warm", warm)
        with celery_worker(folder) as task:
            if task is None:
                print("Celery: not here (pip install 'celery[redis]', and redis-server)")
                return
            task()
            show("Celery, prefork worker, redis", [task() for _ in range(runs)])


def show(name: str, times: list[float]) -> None:
    ordered = sorted(times)
    median, p99 = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    print(f"{name:36} {median * 1000:6.1f} ms {p99 * 1000:6.1f} ms")


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
    if importlib.util.find_spec("celery") is None or shutil.which("redis-server") is None:
        yield None
        return
    port, told = free_port(), folder / "told"
    told.touch()
    (folder / "tasks.py").write_text(CELERY.format(port=port, told=told))
    sys.path.insert(0, str(folder))
    redis = subprocess.Popen(
        ["redis-server", "--port", str(port), "--save", "", "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
    )
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "2",
         "-l", "error", "--without-gossip", "--without-mingle", "--without-heartbeat"],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env=os.environ | {"C_FORCE_ROOT": "1"},
    )  # fmt: skip
    try:
        import tasks  # type: ignore[import-not-found]

        def task() -> float:
            before = told.read_text()
            begun = time.monotonic_ns()
            tasks.run.delay()
            while (after := told.read_text()) == before or not after.endswith("\n"):
                time.sleep(0.0005)
            return (int(after.split()[-1]) - begun) / 1e9

        yield task
    finally:
        for process in (worker, redis):
            process.terminate()
            process.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
