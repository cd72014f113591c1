"""The daemon is killed: at random, and at each thing that it writes."""

from __future__ import annotations

import random
import time

import pytest

from tests.faults.ledger import Record, faults_of, instant, witnessed
from tests.faults.support import Box, needs_strace, pause, traced
from tests.support import wait_for

KILLS = 200
WRITES = "write,pwrite64,fdatasync,fsync,rename,ftruncate"


def busy_jobs(box: Box) -> str:
    """Two dozen jobs that are due every second, of all overlap policies; some are slow, some fail
    and are tried again."""
    jobs = ["max_running = 32\n"]
    retry = '{ max = 2, delay = "0.2s" }'
    for n in range(6):
        for policy in ("skip", "queue", "allow", "replace"):
            then = "sleep 1.6" if n == 0 else f"test $STSD_ATTEMPT -gt {n % 3}"
            jobs.append(box.job(f"{policy}{n}", then, overlap=f'"{policy}"', retry=retry))
    jobs.append(box.job("minutely", every="0", cron='"* * * * *"').replace("every = 0\n", ""))
    jobs.append(box.job("all", catch_up='"all"'))
    jobs.append(box.job("none", catch_up='"none"'))
    return "".join(jobs)


@pytest.mark.slow
def test_g1_two_hundred_kills_under_load_start_nothing_twice_and_lose_nothing(box: Box) -> None:
    chance = random.Random(4)
    box.write(busy_jobs(box))
    for number in range(KILLS):
        size = history_size(box)
        box.launch(options=("--log-level", "error"))
        if number % 4:
            wait_for(lambda size=size: history_size(box) > size, "a record")
        pause(chance.uniform(0, 0.3))
        box.crash()
    assert len(witnessed(box.witness)) > 5 * KILLS
    assert sum(r["event"] == "daemon" for r in box.records_now()) > KILLS // 2
    box.assert_balanced()


def history_size(box: Box) -> int:
    return sum(path.stat().st_size for path in box.history_dir.glob("*.jsonl"))


@needs_strace
@pytest.mark.slow
def test_g4_a_kill_at_each_write_leaves_books_that_balance(box: Box) -> None:
    jobs = [box.job(f"j{n}") for n in range(3)]
    box.write("".join([*jobs, box.job("again", "false", retry='{ max = 9, delay = "0.1s" }')]))
    killed = 0
    for number in range(1, 41):
        box.launch(
            *traced(f"trace={WRITES}", f"inject={WRITES}:signal=SIGKILL:when={number}"),
            options=("--log-level", "error"),
        )
        assert box.process is not None
        killed += box.process.wait(20) == -9
        faults = faults_of(whole_records(box), box.witness)
        # What is caught up with waits behind a run until all its attempts are made, and later ones
        # are skipped meanwhile; the next daemon catches up with it, or records it as missed.
        waits = [f"again: nothing accounts for {at}" for at in demanded_after_last_run(box)]
        allowed = [fault for fault in faults if fault in waits][:1]
        assert faults == allowed, f"killed at write {number}"
    assert killed == 40
    box.assert_balanced()


def demanded_after_last_run(box: Box) -> range:
    """The seconds since the one for which the job `again` has run last, up to now."""
    runs = [r for r in whole_records(box) if r["event"] == "intent" and r["job"] == "again"]
    return range(instant(runs[-1]["scheduled"]) + 1, int(time.time()) + 1) if runs else range(0)


def whole_records(box: Box) -> list[Record]:
    return box.records_now() if box.history_dir.exists() else []
