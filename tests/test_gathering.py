"""Gathering, on simulated time: what becomes one message, quiet hours, targets that are down."""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stsd.gathering import Gathering
from stsd.lane import KEPT, Delivery, Standing
from stsd.notices import Event, Means, Notice, Quiet, Target

T0 = datetime(2026, 11, 21, 12, tzinfo=ZoneInfo("Europe/Berlin")).timestamp()
HOUR = 3600
NIGHT = Quiet(22 * HOUR, 7 * HOUR)
EVENING = T0 + 10 * HOUR
MORNING = T0 + 19 * HOUR
MAIL = Target(Means.MESSAGE, "mailto://ops@example.com")
HOOK = Target(Means.WEBHOOK, "https://hooks.example.com/x", secret="${KEY}")
COMMAND = Target(Means.COMMAND, argv=("mail", "ops"))


class World:
    """A gathering, a clock, and targets that are up, or down for some spans of time."""

    def __init__(self, *, takes_s: float = 0.0, down: Iterable[tuple[float, float]] = ()) -> None:
        self.now = T0
        self.takes_s = takes_s
        self.down = list(down)
        self.disk: dict[str, Any] = {}
        self.tried: list[tuple[float, Delivery]] = []
        self.told: list[tuple[float, Delivery]] = []
        self.under_way: dict[str, tuple[float, Delivery]] = {}
        self._ids = (f"id{n}" for n in itertools.count())
        self.gathering = self._gathering()

    def _gathering(self) -> Gathering:
        return Gathering(lambda: next(self._ids), json.loads(json.dumps(self.disk)), self.now)

    def add(self, *notices: Notice, to: Iterable[Target] = (MAIL,), **quiet: Any) -> None:
        """What is told now; then a turn ends."""
        for notice in notices:
            self.gathering.add(notice, to, self.now, zone="Europe/Berlin", **quiet)
        self.turn()

    def turn(self) -> None:
        """As the owner's: what is sent goes to the disk first, then on its way."""
        deliveries = self.gathering.tick(self.now)
        self.save()
        for delivery in deliveries:
            self.tried.append((self.now, delivery))
            self.under_way[delivery.id] = (self.now + self.takes_s, delivery)
        due = self.gathering.due()
        assert due is None or due > self.now  # else its owner would not come to rest

    def save(self) -> None:
        for key, value in self.gathering.changed().items():
            if value is None:
                self.disk.pop(key, None)
            else:
                self.disk[key] = json.loads(json.dumps(value))
        if len(self.disk) < 50:  # quickly compared
            assert self.disk == json.loads(json.dumps(self.gathering.known()))

    def answer(self, delivery: Delivery) -> Standing:
        up = not any(begin <= self.now < end for begin, end in self.down)
        if up:
            self.told.append((self.now, delivery))
        del self.under_way[delivery.id]
        return self.gathering.answered(delivery.id, up, "" if up else "refused", self.now)

    def next_at(self) -> float | None:
        ends = [at for at, _ in self.under_way.values()]
        due = self.gathering.due()
        return min((*ends, *(() if due is None else (due,))), default=None)

    def run_until(self, instant: float) -> None:
        """Let everything happen that happens by then."""
        while (at := self.next_at()) is not None and at <= instant:
            self.now = max(self.now, at)
            for end, delivery in list(self.under_way.values()):
                if end <= self.now:
                    self.answer(delivery)
            self.turn()
        self.now = instant

    def kill(self, *, arrived: bool = False) -> None:
        """Nothing is left but the disk; nobody knows whether what was under way has `arrived`."""
        if arrived:
            self.told += [(self.now, delivery) for _, delivery in self.under_way.values()]
        self.under_way.clear()
        self.gathering = self._gathering()

    @property
    def messages(self) -> list[list[str]]:
        """The jobs of each message that has arrived."""
        return [[notice.job for notice in delivery.notices] for _, delivery in self.told]

    @property
    def times(self) -> list[float]:
        """When each has, in seconds since the beginning."""
        return [at - T0 for at, _ in self.told]


def failed(job: str = "job", at: float = T0, **fields: Any) -> Notice:
    return Notice(Event.FAILED, job, at, "exit code 2", since=at, **fields)


def recovered(job: str = "job", at: float = T0, **fields: Any) -> Notice:
    return Notice(Event.RECOVERED, job, at, "succeeded", ended=(Event.FAILED,), **fields)


# -- company


def test_a_notice_that_is_alone_goes_out_after_ten_seconds() -> None:
    world = World()
    world.add(failed())
    world.run_until(T0 + 600)
    assert (world.messages, world.times) == ([["job"]], [10.0])
    assert world.disk == {}


def test_what_comes_within_a_minute_of_the_first_is_one_message() -> None:
    world = World()
    for second in (0, 9, 59.9):
        world.run_until(T0 + second)
        world.add(failed(f"at{second}"))
    world.run_until(T0 + 600)
    assert (world.messages, world.times) == ([["at0", "at9", "at59.9"]], [60.0])


def test_what_comes_after_a_message_begins_another_one() -> None:
    world = World()
    world.add(failed("first"))
    world.run_until(T0 + 11)
    world.add(failed("second"))
    world.run_until(T0 + 600)
    assert (world.messages, world.times) == ([["first"], ["second"]], [10.0, 21.0])


def test_five_hundred_jobs_that_fail_within_a_minute_are_one_message() -> None:
    world = World()
    for number in range(500):
        world.run_until(T0 + number * 0.118)
        world.add(failed(f"job{number}"))
    world.run_until(T0 + 600)
    assert [len(message) for message in world.messages] == [500]
    assert world.times == [60.0]


def test_each_target_is_told_on_its_own() -> None:
    world = World()
    world.add(failed("both"), to=(MAIL, HOOK))
    world.run_until(T0 + 5)
    world.add(failed("hook"), to=(HOOK,))
    world.run_until(T0 + 600)
    by_target = {delivery.target: len(delivery.notices) for _, delivery in world.told}
    assert by_target == {MAIL: 1, HOOK: 2}
    assert world.times == [10.0, 60.0]


def test_in_a_hurry_nothing_waits_for_company() -> None:
    world = World()
    world.add(failed("a"), failed("b"))
    [delivery] = world.gathering.tick(T0 + 1, hurry=True)
    assert [notice.job for notice in delivery.notices] == ["a", "b"]


def test_a_hurry_neither_breaks_the_quiet_nor_tries_again_early() -> None:
    world = World(down=[(T0, T0 + HOUR)])
    world.add(failed("down"))
    world.run_until(EVENING - 30)
    world.add(failed("quiet"), to=(HOOK,), quiet=Quiet(0, 24 * HOUR - 1))
    world.down = [(EVENING - 30, MORNING)]
    world.add(failed("again"))
    world.run_until(EVENING - 15)
    assert world.gathering.tick(world.now, hurry=True) == []


# -- quiet hours


def test_what_comes_in_quiet_hours_is_one_message_at_their_end() -> None:
    world = World()
    for hour in (0, 3, 8.9):
        world.run_until(EVENING + hour * HOUR)
        world.add(failed(f"at{hour}"), quiet=NIGHT)
    world.run_until(MORNING + HOUR)
    assert world.messages == [["at0", "at3", "at8.9"]]
    assert world.told[0][0] == MORNING


def test_what_came_just_before_the_quiet_hours_is_told_all_the_same() -> None:
    world = World()
    world.run_until(EVENING - 1)
    world.add(failed("a"), failed("b"), quiet=NIGHT)
    world.run_until(MORNING)
    assert [at for at, _ in world.told] == [EVENING + 59]


def test_jobs_without_quiet_hours_do_not_wait_for_those_with() -> None:
    world = World()
    world.run_until(EVENING + HOUR)
    world.add(failed("asleep"), quiet=NIGHT)
    world.add(failed("awake"))
    world.run_until(MORNING + HOUR)
    assert world.messages == [["awake"], ["asleep"]]
    assert world.told[0][0] == EVENING + HOUR + 10


def test_a_job_whose_quiet_hours_were_taken_away_is_still_told_of_in_order() -> None:
    world = World()
    world.run_until(EVENING + HOUR)
    world.add(failed(), quiet=NIGHT)
    world.add(Notice(Event.LATE, "job", world.now, "late"))
    world.run_until(MORNING + HOUR)
    assert [[n.event for n in d.notices] for _, d in world.told] == [[Event.FAILED, Event.LATE]]


def test_what_began_and_ended_in_quiet_hours_is_told_by_its_end() -> None:
    world = World()
    for minute in range(0, 480, 2):
        world.run_until(EVENING + minute * 60)
        world.add(failed(at=world.now), quiet=NIGHT)
        world.run_until(EVENING + minute * 60 + 60)
        world.add(recovered(at=world.now), quiet=NIGHT)
        assert len(world.disk) <= 3
    world.run_until(MORNING + HOUR)
    [(_, delivery)] = world.told
    [notice] = delivery.notices
    assert (notice.event, notice.count) == (Event.RECOVERED, 240)


def test_a_target_that_comes_back_in_quiet_hours_is_told_at_their_end() -> None:
    world = World(down=[(EVENING - HOUR, EVENING + HOUR)])
    world.run_until(EVENING - HOUR)
    world.add(failed(), quiet=NIGHT)
    world.run_until(MORNING + HOUR)
    assert [at for at, _ in world.told] == [MORNING]
    assert max(at for at, _ in world.tried[:-1]) < EVENING


@pytest.mark.parametrize(("day", "hours"), [("2026-03-28", 8), ("2026-10-24", 10)])
def test_a_quiet_night_ends_at_seven_also_when_the_clocks_are_changed(day: str, hours: int) -> None:
    evening = datetime.fromisoformat(f"{day}T22:00").replace(tzinfo=ZoneInfo("Europe/Berlin"))
    gathering = Gathering(lambda: "id", {}, evening.timestamp())
    gathering.add(failed(), [MAIL], evening.timestamp(), quiet=NIGHT, zone="Europe/Berlin")
    assert gathering.due() == evening.timestamp() + hours * HOUR


# -- targets that are down


def test_a_target_that_is_down_for_ten_minutes_is_told_once_and_of_everything() -> None:
    world = World(down=[(T0, T0 + 600)])
    for minute in range(9):
        world.run_until(T0 + minute * 60)
        world.add(failed(f"job{minute}", world.now))
    world.run_until(T0 + HOUR)
    assert world.messages == [[f"job{minute}" for minute in range(9)]]
    pauses = [b - a for a, b in itertools.pairwise(at for at, _ in world.tried)]
    assert pauses[:5] == [10, 20, 40, 80, 160]
    assert world.gathering.standings() == []


def test_pauses_grow_to_a_quarter_of_an_hour() -> None:
    world = World(down=[(T0, T0 + 86400)])
    world.add(failed())
    world.run_until(T0 + 86400)
    pauses = [b - a for a, b in itertools.pairwise(at for at, _ in world.tried)]
    assert max(pauses) == pauses[-1] == 900


def test_after_four_days_what_is_older_than_three_has_been_let_go_of() -> None:
    world = World(down=[(T0, T0 + 4 * 86400)])
    for day in range(4):
        world.run_until(T0 + day * 86400)
        world.add(failed(f"day{day}", world.now))
    world.run_until(T0 + 5 * 86400)
    assert world.messages == [["day1", "day2", "day3"]]
    assert world.told[0][1].dropped == 1
    [lost] = world.gathering.lost()
    assert (lost.target, lost.count, lost.why) == (MAIL, 1, "not told within 3d")
    assert world.gathering.lost() == []


def test_how_it_stands_with_a_target_that_is_down_is_known() -> None:
    world = World(down=[(T0, T0 + HOUR)])
    world.add(failed("a"))
    world.add(failed("b"), to=(HOOK,))
    world.run_until(T0 + 15)
    by_target = {standing.target: standing for standing in world.gathering.standings()}
    assert by_target[MAIL] == Standing(MAIL, 1, T0 + 10, "refused", T0 + 20)
    world.run_until(T0 + 25)
    by_target = {standing.target: standing for standing in world.gathering.standings()}
    assert by_target[MAIL] == Standing(MAIL, 1, T0 + 10, "refused", T0 + 40)


def test_a_target_that_is_down_holds_up_no_other() -> None:
    world = World()
    world.add(failed(), to=(MAIL, HOOK, COMMAND))
    world.run_until(T0 + 9)
    world.now = T0 + 10
    world.turn()
    for _, delivery in list(world.under_way.values()):
        if delivery.target != HOOK:
            world.answer(delivery)
    assert len(world.told) == 2
    world.add(failed("next"), to=(MAIL, HOOK))
    world.now = T0 + 20
    assert [delivery.target for delivery in world.gathering.tick(world.now)] == [MAIL]


def test_what_did_not_arrive_goes_out_again_as_it_was_unless_others_join_it() -> None:
    world = World(down=[(T0, T0 + 60)])
    world.add(failed("first"))
    world.run_until(T0 + 25)
    world.add(failed("second"))
    world.run_until(T0 + HOUR)
    ids = [delivery.id for _, delivery in world.tried]
    assert [len(delivery.notices) for _, delivery in world.tried] == [1, 1, 2, 2]
    assert ids[0] == ids[1] != ids[2] == ids[3]
    assert [delivery.tries for _, delivery in world.tried] == [1, 2, 3, 4]


def test_what_may_have_arrived_is_repeated_as_it_stands() -> None:
    world = World()
    world.add(failed("first"))
    [first] = world.gathering.tick(T0 + 10)
    world.now = T0 + 11
    world.gathering.answered(first.id, False, "no answer", world.now, unsure=True)
    world.add(failed("second"))
    world.run_until(T0 + HOUR)
    assert world.messages == [["first"], ["second"]]
    assert world.told[0][1].id == first.id


def test_after_a_kill_what_was_under_way_goes_out_again_under_its_id() -> None:
    world = World(takes_s=5)
    world.add(failed("first"))
    world.run_until(T0 + 12)
    world.kill()
    world.add(failed("second"))
    world.run_until(T0 + HOUR)
    assert world.messages == [["first"], ["second"]]
    assert len({delivery.id for _, delivery in world.tried}) == 2


# -- bounds


@pytest.mark.slow
def test_a_target_that_is_down_keeps_the_last_thousand_and_counts_the_rest() -> None:
    world = World(down=[(T0, T0 + 2 * HOUR)])
    for number in range(KEPT + 234):
        world.run_until(T0 + number)
        world.gathering.add(failed(f"job{number}"), [MAIL], world.now)
    world.save()
    assert len(world.disk) <= KEPT + 1
    assert [(lost.target, lost.count) for lost in world.gathering.lost()] == [(MAIL, 234)]
    world.run_until(T0 + 4 * HOUR)
    [(_, delivery)] = world.told
    assert (len(delivery.notices), delivery.dropped) == (KEPT, 234)
    assert delivery.notices[-1].job == f"job{KEPT + 233}"
    world.add(failed())
    world.run_until(T0 + 5 * HOUR)
    assert world.told[-1][1].dropped == 0


def test_a_message_under_way_is_not_cut_short_by_what_comes_meanwhile() -> None:
    world = World(takes_s=300)
    for number in range(KEPT):
        world.gathering.add(failed(f"a{number}"), [MAIL], world.now)
    world.run_until(T0 + 61)
    for number in range(KEPT + 7):
        world.gathering.add(failed(f"b{number}"), [MAIL], world.now)
    world.run_until(T0 + HOUR)
    assert [len(message) for message in world.messages] == [KEPT, KEPT]
    assert [delivery.dropped for _, delivery in world.told] == [0, 7]


def test_a_job_that_flaps_while_its_target_is_down_takes_little() -> None:
    world = World(down=[(T0, T0 + 86400)])
    for minute in range(0, 1400, 4):
        world.run_until(T0 + minute * 60)
        world.add(failed(at=world.now))
        world.run_until(T0 + minute * 60 + 120)
        world.add(recovered(at=world.now))
        assert len(world.disk) <= 4
    world.run_until(T0 + 2 * 86400)
    [(_, delivery)] = world.told
    assert len(delivery.notices) <= 2
    assert delivery.notices[-1].event is Event.RECOVERED


@pytest.mark.slow
def test_a_storm_of_ten_thousand_notices_is_cheap() -> None:
    gathering = Gathering(lambda: "id", {}, T0)
    began = time.process_time()
    for number in range(10_000):
        gathering.add(failed(f"job{number}"), [MAIL], T0, quiet=NIGHT, zone="Europe/Berlin")
    assert gathering.due() == T0 + 60
    alone = time.process_time() - began
    began = time.process_time()
    gathering.changed()
    gathering.tick(T0 + 60)
    assert alone < 5
    assert time.process_time() - began < 5


# -- reloads, clocks, restarts


def test_what_waits_for_a_target_that_has_left_the_jobfile_is_tried_once() -> None:
    world = World(down=[(T0, T0 + HOUR)])
    world.add(failed(), to=(MAIL, HOOK))
    world.gathering.reload([HOOK], world.now, {})
    world.run_until(T0 + 15)
    assert [standing.target for standing in world.gathering.standings()] == [HOOK]
    [lost] = world.gathering.lost()
    assert (lost.target, lost.count) == (MAIL, 1)


def test_a_target_that_is_down_and_leaves_the_jobfile_is_forgotten() -> None:
    world = World(down=[(T0, T0 + HOUR)])
    world.add(failed())
    world.run_until(T0 + 15)
    world.gathering.reload([HOOK], world.now, {})
    world.save()
    assert world.disk == {}
    assert world.gathering.due() is None


def test_a_clock_that_is_set_back_puts_nothing_off() -> None:
    world = World(down=[(T0, T0 + 100)])
    world.add(failed("down"))
    world.run_until(T0 + 100)
    world.add(failed("new"), to=(HOOK,))
    world.now = T0 - 10 * 365 * 86400
    world.down = []
    world.turn()
    assert world.gathering.due() == world.now + 10
    world.run_until(world.now + 900)
    assert sorted(world.messages) == [["down"], ["new"]]


def test_a_clock_that_is_set_forward_tells_what_waits() -> None:
    world = World()
    world.add(failed())
    world.now += 10 * 365 * 86400
    world.turn()
    world.run_until(world.now)
    assert world.messages == [["job"]]


def test_all_is_known_after_a_restart() -> None:
    world = World(down=[(T0, T0 + 86400)])
    world.add(failed("down", exit_code=2, output="output/x.log"), to=(MAIL, COMMAND))
    world.run_until(T0 + 100)
    world.run_until(EVENING + HOUR)
    world.add(recovered("asleep"), to=(HOOK,), quiet=NIGHT)
    due, standings = world.gathering.due(), world.gathering.standings()
    known = world.gathering.known()
    world.kill()
    assert (world.gathering.due(), world.gathering.standings()) == (due, standings)
    assert world.gathering.known() == known


@pytest.mark.parametrize(
    "known", [{"1": {}}, {"1/2": {}}, {"x": 1}, {"1": None}, {"1": {"target": {"means": "x"}}}]
)
def test_what_is_no_state_is_refused(known: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Gathering(lambda: "id", known, T0)


def test_what_waits_in_a_zone_that_is_gone_is_told() -> None:
    world = World()
    world.now = EVENING
    world.add(failed(), quiet=NIGHT)
    world.disk = json.loads(json.dumps(world.disk).replace("Europe/Berlin", "Europe/Nowhere"))
    world.kill()
    world.disk = world.gathering.known()
    world.run_until(EVENING + 10)
    assert world.messages == [["job"]]


def test_an_answer_to_what_is_not_under_way_is_refused() -> None:
    with pytest.raises(KeyError):
        World().gathering.answered("id", True, "", T0)


def test_what_may_have_arrived_is_repeated_as_it_stands_though_a_repeat_has_failed() -> None:
    world = World(takes_s=3.0, down=[(T0 + 11, T0 + 20)])
    world.add(failed("a"))
    world.run_until(T0 + 10.5)
    world.kill(arrived=True)
    world.add(failed("b"))
    world.run_until(T0 + 600)
    assert world.messages == [["a"], ["a"], ["b"]]
    assert world.told[0][1].id == world.told[1][1].id != world.told[2][1].id


# -- whatever happens


@dataclass(frozen=True)
class Happening:
    """After so many seconds: a notice of a job for some targets, or SIGKILL (no targets)."""

    after_s: float
    job: int
    targets: tuple[Target, ...]
    quiet: Quiet | None


SECONDS = st.sampled_from([0.0, 0.0, 0.3, 1.0, 9.0, 10.0, 45.0, 61.0, 400.0, 5000.0])
HAPPENINGS = st.lists(
    st.builds(
        Happening,
        SECONDS,
        st.integers(0, 3),
        st.lists(st.sampled_from([MAIL, HOOK, COMMAND]), max_size=3, unique=True).map(tuple),
        st.sampled_from([None, None, NIGHT]),
    ),
    max_size=40,
)
SPANS = st.lists(st.tuples(st.integers(0, 40_000), st.integers(1, 9000)), max_size=3)


def happen(world: World, happenings: list[Happening], fresh: bool) -> list[Notice]:
    """Everything that happens, and a day for it to be told. Each notice bears its number; `fresh`
    ones are of a job each, so that none can be folded into another."""
    notices = []
    for number, each in enumerate(happenings):
        world.run_until(world.now + each.after_s)
        if not each.targets:
            world.kill(arrived=each.job > 1)
            continue
        job = f"job{number if fresh else each.job}"
        notice = failed(job, world.now, attempt=number)
        notices.append(notice)
        world.add(notice, to=each.targets, quiet=each.quiet)
    world.run_until(world.now + 2 * 86400)
    return notices


@settings(max_examples=150, deadline=None)
@given(HAPPENINGS, SPANS, st.sampled_from([0.0, 3.0, 30.0]))
def test_nothing_is_lost_and_nothing_told_twice_but_what_was_under_way_when_killed(
    happenings: list[Happening], spans: list[tuple[int, int]], takes_s: float
) -> None:
    world = World(takes_s=takes_s, down=[(T0 + at, T0 + at + span) for at, span in spans])
    happen(world, happenings, fresh=True)
    wanted = Counter(
        (target, number) for number, each in enumerate(happenings) for target in each.targets
    )
    by_id = {delivery.id: delivery for _, delivery in world.told}
    assert {(d.id, d.notices) for _, d in world.told} == {(d.id, d.notices) for d in by_id.values()}
    assert len(world.told) - len(by_id) <= 3 * sum(not each.targets for each in happenings)
    told = Counter(
        (delivery.target, notice.attempt)
        for delivery in by_id.values()
        for notice in delivery.notices
    )
    assert told == wanted
    assert world.gathering.standings() == []
    assert world.disk == {}


@settings(max_examples=150, deadline=None)
@given(HAPPENINGS, SPANS)
def test_a_target_is_told_of_each_job_in_order_and_of_how_it_stands_at_the_end(
    happenings: list[Happening], spans: list[tuple[int, int]]
) -> None:
    world = World(takes_s=3, down=[(T0 + at, T0 + at + span) for at, span in spans])
    notices = happen(world, happenings, fresh=False)
    told: dict[tuple[Target, str], list[int]] = {}
    for delivery in {delivery.id: delivery for _, delivery in world.told}.values():
        for notice in delivery.notices:
            told.setdefault((delivery.target, notice.job), []).append(notice.attempt or 0)
    last: dict[tuple[Target, str], int] = {}
    for notice in notices:
        for target in happenings[notice.attempt or 0].targets:
            last[target, notice.job] = notice.attempt or 0
    assert {key: numbers[-1] for key, numbers in told.items()} == last
    assert all(numbers == sorted(numbers) for numbers in told.values())


@settings(max_examples=150, deadline=None)
@given(HAPPENINGS)
def test_nothing_waits_longer_than_a_minute_while_its_target_is_up(
    happenings: list[Happening],
) -> None:
    world = World()
    happen(world, [each for each in happenings if each.targets], fresh=True)
    for at, delivery in world.told:
        for notice in delivery.notices:
            came = datetime.fromtimestamp(notice.at, ZoneInfo("Europe/Berlin"))
            is_night = not 7 <= came.hour < 22
            assert at - notice.at <= 60 or is_night
