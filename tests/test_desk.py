"""What the herald decides: records in, deliveries and calls out, and what it knows afterwards."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from stsd.desk import UNTOLD_AFTER_S, Desk
from stsd.lane import GATHER_S, Delivery
from stsd.model import Job, Outcome, TriggerKind
from stsd.notices import Event, Means, Notify, Ping, Target
from stsd.records import Finished, Started
from tests.support_story import a_job, instant

NOW = instant("2026-11-21T12:00:00Z")
OPS = Target(Means.MESSAGE, address="mailto://ops@example.com")
OWNER = Target(Means.MESSAGE, address="${OWNER}")
JOB = a_job(notify=Notify((OPS,)))


class Stored:
    """What a database would hold: the sum of all that has changed, after JSON."""

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str, Any]] = {}

    def keep(self, desk: Desk) -> None:
        for room, values in json.loads(json.dumps(desk.changed())).items():
            kept = self.rooms.setdefault(room, {})
            kept.update(values)
            for key in [key for key, value in kept.items() if value is None]:
                del kept[key]


def desk_of(
    *jobs: Job, rooms: Any = None, begun: float = NOW - 1, now: float = NOW, first: int = 1
) -> Desk:
    numbers = count(first)
    by_name = {job.name: job for job in jobs}
    anew = rooms is None
    return Desk(by_name, rooms or {}, begun, lambda: f"id-{next(numbers)}", now, anew=anew)


def finished(
    at: float, outcome: Outcome = Outcome.FAILED, job: str = "a", **more: Any
) -> dict[str, Any]:
    code = 0 if outcome is Outcome.SUCCEEDED else 2
    record = Finished(f"{job}@{at}", job, int(at), TriggerKind.CRON, 1, outcome, at, code, **more)
    read: dict[str, Any] = json.loads(json.dumps(record.fields()))
    return read


def delivered(desk: Desk, now: float) -> list[Delivery]:
    return desk.tick(now)[0]


def refused(desk: Desk, now: float) -> list[Delivery]:
    """What is sent then, and arrives nowhere."""
    deliveries = delivered(desk, now)
    for each in deliveries:
        desk.answered(each.id, False, "refused", now, unsure=False)
    return deliveries


def test_a_failure_is_told_when_it_has_waited_for_company() -> None:
    desk = desk_of(JOB)
    desk.take(finished(NOW), NOW)
    assert delivered(desk, NOW) == []
    assert desk.due() == NOW + GATHER_S
    (delivery,) = delivered(desk, NOW + GATHER_S)
    assert delivery.target == OPS
    assert [(notice.event, notice.job) for notice in delivery.notices] == [(Event.FAILED, "a")]
    assert desk.standing() == {"a": ["failed"]}


def test_in_a_hurry_nothing_waits_for_company() -> None:
    desk = desk_of(JOB)
    desk.take(finished(NOW), NOW)
    (delivery,), _ = desk.tick(NOW, hurry=True)
    assert delivery.notices[0].event is Event.FAILED


def test_of_what_happened_before_it_was_asked_for_nobody_is_told() -> None:
    desk = desk_of(JOB, begun=NOW)
    assert desk.is_new
    desk.take(finished(NOW - 3600), NOW)
    assert delivered(desk, NOW + GATHER_S) == []
    desk.take(finished(NOW + 1, job="a"), NOW + 1)
    (delivery,) = delivered(desk, NOW + 100)
    assert [(notice.event, notice.count) for notice in delivery.notices] == [(Event.FAILED, 2)]


def test_what_was_not_learnt_to_its_end_is_learnt_by_the_next_one() -> None:
    stored, desk = Stored(), desk_of(JOB, begun=NOW)
    desk.take(finished(NOW - 7200, Outcome.SUCCEEDED), NOW)
    stored.keep(desk)
    later = NOW + 60
    again = desk_of(JOB, replace(JOB, name="b"), rooms=stored.rooms, begun=later, now=later)
    again.take(finished(NOW - 3600), later)
    again.take(finished(NOW + 5, job="b"), later)
    assert [[n.job for n in d.notices] for d in delivered(again, later + 100)] == [["b"]]


def test_a_clock_that_is_set_back_keeps_nothing_from_being_told() -> None:
    begun = NOW + 10 * 365 * 86400  # it was ten years ahead
    desk = desk_of(JOB, begun=begun, now=begun)
    desk.take(finished(NOW - 60), begun)
    assert delivered(desk, begun) == []
    desk.take(finished(NOW), NOW)
    assert [d.notices[0].event for d in delivered(desk, NOW + 100)] == [Event.FAILED]


def test_what_was_read_a_day_late_is_told_to_nobody() -> None:
    stored = Stored()
    stored.keep(desk_of(JOB))
    late = NOW + UNTOLD_AFTER_S + 10
    desk = desk_of(JOB, rooms=stored.rooms, now=late)
    assert not desk.is_new
    desk.take(finished(NOW + 5), late)
    assert delivered(desk, late + 100) == []
    fresh = replace(JOB, name="b")
    desk.reload({"a": JOB, "b": fresh}, late)
    desk.take(finished(NOW + 20, job="b"), late)
    assert [d.notices[0].job for d in delivered(desk, late + 100)] == ["b"]


def test_a_restart_at_any_point_tells_the_same_once() -> None:
    story = [
        finished(NOW),
        finished(NOW + 60),
        finished(NOW + 120, Outcome.SUCCEEDED),
        finished(NOW + 180),
    ]

    def told(restarts: bool) -> list[tuple[Event, int]]:
        stored, desk = Stored(), desk_of(JOB)
        found: list[tuple[Event, int]] = []
        for number, record in enumerate(story):
            now = NOW + 60 * number
            desk.take(record, now)
            for delivery in delivered(desk, now + 20):
                stored.keep(desk)
                if restarts:
                    desk = desk_of(JOB, rooms=stored.rooms, now=now + 21, first=100 * number + 100)
                    (delivery,) = delivered(desk, now + 22)  # once more, under the same id
                found += [(notice.event, notice.count) for notice in delivery.notices]
                desk.answered(delivery.id, True, "", now + 23, unsure=False)
            stored.keep(desk)
            if restarts:
                desk = desk_of(JOB, rooms=stored.rooms, now=now + 30, first=100 * number + 150)
        return found

    once = told(restarts=False)
    assert [event for event, _ in once] == [Event.FAILED, Event.RECOVERED, Event.FAILED]
    assert told(restarts=True) == once


def test_what_changed_adds_up_to_what_is_known() -> None:
    pinged = replace(JOB, name="b", notify=None, ping=Ping(check="https://hc.example.com/1"))
    desk, stored = desk_of(JOB, pinged), Stored()
    for number in range(5):
        desk.take(finished(NOW + number, job="ab"[number % 2]), NOW + number)
        stored.keep(desk)
        desk.tick(NOW + 20 + number)
        stored.keep(desk)
    known = {room: values for room, values in desk.known().items() if values}
    assert stored.rooms == json.loads(json.dumps(known))


@pytest.mark.parametrize("room", ["conditions", "pings", "gathering", "counts", "tallies"])
def test_a_room_that_cannot_be_read_costs_no_more_than_itself(room: str) -> None:
    desk, stored = desk_of(JOB), Stored()
    desk.take(finished(NOW), NOW)
    delivered(desk, NOW + 20)
    stored.keep(desk)
    rooms = stored.rooms | {room: {"a": ["nonsense"], "1": ["nonsense"]}}
    again = desk_of(JOB, rooms=rooms, now=NOW + 30)
    assert again.damaged == [room]
    assert again.is_new == (room == "conditions")
    told = delivered(again, NOW + 31)
    assert len(told) == (0 if room == "gathering" else 1)
    stored.rooms = rooms
    stored.keep(again)
    assert desk_of(JOB, rooms=stored.rooms, now=NOW + 40).damaged == []


def test_when_all_is_read_anew_no_run_is_counted_twice() -> None:
    desk, stored = desk_of(JOB), Stored()
    desk.take(finished(NOW), NOW)
    stored.keep(desk)
    rooms = stored.rooms | {"conditions": {"a": "nonsense"}}
    again = desk_of(JOB, rooms=rooms, now=NOW + 30)
    again.take(finished(NOW), NOW + 30)
    assert dict(again.tallies.items())["a"].runs[Outcome.FAILED] == 1


def test_a_variable_that_means_something_else_in_each_job_is_another_target() -> None:
    notify = Notify((OWNER,))
    jobs = [
        replace(JOB, name=name, env=(("OWNER", f"mailto://{who}@example.com"),), notify=notify)
        for name, who in (("a", "ann"), ("b", "bob"), ("c", "ann"))
    ]
    desk = desk_of(*jobs)
    assert len(desk.audience) == 2
    for name in "abc":
        desk.take(finished(NOW, job=name), NOW)
    told = [[notice.job for notice in d.notices] for d in delivered(desk, NOW + 100)]
    assert sorted(told) == [["a", "c"], ["b"]]


def test_jobs_that_nobody_asks_about_are_counted_and_not_judged() -> None:
    silent = replace(JOB, name="s", notify=None)
    desk = desk_of(JOB, silent)
    desk.take(finished(NOW, job="s"), NOW)
    assert desk.standing() == {}
    assert delivered(desk, NOW + 100) == []
    assert dict(desk.tallies.items())["s"].runs[Outcome.FAILED] == 1
    assert set(desk.jobs) == {"a"}


def test_how_a_job_stands_is_news_though_nobody_is_told() -> None:
    desk = desk_of(replace(JOB, notify=None, max_age=60.0))
    before = desk.revision
    assert delivered(desk, NOW + 100) == []
    assert desk.standing() == {"a": ["silent"]}
    assert desk.revision > before
    before = desk.revision
    desk.held("No space left on device", NOW + 101)
    assert desk.standing() == {"a": ["silent", "held"]}
    assert desk.revision > before


def test_a_job_that_leaves_the_jobfile_is_told_of_no_more() -> None:
    desk = desk_of(JOB)
    desk.reload({}, NOW)
    desk.take(finished(NOW), NOW)
    assert delivered(desk, NOW + 100) == []
    assert desk.audience == set()


def test_what_waits_for_an_address_that_was_wrong_is_told_to_the_right_one() -> None:
    desk = desk_of(JOB)
    desk.take(finished(NOW), NOW)
    (delivery,) = refused(desk, NOW + GATHER_S)
    assert JOB.notify is not None
    right = Target(Means.WEBHOOK, "https://right.example.com/")
    desk.reload({"a": replace(JOB, notify=replace(JOB.notify, to=(right,)))}, NOW + 15)
    (again,) = delivered(desk, NOW + 15)
    assert (again.target, again.notices) == (right, delivery.notices)
    assert ([each.target for each in desk.standings()], desk.lost()) == ([right], [])


def test_what_waits_for_two_addresses_that_were_wrong_is_told_to_the_right_one_once() -> None:
    assert JOB.notify is not None
    other = Target(Means.WEBHOOK, "https://other.example.com/")
    desk = desk_of(replace(JOB, notify=replace(JOB.notify, to=(OPS, other))))
    desk.take(finished(NOW), NOW)
    first, _ = refused(desk, NOW + GATHER_S)
    right = Target(Means.WEBHOOK, "https://right.example.com/")
    desk.reload({"a": replace(JOB, notify=replace(JOB.notify, to=(right,)))}, NOW + 15)
    (again,) = delivered(desk, NOW + 15)
    assert (again.target, again.notices) == (right, first.notices)


def test_what_is_on_its_way_to_a_wrong_address_is_told_to_the_right_one_when_it_is_back() -> None:
    desk = desk_of(JOB)
    desk.take(finished(NOW), NOW)
    (delivery,) = delivered(desk, NOW + GATHER_S)
    assert JOB.notify is not None
    right = Target(Means.WEBHOOK, "https://right.example.com/")
    mended = replace(JOB, notify=replace(JOB.notify, to=(right,)))
    desk.reload({"a": mended}, NOW + 15)
    desk.reload({"a": mended}, NOW + 16)
    assert delivered(desk, NOW + 17) == []
    desk.answered(delivery.id, False, "no route to host", NOW + 20, unsure=False)
    (again,) = delivered(desk, NOW + 20)
    assert (again.target, again.notices) == (right, delivery.notices)
    assert desk.lost() == []


def test_whom_a_job_has_named_before_is_told_nothing_twice() -> None:
    assert JOB.notify is not None
    other = Target(Means.WEBHOOK, "https://other.example.com/")
    both = replace(JOB, notify=replace(JOB.notify, to=(OPS, other)))
    desk = desk_of(both)
    desk.take(finished(NOW), NOW)
    assert len(refused(desk, NOW + GATHER_S)) == 2
    desk.reload({"a": JOB}, NOW + 15)
    assert [(each.target, each.waiting) for each in desk.standings()] == [(OPS, 1)]
    assert [each.target for each in desk.lost()] == [other]


def test_a_switch_is_called_at_start_and_end() -> None:
    job = replace(JOB, notify=None, ping=Ping(start="https://x/start", success="https://x/ok"))
    desk = desk_of(job)
    started = Started("a@1", "a", int(NOW), TriggerKind.CRON, 1, NOW, 0.0, 4711, 1)
    desk.take(json.loads(json.dumps(started.fields())), NOW)
    (call,) = desk.tick(NOW)[1]
    assert call.url == "https://x/start"
    desk.called(call.id, True, "200", NOW)
    desk.take(finished(NOW + 1, Outcome.SUCCEEDED), NOW + 1)
    (call,) = desk.tick(NOW + 1)[1]
    assert call.url == "https://x/ok"


def test_deliveries_are_counted_by_what_became_of_them_across_restarts() -> None:
    desk, stored = desk_of(JOB), Stored()
    desk.take(finished(NOW), NOW)
    (delivery,) = delivered(desk, NOW + 20)
    standing = desk.answered(delivery.id, False, "refused", NOW + 21, unsure=False)
    assert standing.problem == "refused"
    assert standing.failing_since == NOW + 21
    stored.keep(desk)
    again = desk_of(JOB, rooms=stored.rooms, now=NOW + 22)
    (delivery,) = delivered(again, NOW + 100)
    again.answered(delivery.id, True, "", NOW + 101, unsure=False)
    assert again.counts == {"failed": 1, "told": 1}


@pytest.mark.parametrize("record", [{}, {"event": "finished"}, {"event": "x", "at": "never"}])
def test_what_is_no_record_is_refused(record: dict[str, Any]) -> None:
    desk = desk_of(JOB)
    with pytest.raises((KeyError, ValueError)):
        desk.take(record, NOW)
    assert delivered(desk, NOW + 100) == []


def test_held_is_told_and_its_end() -> None:
    desk = desk_of(JOB)
    desk.held("No space left on device", NOW)
    (delivery,) = delivered(desk, NOW + 100)
    assert [notice.event for notice in delivery.notices] == [Event.HELD]
    desk.answered(delivery.id, True, "", NOW + 100, unsure=False)
    desk.held(None, NOW + 200)
    (delivery,) = delivered(desk, NOW + 300)
    assert [notice.event for notice in delivery.notices] == [Event.RECOVERED]
