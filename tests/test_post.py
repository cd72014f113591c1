"""Deliveries and calls on their way: who goes with whom, and what comes back."""

from __future__ import annotations

import os
import selectors
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stsd import couriers, deliver, post
from stsd.lane import Delivery
from stsd.model import Job
from stsd.notices import Event, Means, Notice, Ping, Target
from stsd.pings import PingCall, PingKind
from stsd.post import Came, Post
from tests.support_story import a_job

ANSWERS = """
import json, sys, time
for line in sys.stdin:
    item = json.loads(line)
    with open(FOLDER + "/" + item["id"], "w") as file:
        json.dump(item, file)
    print(json.dumps({"id": item["id"], "ok": True, "said": "yes"}), flush=True)
"""
HANGS = "import time; time.sleep(600)"
JOBS = {"a": a_job(ping=Ping(check="https://hc.example.com/1"))}


class Office:
    """A post and a loop around it; `handed` are the items that reached a courier."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self.selector = selectors.DefaultSelector()
        jobfile = folder / "jobs.toml"
        self.post = Post(self.selector, dict(os.environ), jobfile, folder / "log", "db1")
        self.courier_is(ANSWERS)
        self.sent: list[list[str]] = []
        send = couriers.Couriers.send

        def noted(of: couriers.Couriers, items: list[couriers.Item], until: float) -> None:
            self.sent.append([str(item["id"]) for item in items])
            send(of, items, until)

        monkeypatch.setattr(couriers.Couriers, "send", noted)

    def courier_is(self, program: str) -> None:
        script = self.folder / "courier.py"
        script.write_text(f"FOLDER = {str(self.folder)!r}\n{program}")
        argv = ["python3", str(script)]
        self._monkeypatch.setattr(couriers, "process_of", lambda room: argv)

    def tend(self, jobs: dict[str, Job] | None = None) -> list[Came]:
        return self.post.tend(JOBS if jobs is None else jobs, time.time(), time.monotonic())

    def until_idle(self) -> list[Came]:
        came = self.tend()
        end = time.monotonic() + 30
        while not self.post.is_idle:
            assert time.monotonic() < end
            for key, _ in self.selector.select(0.1):
                came += self.post.hear(key.fd)
            came += self.tend()
        return came


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    office = Office(tmp_path, monkeypatch)
    yield office
    office.post.close()
    office.selector.close()


def delivery(number: int) -> Delivery:
    target = Target(Means.WEBHOOK, address=f"https://hook{number}.example.com")
    return Delivery(f"d{number}", target, (Notice(Event.FAILED, "a", 1.0, "exit code 2"),))


def call(number: int, host: str = "hc.example.com", job: str = "a") -> PingCall:
    url = f"https://{host}/{number}"
    return PingCall(f"p{number}", job, PingKind.SUCCESS, url, "ok", None)


def test_each_delivery_goes_alone_and_calls_go_together_by_host(office: Office) -> None:
    office.post.put([delivery(1), delivery(2)], [call(1), call(2), call(3, "other.example.com")])
    came = office.until_idle()
    assert sorted(office.sent) == [["d1"], ["d2"], ["p1", "p2"], ["p3"]]
    assert sorted(each.what.id for each in came) == ["d1", "d2", "p1", "p2", "p3"]
    assert all(each.answered.ok for each in came)


def test_calls_to_a_host_wait_for_those_before_them(office: Office) -> None:
    office.post.put([], [call(1)])
    office.tend()
    office.post.put([], [call(2), call(3)])
    office.tend()
    assert office.sent == [["p1"]]
    assert len(office.until_idle()) == 3
    assert office.sent == [["p1"], ["p2", "p3"]]


def test_there_are_never_more_couriers_than_there_may_be(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "MOST_COURIERS", 2)
    office.post.put([delivery(number) for number in range(6)], [call(1)])
    office.tend()
    assert len(office.sent) == 2
    assert len(office.until_idle()) == 7


def test_a_call_of_a_job_that_has_gone_comes_back_unmade(office: Office) -> None:
    office.post.put([], [call(1, job="gone")])
    (came,) = office.tend()
    assert not came.answered.ok
    assert "left the jobfile" in came.answered.said
    assert office.post.is_idle
    office.post.put([], [call(2)])
    assert [each.answered.ok for each in office.until_idle()] == [True]


def test_what_cannot_be_sent_out_comes_back(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(couriers, "process_of", lambda room: ["/no/such/program"])
    office.post.put([delivery(1)], [call(1)])
    came = office.until_idle()
    assert {each.answered.said for each in came} == {
        "the process to do it cannot be started: No such file or directory"
    }


def test_a_courier_has_longer_than_its_items_may_take(office: Office) -> None:
    assert post.PATIENCE_S > deliver.LONGEST_S
    office.courier_is(HANGS)
    office.post.put([delivery(1)], [])
    office.tend()
    due = office.post.due()
    assert due is not None
    assert due - time.monotonic() > deliver.LONGEST_S
    office.post.tend(JOBS, time.time(), due)
    (came,) = office.until_idle()
    assert came.answered.unsure
