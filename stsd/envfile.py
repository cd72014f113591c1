"""Environment files: `NAME=value` lines in the format of .env files, read anew at each start.

Nothing in them is expanded or run. What is wrong is told by file and line, never with what stands
there, which may be a password.
"""

from __future__ import annotations

import io
import os
import re

from stsd import trust
from stsd.errors import StsdError
from stsd.model import Job
from stsd.trust import UnreadableError
from stsd.units import escaped
from stsd.values import LONGEST_STRING

LARGEST = 256 * 1024
"""Bytes of one file."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# The parser would look at each of them as often as there are others before it.
_MANY_BLANKS = re.compile(r"[^\S\r\n]{1000}")
_NUL = re.compile("\0")
_LINE_END = re.compile(r"\r\n|\n|\r")


class EnvFileError(StsdError):
    """An environment file that cannot be used: `FILE: why (what would be right)`."""


def read(path: str) -> dict[str, str]:
    """The variables of a file; of one that is there twice the last. Raises EnvFileError.

    Under root, a file that others than root may change is refused.
    """
    try:
        content = trust.read(path, LARGEST)
    except UnreadableError as error:
        raise EnvFileError(f"{escaped(path)}: {error}") from None
    for message, remedy in trust.doubts(path, content, (os.geteuid(),)):
        if os.geteuid() == 0:
            raise EnvFileError(f"{escaped(path)}: {message} ({remedy})")
    return parse(path, content.data)


def of_job(job: Job) -> dict[str, str]:
    """What the env files of a job say: a later one goes before an earlier one, and the job's own
    `env` before all of them. Raises EnvFileError."""
    found: dict[str, str] = {}
    for path in job.env_files:
        found |= read(path)
    own = {name for name, _ in job.env}
    return {name: value for name, value in found.items() if name not in own}


def parse(path: str, data: bytes) -> dict[str, str]:
    """The variables in a file's bytes; `path` is for the errors. Raises EnvFileError."""
    from dotenv.parser import parse_stream  # only where a job asks for it

    text = _text(path, data)
    variables: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text)):
        if binding.key is None and not binding.error:
            continue
        # The parser counts the blank lines before a binding as its own.
        written = binding.original.string
        blank = written[: len(written) - len(written.lstrip())]
        line = binding.original.line + len(_LINE_END.findall(blank))
        if binding.error or binding.value is None or not _NAME.fullmatch(binding.key or ""):
            # It may be the second line of a key that nobody put into quotes: do not show it.
            raise _wrong(path, line, "is not NAME=value", "quotes go around the whole value")
        size = len(f"{binding.key}={binding.value}".encode()) + 1
        if size > LONGEST_STRING:
            limit = f"at most {LONGEST_STRING:,} with its name"
            raise _wrong(path, line, f"{binding.key} is {size:,} bytes long", limit)
        variables[str(binding.key)] = binding.value
    return variables


def _text(path: str, data: bytes) -> str:
    """The file as text. Raises EnvFileError for what no environment can hold."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _wrong(path, line, "is not UTF-8", "save the file as UTF-8") from None
    for pattern, message in ((_NUL, "a NUL character"), (_MANY_BLANKS, "a thousand blanks")):
        if fault := pattern.search(text):
            line = text.count("\n", 0, fault.start()) + 1
            raise _wrong(path, line, f"holds {message}", "take it out")
    return text


def _wrong(path: str, line: int, message: str, remedy: str) -> EnvFileError:
    return EnvFileError(f"{escaped(path)}:{line}: {message} ({remedy})")
