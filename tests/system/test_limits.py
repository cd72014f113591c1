"""Limits by control groups, under a real systemd and a kernel that has all controllers for them.

The service is started once, with all of these jobs side by side.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.support import JOBFILE, Container, wait_for

pytestmark = pytest.mark.system

BUSY = "import time; end = time.monotonic() + 6\\nwhile time.monotonic() < end: pass"
JOBS = f"""
[jobs.tick]
command = "true"
every = "1s"

[jobs.glutton]
command = ["/usr/bin/python3", "-c", "x = [bytearray(1 << 20) for _ in range(1024)]"]
limits = {{ memory = "64M" }}
on_start = true

[jobs.family]
command = "python3 -c 'x = [bytearray(1 << 20) for _ in range(1024)]'; echo survived"
limits = {{ memory = "64M" }}
on_start = true

[jobs.thrifty]
command = ["/usr/bin/python3", "-c", "x = bytes(range(256)) * (20 << 12)"]
limits = {{ memory = "64M" }}
on_start = true

[jobs.bomb]
command = "for i in 1 2 3 4 5 6 7 8 9; do sleep 876 & done; wait"
limits = {{ processes = 5 }}
on_start = true

[jobs.quarter]
command = ["/usr/bin/python3", "-c", "{BUSY}"]
limits = {{ cpu = 0.25 }}
on_start = true

[jobs.runaway]
command = "setsid sh -c 'setsid sleep 987 >/dev/null 2>&1 &'; sleep 1"
limits = {{ processes = 9 }}
on_start = true

[jobs.meddler]
command = "echo 1 >/sys/fs/cgroup/system.slice/cgroup.freeze"
on_start = true
"""
LONG = """
[jobs.long]
command = "sleep 12; cat /proc/self/cgroup"
limits = { memory = "64M" }
on_start = true
"""
SHORT = """
[jobs.short]
command = "cat /proc/self/cgroup"
every = "1s"
limits = { memory = "64M" }
"""
PATIENCE = 120.0


@pytest.fixture(scope="module")
def ended(machine: Container) -> Iterator[dict[str, dict[str, Any]]]:
    """The last records of the jobs that are started once, by name."""
    names = ("glutton", "family", "thrifty", "bomb", "quarter", "runaway", "meddler")
    machine.clear()
    machine.start(JOBS)

    def all_ended() -> dict[str, dict[str, Any]]:
        records = {
            record["job"]: record for record in machine.history() if record["event"] == "finished"
        }
        return records if all(name in records for name in names) else {}

    yield wait_for("the end of all of them", all_ended, PATIENCE)
    machine.clear()


Ended = dict[str, dict[str, Any]]


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
    assert "Cannot fork" in machine.run("cat", f"/var/log/stsd/{record['output']}").stdout
    assert machine.run("pgrep", "-x", "-f", "sleep 876", check=False).returncode == 1


def test_a_job_gets_the_share_of_a_processor_that_it_is_allowed(ended: Ended) -> None:
    record = ended["quarter"]
    assert record["outcome"] == "succeeded"
    assert 0.1 < record["cpu_s"] / record["duration_s"] < 0.35


def test_what_has_left_the_jobs_process_group_is_killed_with_it(
    ended: Ended, machine: Container
) -> None:
    assert ended["runaway"]["outcome"] == "succeeded"
    assert machine.run("pgrep", "-x", "-f", "sleep 987", check=False).returncode == 1


def test_no_group_is_left_but_the_daemons_own(ended: Ended, machine: Container) -> None:
    def left() -> list[str]:
        found = machine.run("sh", "-c", "ls -d /sys/fs/cgroup/system.slice/stsd.service/stsd-*/*/")
        return [path.rstrip("/").rpartition("/")[2] for path in found.stdout.split()]

    wait_for("the groups to be gone", lambda: left() == ["daemon"])


def test_a_job_cannot_touch_the_groups_of_other_services(ended: Ended, machine: Container) -> None:
    output = machine.run("cat", f"/var/log/stsd/{ended['meddler']['output']}").stdout
    assert "Read-only file system" in output


def test_the_service_lives_through_all_that(ended: Ended, machine: Container) -> None:
    assert machine.property("ActiveState") == "active"
    assert machine.property("NRestarts") == "0"
    seen = len(machine.finished("tick"))
    wait_for("a further run", lambda: len(machine.finished("tick")) > seen)


def test_check_says_what_the_service_will_have(ended: Ended, machine: Container) -> None:
    done = machine.run("/opt/stsd/bin/stsd", "check", "--json", "-c", JOBFILE)
    (note,) = (json.loads(line) for line in done.stdout.splitlines())
    assert note["message"].startswith("by cgroup v2: memory, cpu, processes; by rlimits: ")
    assert "as a service" in note["message"]


def groups_of(machine: Container, job: str) -> set[str]:
    """The control groups that the runs of a job have printed, by the job's name in theirs."""
    read = f"cat /var/log/stsd/output/{job}/*.log"
    lines = machine.run("sh", "-c", read).stdout.splitlines()
    return {line.rpartition("/")[2].partition("@")[0] for line in lines}


def test_a_run_keeps_its_group_through_a_restart_in_place(machine: Container) -> None:
    machine.clear()
    machine.start(LONG)
    wait_for("the job's processes", lambda: len(machine.processes()) >= 2)
    pid = machine.property("MainPID")
    machine.run("systemctl", "kill", "--kill-who=main", "--signal=USR2", "stsd")
    record = wait_for("its end", lambda: machine.finished("long"), PATIENCE)[0]
    assert record["outcome"] == "succeeded"
    assert record["max_rss_bytes"] is not None
    assert machine.property("MainPID") == pid
    assert groups_of(machine, "long") == {"long"}


def test_limits_hold_again_after_the_daemon_was_killed(machine: Container) -> None:
    machine.clear()
    machine.start(SHORT)
    wait_for("a run", lambda: machine.finished("short"), PATIENCE)
    pid = machine.property("MainPID")
    machine.run("kill", "-KILL", pid)
    wait_for("the restart", lambda: machine.property("MainPID") not in ("0", pid), PATIENCE)
    seen = len(machine.finished("short"))
    wait_for("further runs", lambda: len(machine.finished("short")) > seen + 1, PATIENCE)
    assert groups_of(machine, "short") == {"short"}
    assert machine.finished("short")[-1]["outcome"] == "succeeded"


def test_a_job_that_takes_all_memory_of_the_service_does_not_end_it(machine: Container) -> None:
    machine.clear()
    machine.write("/etc/systemd/system/stsd.service.d/memory.conf", "[Service]\nMemoryMax=200M\n")
    machine.run("systemctl", "daemon-reload")
    jobs = """
[jobs.hungry]
command = ["/usr/bin/python3", "-c", "x = [bytearray(1 << 20) for _ in range(1024)]"]
on_start = true
[jobs.tick]
command = "true"
every = "1s"
"""
    machine.start(jobs)
    record = wait_for("the end of the job", lambda: machine.finished("hungry"), PATIENCE)[0]
    assert (record["outcome"], record["signal"]) == ("failed", "SIGKILL")
    seen = len(machine.finished("tick"))
    wait_for("a further run", lambda: len(machine.finished("tick")) > seen, PATIENCE)
    assert machine.property("NRestarts") == "0"
