"""A jobfile read anew while the daemon goes on: the real daemon, and the copy that reads."""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from stsd.client import Client, RefusedError
from stsd.daemon import LONGEST_SLEEP_S
from stsd.jobfile import load
from tests.support import DEADLINE_S, Stsd, wait_for

pytestmark = pytest.mark.slow

TICK = '[jobs.tick]\ncommand = "true"\nevery = "1s"\n'
RELOADS = 3


def idle_jobs(count: int) -> str:
    return "".join(
        f'[jobs.idle-{number}]\ncommand = ["true", "{number}"]\ncron = "{number % 60} 0 1 1 *"\n'
        for number in range(count)
    )


def reader_of(pid: int) -> int | None:
    """The copy of the daemon that reads its jobfile; it holds a file in memory for what it finds,
    and next to nothing else."""
    for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        folder = Path("/proc", word, "fd")
        try:
            files = [os.readlink(entry) for entry in folder.iterdir()]
        except OSError:  # it has ended
            continue
        if "/memfd:twin (deleted)" in files and len(files) < 6:
            return int(word)
    return None


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def held(stsd: Stsd) -> int:
    """Has the jobfile read by a process that is stopped, and returns its pid."""

    def caught() -> int:
        stsd.signal(signal.SIGHUP)
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            reader = reader_of(stsd.pid)
            if reader is not None:
                os.kill(reader, signal.SIGSTOP)
                if reader_of(stsd.pid) == reader:
                    return reader
        return 0

    return wait_for(caught, "a reading that can be held")


def test_while_a_jobfile_is_read_jobs_run_and_questions_are_answered(stsd: Stsd) -> None:
    stsd.write(TICK + idle_jobs(500))
    stsd.start()
    reader = held(stsd)
    done = len(stsd.records("finished", "tick"))
    stsd.wait_for_record("finished", "tick", done + 1)
    with stsd.client() as client:
        assert client.ask("status", jobs=["tick"])["daemon"]["jobs"] == 501
    assert reader_of(stsd.pid) == reader
    os.kill(reader, signal.SIGCONT)
    wait_for(lambda: reader_of(stsd.pid) is None, "the reading goes on")


def test_a_stop_waits_for_no_reading_and_tells_who_does(stsd: Stsd) -> None:
    stsd.write(TICK + idle_jobs(500))
    stsd.start()
    reader = held(stsd)
    refused: list[str] = []

    def reload(client: Client) -> None:
        try:
            client.ask("reload")
        except RefusedError as error:
            refused.append(error.kind)

    with stsd.client() as client:
        waiting = threading.Thread(target=reload, args=[client])
        waiting.start()
        wait_for(lambda: stsd.run("status", "tick").returncode == 0, "its request is there")
        assert stsd.stop() == 0
        waiting.join(DEADLINE_S)
    assert refused == ["stopping"]
    wait_for(lambda: not is_alive(reader), "the copy to end")


def test_hups_during_a_reading_lead_to_one_more_after_it(stsd: Stsd) -> None:
    stsd.write(TICK + idle_jobs(500))
    stsd.start()
    reader = held(stsd)
    before = len(stsd.events("reloaded"))
    stsd.write(TICK + '[jobs.late]\ncommand = "true"\n')
    for _ in range(5):
        stsd.signal(signal.SIGHUP)
        with stsd.client() as client:  # it has been heard
            client.ask("status", jobs=["tick"])
    os.kill(reader, signal.SIGCONT)
    wait_for(lambda: any(e["added"] == ["late"] for e in stsd.events("reloaded")), "it is read")
    with stsd.client() as client:
        client.ask("plan")  # there is no reading after that
    assert len(stsd.events("reloaded")) - before <= 2


def test_a_reader_that_is_killed_changes_nothing_and_is_told(stsd: Stsd) -> None:
    stsd.write(TICK + idle_jobs(500))
    stsd.start()
    reader = held(stsd)
    stsd.write('[jobs.new]\ncommand = "true"\n')
    os.kill(reader, signal.SIGKILL)
    problem = stsd.wait_for_event("reload_refused")["problem"]
    assert problem.startswith(f"{stsd.jobfile}: could not be read: ")
    with stsd.client() as client:
        assert client.ask("status", jobs=["tick"])["daemon"]["jobs"] == 501


def test_a_restart_in_place_waits_for_the_jobfile_to_be_read(stsd: Stsd) -> None:
    stsd.write(TICK + idle_jobs(500))
    stsd.start()
    reader = held(stsd)
    stsd.signal(signal.SIGUSR2)
    with stsd.client() as client:
        client.ask("status", jobs=["tick"])
    assert stsd.events("restarting_in_place") == []
    os.kill(reader, signal.SIGCONT)
    stsd.wait_for_event("started_daemon", 2)
    stsd.wait_for_record("finished", "tick", len(stsd.records("finished", "tick")) + 1)


def test_a_restart_in_place_does_not_undo_the_stop_that_overtakes_it(stsd: Stsd) -> None:
    stsd.write('[jobs.long]\ncommand = "sleep 60"\non_start = true\n' + idle_jobs(500))
    stsd.start()
    stsd.wait_for_record("started", "long")
    reader = held(stsd)
    stsd.signal(signal.SIGUSR2)
    stsd.signal(signal.SIGTERM)
    stsd.wait_for_event("stopping")
    os.kill(reader, signal.SIGCONT)
    assert stsd.wait_for_event("restart_refused")["problem"] == "stsd is stopping"
    assert stsd.stop() == 0


@pytest.mark.slow
def test_the_loop_stands_still_for_a_fraction_of_the_time_that_the_reading_takes(
    stsd: Stsd,
) -> None:
    stsd.write(TICK + idle_jobs(10_000))
    stsd.start()
    standstills, readings = [], []
    with stsd.client() as client:
        for number in range(RELOADS):
            stsd.write(TICK + idle_jobs(10_000).replace('"7"', f'"changed {number}"', 1))
            begun = time.perf_counter()
            load(stsd.jobfile, local_zone="UTC")
            readings.append(time.perf_counter() - begun)
            stsd.signal(signal.SIGHUP)
            standstills.append(longest_answer(stsd, client, number + 1))
    assert stsd.events("reloaded")[-1]["changed"] == ["idle-7"]
    assert statistics.median(standstills) < statistics.median(readings) / 3


def longest_answer(stsd: Stsd, client: Client, reloads: int) -> float:
    """How many seconds the slowest answer takes, of those until so many reloads are over."""
    longest, deadline = 0.0, time.monotonic() + DEADLINE_S
    while len(stsd.events("reloaded")) < reloads:
        begun = time.perf_counter()
        client.ask("status", jobs=["tick"])
        longest = max(longest, time.perf_counter() - begun)
        assert time.monotonic() < deadline
    return longest


def test_what_a_reload_makes_room_for_does_not_wait_for_the_next_wake_up(stsd: Stsd) -> None:
    jobs = "".join(f'[jobs.{name}]\ncommand = "sleep 60"\non_start = true\n' for name in "ab")
    stsd.write(f"max_running = 1\n{jobs}")
    stsd.start()
    stsd.wait_for_record("started", "a")
    stsd.write(f"max_running = 2\n{jobs}")
    stsd.signal(signal.SIGHUP)
    told = datetime.fromisoformat(stsd.wait_for_event("reloaded")["timestamp"])
    second = wait_for(lambda: stsd.records("started")[1:], "the second start")[0]
    waited = datetime.fromisoformat(second["at"]) - told
    assert waited.total_seconds() < LONGEST_SLEEP_S / 2
