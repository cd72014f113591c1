"""Breaking the real daemon: crashes, injected errors, file systems that can be pulled."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.ledger import Record, faults_of, records_of
from tests.support import STSD, Stsd, wait_for

# linux/fs/ext4: _IOR('X', 125, __u32) and the flag that drops what the journal has not committed.
EXT4_IOC_SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2


def _cannot_trace() -> str:
    if shutil.which("strace") is None:
        return "needs strace (apt-get install strace)"
    done = subprocess.run(
        ["strace", "-o", os.devnull, "-e", "inject=chdir:error=EIO", "true"], capture_output=True
    )
    return "" if done.returncode == 0 else "strace may not trace here"


def _cannot_mount() -> str:
    if os.geteuid() != 0:
        return "needs root, to mount a file system"
    if shutil.which("mkfs.ext4") is None:
        return "needs mkfs.ext4 (apt-get install e2fsprogs)"
    free = subprocess.run(["losetup", "--find"], capture_output=True)
    return "" if free.returncode == 0 else "needs a loop device"


def _skip_if(reason: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(bool(reason), reason=reason)


needs_strace = _skip_if(_cannot_trace())
needs_ext4 = _skip_if(_cannot_mount())


class Box(Stsd):
    """A daemon whose jobs tell a witness of each attempt, and whose folders may be elsewhere.

    `tell` is what a job's shell command begins with: a line with run id and attempt, appended.
    """

    def __init__(self, folder: Path, where: Path | None = None) -> None:
        self.witness = folder / "witness"
        self.where = where or folder
        self.tell = f"echo $STSD_RUN_ID $STSD_ATTEMPT >> {self.witness}"
        super().__init__(folder)

    @property
    def history_dir(self) -> Path:
        return self.where / "log" / "history"

    def write(self, jobs: str) -> None:
        head = f'[daemon]\nlog_dir = "{self.where}/log"\nstate_dir = "{self.where}/state"\n'
        self.jobfile.write_text(head + jobs)

    def job(self, name: str, then: str = "", **keys: str) -> str:
        """A table for the jobfile, due every second; the values of the keys are TOML."""
        keys = {"every": '"1s"'} | keys
        lines = [f"[jobs.{name}]", f"command = '''{self.tell}{then and '; ' + then}'''"]
        return "\n".join([*lines, *(f"{key} = {value}" for key, value in keys.items()), ""])

    def launch(self, *prefix: str, options: Sequence[str] = ()) -> None:
        """Start the daemon, behind a command that becomes it, and wait for nothing."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, *STSD, "run", "-c", str(self.jobfile), *options],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=self.environment,
            )

    def start(self, *options: str) -> Box:
        """Start the daemon and wait until this one is up."""
        before = len(self.events("started_daemon"))
        self.launch(options=options)
        self.wait_for_event("started_daemon", before + 1)
        return self

    def crash(self) -> None:
        """SIGKILL, and wait until it has gone."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def crash_all(self) -> None:
        """The same, with all of its children, as a power cut would."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        children = [int(word) for word in path.read_text().split()]
        self.crash()
        for child in children:
            with_group(child, signal.SIGKILL)

    def records_now(self) -> list[Record]:
        return records_of(self.history_dir)

    def records(self, event: str, job: str | None = None) -> list[Record]:
        return [
            r for r in self.records_now() if r["event"] == event and job in (None, r.get("job"))
        ]

    def count(self, event: str, job: str | None = None) -> int:
        found = self.records_now() if self.history_dir.exists() else []
        return sum(r["event"] == event and job in (None, r.get("job")) for r in found)

    def wait_for_count(self, event: str, count: int, job: str | None = None) -> None:
        wait_for(lambda: self.count(event, job) >= count, f"{count} {event} of {job}", 60.0)

    def close_books(self) -> None:
        """Have a last daemon account for all that is still open, and end it."""
        if self.process is not None and self.process.poll() is None:
            assert self.stop() == 0
        self.write("")
        self.start()
        assert self.stop() == 0

    def assert_balanced(self) -> None:
        """Close the books and check them: by the independent ledger, the witness and the audit."""
        self.close_books()
        assert faults_of(self.records_now(), self.witness) == []
        audit = self.run("audit")
        assert audit.returncode == 0, audit.stdout + audit.stderr


def with_group(pgid: int, number: signal.Signals) -> None:
    """Signal a process group that may have gone."""
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        return


def traced(*expressions: str, output: Path | None = None) -> list[str]:
    """The command in front of the daemon's that traces it and nothing else; the process that is
    started becomes the daemon."""
    options = [word for expression in expressions for word in ("-e", expression)]
    return ["strace", "-D", "-qq", "-y", "-s", "400", "-o", str(output or os.devnull), *options]


@contextmanager
def injected(pid: int, expression: str, *paths: Path) -> Iterator[None]:
    """While this is open, these system calls of a process fail (on these files only, if any)."""
    narrowed = [word for path in paths for word in ("-P", str(path))]
    calls = expression.split(":")[0]
    command = ["strace", "-p", str(pid), "-o", os.devnull, *narrowed]
    command += ["-e", f"trace={calls}", "-e", f"inject={expression}"]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: tracer_of(pid) == tracer.pid, "strace to attach")
        yield
    finally:
        tracer.terminate()
        tracer.wait()


def tracer_of(pid: int) -> int:
    """The process that traces this one; 0: none."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("TracerPid:")[2].split()[0])


class Disk:
    """A small ext4 in a file, mounted on a loop device."""

    def __init__(self, folder: Path, size: str) -> None:
        self.image, self.mountpoint = folder / "image", folder / "disk"
        self.mountpoint.mkdir()
        subprocess.run(["truncate", "-s", size, self.image], check=True)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", self.image], check=True)
        self._without_power = False
        self.mount()

    def mount(self) -> None:
        if self._without_power:
            # Another mount namespace, such as a container's, may still have the file system that
            # is without power; the same image would bring that back.
            shutil.copyfile(self.image, self.image.with_suffix(".new"))
            self.image.with_suffix(".new").replace(self.image)
            self._without_power = False
        subprocess.run(["mount", "-o", "loop", self.image, self.mountpoint], check=True)

    def unmount(self) -> None:
        """Waits for the last of the processes that have a file of it open."""
        command = ["umount", self.mountpoint]
        wait_for(lambda: subprocess.run(command, capture_output=True).returncode == 0, "umount")

    def cut_power(self) -> None:
        """Nothing that is not on the disk by now will be."""
        fd = os.open(self.mountpoint, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, sys.byteorder))
        finally:
            os.close(fd)
        self._without_power = True

    def fill(self) -> Path:
        """Take all the space there is; returns the file that holds it."""
        filler = self.mountpoint / "filler"
        with filler.open("wb", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                try:
                    while True:
                        file.write(b"\0" * size)
                except OSError:
                    continue
        return filler


def pause(seconds: float) -> None:
    """Let time pass, where time is what the test is about."""
    end = time.monotonic() + seconds
    wait_for(lambda: time.monotonic() >= end, "time to pass", seconds + 5)
