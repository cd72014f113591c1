"""A file that decides what is run, or with what: opened with care, and its owner and mode looked
at on the open descriptor.

Links are not followed and only regular files are read. Whether a doubt is a refusal is decided by
those who ask.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from stsd.errors import StsdError
from stsd.units import escaped, format_size

_CAREFULLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY

Doubt = tuple[str, str]
"""What is to be said against a file, and what would be right."""


class Reason(StrEnum):
    """Why a file is not read."""

    MISSING = "missing"
    LINK = "link"
    ACCESS = "access"
    KIND = "kind"
    SIZE = "size"
    NAME = "name"
    OTHER = "other"


class UnreadableError(StsdError):
    """A file that is not read. `message` goes on from its name; `remedy` is what would be right,
    empty where that is for the caller to say."""

    def __init__(self, reason: Reason, message: str, remedy: str = "") -> None:
        super().__init__(f"{message} ({remedy})" if remedy else message)
        self.reason = reason
        self.message = message
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class Content:
    """What a file holds, with its own status and that of its folder."""

    data: bytes = field(repr=False)
    status: os.stat_result
    above: os.stat_result


def read(name: str, largest: int) -> Content:
    """Reads a file of at most so many bytes. Raises UnreadableError."""
    folder, base = os.path.split(os.path.abspath(name))
    try:
        with _opened(folder, os.O_DIRECTORY) as above, _opened(base, _CAREFULLY, above) as fd:
            status = os.fstat(fd)
            _refuse_odd(status, largest)
            return Content(_whole(fd, largest), status, os.fstat(above))
    except OSError as error:
        raise _not_opened(name, error) from None
    except ValueError:  # a NUL in the name
        raise UnreadableError(
            Reason.NAME, "is not a file name", "take the NUL character out"
        ) from None


def doubts(name: str, content: Content, trusted: Collection[int]) -> Iterator[Doubt]:
    """What owner and mode of a file and its folder let others do than root and the `trusted`."""
    status = content.status
    if status.st_uid not in (0, *trusted):
        yield f"belongs to user {status.st_uid}", "let it belong to root or to stsd's own user"
    if status.st_mode & 0o022:
        yield "may be written by others than its owner", f"chmod go-w {escaped(name)}"
    yield from folder_doubts(os.path.dirname(os.path.abspath(name)), content.above, trusted)


def folder_doubts(folder: str, status: os.stat_result, trusted: Collection[int]) -> Iterator[Doubt]:
    """What owner and mode of a folder let others do to the files in it."""
    shown = escaped(folder)
    if status.st_uid not in (0, *trusted):
        yield (
            f"lies in {shown}, which belongs to user {status.st_uid}",
            "let the folder belong to root or to stsd's own user",
        )
    # In a sticky folder (/tmp) nobody can replace a file of another user.
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        yield f"lies in {shown}, where others than its owner may write", f"chmod go-w {shown}"


@contextmanager
def _opened(name: str, flags: int, folder_fd: int | None = None) -> Iterator[int]:
    """A descriptor for reading, closed in the end."""
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | flags, dir_fd=folder_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _whole(fd: int, largest: int) -> bytes:
    """All bytes of an open file, which may grow meanwhile, but not beyond all bounds."""
    data = bytearray()
    while chunk := os.read(fd, largest + 1 - len(data)):
        data += chunk
        if len(data) > largest:
            raise _too_large(len(data), largest)
    return bytes(data)


def _refuse_odd(status: os.stat_result, largest: int) -> None:
    """Raises UnreadableError for anything but a regular file of a reasonable size."""
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
        raise UnreadableError(Reason.KIND, f"is {kind}")
    if status.st_size > largest:
        raise _too_large(status.st_size, largest)


def _too_large(size: int, largest: int) -> UnreadableError:
    return UnreadableError(
        Reason.SIZE, f"is too large: {format_size(size)}", f"at most {format_size(largest)}"
    )


def _not_opened(name: str, error: OSError) -> UnreadableError:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return UnreadableError(Reason.MISSING, "there is no such file")
        case errno.ELOOP if os.path.islink(name):
            target = escaped(os.readlink(name))
            return UnreadableError(
                Reason.LINK,
                f"is a symbolic link to {target}",
                "links are not followed; name the file itself",
            )
        case errno.EACCES:
            return UnreadableError(
                Reason.ACCESS, "may not be read by this user", "change its mode or its owner"
            )
        case _:
            return UnreadableError(Reason.OTHER, f"cannot be read: {os.strerror(error.errno or 0)}")
