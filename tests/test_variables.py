"""The variables of a job, for whoever is no run of it."""

from __future__ import annotations

import getpass
import os
import time
from pathlib import Path
from typing import Any

import pytest

from stsd import variables
from stsd.addressees import surroundings
from stsd.envfile import EnvFileError
from stsd.model import ArgvTask, Job, Secret, ShellTask
from stsd.notices import Means, Target
from stsd.variables import found
from stsd.vault import SecretError

TARGET = Target(Means.WEBHOOK, address="https://x.example.com")


def of(job: Job, *wanted: str) -> variables.Found:
    return found(surroundings(TARGET, [job]), frozenset(wanted))


def job_with(*secrets: Secret, **fields: Any) -> Job:
    return Job("a", ShellTask("true"), secrets=secrets, **fields)


def secret_file(path: Path, value: str) -> str:
    path.write_text(value)
    path.chmod(0o600)
    return str(path)


def test_env_files_give_way_to_the_jobfile_and_secrets_to_nobody(tmp_path: Path) -> None:
    file = secret_file(tmp_path / "a.env", "A=file\nB=file\nC=file\n")
    key = secret_file(tmp_path / "key", "secret\n")
    job = job_with(Secret("C", file=key), env=(("A", "own"), ("C", "own")), env_files=(file,))
    values = of(job, "A", "B", "C").values
    assert [values[name] for name in "ABC"] == ["own", "file", "secret"]


def test_secrets_are_what_is_hidden(tmp_path: Path) -> None:
    job = job_with(Secret("KEY", file=secret_file(tmp_path / "key", "hunter22")))
    known = of(job, "KEY")
    assert known.hide == ("hunter22",)
    assert "hunter22" not in repr(known)


def test_what_is_not_wanted_is_not_fetched(tmp_path: Path) -> None:
    job = job_with(
        Secret("KEY", command=ShellTask(f"touch {tmp_path}/asked; echo x")),
        env=(("A", "1"),),
        env_files=("/no/such/file",),
    )
    assert of(job, "A").values["A"] == "1"
    assert not (tmp_path / "asked").exists()


def test_a_command_prints_a_secret_and_sees_the_job_s_variables() -> None:
    job = job_with(
        Secret("KEY", command=ShellTask('echo "$A-$PWD"')),
        Secret("OTHER", command=ArgvTask(("printf", "x"))),
        env=(("A", "1"),),
        cwd="/usr",
    )
    values = of(job, "KEY", "OTHER").values
    assert (values["KEY"], values["OTHER"]) == ("1-/usr", "x")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, who can become another user")
def test_a_command_prints_a_secret_as_the_job_s_user() -> None:
    job = job_with(Secret("KEY", command=ShellTask("id -un; id -Gn; echo $HOME")), user="nobody")
    name, groups, home = of(job, "KEY").values["KEY"].split("\n")
    assert (name, groups, home) == ("nobody", "nogroup", "/nonexistent")


def test_a_stsd_that_is_the_user_already_becomes_nobody_else() -> None:
    job = job_with(Secret("KEY", command=ShellTask("id -un")), user=getpass.getuser())
    assert of(job, "KEY").values["KEY"] == getpass.getuser()


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (ShellTask("echo hunter22; exit 3"), "its command exited 3"),
        (ShellTask("kill -9 $$"), "its command was killed"),
        (ShellTask("true"), "what its command has printed is empty"),
        (ArgvTask(("/no/such",)), "its command cannot be started: No such file or directory"),
    ],
)
def test_a_secret_that_cannot_be_had_says_which_and_why(
    task: ShellTask | ArgvTask, why: str
) -> None:
    with pytest.raises(SecretError) as refused:
        of(job_with(Secret("KEY", command=task)), "KEY")
    assert str(refused.value) == f"secrets.KEY: {why}"


def test_a_command_that_takes_too_long_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variables, "PATIENCE_S", 0.2)
    with pytest.raises(SecretError, match=r"longer than 0\.2 s"):
        of(job_with(Secret("KEY", command=ArgvTask(("sleep", "300")))), "KEY")


def test_a_user_that_is_none_is_told_of() -> None:
    job = job_with(Secret("KEY", command=ShellTask("true")), user="no-such-user")
    with pytest.raises(SecretError, match="there is no user no-such-user"):
        of(job, "KEY")


def test_an_env_file_that_is_missing_is_told_of() -> None:
    with pytest.raises(EnvFileError, match="/no/such/file"):
        of(job_with(env_files=("/no/such/file",)), "A")


def test_commands_that_hang_leave_time_to_tell_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(variables, "TOGETHER_S", 0.5)
    job = job_with(*(Secret(name, command=ShellTask("sleep 20")) for name in "ABC"))
    began = time.monotonic()
    lacks = found(surroundings(TARGET, [job])).lacks
    assert [why.partition(":")[0] for why in lacks] == ["secrets.A", "secrets.B", "secrets.C"]
    assert time.monotonic() - began < 10
