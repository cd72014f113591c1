"""The jobfile is edited and edited again under a daemon that works."""

from __future__ import annotations

import random
import signal

import pytest

from tests.faults.ledger import witnessed
from tests.faults.support import Box, pause
from tests.support import wait_for

HUPS = 1000
BROKEN = ("[jobs.", "[jobs.x]\n", 'a = \x00"', "[jobs.y]\ncommand = 7\n", "\ufffd")


def some_jobs(box: Box, chance: random.Random) -> str:
    """Some of six jobs, due every one to three seconds or not at all."""
    jobs = []
    for n in range(6):
        if chance.random() < 0.7:
            every = f'"{chance.randint(1, 3)}s"'
            enabled = "true" if chance.random() < 0.9 else "false"
            overlap = chance.choice(['"skip"', '"queue"', '"allow"', '"replace"'])
            then = chance.choice(["", "sleep 1.2", "false"])
            jobs.append(box.job(f"j{n}", then, every=every, enabled=enabled, overlap=overlap))
    return "".join(jobs)


@pytest.mark.slow
def test_g14_a_thousand_reloads_of_random_edits_lose_nothing_and_run_nothing_twice(
    box: Box,
) -> None:
    chance = random.Random(14)
    box.write(box.job("steady") + some_jobs(box, chance))
    box.start()
    for number in range(1, HUPS + 1):
        text = box.job("steady") + some_jobs(box, chance)
        box.write(text + (chance.choice(BROKEN) if chance.random() < 0.3 else ""))
        box.signal(signal.SIGHUP)
        if number % 50 == 0:
            pause(chance.uniform(0.2, 1.5))
        elif chance.random() < 0.5:
            pause(0.01)
    assert box.events("reloaded")
    assert box.events("reload_refused")
    assert box.process is not None
    assert box.process.poll() is None
    box.write(box.job("last"))
    box.signal(signal.SIGHUP)
    wait_for(lambda: any(run.startswith("last@") for run, _ in witnessed(box.witness)), "a run")
    box.assert_balanced()


@pytest.mark.slow
def test_a_jobfile_written_twice_within_a_second_is_applied_as_it_was_last(box: Box) -> None:
    box.write(box.job("first"))
    box.start()
    box.write(box.job("second"))
    box.signal(signal.SIGHUP)
    box.wait_for_event("reloaded")
    box.write(box.job("third"))
    box.signal(signal.SIGHUP)
    box.wait_for_event("reloaded", 2)
    box.wait_for_count("finished", 1, "third")
    assert box.count("started", "second") == 0
    box.assert_balanced()
