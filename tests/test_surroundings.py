"""From a jobfile to how its jobs are run: as whom, with what, after what."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from stsd.model import ArgvTask, Limits, Output, PythonTask, Secret, ShellTask, WaitFor
from tests.support_jobfile import COMMAND, ROOT, SOMEBODY, job, loaded, problem, problems, warnings


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)


def test_a_condition_is_a_command_of_either_form() -> None:
    assert job('condition = "test -e /x"').condition == ShellTask("test -e /x")
    assert job('condition = ["test", "-e", ""]').condition == ArgvTask(("test", "-e", ""))
    made = loaded('[jobs.a]\ncommand = ["true"]\nshell = "/bin/bash"\ncondition = "x"\n')
    assert made.jobs["a"].condition == ShellTask("x", "/bin/bash")


def test_a_run_waits_for_what_is_named() -> None:
    here = os.getcwd()
    lines = (
        'wait_for = { network = "db.example.com:5432", path = "ready", job = "b", within = "1d",'
        ' load = 2, timeout = "1m" }'
    )
    expected = WaitFor(("db.example.com", 5432), f"{here}/ready", "b", 86400.0, 2.0, 60.0)
    assert job(lines).wait_for == expected
    assert job('wait_for = { network = "[::1]:53" }').wait_for == WaitFor(("::1", 53))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('timeout = "1m"', "says nothing to wait for (one of network, path, job, load)"),
        ("", "says nothing to wait for"),
        ('path = "x", within = "1h"', "jobs.a.wait_for.within: belongs to `job`, which is not th"),
        ('job = "bb"', 'jobs.a.wait_for.job: there is no job "bb" (did you mean `b`?)'),
        ('job = "a"', "jobs.a.wait_for.job: a job cannot wait for itself"),
        ('network = "https://x.org:443"', 'is not a host and a port (such as "example.com:443"'),
        ('network = "x.org"', "is not a host and a port"),
        ('network = "x.org:0"', "0 is not a port (from 1 to 65535)"),
        ("load = 0", "from 0.01 to 100000"),
    ],
)
def test_a_run_cannot_wait_for_nothing(table: str, said: str) -> None:
    assert said in problem(f"wait_for = {{ {table} }}")


def test_env_files_are_absolute_and_missing_ones_warned_of() -> None:
    Path("here.env").touch()
    made = job('env_file = ["here.env", "/nowhere/x.env"]')
    assert made.env_files == (f"{os.getcwd()}/here.env", "/nowhere/x.env")
    assert warnings('env_file = ["here.env", "/nowhere/x.env"]') == [
        'jobs.toml:3:25: jobs.a.env_file: there is no file "/nowhere/x.env"'
    ]


def test_secrets_come_from_a_file_a_credential_or_a_command() -> None:
    Path("token").touch(0o600)
    made = job(
        """
        [jobs.a.secrets]
        TOKEN = { file = "token" }
        KEY = { credential = "api.key" }
        PIN = { command = "echo 1" }
        PASSWORD = { command = ["cat", "/x"] }
        """
    )
    assert made.secrets == (
        Secret("KEY", credential="api.key"),
        Secret("PASSWORD", command=ArgvTask(("cat", "/x"))),
        Secret("PIN", command=ShellTask("echo 1")),
        Secret("TOKEN", file=f"{os.getcwd()}/token"),
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("T = {}", "jobs.a.secrets.T: is nowhere (one of file, credential, command)"),
        ("T = { file = 'x', credential = 'y' }", "is in file and in credential (one of"),
        ("T = 'x'", "must be a table"),
        ("T = { fil = 'x' }", "did you mean `file`?"),
        ("'A=B' = { file = 'x' }", "is not a variable's name: letters, digits and _"),
        ("STSD_JOB = { file = 'x' }", "is set by stsd itself (choose another name)"),
        ("T = { credential = '../x' }", "is not a credential's name"),
        ("T = { credential = '..' }", "is not a credential's name"),
        ("T = { command = [''] }", "the name of the program is empty"),
    ],
)
def test_a_secret_has_one_place_and_a_name(table: str, said: str) -> None:
    assert said in problem(f"secrets = {{ {table} }}")


def test_a_secret_of_the_name_of_a_variable_is_refused() -> None:
    told = problems(
        f'[defaults]\nenv = {{ T = "1" }}\n{COMMAND}secrets = {{ T = {{ credential = "t" }} }}\n'
    )
    assert told == ["jobs.toml:5:13: jobs.a.secrets.T: is in `env`, too (take one out)"]


def test_a_secrets_file_that_is_missing_or_open_to_others_is_warned_of() -> None:
    Path("token").touch()
    Path("token").chmod(0o644)
    lines = 'secrets = { A = { file = "token" }, B = { file = "/nowhere/b" } }'
    assert [text.partition(": ")[2] for text in warnings(lines)] == [
        "jobs.a.secrets.A.file: is open to others, and so will be refused (chmod 600)",
        'jobs.a.secrets.B.file: there is no file "/nowhere/b"',
    ]


def test_secrets_limits_and_outputs_of_the_defaults_are_overridden_key_by_key() -> None:
    made = loaded(
        """
        [defaults]
        secrets = { A = { credential = "a" }, B = { credential = "b" } }
        limits = { memory = "1G", processes = 9 }
        output = { max_size = "1M", keep = "1d" }
        [jobs.a]
        command = "true"
        secrets = { B = { credential = "c" } }
        limits = { memory = "2G" }
        output = { tee = true }
        """
    ).jobs["a"]
    assert made.secrets == (Secret("A", credential="a"), Secret("B", credential="c"))
    assert made.limits == Limits(memory=2 << 30, processes=9)
    assert made.output == Output(1 << 20, 86400.0, tee=True)


def test_a_user_is_a_name_or_a_number() -> None:
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert job(f'user = "{me}"').user == me
    assert job(f"user = {os.geteuid()}\ngroup = {os.getegid()}").user == os.geteuid()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('user = "nobdy"', 'jobs.a.user: there is no user "nobdy" (did you mean `nobody`?)'),
        ('user = "0"', 'there is no user "0" (write a number without quotes)'),
        ('group = "deamon"', 'jobs.a.group: there is no group "deamon" (did you mean `daemon`?)'),
        ("user = -1", "-1 is no number of a user"),
        ("group = 4294967295", "4294967295 is no number of a group"),
        ("user = 54321", "no user has the number 54321, so there is no telling its group (add a"),
    ],
)
def test_an_unknown_user_or_group_is_refused(line: str, said: str) -> None:
    assert said in problem(line)


def test_a_number_that_no_user_has_is_taken_with_a_group() -> None:
    made = loaded(f"{COMMAND}user = 54321\ngroup = 54321\n", ROOT if os.geteuid() == 0 else None)
    assert (made.jobs["a"].user, made.jobs["a"].group) == (54321, 54321)


def test_another_user_is_refused_for_a_daemon_that_is_not_root() -> None:
    text = f'{COMMAND}user = "nobody"\n'
    said = (
        'jobs.toml:3:8: jobs.a.user: only root may run a job as the user "nobody"'
        " (run stsd as root, or take it out)"
    )
    assert problems(text, SOMEBODY, to_run=True) == [said]
    assert said in loaded(text, SOMEBODY).warnings


def test_another_group_is_refused_for_a_daemon_that_is_not_root() -> None:
    group = os.getegid() + 1
    text = f"{COMMAND}group = {group}\n"
    said = f"only root may run a job as the group {group}"
    (told,) = problems(text, SOMEBODY, to_run=True)
    assert said in told
    assert said in str(loaded(text, SOMEBODY).warnings)


def test_the_own_user_is_nobodys_concern() -> None:
    text = f"{COMMAND}user = {SOMEBODY}\ngroup = {os.getegid()}\n"
    loaded(text, SOMEBODY, to_run=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="takes root")
def test_root_runs_jobs_as_anybody() -> None:
    loaded(f'{COMMAND}user = "nobody"\ngroup = "daemon"\nnice = -20\n', to_run=True)
    assert warnings('user = "nobody"\ngroup = "daemon"\nnice = -20') == []


def test_a_niceness_that_takes_root_is_warned_of() -> None:
    least = os.getpriority(os.PRIO_PROCESS, 0)
    (told,) = warnings(f"nice = {least - 1}", SOMEBODY)
    assert told.endswith(f"jobs.a.nice: {least - 1} takes root's rights (at least {least})")
    assert warnings(f"nice = {least}", SOMEBODY) == []


def test_limits_arrive() -> None:
    lines = """limits = { memory = "512M", cpu = 0.5, cpu_time = "1h", open_files = 64,
        processes = 10, file_size = "1G" }"""
    assert job(lines).limits == Limits(512 << 20, 0.5, 3600.0, 64, 10, 1 << 30)
    assert job("limits = {}").limits is None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("limits = { memory = 1000 }", "1000 is too small (at least 1.0 MiB)"),
        ("limits = { cpu = 0 }", "from 0.01 to 4096"),
        ("limits = { open_files = 3 }", "from 4 to"),
        ("limits = { mem = '1G' }", "did you mean `memory`?"),
        ("output = { max_size = 1023 }", "1023 is too small (at least 1.0 KiB)"),
        ("output = { tee = 'yes' }", "must be true or false"),
        ("nice = 20", "from -20 to 19"),
        ("max_running = 0", "from 1 to 10000"),
        ("pools = ['db', 'db']", '"db" is there twice'),
        ("pools = ['d b']", '"d b" is not a pool\'s name'),
    ],
)
def test_limits_and_their_like_have_bounds(line: str, said: str) -> None:
    assert said in problem(line)


def test_pools_max_running_and_warm_arrive() -> None:
    made = loaded(
        """
        [daemon]
        pools = { web = 3, db = 2 }
        [jobs.a]
        python = "a:b"
        pools = ["db", "web"]
        max_running = 2
        warm = true
        nice = 5
        """
    )
    assert made.settings.pools == (("db", 2), ("web", 3))
    a = made.jobs["a"]
    assert (a.pools, a.max_running, a.warm, a.nice) == (("db", "web"), 2, True, 5)
    assert a.task == PythonTask("a:b")


def test_a_pool_of_the_daemon_has_slots_and_a_name() -> None:
    (told,) = problems(f'[daemon]\npools = {{ "d b" = 1, db = 0 }}\n{COMMAND}')[:1]
    assert '"d b" is not a pool\'s name' in told
    (_, told) = problems(f'[daemon]\npools = {{ "d b" = 1, db = 0 }}\n{COMMAND}')
    assert "daemon.pools.db: 0 is out of range (from 1 to 10000)" in told
