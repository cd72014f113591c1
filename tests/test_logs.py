"""The structured log, for programs and for eyes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest

from stsd.logs import Sink, level_from, open_log

RECORD = {
    "job": "backup",
    "run": "backup@20261121T023000Z",
    "scheduled": "2026-11-21T02:30:00Z",
    "attempt": 1,
    "outcome": "failed",
    "exit_code": 2,
    "duration_s": 3.2,
    "output": "output/backup/x.log",
    "will_retry_at": "2026-11-21T02:30:13.200Z",
    "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
    "span": "00f067aa0ba902b7",
}


def logged(pretty: bool, level: str = "info", colours: bool = False) -> str:
    stream = io.StringIO()
    log = open_log(Sink(stream=stream), level, pretty=pretty, colours=colours)
    log.debug("quiet")
    log.warning("finished", **RECORD)
    return stream.getvalue()


def test_a_line_is_a_json_object_with_everything_in_it() -> None:
    line = json.loads(logged(pretty=False))
    assert list(line)[:3] == ["timestamp", "level", "event"]
    assert line | RECORD == line


def test_on_a_terminal_a_line_fits_and_tells_what_matters() -> None:
    line = logged(pretty=True)
    assert len(line) < 110
    words = ["finished", "job=backup", "outcome=failed", "exit_code=2", "will_retry_at=02:30:13"]
    for word in words:
        assert word in line
    assert "run=" not in line


def test_colours_only_where_they_are_asked_for() -> None:
    assert "\x1b[" in logged(pretty=True, colours=True)
    assert "\x1b[" not in logged(pretty=True)


def test_what_is_below_the_level_is_not_told() -> None:
    assert logged(pretty=False, level="error") == ""
    assert "quiet" in logged(pretty=False, level="debug")


@pytest.mark.parametrize(
    ("option", "environ", "level"),
    [
        ("debug", {"STSD_LOG_LEVEL": "error"}, "debug"),
        (None, {"STSD_LOG_LEVEL": "ERROR", "LOG_LEVEL": "debug"}, "error"),
        (None, {"LOG_LEVEL": "warning"}, "warning"),
        (None, {"LOG_LEVEL": "chatty"}, "info"),
        (None, {}, "info"),
    ],
)
def test_the_level_is_the_first_one_named(
    option: str | None, environ: dict[str, str], level: str
) -> None:
    assert level_from(option, environ) == level


def test_a_reader_that_has_gone_away_does_not_end_the_daemon() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    sink = Sink(stream=os.fdopen(writer, "w"))
    log = open_log(sink, "info", pretty=False, colours=False)
    log.info("nobody listens")
    log.info("still nobody")
    assert sink.descriptors() == ()


def test_after_a_rotation_the_file_is_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "log" / "stsd.log"
    sink = Sink(path=path)
    sink.write("one\n")
    path.rename(tmp_path / "log" / "stsd.log.1")
    sink.reopen()
    sink.write("two\n")
    assert path.read_text() == "two\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_control_characters_cannot_give_orders_to_a_terminal() -> None:
    stream = io.StringIO()
    log = open_log(Sink(stream=stream), "info", pretty=True, colours=False)
    log.info("event", problem="\x1b[2J\n")
    assert "\x1b" not in stream.getvalue()
