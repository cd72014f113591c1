"""Children as they are started: by vfork, and by the launcher."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import selectors
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stsd.child import ChildSpec
from stsd.errors import SpawnError
from stsd.twin import Twin
from stsd.vfork import Vfork
from tests.support import DEADLINE_S, descriptors
from tests.support_children import (
    CAUGHT_BY_PYTHON,
    IGNORED_BY_PYTHON,
    OF_LIBC,
    PLAIN,
    Children,
    children_in,
    python_for_all,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="changes users")
NOBODY = pwd.getpwnam("nobody")
NOWHERE = 54_321  # neither a user nor a group of this machine


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    with children_in(tmp_path) as children:
        yield children


LAUNCHED = replace(PLAIN, nice=0)
BOTH = pytest.mark.parametrize("spec", [PLAIN, LAUNCHED], ids=["vfork", "launcher"])


# -- what every child sees


@BOTH
def test_a_child_has_clean_signals(children: Children, spec: ChildSpec) -> None:
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGQUIT, signal.SIGUSR1})
    try:
        children.run(spec)
        seen = children.look(spec)["signals"]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    assert seen["SigBlk"] & ~OF_LIBC == 0
    assert seen["SigIgn"] & ~OF_LIBC == IGNORED_BY_PYTHON
    assert seen["SigCgt"] & ~OF_LIBC == CAUGHT_BY_PYTHON


@BOTH
def test_a_child_has_no_descriptor_but_the_three(tmp_path: Path, spec: ChildSpec) -> None:
    with open(os.devnull) as left_open_by_who_started_stsd:
        os.set_inheritable(left_open_by_who_started_stsd.fileno(), True)
        with children_in(tmp_path) as children, open(os.devnull):
            fds = children.look(spec)["fds"]
    assert fds["0"] == "/dev/null"
    assert fds["1"] == fds["2"]
    assert {"0", "1", "2"} == set(fds) - {fd for fd, to in fds.items() if to.endswith("/fd")}


@BOTH
def test_a_child_leads_a_session_and_a_group_and_is_the_daemons_own(
    children: Children, spec: ChildSpec
) -> None:
    seen = children.look(spec)
    assert seen["pid"] == seen["sid"] == seen["pgid"]
    assert seen["ppid"] == os.getpid()


@BOTH
def test_environment_folder_and_umask_are_those_of_the_spec(
    children: Children, spec: ChildSpec, tmp_path: Path
) -> None:
    seen = children.look(replace(spec, cwd=str(tmp_path), umask=0o027))
    assert seen["env"] == {"PATH": os.defpath, "COLOUR": "blue"}
    assert (seen["cwd"], seen["umask"]) == (str(tmp_path), 0o027)


def test_a_start_leaves_the_daemons_own_folder_and_umask_as_they_are(
    children: Children, tmp_path: Path
) -> None:
    before = os.getcwd(), os.umask(0o027)
    try:
        children.run(replace(PLAIN, cwd=str(tmp_path), umask=0o077))
        for impossible in (replace(PLAIN, cwd="/nowhere"), replace(PLAIN, argv=("/nowhere",))):
            with pytest.raises(SpawnError):
                children.start(impossible)
        assert (os.getcwd(), os.umask(0o027)) == (before[0], 0o027)
    finally:
        os.umask(before[1])


def exit_code_in(folder: Path, meanwhile: Callable[[], None]) -> int:
    """Of a child that a process of nobody's starts, in this folder."""

    def work() -> Iterator[int]:
        os.chdir(folder)
        os.setgroups([])
        os.setgid(NOBODY.pw_gid)
        os.setuid(NOBODY.pw_uid)
        vfork = Vfork()
        meanwhile()
        null = os.open(os.devnull, os.O_RDWR)
        _, status = os.waitpid(vfork.start(PLAIN, null, null), 0)
        yield os.waitstatus_to_exitcode(status)

    with selectors.DefaultSelector() as selector:
        twin = Twin(selector, work)
        twin.join(DEADLINE_S)
        (code,) = twin.findings()
    assert isinstance(code, int)
    return code


@needs_root
def test_children_are_started_from_a_folder_that_the_daemon_may_not_enter(tmp_path: Path) -> None:
    """As with `sudo -u nobody stsd run` in root's home."""
    tmp_path.chmod(0o700)
    assert exit_code_in(tmp_path, lambda: None) == 0


@needs_root
def test_no_child_is_lost_when_the_daemon_may_enter_its_folder_no_longer(tmp_path: Path) -> None:
    os.chown(tmp_path, NOBODY.pw_uid, NOBODY.pw_gid)
    assert exit_code_in(tmp_path, lambda: os.chmod(".", 0)) == 0


@BOTH
def test_standard_input_is_what_the_spec_says(children: Children, spec: ChildSpec) -> None:
    assert children.look(replace(spec, stdin=b"a task"))["stdin"] == "a task"


@BOTH
def test_words_that_are_no_utf8_arrive_as_they_are(children: Children, spec: ChildSpec) -> None:
    odd = os.fsdecode(b"caf\xe9")
    env = {**spec.env, "ODD": odd}
    code, output = children.run(
        replace(
            spec, argv=("sh", "-c", 'printf "%s%s" "$1" "$ODD" | od -An -tx1', "x", odd), env=env
        )
    )
    assert (code, output.split()) == (0, ["63", "61", "66", "e9"] * 2)


@BOTH
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"argv": ("no-such-program",)}, "cannot start no-such-program: No such file or directory"),
        ({"argv": ("/etc/passwd",)}, "cannot start /etc/passwd: Permission denied"),
        ({"cwd": "/no/where"}, "cannot enter the folder /no/where: No such file or directory"),
        ({"argv": ("true", "a\0b")}, "cannot start true: embedded null byte"),
        ({"argv": ("true", "x" * 300_000)}, "cannot start true: Argument list too long"),
    ],
)
def test_what_cannot_be_started_says_why(
    children: Children, spec: ChildSpec, change: dict[str, object], told: str
) -> None:
    spec = replace(spec, **change)  # type: ignore[arg-type]
    if spec.plain:
        with pytest.raises(SpawnError) as refused:
            children.start(spec)
        assert str(refused.value) == told
    else:
        assert children.refusal(spec) == told


# -- users and groups


@needs_root
def test_a_user_brings_groups_and_environment_of_its_own(children: Children) -> None:
    seen = children.look(replace(PLAIN, user="nobody"))
    assert seen["uids"] == [NOBODY.pw_uid] * 3
    assert seen["gids"] == [NOBODY.pw_gid] * 3
    assert seen["groups"] == sorted(os.getgrouplist("nobody", NOBODY.pw_gid))
    assert 0 not in seen["groups"]
    assert {name: seen["env"][name] for name in ("HOME", "USER", "LOGNAME", "SHELL")} == {
        "HOME": NOBODY.pw_dir,
        "USER": "nobody",
        "LOGNAME": "nobody",
        "SHELL": NOBODY.pw_shell,
    }


@needs_root
def test_a_user_with_many_groups_has_all_of_them(children: Children) -> None:
    """As `id` has it, which asks the user database by itself."""
    member = next(
        (name for group in grp.getgrall() for name in group.gr_mem if name != "root"), "nobody"
    )
    code, output = children.run(
        replace(PLAIN, argv=("sh", "-c", f"id -G; id -G {member}"), user=member)
    )
    own, wanted = output.splitlines()
    assert (code, sorted(own.split())) == (0, sorted(wanted.split()))


@needs_root
def test_what_the_job_says_of_its_environment_goes_before_the_users(children: Children) -> None:
    spec = replace(PLAIN, user="nobody", env={**PLAIN.env, "HOME": "/elsewhere"})
    env = children.look(spec)["env"]
    assert (env["HOME"], env["USER"]) == ("/elsewhere", "nobody")


@needs_root
def test_a_number_without_an_entry_has_the_group_that_is_said_and_no_other(
    children: Children,
) -> None:
    seen = children.look(replace(PLAIN, user=NOWHERE, group=NOWHERE + 1))
    assert seen["uids"] == [NOWHERE] * 3
    assert seen["gids"] == [NOWHERE + 1] * 3
    assert seen["groups"] == [NOWHERE + 1]
    assert "HOME" not in seen["env"]


@needs_root
def test_a_number_with_an_entry_is_that_user(children: Children) -> None:
    by_name, by_number = (
        children.look(replace(PLAIN, user=user)) for user in ("nobody", NOBODY.pw_uid)
    )
    for what in ("uids", "gids", "groups", "env"):
        assert by_name[what] == by_number[what]


@needs_root
def test_a_group_alone_leaves_the_user_as_it_is(children: Children) -> None:
    seen = children.look(replace(PLAIN, group=NOBODY.pw_gid))
    assert seen["uids"] == [0] * 3
    assert seen["gids"] == [NOBODY.pw_gid] * 3
    assert seen["groups"] == sorted(os.getgrouplist("root", NOBODY.pw_gid))
    assert "USER" not in seen["env"]


@needs_root
def test_root_as_a_user_has_none_of_the_daemons_supplementary_groups(children: Children) -> None:
    before = os.getgroups()
    os.setgroups([*before, NOWHERE])
    try:
        assert NOWHERE in children.look(PLAIN)["groups"]
        assert NOWHERE not in children.look(replace(PLAIN, user="root"))["groups"]
    finally:
        os.setgroups(before)


@needs_root
def test_a_user_cannot_become_root_again(children: Children) -> None:
    look = "import os\ntry: os.setuid(0)\nexcept PermissionError: print('refused')"
    spec = replace(PLAIN, argv=(python_for_all(), "-I", "-S", "-c", look), user="nobody")
    assert children.run(spec) == (0, "refused\n")


@needs_root
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"user": "no-such-one"}, "there is no user no-such-one on this machine"),
        ({"group": "no-such-one"}, "there is no group no-such-one on this machine"),
        (
            {"user": NOWHERE},
            f"user {NOWHERE} is not in the user database: say which group it is to have",
        ),
        (
            {"user": "nobody", "cwd": "/root"},
            "cannot enter the folder /root as user nobody: Permission denied",
        ),
        (
            {"rlimits": (("RLIMIT_NOFILE", 5, 4),)},
            "cannot set RLIMIT_NOFILE to 5: current limit exceeds maximum limit",
        ),
    ],
)
def test_what_a_child_cannot_be_is_said(
    children: Children, change: dict[str, object], told: str
) -> None:
    assert children.refusal(replace(PLAIN, **change)).startswith(told)  # type: ignore[arg-type]


def test_a_control_group_that_is_not_there_is_said(children: Children) -> None:
    with pytest.raises(SpawnError, match="cannot enter the control group /no/where: No such"):
        children.start(replace(PLAIN, cgroup="/no/where"))


@needs_root
def test_a_program_that_the_user_may_not_execute_is_told_with_the_user(
    children: Children, tmp_path: Path
) -> None:
    program = tmp_path / "mine"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    told = children.refusal(replace(PLAIN, argv=(str(program),), user="nobody"))
    assert told == f"cannot start {program} as user nobody: Permission denied"


@needs_root
def test_without_root_another_user_is_refused() -> None:
    """In a process that is not root itself, as a daemon would be."""
    python = python_for_all()
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o777)
        told = Path(folder) / "told"
        as_another_user(lambda: told.write_text(refusal_in(Path(folder), python)))
        assert told.read_text() == (
            "cannot run as user nobody (only a stsd that runs as root can): Operation not permitted"
        )


def refusal_in(folder: Path, python: str) -> str:
    sys.executable = python
    return Children(folder).refusal(replace(PLAIN, user="nobody"))


def as_another_user(act: Callable[[], object]) -> None:
    """Do it in a child, for good."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOWHERE, NOWHERE, NOWHERE)
            os.setresuid(NOWHERE, NOWHERE, NOWHERE)
            act()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


# -- limits


def test_nice_and_limits_are_set(children: Children) -> None:
    limits = (
        ("RLIMIT_NOFILE", 50, 60),
        ("RLIMIT_CPU", 7, 8),
        ("RLIMIT_FSIZE", 1 << 20, 1 << 20),
        ("RLIMIT_AS", 1 << 30, 1 << 30),
    )
    seen = children.look(replace(PLAIN, nice=7, rlimits=limits))
    assert seen["nice"] == 7
    assert [(name, *seen["limits"][name]) for name, _, _ in limits] == list(limits)
    untouched = seen["limits"]["RLIMIT_NPROC"]
    assert tuple(untouched) == resource.getrlimit(resource.RLIMIT_NPROC)


def test_the_niceness_is_the_number_and_not_added_to_the_daemons(children: Children) -> None:
    spec = replace(PLAIN, argv=("nice", "-n", "5", sys.executable))
    assert children.look(replace(spec, nice=3))["nice"] == 3


@needs_root
@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="a kernel without them")
def test_niceness_counts_among_sessions(children: Children) -> None:
    spec = replace(PLAIN, argv=("cat", "/proc/self/autogroup"), nice=9)
    assert children.run(spec)[1].split()[-1] == "9"


@needs_root
def test_a_child_enters_its_control_group_before_it_changes_its_user(children: Children) -> None:
    root = Path("/sys/fs/cgroup/unified")
    if not (root / "cgroup.procs").exists():
        pytest.skip("no cgroup v2 at the usual place")
    folder = root / f"test-stsd-{os.getpid()}"
    folder.mkdir()
    try:
        seen = children.look(replace(PLAIN, cgroup=str(folder), user="nobody"))
    finally:
        folder.rmdir()
    assert f"0::/{folder.name}" in seen["cgroup"].splitlines()


# -- the launcher's life


def test_plain_children_need_no_launcher(children: Children) -> None:
    children.run(PLAIN)
    assert not children.starter.disowned


def test_many_starts_at_once_are_all_answered(children: Children) -> None:
    spec = replace(LAUNCHED, argv=("sh", "-c", "echo $$"))
    paths = [children.start(spec)[1] for _ in range(200)]
    answers = children.answers(200)
    assert {answer.ticket for answer in answers} == {path.name for path in paths}
    pids = {answer.ticket: answer.pid for answer in answers}
    for path in paths:
        os.waitpid(pids[path.name] or 0, 0)
        assert path.read_text() == f"{pids[path.name]}\n"


def test_starts_leave_no_descriptor_behind(children: Children) -> None:
    children.run(LAUNCHED)
    before = descriptors()
    for spec in (LAUNCHED, replace(LAUNCHED, stdin=b"x"), replace(PLAIN, stdin=b"x")):
        children.run(spec)
    children.refusal(replace(LAUNCHED, cwd="/no/where"))
    assert descriptors() == before
    of_launcher = [
        os.readlink(f"/proc/{children.launcher}/fd/{fd}")
        for fd in os.listdir(f"/proc/{children.launcher}/fd")
    ]
    assert len([to for to in of_launcher if to.startswith("socket:")]) == 1
    assert len(of_launcher) == 4


def test_the_launcher_survives_what_a_terminal_sends_and_asks_nobody(children: Children) -> None:
    children.run(LAUNCHED)
    launcher = children.launcher
    assert os.getsid(launcher) == launcher
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        os.kill(launcher, number)
    children.run(LAUNCHED)
    assert children.launcher == launcher


def test_a_launcher_that_was_killed_is_replaced(children: Children) -> None:
    children.run(LAUNCHED)
    killed = children.launcher
    os.kill(killed, signal.SIGKILL)
    os.waitpid(killed, 0)
    children.starter.disowned.discard(killed)
    assert children.run(LAUNCHED) == (0, "")
    assert children.launcher != killed


def test_killing_launchers_in_the_middle_loses_nothing_and_starts_nothing_twice(
    children: Children, tmp_path: Path
) -> None:
    """What a launcher had not begun when it was killed is asked of another one, once; what it had
    begun goes on without it."""
    spec = replace(LAUNCHED, argv=("sh", "-c", 'echo $$ >> "$0"', str(tmp_path / "ledger")))
    children.run(LAUNCHED)
    paths = [children.start(spec)[1] for _ in range(120)]
    answers = children.answers(3)
    os.kill(children.launcher, signal.SIGKILL)
    answers += children.answers(len(paths) - len(answers))
    assert {answer.ticket for answer in answers} == {path.name for path in paths}
    assert [answer.error for answer in answers if answer.pid is None] == []
    for answer in answers:
        os.waitpid(answer.pid or 0, 0)
    begun = [int(line) for line in (tmp_path / "ledger").read_text().split()]
    assert sorted(begun) == sorted(answer.pid or 0 for answer in answers)


def test_a_launcher_that_is_killed_again_and_again_fails_the_start(children: Children) -> None:
    children.run(LAUNCHED)
    first = children.launcher
    os.kill(first, signal.SIGSTOP)
    children.start(LAUNCHED)
    os.kill(first, signal.SIGKILL)
    while not set(children.launchers()) - {first}:  # until it has been asked once more
        for key, _ in children.selector.select(1):
            assert children.starter.hear(key.fd) == []
    os.kill(children.launcher, signal.SIGKILL)
    answers = children.answers()
    # Unless the second one was faster than the signal.
    assert answers[0].pid or "the process that was to start it was killed" in answers[0].error


def test_the_launcher_ends_with_the_daemon(children: Children) -> None:
    children.run(LAUNCHED)
    with open(f"/proc/{children.launcher}/stat") as stat:
        children.close()  # which waits for it
        with pytest.raises(ProcessLookupError):
            stat.read()


def test_a_start_without_descriptors_to_spare_says_so(children: Children) -> None:
    children.run(LAUNCHED)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(fd) for fd in descriptors())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
    held = [os.dup(0) for _ in range(highest + 1 - len(descriptors()))]
    try:
        with pytest.raises(SpawnError, match="Too many open files"):
            children.start(LAUNCHED)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in held:
            os.close(fd)
    assert children.run(LAUNCHED)[0] == 0
