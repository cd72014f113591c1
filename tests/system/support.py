"""Talking to the container, and waiting for what happens in it."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

SYSTEM_PYTHON = "/usr/bin/python3"
PATIENCE_SECONDS = 30.0
JOBFILE = "/etc/stsd/jobs.toml"

# In one call: in the virtual machine each is a fifth of a second.
CLEARING = """
systemctl stop stsd || true
systemctl reset-failed stsd || true
rm -rf /var/log/stsd /var/lib/stsd /etc/stsd /etc/systemd/system/stsd.service.d
systemctl daemon-reload
"""

T = TypeVar("T")


def wait_for(
    what: str,
    look: Callable[[], T | None],
    patience: float = PATIENCE_SECONDS,
    pause: float = 0.1,
) -> T:
    """What `look` finds, as soon as it finds it; AssertionError naming `what` otherwise."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(pause)
    raise AssertionError(f"waited {patience} s in vain for {what}")


@dataclass(frozen=True)
class Container:
    """A booted container or virtual machine, by its script; `folder` holds its bookkeeping."""

    path: Path
    folder: Path

    def script(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [self.path, self.folder, *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check and done.returncode:
            raise AssertionError(f"{words} -> {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.script("run", *command, check=check)

    def put(self, source: Path, target: str) -> None:
        self.script("put", source, target)

    def write(self, path: str, text: str) -> None:
        """Replace a file inside in one step."""
        place = 'mkdir -p "$(dirname "$1")" && printf %s "$2" >"$1.new" && mv "$1.new" "$1"'
        self.run("sh", "-c", place, "sh", path, text)

    def clear(self) -> None:
        self.run("sh", "-c", CLEARING)

    def start(self, jobfile: str) -> None:
        self.write(JOBFILE, jobfile)
        self.run("systemctl", "start", "stsd")

    def property(self, name: str) -> str:
        return self.run("systemctl", "show", "stsd", "-P", name).stdout.strip()

    def journal(self) -> str:
        return self.run("journalctl", "-u", "stsd", "-b", "--no-pager", "-o", "cat").stdout

    def history(self) -> Iterator[dict[str, Any]]:
        """The records of /var/log/stsd/history, oldest first."""
        read = "cat /var/log/stsd/history/*.jsonl 2>/dev/null || true"
        for line in self.run("sh", "-c", read).stdout.splitlines():
            yield json.loads(line)

    def finished(self, job: str) -> list[dict[str, Any]]:
        return [
            record
            for record in self.history()
            if record["event"] == "finished" and record["job"] == job
        ]

    def output(self, record: dict[str, Any]) -> str:
        """What the attempt of a `finished` record has printed."""
        return self.run("cat", f"/var/log/stsd/{record['output']}").stdout

    def processes(self) -> list[int]:
        """All processes in the service's control group, and in those below it."""
        group = self.property("ControlGroup")
        read = f"find /sys/fs/cgroup{group} -name cgroup.procs -exec cat {{}} + 2>/dev/null || true"
        return [int(pid) for pid in self.run("sh", "-c", read).stdout.split()] if group else []
