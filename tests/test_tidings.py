"""What the herald tells its daemon: what has changed, and no more often than is of use."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stsd.couriers import Answered
from stsd.gathering import Lost
from stsd.lane import Delivery, Standing
from stsd.model import Outcome
from stsd.notices import Event, Means, Notice, Notify, Target
from stsd.pings import GivenUp, PingCall, PingKind
from stsd.post import Came
from stsd.tidings import PAUSE_S, Tidings
from stsd.wire import Wire
from tests.support_story import a_job
from tests.test_desk import NOW, desk_of, finished

SECRET = Target(Means.WEBHOOK, address="https://hooks.example.com/T0P-SECRET")
JOB = a_job(notify=Notify((SECRET,)))
TWIN = replace(JOB, name="b", notify=Notify((Target(Means.WEBHOOK, SECRET.address + "2"),)))


class Told:
    """Tidings, and what comes out at the other end of the wire."""

    def __init__(self) -> None:
        self.ours, self.theirs = (Wire(end) for end in socket.socketpair())
        self.tidings = Tidings(self.ours)

    def said(self) -> dict[str, Any]:
        self.ours.flush()
        found: dict[str, Any] = {}
        for line in self.theirs.heard():
            found |= line
        return found


@pytest.fixture
def told() -> Iterator[Told]:
    told = Told()
    yield told
    told.ours.close()
    told.theirs.close()


def test_conditions_are_told_when_they_begin_and_when_they_end(told: Told) -> None:
    desk = desk_of(JOB)
    desk.take(finished(NOW), NOW)
    told.tidings.tell(desk, 0.0)
    first = told.said()
    assert first["conditions"] == {"a": ["failed"]}
    assert first["audience"] == 1
    desk.take(finished(NOW + 1, Outcome.SUCCEEDED), NOW + 1)
    told.tidings.tell(desk, 10.0)
    assert told.said()["conditions"] == {"a": []}


def test_nothing_is_told_twice_and_nothing_more_often_than_once_a_second(told: Told) -> None:
    desk = desk_of(JOB)
    told.tidings.tell(desk, 0.0)
    assert told.said()
    assert told.tidings.due() is None
    desk.take(finished(NOW), NOW)
    told.tidings.tell(desk, PAUSE_S / 2)
    assert told.said() == {}
    assert told.tidings.due() == PAUSE_S
    told.tidings.tell(desk, PAUSE_S)
    assert "conditions" in told.said()
    told.tidings.tell(desk, 100.0)
    assert told.said() == {}
    assert told.tidings.due() is None


def test_in_a_hurry_it_is_told_at_once(told: Told) -> None:
    desk = desk_of(JOB)
    told.tidings.tell(desk, 0.0)
    told.said()
    desk.take(finished(NOW), NOW)
    told.tidings.tell(desk, 0.1, hurry=True)
    assert "conditions" in told.said()


def test_targets_of_the_same_name_are_told_apart_and_no_secret_is_told(told: Told) -> None:
    desk = desk_of(JOB, TWIN)
    for job in "ab":
        desk.take(finished(NOW, job=job), NOW)
    first, second = desk.tick(NOW + 100)[0]
    desk.answered(first.id, False, "answered 500", NOW + 101, unsure=False)
    told.tidings.tell(desk, 0.0)
    said = told.said()
    targets = said["targets"]
    assert len(targets) == 2
    assert {target["target"] for target in targets.values()} == {"https://hooks.example.com/…"}
    assert [target["problem"] for target in targets.values()] == ["answered 500", ""]
    assert "SECRET" not in json.dumps(said)
    desk.answered(second.id, True, "", NOW + 102, unsure=False)
    told.tidings.tell(desk, 10.0)
    gone = [number for number, target in told.said()["targets"].items() if target is None]
    assert gone == [list(targets)[1]]


@pytest.mark.parametrize(
    ("hopeless", "level"), [(False, "warning"), (True, "error")], ids=["again", "hopeless"]
)
def test_what_was_not_told_is_logged_with_why_and_when_again(
    told: Told, hopeless: bool, level: str
) -> None:
    delivery = Delivery("d1", SECRET, (Notice(Event.FAILED, "a", 1.0, "x"),), tries=2)
    answered = Answered("d1", ok=False, said="answered 404", hopeless=hopeless)
    standing = Standing(SECRET, 1, NOW, "answered 404", NOW + 20)
    told.tidings.say_what_came(Came(delivery, answered), standing)
    ((said_level, event, fields),) = told.said()["log"]
    assert (said_level, event) == (level, "not_told")
    assert fields["problem"] == "answered 404"
    assert fields["again_at"] == "2026-11-21T12:00:20.000Z"
    assert (fields["target"], fields["tries"]) == ("https://hooks.example.com/…", 2)


def test_what_will_never_be_told_is_logged(told: Told) -> None:
    call = PingCall("p1", "a", PingKind.START, "https://hc.example.com/SECRET", "", None)
    told.tidings.say_what_is_lost([Lost(SECRET, 7, "too old")], [GivenUp(call, "refused")])
    log = told.said()["log"]
    assert log[0][:2] == ["error", "notices_lost"]
    assert log[0][2]["notices"] == 7
    assert log[1] == ["warning", "not_pinged", {"job": "a", "what": "start", "problem": "refused"}]
    assert "SECRET" not in json.dumps(log)
