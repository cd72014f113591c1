"""Which limit is held by what."""

from __future__ import annotations

import pytest

from stsd.limits import caveats, means, rlimits_for
from stsd.model import Limits

ALL = frozenset({"cpu", "memory", "pids"})
NONE: frozenset[str] = frozenset()
FULL = Limits(memory=1 << 20, cpu=0.5, cpu_time=1.2, open_files=10, processes=5, file_size=1 << 30)


def test_without_a_cgroup_every_limit_that_has_an_rlimit_is_one() -> None:
    assert {name: soft for name, soft, _ in rlimits_for(FULL, NONE)} == {
        "RLIMIT_AS": 1 << 20,
        "RLIMIT_CPU": 2,
        "RLIMIT_NOFILE": 10,
        "RLIMIT_NPROC": 5,
        "RLIMIT_FSIZE": 1 << 30,
    }


def test_what_a_cgroup_holds_is_no_rlimit() -> None:
    names = {name for name, _, _ in rlimits_for(FULL, ALL)}
    assert names == {"RLIMIT_CPU", "RLIMIT_NOFILE", "RLIMIT_FSIZE"}


def test_each_controller_stands_for_its_own_limit_only() -> None:
    names = {name for name, _, _ in rlimits_for(FULL, frozenset({"memory"}))}
    assert "RLIMIT_AS" not in names
    assert "RLIMIT_NPROC" in names


def test_processor_time_has_a_second_between_the_warning_and_the_kill() -> None:
    assert rlimits_for(Limits(cpu_time=60.0), NONE) == (("RLIMIT_CPU", 60, 61),)


def test_a_limit_that_is_not_set_is_not_touched() -> None:
    assert rlimits_for(Limits(), NONE) == ()


@pytest.mark.parametrize(
    ("controllers", "said"),
    [
        (
            ALL,
            "by cgroup v2: memory, cpu, processes; by rlimits: cpu_time, open_files, file_size",
        ),
        (
            frozenset({"pids"}),
            "by cgroup v2: processes; by rlimits: memory, cpu_time, open_files, file_size;"
            " not at all: cpu",
        ),
        (
            NONE,
            "by rlimits: memory, cpu_time, open_files, processes, file_size; not at all: cpu",
        ),
    ],
)
def test_the_means_are_told_for_every_kind_of_limit(controllers: frozenset[str], said: str) -> None:
    assert means(controllers) == said


def test_with_all_controllers_there_is_nothing_to_beware_of() -> None:
    assert caveats(FULL, ALL, as_root=True) == ()


def test_what_no_rlimit_can_do_is_told() -> None:
    memory, cpu, processes = caveats(FULL, NONE, as_root=True)
    assert "address space" in memory
    assert "`cpu` holds nothing back" in cpu
    assert "does not bind root" in processes


def test_another_user_is_bound_by_the_rlimit_with_all_that_he_runs() -> None:
    (said,) = caveats(Limits(processes=5), NONE, as_root=False)
    assert "all processes of the job's user" in said


def test_limits_that_are_always_rlimits_need_no_caveat() -> None:
    limits = Limits(cpu_time=1.0, open_files=9, file_size=9)
    assert caveats(limits, NONE, as_root=True) == ()
