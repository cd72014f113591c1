"""What a child is given, task by task."""

from __future__ import annotations

import json
import os
import pwd
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stsd.child import base_environment, child_spec, command
from stsd.model import (
    ArgvTask,
    HttpTask,
    Job,
    Limits,
    MessageTask,
    PythonTask,
    Run,
    ShellTask,
    TriggerKind,
)

BASE = {"PATH": "/bin", "HOME": "/daemon", "USER": "daemon", "LOGNAME": "daemon", "SHELL": "/x"}
JOB = Job("a", ShellTask("echo $X", "/bin/bash"), env=(("X", "1"),), cwd="/tmp", umask=0o77)


def run_of(job: Job) -> Run:
    return Run("a@20261121T023000Z", job, 1_795_228_200, TriggerKind.CRON)


def test_a_shell_command_is_given_to_its_shell() -> None:
    spec = child_spec(run_of(JOB), 2, BASE)
    assert spec.argv == ("/bin/bash", "-c", "echo $X")
    assert (spec.cwd, spec.umask, spec.stdin, spec.plain) == ("/tmp", 0o77, None, True)
    assert spec.env == BASE | {
        "X": "1",
        "STSD_JOB": "a",
        "STSD_RUN_ID": "a@20261121T023000Z",
        "STSD_SCHEDULED_AT": "2026-11-21T02:30:00Z",
        "STSD_ATTEMPT": "2",
        "STSD_TRIGGER": "cron",
    }


def test_env_files_and_secrets_are_added_to_the_environment_and_to_nothing_else() -> None:
    spec = child_spec(run_of(JOB), 1, BASE, {"X": "2", "DB_PASSWORD": "hunter2"})
    assert (spec.env["X"], spec.env["DB_PASSWORD"]) == ("2", "hunter2")
    assert "hunter2" not in str(spec.argv)


def test_nothing_of_the_daemons_life_is_inherited() -> None:
    environ = {"LANG": "C", "LC_TIME": "C", "LD_PRELOAD": "x", "NOTIFY_SOCKET": "x", "TZ": "UTC"}
    assert set(base_environment(environ)) == {"PATH", "LANG", "LC_TIME", "TZ"}


def test_arguments_of_python_are_read_from_standard_input_and_not_to_be_seen_in_argv() -> None:
    task = PythonTask("shop:run", '["secret"]', '{"base": "USD"}', ("/srv",), "/venv/bin/python")
    argv, stdin = command(task)
    assert (argv[0], Path(argv[1]).name, argv[2:]) == (
        "/venv/bin/python",
        "entry.py",
        ("shop:run",),
    )
    assert stdin is not None
    assert json.loads(stdin) == {
        "target": "shop:run",
        "args": ["secret"],
        "kwargs": {"base": "USD"},
        "path": ["/srv"],
    }


def test_of_an_http_request_only_what_is_public_is_to_be_seen_in_argv() -> None:
    task = HttpTask(
        "https://me:pass@example.com:8443/hook?token=1#x",
        method="POST",
        headers=(("A", "b"),),
        body="body",
        expect=(201,),
        timeout=5.0,
    )
    argv, stdin = command(task)
    assert argv[:2] == (sys.executable, "-I")
    assert Path(argv[2]).name == "http_request.py"
    assert argv[3:] == ("POST https://example.com:8443/hook",)
    assert stdin is not None
    assert json.loads(stdin) == {
        "url": task.url,
        "method": "POST",
        "headers": [["A", "b"]],
        "body": "body",
        "json": False,
        "expect": [201],
        "timeout": 5.0,
    }


def test_of_a_message_nothing_is_to_be_seen_in_argv() -> None:
    argv, stdin = command(MessageTask(("mailto://me:pass@example.com",), "title", "body"))
    assert argv[:2] == (sys.executable, "-I")
    assert [Path(word).name for word in argv[2:]] == ["send_message.py"]
    assert stdin is not None
    assert json.loads(stdin) == {
        "to": ["mailto://me:pass@example.com"],
        "title": "title",
        "body": "body",
    }


def test_a_user_has_nothing_of_the_daemons_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    spec = child_spec(run_of(replace(JOB, user="nobody", env=(("SHELL", "/bin/zsh"),))), 1, BASE)
    assert (spec.user, spec.plain) == ("nobody", False)
    assert {"HOME", "USER", "LOGNAME"} & set(spec.env) == set()
    assert spec.env["SHELL"] == "/bin/zsh"


@pytest.mark.parametrize("by_name", [True, False])
def test_a_user_that_stsd_is_already_needs_no_change_where_stsd_is_not_root(
    by_name: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = pwd.getpwnam("nobody")
    monkeypatch.setattr(os, "geteuid", lambda: nobody.pw_uid)
    job = replace(JOB, user="nobody" if by_name else nobody.pw_uid)
    spec = child_spec(run_of(job), 1, BASE)
    assert (spec.user, spec.plain, spec.env["HOME"]) == (None, True, "/daemon")
    assert child_spec(run_of(replace(job, group="nogroup")), 1, BASE).user == job.user
    assert child_spec(run_of(replace(job, user="daemon")), 1, BASE).user == "daemon"


@pytest.mark.parametrize(
    "change",
    [{"nice": 3}, {"group": 5}, {"user": 5}, {"limits": Limits(open_files=5)}],
    ids=lambda change: next(iter(change)),
)
def test_what_vfork_cannot_do_is_not_plain(change: dict[str, object]) -> None:
    assert not child_spec(run_of(replace(JOB, **change)), 1, BASE).plain  # type: ignore[arg-type]


def test_limits_that_the_control_group_holds_are_no_rlimits() -> None:
    run = run_of(replace(JOB, limits=Limits(memory=1 << 20, open_files=5)))
    alone = child_spec(run, 1, BASE)
    grouped = child_spec(run, 1, BASE, cgroup=Path("/group"), controllers=frozenset({"memory"}))
    assert [name for name, _, _ in alone.rlimits] == ["RLIMIT_AS", "RLIMIT_NOFILE"]
    assert [name for name, _, _ in grouped.rlimits] == ["RLIMIT_NOFILE"]
    assert grouped.cgroup == "/group"


def test_an_argv_is_taken_as_it_is() -> None:
    assert command(ArgvTask(("printf", "%s"))) == (("printf", "%s"), None)
