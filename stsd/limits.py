"""What becomes of a job's `limits`: which of them a cgroup holds, which are left to rlimits, and
which cannot be had at all. Decides; touches neither.

A limit of a cgroup is one for all processes of an attempt together. An rlimit is one for each
process (RLIMIT_NPROC: for all processes of the user), and is inherited.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from stsd.model import Limits

# What of `limits` a cgroup v2 can hold, and the controller that it takes.
CONTROLLER_OF: Mapping[str, str] = MappingProxyType(
    {"memory": "memory", "cpu": "cpu", "processes": "pids"}
)
# What of `limits` an rlimit can hold. setrlimit(2)
RLIMIT_OF: Mapping[str, str] = MappingProxyType(
    {
        "memory": "RLIMIT_AS",
        "cpu_time": "RLIMIT_CPU",
        "open_files": "RLIMIT_NOFILE",
        "processes": "RLIMIT_NPROC",
        "file_size": "RLIMIT_FSIZE",
    }
)


def rlimits_for(limits: Limits, controllers: frozenset[str]) -> tuple[tuple[str, int, int], ...]:
    """The rlimits of an attempt, as (name, soft, hard), where `controllers` are those of its
    cgroup; without a cgroup there are none.

    Soft and hard are the same, but for RLIMIT_CPU: at the soft one a process gets SIGXCPU, which
    ends it and tells why in the record, and one second later KILL, if it ignored that.
    """
    return tuple(
        (name, math.ceil(most), math.ceil(most) + (name == "RLIMIT_CPU"))
        for key, name in RLIMIT_OF.items()
        if (most := getattr(limits, key)) is not None and CONTROLLER_OF.get(key) not in controllers
    )


def means(controllers: frozenset[str]) -> str:
    """By which means each kind of limit is held, in words."""
    by_cgroup = [key for key, controller in CONTROLLER_OF.items() if controller in controllers]
    by_rlimit = [key for key in RLIMIT_OF if key not in by_cgroup]
    at_all = {*by_cgroup, *by_rlimit}
    parts = {
        "by cgroup v2": by_cgroup,
        "by rlimits": by_rlimit,
        "not at all": [key for key in CONTROLLER_OF if key not in at_all],
    }
    return "; ".join(f"{how}: {', '.join(keys)}" for how, keys in parts.items() if keys)


def caveats(limits: Limits, controllers: frozenset[str], *, as_root: bool) -> tuple[str, ...]:
    """A sentence for each of the limits that is not what one may take it for, where `controllers`
    are all that there are. `as_root` tells that the job's user is root."""
    return tuple(_caveats(limits, controllers, as_root))


def _caveats(limits: Limits, controllers: frozenset[str], as_root: bool) -> Iterator[str]:
    if limits.memory is not None and "memory" not in controllers:
        yield (
            "without the memory controller of cgroup v2, `memory` bounds the address space of each"
            " process, which is often far more than the memory that it has in use"
        )
    if limits.cpu is not None and "cpu" not in controllers:
        yield "without the cpu controller of cgroup v2, `cpu` holds nothing back"
    if limits.processes is not None and "pids" not in controllers:
        if as_root:
            yield "without the pids controller of cgroup v2, `processes` does not bind root"
        else:
            yield (
                "without the pids controller of cgroup v2, `processes` counts all processes of the"
                " job's user, not only the job's"
            )
