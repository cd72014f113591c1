"""Watches how full file systems are: the Python entry point `diskspace:check` of jobs.example.toml.

An entry point is a plain function. It knows nothing of stsd: what it prints is the run's output,
and an exception makes the run a failed one.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

GIB = 1 << 30


class DiskFullError(RuntimeError):
    """At least one file system is fuller than allowed."""


def check(paths: Sequence[str] = ("/",), max_percent: float = 90) -> None:
    """Print how full the file system of each path is; raise DiskFullError for those above
    `max_percent`, OSError for a path that does not exist."""
    too_full = []
    for path in paths:
        usage = shutil.disk_usage(path)
        percent = 100 * usage.used / (usage.used + usage.free)
        print(f"{path}: {percent:.1f} % used, {usage.free / GIB:.1f} GiB free")
        if percent > max_percent:
            too_full.append(f"{path} is {percent:.1f} % full")
    if too_full:
        raise DiskFullError(f"{', '.join(too_full)} (allowed: {max_percent} %)")
