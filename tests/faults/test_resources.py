"""Processes and descriptors run out; and ten thousand runs leave nothing behind."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from tests.faults.support import Box, injected, needs_strace
from tests.support import wait_for

FORKS = "vfork,fork,clone,clone3"


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.slow
@needs_strace
def test_a_fork_that_fails_is_told_and_tried_again_as_the_job_has_it(box: Box) -> None:
    retry = '{ max = 9, delay = "0.5s" }'
    box.write(box.job("plain") + box.job("again", overlap='"queue"', retry=retry))
    box.start()
    box.wait_for_count("finished", 2)
    with injected(box.pid, f"{FORKS}:error=EAGAIN"):
        failed = lambda job: [  # noqa: E731
            r for r in box.records("finished", job) if r["outcome"] == "spawn_failed"
        ]
        wait_for(lambda: failed("plain") and failed("again"), "failing forks")
    told = failed("plain")[0]
    assert "temporarily unavailable" in told["error"]
    assert (told["started"], told["exit_code"]) == (None, None)
    again = failed("again")[0]
    assert again["will_retry_at"]
    wait_for(
        lambda: any(
            r["run"] == again["run"] and r["outcome"] == "succeeded"
            for r in box.records("finished", "again")
        ),
        "the attempt that succeeds",
    )
    box.assert_balanced()


@pytest.mark.slow
def test_few_descriptors_fail_runs_and_never_the_daemon(box: Box) -> None:
    box.write("".join(box.job(f"j{n}", "sleep 0.3") for n in range(6)))
    box.start()
    box.wait_for_count("finished", 6)
    hard = resource.prlimit(box.pid, resource.RLIMIT_NOFILE)[1]
    idle = descriptors(box.pid)
    for spare in range(8):
        resource.prlimit(box.pid, resource.RLIMIT_NOFILE, (idle + spare, hard))
        box.wait_for_count("finished", box.count("finished") + 8)
        assert box.process is not None
        assert box.process.poll() is None, box.log.read_text()[-2000:]
    failed = [r for r in box.records("finished") if r["outcome"] == "spawn_failed"]
    assert failed
    assert all("Too many open files" in r["error"] for r in failed), failed
    resource.prlimit(box.pid, resource.RLIMIT_NOFILE, (hard, hard))
    before = box.count("started")
    box.wait_for_count("started", before + 6)
    box.assert_balanced()


@pytest.mark.slow
def test_g15_ten_thousand_instant_runs_leave_no_zombie_no_descriptor_and_no_memory(
    box: Box,
) -> None:
    jobs = "".join(f'[jobs.j{n}]\ncommand = ["true"]\nevery = "1s"\n' for n in range(300))
    box.write(f"max_running = 32\n{jobs}")
    box.launch(options=("--log-level", "error"))
    wait_for(lambda: ends(box) > 1500, "a start", 60)
    before, memory = descriptors(box.pid), resident(box.pid)
    wait_for(lambda: ends(box) > 10_000, "ten thousand runs", 120)
    assert descriptors(box.pid) <= before + 32 * 2
    assert resident(box.pid) < memory * 1.2 + (4 << 20)
    children = Path(f"/proc/{box.pid}/task/{box.pid}/children").read_text().split()
    zombies = [pid for pid in children if state(pid) == "Z"]
    wait_for(lambda: not any(state(pid) == "Z" for pid in zombies), "zombies to be reaped")
    box.write("")
    box.assert_balanced()


def ends(box: Box) -> int:
    return sum(p.read_bytes().count(b'"event":"finished"') for p in box.history_dir.glob("*.jsonl"))


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def state(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
