"""The history in counters: what is counted, what is passed over, what outlives a restart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsd.model import MissReason, Outcome, SkipReason
from stsd.tallies import DURATIONS, Spread, Tallies, Tally
from tests.support_audit import T0, Past, minute


def counted(past: Past, job: str = "job") -> Tally:
    tallies = Tallies({})
    for record in past.records():
        tallies.take(record)
    return dict(tallies.items())[job]


def test_runs_are_counted_by_how_their_last_attempt_ended() -> None:
    past = Past().run(minute(1), minute(2))
    past.finished(minute(3), outcome=Outcome.FAILED, exit_code=4, will_retry_at=minute(3) + 9.0)
    past.finished(minute(3), attempt=2, outcome=Outcome.TIMED_OUT)
    tally = counted(past)
    assert tally.runs == {Outcome.SUCCEEDED: 2, Outcome.TIMED_OUT: 1}
    assert tally.retries == 1


def test_durations_are_of_last_attempts_that_had_a_process() -> None:
    past = Past().finished(minute(1), duration_s=0.5)
    past.finished(minute(2), outcome=Outcome.FAILED, duration_s=7.0, will_retry_at=minute(2) + 9.0)
    past.finished(minute(2), attempt=2, outcome=Outcome.FAILED, duration_s=90_000.0)
    past.finished(minute(3), outcome=Outcome.SPAWN_FAILED, duration_s=None)
    durations = counted(past).durations
    assert durations.counts == [0, 1, 0, 0, 0, 0, 0, 0, 0, 1]
    assert durations.sum_s == 90_000.5


def test_a_duration_that_is_a_bound_is_not_above_it() -> None:
    spread = Spread(DURATIONS)
    spread.add(1.0)
    spread.add(1.001)
    assert spread.counts[1:3] == [1, 1]


def test_each_attempt_is_counted_by_how_late_it_was_started() -> None:
    past = Past().started(minute(1), late_s=0.004).started(minute(2), late_s=12.0)
    past.started(minute(2), attempt=2, late_s=-0.5)  # the clock was set back
    latenesses = counted(past).latenesses
    assert latenesses.counts == [2, 0, 0, 0, 1, 0, 0, 0]
    assert latenesses.sum_s == 12.004


def test_skipped_are_counted_by_the_record_and_missed_by_their_number() -> None:
    tally = counted(Past().skipped(minute(1), minute(2)).missed(minute(3), minute(7), 5))
    assert tally.skipped == {SkipReason.OVERLAP: 2}
    assert tally.missed == {MissReason.DOWN: 5}


def test_the_last_success_stays_when_a_run_fails() -> None:
    past = Past().finished(minute(1)).finished(minute(2), outcome=Outcome.FAILED)
    tally = counted(past)
    assert tally.last_success == minute(1) + 1
    assert tally.last_run == minute(2) + 1
    assert tally.well is False


def test_what_a_person_cancelled_is_neither_success_nor_failure() -> None:
    past = Past().finished(minute(1)).finished(minute(2), outcome=Outcome.CANCELLED)
    tally = counted(past)
    assert tally.well is True
    assert tally.last_success == minute(1) + 1
    assert tally.last_run == minute(2) + 1


@pytest.mark.parametrize(
    "record",
    [
        {"event": "daemon", "pid": 1},
        {"event": "finished", "job": "job"},
        {"event": "finished", "job": "job", "outcome": "exploded"},
        {"event": "finished", "job": ["job"], "outcome": "failed"},
        {"event": "started", "job": "job", "late_s": "soon"},
        {"event": "skipped", "job": "job", "reason": "a label of somebody else's"},
        {"event": "missed", "job": "job", "reason": "down", "count": "3"},
        {"event": "missed", "job": "job", "reason": "forgotten", "count": 3},
    ],
)
def test_what_has_lost_a_field_is_passed_over(record: dict[str, Any]) -> None:
    tallies = Tallies({})
    tallies.take(record)
    assert len(tallies) == 0
    assert tallies.changed() == {}


def test_a_run_whose_end_has_no_readable_instant_is_counted_all_the_same() -> None:
    tallies = Tallies({})
    tallies.take({"event": "finished", "job": "job", "outcome": "succeeded", "at": "yesterday"})
    ((_, tally),) = tallies.items()
    assert tally.runs == {Outcome.SUCCEEDED: 1}
    assert tally.last_success is None


def test_a_job_without_any_run_is_told_of_and_need_not_be_kept() -> None:
    tallies = Tallies({})
    tallies.reload(["new"])
    assert list(tallies.items()) == [("new", Tally())]
    assert tallies.changed() == {}


def test_jobs_that_are_removed_are_forgotten_and_the_others_count_on() -> None:
    tallies = Tallies({})
    for record in Past("old").run(minute(1)).records() + Past("kept").run(minute(1)).records():
        tallies.take(record)
    tallies.changed()
    tallies.reload(["kept", "new"])
    assert [job for job, _ in tallies.items()] == ["kept", "new"]
    assert tallies.changed() == {"old": None}
    assert dict(tallies.items())["kept"].runs.total() == 1


def test_only_what_has_changed_since_is_told_anew() -> None:
    tallies = Tallies({})
    for record in Past("a").run(minute(1)).records() + Past("b").run(minute(1)).records():
        tallies.take(record)
    assert set(tallies.changed()) == {"a", "b"}
    tallies.take(Past("b").finished(minute(2)).records()[0])
    assert set(tallies.changed()) == {"b"}


seconds = st.floats(0, 1e6).map(lambda value: round(value, 3))


@given(
    ends=st.lists(st.tuples(st.sampled_from(Outcome), st.none() | seconds, st.booleans())),
    late=st.lists(seconds),
    skips=st.integers(0, 3),
    misses=st.integers(0, 3),
)
def test_counters_go_on_from_where_a_restart_has_found_them(
    ends: list[tuple[Outcome, float | None, bool]], late: list[float], skips: int, misses: int
) -> None:
    past = Past()
    for number, (outcome, took, again) in enumerate(ends):
        retry = T0 + 9.5 if again else None
        past.finished(minute(number), outcome=outcome, duration_s=took, will_retry_at=retry)
    for number, late_s in enumerate(late):
        past.started(minute(number), late_s=late_s)
    past.skipped(*(minute(number) for number in range(skips)))
    for number in range(misses):
        past.missed(minute(number), minute(number + 2), 3)
    records = past.records()
    straight, first = Tallies({}), Tallies({})
    kept: dict[str, object] = {}
    for number, record in enumerate(records):
        straight.take(record)
        if number == len(records) // 2:
            kept |= first.changed()
            first = Tallies(json.loads(json.dumps(kept)))
        first.take(record)
        kept |= first.changed()
    again_known = Tallies(json.loads(json.dumps(kept)))
    assert list(again_known.items()) == list(straight.items())
    assert again_known.damaged == []


@pytest.mark.parametrize("state", [None, [], "text", {}, {"runs": {"exploded": 1}}, 7])
def test_a_state_that_cannot_be_read_is_told_and_counts_from_zero(state: object) -> None:
    tallies = Tallies({"job": state})
    assert tallies.damaged == ["job"]
    assert len(tallies) == 0


def test_seconds_that_were_counted_by_other_bounds_begin_anew() -> None:
    tallies = Tallies({})
    for record in Past().finished(minute(1), duration_s=2.0).started(minute(1)).records():
        tallies.take(record)
    state = json.loads(json.dumps(tallies.changed()))
    state["job"]["durations"] = [2.0, {"2.5": 1}]
    ((_, tally),) = Tallies(state).items()
    assert tally.runs.total() == 1
    assert tally.durations == Spread(DURATIONS)
    assert sum(tally.latenesses.counts) == 1
