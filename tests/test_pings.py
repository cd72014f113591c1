"""What dead man's switches are told, in which order, and for how long it is tried."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stsd.model import Job, Outcome, ShellTask, TriggerKind
from stsd.notices import Ping
from stsd.pings import GIVE_UP_S, RETRY_S, PingCall, PingKind, Pings
from stsd.records import Finished, Started

NOW = 1_800_000_000.0
CHECK = "https://hc.example.com/4f2a"
HEALTH = Ping(CHECK)
PLAIN = Ping(
    start="https://x.example.com/s?a=1",
    success="https://x.example.com/${OK}",
    failure="https://x.example.com/f",
)


def a_job(name: str = "a", ping: Ping | None = HEALTH) -> Job:
    return Job(name, ShellTask("true"), ping=ping)


def pings(*jobs: Job) -> Pings:
    return Pings({job.name: job for job in jobs or (a_job(),)}, {})


def started(run: str = "a@1", job: str = "a", attempt: int = 1) -> dict[str, Any]:
    at = int(NOW)
    return Started(run, job, at, TriggerKind.CRON, attempt, NOW, 0.0, 4711, 1).fields()


def finished(
    outcome: Outcome = Outcome.SUCCEEDED, run: str = "a@1", job: str = "a", **more: Any
) -> dict[str, Any]:
    known: dict[str, Any] = {
        "run": run,
        "job": job,
        "scheduled": int(NOW),
        "trigger": TriggerKind.CRON,
        "attempt": 1,
        "outcome": outcome,
        "at": NOW + 3.2,
        "exit_code": 0 if outcome is Outcome.SUCCEEDED else 2,
        "duration_s": 3.2,
        "output": "output/a/1.log",
        "output_bytes": 812,
    }
    return Finished(**(known | more)).fields()


def called(it: Pings, now: float = NOW) -> list[PingCall]:
    """All that is called, one after the other, each with success."""
    calls: list[PingCall] = []
    while batch := it.tick(now):
        calls += batch
        for call in batch:
            it.answered(call.id, True, "OK", now)
    return calls


def urls(calls: list[PingCall]) -> list[str]:
    return [call.url.partition("?rid=")[0] for call in calls]


def test_a_check_is_told_of_start_and_success_with_one_id_for_both() -> None:
    it = pings()
    it.take(started(), NOW)
    it.take(finished(), NOW)
    start, success = called(it)
    assert [start.kind, success.kind] == [PingKind.START, PingKind.SUCCESS]
    assert urls([start, success]) == [f"{CHECK}/start", CHECK]
    rid = start.url.partition("?rid=")[2]
    assert uuid.UUID(rid)
    assert success.url.endswith(f"?rid={rid}")
    it.take(started("a@2"), NOW)
    assert rid not in called(it)[0].url


@pytest.mark.parametrize(
    ("outcome", "exit_code", "told"),
    [
        (Outcome.FAILED, 2, "/2"),
        (Outcome.FAILED, 0, "/fail"),
        (Outcome.TIMED_OUT, None, "/fail"),
        (Outcome.SPAWN_FAILED, None, "/fail"),
        (Outcome.INTERRUPTED, None, "/fail"),
        (Outcome.SUCCEEDED, 3, ""),
    ],
)
def test_a_check_is_told_how_a_run_ended(
    outcome: Outcome, exit_code: int | None, told: str
) -> None:
    it = pings()
    it.take(finished(outcome, exit_code=exit_code), NOW)
    assert urls(called(it)) == [CHECK + told]


def test_what_an_address_asks_for_stays_at_its_end() -> None:
    it = pings(a_job(ping=Ping("https://hc.example.com/key/slug/?create=1")))
    for record in (started(), finished(), finished(Outcome.FAILED)):
        it.take(record, NOW)
    starts = [call.url.partition("rid=")[0] for call in called(it)]
    base = "https://hc.example.com/key/slug"
    assert starts == [
        f"{base}/start?create=1&",
        f"{base}/?create=1&",
        f"{base}/2?create=1&",
    ]


def test_plain_addresses_are_told_as_they_stand_and_what_has_none_is_not_told() -> None:
    it = pings(a_job(ping=PLAIN))
    for record in (started(), finished(), finished(Outcome.FAILED, run="a@2")):
        it.take(record, NOW)
    assert [call.url for call in called(it)] == [PLAIN.start, PLAIN.success, PLAIN.failure]
    it = pings(a_job(ping=Ping(failure="https://x.example.com/f")))
    it.take(started(), NOW)
    it.take(finished(), NOW)
    assert (it.due(), it.known()) == (None, {})


def test_the_body_says_which_run_it_was_and_how_it_went() -> None:
    it = pings()
    it.take(finished(Outcome.FAILED), NOW)
    (call,) = called(it)
    assert call.body.splitlines() == [
        "job: a",
        "run: a@1",
        "scheduled: 2027-01-15T08:00:00Z",
        "trigger: cron",
        "attempt: 1",
        "outcome: failed",
        "reason: exit code 2",
        "duration: 3.2s",
    ]
    assert call.output == "output/a/1.log"


def test_a_run_starts_once_and_ends_once_however_many_attempts_it_takes() -> None:
    it = pings()
    it.take(started(), NOW)
    it.take(finished(Outcome.FAILED, will_retry_at=NOW + 10), NOW)
    it.take(started(attempt=2), NOW)
    it.take(finished(attempt=2), NOW)
    assert urls(called(it)) == [f"{CHECK}/start", CHECK]


def test_a_run_that_was_cancelled_tells_nothing() -> None:
    it = pings()
    it.take(finished(Outcome.CANCELLED), NOW)
    assert it.due() is None


def test_jobs_without_a_ping_and_other_records_tell_nothing() -> None:
    it = pings(a_job(ping=None))
    it.take(started(), NOW)
    it.take(started(job="stranger"), NOW)
    it.take({"event": "missed", "job": "a"}, NOW)
    assert it.due() is None


def test_of_a_job_one_call_is_under_way_and_jobs_do_not_wait_for_each_other() -> None:
    it = pings(a_job("a"), a_job("b"))
    for name in ("a", "b"):
        it.take(started(f"{name}@1", name), NOW)
        it.take(finished(run=f"{name}@1", job=name), NOW)
    first = it.tick(NOW)
    assert sorted((call.job, call.kind) for call in first) == [("a", "start"), ("b", "start")]
    assert (it.tick(NOW + 99), it.due()) == ([], None)
    it.answered(first[0].id, True, "OK", NOW)
    assert [(call.job, call.kind) for call in it.tick(NOW)] == [(first[0].job, "success")]


def test_a_newer_call_of_a_kind_takes_the_place_of_one_that_waits() -> None:
    it = pings()
    for number in range(1, 6):
        it.take(started(f"a@{number}"), NOW)
        it.take(finished(run=f"a@{number}"), NOW)
    assert [call.id for call in called(it)] == ["a@5 start", "a@5 success"]


def test_a_call_under_way_is_not_replaced() -> None:
    it = pings()
    it.take(finished(run="a@1"), NOW)
    (call,) = it.tick(NOW)
    it.take(finished(run="a@2"), NOW)
    assert it.tick(NOW) == []
    it.answered(call.id, False, "refused", NOW)  # and of no more use
    assert [call.id for call in called(it)] == ["a@2 success"]
    assert it.given_up() == []


def test_what_fails_is_tried_again_ever_more_rarely_and_given_up_after_a_quarter_of_an_hour() -> (
    None
):
    it = pings()
    it.take(finished(), NOW)
    now, waits = NOW, []
    while (due := it.due()) is not None:
        waits.append(due - now)
        now = due
        (call,) = it.tick(now)
        it.answered(call.id, False, "answered 503", now)
    assert waits == [0.0, *(RETRY_S * 2**number for number in range(6))]
    assert now <= NOW + GIVE_UP_S
    (given_up,) = it.given_up()
    assert (given_up.call.id, given_up.said) == ("a@1 success", "answered 503")
    assert it.given_up() == []
    assert it.changed() == {"a": None}


def test_what_is_tried_again_is_the_same_call() -> None:
    it = pings()
    it.take(finished(), NOW)
    (first,) = it.tick(NOW)
    it.answered(first.id, False, "refused", NOW)
    assert it.tick(NOW + RETRY_S - 0.001) == []
    assert it.tick(NOW + RETRY_S) == [first]


def test_a_start_that_could_not_be_told_does_not_hold_up_the_end() -> None:
    it = pings()
    it.take(started(), NOW)
    (call,) = it.tick(NOW)
    it.answered(call.id, False, "refused", NOW)
    it.take(finished(), NOW + 1)
    assert [call.kind for call in called(it, NOW + 1)] == [PingKind.SUCCESS]

    it.take(started("a@2"), NOW)
    (call,) = it.tick(NOW)
    it.take(finished(run="a@2"), NOW)
    it.answered(call.id, False, "refused", NOW)
    assert [call.kind for call in called(it)] == [PingKind.SUCCESS]


def test_an_answer_to_a_call_that_is_not_under_way_is_passed_over() -> None:
    it = pings()
    it.take(finished(), NOW)
    it.answered("a@1 success", True, "OK", NOW)
    assert len(called(it)) == 1


def test_another_jobfile_sends_what_waits_to_its_own_addresses_or_nowhere() -> None:
    it = pings(a_job("a"), a_job("b"), a_job("c"))
    for name in ("a", "b", "c"):
        it.take(started(f"{name}@1", name), NOW)
        it.take(finished(run=f"{name}@1", job=name), NOW)
    it.changed()
    it.reload(
        {"a": a_job("a", PLAIN), "b": a_job("b", None), "c": a_job("c", Ping(success="https://c"))}
    )
    assert it.changed().keys() == {"b", "c"}
    assert {call.url for call in called(it)} == {"https://c", PLAIN.start, PLAIN.success}


def test_an_address_that_is_gone_lets_the_next_call_go_on() -> None:
    it = pings()
    it.take(started(), NOW)
    it.take(finished(), NOW)
    (call,) = it.tick(NOW)
    it.reload({"a": a_job(ping=Ping(success="https://c"))})
    assert [call.url for call in called(it)] == ["https://c"]
    it.answered(call.id, True, "OK", NOW)
    assert it.known() == {}


def test_a_call_under_way_when_all_was_lost_is_made_again() -> None:
    it = pings()
    it.take(finished(), NOW)
    (call,) = it.tick(NOW)
    known = json.loads(json.dumps(it.changed()))
    assert Pings({"a": a_job()}, known).tick(NOW) == [call]


@pytest.mark.parametrize("known", [{"a": [["start"]]}, {"a": 3}, {"a": [["never", *"abcdef"]]}])
def test_a_state_that_is_none_is_refused(known: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Pings({"a": a_job()}, known)


RECORDS = [
    *(started(f"{job}@{number}", job) for job in "ab" for number in (1, 2)),
    *(finished(run=f"{job}@{number}", job=job) for job in "ab" for number in (1, 2)),
    *(finished(Outcome.FAILED, f"{job}@{number}", job) for job in "ab" for number in (1, 2)),
]


@given(
    st.lists(
        st.one_of(
            st.sampled_from(RECORDS), st.booleans(), st.sampled_from([1.0, 10.0, 300.0, 2000.0])
        ),
        max_size=40,
    )
)
def test_calls_of_a_job_are_in_order_and_saved_state_is_the_whole_of_it(
    happens: list[dict[str, Any] | bool | float],
) -> None:
    it, now, saved = pings(a_job("a"), a_job("b")), NOW, dict[str, Any]()
    flying: dict[str, PingCall] = {}
    for each in happens:
        if isinstance(each, dict):
            it.take(each, now)
        elif isinstance(each, float):
            now += each
        elif flying:
            name, call = flying.popitem()
            it.answered(call.id, each, "said", now)
        for call in it.tick(now):
            assert call.job not in flying
            flying[call.job] = call
        for name, value in it.changed().items():
            if value is None:
                saved.pop(name, None)
            else:
                saved[name] = json.loads(json.dumps(value))
        assert saved == json.loads(json.dumps(it.known()))
        assert flying.keys() <= saved.keys()
        assert all(len(calls) <= 4 for calls in saved.values())
    again = Pings({name: a_job(name) for name in "ab"}, saved)
    assert again.known() == it.known()
    assert {call.job for call in again.tick(now)} == saved.keys()
