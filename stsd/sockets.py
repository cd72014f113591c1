"""Where the control socket is: where a daemon makes it, and where a client looks for it.

A folder's socket belongs to whoever holds the lock beside it, so that a daemon replaces what a dead
one has left, and never what a living one listens on. Knows nothing of what is said on it.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from stsd.errors import StsdError
from stsd.trust import folder_doubts

NAME = "control.sock"
PRIVATE, OPEN = 0o600, 0o666
"""The modes of a socket for root and stsd's own user alone, and for others who are then asked for
their rights."""
_SYSTEM_FOLDERS = (Path("/run/stsd"), Path("/var/lib/stsd"))  # of templates/systemd/stsd.service
_LOCK = "control.lock"
_NEW = "control.new"
_LONGEST_NAME = 107  # sun_path of unix(7), less its NUL
_BACKLOG = 64


class UnfitFolderError(StsdError):
    """A folder in which the socket cannot be; the text says why."""


def folders(environ: Mapping[str, str], state_dir: Path, uid: int) -> tuple[Path, ...]:
    """Where the daemon of a user may have its socket, the best place first: systemd's
    $RUNTIME_DIRECTORY; else /run/stsd for root and $XDG_RUNTIME_DIR/stsd for others; and the
    folder of its state, which is its own for certain."""
    given = environ.get("RUNTIME_DIRECTORY")
    home = environ.get("XDG_RUNTIME_DIR")
    if given:
        best = [Path(given.split(":")[0])]
    elif uid == 0:
        best = [_SYSTEM_FOLDERS[0]]
    else:
        best = [Path(home) / "stsd"] if home else []
    return (*best, state_dir)


def candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    """Sockets that a client may find a daemon at, whatever its jobfile, the likeliest first."""
    given = environ.get("RUNTIME_DIRECTORY")
    home = environ.get("XDG_RUNTIME_DIR")
    if given:
        yield Path(given.split(":")[0]) / NAME
    if home:
        yield Path(home) / "stsd" / NAME
    for folder in _SYSTEM_FOLDERS:
        yield folder / NAME


class Listening:
    """A socket that clients can connect to, not blocking; `path` is its name."""

    def __init__(self, folder: Path, mode: int) -> None:
        """Make the socket of a folder. Raises OSError, and UnfitFolderError where another daemon
        has it, or where others could put a socket of theirs in its place."""
        self.path = folder / NAME
        _make(folder)
        self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._lock = -1
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._check(folder)
            self._lock = self._locked(folder)
            self._identity = self._listen(mode)
        except BaseException:
            self._release()
            raise

    def permit(self, mode: int) -> None:
        """Give the socket's file another mode. Raises OSError."""
        if not self.lost:
            os.chmod(NAME, mode, dir_fd=self._folder)

    @property
    def lost(self) -> bool:
        """Whether nobody can find this socket any more, since its name is gone or another's."""
        try:
            return _identity(os.stat(self.path, follow_symlinks=False)) != self._identity
        except OSError:
            return True

    def close(self) -> None:
        """Listen no more, and take the name away unless it is another's by now."""
        with suppress(OSError):  # a name that stays is replaced by the next daemon
            if not self.lost:
                os.unlink(NAME, dir_fd=self._folder)
        self._release()

    def _check(self, folder: Path) -> None:
        # Who may write to the folder can replace the socket, and be told what is meant for stsd.
        for doubt, remedy in folder_doubts(str(folder), os.fstat(self._folder), {os.geteuid()}):
            raise UnfitFolderError(f"it {doubt} ({remedy})")

    def _locked(self, folder: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(_LOCK, flags, 0o600, dir_fd=self._folder)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            raise UnfitFolderError(f"another daemon has its socket in {folder}") from None
        return fd

    def _listen(self, mode: int) -> tuple[int, int]:
        """Nobody can connect before the mode is set: until `listen` everybody is refused."""
        _unlink(_NEW, self._folder)
        with _umask(0o177):
            self.socket.bind(address(self.path.with_name(_NEW), self._folder))
        os.chmod(_NEW, mode, dir_fd=self._folder)
        self.socket.listen(_BACKLOG)
        identity = _identity(os.stat(_NEW, dir_fd=self._folder, follow_symlinks=False))
        os.rename(_NEW, NAME, src_dir_fd=self._folder, dst_dir_fd=self._folder)
        return identity

    def _release(self) -> None:
        self.socket.close()
        os.close(self._folder)
        if self._lock >= 0:
            os.close(self._lock)


def address(path: Path, folder: int) -> str:
    """What to bind or connect to; by the descriptor of the folder where the name is longer than
    the kernel takes it."""
    name = str(path)
    if len(os.fsencode(name)) <= _LONGEST_NAME:
        return name
    return f"/proc/self/fd/{folder}/{path.name}"


def connected(path: Path) -> socket.socket:
    """A blocking socket that is connected to a daemon's. Raises OSError: FileNotFoundError and
    ConnectionRefusedError where nobody listens, BlockingIOError where too many are waiting."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        client.connect(address(path, folder))
        client.setblocking(True)
    except BaseException:
        client.close()
        raise
    finally:
        os.close(folder)
    return client


def _make(folder: Path) -> None:
    """Make a runtime folder that is not there, in one that is."""
    with suppress(FileExistsError), _umask(0o022):
        folder.mkdir(0o755)


def _unlink(name: str, folder: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    """There are no threads that this could surprise."""
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)
