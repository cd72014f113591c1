"""What a restart finds again: runs, retries, and the time that passed without a daemon."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from stsd.units import rfc3339
from tests.support import Stsd, wait_for

pytestmark = pytest.mark.slow


def crash(stsd: Stsd) -> None:
    assert stsd.process is not None
    stsd.process.kill()
    stsd.process.wait()


def wait_until(instant: float) -> None:
    wait_for(lambda: time.time() >= instant, "the time to pass")


WAITER = 'command = "until test -e {go}; do sleep 0.05; done; exit 3"\n'


def test_a_run_that_outlives_the_daemon_is_found_again_and_counts_for_overlap(stsd: Stsd) -> None:
    go = stsd.folder / "go"
    stsd.write(f'[jobs.a]\n{WAITER.format(go=go)}every = "1s"\n')
    stsd.start()
    started = stsd.wait_for_record("started", "a")
    crash(stsd)
    stsd.start()
    assert stsd.wait_for_event("adopted")["pid"] == started["pid"]
    stsd.wait_for_record("skipped", "a")
    assert len(stsd.records("started", "a")) == 1
    go.touch()
    finished = stsd.wait_for_record("finished", "a")
    assert finished["run"] == started["run"]
    assert (finished["outcome"], finished["exit_code"]) == ("interrupted", None)
    assert finished["error"].startswith("exit status unknown")


def test_a_run_that_died_with_the_daemon_is_interrupted_never_succeeded(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = ["sleep", "100"]\non_start = true\n')
    stsd.start()
    started = stsd.wait_for_record("started", "a")
    crash(stsd)
    os.kill(started["pid"], signal.SIGKILL)
    wait_for(lambda: not alive(started["pid"]), "the job to die")
    stsd.start()
    finished = stsd.wait_for_record("finished", "a")
    assert (finished["run"], finished["outcome"]) == (started["run"], "interrupted")


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_an_interrupted_run_is_repeated_under_its_id_where_that_is_asked_for(stsd: Stsd) -> None:
    stsd.write(
        '[jobs.a]\ncommand = "test $STSD_ATTEMPT = 2 || sleep 100"\n'
        'on_start = true\ndelivery = "at_least_once"\n'
    )
    stsd.start()
    started = stsd.wait_for_record("started", "a")
    crash(stsd)
    os.killpg(started["pid"], signal.SIGKILL)
    wait_for(lambda: not alive(started["pid"]), "the job to die")
    stsd.start()
    wait_for(
        lambda: [r for r in stsd.records("finished", "a") if r["attempt"] == 2], "a second attempt"
    )
    ends = [r for r in stsd.records("finished", "a") if r["run"] == started["run"]]
    assert [(r["attempt"], r["outcome"]) for r in ends] == [(1, "interrupted"), (2, "succeeded")]


def test_a_retry_survives_the_restart(stsd: Stsd) -> None:
    stsd.write(
        '[jobs.a]\ncommand = "test $STSD_ATTEMPT = 2"\nevery = "1h"\n'
        'on_start = true\nretry = { max = 3, delay = "2s" }\n'
    )
    stsd.start()
    first = stsd.wait_for_record("finished", "a")
    crash(stsd)
    stsd.write(
        '[jobs.a]\ncommand = "test $STSD_ATTEMPT = 2"\nevery = "1h"\n'
        'retry = { max = 3, delay = "2s" }\n'
    )
    stsd.start()
    second = stsd.wait_for_record("finished", "a", 2)
    assert (second["run"], second["attempt"], second["outcome"]) == (first["run"], 2, "succeeded")
    assert stsd.records("started", "a")[1]["at"] >= first["will_retry_at"]


def test_the_latest_of_what_fell_due_meanwhile_is_run_and_the_rest_is_missed(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\nevery = "1s"\n')
    stsd.start()
    last = stsd.wait_for_record("finished", "a", 2)["scheduled"]
    crash(stsd)
    wait_until(time.time() + 4)
    stsd.start()
    missed = stsd.wait_for_record("missed", "a")
    assert missed["reason"] == "down"
    assert missed["first"] > last
    assert missed["count"] >= 2
    instants = sorted(r["scheduled"] for r in stsd.records("started", "a"))
    assert len(set(instants)) == len(instants)
    stsd.wait_for_record("finished", "a", 5)
    assert stsd.run("audit").returncode == 0, stsd.run("audit").stdout


def seconds_between(first: str, last: str) -> Iterator[str]:
    """The full seconds after the one and before the other, as records tell them."""
    ends = [datetime.fromisoformat(text).timestamp() for text in (first, last)]
    return (rfc3339(at) for at in range(int(ends[0]) + 1, int(ends[1])))


@pytest.mark.parametrize("policy", ["none", "all"])
def test_catch_up_decides_what_is_run_of_it(stsd: Stsd, policy: str) -> None:
    stsd.write(f'[jobs.a]\ncommand = "true"\nevery = "1s"\ncatch_up = "{policy}"\n')
    stsd.start()
    stsd.wait_for_record("finished", "a")
    assert stsd.stop() == 0
    last = max(r["scheduled"] for r in (*stsd.records("intent"), *stsd.records("skipped")))
    wait_until(time.time() + 4.5)
    stsd.start()
    stsd.wait_for_record("finished", "a", 7)
    up_at = stsd.records("daemon")[1]["at"]
    passed = set(seconds_between(last, up_at))
    assert len(passed) >= 3
    begun = {r["scheduled"] for r in stsd.records("intent", "a") if r["at"] >= up_at}
    assert begun & passed == (passed if policy == "all" else set())
    missed = sum(r["count"] for r in stsd.records("missed", "a"))
    assert (missed == 0) is (policy == "all")


def test_usr2_restarts_in_place_and_no_exit_status_is_lost(stsd: Stsd) -> None:
    go = stsd.folder / "go"
    stsd.write(f"[jobs.a]\n{WAITER.format(go=go)}on_start = true\n")
    stsd.start()
    started = stsd.wait_for_record("started", "a")
    pid = stsd.pid
    stsd.signal(signal.SIGUSR2)
    stsd.wait_for_event("started_daemon", 2)
    stsd.wait_for_event("adopted")
    assert stsd.pid == pid
    go.touch()
    finished = stsd.wait_for_record("finished", "a")
    assert (finished["outcome"], finished["exit_code"]) == ("failed", 3)
    assert len(stsd.records("started", "a")) == 1, "on_start does not count for a restart in place"
    assert started["pid"] == stsd.records("started", "a")[0]["pid"]
    assert stsd.stop() == 0


def test_usr2_on_a_broken_jobfile_changes_nothing(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\nevery = "1s"\n')
    stsd.start()
    stsd.write("[jobs.a]\n")
    stsd.signal(signal.SIGUSR2)
    assert str(stsd.jobfile) in stsd.wait_for_event("restart_refused")["problem"]
    stsd.wait_for_record("finished", "a", 2)


def test_a_folder_that_is_gone_keeps_nobody_from_running_or_restarting(
    stsd: Stsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = stsd.folder / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    stsd.write('[jobs.a]\ncommand = "true"\nevery = "1s"\n')
    stsd.start()
    stsd.wait_for_record("finished", "a")
    stsd.signal(signal.SIGUSR2)
    stsd.wait_for_event("started_daemon", 2)
    stsd.wait_for_record("finished", "a", 2)


def test_a_hup_right_after_usr2_is_not_lost_on_the_new_process(stsd: Stsd) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\nevery = "1s"\n')
    stsd.start()
    stsd.signal(signal.SIGUSR2)
    stsd.wait_for_event("restarting_in_place")
    stsd.signal(signal.SIGHUP)
    stsd.wait_for_event("started_daemon", 2)
    stsd.wait_for_record("finished", "a", 2)
    assert stsd.stop() == 0


def test_a_changed_schedule_is_not_applied_to_the_time_without_a_daemon(stsd: Stsd) -> None:
    stsd.write(
        '[jobs.a]\ncommand = "true"\nevery = "1h"\n[jobs.b]\ncommand = "true"\nevery = "1s"\n'
    )
    stsd.start()
    stsd.wait_for_record("finished", "b")
    assert stsd.stop() == 0
    wait_until(time.time() + 2)
    stsd.write('[jobs.a]\ncommand = "true"\nevery = "1s"\n')
    stsd.start()
    first = stsd.wait_for_record("started", "a")
    assert first["late_s"] < 1
    assert stsd.records("missed", "a") == []
    assert stsd.records("missed", "b")[0]["reason"] == "down"
    assert stsd.records("schedule", "b")[-1]["when"] is None


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "nonsense"])
def test_without_its_snapshot_a_start_reads_the_history(stsd: Stsd, damage: str) -> None:
    stsd.write('[jobs.a]\ncommand = "true"\nevery = "1s"\n')
    stsd.start()
    stsd.wait_for_record("finished", "a", 2)
    assert stsd.stop() == 0
    state = stsd.folder / "state" / "state.json"
    whole = state.read_bytes()
    if damage == "gone":
        state.unlink()
    else:
        state.write_bytes({"empty": b"", "cut": whole[:-9], "nonsense": b'{"version":1}'}[damage])
    before = {r["scheduled"] for r in stsd.records("started", "a")}
    wait_until(time.time() + 2)
    stsd.start()
    stsd.wait_for_record("finished", "a", 4)
    after = [r["scheduled"] for r in stsd.records("started", "a")]
    assert len(after) == len(set(after))
    assert before < set(after)
    assert stsd.run("audit").returncode == 0, stsd.run("audit").stdout
