"""stsd as a service of a real systemd."""

from __future__ import annotations

import time

import pytest

from tests.system.support import JOBFILE, Container, wait_for

pytestmark = pytest.mark.system

DROP_INS = "/etc/systemd/system/stsd.service.d"
TICK = """
[jobs.tick]
command = "echo tick"
every = "1s"
"""

TOCK = """
[jobs.tock]
command = ["/bin/echo", "tock"]
every = "1s"
"""


def test_systemd_finds_no_fault_with_the_unit(unit: Container) -> None:
    done = unit.run("systemd-analyze", "verify", "/etc/systemd/system/stsd.service")
    assert done.stdout + done.stderr == ""


def test_the_unit_exposes_no_more_than_the_manual_says(unit: Container) -> None:
    words = ("systemd-analyze", "security", "--offline=true", "--threshold=31")
    unit.run(*words, "/etc/systemd/system/stsd.service")


def test_start_waits_until_the_jobs_are_being_run(unit: Container) -> None:
    unit.start(TICK)
    assert unit.property("ActiveState") == "active"
    assert "1 job" in unit.property("StatusText")
    assert int(unit.property("WatchdogUSec").removesuffix("s")) == 30


def test_history_and_output_appear_in_the_log_folder_and_are_root_only(unit: Container) -> None:
    unit.start(TICK)
    record = wait_for("a finished run", lambda: unit.finished("tick"))[0]
    assert record["outcome"] == "succeeded"
    assert unit.output(record) == "tick\n"
    modes = unit.run("stat", "-c", "%a", "/var/log/stsd", f"/var/log/stsd/{record['output']}")
    assert modes.stdout.split() == ["700", "600"]


def test_no_job_can_speak_to_systemd_in_the_daemons_name(unit: Container) -> None:
    unit.start('[jobs.env]\ncommand = "env"\non_start = true\n')
    record = wait_for("a finished run", lambda: unit.finished("env"))[0]
    said = unit.output(record)
    names = {line.partition("=")[0] for line in said.splitlines()}
    assert "STSD_JOB" in names
    assert not names & {"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"}


def test_reload_brings_a_new_job_and_keeps_the_process(unit: Container) -> None:
    unit.start(TICK)
    pid = unit.property("MainPID")
    unit.write(JOBFILE, TICK + TOCK)
    unit.run("systemctl", "reload", "stsd")
    wait_for("a run of the new job", lambda: unit.finished("tock"))
    assert unit.property("MainPID") == pid
    wait_for("the new status", lambda: "2 jobs" in unit.property("StatusText"))
    assert unit.property("ActiveState") == "active"


def test_reload_with_a_broken_jobfile_fails_says_why_and_keeps_the_old_jobs(
    unit: Container,
) -> None:
    unit.start(TICK)
    pid = unit.property("MainPID")
    unit.write(JOBFILE, TICK.replace("every", "evry"))
    assert unit.run("systemctl", "reload", "stsd", check=False).returncode != 0
    assert f"{JOBFILE}:4:1: jobs.tick.evry: " in unit.journal()
    seen = len(unit.finished("tick"))
    wait_for("a further run of the old job", lambda: len(unit.finished("tick")) > seen)
    assert unit.property("MainPID") == pid


def test_a_broken_jobfile_that_arrives_by_signal_is_told_in_the_status(unit: Container) -> None:
    unit.start(TICK)
    unit.write(JOBFILE, TICK.replace("every", "evry"))
    unit.run("systemctl", "kill", "--kill-who=main", "--signal=HUP", "stsd")
    wait_for("the refusal in the status", lambda: "jobs.tick.evry" in unit.property("StatusText"))
    assert unit.property("ActiveState") == "active"
    seen = len(unit.finished("tick"))
    wait_for("a further run of the old job", lambda: len(unit.finished("tick")) > seen)


def test_a_start_with_a_broken_jobfile_fails_for_good_and_says_why(unit: Container) -> None:
    unit.write(JOBFILE, '[jobs.a]\ncommand = "true"\nevery = "soon"\n')
    assert unit.run("systemctl", "start", "stsd", check=False).returncode != 0
    assert f"{JOBFILE}:3:" in unit.journal()
    assert unit.property("ActiveState") == "failed"
    assert unit.property("ExecMainStatus") == "2"
    assert unit.property("NRestarts") == "0"


def test_a_hung_loop_trips_the_watchdog_and_the_service_comes_back(unit: Container) -> None:
    unit.write(f"{DROP_INS}/soon.conf", "[Service]\nWatchdogSec=2s\n")
    unit.run("systemctl", "daemon-reload")
    unit.start(TICK)
    pid = unit.property("MainPID")
    time.sleep(3)  # longer than the watchdog allows: a loop that is alive is left alone
    assert unit.property("MainPID") == pid
    unit.run("kill", "-STOP", pid)
    wait_for("the restart", lambda: unit.property("NRestarts") == "1", patience=90)
    wait_for("the service", lambda: unit.property("ActiveState") == "active")
    assert unit.property("MainPID") != pid
    seen = len(unit.finished("tick"))
    wait_for("runs of the new process", lambda: len(unit.finished("tick")) > seen)
    assert "atchdog timeout" in unit.journal()


def test_stop_ends_within_its_grace_and_leaves_nothing_behind(unit: Container) -> None:
    jobs = """
[daemon]
stop_timeout = "1s"
[jobs.stubborn]
command = "trap '' TERM; sleep 300 & sleep 300; sleep 300"
on_start = true
stop_grace = "1s"
"""
    unit.start(jobs)
    wait_for("the job's processes", lambda: len(unit.processes()) >= 4)
    began = time.monotonic()
    unit.run("systemctl", "stop", "stsd")
    assert time.monotonic() - began < 10
    assert unit.processes() == []
    assert unit.run("pgrep", "-f", "sleep 300", check=False).returncode == 1
    assert unit.property("Result") == "success"
    assert [record["outcome"] for record in unit.finished("stubborn")] == ["interrupted"]


def test_a_run_that_ends_within_stop_timeout_is_waited_for(unit: Container) -> None:
    unit.start('[jobs.short]\ncommand = "sleep 3; echo done"\non_start = true\n')
    wait_for("the job's processes", lambda: len(unit.processes()) >= 2)
    unit.run("systemctl", "stop", "stsd")
    assert [record["outcome"] for record in unit.finished("short")] == ["succeeded"]


def test_a_jobfile_may_grant_its_jobs_more_time_than_the_unit_does(unit: Container) -> None:
    unit.write(f"{DROP_INS}/hasty.conf", "[Service]\nTimeoutStopSec=2s\n")
    unit.run("systemctl", "daemon-reload")
    jobs = '[daemon]\nstop_timeout = "1m"\n[jobs.long]\ncommand = "sleep 5; echo done"\n'
    unit.start(jobs + "on_start = true\n")
    wait_for("the job's processes", lambda: len(unit.processes()) >= 2)
    unit.run("systemctl", "stop", "stsd")
    assert unit.property("Result") == "success"
    assert [record["outcome"] for record in unit.finished("long")] == ["succeeded"]


def test_a_job_with_limits_takes_along_what_has_left_its_process_group(unit: Container) -> None:
    jobs = """
[jobs.runaway]
command = "setsid sh -c 'setsid sleep 986 >/dev/null 2>&1 &'; cat /proc/self/cgroup"
limits = { open_files = 64 }
on_start = true
"""
    unit.start(jobs)
    record = wait_for("the end of the job", lambda: unit.finished("runaway"))[0]
    assert record["outcome"] == "succeeded"
    said = unit.output(record)
    assert "/system.slice/stsd.service/stsd-" in said
    assert unit.run("pgrep", "-x", "-f", "sleep 986", check=False).returncode == 1


def test_a_job_is_given_the_credential_that_it_names_and_nobody_else_is(unit: Container) -> None:
    unit.write(f"{DROP_INS}/credential.conf", "[Service]\nLoadCredential=token:/etc/stsd/token\n")
    unit.write("/etc/stsd/token", "s3cr3t-of-a-test\n")
    unit.run("chmod", "600", "/etc/stsd/token")
    unit.run("systemctl", "daemon-reload")
    told = 'printf %s "$TOKEN" | wc -c; echo "$TOKEN"; ls /run/credentials/stsd.service'
    unit.start(f"""
[jobs.bearer]
command = '{told}'
secrets = {{ TOKEN = {{ credential = "token" }} }}
user = "nobody"
on_start = true

[jobs.other]
command = 'env; {told}'
user = "nobody"
on_start = true
""")
    bearer = wait_for("the run with the secret", lambda: unit.finished("bearer"))[0]
    other = wait_for("the run without", lambda: unit.finished("other"))[0]
    length, shown, *_ = unit.output(bearer).splitlines()
    assert length == str(len("s3cr3t-of-a-test"))
    assert shown == "***"
    assert bearer["outcome"] == other["outcome"] == "failed"  # of ls: the folder is root's
    assert "Permission denied" in unit.output(bearer)
    assert "CREDENTIALS_DIRECTORY" not in unit.output(other)
    assert "s3cr3t" not in unit.journal() + str(list(unit.history()))


def test_a_credential_that_the_unit_does_not_load_is_told_by_name(unit: Container) -> None:
    unit.start("""
[jobs.bearer]
command = "true"
secrets = { TOKEN = { credential = "tokn" } }
on_start = true
""")
    record = wait_for("the end of the run", lambda: unit.finished("bearer"))[0]
    assert record["outcome"] == "spawn_failed"
    assert "tokn" in record["error"]


def test_jobs_live_in_the_sandbox_and_a_drop_in_lets_them_out(unit: Container) -> None:
    jobs = '[jobs.write]\ncommand = "mkdir -p /srv/of-a-job && touch /srv/of-a-job/it"\n'
    jobs += "on_start = true\n"
    unit.start(jobs)
    refused = wait_for("the refused run", lambda: unit.finished("write"))[0]
    assert refused["outcome"] == "failed"
    unit.run("systemctl", "stop", "stsd")
    unit.write(f"{DROP_INS}/srv.conf", "[Service]\nReadWritePaths=/srv\n")
    unit.run("systemctl", "daemon-reload")
    unit.run("systemctl", "start", "stsd")
    outcomes = wait_for(
        "the second run",
        lambda: [record["outcome"] for record in unit.finished("write")][1:],
    )
    assert outcomes == ["succeeded"]
