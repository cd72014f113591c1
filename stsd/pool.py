"""The subprocess pool: the one place that starts, signals and reaps children.

Decides nothing: how many run at once, and for how long, is the core's. Children are started by
vfork (no `preexec_fn`, no `user=`), each in a session and process group of its own, and are
waited for by pidfd.
"""

from __future__ import annotations

import os
import resource
import selectors
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stsd.child import ChildSpec, child_spec
from stsd.errors import SpawnError
from stsd.memory import Open
from stsd.messages import Exited, Spawned
from stsd.model import Run
from stsd.output import open_output, output_name
from stsd.recovery import born

# How often a process group is looked at whose leader has ended before the rest of it.
LINGER_POLL_S = 0.05


@dataclass(slots=True)
class _Child:
    run_id: str
    pid: int
    pidfd: int
    output: str
    process: subprocess.Popen[bytes] | None  # of an adopted child there is none
    told_to_stop: bool = False
    killed: bool = False


class Pool:
    """The children of one daemon.

    `selector` gets each child's pidfd, with `Pool` itself as its data; `environ` is what
    `stsd.child.base_environment` made of the daemon's.
    """

    def __init__(
        self, selector: selectors.BaseSelector, log_dir: Path, environ: Mapping[str, str]
    ) -> None:
        self._selector = selector
        self._log_dir = log_dir
        self._environ = environ
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._by_run: dict[str, _Child] = {}
        self._by_pidfd: dict[int, _Child] = {}
        self._lingering: dict[str, Exited] = {}

    def spawn(self, run: Run, attempt: int) -> Spawned:
        """Start the child of an attempt. Raises SpawnError."""
        name = output_name(run.job.name, run.id, attempt)
        spec = child_spec(run, attempt, self._environ)
        try:
            output = open_output(self._log_dir, run.job.name, name)
        except OSError as error:
            raise SpawnError(
                f"cannot write the output to {self._log_dir / name}: {_why(error)}"
            ) from error
        try:
            process = self._popen(spec, output)
        finally:
            os.close(output)
        try:
            child = self._watch(_Child(run.id, process.pid, -1, name, process))
        except OSError as error:
            _abandon(process)
            raise SpawnError(f"cannot watch the child: {_why(error)}") from error
        return Spawned(run.id, child.pid, born(child.pid) or 0)

    def adopt(self, attempt: Open) -> None:
        """Watch a child that an earlier daemon started. Raises OSError if it has gone."""
        if attempt.pid is None:
            raise ProcessLookupError(attempt.run)
        name = output_name(attempt.job, attempt.run, attempt.attempt)
        self._watch(_Child(attempt.run, attempt.pid, -1, name, None))

    def _watch(self, child: _Child) -> _Child:
        child.pidfd = os.pidfd_open(child.pid)
        self._selector.register(child.pidfd, selectors.EVENT_READ, self)
        self._by_run[child.run_id] = self._by_pidfd[child.pidfd] = child
        return child

    def send(self, run_id: str, name: str) -> None:
        """Send a signal (`TERM`, `KILL`, ...) to all of a run's process group."""
        child = self._by_run.get(run_id)
        if child is None:
            return
        child.told_to_stop = True
        child.killed = child.killed or name == "KILL"
        _signal_group(child.pid, signal.Signals[f"SIG{name}"])

    def collect(self, pidfd: int) -> Exited | None:
        """Reap the child of a readable pidfd; None if its run is not over yet.

        A run ends when its main process ends. Only where it was told to stop, the rest of the
        group has until the KILL to follow: `sh` dies of a TERM at once, and what it had started
        may be tidying up.
        """
        child = self._by_pidfd.pop(pidfd)
        self._selector.unregister(pidfd)
        os.close(pidfd)
        exited = self._reap(child)
        if child.told_to_stop and not child.killed and _signal_group(child.pid, 0):
            self._lingering[child.run_id] = exited
            return None
        del self._by_run[child.run_id]
        return exited

    @property
    def lingering(self) -> bool:
        """Whether any group is to be looked at again in LINGER_POLL_S."""
        return bool(self._lingering)

    def collect_lingering(self, at_once: bool = False) -> list[Exited]:
        """The runs whose group has gone by now, or has been killed; `at_once`: all of them."""
        over = [
            run_id
            for run_id in self._lingering
            if at_once
            or self._by_run[run_id].killed
            or not _signal_group(self._by_run[run_id].pid, 0)
        ]
        for run_id in over:
            del self._by_run[run_id]
        return [self._lingering.pop(run_id) for run_id in over]

    def _popen(self, spec: ChildSpec, output: int) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                spec.argv,
                stdin=self._null,
                stdout=output,
                stderr=output,
                cwd=spec.cwd,
                env=spec.env,
                umask=spec.umask,
                start_new_session=True,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise SpawnError(_cannot_start(spec, error)) from error

    def _reap(self, child: _Child) -> Exited:
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except ChildProcessError:  # an earlier daemon's, and not this process under its old self
            return self._exited(child, None, None)
        code = os.waitstatus_to_exitcode(status)
        if child.process is not None:
            child.process.returncode = code  # or Popen would wait for the pid once it is reused
        return self._exited(child, code, usage)

    def _exited(
        self, child: _Child, code: int | None, usage: resource.struct_rusage | None
    ) -> Exited:
        try:
            output_bytes = os.stat(self._log_dir / child.output).st_size
        except FileNotFoundError:  # somebody tidied up; the run has ended all the same
            output_bytes = 0
        return Exited(
            run_id=child.run_id,
            exit_code=code if code is not None and code >= 0 else None,
            signal=_signal_name(-code) if code is not None and code < 0 else None,
            cpu_s=usage.ru_utime + usage.ru_stime if usage else None,
            max_rss_bytes=_peak_memory(usage) if usage else None,
            output=child.output,
            output_bytes=output_bytes,
        )


def _peak_memory(usage: resource.struct_rusage) -> int | None:
    """Bytes, or None where the kernel does not tell: on exec it carries over the peak of the
    memory that the caller had, so what a child reports is never below stsd's own."""
    return usage.ru_maxrss * 1024 if usage.ru_maxrss > _own_peak_kib() else None


def _own_peak_kib() -> int:
    """VmHWM of proc_pid_status(5). getrusage would add the peak of whatever started stsd."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    raise LookupError("VmHWM")


def _signal_name(number: int) -> str:
    known = {known.value for known in signal.Signals}
    if number in known:
        return signal.Signals(number).name
    return f"SIGRTMIN+{number - signal.SIGRTMIN}"


def _signal_group(pgid: int, number: int) -> bool:
    """Signal a process group (0: only ask); whether there is one."""
    try:
        os.killpg(pgid, number)
    except ProcessLookupError:
        return False
    except PermissionError:  # it exists, and all that is left of it has changed its user
        return True
    return True


def _abandon(process: subprocess.Popen[bytes]) -> None:
    """End a child that cannot be watched: unwatched, it would run unaccounted for."""
    _signal_group(process.pid, signal.SIGKILL)
    process.wait()


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _cannot_start(spec: ChildSpec, error: Exception) -> str:
    if isinstance(error, OSError):
        if error.filename == spec.cwd:
            return f"cannot enter the folder {spec.cwd}: {_why(error)}"
        return f"cannot start {spec.argv[0]}: {_why(error)}"
    return f"cannot start {spec.argv[0]}: {error}"
