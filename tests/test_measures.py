"""What is measured of memory and disk, and the highest of it for a while."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsd.measures import Peak, disk_of, history_size, memory_of


def test_memory_is_what_the_kernel_says_is_resident() -> None:
    block = bytearray(os.urandom(1 << 20) * 40)
    with_block = memory_of(os.getpid())
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    assert with_block is not None
    assert with_block > len(block)
    assert with_block == pytest.approx(int(line.split()[1]) * 1024, rel=0.05)


def test_a_process_that_has_gone_has_no_memory() -> None:
    with subprocess.Popen([sys.executable, "-S", "-c", ""]) as child:
        pass
    assert memory_of(child.pid) is None


def test_the_history_is_all_its_segments_and_nothing_beside_them(tmp_path: Path) -> None:
    assert history_size(tmp_path) == 0
    history = tmp_path / "history"
    history.mkdir()
    (history / "2026-11-20.jsonl.gz").write_bytes(b"x" * 100)
    (history / "2026-11-21.jsonl").write_bytes(b"x" * 2000)
    (tmp_path / "stsd.log").write_bytes(b"x" * 30_000)
    assert history_size(tmp_path) == 2100


def test_the_disk_is_that_of_the_folder(tmp_path: Path) -> None:
    disk = disk_of(tmp_path)
    total = subprocess.run(
        ["df", "--block-size=1", "--output=size", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout.split()[-1]
    assert disk.size == int(total)
    assert 0 <= disk.free <= disk.size
    with pytest.raises(OSError, match="No such file"):
        disk_of(tmp_path / "nowhere")


def test_the_highest_is_forgotten_when_its_time_is_up() -> None:
    peak = Peak(60.0)
    assert peak.value(0.0) is None
    peak.add(3.0, 0.0)
    peak.add(1.0, 30.0)
    assert peak.value(60.0) == 3.0
    assert peak.value(60.1) == 1.0
    assert peak.value(90.1) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=1))
def test_the_highest_is_that_of_all_that_are_young_enough(steps: list[tuple[int, int]]) -> None:
    peak, now = Peak(30.0), 0
    measured: list[tuple[int, int]] = []
    for wait, value in steps:
        now += wait
        measured.append((now, value))
        peak.add(value, now)
        assert peak.value(now) == max(value for at, value in measured if at >= now - 30)
