"""Driving the installed `stsd` as a user does: real processes, real signals, real files."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from unittest import mock

from stsd.cli import main
from stsd.client import Client, find
from stsd.errors import NoDaemonError

STSD = [sys.executable, "-m", "stsd"]
DEADLINE_S = 20.0

Found = TypeVar("Found")


def children_of(pid: int) -> list[int]:
    """The children of a process that has one thread."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for(condition: Callable[[], Found], what: str, deadline_s: float = DEADLINE_S) -> Found:
    """The condition's first true value; fails the test when it has none before the deadline."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {what}")
        time.sleep(0.02)
    return value


def descriptors() -> list[str]:
    """What this process holds open, less what earlier tests have dropped and Python not closed."""
    gc.collect()
    return sorted(os.listdir("/proc/self/fd"))


def clean_environment() -> dict[str, str]:
    """The test's environment without what would tell stsd where to look."""
    of_systemd = ("NOTIFY_SOCKET", "LOGS_DIRECTORY", "STATE_DIRECTORY", "RUNTIME_DIRECTORY")
    ours = ("STSD_", "LOG_LEVEL", "XDG_", *of_systemd)
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


class Stsd:
    """One jobfile in a folder of its own, and at most one daemon on it."""

    def __init__(self, folder: Path, jobs: str = "") -> None:
        self.folder = folder
        self.jobfile = folder / "jobs.toml"
        self.log = folder / "daemon.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.write(jobs)
        self._runtime = folder / "run"
        self._runtime.mkdir(mode=0o700, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What the daemon and the commands are started with: nothing of the machine's own."""
        return clean_environment() | {"RUNTIME_DIRECTORY": str(self._runtime)}

    def write(self, jobs: str) -> None:
        """Put these jobs into the jobfile, below the daemon's table."""
        head = f'[daemon]\nlog_dir = "{self.folder}/log"\nstate_dir = "{self.folder}/state"\n'
        self.jobfile.write_text(head + jobs)

    def start(self, *options: str) -> Stsd:
        """Start the daemon and wait until it is up."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*STSD, "run", "-c", str(self.jobfile), *options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self.environment,
            )
        self.wait_for_event("started_daemon")
        return self

    def __enter__(self) -> Stsd:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def stop(self) -> int:
        """Send TERM, and return the exit code once the process has ended."""
        assert self.process is not None
        self.signal(signal.SIGTERM)
        return self.process.wait(DEADLINE_S)

    def client(self) -> Client:
        """A connection to its daemon, as soon as that lets one in."""

        def connected() -> Client | None:
            try:
                return find(self.jobfile, self.environment)
            except NoDaemonError:
                return None

        return wait_for(connected, "the control socket is there")

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """One command of the command line, on this jobfile; in the tests' own process, which takes
        a tenth of the time that one of its own does."""
        argv = [words[0], "-c", str(self.jobfile), *words[1:]]
        if words[0] == "run":  # becomes another process
            return self._run_alone(argv)
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with (
            mock.patch.dict(os.environ, self.environment, clear=True),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                code = main(argv)
            except SystemExit as exit_:  # what argparse refuses
                code = int(exit_.code or 0)
        printed = (stream.buffer.getvalue().decode() for stream in (out, err))
        return subprocess.CompletedProcess(argv, code, *printed)

    def _run_alone(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*STSD, *argv],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env=self.environment,
            check=False,
        )

    def events(self, name: str) -> list[dict[str, Any]]:
        """The daemon's log lines of this event."""
        lines = self.log.read_text().split("\n")[:-1] if self.log.exists() else []
        parsed = [json.loads(line) for line in lines if line.startswith("{")]
        return [line for line in parsed if line["event"] == name]

    def wait_for_event(self, name: str, count: int = 1) -> dict[str, Any]:
        """The last log line of this event, once there are that many."""

        def enough() -> list[dict[str, Any]]:
            found = self.events(name)
            if self.process is not None and self.process.poll() is not None and not found:
                raise AssertionError(f"the daemon ended:\n{self.log.read_text()}")
            return found if len(found) >= count else []

        return wait_for(enough, f"{count} times {name} in {self.log}")[-1]

    def history(self, *filters: str) -> list[dict[str, Any]]:
        """The records, oldest first, by `stsd history --json`."""
        done = self.run("history", "--json", "-n", "100000", *filters)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()][::-1]

    def records(self, event: str, job: str | None = None) -> list[dict[str, Any]]:
        """The records of this kind, straight from the files, oldest first."""
        lines = [
            line
            for segment in sorted((self.folder / "log" / "history").glob("*.jsonl"))
            for line in segment.read_text().split("\n")[:-1]  # the last may not be whole yet
        ]
        records = [json.loads(line) for line in lines]
        return [r for r in records if r["event"] == event and job in (None, r.get("job"))]

    def wait_for_record(self, event: str, job: str, count: int = 1) -> dict[str, Any]:
        """The job's last record of this kind, once there are that many."""

        def enough() -> list[dict[str, Any]]:
            found = self.records(event, job)
            return found if len(found) >= count else []

        return wait_for(enough, f"{count} {event} of {job}")[-1]

    def output_of(self, record: dict[str, Any]) -> str:
        """What the attempt of a finished record printed."""
        return (self.folder / "log" / record["output"]).read_text()
