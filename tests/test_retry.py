"""Whether and when a failed attempt is repeated."""

from __future__ import annotations

import pytest

from stsd.model import Backoff, Job, Outcome, Retry, Run, ShellTask, TriggerKind
from stsd.retry import delay_after, delay_if_retried


def half() -> float:
    return 0.5


def never() -> float:
    raise AssertionError("no jitter, no draw")


def run_with(retry: Retry) -> Run:
    return Run("a@1", Job("a", ShellTask("true"), retry=retry), 1000, TriggerKind.CRON)


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (Backoff.CONSTANT, [10, 10, 10, 10]),
        (Backoff.LINEAR, [10, 20, 30, 35]),
        (Backoff.EXPONENTIAL, [10, 20, 35, 35]),
    ],
)
def test_the_delay_grows_as_the_backoff_says_up_to_max_delay(
    backoff: Backoff, delays: list[float]
) -> None:
    retry = Retry(max=9, delay=10, backoff=backoff, max_delay=35)
    assert [delay_after(retry, attempt, never) for attempt in (1, 2, 3, 4)] == delays


def test_exponential_backoff_of_very_many_attempts_stays_finite() -> None:
    retry = Retry(max=10_000, delay=1, backoff=Backoff.EXPONENTIAL, max_delay=60)
    assert delay_after(retry, 9_999, never) == 60


@pytest.mark.parametrize(("drawn", "delay"), [(0.0, 80), (0.5, 100), (0.75, 110)])
def test_jitter_varies_the_delay_in_both_directions(drawn: float, delay: float) -> None:
    assert delay_after(Retry(max=1, delay=100, jitter=0.2), 1, lambda: drawn) == pytest.approx(
        delay
    )


def test_max_counts_retries_not_attempts() -> None:
    run = run_with(Retry(max=2, delay=1))
    outcomes = [delay_if_retried(run, n, Outcome.FAILED, 1000, half) for n in (1, 2, 3)]
    assert outcomes == [1, 1, None]


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.CANCELLED, Outcome.INTERRUPTED])
def test_only_the_named_outcomes_are_retried(outcome: Outcome) -> None:
    assert delay_if_retried(run_with(Retry(max=5)), 1, outcome, 1000, half) is None


def test_within_gives_up_that_long_after_the_scheduled_time() -> None:
    run = run_with(Retry(max=99, delay=10, within=60))
    assert delay_if_retried(run, 1, Outcome.FAILED, 1050, half) == 10
    assert delay_if_retried(run, 1, Outcome.FAILED, 1050.1, half) is None
