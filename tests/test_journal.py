"""Entries for systemd's journal, heard on a real datagram socket."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from stsd.journal import HELD_BYTES, LONGEST_VALUE, Journal, entry, leads_to_journal
from stsd.logs import open_journal

RECORD = {
    "job": "backup",
    "run": "backup@20261121T023000Z",
    "scheduled": "2026-11-21T02:30:00Z",
    "attempt": 1,
    "outcome": "failed",
    "exit_code": 2,
    "error": "no = sign, two words",
}


def parsed(data: bytes) -> dict[str, str]:
    """What journald makes of a datagram, by the protocol's own description."""
    fields: dict[str, str] = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            length = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + length], data[8 + length + 1 :]
        fields[name.decode()] = value.decode()
    return fields


@dataclass
class Journald:
    """The other end of the line."""

    address: str
    line: socket.socket

    def heard(self) -> dict[str, str]:
        """The fields of the next entry; BlockingIOError when there is none."""
        return parsed(self.line.recv(1 << 20))

    def drained(self) -> list[dict[str, str]]:
        """All entries that have arrived."""
        entries = []
        try:
            while True:
                entries.append(self.heard())
        except BlockingIOError:
            return entries


def listen(address: str) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    line.bind(address)
    line.setblocking(False)
    return line


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    address = str(tmp_path / "socket")
    with listen(address) as line:
        yield Journald(address, line)


def test_an_entry_has_a_message_to_read_and_a_field_for_each_thing_known(
    journald: Journald,
) -> None:
    open_journal(Journal(journald.address), "info").warning("finished", **RECORD)
    heard = journald.heard()
    assert heard["MESSAGE"] == (
        'finished job=backup outcome=failed exit_code=2 error="no = sign, two words"'
    )
    assert (heard["PRIORITY"], heard["SYSLOG_IDENTIFIER"]) == ("4", "stsd")
    assert {f"STSD_{key.upper()}": str(value) for key, value in RECORD.items()}.items() <= (
        heard.items()
    )


def test_what_names_a_run_names_its_job_too(journald: Journald) -> None:
    open_journal(Journal(journald.address), "info").info("output", run="a@b@2026", line="hello")
    heard = journald.heard()
    assert (heard["STSD_JOB"], heard["STSD_RUN"]) == ("a@b", "a@b@2026")


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3")]
)
def test_a_level_is_a_priority(journald: Journald, level: str, priority: str) -> None:
    log = open_journal(Journal(journald.address), "debug")
    getattr(log, level)("event")
    assert journald.heard()["PRIORITY"] == priority


def test_what_is_below_the_level_is_not_sent(journald: Journald) -> None:
    open_journal(Journal(journald.address), "warning").info("event")
    assert journald.drained() == []


def test_a_crash_is_told_with_its_traceback_in_one_entry(journald: Journald) -> None:
    log = open_journal(Journal(journald.address), "info")
    try:
        int("a fault of stsd's own")
    except ValueError:
        log.exception("crashed")
    heard = journald.heard()
    assert heard["MESSAGE"].startswith("crashed\nTraceback")
    assert "ValueError: invalid literal" in heard["MESSAGE"]
    assert heard["PRIORITY"] == "3"


def test_a_line_break_in_a_value_cannot_become_a_field() -> None:
    heard = parsed(entry({"MESSAGE": "a\nPRIORITY=0\n", "STSD_X": "y"}) + b"\n")
    assert heard == {"MESSAGE": "a\nPRIORITY=0\n", "STSD_X": "y"}


def test_values_that_are_long_or_no_text_are_cut_and_sent(journald: Journald) -> None:
    log = open_journal(Journal(journald.address), "info")
    log.info("event", line="\udcff" + "x" * (1 << 20))
    assert len(journald.heard()["STSD_LINE"]) == LONGEST_VALUE


def test_what_journald_cannot_take_yet_is_sent_when_it_can(journald: Journald) -> None:
    journal = Journal(journald.address)
    log = open_journal(journal, "info")
    began = time.monotonic()
    for number in range(2000):  # more than any queue of datagrams holds
        log.info("event", number=number)
    assert time.monotonic() - began < 5  # nothing has waited
    entries = []
    while arrived := journald.drained():
        entries += arrived
        journal.flush()
    assert [int(heard["STSD_NUMBER"]) for heard in entries] == list(range(2000))


def test_journald_may_be_away_for_a_while(journald: Journald) -> None:
    os.unlink(journald.address)
    journal = Journal(journald.address)
    log = open_journal(journal, "info")
    log.info("one")
    with listen(journald.address) as line:
        log.info("two")
        assert [parsed(line.recv(10_000))["MESSAGE"] for _ in range(2)] == ["one", "two"]


def test_lines_beyond_what_is_held_back_are_counted_and_told(journald: Journald) -> None:
    os.unlink(journald.address)
    journal = Journal(journald.address)
    line = entry({"MESSAGE": "x" * (LONGEST_VALUE - 100)}) + b"\n"
    kept = HELD_BYTES // len(line)
    for _ in range(kept + 3):
        journal.write(line)
    with listen(journald.address) as end:
        again = Journald(journald.address, end)
        told = []
        journal.flush()
        while arrived := again.drained():
            told += arrived
            journal.flush()
        assert len(told) == kept
        journal.write(b"MESSAGE=next\n")
        journal.flush()
        told = again.drained()
    assert [heard["MESSAGE"] for heard in told] == ["log_lines_lost count=3", "next"]


def test_an_entry_that_can_never_be_sent_is_lost_and_holds_up_no_other(
    journald: Journald,
) -> None:
    journal = Journal(journald.address)
    journal.write(b"MESSAGE=" + b"x" * (2 << 20) + b"\n")  # more than a datagram holds
    journal.flush()
    journal.write(b"MESSAGE=next\n")
    journal.flush()
    heard = [heard["MESSAGE"] for heard in journald.drained()]
    assert heard == ["log_lines_lost count=1", "next"]


def test_last_words_wait_for_journald_no_longer_than_they_may(journald: Journald) -> None:
    os.unlink(journald.address)
    journal = Journal(journald.address)
    journal.write(b"MESSAGE=last\n")
    began = time.monotonic()
    journal.flush(patience=0.2)
    assert 0.2 <= time.monotonic() - began < 2


def test_the_journal_is_known_by_the_device_and_inode_of_the_stream(
    journald: Journald, tmp_path: Path
) -> None:
    with open(tmp_path / "out", "w") as stream:
        status = os.fstat(stream.fileno())
        ours = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert leads_to_journal(stream, ours, journald.address)
        assert not leads_to_journal(stream, {"JOURNAL_STREAM": "8:1"}, journald.address)
        assert not leads_to_journal(stream, {}, journald.address)
        assert not leads_to_journal(stream, ours, str(tmp_path / "nobody"))
    assert not leads_to_journal(stream, ours, journald.address)
