"""One daemon per state folder, held by a lock that the kernel lets go when the process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from stsd.errors import StsdError


class Lock:
    """The lock of a state folder; `fd` must stay open for as long as it is to be held."""

    def __init__(self, state_dir: Path) -> None:
        """Take the lock. Raises StsdError naming the pid of the daemon that has it already."""
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.fd = os.open(state_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self.fd, 32, 0).decode("ascii", "replace").strip()
            os.close(self.fd)
            raise StsdError(
                f"another stsd (pid {holder or 'not known yet'}) runs on {state_dir}: stop it, or"
                " give this one a state_dir of its own"
            ) from None

    def sign(self) -> None:
        """Leave this process's pid for whoever finds the lock taken."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode("ascii"), 0)


def holder(state_dir: Path) -> int | None:
    """The pid of the process that holds the lock of a state folder, None if none does or it is not
    to be seen from here. By /proc/locks (proc(5)): a try to take the lock might be in the way of a
    daemon that is about to."""
    try:
        status = (state_dir / "lock").stat()
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (FileNotFoundError, PermissionError):
        return None
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    for words in map(str.split, lines):
        if words[1] == "FLOCK" and words[5] == place and int(words[4]) > 0:
            return int(words[4])
    return None
