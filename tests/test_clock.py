"""What the real daemon makes of a clock that does not go on as it should: stsd stopped for a
while, the clock set forward (as a resume from sleep does), the clock set back."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from stsd.units import rfc3339
from tests import support
from tests.support import Stsd, wait_for

pytestmark = pytest.mark.slow

NOTICED_WITHIN_S = 5.0
EVERY_SECOND = '[jobs.tick]\ncommand = ["true"]\nevery = "1s"\n'

# The real daemon, but for its wall clock, which goes wrong by the seconds that a file says.
SHIFTED = """
import sys
from pathlib import Path
from stsd import daemon
from stsd.cli import main
from stsd.model import Reading

read, shift = daemon.read_clock, Path(sys.argv.pop(1))

def read_shifted():
    now = read()
    return Reading(now.wall + float(shift.read_text()), now.mono)

daemon.read_clock = read_shifted
sys.exit(main())
"""


class Clock:
    """The daemon's wall clock, which one can set."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.set(0)

    def set(self, seconds: float) -> None:
        """Let it be wrong by so much from now on."""
        fresh = self.file.with_suffix(".new")
        fresh.write_text(str(seconds))
        os.replace(fresh, self.file)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock(tmp_path / "shift")
    monkeypatch.setattr(support, "STSD", [sys.executable, "-c", SHIFTED, str(clock.file)])
    return clock


def noticed(stsd: Stsd, event: str) -> dict[str, Any]:
    """The log line, which has to be there within five seconds from now."""
    return wait_for(lambda: stsd.events(event), event, NOTICED_WITHIN_S)[0]


def instant(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def accounted(stsd: Stsd, job: str, period: int) -> Counter[int]:
    """How often each scheduled instant is in the books, as started, skipped or missed."""
    books = Counter(instant(r["scheduled"]) for r in stsd.records("started", job))
    books.update(instant(r["scheduled"]) for r in stsd.records("skipped", job))
    for record in stsd.records("missed", job):
        span = range(instant(record["first"]), instant(record["last"]) + 1, period)
        assert len(span) == record["count"]
        books.update(span)
    return books


def whole(books: Counter[int], period: int) -> Counter[int]:
    """Books in which each instant from the first to the last stands once."""
    return Counter(range(min(books), max(books) + 1, period))


@pytest.mark.slow
def test_after_a_stop_what_came_due_is_missed_in_one_record_and_nothing_is_lost(
    stsd: Stsd,
) -> None:
    stsd.write(EVERY_SECOND)
    stsd.start()
    stsd.wait_for_record("started", "tick", 2)
    stsd.signal(signal.SIGSTOP)
    time.sleep(8)
    before = len(stsd.records("started", "tick"))
    stsd.signal(signal.SIGCONT)
    noticed(stsd, "missed")
    stsd.wait_for_record("started", "tick", before + 4)
    assert stsd.stop() == 0

    [missed] = stsd.records("missed", "tick")
    assert missed["reason"] == "slept"
    assert missed["count"] >= 2
    late = [r for r in stsd.records("started", "tick") if r["late_s"] > NOTICED_WITHIN_S]
    assert len(late) <= 1
    books = accounted(stsd, "tick", 1)
    assert books == whole(books, 1)


def test_a_step_forward_is_noticed_and_what_it_passed_over_is_run_once(
    stsd: Stsd, clock: Clock
) -> None:
    anchor = rfc3339(int(time.time()) + 1790)
    stsd.write(
        f'[jobs.hourly]\ncommand = ["true"]\nevery = "1h"\nanchor = {anchor}\n'
        f'[jobs.often]\ncommand = ["true"]\nevery = "2m"\nanchor = {anchor}\n'
    )
    stsd.start()
    clock.set(1800)
    assert noticed(stsd, "clock_stepped")["step_s"] == pytest.approx(1800, abs=0.1)
    hourly = stsd.wait_for_record("finished", "hourly")
    often = stsd.wait_for_record("finished", "often")
    assert stsd.stop() == 0
    assert hourly["scheduled"] == often["scheduled"] == anchor
    assert stsd.records("missed", "hourly") == []
    [missed] = stsd.records("missed", "often")
    assert (missed["reason"], missed["count"]) == ("slept", 14)
    books = accounted(stsd, "often", 120)
    assert books == whole(books, 120)


def test_a_small_step_back_is_noticed_and_repeats_nothing(stsd: Stsd, clock: Clock) -> None:
    stsd.write(EVERY_SECOND)
    stsd.start()
    stsd.wait_for_record("started", "tick", 3)
    clock.set(-600)
    assert noticed(stsd, "clock_stepped")["step_s"] == pytest.approx(-600, abs=0.1)
    before = len(stsd.records("started", "tick"))
    clock.set(0)
    stsd.wait_for_record("started", "tick", before + 3)
    assert stsd.stop() == 0
    books = accounted(stsd, "tick", 1)
    assert books == whole(books, 1)


def test_a_large_step_back_is_noticed_and_the_schedule_follows_it(stsd: Stsd, clock: Clock) -> None:
    stsd.write(EVERY_SECOND)
    stsd.start()
    first = instant(stsd.wait_for_record("started", "tick")["scheduled"])
    clock.set(-86_400)
    noticed(stsd, "clock_rewound")
    wait_for(
        lambda: any(instant(r["scheduled"]) < first for r in stsd.records("started", "tick")),
        "a run by the new clock",
    )
    assert stsd.stop() == 0
    books = accounted(stsd, "tick", 1)
    assert set(books.values()) == {1}
