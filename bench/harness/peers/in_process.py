"""Libraries that live in one's own Python process: APScheduler 3 and schedule. Each runs in the
program that its documentation shows, with what would hold back jobs that are due together (grace
times, a sleep of a second) set so that it does not."""

from __future__ import annotations

import json
from typing import ClassVar

from harness.cage import Cage
from harness.peers.base import Peer, moment
from harness.work import Case, Once

APSCHEDULER = """
import json, subprocess, sys
from datetime import datetime, timezone
from apscheduler.schedulers.blocking import BlockingScheduler

scheduler = BlockingScheduler(
    timezone="UTC", job_defaults={"misfire_grace_time": None, "coalesce": False}
)
with open(sys.argv[1]) as file:
    jobs = json.load(file)
for argv, at, phase in jobs:
    if at is None:
        begin = datetime.fromtimestamp(1e9 + phase, timezone.utc)
        when = {"trigger": "interval", "seconds": 1, "start_date": begin}
    else:
        hour, minute, second = at
        when = {"trigger": "cron", "hour": hour, "minute": minute, "second": second}
    scheduler.add_job(subprocess.run, args=[argv], max_instances=1000, **when)
scheduler.start()
"""

SCHEDULE = """
import json, subprocess, sys, time
import schedule

running = []

def start(argv):
    running[:] = [process for process in running if process.poll() is None]
    running.append(subprocess.Popen(argv))

with open(sys.argv[1]) as file:
    jobs = json.load(file)
for argv, at, phase in jobs:
    if at is None:
        time.sleep((phase - time.time()) % 1)
        schedule.every().second.do(start, argv)
    else:
        schedule.every().day.at("%02d:%02d:%02d" % tuple(at)).do(start, argv)
while True:
    time.sleep(max(0, schedule.idle_seconds()))
    schedule.run_pending()
"""


class InProcess(Peer):
    """A program in Python, told its jobs as JSON."""

    requirement: ClassVar[str]
    package: ClassVar[str]
    program: ClassVar[str]

    def install(self) -> str:
        self._bin = self.workshop.environment(self.package, self.requirement)
        return self.workshop.version(self._bin, self.package)

    def start(self, case: Case) -> Cage:
        jobs: list[tuple[list[str], tuple[int, int, int] | None, float]] = []
        for job in case.jobs:
            if isinstance(job.when, Once):
                at = moment(job.when.at)
                jobs.append((case.argv(job), (at.hour, at.minute, at.second), 0.0))
            else:
                jobs.append((case.argv(job), None, job.when.phase))
        (case.folder / "jobs.json").write_text(json.dumps(jobs))
        (case.folder / "program.py").write_text(self.program)
        return self.run(case, [self._bin / "python", "program.py", "jobs.json"])


class APScheduler(InProcess):
    name: ClassVar[str] = "APScheduler 3"
    requirement: ClassVar[str] = "apscheduler<4"
    package: ClassVar[str] = "apscheduler"
    program: ClassVar[str] = APSCHEDULER


class Schedule(InProcess):
    name: ClassVar[str] = "schedule"
    requirement: ClassVar[str] = "schedule"
    package: ClassVar[str] = "schedule"
    program: ClassVar[str] = SCHEDULE

    def lead_s(self, jobs: int) -> float:
        return 3.0 + jobs / 500
