"""The pool with a real starter and a real capture: from the asking to the end of the output."""

from __future__ import annotations

import os
import resource
import selectors
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from stsd import pool
from stsd.capture import PIPES_A_PACKET, Capture, Line
from stsd.cgroups import Cgroups, Usage
from stsd.child import base_environment
from stsd.ending import own_peak_kib
from stsd.errors import SpawnError
from stsd.memory import Open
from stsd.messages import Exited, Spawned, SpawnFailed
from stsd.model import (
    ArgvTask,
    Job,
    Limits,
    Output,
    PythonTask,
    Run,
    ShellTask,
    Task,
    TriggerKind,
)
from stsd.pool import Heard, Leftovers, Pool
from stsd.starter import Answer, Starter
from tests.support import descriptors, wait_for
from tests.support_children import PLAIN

BOTH = pytest.mark.parametrize("nice", [None, 0], ids=["vfork", "launcher"])


class Loop:
    """A pool, and the part of the daemon's loop that serves it."""

    def __init__(self, folder: Path, cgroups: Cgroups | None = None) -> None:
        self.folder = folder
        self.selector = selectors.DefaultSelector()
        self.starter = Starter(self.selector)
        self.capture = Capture(self.selector, folder)
        environ = base_environment(os.environ)
        self.pool = Pool(self.selector, folder, environ, self.starter, self.capture, cgroups)
        self.heard: list[Heard] = []
        self._runs = 0

    def run(self, task: Task | str, **keys: object) -> Run:
        """A run of a job with this task; a text is for the shell."""
        self._runs += 1
        task = ShellTask(task) if isinstance(task, str) else task
        job = Job("j", task, **{"cwd": str(self.folder), **keys})  # type: ignore[arg-type]
        return Run(f"j@{self._runs}", job, 0, TriggerKind.MANUAL)

    def spawn(self, run: Run, hide: tuple[str, ...] = ()) -> Spawned | SpawnFailed:
        """Start it, and wait until that is known."""
        try:
            self.pool.spawn(run, 1, hide=hide)
        except SpawnError as error:
            return SpawnFailed(run.id, str(error))
        return self.wait(Spawned | SpawnFailed, run)  # type: ignore[arg-type]

    def turn(self, seconds: float = 0.05) -> None:
        self.heard += self.pool.begun()
        for key, _ in self.selector.select(seconds):
            self.heard += self.pool.hear(key.fd)
        self.heard += self.pool.tend(time.monotonic())

    def wait(self, kind: type[Exited], run: Run, deadline_s: float = 15.0) -> Exited:
        """The next news of this kind of a run, in turns of the loop."""

        def found() -> object:
            self.turn()
            return next((n for n in self.heard if isinstance(n, kind) and n.run_id == run.id), None)

        news = wait_for(found, f"{kind} of {run.id}", deadline_s)
        assert isinstance(news, kind)
        self.heard.remove(news)
        return news

    def through(self, task: Task | str, **keys: object) -> tuple[Exited, str]:
        """How a run ends, and what it has printed."""
        run = self.run(task, **keys)
        spawned = self.spawn(run)
        assert isinstance(spawned, Spawned), spawned
        exited = self.wait(Exited, run)
        path = self.folder / exited.output
        return exited, path.read_text() if path.exists() else ""

    def close(self) -> None:
        self.capture.close()
        self.starter.close()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    loop = Loop(tmp_path)
    yield loop
    loop.close()


@pytest.fixture
def make_cgroups() -> Iterator[Callable[[type[Cgroups]], Cgroups]]:
    """Control groups below one of our own; skips where there is no cgroup v2."""
    root = next(
        (r for r in map(Path, ("/sys/fs/cgroup/unified", "/sys/fs/cgroup"))
         if (r / "cgroup.subtree_control").exists() and os.access(r, os.W_OK)), None
    )  # fmt: skip
    if root is None:
        pytest.skip("no cgroup v2 that may be written to")
    folder = root / f"test-stsd-{os.getpid()}"
    folder.mkdir()
    yield lambda kind: kind(folder)
    wait_for(lambda: not [c.rmdir() for c in folder.iterdir() if c.is_dir()], "empty groups")
    folder.rmdir()


# -- from beginning to end


@BOTH
def test_status_and_output_of_a_run_are_told(loop: Loop, nice: int | None) -> None:
    exited, printed = loop.through("echo one; echo two >&2; exit 3", nice=nice)
    assert (exited.exit_code, exited.signal, exited.error) == (3, None, None)
    assert (printed, exited.output_bytes, exited.output_discarded) == ("one\ntwo\n", 8, 0)
    assert exited.output == "output/j/j@1.1.log"


@BOTH
def test_a_signal_that_ended_it_is_told_by_name(loop: Loop, nice: int | None) -> None:
    exited, _ = loop.through("kill -USR2 $$", nice=nice)
    assert (exited.exit_code, exited.signal) == (None, "SIGUSR2")


@BOTH
def test_what_it_has_used_is_told(loop: Loop, nice: int | None) -> None:
    peak = own_peak_kib() * 1024  # the kernel carries it over into a child
    hog = f"x = bytearray({peak + 100_000_000})\nfor _ in range(20): sum(range(10**6))"
    exited, _ = loop.through(ArgvTask((sys.executable, "-c", hog)), nice=nice)
    assert exited.cpu_s is not None
    assert exited.cpu_s > 0.02
    assert exited.max_rss_bytes is not None
    assert peak + 100_000_000 < exited.max_rss_bytes < peak + 200_000_000


@BOTH
def test_memory_below_what_started_it_is_not_told(loop: Loop, nice: int | None) -> None:
    exited, _ = loop.through(ArgvTask(("true",)), nice=nice)
    assert exited.max_rss_bytes is None


@BOTH
def test_an_exception_is_told_in_its_last_line_without_secrets(
    loop: Loop, nice: int | None
) -> None:
    (loop.folder / "shop.py").write_text("def run(): raise ValueError('no rates for hunter2')\n")
    run = loop.run(PythonTask("shop:run"), nice=nice)
    loop.spawn(run, hide=("hunter2",))
    exited = loop.wait(Exited, run)
    assert (exited.exit_code, exited.error) == (1, "ValueError: no rates for ***")


@BOTH
def test_what_cannot_be_started_leaves_nothing_behind(loop: Loop, nice: int | None) -> None:
    loop.through("true", nice=nice)
    before = descriptors()
    for change in ({"cwd": "/no/where"}, {"task": ArgvTask(("no-such-program",))}):
        run = loop.run("true", nice=nice)
        run = replace(run, job=replace(run.job, **change))
        failed = loop.spawn(run)
        assert isinstance(failed, SpawnFailed)
        assert failed.error.endswith("No such file or directory")
    loop.turn()
    assert descriptors() == before


def test_a_launched_child_that_fails_leaves_no_zombie(loop: Loop) -> None:
    assert isinstance(loop.spawn(loop.run("true", nice=0, cwd="/no/where")), SpawnFailed)
    # What remains is the launcher itself.
    wait_for(lambda: loop.turn() or len(loop.starter.disowned) == 1, "it to be reaped")


# -- order of events


def test_a_run_is_over_when_its_output_is(loop: Loop) -> None:
    run = loop.run("(sleep 0.5; echo late) & echo early")
    spawned = loop.spawn(run)
    assert isinstance(spawned, Spawned)
    begun = time.monotonic()
    exited = loop.wait(Exited, run)
    assert 0.4 < time.monotonic() - begun < 5
    assert (loop.folder / exited.output).read_text() == "early\nlate\n"
    assert exited.exit_code == 0


@pytest.mark.slow
def test_what_was_told_to_stop_has_its_whole_group_to_end(loop: Loop) -> None:
    run = loop.run(
        "(trap 'sleep 0.3; echo tidied; exit' TERM; while :; do sleep 0.05; done) & wait"
    )
    assert isinstance(loop.spawn(run), Spawned)
    wait_for(lambda: time.sleep(0.2) or True, "the trap")
    loop.pool.send(run.id, "TERM")
    exited = loop.wait(Exited, run)
    assert exited.signal == "SIGTERM"
    assert (loop.folder / exited.output).read_text().endswith("tidied\n")


def test_a_signal_for_a_child_that_is_still_being_started_is_sent_when_it_is_there(
    loop: Loop,
) -> None:
    run = loop.run("sleep 100", nice=0)
    loop.pool.spawn(run, 1)
    loop.pool.send(run.id, "TERM")
    exited = loop.wait(Exited, run)
    assert exited.signal == "SIGTERM"
    assert [type(news) for news in loop.heard] == [Spawned]


@pytest.mark.slow
def test_a_hundred_launched_runs_all_end(loop: Loop) -> None:
    runs = [loop.run("echo $STSD_RUN_ID", nice=0) for _ in range(100)]
    for run in runs:
        loop.pool.spawn(run, 1)
    for run in runs:
        exited = loop.wait(Exited, run, 30)
        assert (loop.folder / exited.output).read_text() == f"{run.id}\n"


def test_lines_are_handed_on(loop: Loop) -> None:
    run = loop.run("echo hello", output=Output(tee=True))
    loop.spawn(run)
    loop.wait(Exited, run)
    assert [news for news in loop.heard if isinstance(news, Line)] == [Line(run.id, "hello")]


def test_answers_to_others_are_handed_on(loop: Loop) -> None:
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    assert loop.starter.start("prepare:x", replace(PLAIN, nice=0), null) is None
    os.close(null)
    wait_for(lambda: loop.turn() or loop.heard, "the answer")
    (answer,) = loop.heard
    assert isinstance(answer, Answer)
    assert answer.ticket == "prepare:x"
    os.waitpid(answer.pid or 0, 0)


# -- limits


@pytest.mark.parametrize(
    ("command", "limits", "told"),
    [
        (
            "while :; do :; done",
            Limits(cpu_time=1.0),
            "killed: out of processor time (limit 1s)",
        ),
        (
            "exec head -c 100000 /dev/zero > big",
            Limits(file_size=1000),
            "killed: a file grew too large (limit 1000 B)",
        ),
    ],
)
def test_a_limit_that_a_run_died_of_is_told(
    loop: Loop, command: str, limits: Limits, told: str
) -> None:
    exited, _ = loop.through(command, limits=limits)
    assert exited.error == told


def test_memory_is_limited_by_rlimit_where_there_is_no_control_group(loop: Loop) -> None:
    hog = ArgvTask((sys.executable, "-I", "-S", "-c", "x = bytearray(10**9)"))
    exited, printed = loop.through(hog, limits=Limits(memory=200 << 20))
    assert exited.exit_code == 1
    assert "MemoryError" in printed


class OutOfMemory(Cgroups):
    """As if the kernel had killed the run for want of memory."""

    def end(self, folder: Path) -> Usage:
        super().end(folder)
        return Usage(cpu_s=1.5, peak_bytes=512 << 20, out_of_memory=True, left=0)


def test_a_run_that_was_killed_for_memory_says_so_and_what_it_used(
    tmp_path: Path, make_cgroups: Callable[[type[Cgroups]], Cgroups]
) -> None:
    loop = Loop(tmp_path, make_cgroups(OutOfMemory))
    exited, _ = loop.through("kill -KILL $$", limits=Limits(memory=512 << 20))
    assert exited.error == "killed: out of memory (limit 512.0 MiB)"
    assert (exited.cpu_s, exited.max_rss_bytes) == (1.5, 512 << 20)
    survived, _ = loop.through("true", limits=Limits(memory=512 << 20))
    assert survived.error is None
    loop.close()


def test_what_escaped_the_process_group_is_killed_with_the_control_group(
    tmp_path: Path, make_cgroups: Callable[[type[Cgroups]], Cgroups]
) -> None:
    loop = Loop(tmp_path, make_cgroups(Cgroups))
    escaping = "setsid -f sh -c 'echo $$ >pid; exec sleep 1000 >/dev/null 2>&1'"
    wait = "until test -s pid; do sleep 0.05; done"
    exited, printed = loop.through(
        f"cat /proc/self/cgroup; {escaping}; {wait}", limits=Limits(open_files=100)
    )
    assert exited.exit_code == 0
    assert "/j@1.1\n" in printed
    escaped = int((tmp_path / "pid").read_text())
    wait_for(lambda: has_ended(escaped), "its end")
    assert [news for news in loop.heard if isinstance(news, Leftovers)] == [Leftovers("j@1", 1)]
    loop.close()


def test_what_holds_the_output_may_end_before_the_control_group_is_killed(
    tmp_path: Path, make_cgroups: Callable[[type[Cgroups]], Cgroups]
) -> None:
    loop = Loop(tmp_path, make_cgroups(Cgroups))
    exited, printed = loop.through(
        "(sleep 0.5; echo last words) & echo first words", limits=Limits(open_files=100)
    )
    assert printed == "first words\nlast words\n"
    assert exited.ago_s > 0.4
    assert not [news for news in loop.heard if isinstance(news, Leftovers)]
    loop.close()


def has_ended(pid: int) -> bool:
    """A zombie has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


# -- restarts


def test_an_adopted_child_is_watched_and_its_output_measured(loop: Loop) -> None:
    name = "output/j/old.1.log"
    (loop.folder / name).parent.mkdir(parents=True)
    (loop.folder / name).write_text("so far")
    run = loop.run("exec sleep 100")
    spawned = loop.spawn(run)
    assert isinstance(spawned, Spawned)
    attempt = Open("old", "j", 0, TriggerKind.MANUAL, 1, pid=spawned.pid, alive=True)
    loop.pool.adopt(attempt)
    loop.pool.send("old", "KILL")
    exited = loop.wait(Exited, replace(run, id="old"))
    assert exited.output_bytes == 6


def test_settling_tells_of_children_that_are_being_started(loop: Loop) -> None:
    runs = [loop.run("sleep 100", nice=0) for _ in range(20)]
    for run in runs:
        loop.pool.spawn(run, 1)
    heard = loop.pool.settle(10.0)
    assert {news.run_id for news in heard if isinstance(news, Spawned)} == {r.id for r in runs}
    for run in runs:
        loop.pool.send(run.id, "KILL")
    for run in runs:
        assert loop.wait(Exited, run).signal == "SIGKILL"


def test_settling_tells_of_runs_whose_output_is_not_over(loop: Loop) -> None:
    run = loop.run("sleep 3 & echo hello")
    loop.spawn(run)
    wait_for(lambda: loop.turn() or not loop.pool._by_pidfd, "the main process to end")
    (exited,) = loop.pool.settle(0.0)
    assert isinstance(exited, Exited)
    assert (exited.run_id, exited.exit_code) == (run.id, 0)


# -- faults


def test_a_child_that_cannot_be_watched_is_ended_and_failed(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(pid: int) -> int:
        raise OSError(24, "Too many open files")

    for module, name in ((os, "pidfd_open"), (pool, "born")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, no_more)
            for nice in (None, 0):
                failed = loop.spawn(loop.run("sleep 100", nice=nice))
                assert isinstance(failed, SpawnFailed)
                assert failed.error == "cannot watch the child: Too many open files"
    wait_for(lambda: loop.turn() or len(loop.starter.disowned) == 1, "all to be reaped")


@pytest.mark.parametrize("room", [20, 21, 22])
def test_when_descriptors_run_out_a_child_is_not_started_rather_than_ended(
    loop: Loop, room: int
) -> None:
    loop.through("true")  # the scribe is there
    runs = [loop.run("true") for _ in range(60)]
    refused: dict[Run, str] = {}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    last = max(map(int, descriptors()))
    resource.setrlimit(resource.RLIMIT_NOFILE, (last + room, hard))
    try:
        for run in runs:
            try:
                loop.pool.spawn(run, 1)
            except SpawnError as error:
                refused[run] = str(error)
        begun = loop.pool.begun()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert 0 < len(refused) < len(runs)
    assert [why for why in refused.values() if not why.endswith("Too many open files")] == []
    assert [news for news in begun if not isinstance(news, Spawned)] == []
    started = [run for run in runs if run not in refused]
    assert [loop.wait(Exited, run).exit_code for run in started] == [0] * len(started)


def test_what_cannot_be_started_keeps_nothing_from_it_that_starts_with_it(loop: Loop) -> None:
    runs = [loop.run(ArgvTask((program,))) for program in ("true", "/no/where", "true")]
    for run in runs:
        loop.pool.spawn(run, 1)
    news = {each.run_id: each for each in loop.pool.begun() if not isinstance(each, Answer)}
    failed = news[runs[1].id]
    assert isinstance(failed, SpawnFailed)
    assert failed.error == "cannot start /no/where: No such file or directory"
    for run in (runs[0], runs[2]):
        assert isinstance(news[run.id], Spawned)
        assert loop.wait(Exited, run).exit_code == 0


def test_when_a_child_was_started_does_not_depend_on_those_that_started_after_it(
    loop: Loop,
) -> None:
    together = [loop.run("true") for _ in range(PIPES_A_PACKET)]
    for run in together:
        loop.pool.spawn(run, 1)
    then = time.monotonic()
    wait_for(lambda: time.monotonic() > then + 0.1, "a while")
    last = loop.run("true")
    loop.pool.spawn(last, 1)
    ago = {news.run_id: news.ago_s for news in loop.pool.begun() if isinstance(news, Spawned)}
    assert min(ago[run.id] for run in together) >= 0.1
    assert min(ago[run.id] for run in together) - ago[last.id] >= 0.1
    for run in (*together, last):
        loop.wait(Exited, run)


@pytest.mark.slow
def test_killing_the_launcher_fails_no_run(loop: Loop) -> None:
    loop.through("true", nice=0)
    runs = [loop.run("true", nice=0) for _ in range(60)]
    for run in runs:
        loop.pool.spawn(run, 1)
    loop.turn()
    os.kill(min(loop.starter.disowned), signal.SIGKILL)
    for run in runs:
        assert loop.wait(Exited, run).exit_code == 0
