"""Two hundred jobs and a year, twenty times over, in a world that breaks: the books must balance.

A fault is told with its seed; `Universe(seed, PROFILE, folder).run()` brings it back.
"""

from __future__ import annotations

import random
from datetime import date
from pathlib import Path

import pytest

from tests.oracle import Oracle
from tests.simulation.demand import demanded, when_of
from tests.simulation.disk import CrashError
from tests.simulation.drawing import DAY, START, WILD, YEAR, Drawing, Profile
from tests.simulation.mutants import MUTANTS, Mutant
from tests.simulation.reckoning import Reckoning, reckon
from tests.simulation.universe import Universe

SHOWN = 12


def balance(seed: int, profile: Profile, folder: Path) -> tuple[Universe, Reckoning]:
    universe = Universe(seed, profile, folder).run()
    reckoning = reckon(universe)
    assert not reckoning.faults, "\n".join(reckoning.faults[:SHOWN])
    return universe, reckoning


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_every_occurrence_of_a_year_is_accounted_for_exactly_once(
    seed: int, tmp_path: Path
) -> None:
    """G1 G2 G3 G4 G5 G6 G7 G9 G11 G12"""
    universe, reckoning = balance(seed, YEAR, tmp_path)
    assert reckoning.demanded > 10_000
    assert universe.counts.spawns > 5_000
    assert universe.counts.faults["kill"] + universe.counts.faults["power"] > 20


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(6))
def test_the_books_balance_however_often_it_dies(batch: int, tmp_path: Path) -> None:
    for seed in range(1000 + 10 * batch, 1010 + 10 * batch):
        balance(seed, WILD, tmp_path / str(seed))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_trace(tmp_path: Path) -> None:
    traces = []
    for name in ("once", "again"):
        universe = Universe(7, WILD, tmp_path / name).run()
        segments = sorted((tmp_path / name / "log" / "history").iterdir())
        history = b"".join(segment.read_bytes() for segment in segments)
        traces.append((universe.hasher.hexdigest(), universe.counts, history))
    assert traces[0] == traces[1]
    assert Universe(8, WILD, tmp_path / "other").run().hasher.hexdigest() != traces[0][0]


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_planted_fault_is_found(mutant: Mutant, tmp_path: Path) -> None:
    """In a seed whose books balance without it."""
    for seed in range(40):
        with mutant():
            found = is_found(seed, tmp_path / f"{seed}-mutant")
        if found and not is_found(seed, tmp_path / f"{seed}"):
            return
    pytest.fail("no seed has found it")


def is_found(seed: int, folder: Path) -> bool:
    """Whether anything is wrong; an error of the core itself is, too."""
    try:
        return bool(reckon(Universe(seed, WILD, folder).run()).faults)
    except (KeyError, ValueError, CrashError):
        return True


@pytest.mark.slow
def test_the_enumeration_of_what_is_due_agrees_with_the_oracle_of_cron() -> None:
    drawing = Drawing(Profile(days=150, jobs=240), random.Random(1))
    first, last = START + 110 * DAY, START + 170 * DAY
    compared = 0
    for when, form in drawing.forms.items():
        if not when.cron or form.splay or form.start or form.end:
            continue
        days = [date.fromordinal(date(1970, 1, 1).toordinal() + at // DAY) for at in (first, last)]
        expected = Oracle(when.cron[0]).instants(form.zone, *days)
        got = [at for at in demanded(form, "", START, START + 200 * DAY) if first <= at < last]
        assert got == expected, when
        assert when_of(form, as_at=False) == when
        compared += 1
    assert compared > 10
