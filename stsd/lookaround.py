"""Warnings of what a job needs and this machine does not have: folders, files, programs. It may
have it by the time the job runs, so nothing here makes a jobfile invalid.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

from stsd.model import ArgvTask, Job, MessageTask, PythonTask, ShellTask
from stsd.notices import Means, Metrics, Target
from stsd.report import Place, Report
from stsd.units import shown
from stsd.values import Fault, Step


class LookAround:
    """Looks at each thing once, however many jobs need it."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._looked_at: set[tuple[str, ...]] = set()

    def at(self, place: Place, job: Job) -> None:
        """Warns of what a job lacks."""
        if self._is_new("cwd", job.cwd) and not os.path.isdir(job.cwd):
            self._warn(place, f"there is no folder {shown(job.cwd)}", "cwd")
        match job.task:
            case ShellTask() | ArgvTask() as command:
                self._warn_of_command(place, job, command, "command")
            case PythonTask() if job.task.interpreter:
                self._warn_of_program(place, job, job.task.interpreter, "interpreter")
            case MessageTask():
                self._warn_of_apprise(place, "message")
        if job.condition is not None or job.env_files or job.secrets:
            self._at_preparations(place, job)
        for target in job.notify.to if job.notify is not None else ():
            self._at_target(place, job, target)

    def at_metrics(self, place: Place, metrics: Metrics) -> None:
        """Warns of what telling numbers lacks."""
        folder = os.path.dirname(metrics.file or "/")
        if not os.path.isdir(folder):
            self._warn(place, f"there is no folder {shown(folder)}", "file")

    def _at_target(self, place: Place, job: Job, target: Target) -> None:
        if target.means is Means.MESSAGE:
            self._warn_of_apprise(place, "notify")
        elif target.argv:
            self._warn_of_program(place, job, target.argv[0], "notify")

    def _at_preparations(self, place: Place, job: Job) -> None:
        if job.condition is not None:
            self._warn_of_command(place, job, job.condition, "condition")
        for index, path in enumerate(job.env_files):
            self._warn_of_file(place, path, "env_file", index)
        for secret in job.secrets:
            if secret.file:
                self._warn_of_secret(place, secret.file, "secrets", secret.name, "file")
            if secret.command is not None:
                self._warn_of_command(place, job, secret.command, "secrets", secret.name, "command")

    def _warn_of_command(
        self, place: Place, job: Job, command: ShellTask | ArgvTask, *path: Step
    ) -> None:
        if isinstance(command, ArgvTask):
            self._warn_of_program(place, job, command.argv[0], *path)
        else:
            self._warn_of_program(place, job, command.shell, "shell")

    def _warn_of_program(self, place: Place, job: Job, program: str, *path: Step) -> None:
        search = next((text for name, text in job.env if name == "PATH"), None)
        base = job.cwd if "/" in program else ""
        if not program or not self._is_new(program, base, search or ""):
            return
        if shutil.which(os.path.join(base, program), path=search) is None:
            self._warn(place, f"there is no program {shown(program)}", *path)

    def _warn_of_secret(self, place: Place, file: str, *path: Step) -> None:
        status = self._warn_of_file(place, file, *path)
        if status is not None and status.st_mode & 0o007:
            fault = Fault("is open to others, and so will be refused", "chmod 600", path)
            self._report.warn(place, fault)

    def _warn_of_file(self, place: Place, file: str, *path: Step) -> os.stat_result | None:
        """Warns of a file only where it is certain that there is none: whoever checks a jobfile
        may not look into every folder. The answer is its status, if it is there and new."""
        if not self._is_new("file", file):
            return None
        try:
            return os.lstat(file)
        except (FileNotFoundError, NotADirectoryError):
            self._warn(place, f"there is no file {shown(file)}", *path)
        except OSError:
            return None
        return None

    def _warn_of_apprise(self, place: Place, key: str) -> None:
        if self._is_new("apprise") and importlib.util.find_spec("apprise") is None:
            fault = Fault("takes apprise", "pip install 'stsd[messages]'", (key,))
            self._report.warn(place, fault)

    def _warn(self, place: Place, message: str, *path: Step) -> None:
        self._report.warn(place, Fault(message, "", path))

    def _is_new(self, *what: str) -> bool:
        """Whether this has not been looked at for an earlier job."""
        if what in self._looked_at:
            return False
        self._looked_at.add(what)
        return True
