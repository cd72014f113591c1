"""Jobs that take all they can get, beside one that wants to be on time.

Against the real daemon, as root: with a control group that it has been given, and without one.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.faults.support import Box
from tests.support import wait_for
from tests.support_cgroups import group_of_its_own
from tests.support_children import python_for_all
from tests.support_output import has_gone

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("alone")]

MARK = "876.4137"
MARKED = f"sleep\0{MARK}\0".encode()
BOMBER = "games"
MOST_PROCESSES = 150
MOST_MEMORY = 256 << 20
MOST_OUTPUT = 64 << 10
WHILE_THEY_LAST_S = 20
MOST_LATE_S = 1.0
GREEDY = ("bomb", "hog", "printer", "runaway", "deaf")

# Tries for as long as it lives, in each of its processes, and takes notice of KILL alone.
BOMB = f"""
import os, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if {{escape}} and os.fork() == 0:
    os.setsid()
while True:  # {MARK}
    try:
        os.fork()
    except OSError:
        pass
"""
HOG = f"""
taken = []
while True:  # {MARK}
    try:
        taken.append(b"x" * (1 << 20))
    except MemoryError:
        pass
"""
RUNAWAY = f"""setsid sh -c "setsid sleep {MARK} & exec sleep {MARK}" >/dev/null 2>&1 & sleep 0.3"""
DEAF = f'trap "" TERM; while :; do sleep 0.2; done # {MARK}'


needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or BOMBER not in {entry.pw_name for entry in pwd.getpwall()},
    reason=f"needs root, to change users, and a user {BOMBER}",
)


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    box = Box(tmp_path)
    try:
        yield box
    finally:
        box.__exit__(None, None, None)
        for pid in alive():
            os.kill(pid, signal.SIGKILL)


@contextmanager
def entered() -> Iterator[list[str]]:
    """A command in front of the daemon's, by which it has a control group to itself."""
    with group_of_its_own() as group:
        yield ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group)]


@contextmanager
def hidden() -> Iterator[list[str]]:
    """The same, by which it sees no control group."""
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        pytest.skip("may not hide the control groups from the daemon (unshare --mount)")
    yield ["unshare", "--mount", "sh", "-c", 'umount -a -t cgroup2 && exec "$@"', "sh"]


def processes() -> Iterator[tuple[int, int, bytes]]:
    """Pid, user and command line of all there are; the line of a zombie is empty."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            yield int(folder.name), folder.stat().st_uid, (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue


def alive() -> dict[int, bytes]:
    """The processes of the greedy jobs, by the mark in their command lines or by their user."""
    uid = pwd.getpwnam(BOMBER).pw_uid
    return {
        pid: words for pid, owner, words in processes() if owner == uid or MARK.encode() in words
    }


def greedy(box: Box, *, escape: bool) -> str:
    """Five tables for the jobfile; `escape` has the bomb go off in a session that is not the run's
    own."""
    python = python_for_all()
    bomb = BOMB.format(escape=escape)
    return f"""
[jobs.bomb]
command = ["{python}", "-I", "-S", "-c", '''{bomb}''']
user = "{BOMBER}"
cwd = "/"
limits = {{ processes = {MOST_PROCESSES} }}
timeout = "3s"
stop_grace = "1s"
every = "6s"

[jobs.hog]
command = ["{python}", "-I", "-S", "-c", '''{HOG}''']
limits = {{ memory = {MOST_MEMORY} }}
timeout = "4s"
every = "7s"

[jobs.printer]
command = ["yes", "{MARK}"]
output = {{ max_size = {MOST_OUTPUT} }}
timeout = "4s"
every = "5s"
""" + "\n".join(
        [
            box.job("runaway", RUNAWAY, every='"3s"', limits="{ processes = 50 }"),
            box.job("deaf", DEAF, every='"5s"', timeout='"2s"', stop_grace='"2s"'),
        ]
    )


class Crowd:
    """How many processes the bomb has had, as far as one has looked."""

    def __init__(self) -> None:
        self.most = 0

    def look(self) -> None:
        uid = pwd.getpwnam(BOMBER).pw_uid
        self.most = max(self.most, sum(owner == uid for _, owner, _ in processes()))


def under_way(box: Box) -> bool:
    return any(box.count("started", job) != box.count("finished", job) for job in GREEDY)


def outputs(box: Box, job: str) -> list[int]:
    return [path.stat().st_size for path in (box.where / "log" / "output" / job).iterdir()]


@needs_root
@pytest.mark.parametrize("way", [entered, hidden], ids=["control-groups", "rlimits"])
def test_five_greedy_jobs_make_no_other_late_and_leave_nothing(
    box: Box, way: Callable[[], AbstractContextManager[list[str]]]
) -> None:
    has_group = way is entered
    crowd = Crowd()
    with way() as prefix:
        tick = box.job("tick")
        box.write(tick + greedy(box, escape=has_group))
        box.launch(*prefix)
        box.wait_for_event("started_daemon")
        until = time.monotonic() + WHILE_THEY_LAST_S
        wait_for(lambda: crowd.look() or time.monotonic() > until, "time to pass", 60.0)
        box.write(tick)
        box.signal(signal.SIGHUP)
        wait_for(lambda: not under_way(box), "the end of the greedy ones")
        if has_group:
            wait_for(lambda: not alive(), "nothing of them to be left")
        else:  # what has left its process group is beyond the reach of a kill
            wait_for(lambda: len(alive()) == 2 * box.count("finished", "runaway"), "the runaways")
            assert all(words.startswith(b"sleep") for words in alive().values())

        started = box.records("started", "tick")
        assert len(started) >= WHILE_THEY_LAST_S
        assert max(record["late_s"] for record in started) <= MOST_LATE_S
        assert {record["outcome"] for record in box.records("finished", "tick")} == {"succeeded"}
        assert box.count("skipped", "tick") + box.count("missed", "tick") == 0
        check_that_they_were_greedy(box, crowd, has_group)
        box.assert_balanced()


def check_that_they_were_greedy(box: Box, crowd: Crowd, has_group: bool) -> None:
    """Each of them, in each of its runs; and that it was held to what it was given."""
    ended = {job: box.records("finished", job) for job in GREEDY}
    assert all(len(records) >= 2 for records in ended.values())
    assert {job: {record["outcome"] for record in ended[job]} for job in GREEDY} == {
        "bomb": {"timed_out"},
        "hog": {"timed_out"},
        "printer": {"timed_out"},
        "runaway": {"succeeded"},
        "deaf": {"timed_out"},
    }
    assert MOST_PROCESSES * 0.9 < crowd.most <= MOST_PROCESSES
    peaks = [record["max_rss_bytes"] for record in ended["hog"]]
    assert MOST_MEMORY / 2 < min(peaks) <= max(peaks) <= MOST_MEMORY
    assert min(record["output_discarded"] for record in ended["printer"]) > 100 * MOST_OUTPUT
    assert max(outputs(box, "printer")) <= MOST_OUTPUT + 100
    assert {record["signal"] for record in ended["deaf"]} == {"SIGKILL"}
    told = {line["job"] for line in box.events("killed_leftovers")}
    assert told == ({"bomb", "runaway"} if has_group else set())


@needs_root
def test_what_the_job_of_a_killed_daemon_has_left_is_killed_by_the_next_and_told(box: Box) -> None:
    go = box.folder / "go"
    main = f"until test -e {go}; do sleep 0.1; done"
    box.write(
        f"[jobs.a]\ncommand = '''setsid sleep {MARK} >/dev/null 2>&1 & {main}'''\n"
        "limits = { processes = 50 }\non_start = true\n"
    )
    with entered() as prefix:
        box.launch(*prefix)
        run = wait_for(lambda: box.count("started") and box.records("started")[0], "the run")
        wait_for(lambda: MARKED in alive().values(), "the job to be there")
        box.crash()
        go.touch()
        wait_for(lambda: has_gone(run["pid"]), "its main process to end")
        assert list(alive().values()) == [MARKED]
        box.write("")
        box.launch(*prefix)
        told = box.wait_for_event("killed_leftovers")
        assert (told["job"], told["run"], told["processes"]) == ("a", run["run"], 1)
        wait_for(lambda: not alive(), "nothing to be left")
        assert box.stop() == 0
