"""Control groups: one of its own for each attempt that has limits, below one that has been
delegated to stsd. cgroups(7); Documentation/admin-guide/cgroup-v2.rst of the kernel.

The tree, below the control group HOST in which stsd was started:

    HOST/stsd-HASH/daemon       stsd itself, and the runs without limits
    HOST/stsd-HASH/RUN.ATTEMPT  one attempt

HASH tells daemons apart by their state folder. stsd has to leave HOST, since a group with
processes of its own cannot have controllers for its children. Nothing outside of HOST is ever
touched, and of what another daemon has made only what it has left empty when it ended. Never
waits: what is not dead yet is removed by a later `tend`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from stsd.model import Limits

_DAEMON = "daemon"
_WANTED = ("cpu", "memory", "pids")
_CPU_PERIOD_US = 100_000
_LEAST_CPU_QUOTA_US = 1_000  # the kernel takes no less
_PROC = Path("/proc")
_SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)
# Delegate= of systemd.resource-control(5) leaves these on a unit's group; the first is for those
# who may not read the second.
_DELEGATED = ("user.delegate", "trusted.delegate")
_UNITS = (".service", ".scope", ".slice")
_UNSAFE = re.compile(rb"[^A-Za-z0-9@._+-]")
_ESCAPED = re.compile(rb"%([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class Usage:
    """What an attempt has used: seconds of processor time, and at its peak bytes of memory (with
    the page cache), both None where the kernel does not tell. `out_of_memory`: the kernel has
    killed it, or a part of it, for want of memory. `left`: processes that outlived its main one,
    and have been killed."""

    cpu_s: float | None
    peak_bytes: int | None
    out_of_memory: bool
    left: int


class Cgroups:
    """The attempts' groups of one daemon. `controllers` are those that they have, out of `cpu`,
    `memory` and `pids`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.controllers = _words(folder / "cgroup.subtree_control") & frozenset(_WANTED)
        self._leaving: set[Path] = set()

    def make(self, run_id: str, attempt: int, limits: Limits) -> Path:
        """Make the group of an attempt, with as much of the limits as `controllers` can hold; what
        is left is for `stsd.limits.rlimits_for`. A process enters by writing its pid to
        `cgroup.procs` in there. Raises OSError."""
        folder = self._of(run_id, attempt)
        folder.mkdir()
        try:
            for name, value in self._settings(limits):
                (folder / name).write_text(value)
        except OSError:
            folder.rmdir()
            raise
        return folder

    def of(self, run_id: str, attempt: int) -> Path | None:
        """The group of an attempt that an earlier daemon may have made; None: there is none."""
        folder = self._of(run_id, attempt)
        return folder if folder.is_dir() else None

    def end(self, folder: Path) -> Usage:
        """Kill whatever is left in the group of an attempt, read what has been used, and remove
        the group now or, if its processes are not dead yet, in a later `tend`."""
        left = _kill(folder)
        usage = Usage(
            cpu_s=_microseconds(_numbers(folder / "cpu.stat").get("usage_usec")),
            peak_bytes=_number(folder / "memory.peak"),
            out_of_memory=_numbers(folder / "memory.events").get("oom_kill", 0) > 0,
            left=left,
        )
        if not _removed(folder):
            self._leaving.add(folder)
        return usage

    def tend(self) -> None:
        """Try again to remove the groups that could not be removed yet."""
        for folder in sorted(self._leaving):
            _kill(folder)
            if _removed(folder):
                self._leaving.remove(folder)

    def sweep(self, keep: Collection[tuple[str, int]]) -> list[tuple[str, int]]:
        """End all groups that an earlier daemon has left, but for those of the attempts to `keep`
        (run id and attempt). Returns the ids of the runs of which processes had to be killed, each
        with their number."""
        kept = {self._of(run_id, attempt) for run_id, attempt in keep}
        kept.add(self.folder / _DAEMON)
        found = [Path(entry.path) for entry in os.scandir(self.folder) if entry.is_dir()]
        ended = [(folder, self.end(folder).left) for folder in found if folder not in kept]
        return [(_run_of(folder), left) for folder, left in ended if left]

    def _of(self, run_id: str, attempt: int) -> Path:
        return self.folder / f"{_escaped(run_id)}.{attempt}"

    def _settings(self, limits: Limits) -> Iterator[tuple[str, str]]:
        """The files of a group, and what to write to them."""
        if "memory" in self.controllers and limits.memory is not None:
            yield "memory.max", str(limits.memory)
            yield "memory.oom.group", "1"
            if (self.folder / "memory.swap.max").exists():  # or swap would stretch the limit
                yield "memory.swap.max", "0"
        if "pids" in self.controllers and limits.processes is not None:
            yield "pids.max", str(limits.processes)
        if "cpu" in self.controllers and limits.cpu is not None:
            quota = max(_LEAST_CPU_QUOTA_US, round(limits.cpu * _CPU_PERIOD_US))
            yield "cpu.max", f"{quota} {_CPU_PERIOD_US}"


def find(state_dir: Path) -> Cgroups | None:
    """What has been delegated to this process, ready for use: this process is moved into a group
    of its own, and the controllers are switched on as far as that is possible. None: nothing has
    been delegated. Call it once, by whoever holds the lock of `state_dir`.

    Raises OSError if what was delegated cannot be used.
    """
    host = delegated(state_dir)
    if host is None:
        return None
    folder = host / _name_of(state_dir)
    _tidy(host)
    _settle(folder / _DAEMON)
    if _SYSTEMD_RUNS.exists():  # all of a unit is stsd's; elsewhere there may be strangers
        for pid in _members(host):
            _move(pid, folder / _DAEMON)
    for controller in _WANTED:
        if _switched_on(host, controller):
            _switched_on(folder, controller)
    return Cgroups(folder)


def delegated(state_dir: Path) -> Path | None:
    """The control group that has been delegated to this process, for the daemon of `state_dir`, as
    a folder; None if there is none. Changes nothing.

    Delegated is what systemd has marked so and, where no systemd is in charge, what can be
    written to.
    """
    own = _group_of_this_process()
    if own is None:
        return None
    if own.name == _DAEMON and own.parent.name == _name_of(state_dir):
        return _if_writable(own.parent.parent)  # after a restart in place
    if not _SYSTEMD_RUNS.exists() or _is_marked(own):
        return _if_writable(own)
    # DelegateSubgroup= of systemd starts the daemon in a group that it has made in the unit's.
    if own.suffix not in _UNITS and _is_marked(own.parent):
        return _if_writable(own.parent)
    return None


def controllers_within(host: Path, state_dir: Path) -> frozenset[str]:
    """The controllers that the attempts of a daemon have, or will have, in what `delegated`
    returned. Changes nothing."""
    folder = host / _name_of(state_dir)
    if folder.exists():
        return _words(folder / "cgroup.subtree_control") & frozenset(_WANTED)
    if not (_is_marked(host) or _is_root(host) or set(_members(host)) <= {os.getpid()}):
        return frozenset()  # there are strangers in it, who will not be moved
    return _words(host / "cgroup.controllers") & frozenset(_WANTED)


def controllers_of_systemd() -> frozenset[str]:
    """The controllers that systemd has to give, of those that stsd can use; none where it does not
    run, or where they are in the first kind of control groups."""
    if not _SYSTEMD_RUNS.exists():
        return frozenset()
    roots = [mount_point for root, mount_point in _mounts() if root == Path("/")]
    given = [_words(root / "cgroup.controllers") for root in roots]
    return frozenset(_WANTED).intersection(*given) if given else frozenset()


# -- where this process is


def _group_of_this_process() -> Path | None:
    """The folder of its cgroup v2; None where that is not mounted, or is out of sight."""
    lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if path is None:
        return None
    for root, mount_point in _mounts():
        if Path(path).is_relative_to(root):
            folder = mount_point / Path(path).relative_to(root)
            if os.getpid() in _members(folder):  # not hidden beneath another mount
                return folder
    return None


def _mounts() -> Iterator[tuple[Path, Path]]:
    """Each cgroup v2 mount: which of its groups is mounted, and where. proc_pid_mountinfo(5)."""
    for line in (_PROC / "self" / "mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[fields.index("-") + 1] == "cgroup2":
            yield Path(_plain(fields[3])), Path(_plain(fields[4]))


def _plain(field: str) -> str:
    """Blanks and backslashes are written as \\ooo in there."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _is_marked(group: Path) -> bool:
    return any(_attribute(group, name) == b"1" for name in _DELEGATED)


def _attribute(group: Path, name: str) -> bytes:
    try:
        return os.getxattr(group, name)
    except OSError:  # not there, not for us, or not known to this kernel: no mark in any case
        return b""


def _is_root(group: Path) -> bool:
    """The root of all groups may have processes and controllers for its children, too."""
    return not (group / "cgroup.type").exists()


def _if_writable(group: Path) -> Path | None:
    needed = (group, group / "cgroup.procs", group / "cgroup.subtree_control")
    return group if all(os.access(path, os.W_OK) for path in needed) else None


def _name_of(state_dir: Path) -> str:
    path = os.fsencode(state_dir.resolve())
    return f"stsd-{hashlib.sha256(path).hexdigest()[:12]}"


def _escaped(run_id: str) -> str:
    """A name that a group can have, and that no file of the kernel's in there can."""
    return _UNSAFE.sub(lambda match: b"%%%02x" % match[0][0], run_id.encode()).decode()


def _run_of(folder: Path) -> str:
    """The id of the run that a group is of."""
    name = os.fsencode(folder.name.rpartition(".")[0])
    plain = _ESCAPED.sub(lambda match: bytes.fromhex(match[1].decode()), name)
    return plain.decode(errors="replace")  # a job may have made a group beside its own


def _tidy(host: Path) -> None:
    """Remove the groups of daemons that have ended; nobody can remove the one that he lives in."""
    for folder in host.glob("stsd-*"):
        if _numbers(folder / "cgroup.events").get("populated") == 0:
            _removed(folder)


def _settle(daemon: Path) -> None:
    """Make the daemon's own group and move there. Another one that starts at this moment may take
    it for empty in between."""
    tries = 10
    for left in reversed(range(tries)):
        daemon.mkdir(parents=True, exist_ok=True)
        try:
            _move(os.getpid(), daemon)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV) or not left:
                raise
        else:
            return


# -- the kernel's files


def _move(pid: int, group: Path) -> None:
    try:
        (group / "cgroup.procs").write_text(str(pid))
    except ProcessLookupError:  # it has ended
        return


def _switched_on(group: Path, controller: str) -> bool:
    """Give the children of a group a controller; whether they have it now."""
    if controller not in _words(group / "cgroup.controllers"):
        return False
    try:
        (group / "cgroup.subtree_control").write_text(f"+{controller}")
    except OSError as error:
        if error.errno in (errno.EBUSY, errno.EOPNOTSUPP):  # strangers live in the group
            return False
        raise
    return True


def _words(path: Path) -> frozenset[str]:
    return frozenset(path.read_text().split())


def _members(group: Path) -> list[int]:
    """The processes in a group itself; none in one that has gone, or holds but threads."""
    return [int(pid) for pid in _text(group / "cgroup.procs").split()]


def _text(path: Path) -> str:
    """Empty where there is no such file: its group has gone, or its controller is not there."""
    try:
        return path.read_text()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
            return ""
        raise


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text else None


def _numbers(path: Path) -> dict[str, int]:
    """A file of lines with a word and a number each."""
    pairs = (line.split() for line in _text(path).splitlines())
    return {name: int(value) for name, value in pairs}


def _microseconds(count: int | None) -> float | None:
    return None if count is None else count / 1e6


def _tree(group: Path) -> list[str]:
    """A group and all below it (a job may make groups, too), the innermost first."""
    return [folder for folder, _, _ in os.walk(group, topdown=False)]


def _kill(group: Path) -> int:
    """Kill all in a group and below; how many of them would have gone on. Never waits for them to
    be dead."""
    pids = [pid for folder in _tree(group) for pid in _members(Path(folder))]
    if not pids:
        return 0
    alive = sum(1 for pid in pids if not _is_ending(pid))
    try:
        (group / "cgroup.kill").write_text("1")
    except (FileNotFoundError, PermissionError):
        # Before Linux 5.14 there is no such file. One by one, and those born meanwhile by `tend`.
        for pid in pids:
            _kill_one(pid)
    return alive


def _is_ending(pid: int) -> bool:
    """Whether a process is about to be gone: the kernel takes its memory first, then its open
    files, of which others may have noticed, and its group last (do_exit)."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            return file.read(64).split()[0] == b"0"
    except (FileNotFoundError, ProcessLookupError):
        return True


def _kill_one(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # dead, or another user's by a setuid program
        return


def _removed(group: Path) -> bool:
    try:
        for folder in _tree(group):
            os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:  # somebody in there is not dead yet, or makes groups of his own
        return False
    return True
