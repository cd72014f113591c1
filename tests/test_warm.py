"""Python entry points that are forked by a process which has imported their module already."""

from __future__ import annotations

import errno
import json
import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stsd.child import ChildSpec, child_spec, program
from stsd.errors import SpawnError
from stsd.launcher import Request
from stsd.link import memory_file
from stsd.model import Job, PythonTask, Run, TriggerKind
from stsd.starter import Answer
from stsd.tracecontext import traceparent
from stsd.warm import wait_for_run
from tests.support import children_of, descriptors, wait_for
from tests.support_children import (
    CAUGHT_BY_PYTHON,
    IGNORED_BY_PYTHON,
    LOOK,
    OF_LIBC,
    Children,
    children_in,
    folder_for_all,
    python_for_all,
)

pytestmark = pytest.mark.slow

MODULE = f"""
import asyncio, atexit, os, random, sys, threading, time
os.write(os.open("imports", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666), b"%d\\n" % os.getpid())
os.environ["SET_BY_IMPORT"] = "1"
print("printed while imported")

def template(): print(os.getppid(), int(open("imports").read().split()[-1]))
def look(): exec({LOOK!r}, {{}})
def args(*args, **kwargs): print(args, kwargs, sys.argv)
def chance(): print(random.random())
def fails(): raise ValueError("no rates")
def exits(): sys.exit(9)
def dies(): os.kill(os.getpid(), 9)
def partial(): sys.stdout.write("no newline")
def at_exit(): atexit.register(print, "at exit"); print("first")
async def later(): await asyncio.sleep(0); print("later")
def thread(): threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
def keep(): global kept; kept = globals().get("kept", 0) + 1; print(kept)
"""


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    (tmp_path / "mine.py").write_text(MODULE)
    with children_in(tmp_path) as children:
        yield children


def spec_of(
    folder: Path, name: str, *args: object, module: str = "mine", **kwargs: object
) -> ChildSpec:
    """A warm run of a function; as `child_spec` makes it."""
    target = f"{module}:{name}"
    task = {"target": target, "args": args, "kwargs": kwargs, "path": []}
    return ChildSpec(
        argv=(sys.executable, program("entry"), target),
        env={"PATH": os.defpath, "STSD_RUN_ID": f"{name}@1"},
        cwd=str(folder),
        umask=0o022,
        stdin=json.dumps(task).encode(),
        warm=(sys.executable, program("warm"), module),
    )


def run(children: Children, folder: Path, name: str, *args: object, **kwargs: object) -> str:
    """What a function prints; it must end well."""
    code, output = children.run(spec_of(folder, name, *args, **kwargs))
    assert (code, children.chilled) == (0, []), output
    return output


def imports(folder: Path) -> list[str]:
    """The processes that have imported the module."""
    return (folder / "imports").read_text().split()


def test_the_module_is_imported_once_for_many_runs(children: Children, tmp_path: Path) -> None:
    for n in range(5):
        assert run(children, tmp_path, "args", n, base="USD") == (
            f"({n},) {{'base': 'USD'}} ['mine:args']\n"
        )
    assert len(imports(tmp_path)) == 1


def test_a_run_is_a_child_of_the_daemon_like_any_other(children: Children, tmp_path: Path) -> None:
    seen = json.loads(run(children, tmp_path, "look"))
    assert seen["ppid"] == os.getpid()
    assert seen["pid"] == seen["sid"] == seen["pgid"]
    assert seen["signals"]["SigBlk"] & ~OF_LIBC == 0
    assert seen["signals"]["SigIgn"] & ~OF_LIBC == IGNORED_BY_PYTHON
    assert seen["signals"]["SigCgt"] & ~OF_LIBC == CAUGHT_BY_PYTHON
    assert (seen["cwd"], seen["umask"]) == (str(tmp_path), 0o022)
    assert seen["fds"]["0"] == "/dev/null"
    assert seen["fds"]["1"] == seen["fds"]["2"]
    ours = {to.partition(":")[0] for fd, to in seen["fds"].items() if int(fd) > 2}
    # What the module has opened itself, and the file that takes an exception's last line.
    assert ours == {str(tmp_path / "imports"), "/memfd"}


def test_it_sees_the_same_as_in_a_cold_start(children: Children, tmp_path: Path) -> None:
    spec = replace(spec_of(tmp_path, "look"), rlimits=(("RLIMIT_NOFILE", 50, 60),), nice=3)
    warm, cold = (
        json.loads(children.run(s)[1].splitlines()[-1]) for s in (spec, replace(spec, warm=()))
    )
    assert children.chilled == []
    same = ("uids", "gids", "groups", "signals", "limits", "env", "cwd", "umask", "nice", "cgroup")
    for what in (*same, "stdin"):
        assert warm[what] == cold[what], what


def test_only_what_is_of_the_run_differs_in_the_environment(
    children: Children, tmp_path: Path
) -> None:
    job = Job("a", PythonTask("mine:look"), cwd=str(tmp_path), warm=True)
    for attempt in (1, 2):
        run = Run("a@1", job, 0, TriggerKind.CRON, trace="4bf92f3577b34da6a3ce929d0e0e4736")
        env = json.loads(children.run(child_spec(run, attempt, {"PATH": os.defpath}))[1])["env"]
        assert env["STSD_ATTEMPT"] == str(attempt)
        assert env["TRACEPARENT"] == traceparent(run.trace, run.id, attempt, ())
    assert len(imports(tmp_path)) == 1


def test_another_environment_is_another_process(children: Children, tmp_path: Path) -> None:
    for colour in ("blue", "red", "blue"):
        spec = spec_of(tmp_path, "look")
        spec = replace(spec, env=spec.env | {"COLOUR": colour})
        assert json.loads(children.run(spec)[1])["env"]["COLOUR"] == colour
    assert len(imports(tmp_path)) == 2


def test_runs_do_not_see_what_others_have_done(children: Children, tmp_path: Path) -> None:
    assert [run(children, tmp_path, "keep") for _ in range(3)] == ["1\n"] * 3


def test_each_run_has_chance_of_its_own(children: Children, tmp_path: Path) -> None:
    assert len({run(children, tmp_path, "chance") for _ in range(5)}) == 5


@pytest.mark.parametrize(
    ("name", "code", "printed"),
    [
        ("exits", 9, ""),
        ("dies", -9, ""),
        ("partial", 0, "no newline"),
        ("at_exit", 0, "first\nat exit\n"),
        ("later", 0, "later\n"),
        ("thread", 0, "thread\n"),
    ],
)
def test_it_ends_as_a_cold_start_does(
    children: Children, tmp_path: Path, name: str, code: int, printed: str
) -> None:
    for spec in (spec_of(tmp_path, name), replace(spec_of(tmp_path, name), warm=())):
        status, output = children.run(spec)
        assert (status, output.removeprefix("printed while imported\n")) == (code, printed)


def test_an_exception_leaves_its_traceback_and_its_last_line(
    children: Children, tmp_path: Path
) -> None:
    spec = spec_of(tmp_path, "fails")
    assert spec.stdin is not None
    stdin = memory_file("stdin", spec.stdin)
    output = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    assert children.starter.start("a", spec, output, stdin) is None
    _, status = os.waitpid(children.answers()[0].pid or 0, 0)
    os.close(output)
    assert os.waitstatus_to_exitcode(status) == 1
    assert os.pread(stdin, 1000, len(spec.stdin)) == b"ValueError: no rates"
    os.close(stdin)
    printed = (tmp_path / "out").read_text()
    assert printed.startswith("Traceback (most recent call last)")
    assert printed.endswith("ValueError: no rates\n")


# -- when it is begun anew


def test_a_changed_module_is_imported_anew(children: Children, tmp_path: Path) -> None:
    assert run(children, tmp_path, "args") == "() {} ['mine:args']\n"
    (tmp_path / "mine.py").write_text("def args(): print('another')\n")
    assert run(children, tmp_path, "args") == "another\n"
    assert run(children, tmp_path, "args") == "another\n"


def test_a_changed_module_that_it_imports_counts_as_well(
    children: Children, tmp_path: Path
) -> None:
    (tmp_path / "rates.py").write_text("RATE = 1\n")
    (tmp_path / "shop.py").write_text("import rates\ndef run(): print(rates.RATE)\n")
    assert run(children, tmp_path, "run", module="shop") == "1\n"
    (tmp_path / "rates.py").write_text("RATE = 22\n")
    assert run(children, tmp_path, "run", module="shop") == "22\n"


def test_a_reload_renews_it(children: Children, tmp_path: Path) -> None:
    run(children, tmp_path, "args")
    children.starter.renew()
    run(children, tmp_path, "args")
    assert len(imports(tmp_path)) == 2


def test_reloads_one_after_another_leave_no_run_cold(children: Children, tmp_path: Path) -> None:
    """Each of them ends the process that was to start the runs: stsd itself has killed it."""
    for n in range(10):
        children.start(spec_of(tmp_path, "args", n))
    found: list[object] = []
    for _ in range(4):
        children.starter.renew()
        for key, _ in children.selector.select(5):
            found += children.starter.hear(key.fd)
    found += children.answers(10 - len(found))
    assert [news for news in found if not isinstance(news, Answer)] == children.chilled == []
    for answer in found:
        assert isinstance(answer, Answer)
        os.waitpid(answer.pid or 0, 0)
    printed = {(tmp_path / f"output-{n}").read_text() for n in range(1, 11)}
    assert printed == {f"({n},) {{}} ['mine:args']\n" for n in range(10)}


def test_one_that_is_begun_anew_during_a_reload_is_not_lost_sight_of(
    children: Children, tmp_path: Path
) -> None:
    run(children, tmp_path, "args")
    (tmp_path / "mine.py").write_text(f"{MODULE}\n# another\n")
    children.start(spec_of(tmp_path, "args"))
    ((told, _),) = children.selector.select(10)
    assert children.starter.hear(told.fd) == []  # it is stale; the end of the report comes next
    children.starter.renew()
    os.waitpid(children.answers()[0].pid or 0, 0)
    children.starter.renew()
    heard = [key.data for key in children.selector.get_map().values()]
    assert children.starter not in heard


@pytest.mark.slow
def test_runs_that_are_asked_for_while_it_is_renewed_are_not_lost(
    children: Children, tmp_path: Path
) -> None:
    for n in range(80):
        children.start(spec_of(tmp_path, "args", n))
        if n % 20 == 10:
            children.starter.renew()
    answers = children.answers(80)
    assert [answer.error for answer in answers if answer.pid is None] == []
    for answer in answers:
        os.waitpid(answer.pid or 0, 0)
    printed = sorted((tmp_path / answer.ticket).read_text() for answer in answers)
    assert len({line for line in printed if line}) == 80


def test_the_child_for_the_next_run_is_there_before_it_is_asked_for(
    children: Children, tmp_path: Path
) -> None:
    run(children, tmp_path, "args")
    for _ in range(3):
        waiting = wait_for(lambda: waiting_for_runs(tmp_path), "a child that waits")
        assert [json.loads(run(children, tmp_path, "look"))["pid"]] == waiting


def waiting_for_runs(folder: Path) -> list[int]:
    """The children of the process that has imported the module, which are handed to this one."""
    template = int(imports(folder)[-1])
    command = Path(f"/proc/{template}/cmdline").read_bytes()
    others = [pid for pid in children_of(os.getpid()) if pid != template]
    return [pid for pid in others if Path(f"/proc/{pid}/cmdline").read_bytes() == command]


def test_a_process_that_was_killed_is_replaced(children: Children, tmp_path: Path) -> None:
    run(children, tmp_path, "args")
    wait_for(lambda: waiting_for_runs(tmp_path), "a child that waits")
    os.kill(int(imports(tmp_path)[0]), signal.SIGKILL)
    run(children, tmp_path, "args")  # it was there already
    run(children, tmp_path, "args")
    assert len(imports(tmp_path)) == 2


def test_a_waiting_child_that_was_killed_is_replaced(children: Children, tmp_path: Path) -> None:
    run(children, tmp_path, "args")
    (waiting,) = wait_for(lambda: waiting_for_runs(tmp_path), "a child that waits")
    os.kill(waiting, signal.SIGKILL)
    for n in range(3):
        assert run(children, tmp_path, "args", n) == f"({n},) {{}} ['mine:args']\n"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_to_all_who_wait_is_not_for_the_run_that_comes(
    children: Children, tmp_path: Path, number: signal.Signals
) -> None:
    run(children, tmp_path, "args")
    (waiting,) = wait_for(lambda: waiting_for_runs(tmp_path), "a child that waits")
    for pid in (int(imports(tmp_path)[0]), waiting):
        os.kill(pid, number)
    assert json.loads(run(children, tmp_path, "look"))["pid"] == waiting
    run(children, tmp_path, "args")
    assert len(imports(tmp_path)) == 1


def test_a_module_that_wants_broken_pipes_to_kill_survives_its_process(
    children: Children, tmp_path: Path
) -> None:
    (tmp_path / "pipes.py").write_text(
        f"{MODULE}\nimport signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
    )
    run(children, tmp_path, "args", module="pipes")
    wait_for(lambda: waiting_for_runs(tmp_path), "a child that waits")
    os.kill(int(imports(tmp_path)[0]), signal.SIGKILL)
    run(children, tmp_path, "args", module="pipes")


def test_it_ends_with_the_daemon(children: Children, tmp_path: Path) -> None:
    run(children, tmp_path, "args")
    pid = int(imports(tmp_path)[0])
    children.close()  # which waits for all of them
    assert not Path(f"/proc/{pid}").exists()


def test_it_ends_when_nothing_is_asked_of_it(tmp_path: Path) -> None:
    """The same program, with less patience."""
    (tmp_path / "mine.py").write_text(MODULE)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import warm\n"
        "warm.IDLE_S = 0.2\n"
        "warm.main()"
    )
    command = [sys.executable, "-c", code, str(Path(program("warm")).parent), "mine"]
    process = subprocess.Popen(command, cwd=tmp_path, stdin=theirs, stdout=subprocess.DEVNULL)
    theirs.close()
    assert process.wait(20) == 0
    ours.close()


# -- what is started cold


def test_a_module_that_cannot_be_imported_is_run_cold_and_shows_its_traceback(
    children: Children, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('at import')\n")
    spec = spec_of(tmp_path, "run", module="broken")
    code, output = children.run(spec)
    assert code == 1
    assert "RuntimeError: at import" in output
    (chilled,) = children.chilled
    assert chilled.module == "broken"
    assert chilled.reason == "it cannot be imported: RuntimeError: at import"
    children.run(spec)
    assert len(children.chilled) == 1


def test_a_module_that_starts_threads_is_run_cold(children: Children, tmp_path: Path) -> None:
    (tmp_path / "busy.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(100,), daemon=True).start()\n"
        "def run(): print('ran')\n"
    )
    assert children.run(spec_of(tmp_path, "run", module="busy")) == (0, "ran\n")
    assert "starts threads" in children.chilled[0].reason


@pytest.mark.parametrize("place", ["os.fork", "os.waitpid", "select.poll", "socket.socketpair"])
def test_a_module_that_replaces_what_forks_is_run_cold(
    children: Children, tmp_path: Path, place: str
) -> None:
    """As gevent's and eventlet's patches do; theirs wait for signals that are blocked."""
    (tmp_path / "green.py").write_text(
        f"import os, select, socket, time\n{place} = lambda *args: time.sleep(20)\n"
        "def run(): print('ran')\n"
    )
    assert children.run(spec_of(tmp_path, "run", module="green")) == (0, "ran\n")
    assert "what forks" in children.chilled[0].reason


def test_what_only_root_can_set_up_is_run_cold(children: Children, open_folder: Path) -> None:
    """A process that has become another user cannot lower the niceness of what it forks."""
    if os.geteuid() != 0:
        pytest.skip("changes users")
    spec = replace(as_nobody(open_folder, "look"), nice=-5)
    code, output = children.run(spec)
    assert code == 0
    assert json.loads(output.splitlines()[-1])["nice"] == -5
    assert "cannot set nice to -5" in children.chilled[0].reason


def test_where_no_child_can_be_forked_requests_are_answered_with_why() -> None:
    said = []

    class Launcher:
        @staticmethod
        def fork_twice() -> int:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        @staticmethod
        def requests(link: object, idle_s: float) -> Iterator[Request]:
            yield Request(-1, -1, -1, -1)

        @staticmethod
        def report(request: Request, pid: int | None, failure: str) -> None:
            said.append((pid, failure))

    assert wait_for_run(Launcher, None, "") is None
    assert said == [(None, "cannot fork: Resource temporarily unavailable")]


def test_a_folder_that_is_not_there_is_told(children: Children) -> None:
    spec = spec_of(Path("/no/where"), "run")
    with pytest.raises(SpawnError, match="cannot enter the folder /no/where: No such file"):
        children.start(spec)


# -- users


def test_a_module_is_imported_as_the_user_of_the_job_and_never_as_root(
    children: Children, open_folder: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("changes users")
    nobody = pwd.getpwnam("nobody")
    (open_folder / "mine.py").write_text(
        f"import os; WHO = os.getresuid()\n{MODULE}\ndef who(): print(WHO)\n"
    )
    code, output = children.run(as_nobody(open_folder, "who"))
    assert (code, output, children.chilled) == (0, f"{(nobody.pw_uid,) * 3}\n", [])
    seen = json.loads(children.run(as_nobody(open_folder, "look"))[1])
    assert seen["uids"] == [nobody.pw_uid] * 3
    assert seen["groups"] == sorted(os.getgrouplist("nobody", nobody.pw_gid))
    assert (seen["env"]["HOME"], seen["env"]["USER"]) == (nobody.pw_dir, "nobody")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with folder_for_all() as folder:
        (folder / "mine.py").write_text(MODULE)
        folder.chmod(0o777)  # the module writes into it
        yield folder


def as_nobody(folder: Path, name: str) -> ChildSpec:
    spec = spec_of(folder, name)
    python = python_for_all()
    return replace(
        spec, user="nobody", argv=(python, *spec.argv[1:]), warm=(python, *spec.warm[1:])
    )


def test_nothing_is_left_of_it(children: Children, tmp_path: Path) -> None:
    run(children, tmp_path, "args")
    before = descriptors()
    pid = int(imports(tmp_path)[0])
    theirs = os.listdir(f"/proc/{pid}/fd")
    for n in range(10):
        run(children, tmp_path, "args", n)
    assert descriptors() == before
    wait_for(lambda: os.listdir(f"/proc/{pid}/fd") == theirs, "its descriptors to be as before")
