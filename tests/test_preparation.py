"""What is done before a start: real children, real files, as the daemon's loop drives them."""

from __future__ import annotations

import os
import resource
import selectors
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stsd.messages import Prepared
from stsd.model import ArgvTask, Job, Limits, Run, Secret, ShellTask, TriggerKind
from stsd.preparation import Given, Preparation
from stsd.starter import Starter
from stsd.traces import Traces
from tests.support import descriptors, wait_for

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="changes users")
NOBODY = 65534
BASE = {"PATH": "/usr/bin:/bin", "HOME": "/root"}


class Loop:
    """A selector that hands on what it hears, as the daemon does."""

    def __init__(self, traces: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.starter = Starter(self.selector)
        self.preparation = Preparation(self.selector, self.starter, BASE, Traces(traces))

    def prepare(self, job: Job, attempt: int = 1) -> Prepared:
        """How the preparation of an attempt ends."""
        answer = self.preparation.begin(run_of(job), attempt)
        return answer or self.answer()

    def given(self, job: Job, attempt: int = 1) -> Given:
        assert self.prepare(job, attempt) == Prepared("a@1")
        return self.preparation.take("a@1")

    def answer(self) -> Prepared:
        return wait_for(lambda: self.turn(0.2), "an answer")[0]

    def turn(self, longest_s: float) -> list[Prepared]:
        heard: list[Prepared | None] = []
        for key, _ in self.selector.select(longest_s):
            if key.data is self.preparation:
                heard.append(self.preparation.hear(key.fd))
            else:
                heard += map(self.preparation.answered, self.starter.hear(key.fd))
        return [answer for answer in heard if answer is not None]

    def quiet(self) -> bool:
        """Whether nothing but the link to a launcher is left of whatever was under way."""
        keys = list(self.selector.get_map().values())
        return len(keys) <= 1 and all(key.data is self.starter for key in keys)

    def settle(self) -> list[Prepared]:
        """Everything that is still to come."""
        late: list[Prepared] = []

        def settled() -> bool:
            late.extend(self.turn(0.05))
            return self.quiet()

        wait_for(settled, "the end of it all")
        return late


def run_of(job: Job) -> Run:
    return Run("a@1", job, 0, TriggerKind.CRON)


def job_of(**fields: object) -> Job:
    return replace(Job("a", ArgvTask(("true",))), **fields)  # type: ignore[arg-type]


def shell(command: str) -> ShellTask:
    return ShellTask(command)


def secret(command: str, name: str = "TOKEN") -> Secret:
    return Secret(name, command=ShellTask(command))


@pytest.fixture
def traces(tmp_path: Path) -> Path:
    return tmp_path / "errands"


@pytest.fixture
def loop(traces: Path) -> Iterator[Loop]:
    made = Loop(traces)
    yield made
    made.preparation.close()
    assert made.settle() == []
    assert not traces.exists() or list(traces.iterdir()) == []
    made.starter.close()
    made.selector.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("hunter2\n")
    path.chmod(0o600)
    return path


# -- nothing to do


def test_a_job_that_asks_for_nothing_is_ready_at_once(loop: Loop) -> None:
    assert loop.preparation.begin(run_of(job_of()), 1) == Prepared("a@1")
    assert loop.preparation.take("a@1") == Given()


# -- conditions


def test_a_condition_that_exits_0_lets_the_run_go(loop: Loop) -> None:
    assert loop.prepare(job_of(condition=shell("exit 0"))) == Prepared("a@1")


def test_a_condition_that_fails_is_unmet_with_its_exit_code(loop: Loop) -> None:
    answer = loop.prepare(job_of(condition=shell("exit 3")))
    assert answer == Prepared("a@1", unmet="the condition exited 3")


def test_a_condition_that_is_killed_is_unmet_with_the_signal(loop: Loop) -> None:
    answer = loop.prepare(job_of(condition=shell("kill -KILL $$")))
    assert answer == Prepared("a@1", unmet="the condition was killed by SIGKILL")
    answer = loop.prepare(job_of(condition=shell("kill -40 $$")))
    assert answer == Prepared("a@1", unmet="the condition was killed by signal 40")


def test_a_condition_that_cannot_be_started_is_an_error(loop: Loop) -> None:
    answer = loop.prepare(job_of(condition=ArgvTask(("/nonexistent/check",))))
    assert answer.unmet == ""
    assert answer.error.startswith("condition: cannot start /nonexistent/check: No such file")


def test_a_condition_is_asked_once_and_not_for_a_repeated_attempt(loop: Loop) -> None:
    assert loop.prepare(job_of(condition=shell("exit 1")), attempt=2) == Prepared("a@1")


def test_a_condition_is_not_asked_for_a_run_by_hand(loop: Loop) -> None:
    run = replace(run_of(job_of(condition=shell("exit 1"))), trigger=TriggerKind.MANUAL)
    assert loop.preparation.begin(run, 1) == Prepared("a@1")


def test_a_condition_is_in_the_jobs_folder_with_its_environment_files_and_secrets(
    loop: Loop, tmp_path: Path, file: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "app.env").write_text("FROM_FILE=f\n")
    job = job_of(
        cwd=str(tmp_path),
        env=(("OWN", "o"),),
        env_files=(str(tmp_path / "app.env"),),
        secrets=(Secret("TOKEN", file=str(file)),),
        condition=shell(
            f'test "$OWN $FROM_FILE $TOKEN $STSD_JOB" = "o f hunter2 a" && test $PWD = {tmp_path}'
        ),
    )
    assert loop.prepare(job) == Prepared("a@1")


@AS_ROOT
def test_a_condition_runs_as_the_jobs_user_and_within_its_limits(loop: Loop) -> None:
    condition = shell('test "$(id -u) $(ulimit -n)" = "65534 33"')
    job = job_of(user=NOBODY, limits=Limits(open_files=33), condition=condition)
    assert loop.prepare(job) == Prepared("a@1")


@AS_ROOT
def test_a_condition_that_the_launcher_cannot_start_is_an_error(loop: Loop) -> None:
    job = job_of(user=NOBODY, condition=ArgvTask(("/nonexistent/check",)))
    answer = loop.prepare(job)
    assert answer.error.startswith("condition: cannot start /nonexistent/check")


def test_what_a_condition_leaves_running_is_killed(loop: Loop, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    condition = shell(f"sleep 100 & echo $! > {pid}")
    assert loop.prepare(job_of(condition=condition)) == Prepared("a@1")
    wait_for(lambda: not alive(int(pid.read_text())), "the sleep to be killed")


# -- env files


def test_of_two_env_files_the_later_and_of_all_the_jobs_own_env_counts(
    loop: Loop, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "a.env").write_text("A=1\nB=1\nC=1\n")
    (tmp_path / "b.env").write_text("B=2\nC=2\n")
    files = (str(tmp_path / "a.env"), str(tmp_path / "b.env"))
    given = loop.given(job_of(env_files=files, env=(("C", "3"),)))
    assert given.env == {"A": "1", "B": "2"}
    assert given.hide == ()


def test_a_faulty_env_file_is_told_with_its_key_and_line(loop: Loop, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    path = tmp_path / "a.env"
    path.write_text("A=1\nhunter2\n")
    answer = loop.preparation.begin(run_of(job_of(env_files=(str(path),))), 1)
    assert answer is not None
    assert answer.error.startswith(f"env_file: {path}:2: is not NAME=value")


# -- secrets


def test_a_secret_of_a_file_is_given_and_hidden(loop: Loop, file: Path) -> None:
    given = loop.given(job_of(secrets=(Secret("TOKEN", file=str(file)),)))
    assert (given.env, given.hide) == ({"TOKEN": "hunter2"}, ("hunter2",))


def test_a_secret_of_a_credential_is_that_of_the_daemons_own_service(
    loop: Loop, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(file.parent))
    given = loop.given(job_of(secrets=(Secret("TOKEN", credential="secret"),)))
    assert given.env == {"TOKEN": "hunter2"}


def test_a_secret_of_a_command_is_what_it_prints_without_the_newline(loop: Loop) -> None:
    given = loop.given(job_of(secrets=(secret("echo 'two words'"),)))
    assert given == Given({"TOKEN": "two words"}, ("two words",))


def test_a_warning_on_standard_error_is_no_part_of_a_secret(loop: Loop) -> None:
    given = loop.given(job_of(secrets=(secret("echo mind >&2; echo hunter2; echo mind >&2"),)))
    assert given.env == {"TOKEN": "hunter2"}


def test_a_command_of_a_secret_reads_nothing_on_standard_input(loop: Loop) -> None:
    given = loop.given(job_of(secrets=(secret('read x; echo "none:$x"'),)))
    assert given.env == {"TOKEN": "none:"}


def test_a_secret_may_be_as_long_as_64_kib(loop: Loop) -> None:
    given = loop.given(job_of(secrets=(secret("head -c 65535 /dev/zero | tr '\\0' x"),)))
    assert given.env == {"TOKEN": "x" * 65535}


def test_a_command_that_prints_without_end_is_killed(loop: Loop) -> None:
    answer = loop.prepare(job_of(secrets=(secret("yes"),)))
    assert answer.error == "secrets.TOKEN: the command has printed more than 64 KiB"
    answer = loop.prepare(job_of(secrets=(secret("yes >&2"),)))
    assert answer.error == "secrets.TOKEN: the command has printed more than 64 KiB"


def test_a_command_that_fails_is_told_by_the_last_line_of_its_standard_error(loop: Loop) -> None:
    failing = secret("echo hunter2; echo first >&2; echo 'no \033[1mtoken' >&2; echo >&2; exit 2")
    answer = loop.prepare(job_of(secrets=(failing,)))
    assert answer.error == "secrets.TOKEN: its command exited 2: no \\x1b[1mtoken"


def test_a_command_that_traces_itself_does_not_tell_its_secret(loop: Loop) -> None:
    answer = loop.prepare(job_of(secrets=(secret("echo hunter2; echo '+ hunter2' >&2; exit 1"),)))
    assert answer.error == "secrets.TOKEN: its command exited 1: + ***"


def test_a_command_that_says_nothing_and_fails_is_told_by_its_end(loop: Loop) -> None:
    answer = loop.prepare(job_of(secrets=(secret("kill -TERM $$"),)))
    assert answer.error == "secrets.TOKEN: its command was killed by SIGTERM"


def test_a_command_that_is_not_there_is_an_error(loop: Loop) -> None:
    nowhere = Secret("TOKEN", command=ArgvTask(("/nonexistent/vault", "read")))
    answer = loop.prepare(job_of(secrets=(nowhere,)))
    assert answer.error.startswith("secrets.TOKEN: its command exited 127: ")
    assert "/nonexistent/vault" in answer.error


def test_a_folder_that_is_not_there_is_an_error(loop: Loop) -> None:
    answer = loop.prepare(job_of(cwd="/nonexistent", secrets=(secret("echo x"),)))
    assert answer.error == (
        "secrets.TOKEN: cannot enter the folder /nonexistent: No such file or directory"
    )


def test_a_command_that_prints_nothing_has_no_secret(loop: Loop) -> None:
    answer = loop.prepare(job_of(secrets=(secret("true"),)))
    assert answer.error == "secrets.TOKEN: what its command has printed is empty"


def test_arguments_of_a_command_reach_it_unchanged(loop: Loop) -> None:
    words = ("printf", "%s|", "a b", "$HOME", "", "*", "-c", "'\"")
    given = loop.given(job_of(secrets=(Secret("TOKEN", command=ArgvTask(words)),)))
    assert given.env == {"TOKEN": "a b|$HOME||*|-c|'\"|"}


def test_a_command_sees_env_and_env_files_but_no_other_secret(
    loop: Loop, tmp_path: Path, file: Path
) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "app.env").write_text("VAULT=http://v\n")
    job = job_of(
        env=(("OWN", "o"),),
        env_files=(str(tmp_path / "app.env"),),
        secrets=(
            Secret("FIRST", file=str(file)),
            secret("echo $OWN $VAULT", "SECOND"),
            secret('echo "[$FIRST$SECOND]"', "THIRD"),
        ),
    )
    given = loop.given(job)
    assert given.env == {
        "VAULT": "http://v",
        "FIRST": "hunter2",
        "SECOND": "o http://v",
        "THIRD": "[]",
    }
    assert given.hide == ("hunter2", "o http://v", "[]")


@AS_ROOT
def test_a_command_runs_as_the_jobs_user_without_the_jobs_limits(loop: Loop) -> None:
    tight = Limits(memory=1 << 20, open_files=4)
    given = loop.given(job_of(user=NOBODY, limits=tight, secrets=(secret("id -u"),)))
    assert given.env == {"TOKEN": "65534"}


def test_the_condition_is_not_asked_when_a_secret_is_missing(loop: Loop, tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    job = job_of(secrets=(secret("exit 1"),), condition=shell(f"touch {asked}"))
    assert loop.prepare(job).error == "secrets.TOKEN: its command exited 1"
    assert not asked.exists()


def test_a_grandchild_that_holds_the_output_does_not_hold_up_the_secret(loop: Loop) -> None:
    begin = time.monotonic()
    given = loop.given(job_of(secrets=(secret("echo hunter2; setsid sleep 5 &"),)))
    assert given.env == {"TOKEN": "hunter2"}
    assert time.monotonic() - begin < 3


def test_secrets_are_taken_once_and_are_in_no_repr(loop: Loop, file: Path) -> None:
    job = job_of(secrets=(Secret("TOKEN", file=str(file)), secret("echo hunter3", "OTHER")))
    given = loop.given(job)
    assert "hunter" not in repr(given)
    assert loop.preparation.take("a@1") == Given()


def test_no_secret_is_in_any_command_line_while_it_is_used(loop: Loop, file: Path) -> None:
    two = (Secret("TOKEN", file=str(file)), secret(f"cat {file}", "OTHER"))
    job = job_of(secrets=two, condition=ArgvTask(("sleep", "99.5")))
    assert loop.preparation.begin(run_of(job), 1) is None
    wait_for(lambda: loop.turn(0.05) or running(b"sleep\x0099.5"), "the condition to run")
    assert running(b"hunter2") == []


# -- calling off


@pytest.mark.parametrize("user", [None, pytest.param(NOBODY, marks=AS_ROOT)])
def test_an_abandoned_condition_is_killed_with_its_group_and_reaped(
    loop: Loop, user: int | None
) -> None:
    condition = shell("sleep 98.5 & wait")
    assert loop.preparation.begin(run_of(job_of(condition=condition, user=user)), 1) is None
    (below,) = wait_for(lambda: loop.turn(0.05) or running(b"sleep\x0098.5"), "the sleep")
    main = os.getpgid(below)
    loop.preparation.abandon("a@1")
    assert loop.settle() == []
    assert not os.path.exists(f"/proc/{main}")
    wait_for(lambda: not alive(below), "the rest of the group to go")


@AS_ROOT
def test_what_is_abandoned_before_its_pid_is_known_is_killed_when_it_is(
    loop: Loop, tmp_path: Path
) -> None:
    job = job_of(user=NOBODY, condition=ArgvTask(("sleep", "97.5")))
    assert loop.preparation.begin(run_of(job), 1) is None
    loop.preparation.abandon("a@1")
    assert loop.settle() == []
    assert not running(b"sleep\x0097.5")


def test_an_abandoned_run_can_be_prepared_anew_at_once(loop: Loop) -> None:
    assert loop.preparation.begin(run_of(job_of(condition=shell("sleep 100"))), 1) is None
    loop.preparation.abandon("a@1")
    assert loop.prepare(job_of(condition=shell("exit 4"))).unmet == "the condition exited 4"


def test_what_was_found_for_an_abandoned_run_is_forgotten(loop: Loop, file: Path) -> None:
    job = job_of(secrets=(Secret("TOKEN", file=str(file)),))
    assert loop.prepare(job) == Prepared("a@1")
    loop.preparation.abandon("a@1")
    assert loop.preparation.take("a@1") == Given()


def test_abandoning_a_run_that_was_never_prepared_is_nothing(loop: Loop) -> None:
    loop.preparation.abandon("b@1")


# -- what is left


def test_a_hundred_preparations_at_once_leave_no_descriptor_and_no_child(loop: Loop) -> None:
    before = len(descriptors())
    others = children()
    runs = [
        Run(f"a@{number}", job_of(secrets=(secret(f"echo {number}"),)), 0, TriggerKind.CRON)
        for number in range(100)
    ]
    for run in runs:
        assert loop.preparation.begin(run, 1) is None
    answers = {answer.run_id: answer for answer in loop.settle()}
    assert answers == {run.id: Prepared(run.id) for run in runs}
    for number, run in enumerate(runs):
        assert loop.preparation.take(run.id).env == {"TOKEN": str(number)}
    assert len(descriptors()) == before
    assert children() <= others


@pytest.mark.slow
def test_a_lack_of_descriptors_is_an_error_and_leaves_nothing(loop: Loop) -> None:
    before = len(descriptors())
    job = job_of(secrets=(secret("echo x"),))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for left in range(12):
        resource.setrlimit(resource.RLIMIT_NOFILE, (before + left, limits[1]))
        try:
            answer = loop.prepare(job)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert "Too many open files" in answer.error or answer == Prepared("a@1")
        loop.preparation.abandon("a@1")
        loop.settle()
        assert len(descriptors()) == before


def alive(pid: int) -> bool:
    """Whether a process is there, and is no zombie that somebody else is to reap."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def children() -> set[str]:
    """The children of this process, zombies among them: a launcher of an earlier test, at most."""
    pid = os.getpid()
    return set(Path(f"/proc/{pid}/task/{pid}/children").read_text().split())


def running(words: bytes) -> list[int]:
    """The processes, but for this one, in whose command lines these bytes are."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if words in line and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found
