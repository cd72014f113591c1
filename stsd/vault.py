"""Secrets that lie in files: a job's own, and the credentials that systemd keeps for stsd.

What can be read by more people than it should is refused, under any user. No error shows a value.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from stsd import trust
from stsd.errors import StsdError
from stsd.model import Secret
from stsd.trust import Content, Doubt, UnreadableError
from stsd.units import escaped

LARGEST = 64 * 1024
"""Bytes of one secret; the kernel takes twice as much as one variable."""


class SecretError(StsdError):
    """A secret that cannot be got at, and why, in words for the job's owner."""


def from_file(path: str, user: str | int | None) -> str:
    """The secret in a file that root, stsd's own user or the job's `user` owns.

    Raises SecretError.
    """
    content = _read(path)
    for message, remedy in _doubts(path, content, user):
        raise SecretError(f"{escaped(path)} {message} ({remedy})")
    return value_of(content.data, escaped(path))


def from_credential(name: str, environ: Mapping[str, str]) -> str:
    """The secret that systemd passed to the service under this name, by the daemon's `environ`
    (systemd.exec(5), LoadCredential=). Raises SecretError."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise SecretError(
            "systemd has passed no credentials to stsd"
            f" (LoadCredential={escaped(name)}:PATH in the service's [Service] section)"
        )
    content = _read(os.path.join(folder, name))
    return value_of(content.data, f"the credential {escaped(name)}")


def from_place(secret: Secret, user: str | int | None, environ: Mapping[str, str]) -> str:
    """The secret that is in a file or a credential. Raises SecretError."""
    if secret.credential:
        return from_credential(secret.credential, environ)
    return from_file(secret.file, user)


def value_of(data: bytes, source: str) -> str:
    """What was read, as the value of a variable: without the newline at its end.

    Raises SecretError, which names the `source`, for what no variable can hold.
    """
    if len(data) > LARGEST:
        raise SecretError(f"{source} is longer than {LARGEST // 1024} KiB")
    if b"\0" in data:
        raise SecretError(f"{source} holds a NUL character (a variable cannot; encode it, as text)")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise SecretError(f"{source} is not UTF-8 (encode it, such as by base64)") from None
    value = text.removesuffix("\n").removesuffix("\r")
    if not value:
        raise SecretError(f"{source} is empty")
    return value


def _read(path: str) -> Content:
    try:
        return trust.read(path, LARGEST)
    except UnreadableError as error:
        raise SecretError(f"{escaped(path)}: {error}") from None


def _doubts(path: str, content: Content, user: str | int | None) -> Iterator[Doubt]:
    """Who else may read or change a secret, or choose which file it is."""
    owner = content.status.st_uid
    if owner not in (0, os.geteuid()) and not _is(owner, user):
        yield f"belongs to user {owner}", "let it belong to root, to stsd's or to the job's user"
    mode = f"mode {content.status.st_mode & 0o7777:04o}; would be right: chmod 600"
    for bits, message in (
        (0o004, "is readable by others"),
        (0o003, "is open to others"),
        (0o020, "may be written by its group"),
    ):
        if content.status.st_mode & bits:
            yield message, mode
    # Whoever owns a folder on the way may put another file there, such as one of root's.
    for folder in PurePath(os.path.abspath(path)).parents:
        above = os.lstat(folder).st_uid
        if above not in (0, os.geteuid(), owner):
            yield (
                f"lies in {escaped(str(folder))}, which belongs to user {above}",
                "let the folder belong to root or to the file's owner",
            )
    if os.geteuid() == 0:
        yield from trust.folder_doubts(
            os.path.dirname(os.path.abspath(path)), content.above, (owner,)
        )


def _is(uid: int, user: str | int | None) -> bool:
    if isinstance(user, int):
        return user == uid
    try:
        return pwd.getpwuid(uid).pw_name == user
    except KeyError:
        return False
