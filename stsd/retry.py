"""Whether a failed attempt is followed by another one, and when.

Decides on values alone; the random draw for the jitter is handed in.
"""

from __future__ import annotations

from collections.abc import Callable

from stsd.model import Backoff, Delivery, Outcome, Retry, Run

_DOUBLINGS = 64


def delay_after(retry: Retry, attempt: int, draw: Callable[[], float]) -> float:
    """Seconds between the end of this attempt (1-based) and the start of the next one.

    `draw` returns a number in [0, 1), asked for only when there is a jitter. Exponential backoff
    doubles from attempt to attempt; `max_delay` caps the delay before the jitter is applied.
    """
    if retry.backoff is Backoff.EXPONENTIAL:
        delay = retry.delay * 2.0 ** min(attempt - 1, _DOUBLINGS)
    elif retry.backoff is Backoff.LINEAR:
        delay = retry.delay * attempt
    else:
        delay = retry.delay
    delay = min(delay, retry.max_delay)
    if retry.jitter:
        delay *= 1 + retry.jitter * (2 * draw() - 1)
    return delay


def delay_if_retried(
    run: Run, attempt: int, outcome: Outcome, now: float, draw: Callable[[], float]
) -> float | None:
    """Seconds until the next attempt of a run whose attempt ended so, or None if it was the last.

    `now` is the wall clock's reading; `within` counts from the scheduled instant. What is to be
    delivered at least once goes on at once after an interruption, for as long as it would be
    caught up with.
    """
    retry = run.job.retry
    if outcome is Outcome.INTERRUPTED and run.job.delivery is Delivery.AT_LEAST_ONCE:
        return 0.0 if now - run.scheduled <= run.job.catch_up_window else None
    if attempt > retry.max or outcome not in retry.on:
        return None
    delay = delay_after(retry, attempt, draw)
    if retry.within is not None and now + delay > run.scheduled + retry.within:
        return None
    return delay
