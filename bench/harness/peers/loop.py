"""The bare loop of posix_spawn in C: the least that starting so many children takes."""

from __future__ import annotations

import time
from collections import Counter
from typing import ClassVar

from harness.cage import Cage
from harness.peers.base import Peer
from harness.work import Case, Once

SECONDLY_S = 3600


class Loop(Peer):
    name: ClassVar[str] = "C loop"
    is_daemon: ClassVar[bool] = False

    def install(self) -> str:
        self.workshop.program("loop")
        return "posix_spawn"

    def start(self, case: Case) -> Cage:
        dues: Counter[tuple[int, str]] = Counter()
        for job in case.jobs:
            if isinstance(job.when, Once):
                dues[job.when.at * 10**9, job.label] += 1
            else:
                phase, first = round(job.when.phase * 1e9), int(time.time()) + 1
                for second in range(first, first + SECONDLY_S):
                    dues[second * 10**9 + phase, job.label] += 1
        lines = [f"{at} {count} {label}\n" for (at, label), count in sorted(dues.items())]
        plan = case.folder / "plan"
        plan.write_text("".join(lines))
        script = 'exec "$1" "$2" "$3" <"$4"'
        loop = self.workshop.program("loop")
        return self.run(case, ["sh", "-c", script, "sh", loop, case.job, case.starts_file, plan])
