"""Control groups: found on made-up trees, and used in real ones.

The real ones need root and a cgroup v2 that can be written to, but no controllers; what takes
these is in tests/system.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stsd import cgroups
from stsd.cgroups import Cgroups
from stsd.model import Limits
from tests.support_cgroups import group_of_its_own

# -- made-up trees


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Writes what /proc says: of the process's groups, and of the mounts (root, mount point)."""
    folder = tmp_path / "proc" / "self"
    folder.mkdir(parents=True)
    monkeypatch.setattr(cgroups, "_PROC", tmp_path / "proc")
    monkeypatch.setattr(cgroups, "_SYSTEMD_RUNS", tmp_path / "nowhere")

    def say(groups: str, *mounts: tuple[str, Path], kind: str = "cgroup2") -> None:
        (folder / "cgroup").write_text(groups)
        lines = [
            f"31 23 0:28 {root} {str(point).replace(' ', chr(92) + '040')} rw - {kind} {kind} rw"
            for root, point in mounts
        ]
        (folder / "mountinfo").write_text("\n".join(lines))

    return say


def made_up(group: Path, *pids: int) -> Path:
    group.mkdir(parents=True, exist_ok=True)
    (group / "cgroup.procs").write_text("\n".join(str(pid) for pid in pids))
    (group / "cgroup.subtree_control").write_text("")
    return group


def test_a_group_is_found_below_the_mount(tmp_path: Path, proc: Callable[..., None]) -> None:
    own = made_up(tmp_path / "mnt" / "a" / "b", os.getpid())
    proc("4:memory:/x\n0::/a/b\n", ("/", tmp_path / "mnt"))
    assert cgroups.delegated(tmp_path) == own


def test_a_group_is_found_where_only_a_part_of_the_tree_is_mounted(
    tmp_path: Path, proc: Callable[..., None]
) -> None:
    own = made_up(tmp_path / "m n t" / "b", os.getpid())
    proc("0::/a/b\n", ("/other", tmp_path), ("/a", tmp_path / "m n t"))
    assert cgroups.delegated(tmp_path) == own


def test_a_group_out_of_sight_is_none(tmp_path: Path, proc: Callable[..., None]) -> None:
    proc("0::/a/b\n", ("/other", tmp_path))
    assert cgroups.delegated(tmp_path) is None


def test_a_namesake_in_another_namespace_is_not_taken_for_ones_own(
    tmp_path: Path, proc: Callable[..., None]
) -> None:
    made_up(tmp_path / "mnt", 1)
    proc("0::/\n", ("/", tmp_path / "mnt"))
    assert cgroups.delegated(tmp_path) is None


def test_the_first_kind_of_groups_is_of_no_use(tmp_path: Path, proc: Callable[..., None]) -> None:
    made_up(tmp_path / "mnt", os.getpid())
    proc("4:memory:/\n", ("/", tmp_path / "mnt"), kind="cgroup")
    assert cgroups.delegated(tmp_path) is None


def test_without_a_mark_of_systemds_nothing_of_its_tree_is_taken(
    tmp_path: Path, proc: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made_up(tmp_path / "mnt" / "stsd.service", os.getpid())
    proc("0::/stsd.service\n", ("/", tmp_path / "mnt"))
    monkeypatch.setattr(cgroups, "_SYSTEMD_RUNS", tmp_path)
    assert cgroups.delegated(tmp_path) is None


@pytest.mark.parametrize(
    ("own", "marked", "taken"),
    [
        ("stsd.service", "stsd.service", True),
        ("stsd.service/main", "stsd.service", True),  # DelegateSubgroup=main
        ("stsd.service/.control", "stsd.service", True),  # where ExecReload= runs
        ("user@0.service/init.scope", "user@0.service", False),  # another unit, of a user's systemd
        ("user@0.service/app.slice/a.service", "user@0.service", False),
    ],
)
def test_systemds_mark_counts_for_the_unit_that_has_it(
    own: str,
    marked: str,
    taken: bool,
    tmp_path: Path,
    proc: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = made_up(tmp_path / "mnt" / marked)
    made_up(tmp_path / "mnt" / own, os.getpid())
    proc(f"0::/{own}\n", ("/", tmp_path / "mnt"))
    monkeypatch.setattr(cgroups, "_SYSTEMD_RUNS", tmp_path)
    monkeypatch.setattr(cgroups, "_attribute", lambda group, name: b"1" if group == host else b"")
    assert cgroups.delegated(tmp_path) == (host if taken else None)


def with_controllers(folder: Path, controllers: str) -> Cgroups:
    folder.mkdir()
    (folder / "cgroup.subtree_control").write_text(controllers)
    (folder / "memory.swap.max").touch()
    return Cgroups(folder)


def written(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_limits_are_written_in_the_words_of_the_kernel(tmp_path: Path) -> None:
    groups = with_controllers(tmp_path / "top", "cpu io memory pids")
    limits = Limits(memory=1 << 26, cpu=0.5, processes=7, open_files=3)
    assert written(groups.make("a@1", 1, limits)) == {
        "memory.max": "67108864",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "7",
        "cpu.max": "50000 100000",
    }


def test_a_limit_without_its_controller_is_left_to_others(tmp_path: Path) -> None:
    groups = with_controllers(tmp_path / "top", "pids")
    limits = Limits(memory=1 << 26, cpu=2.0, processes=7)
    assert written(groups.make("a@1", 1, limits)) == {"pids.max": "7"}


def test_a_sliver_of_a_processor_is_rounded_up_to_what_the_kernel_takes(tmp_path: Path) -> None:
    groups = with_controllers(tmp_path / "top", "cpu")
    assert written(groups.make("a@1", 1, Limits(cpu=0.001))) == {"cpu.max": "1000 100000"}


def test_attempts_and_odd_names_get_groups_of_their_own(tmp_path: Path) -> None:
    groups = with_controllers(tmp_path / "top", "")
    names = [
        groups.make(run, attempt, Limits()).name
        for run, attempt in (("a@1", 1), ("a@1", 2), ("a/b\n@1", 1), ("ä@1", 1))
    ]
    assert names == ["a@1.1", "a@1.2", "a%2fb%0a@1.1", "%c3%a4@1.1"]


def test_the_run_of_a_group_is_told_from_its_name(tmp_path: Path) -> None:
    groups = with_controllers(tmp_path / "top", "")
    runs = ["a.b@2026-11-21T02:30:00Z", "a/b%2f\n@1", "ä@1"]
    assert [cgroups._run_of(groups.make(run, 12, Limits())) for run in runs] == runs


def test_what_has_given_its_memory_back_is_about_to_be_gone() -> None:
    ended = os.fork()
    if not ended:
        os._exit(0)
    os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)
    assert cgroups._is_ending(ended)
    os.waitpid(ended, 0)
    assert cgroups._is_ending(ended)
    assert not cgroups._is_ending(os.getpid())


# -- real ones


@pytest.fixture
def group() -> Iterator[Path]:
    with group_of_its_own() as folder:
        yield folder


def inside(group: Path, state_dir: Path, code: str) -> str:
    """What a program prints that runs in the group, with all of systemd's ways around it."""
    prelude = f"""
    import os, subprocess, time
    from pathlib import Path
    from stsd import cgroups
    from stsd.cgroups import Cgroups, Usage, find
    from stsd.model import Limits
    cgroups._SYSTEMD_RUNS = Path("/")
    group, state_dir = Path({str(group)!r}), Path({str(state_dir)!r})
    (group / "cgroup.procs").write_text("0")

    def start(folder, command):
        enter = 'echo $$ >"$0/cgroup.procs" && exec sh -c "$1"'
        return subprocess.Popen(["sh", "-c", enter, str(folder), command])

    def until_gone(groups, folder):
        end = time.monotonic() + 10
        while folder.exists():
            assert time.monotonic() < end
            groups.tend()
    """
    program = textwrap.dedent(prelude) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_daemon_moves_into_a_group_of_its_own(group: Path, tmp_path: Path) -> None:
    code = """
    groups = find(state_dir)
    print(Path("/proc/self/cgroup").read_text().splitlines()[-1].rpartition("/")[2])
    print(groups.folder.parent == group, cgroups._members(group))
    """
    assert inside(group, tmp_path, code) == "daemon\nTrue []\n"


def test_a_job_that_detaches_twice_is_killed_in_the_end(group: Path, tmp_path: Path) -> None:
    code = """
    groups = find(state_dir)
    folder = groups.make("a@1", 1, Limits(processes=5))
    job = start(folder, "setsid sh -c 'setsid sleep 1000 & sleep 1001' & exit 3")
    assert job.wait() == 3
    while len(cgroups._members(folder)) < 2:  # sh may not have become its children yet
        pass
    pids = cgroups._members(folder)
    usage = groups.end(folder)
    until_gone(groups, folder)
    alive = [pid for pid in pids if Path(f"/proc/{pid}").exists()
             and ") Z " not in Path(f"/proc/{pid}/stat").read_text()]
    print(usage.left >= 2, usage.out_of_memory, usage.cpu_s > 0, alive)
    """
    assert inside(group, tmp_path, code) == "True False True []\n"


def test_a_job_that_leaves_nothing_has_nothing_killed(group: Path, tmp_path: Path) -> None:
    code = """
    groups = find(state_dir)
    folder = groups.make("a@1", 1, Limits(processes=5))
    start(folder, "true").wait()
    print(groups.end(folder).left, folder.exists())
    """
    assert inside(group, tmp_path, code) == "0 False\n"


def test_groups_that_a_job_has_made_go_with_it(group: Path, tmp_path: Path) -> None:
    code = """
    groups = find(state_dir)
    folder = groups.make("a@1", 1, Limits(processes=5))
    start(folder, f"mkdir -p {folder}/x/y; sleep 1000 & echo $! >{folder}/x/y/cgroup.procs").wait()
    print(groups.end(folder).left)
    until_gone(groups, folder)
    """
    assert inside(group, tmp_path, code) == "1\n"


def test_one_that_was_never_entered_or_has_gone_can_be_ended(group: Path, tmp_path: Path) -> None:
    code = """
    groups = find(state_dir)
    folder = groups.make("a@1", 1, Limits(processes=5))
    print(groups.end(folder).left, folder.exists())
    print(groups.end(folder) == Usage(None, None, False, 0))
    """
    assert inside(group, tmp_path, code) == "0 False\nTrue\n"


def test_after_a_restart_in_place_a_run_is_found_again(group: Path, tmp_path: Path) -> None:
    code = """
    folder = find(state_dir).make("a@1", 2, Limits(processes=5))
    again = find(state_dir)
    print(again.of("a@1", 2) == folder, again.of("a@1", 1))
    """
    assert inside(group, tmp_path, code) == "True None\n"


def test_after_a_kill_what_is_over_is_swept_and_what_goes_on_is_kept(
    group: Path, tmp_path: Path
) -> None:
    killed = """
    groups = find(state_dir)
    for run in ("kept@1", "over@1"):
        start(groups.make(run, 1, Limits(processes=5)), "exec sleep 1000 >/dev/null 2>&1")
    while not all(cgroups._members(groups.of(run, 1)) for run in ("kept@1", "over@1")):
        pass
    time.sleep(0.1)
    os.kill(os.getpid(), 9)
    """
    with pytest.raises(AssertionError):
        inside(group, tmp_path, killed)
    code = """
    groups = find(state_dir)
    print(*groups.sweep([("kept@1", 1)]))
    until_gone(groups, groups.folder / "over@1.1")
    kept = groups.of("kept@1", 1)
    print(len(cgroups._members(kept)))
    """
    assert inside(group, tmp_path, code) == "('over@1', 1)\n1\n"


def test_daemons_of_two_state_folders_leave_each_other_alone(group: Path, tmp_path: Path) -> None:
    code = """
    one = find(state_dir)
    one.make("a@1", 1, Limits())
    start(one.folder / "daemon", "exec sleep 1000 >/dev/null 2>&1")  # as if it went on
    while len(cgroups._members(one.folder / "daemon")) < 2:
        pass
    (group / "cgroup.procs").write_text("0")
    two = find(state_dir / "other")
    print(two.sweep([]), two.of("a@1", 1), one.of("a@1", 1) is not None)
    """
    assert inside(group, tmp_path, code) == "[] None True\n"


def test_the_group_of_a_daemon_that_has_ended_is_removed_by_the_next(
    group: Path, tmp_path: Path
) -> None:
    assert inside(group, tmp_path, "find(state_dir)") == ""
    code = """
    left = [path.name for path in group.glob("stsd-*")]
    find(state_dir / "other")
    print(len(left), left[0] in [path.name for path in group.glob("stsd-*")])
    """
    assert inside(group, tmp_path, code) == "1 False\n"


def test_a_daemon_that_is_a_job_of_another_is_given_nothing(group: Path, tmp_path: Path) -> None:
    code = """
    outer = find(state_dir)
    (outer.make("a@1", 1, Limits()) / "cgroup.procs").write_text("0")
    print(find(state_dir / "inner"))
    """
    assert inside(group, tmp_path, code) == "None\n"


def test_a_group_that_cannot_be_used_is_an_error(group: Path, tmp_path: Path) -> None:
    code = """
    (group / "cgroup.max.descendants").write_text("1")
    try:
        find(state_dir)
    except OSError as error:
        print(type(error).__name__, error.errno)
    """
    assert inside(group, tmp_path, code).startswith("BlockingIOError")
