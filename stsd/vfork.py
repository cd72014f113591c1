"""Starts a program by posix_spawn(3), which is a vfork and an exec in one call of C.

The folder and the umask, which posix_spawn knows nothing of, are this process's own for the time
of the call: nothing else runs in it meanwhile, as there are no threads.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterator, Mapping

from stsd.child import ChildSpec

# Python ignores them, and what is ignored stays so through an exec; whatever has a handler does
# not. The others are those that whoever started stsd had ignored.
_IGNORED = tuple(
    number
    for number in signal.valid_signals()
    if signal.getsignal(number) is signal.SIG_IGN and number not in (signal.SIGKILL, signal.SIGSTOP)
)


class Vfork:
    """Starts children. They get no descriptor that is not to be inherited, and all of Python's own
    are of that kind; those that this process was born with are made so."""

    def __init__(self) -> None:
        self._home = _here()
        for name in os.listdir("/proc/self/fd"):
            if int(name) > 2 and os.path.lexists(f"/proc/self/fd/{name}"):
                os.set_inheritable(int(name), False)

    def close(self) -> None:
        """To be called when there is nothing more to start."""
        os.close(self._home)

    def start(self, spec: ChildSpec, output: int, stdin: int) -> int:
        """The pid of the child, the leader of a session of its own, which writes to `output` and
        reads from `stdin`. Raises OSError, and ValueError for an argument or a variable that no
        program can be given."""
        actions = (
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        )
        umask = os.umask(spec.umask)
        try:
            os.chdir(spec.cwd)
            return self._first_found(spec, actions)
        finally:
            os.umask(umask)
            self._go_home()

    def _go_home(self) -> None:
        try:
            os.fchdir(self._home)
        except OSError:  # it may not be entered any more: no relative path has led anywhere since
            os.chdir("/")

    def _first_found(self, spec: ChildSpec, actions: tuple[tuple[int, int, int], ...]) -> int:
        """As execvpe(3) looks for a program, in the child's own PATH."""
        failure = OSError(errno.ENOENT, os.strerror(errno.ENOENT), spec.argv[0])
        for path in _candidates(spec.argv[0], spec.env):
            try:
                return os.posix_spawn(
                    path,
                    spec.argv,
                    spec.env,
                    file_actions=actions,
                    setsid=True,
                    setsigmask=(),
                    setsigdef=_IGNORED,
                )
            except (FileNotFoundError, NotADirectoryError):
                continue
            except PermissionError as error:
                failure = error
        raise failure


def _here() -> int:
    """A descriptor of this process's folder. Where it may not enter that (another user has begun
    it there), relative paths lead nowhere, and the root will do."""
    flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        return os.open(".", flags)
    except PermissionError:
        return os.open("/", flags)


def _candidates(program: str, env: Mapping[str, str]) -> Iterator[str]:
    if "/" in program:
        yield program
        return
    for folder in env.get("PATH", os.defpath).split(":"):
        path = f"{folder}/{program}" if folder else program
        # A look is much cheaper than a child that finds nothing to become.
        if os.path.lexists(path):
            yield path
