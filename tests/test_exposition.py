"""The metrics as text: read by Prometheus' own library and its linter, whole on the disk."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stsd.exposition import render, write
from stsd.metrics import OF_STSD, PER_JOB, Gauges
from stsd.model import Outcome
from stsd.tallies import Tallies
from tests.support_audit import Past, minute

parser = pytest.importorskip("prometheus_client.parser")

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
PROMTOOL = shutil.which("promtool")
FULL = Gauges(
    at=minute(9) + 0.25,
    version="1.2.3",
    jobs=3,
    started=minute(0) + 0.5,
    reloaded=float(minute(1)),
    reload_ok=False,
    running=2,
    queued=1,
    delayed=0,
    held=True,
    loop_delay_s=0.00012,
    memory_bytes=1 << 25,
    history_bytes=1 << 40,
    disk_free_bytes=0,
    disk_size_bytes=1 << 44,
    conditions={"b": ["failed", "late"]},
    told=7,
    failed=1,
    lost=2,
    waiting=4,
)


def tallied() -> Tallies:
    """Two jobs with a past of all kinds, and one without."""
    past = Past("a").run(minute(1)).finished(minute(2), duration_s=0.25)
    past.finished(minute(3), duration_s=3.0).skipped(minute(4)).missed(minute(5), minute(7), 3)
    other = Past("b").started(minute(1), late_s=40.0)
    other.finished(minute(2), outcome=Outcome.FAILED, duration_s=1e5, will_retry_at=minute(3) + 0.5)
    other.finished(minute(3), outcome=Outcome.FAILED, duration_s=1e5)
    tallies = Tallies({})
    for record in past.records() + other.records():
        tallies.take(record)
    tallies.reload(["c", "a", "b"])
    return tallies


def text(gauges: Gauges = FULL) -> str:
    return b"".join(render(tallied(), gauges)).decode()


def samples(said: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus' library reads, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(said)
        for sample in family.samples
    }


def of(name: str, **labels: str) -> float:
    return samples(text())[name, tuple(sorted(labels.items()))]


def test_all_numbers_are_read_by_prometheus_own_library_as_they_are_meant() -> None:
    assert of("stsd_build_info", version="1.2.3") == 1
    assert of("stsd_exposed_timestamp_seconds") == minute(9) + 0.25
    assert of("stsd_config_last_reload_successful") == 0
    assert of("stsd_held") == 1
    assert of("stsd_loop_delay_seconds") == 0.00012
    assert of("stsd_history_bytes") == 1 << 40
    assert of("stsd_disk_free_bytes") == 0
    assert of("stsd_job_condition", job_name="b", condition="late") == 1
    assert of("stsd_notifications_total", result="told") == 7
    assert of("stsd_notices_lost_total") == 2
    assert of("stsd_runs_total", job_name="a", outcome="succeeded") == 3
    assert of("stsd_retries_total", job_name="b") == 1
    assert of("stsd_skipped_total", job_name="a", reason="overlap") == 1
    assert of("stsd_missed_total", job_name="a", reason="down") == 3
    assert of("stsd_last_success_timestamp_seconds", job_name="a") == minute(3) + 1
    assert of("stsd_last_run_timestamp_seconds", job_name="b") == minute(3) + 1
    assert of("stsd_last_run_successful", job_name="b") == 0


def test_buckets_hold_what_is_in_those_before_them() -> None:
    name = "stsd_run_duration_seconds"
    buckets = [of(f"{name}_bucket", job_name="a", le=le) for le in ("0.1", "1.0", "5.0", "+Inf")]
    assert buckets == [0, 1, 2, 2]
    assert of(f"{name}_count", job_name="a") == 2
    assert of(f"{name}_sum", job_name="a") == 3.25
    assert of(f"{name}_bucket", job_name="b", le="14400.0") == 0
    assert of(f"{name}_bucket", job_name="b", le="+Inf") == 1


def test_counters_begin_at_zero_before_anything_has_happened() -> None:
    """Prometheus takes no first value for an increase."""
    for outcome in Outcome:
        assert of("stsd_runs_total", job_name="c", outcome=outcome) == 0
    assert of("stsd_missed_total", job_name="c", reason="slept") == 0
    assert of("stsd_skipped_total", job_name="c", reason="overlap") == 0


def test_what_is_not_known_is_not_told() -> None:
    said = samples(text(Gauges(at=1.0, version="1", jobs=3)))
    names = {name for name, _ in said}
    assert not names & {"stsd_running", "stsd_held", "stsd_memory_bytes", "stsd_job_condition"}
    assert ("stsd_last_success_timestamp_seconds", (("job_name", "b"),)) not in said
    assert not [
        labels for name, labels in said if "duration" in name and ("job_name", "c") in labels
    ]


def test_labels_are_names_of_jobs_and_words_of_ours_alone() -> None:
    known = {"job_name", "outcome", "reason", "le", "condition", "result", "version"}
    assert {name for _, labels in samples(text()) for name, _ in labels} == known


@pytest.mark.parametrize("odd", ['q"uote', "back\\slash", "new\nline", "\\n", 'a"} 1\nb{c="'])
def test_no_label_can_end_before_its_end(odd: str) -> None:
    gauges = Gauges(at=1.0, version=odd, jobs=0)
    said = samples(b"".join(render(Tallies({}), gauges)).decode())
    assert said["stsd_build_info", (("version", odd),)] == 1


def test_pieces_are_whole_lines_and_of_a_bounded_size() -> None:
    tallies = Tallies({})
    tallies.reload([f"job-{number}" for number in range(2000)])
    pieces = list(render(tallies, FULL))
    assert len(pieces) > 10
    assert max(map(len, pieces)) < 70_000
    assert all(piece.endswith(b"\n") for piece in pieces)


def test_no_more_than_a_piece_is_in_memory_at_a_time() -> None:
    tallies = Tallies({})
    tallies.reload([f"job-{number}" for number in range(4000)])
    tracemalloc.start()
    try:
        size = sum(map(len, render(tallies, FULL)))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 3_000_000
    assert peak < 1_500_000


@pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian's prometheus)")
def test_promtool_finds_no_fault_with_the_names() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text(), capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_page_lists_all_metrics_with_their_kinds_and_no_others() -> None:
    rows = re.findall(r"^\| `(stsd_\w+)` \| (\w+) \|", PAGE.read_text(), re.M)
    assert rows == [(metric.name, metric.kind) for metric in (*OF_STSD, *PER_JOB)]


def test_the_file_is_replaced_as_a_whole_and_everybody_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "stsd.prom"
    write(path, [b"old 1\n"])
    before = path.open("rb")
    old = os.umask(0o077)
    try:
        write(path, render(tallied(), FULL))
    finally:
        os.umask(old)
    assert path.read_text() == text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert before.read() == b"old 1\n"  # who had it open reads on in the old one
    before.close()
    assert os.listdir(tmp_path) == ["stsd.prom"]


def test_a_disk_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    def failing() -> Iterator[bytes]:
        yield b"half\n"
        raise OSError(28, "No space left on device")

    path = tmp_path / "stsd.prom"
    write(path, [b"old 1\n"])
    with pytest.raises(OSError, match="No space left"):
        write(path, failing())
    assert os.listdir(tmp_path) == ["stsd.prom"]
    assert path.read_text() == "old 1\n"


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_nothing_is_written_through_a_link_that_others_have_laid(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    link(precious, tmp_path / "stsd.prom.new")
    write(tmp_path / "stsd.prom", [b"new 1\n"])
    assert precious.read_text() == "mine"
    assert (tmp_path / "stsd.prom").read_text() == "new 1\n"
