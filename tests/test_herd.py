"""Ten thousand jobs that are due in one minute, each a real process."""

from __future__ import annotations

import heapq
import os
import time
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path

import pytest

from tests.faults.ledger import Record, instant
from tests.faults.support import Box
from tests.support import wait_for

JOBS = 10_000
RUNNING = 32
PRIORITIES = 5
WAVES_S = (0, 1, 2)
"""When they are due, in seconds: the later ones while the queue of the first is long."""
UNTIL_DUE_S = 12.0
KNOWN_AFTER_S = 1.0
MOST_GROWTH = 400
"""Bytes for each job, of what is remembered of its last run."""
SLACK = 1 << 20
"""Bytes that a process grows by whatever it does."""


def wave_of(number: int) -> int:
    return number % len(WAVES_S)


def priority_of(number: int) -> int:
    return number // len(WAVES_S) % PRIORITIES


def jobs(first: int) -> str:
    """The tables of a jobfile, once a day, the first wave at this time."""
    tables = []
    for number in range(JOBS):
        due = datetime.fromtimestamp(first + WAVES_S[wave_of(number)], UTC)
        tables.append(
            f'[jobs.j{number}]\ncommand = ["/bin/true"]\nevery = "1d"\n'
            f"anchor = {due:%Y-%m-%dT%H:%M:%SZ}\npriority = {priority_of(number)}\n"
        )
    return f"max_running = {RUNNING}\n" + "".join(tables)


@dataclass(frozen=True)
class Seen:
    """What a daemon has open and in memory, when so many of its runs have ended."""

    at: float
    ended: int
    descriptors: int
    resident: int


class Watch:
    """Looks at a daemon as often as it is asked."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._read = self._ended = 0
        self.seen: list[Seen] = []

    def all_have_ended(self) -> bool:
        for segment in self._box.history_dir.glob("*.jsonl"):
            with segment.open("rb") as file:
                file.seek(self._read)
                text = file.read()
            self._read += len(text)
            self._ended += text.count(b'"event":"finished"')
        folder = Path(f"/proc/{self._box.pid}")
        resident = int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        now = Seen(time.time(), self._ended, len(os.listdir(folder / "fd")), resident)
        self.seen.append(now)
        return now.ended >= JOBS


def place(run: Record) -> tuple[int, int]:
    """The lowest goes first. To wait for a minute weighs less than one step of priority."""
    return -priority_of(int(run["job"].removeprefix("j"))), instant(run["scheduled"])


def out_of_turn(started: list[Record]) -> list[str]:
    """The runs that were started while another one that should go first had been due for long
    enough to be known."""
    coming = deque(sorted(started, key=lambda run: instant(run["scheduled"])))
    waiting: list[tuple[tuple[int, int], str]] = []
    gone: set[str] = set()
    found = []
    for run in started:
        at = datetime.fromisoformat(run["at"]).timestamp()
        while coming and instant(coming[0]["scheduled"]) <= at - KNOWN_AFTER_S:
            known = coming.popleft()
            heapq.heappush(waiting, (place(known), known["run"]))
        gone.add(run["run"])
        while waiting and waiting[0][1] in gone:
            heapq.heappop(waiting)
        if waiting and waiting[0][0] < place(run):
            found.append(f"{run['run']} went before {waiting[0][1]}")
    return found


def most_at_once(records: list[Record]) -> int:
    steps = {"started": 1, "finished": -1}
    return max(accumulate(steps.get(record["event"], 0) for record in records))


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
def test_ten_thousand_jobs_of_one_minute_run_in_order_and_cost_no_more_for_it(
    tmp_path: Path,
) -> None:
    box = Box(tmp_path)
    first = int(time.time() + UNTIL_DUE_S)
    box.write(jobs(first))
    with box:
        idle = len(os.listdir(f"/proc/{box.pid}/fd"))
        assert time.time() < first, "the machine is too slow to have started by now"
        watch = Watch(box)
        wait_for(watch.all_have_ended, "the end of all runs", 240.0)
        assert box.stop() == 0

    records = box.records_now()
    finished = [record for record in records if record["event"] == "finished"]
    assert Counter(record["outcome"] for record in finished) == {"succeeded": JOBS}
    assert len({record["run"] for record in finished}) == JOBS
    assert most_at_once(records) == RUNNING
    started = [record for record in records if record["event"] == "started"]
    assert max(record["late_s"] for record in started) > KNOWN_AFTER_S  # there was a queue
    assert out_of_turn(started) == []
    audit = box.run("audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr

    # A run has a pidfd and a pipe; the scribe's link comes with the first of them.
    assert max(seen.descriptors for seen in watch.seen) <= idle + 2 * RUNNING + 8
    warm = [seen for seen in watch.seen if seen.at > first + WAVES_S[-1] + 1]
    assert warm[0].ended < JOBS * 0.8, "too fast to see anything grow"
    growth = max(seen.resident for seen in warm) - warm[0].resident
    assert growth <= MOST_GROWTH * (JOBS - warm[0].ended) + SLACK
