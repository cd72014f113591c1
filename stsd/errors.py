"""The ways in which stsd refuses, and how each is said.

Whatever a user can get wrong ends as a `Problem`: one place, one fault, one remedy. A traceback
is for faults of ours only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


class StsdError(Exception):
    """A refusal that is told to the user as its text alone."""


class UnitError(StsdError, ValueError):
    """A duration, size or instant that cannot be read; `remedy` is what would be right."""

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} ({remedy})" if remedy else message)
        self.message = message
        self.remedy = remedy


class ScheduleError(StsdError, ValueError):
    """A schedule that cannot be read, or that can never fire.

    `key` is the jobfile key at fault (`cron`, `at`, `timezone`, ...), `column` the 1-based place
    within the value's text where that is known, `remedy` what would be right.
    """

    def __init__(self, key: str, message: str, remedy: str = "", column: int | None = None) -> None:
        super().__init__(f"{message} ({remedy})" if remedy else message)
        self.key = key
        self.message = message
        self.remedy = remedy
        self.column = column


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a jobfile: `FILE:LINE:COL: WHERE: message (remedy)`.

    `line` and `column` are 1-based; 0 where the fault is the whole file's. `where` is the dotted
    key, empty for a fault of the file. `source` is the text of that line, for a caret beneath it;
    empty where the line is too long to be shown.
    """

    file: str
    line: int
    column: int
    where: str
    message: str
    remedy: str = ""
    source: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        subject = f"{self.where}: " if self.where else ""
        remedy = f" ({self.remedy})" if self.remedy else ""
        return f"{place}: {subject}{self.message}{remedy}"


class JobfileError(StsdError):
    """What is wrong with a jobfile, in the order of its lines; nothing of it applies.

    `more` counts the problems beyond those that are kept.
    """

    def __init__(self, problems: Sequence[Problem], more: int = 0) -> None:
        lines = [str(problem) for problem in problems]
        if more:
            lines.append(f"and {more} more")
        super().__init__("\n".join(lines))
        self.problems = tuple(problems)
        self.more = more

    def __reduce__(self) -> tuple[type[JobfileError], tuple[tuple[Problem, ...], int]]:
        """For another process: an exception is otherwise made anew of its text alone."""
        return type(self), (self.problems, self.more)


class SpawnError(StsdError):
    """A child that could not be started; the text says why, in words for the job's owner."""


class UsageError(StsdError):
    """A command line that asks for something impossible; exit code 2."""


class NoDaemonError(StsdError):
    """There is no daemon to talk to, or not any more; exit code 3. `tried` is a line for each
    socket that was looked at: which, and what was wrong with it."""

    def __init__(self, message: str, tried: tuple[str, ...] = ()) -> None:
        super().__init__("\n  ".join([f"{message}; looked at:", *tried] if tried else [message]))
        self.message = message
        self.tried = tried
