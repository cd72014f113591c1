"""Celery: beat, which sends the tasks, a worker of two processes, which runs them, and the Redis in
between. All three are measured, since none does anything without the others."""

from __future__ import annotations

import json
from typing import ClassVar

from harness.cage import Cage
from harness.peers.base import Peer, moment
from harness.work import Case, Once
from harness.workshop import needs

APP = """
import json, subprocess, time
from datetime import datetime, timedelta, timezone
from celery import Celery
from celery.schedules import crontab, schedule

app = Celery("tasks", broker="redis+socket://{folder}/redis")
app.conf.timezone = "UTC"
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True

@app.task
def start(argv):
    subprocess.run(argv)

@app.task
def mark(path, label):
    now = time.time_ns()
    with open(path, "a") as file:
        file.write(f"{{label}} {{now}}\\n")

def when(at, minutely, phase):
    if minutely:
        return {{"schedule": crontab(hour=minutely[0], minute=minutely[1])}}
    day = timedelta(days=1)
    if at is None:
        day = timedelta(seconds=1)
        at = int(time.time()) + phase
    last = datetime.fromtimestamp(at, timezone.utc) - day
    return {{"schedule": schedule(day), "last_run_at": last}}

with open("{folder}/jobs.json") as file:
    app.conf.beat_schedule = {{
        name: {{"task": task, "args": args, **when(*times)}}
        for name, task, args, times in json.load(file)
    }}
"""

# Beat counts: once it has ended, the cage ends the others.
LIVE = """
redis-server --port 0 --unixsocket "$PWD/redis" --save "" >/dev/null &
until [ -S redis ]; do sleep 0.05; done
celery="$1"
"$celery" -A tasks worker -P prefork -c 2 -l error --without-gossip --without-mingle &
exec "$celery" -A tasks beat -l error -s "$PWD/beat-schedule"
"""


class CeleryBeat(Peer):
    name: ClassVar[str] = "Celery beat"
    task: ClassVar[str] = "tasks.start"

    def install(self) -> str:
        needs("redis-server")
        self._bin = self.workshop.environment("celery", "celery[redis]")
        return self.workshop.version(self._bin, "celery")

    def lead_s(self, jobs: int) -> float:
        return 6.0 + jobs / 500

    def start(self, case: Case) -> Cage:
        jobs: list[tuple[str, str, object, object]] = []
        for job in case.jobs:
            args = [case.argv(job)] if self.task == "tasks.start" else case.argv(job)[1:]
            if isinstance(job.when, Once):
                at = moment(job.when.at)
                minutely = (at.hour, at.minute) if at.second == 0 else None
                jobs.append((job.name, self.task, args, (job.when.at, minutely, 0.0)))
            else:
                jobs.append((job.name, self.task, args, (None, None, job.when.phase)))
        (case.folder / "jobs.json").write_text(json.dumps(jobs))
        (case.folder / "tasks.py").write_text(APP.format(folder=case.folder))
        env = {"C_FORCE_ROOT": "1", "PYTHONPATH": str(case.folder)}
        return self.run(case, ["sh", "-euc", LIVE, "sh", self._bin / "celery"], env)


class CeleryPython(CeleryBeat):
    """The same with a task that is the job itself, in Python, in the worker's process."""

    task: ClassVar[str] = "tasks.mark"
