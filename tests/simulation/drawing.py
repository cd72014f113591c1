"""What a seed draws: schedules, jobs, and how they change from jobfile to jobfile."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from stsd.model import (
    After,
    Backoff,
    CatchUp,
    Delivery,
    Job,
    LogFailure,
    Outcome,
    Overlap,
    Retry,
    ShellTask,
    WaitFor,
    When,
)
from stsd.settings import Jobfile, Settings
from tests.simulation.demand import Form, when_of

DAY = 86_400
POOLS = {"p": 2, "q": 1}
START = 1_780_272_000  # 2026-06-01T00:00:00Z
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "America/Havana",
    "Africa/Casablanca",
]


@dataclass(frozen=True)
class Profile:
    """How much happens: days and jobs; the mean number of days between two crashes, reloads, and
    other faults; seconds between two snapshots; the shares of the kinds of schedule."""

    days: int = 365
    jobs: int = 200
    crash_days: float = 6.0
    reload_days: float = 10.0
    fault_days: float = 4.0
    snapshot_s: float = 100_000.0
    longest_down_s: float = 90 * DAY
    kinds: tuple[int, int, int, int] = (180, 3, 0, 5)  # daily, some a day, hourly, hot
    rewinds: bool = True


YEAR = Profile()
# Few jobs, all the time in trouble: finds a fault within seconds.
WILD = Profile(
    days=12,
    jobs=24,
    crash_days=0.15,
    reload_days=0.5,
    fault_days=0.25,
    snapshot_s=1_800.0,
    longest_down_s=2 * DAY,
    kinds=(6, 12, 3, 3),
)


class Drawing:
    """All that is drawn of one seed's jobs. `forms` tells the form of each schedule drawn."""

    def __init__(self, profile: Profile, draw: random.Random) -> None:
        self.forms: dict[When, Form] = {}
        self._profile, self._draw = profile, draw
        # Peaks, at which many jobs fall due at once, so that queues form.
        self._peaks = [(draw.randrange(24), draw.randrange(60)) for _ in range(5)]
        self._pool = [self._schedule() for _ in range(max(8, profile.jobs // 3))]
        self._lasting: dict[str, float] = {}

    def first_jobfile(self) -> Jobfile:
        count = self._profile.jobs
        return self._jobfile([self.job(f"job{n}") for n in range(count)])

    def job(self, name: str) -> Job:
        draw = self._draw
        retry = Retry(
            max=draw.choice([0, 0, 1, 3]),
            delay=draw.choice([1.0, 10.0, 300.0]),
            backoff=draw.choice(list(Backoff)),
            jitter=draw.choice([0.0, 0.2]),
            on=frozenset(draw.sample(sorted(Outcome), 3)) - {Outcome.SUCCEEDED, Outcome.CANCELLED},
            within=draw.choice([None, None, 1800.0]),
        )
        # How a job is delivered stays with its name through every reload.
        stable = random.Random(name)
        return Job(
            name,
            ShellTask("true"),
            self._when(name),
            max_running=draw.choice([None, None, 2]),
            pools=draw.choice([(), (), ("p",), ("q",), ("p", "q")]),
            condition=ShellTask("true") if draw.random() < 0.1 else None,
            wait_for=WaitFor(path="/x", timeout=60.0) if draw.random() < 0.1 else None,
            timeout=draw.choice([None, 60.0, 900.0]),
            stop_grace=draw.choice([1.0, 10.0]),
            retry=retry,
            overlap=draw.choice(list(Overlap)),
            priority=draw.randrange(-2, 3),
            catch_up=draw.choice(list(CatchUp)),
            catch_up_window=stable.choice([60.0, 3600.0, 7200.0, 7.0 * DAY]),
            catch_up_limit=draw.choice([1, 3, 100]),
            delivery=stable.choice(list(Delivery)),
            on_log_failure=draw.choice([LogFailure.HOLD, LogFailure.HOLD, LogFailure.RUN]),
            enabled=draw.random() < 0.95,
        )

    def _when(self, name: str) -> When:
        """A schedule; or one or two jobs of lower numbers to follow, lest any follow itself."""
        draw, number = self._draw, int(name.removeprefix("job"))
        if number < 2 or draw.random() > 0.15:
            return draw.choice(self._pool)
        asked = frozenset(draw.sample(list(Outcome), draw.choice([1, 3])))
        others = draw.sample(range(number), draw.choice([1, 1, 2]))
        return When(after=tuple(After(f"job{other}", asked) for other in others))

    def edited(self, jobfile: Jobfile) -> Jobfile:
        """Another version of the jobfile: jobs added, removed, changed, disabled."""
        draw, jobs = self._draw, dict(jobfile.jobs)
        for _ in range(draw.randint(0, 6)):
            name = draw.choice(sorted(jobs)) if jobs else "job0"
            kind = draw.choice(["remove", "add", "when", "policy", "enabled", "new"])
            if kind == "remove":
                jobs.pop(name, None)
            elif kind in ("add", "new") or name not in jobs:
                name = f"job{draw.randrange(self._profile.jobs)}" if kind == "add" else name
                jobs[name] = self.job(name)
            elif kind == "when":
                jobs[name] = replace(jobs[name], when=draw.choice(self._pool))
            elif kind == "policy":
                jobs[name] = replace(self.job(name), when=jobs[name].when)
            else:
                jobs[name] = replace(jobs[name], enabled=not jobs[name].enabled)
        return self._jobfile(list(jobs.values()))

    def lasts(self, job: str) -> float:
        """How long an attempt of a job takes; each job has its own measure."""
        scale = self._lasting.get(job)
        if scale is None:
            scale = self._draw.choice([0.1, 1.0, 5.0, 30.0, 200.0, 1500.0])
            self._lasting[job] = scale
        return self._draw.random() * scale * 2 + 0.01

    def _jobfile(self, jobs: list[Job]) -> Jobfile:
        most = self._draw.choice([3, 4, 6])
        settings = Settings(
            max_running=most,
            pools=tuple(POOLS.items()),
            stop_timeout=self._draw.choice([0.5, 30.0]),
        )
        return Jobfile(Path("jobs.toml"), settings, {job.name: job for job in jobs})

    def _schedule(self) -> When:
        kinds = ["daily", "some", "hourly", "hot"]
        kind = self._draw.choices(kinds, self._profile.kinds)[0]
        form = getattr(self, f"_{kind}")()
        when = when_of(form, as_at=self._draw.random() < 0.4)
        self.forms[when] = form
        return when

    def _daily(self) -> Form:
        draw = self._draw
        hour, minute = draw.choice(self._peaks)
        days_of = draw.choice(["", "week", "week", "month", "month", "month"])
        days = {
            "": frozenset[int](),
            "week": frozenset(draw.sample(range(7), draw.randint(1, 3))),
            "month": frozenset(draw.sample(range(1, 29), draw.randint(1, 9))),
        }[days_of]
        zone = draw.choice(ZONES)
        if draw.random() < 0.1:
            once = self._day()
            return Form(minutes=frozenset({minute}), hours=frozenset({hour}), once=once, zone=zone)
        if draw.random() < 0.3:  # in the hours in which clocks change
            hour, minute = draw.choice([0, 1, 2, 3]), draw.choice([0, 15, 30, 45])
        return Form(
            minutes=frozenset({minute}),
            hours=frozenset({hour}),
            days_of=days_of,
            days=days,
            zone=zone,
            splay=draw.choice([0, 0, 0, 0, 600]),
        )

    def _some(self) -> Form:
        draw = self._draw
        if draw.random() < 0.3:
            every = draw.choice([6 * 3600, 8 * 3600, DAY, 5 * 3600, 40_000])
            return Form(every=every, anchor=draw.randrange(every))
        hours = frozenset(draw.sample(range(24), draw.randint(2, 3)))
        minutes = frozenset(range(0, 60, 30)) if draw.random() < 0.3 else frozenset({0})
        wildcard = len(minutes) == 2 and draw.random() < 0.7
        return Form(minutes=minutes, hours=hours, wildcard=wildcard, zone=draw.choice(ZONES))

    def _hourly(self) -> Form:
        draw = self._draw
        if draw.random() < 0.5:
            return Form(every=3600, anchor=draw.randrange(3600), splay=draw.choice([0, 60]))
        minute = frozenset({draw.randrange(60)})
        return Form(minutes=minute, hours=frozenset(range(24)), zone=draw.choice(ZONES))

    def _hot(self) -> Form:
        """Every few minutes, and on few days only."""
        draw = self._draw
        start = self._day()
        end = start + timedelta(days=draw.randint(0, 1))
        zone = draw.choice(ZONES)
        if draw.random() < 0.5:
            every = draw.choice([60, 60, 120, 300, 900])
            return Form(every=every, anchor=draw.randrange(60), zone=zone, start=start, end=end)
        step = draw.choice([1, 2, 5, 15])
        return Form(
            minutes=frozenset(range(0, 60, step)),
            hours=frozenset(range(24)),
            wildcard=True,
            zone=zone,
            start=start,
            end=end,
        )

    def _day(self) -> date:
        number = self._draw.randrange(1, self._profile.days)
        return datetime.fromtimestamp(START + number * DAY, UTC).date()
