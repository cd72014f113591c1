"""The scribe as a process: what it lives on, what it survives, when it ends."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stsd import capture
from stsd.model import Output
from stsd.output import output_name
from tests.faults.support import injected, needs_strace
from tests.support import wait_for
from tests.support_output import Intake, has_gone, peak_memory

MIB = 1 << 20


NOT_ALLOWED = """
import os
def refused(*_): raise PermissionError(1, "Operation not permitted")
os.sched_setscheduler = refused
"""


@pytest.fixture
def intake(tmp_path: Path) -> Iterator[Intake]:
    intake = Intake(tmp_path)
    try:
        yield intake
    finally:
        intake.close()


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def children() -> list[int]:
    return [
        int(pid)
        for task in Path("/proc/self/task").iterdir()
        for pid in (task / "children").read_text().split()
    ]


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_it_is_on_its_own(intake: Intake) -> None:
    intake.run("true")
    scribe = intake.scribe()
    assert os.getsid(scribe) != os.getsid(0)
    assert int(status(scribe)["PPid"]) != os.getpid()
    assert Path(f"/proc/{scribe}/environ").read_bytes() == b""
    assert os.readlink(f"/proc/{scribe}/cwd") == "/"
    targets = sorted(
        os.readlink(f"/proc/{scribe}/fd/{fd}").partition(":")[0]
        for fd in os.listdir(f"/proc/{scribe}/fd")
    )
    assert targets == ["/dev/null"] * 3 + ["anon_inode", "socket"]


def test_where_nobody_may_choose_how_he_is_scheduled_it_takes_in_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "_SCRIBE", NOT_ALLOWED + capture._SCRIBE)
    intake = Intake(tmp_path)
    try:
        assert intake.run("echo kept").kept == 5
        assert (intake.kept(), intake.troubles) == (b"kept\n", [])
    finally:
        intake.close()


def test_no_child_of_stsd_is_left_behind_by_its_start(intake: Intake) -> None:
    before = children()
    intake.run("true")
    assert intake.scribe() not in children()
    assert children() == before


def test_it_takes_all_the_descriptors_it_may_have(intake: Intake) -> None:
    intake.run("true")
    limits = Path(f"/proc/{intake.scribe()}/limits").read_text()
    soft, hard = next(
        line.split()[3:5] for line in limits.splitlines() if line.startswith("Max open files")
    )
    assert soft == hard


def test_without_descriptors_it_loses_an_output_but_tells_so_and_shows_no_secret(
    intake: Intake,
) -> None:
    secrets = [f"{number:08}" * 100 for number in range(100)]
    intake.run("true")
    scribe = intake.scribe()
    soft = len(os.listdir(f"/proc/{scribe}/fd")) + 1
    before = resource.prlimit(scribe, resource.RLIMIT_NOFILE)
    resource.prlimit(scribe, resource.RLIMIT_NOFILE, (soft, before[1]))
    captured = intake.run(f"echo {secrets[0]}", hide=secrets)  # a pipe and a memfd: one too many
    assert (captured.kept, intake.path().exists()) == (0, False)
    assert [trouble.event for trouble in intake.troubles] == ["output_not_written"]
    assert "too many open files" in intake.troubles[0].error
    resource.prlimit(scribe, resource.RLIMIT_NOFILE, before)
    intake.run(f"echo {secrets[0]}", hide=secrets)
    assert intake.kept() == b"***\n"
    assert intake.scribe() == scribe


def test_of_several_outputs_those_are_lost_for_which_no_descriptor_is_left(intake: Intake) -> None:
    intake.run("true")
    scribe = intake.scribe()
    soft = len(os.listdir(f"/proc/{scribe}/fd")) + 3
    before = resource.prlimit(scribe, resource.RLIMIT_NOFILE)
    resource.prlimit(scribe, resource.RLIMIT_NOFILE, (soft, before[1]))
    runs = {run: ["secret"] if run == "second" else [] for run in ("first", "second", "third")}
    ends = [
        intake.capture.open(run, output_name("job", run, 1), Output(), hide)
        for run, hide in runs.items()
    ]
    intake.capture.flush()
    intake.hear_until(lambda: bool(intake.troubles), "a complaint")
    resource.prlimit(scribe, resource.RLIMIT_NOFILE, before)
    for end in ends[:2]:
        os.write(end, b"a secret\n")
    for run, end in zip(runs, ends, strict=True):
        os.close(end)
        intake.capture.cease(run)
    assert [intake.result(run).kept for run in runs] == [9, 6, 0]
    assert [(trouble.event, trouble.run_id) for trouble in intake.troubles] == [
        ("output_not_written", "third")
    ]
    assert intake.kept("second") == b"a ***\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"])
def test_a_signal_to_everybody_does_not_end_it(intake: Intake, name: str) -> None:
    intake.run("true")
    os.kill(intake.scribe(), signal.Signals[name])
    intake.run("echo still there")
    assert intake.kept() == b"still there\n"
    assert intake.troubles == []


@pytest.mark.slow
def test_its_memory_stays_small_whatever_a_hundred_jobs_print_at_once(intake: Intake) -> None:
    for number in range(100):
        intake.start("head -c 30M /dev/zero", f"run{number}", hide=["hunter2"])
    for number in range(100):
        captured = intake.end(f"run{number}", 60.0)
        assert captured.kept + captured.discarded == 30 * MIB
    assert peak_memory(intake.scribe()) < 40 * MIB


@needs_strace
@pytest.mark.slow
@pytest.mark.parametrize("call", ["write", "openat"])
def test_what_a_broken_disk_does_not_take_is_written_when_it_does_again(
    intake: Intake, tmp_path: Path, call: str
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = intake.start(f"{'echo one; ' * (call == 'write')}cat {fifo}; sleep 1.2; echo three")
    scribe = intake.scribe()
    if call == "write":
        wait_for(lambda: intake.path().exists(), "the first line")
    with injected(scribe, f"{call}:error=EIO", *[intake.path()] * (call == "write")):
        fifo.write_text("two\n")
        intake.hear_until(lambda: bool(intake.troubles), "the trouble")
    child.wait()
    captured = intake.end()
    (trouble,) = intake.troubles
    assert trouble.event == "output_not_written"
    assert trouble.error == f"cannot write {intake.path()}: Input/output error"
    assert captured.discarded == 0
    assert intake.kept() == b"one\n" * (call == "write") + b"two\nthree\n"


def test_it_sleeps_when_there_is_nothing_to_do(intake: Intake) -> None:
    intake.start("echo x; sleep 60")
    wait_for(lambda: intake.path().exists(), "the first line")
    scribe = intake.scribe()
    before = cpu_ticks(scribe)
    end = time.monotonic() + 1.0
    wait_for(lambda: time.monotonic() > end, "a second")
    assert cpu_ticks(scribe) - before <= 1


def test_it_goes_on_until_the_last_pipe_has_ended_when_stsd_has_gone(
    intake: Intake, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    child = intake.start(f"echo before; read line < {fifo}; echo after; seq 1 100000")
    intake.start("echo x", "other")
    wait_for(lambda: intake.path().exists(), "the first line")
    scribe = intake.scribe()
    intake.leave()
    assert not has_gone(scribe)
    fifo.write_text("go\n")
    assert child.wait() == 0
    wait_for(lambda: has_gone(scribe), "the end of the scribe")
    assert intake.kept() == b"before\nafter\n" + b"".join(
        b"%d\n" % number for number in range(1, 100_001)
    )
    assert intake.kept("other") == b"x\n"


KILLED = """
import os, selectors, subprocess, sys
from pathlib import Path
from stsd.capture import Capture
from stsd.model import Output
capture = Capture(selectors.DefaultSelector(), Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    name = f"output/job/run{number}.1.log"
    end = capture.open(f"run{number}", name, Output(tee=True), ["hunter2"])
    capture.flush()
    command = ["/bin/sh", "-c", sys.argv[3]]
    subprocess.Popen(command, stdout=end, stderr=end, start_new_session=True)
    os.close(end)
print("up", flush=True)
sys.stdin.readline()
os.execv(sys.executable, [sys.executable, "-c", "print('another', flush=True); input()"])
"""


@pytest.mark.parametrize("way", ["killed", "restarted in place"])
def test_all_that_the_jobs_of_a_gone_stsd_print_is_kept(tmp_path: Path, way: str) -> None:
    go = tmp_path / "go"
    script = f"echo before; while ! test -e {go}; do sleep 0.1; done; echo my hunter2; seq 1 1000"
    runs = 40
    command = [sys.executable, "-c", KILLED, str(tmp_path), str(runs), script]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as stsd:
        assert stsd.stdin is not None
        assert stsd.stdout is not None
        assert stsd.stdout.readline() == "up\n"
        if way == "killed":
            stsd.kill()
        else:
            stsd.stdin.write("\n")
            stsd.stdin.flush()
            assert stsd.stdout.readline() == "another\n"
        go.touch()
        expected = "before\nmy ***\n" + "".join(f"{number}\n" for number in range(1, 1001))

        def all_there() -> bool:
            paths = list(tmp_path.glob("output/job/*.log"))
            return len(paths) == runs and all(path.read_text() == expected for path in paths)

        wait_for(all_there, "all output of all jobs")
        stsd.kill()


def test_thousands_of_pipes_of_a_gone_stsd_do_not_matter(intake: Intake) -> None:
    ends = {f"run{number}": intake.open(f"run{number}", Output(tee=True)) for number in range(2000)}
    intake.hear(0)
    scribe = intake.scribe()
    intake.leave()
    for run_id, end in ends.items():
        os.write(end, f"{run_id}\n".encode())
        os.close(end)
    wait_for(lambda: has_gone(scribe), "the end of the scribe")
    assert all(intake.kept(run_id) == f"{run_id}\n".encode() for run_id in ends)
