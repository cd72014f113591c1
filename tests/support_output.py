"""Children whose output is taken in by a real scribe."""

from __future__ import annotations

import gc
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from stsd.capture import Capture, Captured, Line, Trouble
from stsd.model import Output
from stsd.output import output_name
from tests.support import DEADLINE_S, wait_for

PATIENCE_S = 0.3


class Intake:
    """A capture with its selector, and the children that print into it.

    `captured`, `lines` and `troubles` are what has been heard so far.
    """

    def __init__(self, folder: Path, patience_s: float = PATIENCE_S) -> None:
        self.folder = folder
        self.selector = selectors.DefaultSelector()
        self.capture = Capture(self.selector, folder, patience_s)
        self.captured: dict[str, Captured] = {}
        self.lines: list[Line] = []
        self.troubles: list[Trouble] = []
        self.left = False
        self.children: dict[str, subprocess.Popen[bytes]] = {}

    def path(self, run_id: str = "run") -> Path:
        return self.folder / output_name("job", run_id, 1)

    def kept(self, run_id: str = "run") -> bytes:
        return self.path(run_id).read_bytes()

    def open(
        self, run_id: str = "run", output: Output | None = None, hide: Sequence[str] = ()
    ) -> int:
        name = output_name("job", run_id, 1)
        end = self.capture.open(run_id, name, output or Output(), hide)
        self.capture.flush()
        return end

    def start(
        self,
        command: str,
        run_id: str = "run",
        output: Output | None = None,
        hide: Sequence[str] = (),
    ) -> subprocess.Popen[bytes]:
        """Start a shell command that prints into the capture."""
        end = self.open(run_id, output, hide)
        try:
            child = subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.DEVNULL,
                stdout=end,
                stderr=end,
                start_new_session=True,
            )
        finally:
            os.close(end)
        self.children[run_id] = child
        return child

    def run(self, command: str, output: Output | None = None, hide: Sequence[str] = ()) -> Captured:
        """Start a shell command, wait for its end, and for that of its output."""
        self.start(command, "run", output, hide)
        return self.end("run")

    def end(self, run_id: str = "run", deadline_s: float = DEADLINE_S) -> Captured:
        """Wait for a command and its output."""
        self.children[run_id].wait(deadline_s)
        self.capture.cease(run_id)
        return self.result(run_id, deadline_s)

    def result(self, run_id: str = "run", deadline_s: float = DEADLINE_S) -> Captured:
        self.hear_until(lambda: run_id in self.captured, f"the output of {run_id}", deadline_s)
        return self.captured.pop(run_id)

    def hear_until(
        self, condition: Callable[[], bool], what: str, deadline_s: float = DEADLINE_S
    ) -> None:
        end = time.monotonic() + deadline_s
        while not condition():
            assert time.monotonic() < end, f"not within {deadline_s} s: {what}"
            self.hear(0.1)

    def hear(self, timeout: float) -> None:
        """One turn of a loop."""
        for key, _ in self.selector.select(timeout):
            for news in self.capture.hear(key.fd):
                if isinstance(news, Captured):
                    self.captured[news.run_id] = news
                elif isinstance(news, Line):
                    self.lines.append(news)
                else:
                    self.troubles.append(news)

    def scribe(self) -> int:
        """The process id of the scribe, once it runs."""
        self.hear_until(lambda: self.capture.scribe_pid is not None, "a scribe")
        pid = self.capture.scribe_pid
        assert pid is not None
        return pid

    def leave(self) -> None:
        """Go away from the scribe."""
        self.left = True
        self.capture.close()

    def close(self) -> None:
        for child in self.children.values():
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        pid = self.capture.scribe_pid
        if not self.left:
            self.capture.close()
        self.selector.close()
        if pid is not None:
            wait_for(lambda: has_gone(pid), "the end of the scribe")


def has_gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def peak_memory(pid: int) -> int:
    """VmHWM of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(
        int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")
    )


def descriptors(pid: int) -> int:
    """How many a process has; this one, less what earlier tests have left to be collected."""
    if pid == os.getpid():
        gc.collect()
    return len(os.listdir(f"/proc/{pid}/fd"))
