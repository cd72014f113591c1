"""The bench beside peers: it measures, and tells it in a table. No figure is expected of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("gcc") is None, reason="needs gcc (apt-get install gcc libc6-dev)"
    ),
]


def bench(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    words = ["--build", str(folder / "build"), "--results", str(folder / "results"), *options]
    return subprocess.run(
        [sys.executable, REPOSITORY / "bench", *words], capture_output=True, text=True, timeout=120
    )


def test_stsd_and_the_c_loop_are_measured_side_by_side(tmp_path: Path) -> None:
    done = bench(
        tmp_path, "--quick", "--only", "lateness", "--peers", "stsd,loop", "--sizes", "1,20"
    )
    assert done.returncode == 0, done.stderr
    [figures] = (tmp_path / "results").glob("*.json")
    tables = json.loads(figures.read_text())["measures"]["lateness"]["tables"]
    assert [table["title"].split()[0] for table in tables] == ["1", "20"]
    for table in tables:
        assert set(table["rows"]) == {"stsd", "C loop"}, done.stderr
        for row in table["rows"].values():
            assert 0 < row["first"]["median"] <= row["median"]["median"] <= row["last"]["median"]
    assert "### 20 jobs due in the same second" in done.stdout
    assert figures.with_suffix(".md").read_text() in done.stdout


def test_what_one_daemon_alone_is_measured_by_yields_figures(tmp_path: Path) -> None:
    small = ("--held", "1,50", "--many", "50", "--idle-s", "1", "--reloads", "1", "--runs", "1500")
    done = bench(
        tmp_path, "--quick", "--peers", "stsd",
        "--only", "memory,idle,check,reload,endurance", *small,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [figures] = (tmp_path / "results").glob("*.json")
    told = json.loads(figures.read_text())
    for name, measure in told["measures"].items():
        assert measure["failed"] == {}, name
        assert all("stsd" in table["rows"] for table in measure["tables"]), name
    held = {goal["what"]: goal["holds"] for goal in told["goals"]}
    assert held["memory with one job"] in ("yes", "**no**")


def test_a_peer_that_cannot_be_had_is_told_of_and_left_out(tmp_path: Path) -> None:
    (tmp_path / "build" / "venvs").mkdir(parents=True)
    (tmp_path / "build" / "venvs" / "schedule").write_text("in the way of the environment")
    done = bench(tmp_path, "--quick", "--only", "memory", "--peers", "schedule")
    assert done.returncode == 0, done.stderr
    assert "Not here: schedule:" in done.stdout


def test_an_unknown_measure_is_refused_with_those_there_are(tmp_path: Path) -> None:
    done = bench(tmp_path, "--only", "latenes")
    assert done.returncode == 2
    assert "latenes: none of lateness, memory, idle" in done.stderr
