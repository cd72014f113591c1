"""The disk fails, is full, loses power; and what has to be on it before a job may start."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.ledger import faults_of, records_of, witnessed
from tests.faults.support import (
    Box,
    Disk,
    injected,
    needs_ext4,
    needs_strace,
    pause,
    traced,
)
from tests.support import wait_for

CALL = re.compile(r"^(\w+)\((?:\d+<([^>]*)>, ?)?(.*)$")


def letters_of(trace: Path) -> str:
    """The trace as one letter a call: I(ntent), O(ther record), S(ync of the history), V(fork)."""
    letters = []
    for line in trace.read_text().splitlines():
        if line.startswith(("vfork(", "clone(", "clone3(")):
            letters.append("V")
        elif ".jsonl>" not in line:
            continue
        elif line.startswith("fdatasync("):
            letters.append("S")
        elif line.startswith("write("):
            letters.append("I" if r"\"event\":\"intent\"" in line else "O")
    return "".join(letters)


@pytest.mark.slow
@needs_strace
def test_g3_one_fdatasync_for_all_intents_of_a_tick_precedes_every_start(box: Box) -> None:
    box.write("".join(box.job(f"j{n}") for n in range(5)))
    trace = box.folder / "trace"
    box.launch(*traced("trace=write,fdatasync,vfork,clone,clone3", output=trace))
    wait_for(lambda: box.count("finished") >= 15, "three seconds of runs")
    assert box.stop() == 0
    letters = letters_of(trace)
    assert letters.count("V") >= 15
    assert "I" in letters
    assert re.search("I[^S]*V", letters) is None, letters
    assert letters.count("IIIIISVVVVV") >= 2, letters
    box.assert_balanced()


# -- errors


@needs_strace
@pytest.mark.slow
def test_what_failed_while_the_disk_did_is_told_once_it_is_back(box: Box) -> None:
    told, go = box.folder / "told", box.folder / "go"
    box.write(
        box.job(
            "a",
            f"while [ ! -e {go} ]; do sleep 0.1; done; exit 3",
            every='"1h"',
            on_log_failure='"run"',
            notify=f"{{ on = ['failed'], to = {{ command = 'cat >> {told}' }} }}",
        )
    )
    box.start()
    assert box.run("trigger", "a").returncode == 0
    box.wait_for_count("started", 1)
    with injected(box.pid, "write:error=ENOSPC", *box.history_dir.glob("*.jsonl")):
        go.touch()
        box.wait_for_event("history_not_written")
    box.wait_for_event("history_written_again")
    wait_for(
        lambda: told.exists() and '"outcome": "failed"' in told.read_text(), "the failure", 60.0
    )


def held_and_free(box: Box) -> None:
    """Three jobs that are held while nothing can be recorded, and one that goes on."""
    held = "".join(box.job(f"held{n}") for n in range(3))
    box.write(held + box.job("free", on_log_failure='"run"'))


def runs_of(box: Box, job: str) -> int:
    return sum(run.startswith(f"{job}") for run, _ in witnessed(box.witness))


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize(
    ("call", "error"),
    [("write", "ENOSPC"), ("write", "EIO"), ("fdatasync", "ENOSPC"), ("fdatasync", "EIO")],
)
def test_g12_a_failing_disk_holds_jobs_until_it_takes_records_again(
    box: Box, call: str, error: str
) -> None:
    held_and_free(box)
    box.start()
    box.wait_for_count("finished", 4)
    segments = list(box.history_dir.glob("*.jsonl"))
    with injected(box.pid, f"{call}:error={error}", *segments):
        trouble = box.wait_for_event("history_not_written")
        assert trouble["level"] == "error"
        held = runs_of(box, "held")
        pause(2.2)
        assert runs_of(box, "held") == held
    box.wait_for_event("history_written_again")
    wait_for(lambda: runs_of(box, "held") > held + 3, "the jobs that were held")
    assert box.process is not None
    assert box.process.poll() is None
    box.assert_balanced()


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize(
    "overlap",
    [
        "allow",
        "skip",
    ],
)
def test_g12_a_job_that_may_run_unrecorded_goes_on_and_is_recorded_later(
    box: Box, overlap: str
) -> None:
    box.write(box.job("free", on_log_failure='"run"', overlap=f'"{overlap}"') + box.job("held"))
    box.start()
    box.wait_for_count("finished", 4)
    with injected(box.pid, "fdatasync:error=EIO"):
        box.wait_for_event("history_not_written")
        free = runs_of(box, "free")
        wait_for(lambda: runs_of(box, "free") >= free + 3, "runs meanwhile", 8)
    box.wait_for_event("history_written_again")
    box.assert_balanced()


@needs_strace
@pytest.mark.slow
def test_g12_an_error_now_and_then_costs_no_record(box: Box) -> None:
    held_and_free(box)
    box.launch(
        *traced(
            "trace=write,fdatasync",
            "inject=fdatasync:error=EIO:when=3+5",
        )
    )
    box.wait_for_event("history_written_again", 4)
    box.assert_balanced()


@needs_strace
@pytest.mark.slow
def test_g12_killed_while_the_disk_fails_it_starts_nothing_twice(box: Box) -> None:
    box.write("".join(box.job(f"held{n}") for n in range(3)))
    box.start()
    box.wait_for_count("finished", 3)
    for _ in range(3):
        with injected(box.pid, "fdatasync:error=EIO"):
            box.wait_for_event("history_not_written")
            pause(0.3)
            box.crash()
        box.log.unlink()
        box.start()
    box.wait_for_count("finished", 12)
    box.assert_balanced()


@needs_ext4
@pytest.mark.slow
def test_g12_a_full_file_system_of_16_mb_holds_jobs_and_lets_go_by_itself(
    box: Box, disk_of: Callable[[str], Disk]
) -> None:
    disk = disk_of("16M")
    box.where = disk.mountpoint
    held_and_free(box)
    box.start()
    box.wait_for_count("finished", 4)
    filler = disk.fill()
    box.wait_for_event("history_not_written")
    held = runs_of(box, "held")
    pause(7)  # what is due for less than five seconds is merely late
    assert runs_of(box, "held") == held
    assert records_of(box.history_dir)  # every line that is there is whole
    filler.unlink()
    box.wait_for_event("history_written_again")
    wait_for(lambda: runs_of(box, "held") > held + 3, "the jobs that were held")
    assert "held" in {r["reason"] for r in box.records("missed")}
    box.assert_balanced()


# -- power


@needs_ext4
@pytest.mark.slow
def test_g5_after_a_power_loss_no_run_is_without_its_intent_and_the_books_balance(
    box: Box, disk_of: Callable[[str], Disk]
) -> None:
    disk = disk_of("64M")
    box.where = disk.mountpoint
    retry = '{ max = 2, delay = "0.2s" }'
    jobs = [box.job(f"j{n}", f"test $STSD_ATTEMPT -gt {n % 3}", retry=retry) for n in range(8)]
    box.write("".join([*jobs, box.job("slow", "sleep 1.5", overlap='"queue"')]))
    for number in range(5):
        box.launch()
        wait_for(lambda least=20 * number: len(witnessed(box.witness)) > least, "runs")
        pause(0.4 + 0.3 * number)
        disk.cut_power()
        box.crash_all()
        disk.unmount()
        disk.mount()
        records = box.records_now()
        assert faults_of(records, box.witness) == []
    box.assert_balanced()
