"""What an administrator does with stsd under a real systemd: installing it by `stsd init`, the
commands, the journal, credentials, restarts, and the variants that need no root."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.system.support import JOBFILE, Container, wait_for

pytestmark = pytest.mark.system

STSD = "/opt/stsd/bin/stsd"
UNIT = "/etc/systemd/system/stsd.service"
DROP_IN = "/etc/systemd/system/stsd.service.d/test.conf"
TICK = """
[jobs.tick]
command = "echo tick"
every = "1s"
"""
ONCE = """
[jobs.once]
command = "id -un; echo to stderr >&2; exit 3"
"""
USER = "stsd-tester"


def stsd(box: Container, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """A command as an administrator types it, who has named no jobfile."""
    return box.run("env", "-C", "/", STSD, *words, check=check)


def init(box: Container, *options: str) -> str:
    said = stsd(box, "init", "--systemd", "--force", *options).stdout
    box.run("systemctl", "daemon-reload")
    return said


def drop_in(box: Container, *lines: str) -> None:
    box.write(DROP_IN, "\n".join(["[Service]", *lines, ""]))
    box.run("systemctl", "daemon-reload")


def entries(box: Container, *matches: str) -> list[dict[str, Any]]:
    """The journal's entries of this boot that have these fields, oldest first."""
    shown = box.run("journalctl", "-b", "-o", "json", "--all", "--no-pager", *matches)
    return [json.loads(line) for line in shown.stdout.splitlines()]


def output_of(box: Container, record: dict[str, Any]) -> str:
    return box.run("cat", f"/var/log/stsd/{record['output']}").stdout


def started(box: Container, job: str) -> list[dict[str, Any]]:
    return [
        record for record in box.history() if record["event"] == "started" and record["job"] == job
    ]


def steps_of(said: str) -> list[Sequence[str]]:
    """The commands that `stsd init` tells one to type next."""
    return [
        line.split()
        for line in said.partition("next:\n")[2].splitlines()
        if line.startswith("  systemctl")
    ]


@pytest.fixture
def unprivileged(unit: Container) -> Iterator[Container]:
    """The service is that of a user who exists only while it runs."""
    init(unit, "--unprivileged")
    yield unit
    unit.clear()
    unit.run("rm", "-rf", "/var/log/private/stsd", "/var/lib/private/stsd")
    init(unit)


@dataclass(frozen=True)
class Person:
    """Somebody without root, whose own systemd runs."""

    box: Container
    uid: int

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        home = f"/home/{USER}"
        runtime = f"XDG_RUNTIME_DIR=/run/user/{self.uid}"
        words = ("runuser", "-u", USER, "--", "env", "-i", "-C", home, f"HOME={home}", runtime)
        return self.box.run(*words, "PATH=/usr/bin:/bin", *command, check=check)


@pytest.fixture(scope="module")
def person(container: Container) -> Iterator[Person]:
    pam = "ls /lib/*/security/pam_systemd.so"
    if container.run("sh", "-c", pam, check=False).returncode:
        pytest.skip("needs pam_systemd (apt-get install libpam-systemd)")
    container.run("useradd", "--create-home", USER)
    somebody = Person(container, int(container.run("id", "-u", USER).stdout))
    container.run("loginctl", "enable-linger", USER)
    wait_for(
        "the user's systemd",
        lambda: (
            "running"
            in somebody.run("systemctl", "--user", "is-system-running", check=False).stdout
        ),
    )
    yield somebody
    container.run("loginctl", "disable-linger", USER)
    gone = ("pgrep", "-u", USER)
    wait_for("its end", lambda: container.run(*gone, check=False).returncode == 1)
    container.run("userdel", "--remove", USER, check=False)


# -- installing


def test_what_init_tells_one_to_type_next_runs_the_first_jobfile(unit: Container) -> None:
    said = init(unit)
    steps = steps_of(said)
    assert [step[1] for step in steps] == ["daemon-reload", "enable", "status"]
    for step in steps:
        unit.run(*step)
    assert unit.property("UnitFileState") == "enabled"
    assert unit.property("ActiveState") == "active"
    jobs = [json.loads(line)["job"] for line in stsd(unit, "status", "--json").stdout.splitlines()]
    assert len(jobs) > 0
    assert f"{len(jobs)} job" in unit.property("StatusText")


@pytest.mark.parametrize("variant", [(), ("--unprivileged",)], ids=["root", "unprivileged"])
def test_systemd_finds_no_fault_with_what_init_writes(
    unit: Container, variant: tuple[str, ...]
) -> None:
    init(unit, *variant)
    try:
        done = unit.run("systemd-analyze", "verify", UNIT)
        assert done.stdout + done.stderr == ""
    finally:
        init(unit)


def test_the_unprivileged_unit_exposes_no_more_than_promised(unprivileged: Container) -> None:
    unprivileged.run("systemd-analyze", "security", "--offline=true", "--threshold=20", UNIT)
    unprivileged.start(TICK)
    shown = unprivileged.run("systemd-analyze", "security", "--no-pager", "stsd.service").stdout
    level = re.search(r"Overall exposure level for stsd.service: ([0-9.]+)", shown)
    assert level is not None
    assert float(level[1]) <= 2.0


# -- by hand, over the control socket


def test_status_tells_of_the_jobs_and_exits_with_3_once_the_service_is_stopped(
    unit: Container,
) -> None:
    unit.start(TICK + ONCE)
    wait_for("a run", lambda: unit.finished("tick"))
    rows = {
        row["job"]: row
        for row in map(json.loads, stsd(unit, "status", "--json").stdout.splitlines())
    }
    assert rows["tick"]["last_outcome"] == "succeeded"
    assert (rows["once"]["next"], rows["once"]["last_outcome"]) == (None, None)
    unit.run("systemctl", "stop", "stsd")
    assert stsd(unit, "trigger", "once", check=False).returncode == 3
    assert unit.run("ls", "/run/stsd", check=False).returncode == 2  # the folder went with it


def test_what_a_stopped_service_has_on_record_is_found_where_systemd_had_it_put(
    unit: Container,
) -> None:
    unit.start(TICK + ONCE)
    stsd(unit, "trigger", "once", "--wait", check=False)
    unit.run("systemctl", "stop", "stsd")
    assert json.loads(stsd(unit, "history", "once", "-n", "1", "--json").stdout)["exit_code"] == 3
    assert 'last_outcome": "failed' in stsd(unit, "status", "--json").stdout
    assert stsd(unit, "logs", "once").stdout == "root\nto stderr\n"
    assert stsd(unit, "audit").stdout.startswith("JOB ")


def test_trigger_wait_shows_the_output_and_exits_with_the_jobs_verdict(unit: Container) -> None:
    unit.start(ONCE + '[jobs.fine]\ncommand = "echo fine"\n')
    done = stsd(unit, "trigger", "once", "--wait", check=False)
    assert (done.returncode, done.stdout) == (1, "root\nto stderr\n")
    done = stsd(unit, "trigger", "fine", "--wait")
    assert done.stdout == "fine\n"
    assert [record["exit_code"] for record in unit.finished("once")] == [3]


def test_who_may_only_look_sees_the_status_and_can_change_nothing(
    unit: Container, person: Person
) -> None:
    unit.start(f'[daemon]\ncontrol = {{ read_users = ["{USER}"] }}\n{ONCE}')
    unit.run("chmod", "a+rx", "/etc/stsd")
    assert "once" in person.run(STSD, "status").stdout
    refused = person.run(STSD, "trigger", "once", check=False)
    assert refused.returncode != 0
    assert "may" in refused.stderr
    assert started(unit, "once") == []


def test_reload_returns_when_the_new_jobfile_is_in_force(unit: Container) -> None:
    unit.start(TICK)
    pid = unit.property("MainPID")
    unit.write(JOBFILE, TICK + ONCE)
    unit.run("systemctl", "reload", "stsd")
    assert '"once"' in stsd(unit, "status", "once", "--json").stdout
    assert unit.property("MainPID") == pid


def test_the_journal_says_what_a_reload_has_changed(unit: Container) -> None:
    unit.start(TICK)
    unit.write(JOBFILE, TICK + ONCE)
    unit.run("systemctl", "reload", "stsd")
    wait_for("the entry", lambda: "reloaded: 1 job added, 1 job unchanged" in unit.journal())


# -- the journal


def test_the_journal_knows_job_and_run_of_every_entry_about_one(unit: Container) -> None:
    unit.start(ONCE.replace("once", "fields"))
    stsd(unit, "trigger", "fields", "--wait", check=False)
    run = unit.finished("fields")[0]["run"]
    about = wait_for("both entries", lambda: entries(unit, f"STSD_RUN={run}")[1:])
    finished = about[-1]
    assert finished["STSD_EVENT"] == "finished"
    assert (finished["STSD_JOB"], finished["STSD_RUN"]) == ("fields", run)
    assert (finished["STSD_OUTCOME"], finished["STSD_EXIT_CODE"]) == ("failed", "3")
    assert (finished["PRIORITY"], finished["SYSLOG_IDENTIFIER"]) == ("4", "stsd")
    assert (finished["_TRANSPORT"], finished["_SYSTEMD_UNIT"]) == ("journal", "stsd.service")
    assert finished["MESSAGE"].startswith("finished job=fields outcome=failed exit_code=3 ")
    warnings = entries(unit, "-p", "warning", "STSD_JOB=fields")
    assert [entry["STSD_EVENT"] for entry in warnings] == ["finished"]


def test_a_log_that_is_redirected_stays_json_lines(unit: Container) -> None:
    drop_in(unit, "StandardOutput=file:/run/stsd-test.log")
    unit.start(TICK)
    wait_for("a run", lambda: unit.finished("tick"))
    lines = unit.run("cat", "/run/stsd-test.log").stdout.splitlines()
    unit.run("rm", "/run/stsd-test.log")
    assert "started_daemon" in [json.loads(line)["event"] for line in lines]


def test_a_journal_that_stands_still_holds_up_no_job_and_misses_nothing(unit: Container) -> None:
    loud = """
[jobs.loud{0}]
command = "seq 100"
output = {{ tee = true }}
tags = ["loud"]
"""
    count = 10  # together more lines than the kernel keeps for a reader: 512 by systemd's word
    unit.start(TICK + "".join(loud.format(number) for number in range(count)))
    unit.run("systemctl", "kill", "--signal=STOP", "systemd-journald")
    try:
        stsd(unit, "trigger", "--tag", "loud", "--wait")
        seen = len(unit.finished("tick"))
        wait_for("further runs", lambda: len(unit.finished("tick")) > seen + 2)
    finally:
        unit.run("systemctl", "kill", "--signal=CONT", "systemd-journald")
    runs = [unit.finished(f"loud{number}")[0]["run"] for number in range(count)]

    def told() -> dict[str, list[str]]:
        lines: dict[str, list[str]] = {run: [] for run in runs}
        for entry in entries(unit, "STSD_EVENT=output"):
            lines.get(entry["STSD_RUN"], []).append(entry["STSD_LINE"])
        return lines

    wait_for("all that was printed", lambda: sum(map(len, told().values())) >= 100 * count)
    printed = [str(number) for number in range(1, 101)]
    assert told() == dict.fromkeys(runs, printed)


# -- credentials


SECRET = """
[jobs.secret]
command = 'test "$TOKEN" = squeamish-ossifrage && echo "it is $TOKEN"'
secrets = { TOKEN = { credential = "api-token" } }
"""


def test_a_credential_of_the_unit_reaches_the_job_that_asks_for_it(unit: Container) -> None:
    check_credential(unit)


def test_a_credential_reaches_jobs_that_have_no_root(unprivileged: Container) -> None:
    check_credential(unprivileged)


def check_credential(box: Container) -> None:
    box.write("/root/api-token", "squeamish-ossifrage\n")
    box.run("chmod", "600", "/root/api-token")
    drop_in(box, "LoadCredential=api-token:/root/api-token")
    box.start(SECRET)
    assert stsd(box, "trigger", "secret", "--wait").stdout == "it is ***\n"
    assert "squeamish" not in box.journal()


# -- restarts with running jobs


def test_a_restart_waits_for_what_runs_and_loses_nothing(unit: Container) -> None:
    unit.start('[jobs.long]\ncommand = "sleep 2; echo whole"\non_start = true\n' + TICK)
    wait_for("the job", lambda: started(unit, "long"))
    unit.run("systemctl", "restart", "stsd")
    first = unit.finished("long")[0]
    assert (first["outcome"], output_of(unit, first)) == ("succeeded", "whole\n")
    seen = len(unit.finished("tick"))
    wait_for("further runs", lambda: len(unit.finished("tick")) > seen)
    assert "the books balance" in stsd(unit, "audit").stdout


def test_a_run_that_a_restart_interrupts_is_repeated_where_that_is_asked_for(
    unit: Container,
) -> None:
    jobs = """
[daemon]
stop_timeout = "1s"
[defaults]
stop_grace = "1s"
[jobs.modest]
command = "sleep 100"
[jobs.again]
command = "test -e $HOME/again && exit 0; touch $HOME/again; sleep 100"
env = { HOME = "/var/lib/stsd" }
delivery = "at_least_once"
"""
    unit.start(jobs)
    stsd(unit, "trigger", "modest", "again")
    wait_for("both", lambda: started(unit, "modest") and started(unit, "again"))
    unit.run("systemctl", "restart", "stsd")
    outcomes = wait_for(
        "the second attempt",
        lambda: [(record["run"], record["outcome"]) for record in unit.finished("again")][1:],
    )
    first = unit.finished("again")[0]
    assert first["outcome"] == "interrupted"
    assert outcomes == [(first["run"], "succeeded")]
    assert [record["outcome"] for record in unit.finished("modest")] == ["interrupted"]


def test_a_restart_in_place_keeps_process_jobs_exit_statuses_and_fields(unit: Container) -> None:
    unit.start('[jobs.held]\ncommand = "sleep 3; exit 7"\n')
    pid = unit.property("MainPID")
    stsd(unit, "trigger", "held")
    wait_for("the job", lambda: started(unit, "held"))
    unit.run("systemctl", "kill", "--kill-who=main", "--signal=USR2", "stsd")
    record = wait_for("its end", lambda: unit.finished("held"))[0]
    assert (record["outcome"], record["exit_code"]) == ("failed", 7)
    assert unit.property("MainPID") == pid
    assert unit.property("NRestarts") == "0"
    run = f"STSD_RUN={record['run']}"
    told = wait_for("its entry", lambda: entries(unit, run, "STSD_EVENT=finished"))
    assert told[0]["STSD_EXIT_CODE"] == "7"


def test_after_a_kill_systemd_starts_it_anew_and_the_books_balance(unit: Container) -> None:
    unit.start(TICK + '[jobs.long]\ncommand = "sleep 987"\n')
    stsd(unit, "trigger", "long")
    wait_for("the job", lambda: started(unit, "long"))
    pid = unit.property("MainPID")
    unit.run("kill", "-KILL", pid)
    wait_for("the restart", lambda: unit.property("NRestarts") == "1")
    wait_for("the service", lambda: unit.property("ActiveState") == "active")
    ends = wait_for("the end on record", lambda: unit.finished("long"))
    assert [end["outcome"] for end in ends] == ["interrupted"]
    assert unit.run("pgrep", "-x", "-f", "sleep 987", check=False).returncode == 1
    assert "the books balance" in stsd(unit, "audit").stdout


# -- without root


def test_the_unprivileged_service_does_its_work_as_a_user_of_its_own(
    unprivileged: Container,
) -> None:
    unprivileged.start(TICK + ONCE)
    done = stsd(unprivileged, "trigger", "once", "--wait", check=False)
    assert (done.returncode, done.stdout) == (1, "stsd\nto stderr\n")
    pid = unprivileged.property("MainPID")
    capabilities = unprivileged.run("grep", "^Cap", f"/proc/{pid}/status").stdout
    assert set(re.findall(r"\t(\w+)", capabilities)) == {"0" * 16}
    unprivileged.write(JOBFILE, TICK)
    unprivileged.run("systemctl", "reload", "stsd")
    assert "once" not in stsd(unprivileged, "status", "--json").stdout
    wait_for("a run", lambda: "tick" in stsd(unprivileged, "history", "tick", "-n", "1").stdout)
    assert "the books balance" in stsd(unprivileged, "audit").stdout


def test_the_unprivileged_service_stops_in_time_and_leaves_nothing_behind(
    unprivileged: Container,
) -> None:
    jobs = '[daemon]\nstop_timeout = "1s"\n[jobs.stubborn]\nstop_grace = "1s"\n'
    jobs += """command = "trap '' TERM; sleep 988 & setsid sleep 988 & sleep 988"\n"""
    unprivileged.start(jobs)
    stsd(unprivileged, "trigger", "stubborn")
    wait_for("the job's processes", lambda: len(unprivileged.processes()) >= 5)
    began = time.monotonic()
    unprivileged.run("systemctl", "stop", "stsd")
    assert time.monotonic() - began < 10
    assert unprivileged.property("Result") == "success"
    assert unprivileged.run("pgrep", "-f", "sleep 988", check=False).returncode == 1
    assert unprivileged.run("ls", "/run/stsd", check=False).returncode == 2
    assert unprivileged.run("getent", "passwd", "stsd", check=False).returncode == 2


def test_a_person_without_root_has_a_service_of_their_own(person: Person) -> None:
    said = person.run(STSD, "init", "--systemd", "--user").stdout
    done = person.run("systemd-analyze", "--user", "verify", "stsd.service")
    assert done.stdout + done.stderr == ""
    jobs = f"/home/{USER}/.config/stsd/jobs.toml"
    person.run("sh", "-c", f"cat >{jobs} <<'END'\n{ONCE.replace('once', 'mine')}\nEND")
    for step in steps_of(said):
        person.run(*step)
    done = person.run("env", f"STSD_CONFIG={jobs}", STSD, "trigger", "mine", "--wait", check=False)
    assert (done.returncode, done.stdout) == (1, f"{USER}\nto stderr\n")
    (told,) = wait_for(
        "the entry",
        lambda: entries(person.box, "STSD_JOB=mine", "STSD_EVENT=finished"),
    )
    assert told["_SYSTEMD_USER_UNIT"] == "stsd.service"
    person.run("sh", "-c", f"cat >>{jobs} <<'END'\n{TICK}\nEND")
    person.run("systemctl", "--user", "reload", "stsd")
    assert "tick" in person.run("env", f"STSD_CONFIG={jobs}", STSD, "status").stdout
    person.run("systemctl", "--user", "stop", "stsd")
    assert person.run("ls", f"/run/user/{person.uid}/stsd", check=False).returncode == 2
