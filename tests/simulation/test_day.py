"""A day of one run a second: the real core in a simulated world, whose ticks come late or not."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from stsd.model import Job, Overlap, Run, ShellTask, When
from stsd.settings import Jobfile
from tests.simulation.world import START, Fate, World, jobfile

DAY = 86_400
LATEST_TICK_S = 0.05

EVERY_SECOND = [
    pytest.param(When(every=1), id="every"),
    pytest.param(When(cron=("* * * * * *",), timezone="Asia/Kathmandu"), id="cron"),
]


class TardyWorld(World):
    """A world in which each event is seen up to 50 ms after it happened."""

    def __init__(self, files: Jobfile, fate: Callable[[Run, int], Fate], seed: int) -> None:
        super().__init__(files, fate)
        self._delay = random.Random(seed)

    def _next_moment(self) -> float:
        return super()._next_moment() + self._delay.uniform(0, LATEST_TICK_S)


def second_by_second(when: When) -> Job:
    return Job("tick", ShellTask("true"), when, overlap=Overlap.ALLOW)


@pytest.mark.slow
@pytest.mark.parametrize("when", EVERY_SECOND)
def test_a_day_of_seconds_has_86400_runs_on_the_second_and_none_is_late(when: When) -> None:
    draw = random.Random(86400)

    def lasting(run: Run, attempt: int) -> Fate:
        return Fate(draw.uniform(0.001, 3.0))

    world = World(jobfile(second_by_second(when), max_running=100), lasting).begin()
    world.run_for(DAY + 0.5)

    started = world.started()
    assert [record.scheduled for record in started] == list(range(START + 1, START + DAY + 1))
    assert {record.late_s for record in started} == {0.0}
    assert {record.at - record.scheduled for record in started} == {0.0}
    assert world.missed() == []
    assert world.skipped() == []


@pytest.mark.slow
def test_late_ticks_make_single_runs_late_and_the_next_ones_no_later() -> None:
    draw = random.Random(1)

    def lasting(run: Run, attempt: int) -> Fate:
        return Fate(draw.uniform(0.001, 3.0))

    files = jobfile(second_by_second(When(every=1)), max_running=100)
    world = TardyWorld(files, lasting, seed=2).begin()
    world.run_for(DAY + 0.5)

    started = world.started()
    assert [record.scheduled for record in started] == list(range(START + 1, START + DAY + 1))
    lates = [record.late_s for record in started]
    assert min(lates) >= 0
    assert max(lates) <= LATEST_TICK_S + 1e-6
    assert len(set(lates)) > DAY / 100
    hour = DAY // 24
    first, last = sum(lates[:hour]) / hour, sum(lates[-hour:]) / hour
    assert 0.8 < last / first < 1.25
