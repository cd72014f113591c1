"""STATE_DIR/herald.db: what the herald knows, in one SQLite database, safe from crashes and power
cuts once it is committed.

Keeps JSON values by room and key, and how far the history has been read; knows nothing of what they
mean. Whatever is wrong with the file or the disk, it goes on: from memory, or from nothing.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stsd.errors import StsdError
from stsd.history import sync_folder
from stsd.units import compact

VERSION = 1
NAME = "herald.db"

_CURSOR = ("", "cursor")
_BUSY_S = 10.0
"""A herald whose daemon has gone ends within that time."""
_SIDE_FILES = ("", "-wal", "-journal")
_PUT_ASIDE = 3
"""How many damaged databases are left for a look at them."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
# One fsync for each commit, before it returns; no file beside it but the journal; little memory.
_SETTINGS = """
    PRAGMA locking_mode = EXCLUSIVE;
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA journal_size_limit = 4194304;
    PRAGMA cache_size = -1024;
"""
_SCHEMA = """
    BEGIN IMMEDIATE;
    CREATE TABLE kept (
        room TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (room, key)
    ) WITHOUT ROWID;
    PRAGMA user_version = 1;
    COMMIT;
"""
_ENCODER = json.JSONEncoder(ensure_ascii=True, allow_nan=False, separators=(",", ":"))

Rooms = Mapping[str, Mapping[str, Any]]
"""JSON values by room and key; None: the key is to be forgotten. A room has a name."""
_Row = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Found:
    """What is in the database: `cursor` is None, and there are no rooms, where it is a new one.
    `warning` says, for people, what had to be put aside."""

    cursor: Any = None
    rooms: Rooms = field(default_factory=dict)
    warning: str = ""


class _UnfitError(Exception):
    """A database that cannot be gone on with; the text says why."""


class Outbox:
    """The database of one state folder; nobody else can have it open."""

    def __init__(self, state_dir: Path, now: float) -> None:
        """`now` names the file that a damaged database, or one of a newer stsd, is put aside as."""
        self._path = state_dir / NAME
        self._now = now
        self._database: _Database | None = None
        self._pending: dict[_Row, str | None] = {}
        self._cursor = "null"
        self._lost = True
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why what was committed last is in memory only; empty: it is on the disk."""
        return self._problem

    def load(self) -> Found:
        """All there is. To be called once, first. Raises StsdError if another process has it
        open; a disk that fails is a `problem` only."""
        warning = ""
        try:
            try:
                rows = self._open(_BUSY_S).rows()
            except _UnfitError as unfit:
                warning = self._put_aside(str(unfit))
                rows = self._open(_BUSY_S).rows()
        except (sqlite3.Error, OSError) as error:
            self.close()
            if _code(error) == sqlite3.SQLITE_BUSY:
                raise StsdError(f"another process has {self._path} open") from error
            self._problem = str(error)
            rows = _read_only(self._path)
        else:
            self._lost = False
        cursor = rows.pop(_CURSOR, None)
        self._cursor = _ENCODER.encode(cursor)
        rooms: dict[str, dict[str, Any]] = {}
        for (room, key), value in rows.items():
            rooms.setdefault(room, {})[key] = value
        return Found(cursor, rooms, warning)

    def commit(self, cursor: Any, changed: Rooms, whole: Callable[[], Rooms], now: float) -> str:
        """Keep what a turn has changed, all of it or nothing. What the disk does not take is kept
        in memory and joins the next call, which may be one without news; see `problem`. `whole` is
        asked for everything when the database was lost since the last time. Returns a warning, for
        people, where one was, else nothing."""
        self._now = now
        self._note(cursor, changed)
        if not self._pending and not self._lost:
            return ""
        try:
            warning = self._keep(whole)
        except (sqlite3.Error, OSError) as error:
            self.close()  # what has failed once is not trusted
            self._problem = str(error)
            return ""
        self._pending.clear()
        self._problem = ""
        return warning

    def close(self) -> None:
        """Let go of the database."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _note(self, cursor: Any, changed: Rooms) -> None:
        for room, values in changed.items():
            for key, value in values.items():
                self._pending[room, key] = None if value is None else _ENCODER.encode(value)
        text = _ENCODER.encode(cursor)
        if text != self._cursor:
            self._pending[_CURSOR] = self._cursor = text

    def _keep(self, whole: Callable[[], Rooms]) -> str:
        """Write what is pending; everything, if what was written before is gone. Returns a warning
        or nothing."""
        warning = ""
        if self._database is not None and self._database.is_displaced():
            self._let_go()
            warning = f"{self._path} was taken away, and is written anew"
        try:
            self._write(whole)
        except _UnfitError as unfit:
            warning = self._put_aside(str(unfit))
            self._write(whole)
        return warning

    def _write(self, whole: Callable[[], Rooms]) -> None:
        database = self._database or self._open()
        if self._problem:
            database.trust_again()
        if self._lost:
            self._pending = {_CURSOR: self._cursor}
            self._note(json.loads(self._cursor), whole())
        database.write(self._pending, anew=self._lost)
        self._lost = False

    def _open(self, patience: float = 0.0) -> _Database:
        self._database = _Database(self._path, patience)
        return self._database

    def _let_go(self) -> None:
        self.close()
        self._lost = True

    def _put_aside(self, why: str) -> str:
        """Rename what cannot be gone on with, for a look at it; returns a warning. Raises
        OSError."""
        self._let_go()
        aside = f"{NAME}.damaged-{compact(int(self._now))}"
        for suffix in _SIDE_FILES:
            with suppress(FileNotFoundError):
                os.rename(f"{self._path}{suffix}", self._path.with_name(f"{aside}{suffix}"))
        for old in _older(self._path.parent):
            old.unlink(missing_ok=True)
        sync_folder(self._path.parent)
        return f"{self._path} {why}; it is now {aside}, and a new one has been begun"


class _Database:
    """An open database. Whatever it is asked for raises sqlite3.Error, OSError, or _UnfitError."""

    def __init__(self, path: Path, patience: float) -> None:
        """Open it, or begin a new one; wait so many seconds for another process to close it."""
        self._path = path
        self._identity = _prepared(path)
        self._connection = sqlite3.connect(path, timeout=patience, isolation_level=None)
        self._connection.text_factory = bytes  # what is damaged may be no text
        try:
            with _judged():
                self._connection.executescript(_SETTINGS)
                if not _version(self._connection):
                    self._connection.executescript(_SCHEMA)
        except (sqlite3.Error, _UnfitError):
            self.close()
            raise

    def rows(self) -> dict[_Row, Any]:
        """Everything that is kept."""
        with _judged():
            return _rows(self._connection)

    def write(self, rows: Mapping[_Row, str | None], *, anew: bool) -> None:
        """Change these rows, None: remove it, all of them or none; with `anew`, there are no
        others."""
        with _judged():
            self._connection.execute("BEGIN IMMEDIATE")
            if anew:
                self._connection.execute("DELETE FROM kept")
            gone = (row for row, value in rows.items() if value is None)
            kept = ((*row, value) for row, value in rows.items() if value is not None)
            self._connection.executemany("DELETE FROM kept WHERE room = ? AND key = ?", gone)
            self._connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?, ?)", kept)
            self._connection.execute("COMMIT")

    def trust_again(self) -> None:
        """After an error: begin the journal anew. A sync that failed may have left pages of it in
        memory that will never reach the disk, and what is written behind them would be lost with
        them."""
        with _judged():
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def is_displaced(self) -> bool:
        """Whether somebody has removed or replaced the file."""
        try:
            status = os.stat(self._path, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return (status.st_dev, status.st_ino) != self._identity

    def close(self) -> None:
        """Without a word: all that counts has been committed."""
        with suppress(sqlite3.Error):
            self._connection.close()


def _prepared(path: Path) -> tuple[int, int]:
    """Device and inode of the file, which only its owner may read; made if there is none. Not to be
    called while this process has it open: that would end its lock (fcntl(2))."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o600)
    try:
        os.fchmod(fd, 0o600)
        status = os.fstat(fd)
    finally:
        os.close(fd)
    return status.st_dev, status.st_ino


def _read_only(path: Path) -> dict[_Row, Any]:
    """What is in a database that cannot be written to, as it was some commits ago: enough not to
    begin from nothing."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.text_factory = bytes
            with _judged():
                return _rows(connection) if _version(connection) else {}
    except (sqlite3.Error, _UnfitError):  # what is wrong has been said
        return {}


def _rows(connection: sqlite3.Connection) -> dict[_Row, Any]:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != b"ok":
        raise _UnfitError(f"is damaged: {found.decode(errors='replace')}")
    try:
        return {
            (room.decode(), key.decode()): json.loads(value)
            for room, key, value in connection.execute("SELECT room, key, value FROM kept")
        }
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise _UnfitError(f"is damaged: {error}") from error


def _version(connection: sqlite3.Connection) -> int:
    """The version of the schema; 0: there is none yet."""
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version > VERSION:
        raise _UnfitError(f"is of a newer stsd (version {version}, this one knows {VERSION})")
    if not version and connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        raise _UnfitError("is no database of stsd's")
    return version


@contextmanager
def _judged() -> Iterator[None]:
    """Tells a database that is unfit, whatever the disk does, from one that cannot be used now."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if _code(error) not in _DAMAGED:
            raise
        raise _UnfitError(f"is damaged: {error}") from error


def _code(error: Exception) -> int | None:
    """The primary result code (https://www.sqlite.org/rescode.html)."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _older(state_dir: Path) -> list[Path]:
    """What has been put aside earlier, and is not among the last."""
    found = sorted(state_dir.glob(f"{NAME}.damaged-*Z"))
    return [Path(f"{path}{suffix}") for path in found[:-_PUT_ASIDE] for suffix in _SIDE_FILES]
