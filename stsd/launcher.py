"""Starts children that need more than vfork gives: `python -I -S -X utf8 launcher.py`.

A small process, because forking a big one is slow. Stands alone and imports nothing of stsd; the
functions below also serve `warm.py`, under any Python from 3.8 on. Holds no state: what becomes of
a start is told by the child itself, on a pipe that comes with the request, so nothing is lost when
this process is killed. Ends when the daemon has gone, and starts nothing any more then.

A request is one message on the socket that is descriptor 0; what it says is in its descriptors:
the pipe to report on, a file with the spec (a JSON object), the output, the standard input, and
perhaps the `cgroup.procs` of a control group. The report is a line with the pid, then nothing if
the program was started, else a sentence.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import grp
import json
import os
import pwd
import resource
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from select import POLLERR, POLLHUP, POLLIN, poll  # those of Python, whatever a module puts there
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    Spec = dict[str, Any]

MACHINE = (os.uname().machine, struct.calcsize("P"))
# The number of clone(2), where its flags come first, by machine and size of a pointer.
CLONE = {("x86_64", 8): 56, ("aarch64", 8): 220}
_CLONE_PARENT = 0x8000  # linux/sched.h
_LIBC = ctypes.PyDLL(None, use_errno=True)
_LIBC.syscall.restype = ctypes.c_long
LEAST_DESCRIPTORS = 4
MOST_DESCRIPTORS = 5
SETUP_FAILED = 127
_SAID_AT_MOST = 1000


class RefusedError(Exception):
    """A child that cannot be as its spec wants it; the text is for the job's owner."""


class Identity(NamedTuple):
    """Whom a child runs as; `env` is what the user database says of them."""

    uid: int
    gid: int
    groups: list[int]
    env: dict[str, str]


class Request(NamedTuple):
    """The descriptors of a request; `cgroup` is -1 for none."""

    report: int
    spec: int
    output: int
    stdin: int
    cgroup: int = -1

    def close(self) -> None:
        """Let go of them."""
        for fd in self:
            if fd >= 0:
                os.close(fd)


# -- the launcher's own process


def take_link() -> socket.socket:
    """The socket that is descriptor 0, moved out of the way of children."""
    link = socket.socket(fileno=os.dup(0))
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    return link


def reset_signals() -> None:
    """Block all signals for good; give them their default dispositions, which children inherit."""
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    for number in signal.valid_signals():
        if signal.getsignal(number) is not signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)


def requests(link: socket.socket, idle_s: float | None = None) -> Iterator[Request]:
    """Each request as it comes, until the daemon has gone, or until none has come for `idle_s`."""
    coming = poll()
    coming.register(link, POLLIN)
    gone = POLLHUP | POLLERR
    while (ready := coming.poll(None if idle_s is None else idle_s * 1000)) and not ready[0][
        1
    ] & gone:
        fds = _received(link)
        if len(fds) >= LEAST_DESCRIPTORS:
            yield Request(*fds)


def _received(link: socket.socket) -> list[int]:
    room = socket.CMSG_SPACE(MOST_DESCRIPTORS * array.array("i").itemsize)
    _, ancillary, _, _ = link.recvmsg(16, room, socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)


def launch(request: Request, become: Callable[[Request], None], fork: Callable[[], int]) -> None:
    """Make a child of the daemon's, and call `become` in it, which does not return unless it has
    failed and said so. `fork` is `fork_for_parent` or `fork_twice`."""
    own = os.getpid()
    try:
        if fork() == 0:
            os.setsid()
            report(request, os.getpid())
            become(request)
    except OSError as error:
        report(request, None, f"cannot fork: {error.strerror}")
    finally:
        if os.getpid() != own:
            os._exit(SETUP_FAILED)  # whatever happens, a child never becomes a second launcher


def fork_for_parent() -> int:
    """Fork a sibling of this process; 0 in the sibling. Several times as fast as `os.fork`, because
    nothing of the interpreter is renewed in there; good for nothing but to set up a program. For
    the machines in `CLONE` only. Raises OSError.
    """
    flags = _CLONE_PARENT | signal.SIGCHLD
    words = [ctypes.c_long(word) for word in (CLONE[MACHINE], flags, 0, 0, 0, 0)]
    pid: int = _LIBC.syscall(*words)
    if pid < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return pid


def fork_twice() -> int:
    """Fork a grandchild that becomes the daemon's own child, as the daemon adopts orphans; 0 in the
    grandchild. Raises OSError, also in the process between, which has to end then."""
    between = os.fork()
    if between == 0:
        if os.fork() == 0:
            return 0
        os._exit(0)
    # Not before the one between has gone does the daemon see the end of the report.
    os.waitpid(between, 0)
    return between


def report(request: Request, pid: int | None, failure: str = "") -> None:
    """Tell the daemon the pid, or a failure after it."""
    text = f"{pid}\n" if pid is not None else failure[:_SAID_AT_MOST]
    with contextlib.suppress(BrokenPipeError):  # the daemon has gone
        os.write(request.report, text.encode("utf-8", "backslashreplace"))


# -- in the child


def become_program(request: Request) -> None:
    """Turn this process into the program of the spec; returns only after a failure."""
    try:
        spec = read_spec(request)
        env = settle(spec, request)
        with _or_refuse(f"cannot start {spec['argv'][0]}{_as_whom(spec)}"):
            os.execvpe(spec["argv"][0], spec["argv"], env)
    except RefusedError as refused:
        report(request, None, str(refused))
    except (ArithmeticError, LookupError, MemoryError, OSError, TypeError, ValueError) as error:
        report(request, None, f"cannot be set up: {type(error).__name__}: {error}")


def read_spec(request: Request) -> Spec:
    """The JSON object of a request."""
    size = os.fstat(request.spec).st_size
    spec: Spec = json.loads(os.pread(request.spec, size, 0))
    return spec


def settle(spec: Spec, request: Request) -> dict[str, str]:
    """Make this process what the spec wants, but for the program; returns its environment.

    Raises RefusedError.
    """
    connect(request)
    who = look_up(spec["user"], spec["group"])
    enter_cgroup(request.cgroup)
    if spec["nice"] is not None:
        be_nice(spec["nice"])
    for name, soft, hard in spec["rlimits"]:
        limit(name, soft, hard)
    os.umask(spec["umask"])
    if who is not None:
        turn_into(who, _as_whom(spec))
    with _or_refuse(f"cannot enter the folder {spec['cwd']}{_as_whom(spec)}"):
        os.chdir(spec["cwd"])
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    return {**(who.env if who is not None else {}), **spec["env"]}


def connect(request: Request) -> None:
    """Descriptors 0, 1 and 2; all others close by themselves when the program starts."""
    os.dup2(request.stdin, 0)
    os.dup2(request.output, 1)
    os.dup2(request.output, 2)


def look_up(user: str | int | None, group: str | int | None) -> Identity | None:
    """Whom a user and a group mean on this machine, now. Raises RefusedError."""
    if user is None and group is None:
        return None
    entry = _entry_of(os.geteuid() if user is None else user)
    if group is not None:
        gid = _gid_of(group)
    elif entry is not None:
        gid = entry.pw_gid
    else:
        raise RefusedError(
            f"user {user} is not in the user database: say which group it is to have"
        )
    if entry is None:
        uid = os.geteuid() if user is None else int(user)
        return Identity(uid, gid, [gid], {})
    env = {
        "HOME": entry.pw_dir,
        "USER": entry.pw_name,
        "LOGNAME": entry.pw_name,
        "SHELL": entry.pw_shell or "/bin/sh",
    }
    groups = os.getgrouplist(entry.pw_name, gid)
    return Identity(entry.pw_uid, gid, groups, env if user is not None else {})


def _entry_of(user: str | int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    except KeyError:
        if isinstance(user, int):
            return None
        raise RefusedError(f"there is no user {user} on this machine") from None


def _gid_of(group: str | int) -> int:
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise RefusedError(f"there is no group {group} on this machine") from None


def enter_cgroup(members: int) -> None:
    """Move this process into the control group whose `cgroup.procs` this is; -1: stay."""
    if members >= 0:
        with _or_refuse("cannot enter its control group"):
            os.write(members, b"0")


def be_nice(nice: int) -> None:
    """Set the niceness of this process and, where the kernel has such and lets us, of its session:
    with autogroups (sched(7)) that of a process weighs only against its own session."""
    with _or_refuse(f"cannot set nice to {nice}"):
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write(str(nice))


def limit(name: str, soft: int, hard: int) -> None:
    """Set a resource limit, by its name in getrlimit(2)."""
    with _or_refuse(f"cannot set {name} to {soft}"):
        resource.setrlimit(getattr(resource, name), (soft, hard))


def turn_into(who: Identity, as_whom: str) -> None:
    """Change groups and user for good, and look whether it is so. Raises RefusedError."""
    with _or_refuse(f"cannot run{as_whom} (only a stsd that runs as root can)"):
        os.setgroups(who.groups)
        os.setresgid(who.gid, who.gid, who.gid)
        os.setresuid(who.uid, who.uid, who.uid)
    settled = (
        os.getresuid() == (who.uid,) * 3
        and os.getresgid() == (who.gid,) * 3
        and sorted(os.getgroups()) == sorted(who.groups)
    )
    if not settled:
        raise RefusedError(
            f"cannot run{as_whom}: the kernel has not changed user and groups as asked"
        )


def _as_whom(spec: Spec) -> str:
    user = "" if spec["user"] is None else f" as user {spec['user']}"
    return user + ("" if spec["group"] is None else f" as group {spec['group']}")


@contextlib.contextmanager
def _or_refuse(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RefusedError(f"{what}: {error.strerror or error}") from error
    except (ValueError, OverflowError) as error:
        raise RefusedError(f"{what}: {error}") from error


def main() -> None:
    """Start what is asked for until the daemon has gone."""
    look_up(0, 0)  # loads what the C library needs for that once, and not in each child
    fork = fork_for_parent if MACHINE in CLONE else fork_twice
    link = take_link()
    reset_signals()
    for request in requests(link):
        launch(request, become_program, fork)
        request.close()


if __name__ == "__main__":
    main()
