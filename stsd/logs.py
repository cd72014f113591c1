"""The structured log: JSON lines, readable and coloured lines for a terminal, or entries of
systemd's journal with a field for each thing that is known.

What is logged is decided elsewhere; here it only gets its form and its way out.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

from stsd.journal import Journal, entry
from stsd.model import Outcome
from stsd.records import Begun, Finished, Intent, Missed, Planned, Record

LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


_ENCODER = json.JSONEncoder(ensure_ascii=True, default=repr)

# Their numbers in the journal, as syslog(3) has them.
_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3}
_DAEMON = 3

# Fields of records that are left out where a person reads along.
_IN_THE_HISTORY = frozenset(
    {
        "at",
        "born",
        "trace",
        "span",
        "by_hand",
        "cpu_s",
        "max_rss_bytes",
        "output",
        "output_bytes",
        "run",
        "scheduled",
        "started",
        "trigger",
    }
)
# What goes without saying there.
_USUAL = {"attempt": 1, "exit_code": 0, "output_discarded": 0}


class Sink:
    """Where log lines go: a stream, or a file that can be opened anew after a rotation."""

    def __init__(self, stream: TextIO | None = None, path: Path | None = None) -> None:
        self._path = path
        self._file = stream if path is None else _open(path)

    def write(self, text: str) -> None:
        """Write it out. A reader that has gone away must not end the daemon: from then on the
        lines have no reader, and are dropped."""
        if self._file is None:
            return
        try:
            self._file.write(text)
            self._file.flush()
        except BrokenPipeError:
            self._file = None

    def flush(self, patience: float = 0.0) -> None:
        """Nothing is held back, so there is nothing to be patient for."""

    def descriptors(self) -> tuple[int, ...]:
        """What must stay open when the process leaves its terminal."""
        return () if self._file is None else (self._file.fileno(),)

    def reopen(self) -> None:
        """Open the file by its name again; a stream stays what it is."""
        if self._path is not None:
            if self._file is not None:
                self._file.close()
            self._file = _open(self._path)


def open_log(sink: Sink, level: str, pretty: bool, colours: bool) -> FilteringBoundLogger:
    """A logger that writes to the sink what is at least of this level (a key of LEVELS)."""
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=10, sort_keys=False)
        if pretty
        else _as_json
    )
    stamp = structlog.processors.TimeStamper(
        fmt="%H:%M:%S" if pretty else "iso", utc=not pretty, key="timestamp"
    )
    last = [_in_reading_order, *([_for_a_glance] if pretty else []), renderer]
    return _logger(structlog.WriteLogger(cast(TextIO, sink)), level, stamp, last)


def open_journal(journal: Journal, level: str) -> FilteringBoundLogger:
    """A logger whose entries have a MESSAGE to read, and each field again as STSD_NAME."""
    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True, key="timestamp")
    return _logger(structlog.BytesLogger(cast(BinaryIO, journal)), level, stamp, [_as_entry])


def _logger(
    outlet: object, level: str, stamp: Processor, last: Sequence[Processor]
) -> FilteringBoundLogger:
    logger = structlog.wrap_logger(
        outlet,
        processors=[
            structlog.processors.add_log_level,
            stamp,
            structlog.processors.format_exc_info,
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        cache_logger_on_first_use=True,
    )
    return cast(FilteringBoundLogger, logger.bind())


def log_record(
    log: FilteringBoundLogger, record: Record, fields: Mapping[str, object] | None = None
) -> None:
    """Tell the log what the history is told, as loud as it is bad. `fields` are the record's, where
    they are at hand."""
    level = _level_of(record)
    if log.is_enabled_for(level):
        known = fields or record.fields()
        told = {name: value for name, value in known.items() if value is not None}
        log.log(level, str(told.pop("event")), **told)


def _level_of(record: Record) -> int:
    match record:
        case Intent() | Begun() | Planned():
            return logging.DEBUG
        case Missed():
            return logging.WARNING
        case Finished() if record.outcome is not Outcome.SUCCEEDED:
            return logging.WARNING
        case _:
            return logging.INFO


def level_from(option: str | None, environ: MutableMapping[str, str]) -> str:
    """The level that `--log-level`, $STSD_LOG_LEVEL or $LOG_LEVEL names, in this order.

    An unknown name in the environment counts as `info`: another program's LOG_LEVEL must not keep
    the daemon from starting.
    """
    named = option or environ.get("STSD_LOG_LEVEL") or environ.get("LOG_LEVEL") or "info"
    return named.lower() if named.lower() in LEVELS else "info"


def _as_json(_: object, __: str, event: MutableMapping[str, Any]) -> str:
    return _ENCODER.encode(event)


def _in_reading_order(
    _: object, __: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    head = {key: event.pop(key) for key in ("timestamp", "level", "event")}
    return {**head, **event}


def _for_a_glance(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What a person wants to see pass by; the whole of a record is in the history."""
    kept = {key: value for key, value in event.items() if key not in _IN_THE_HISTORY}
    for key, usual in _USUAL.items():
        if kept.get(key) == usual:
            del kept[key]
    retry_at = kept.get("will_retry_at")
    return kept | {"will_retry_at": retry_at[11:19]} if retry_at else kept


def _as_entry(_: object, __: str, event: MutableMapping[str, Any]) -> bytes:
    level = event.pop("level")
    if "run" in event:
        event.setdefault("job", event["run"].rpartition("@")[0])
    event = {name: value for name, value in event.items() if value is not None}
    known = {f"STSD_{name.upper()}": _word(value) for name, value in event.items()}
    return entry(
        {
            "MESSAGE": _sentence(dict(event)),
            "PRIORITY": _PRIORITIES[level],
            "SYSLOG_FACILITY": _DAEMON,
            "SYSLOG_IDENTIFIER": "stsd",
            **known,
        }
    )


def _sentence(event: MutableMapping[str, Any]) -> str:
    """`finished job=backup outcome=failed exit_code=2`, and below it how stsd crashed if it did."""
    name, trace = event.pop("event"), event.pop("exception", "")
    del event["timestamp"]
    pairs = (f"{key}={_quoted(value)}" for key, value in _for_a_glance(None, "", event).items())
    return " ".join([name, *pairs]) + (f"\n{trace}" if trace else "")


def _word(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _quoted(value: object) -> str:
    """As it is where that is one word, else between quotation marks."""
    plain = not isinstance(value, str) or (value.isprintable() and not set(' "=') & set(value))
    return _word(value) if plain and value != "" else json.dumps(value, ensure_ascii=False)


def _open(path: Path) -> TextIO:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8")
