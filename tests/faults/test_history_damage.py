"""The history is cut, altered, taken away; the past is a year old."""

from __future__ import annotations

import json
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stsd.history import History
from stsd.model import SkipReason, TriggerKind
from stsd.places import Places
from stsd.records import Skipped
from stsd.recovery import recall
from tests.faults.ledger import faults_of, records_of, witnessed
from tests.faults.support import Box
from tests.support import wait_for

YEAR_S = 365 * 86400


def a_history(box: Box) -> Path:
    """A segment as a real daemon has left it."""
    box.write(box.job("a") + box.job("b", "false", retry='{ max = 1, delay = "0.1s" }'))
    box.start()
    box.wait_for_count("finished", 4)
    box.crash()
    (segment,) = box.history_dir.glob("*.jsonl")
    return segment


@pytest.mark.slow
def test_g4_cut_at_every_byte_of_its_last_line_the_history_goes_on_behind_the_others(
    box: Box, tmp_path: Path
) -> None:
    segment = a_history(box)
    whole = segment.read_bytes()
    *others, last = whole.splitlines(keepends=True)
    folder = tmp_path / "copy"
    copy = folder / "history" / segment.name
    copy.parent.mkdir(parents=True)
    damaged: list[bytes] = []
    copy.write_bytes(b"".join(others))
    expected = recall(Places(folder, tmp_path / "none"), lambda path, line: damaged.append(line))
    assert damaged == []
    for kept in range(len(last)):
        copy.write_bytes(b"".join(others) + last[:kept])
        memory = recall(Places(folder, tmp_path / "none"), lambda path, line: damaged.append(line))
        assert memory == expected
        assert damaged == ([last[:kept]] if kept else [])
        history = History(folder)
        history.append(Skipped("z", 7, SkipReason.OVERLAP, time.time(), TriggerKind.EVERY))
        history.sync()
        history.reopen()
        *before, after = copy.read_bytes().splitlines(keepends=True)
        assert before == others
        assert json.loads(after)["job"] == "z"
        damaged.clear()


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_g4_a_torn_last_line_is_told_and_the_books_balance(box: Box, share: float) -> None:
    segment = a_history(box)
    *others, last = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(others) + last[: round(share * (len(last) - 1))])
    (box.folder / "state" / "state.json").unlink()
    box.start()
    box.wait_for_event("damaged_line")
    before = box.count("finished")
    box.wait_for_count("finished", before + 4)
    box.stop()
    assert all(count == 1 for count in witnessed(box.witness).values())
    assert [f for f in faults_of(box.records_now()) if "accounted for" in f] == []


@pytest.mark.slow
def test_no_altered_byte_hides_another_line_or_keeps_the_daemon_from_starting(
    box: Box, tmp_path: Path
) -> None:
    segment = a_history(box)
    whole = segment.read_bytes()
    folder = tmp_path / "copy"
    copy = folder / "history" / segment.name
    copy.parent.mkdir(parents=True)
    lines = len(whole.splitlines())
    for place in range(len(whole)):
        for flip in (0x01, 0x04, 0x10, 0x80):
            altered = bytes([*whole[:place], whole[place] ^ flip, *whole[place + 1 :]])
            copy.write_bytes(altered)
            told: list[bytes] = []
            tell = told.append
            recall(Places(folder, tmp_path / "none"), lambda _, line, tell=tell: tell(line))
            assert len(told) <= 2 < lines, (place, flip)
            assert flip != 0x80 or told, "a byte that is no ASCII is found"


@pytest.mark.slow
@pytest.mark.parametrize("snapshot", [True, False])
def test_a_broken_line_in_the_middle_is_told_and_the_others_count(box: Box, snapshot: bool) -> None:
    segment = a_history(box)
    if not snapshot:
        (box.folder / "state" / "state.json").unlink()
    lines = segment.read_bytes().splitlines(keepends=True)
    runs = [n for n, line in enumerate(lines) if b'"event":"finished"' in line]
    at = runs[len(runs) // 2]
    lines[at] = b"#" + lines[at][1:]
    segment.write_bytes(b"".join(lines))
    box.start()
    wait_for(lambda: len(witnessed(box.witness)) >= 8, "runs")
    box.stop()
    assert all(count == 1 for count in witnessed(box.witness).values())
    kept = segment.read_bytes().splitlines(keepends=True)
    assert kept[: len(lines)] == lines
    audit = box.run("audit")
    assert segment.name in audit.stdout + audit.stderr
    if not snapshot:
        assert box.events("damaged_line")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["removed", "renamed", "segment removed"])
def test_a_log_folder_taken_away_under_the_daemon_is_made_anew(box: Box, what: str) -> None:
    box.write(box.job("a") + box.job("b"))
    box.start()
    box.wait_for_count("finished", 4)
    log_dir = box.where / "log"
    if what == "renamed":
        log_dir.rename(box.folder / "elsewhere")
    elif what == "removed":
        shutil.rmtree(log_dir)
    else:
        next(box.history_dir.glob("*.jsonl")).unlink()
    wait_for(lambda: box.history_dir.exists() and box.count("finished") >= 4, "new records")
    box.crash()
    box.start()
    box.wait_for_count("finished", box.count("finished") + 4)
    box.stop()
    assert all(count == 1 for count in witnessed(box.witness).values())
    known = box.records_now()
    if what == "renamed":
        known = records_of(box.folder / "elsewhere" / "history") + known
        intents = {(r["run"], r["attempt"]) for r in known if r["event"] == "intent"}
        assert set(witnessed(box.witness)) <= intents


def rfc(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.slow
def test_g6_after_a_year_without_a_daemon_one_run_is_caught_up_and_the_rest_is_one_record(
    box: Box, tmp_path: Path
) -> None:
    begun = int(time.time()) // 60 * 60 - YEAR_S
    record = {"event": "schedule", "job": "a", "when": {"cron": ["* * * * *"]}}
    lines = [
        {"event": "daemon", "pid": 1, "boot": "x", "version": "1", "at": rfc(begun - 30)},
        record | {"since": rfc(begun - 30), "at": rfc(begun - 30)},
        {"event": "skipped", "job": "a", "scheduled": rfc(begun), "reason": "overlap"}
        | {"at": rfc(begun), "trigger": "cron"},
    ]
    box.history_dir.mkdir(parents=True)
    old = box.history_dir / f"{rfc(begun)[:10]}.jsonl"
    old.write_text("".join(json.dumps(line) + "\n" for line in lines))
    job = f"[jobs.a]\ncommand = '''{box.tell}'''\ncron = \"* * * * *\"\n"
    (tmp_path / "fresh").mkdir()
    fresh_box = Box(tmp_path / "fresh")
    times = []
    for each in (fresh_box, box):
        marker = f"[jobs.mark]\ncommand = '''{each.tell}'''\non_start = true\n"
        each.write('timezone = "UTC"\n' + marker + job)
        before = time.monotonic()
        with each:
            each.wait_for_count("started", 1, "mark")
            times.append(time.monotonic() - before)
            if each is box:
                box.wait_for_count("intent", 1, "a")
                (missed,) = box.records("missed", "a")
                (run, *_) = box.records("intent", "a")
                box.assert_balanced()
    fresh, after_a_year = times
    assert missed["count"] > 525_000
    assert run["scheduled"] > missed["last"]
    assert after_a_year < 3 * fresh + 1
