"""Limits by control groups, under a real systemd and a kernel that has all controllers for them.

The service is started twice, each time with all of its jobs side by side: one start takes ten
seconds of an emulated processor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pytest

from tests.system.support import JOBFILE, Container, wait_for

pytestmark = pytest.mark.system

JOBS = r'''
[jobs.tick]
command = "true"
every = "1s"

[jobs.glutton]
command = ["/usr/bin/python3", "-c", "x = [bytearray(1 << 20) for _ in range(1024)]"]
limits = { memory = "64M" }
on_start = true

[jobs.family]
command = "python3 -c 'x = [bytearray(1 << 20) for _ in range(1024)]'; echo survived"
limits = { memory = "64M" }
on_start = true

[jobs.thrifty]
command = ["/usr/bin/python3", "-c", "x = bytes(range(256)) * (20 << 12)"]
limits = { memory = "64M" }
on_start = true

[jobs.bomb]
command = "for i in 1 2 3 4 5 6 7 8 9; do sleep 876 & done; wait"
limits = { processes = 5 }
on_start = true

[jobs.quarter]
command = """
python3 -c 'import time
while time.process_time() < 0.8: pass'
cd /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)
cat cpu.max cpu.stat
"""
limits = { cpu = 0.25 }
on_start = true

[jobs.runaway]
command = "setsid sh -c 'setsid sleep 987 >/dev/null 2>&1 &'; sleep 1"
limits = { processes = 9 }
on_start = true

[jobs.meddler]
command = "echo 1 >/sys/fs/cgroup/system.slice/cgroup.freeze"
on_start = true
'''
TOGETHER = """
[jobs.long]
command = "until test -e /var/lib/stsd/enough; do sleep 0.5; done; cat /proc/self/cgroup"
limits = { memory = "64M" }
on_start = true

[jobs.short]
command = "cat /proc/self/cgroup"
every = "2s"
limits = { memory = "64M" }

[jobs.hungry]
command = ["/usr/bin/python3", "-c", "x = [bytearray(1 << 20) for _ in range(1024)]"]
on_start = true
"""
T = TypeVar("T")
Ended = dict[str, dict[str, Any]]


def in_time(what: str, look: Callable[[], T | None]) -> T:
    """An emulated processor is slow, and each look takes half a second of it."""
    return wait_for(what, look, patience=120, pause=1)


@pytest.fixture(scope="module")
def ended(machine: Container) -> Ended:
    """The last records of the jobs that are started once, by name."""
    names = ("glutton", "family", "thrifty", "bomb", "quarter", "runaway", "meddler")
    machine.clear()
    machine.start(JOBS)

    def all_ended() -> Ended:
        records = {
            record["job"]: record for record in machine.history() if record["event"] == "finished"
        }
        return records if all(name in records for name in names) else {}

    return in_time("the end of all of them", all_ended)


def test_a_job_that_takes_too_much_memory_is_killed_and_the_record_says_so(ended: Ended) -> None:
    record = ended["glutton"]
    assert (record["outcome"], record["signal"]) == ("failed", "SIGKILL")
    assert "out of memory (limit 64.0 MiB)" in record["error"]
    assert record["max_rss_bytes"] == 64 << 20


def test_all_of_a_job_is_killed_that_takes_too_much_memory(
    ended: Ended, machine: Container
) -> None:
    record = ended["family"]
    assert (record["outcome"], record["signal"]) == ("failed", "SIGKILL")
    assert record["output_bytes"] == 0  # the shell did not live to go on


def test_a_job_within_its_limits_succeeds_and_its_peak_is_told(ended: Ended) -> None:
    record = ended["thrifty"]
    assert record["outcome"] == "succeeded"
    assert 20 << 20 < record["max_rss_bytes"] < 60 << 20


def test_a_job_that_multiplies_is_held_back(ended: Ended, machine: Container) -> None:
    record = ended["bomb"]
    assert record["outcome"] == "failed"
    assert "Cannot fork" in machine.output(record)
    assert machine.run("pgrep", "-x", "-f", "sleep 876", check=False).returncode == 1


def test_a_job_gets_the_share_of_a_processor_that_it_is_allowed(
    ended: Ended, machine: Container
) -> None:
    record = ended["quarter"]
    assert record["outcome"] == "succeeded"
    assert record["cpu_s"] > 0.8
    allowed, period, *told = machine.output(record).split()
    assert int(allowed) / int(period) == 0.25
    # How much later that makes it is no measure: the emulator's own processor comes and goes.
    assert int(told[told.index("nr_throttled") + 1]) > 0
    assert int(told[told.index("throttled_usec") + 1]) > 0


def test_what_has_left_the_jobs_process_group_is_killed_with_it(
    ended: Ended, machine: Container
) -> None:
    assert ended["runaway"]["outcome"] == "succeeded"
    assert machine.run("pgrep", "-x", "-f", "sleep 987", check=False).returncode == 1


def test_no_group_is_left_but_the_daemons_own(ended: Ended, machine: Container) -> None:
    def left() -> list[str]:
        found = machine.run("sh", "-c", "ls -d /sys/fs/cgroup/system.slice/stsd.service/stsd-*/*/")
        return [path.rstrip("/").rpartition("/")[2] for path in found.stdout.split()]

    in_time("the groups to be gone", lambda: left() == ["daemon"])


def test_a_job_cannot_touch_the_groups_of_other_services(ended: Ended, machine: Container) -> None:
    output = machine.output(ended["meddler"])
    assert "Read-only file system" in output


def test_the_service_lives_through_all_that(ended: Ended, machine: Container) -> None:
    assert machine.property("ActiveState") == "active"
    assert machine.property("NRestarts") == "0"
    assert further_run(machine, "tick")["outcome"] == "succeeded"


def test_check_says_what_the_service_will_have(ended: Ended, machine: Container) -> None:
    done = machine.run("/opt/stsd/bin/stsd", "check", "--json", "-c", JOBFILE)
    (note,) = (json.loads(line) for line in done.stdout.splitlines())
    assert note["message"].startswith("by cgroup v2: memory, cpu, processes; by rlimits: ")
    assert "as a service" in note["message"]


@pytest.fixture(scope="module")
def squeezed(machine: Container) -> Iterator[Container]:
    """The service with little memory for all of its jobs, and no restart so far."""
    machine.clear()
    machine.write("/etc/systemd/system/stsd.service.d/memory.conf", "[Service]\nMemoryMax=200M\n")
    machine.run("systemctl", "daemon-reload")
    machine.start(TOGETHER)
    yield machine
    machine.clear()


def further_run(machine: Container, job: str) -> dict[str, Any]:
    seen = len(machine.finished(job))
    return in_time(f"a further run of {job}", lambda: machine.finished(job)[seen:])[0]


def groups_of(machine: Container, job: str) -> set[str]:
    """The control groups that the runs of a job have printed, by the job's name in theirs."""
    read = f"cat /var/log/stsd/output/{job}/*.log"
    lines = machine.run("sh", "-c", read).stdout.splitlines()
    return {line.rpartition("/")[2].partition("@")[0] for line in lines}


def test_a_job_that_takes_all_memory_of_the_service_does_not_end_it(squeezed: Container) -> None:
    record = in_time("the end of the job", lambda: squeezed.finished("hungry"))[0]
    assert (record["outcome"], record["signal"]) == ("failed", "SIGKILL")
    assert further_run(squeezed, "short")["outcome"] == "succeeded"
    assert squeezed.property("NRestarts") == "0"


def test_a_run_keeps_its_group_through_a_restart_in_place(squeezed: Container) -> None:
    pid = squeezed.property("MainPID")
    starts = squeezed.journal().count("started_daemon")
    squeezed.run("systemctl", "kill", "--kill-who=main", "--signal=USR2", "stsd")
    in_time("the restart", lambda: squeezed.journal().count("started_daemon") > starts)
    squeezed.run("touch", "/var/lib/stsd/enough")
    record = in_time("the end of the job", lambda: squeezed.finished("long"))[0]
    assert record["outcome"] == "succeeded"
    assert record["max_rss_bytes"] is not None
    assert squeezed.property("MainPID") == pid
    assert groups_of(squeezed, "long") == {"long"}


def test_limits_hold_again_after_the_daemon_was_killed(squeezed: Container) -> None:
    pid = squeezed.property("MainPID")
    squeezed.run("kill", "-KILL", pid)
    in_time("the restart", lambda: squeezed.property("MainPID") not in ("0", pid))
    further_run(squeezed, "short")  # which may have been on its way
    assert further_run(squeezed, "short")["outcome"] == "succeeded"
    assert groups_of(squeezed, "short") == {"short"}
