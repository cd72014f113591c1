"""yacron, and cronstable, which has grown out of it: daemons that read YAML."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from harness.cage import Cage
from harness.peers.base import Peer, moment
from harness.work import Case, Job, Once


class Yacron(Peer):
    name: ClassVar[str] = "yacron"
    grain_s: ClassVar[int] = 60
    most_jobs: ClassVar[int] = 1000
    package: ClassVar[str] = "yacron"
    extra: ClassVar[tuple[str, ...]] = ("setuptools<80",)

    def install(self) -> str:
        self._bin = self.workshop.environment(self.package, self.package, *self.extra)
        return self.workshop.version(self._bin, self.package)

    def lead_s(self, jobs: int) -> float:
        return 4.0 + jobs / 25

    def start(self, case: Case) -> Cage:
        return self.run(case, [self._bin / self.package, "-c", self.write(case)])

    def validation(self, case: Case) -> list[str | Path]:
        """The command that checks such a file."""
        return [self._bin / self.package, "-v", "-c", self.write(case)]

    def write(self, case: Case) -> Path:
        """The configuration of these jobs."""
        lines = ["jobs:"]
        for job in case.jobs:
            lines += [
                f"  - name: {job.name}",
                "    command:",
                *(f"      - {json.dumps(word)}" for word in case.argv(job)),
                f'    schedule: "{self.schedule(job)}"',
                "    utc: true",
                "    captureStderr: false",
            ]
        path = case.folder / "jobs.yaml"
        path.write_text("\n".join(lines) + "\n")
        return path

    def schedule(self, job: Job) -> str:
        """Its expression."""
        assert isinstance(job.when, Once)
        at = moment(job.when.at)
        return f"{at.minute} {at.hour} * * *"


class Cronstable(Yacron):
    name: ClassVar[str] = "cronstable"
    grain_s: ClassVar[int] = 1
    most_jobs: ClassVar[int] = 10_000
    package: ClassVar[str] = "cronstable"
    extra: ClassVar[tuple[str, ...]] = ()

    def lead_s(self, jobs: int) -> float:
        return 4.0 + jobs / 500

    def schedule(self, job: Job) -> str:
        if not isinstance(job.when, Once):
            return "* * * * * * *"
        at = moment(job.when.at)
        if at.second == 0:  # a schedule that names seconds makes it look each second
            return f"{at.minute} {at.hour} * * *"
        return f"{at.second} {at.minute} {at.hour} * * * *"
