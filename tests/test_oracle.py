"""stsd against the oracle: the same instants, to the second, in every zone with hard changes."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from stsd.errors import ScheduleError
from stsd.model import Fold, Gap, When
from stsd.triggers import Due, Schedule, schedule_for
from stsd.wallclock import zone
from tests.oracle import DAYS, MONTHS, Oracle

pytestmark = pytest.mark.slow

DENSE = 300
# A day in or next to which the clock of the zone changes, each hard in its own way.
CHANGES = [
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Europe/London", "2026-03-29"),
    ("Europe/London", "2026-10-25"),
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2037-10-25"),
    ("Europe/Berlin", "2100-03-28"),  # by the rule at the end of the zone file
    ("Europe/Dublin", "2026-10-25"),  # negative daylight saving
    ("Australia/Lord_Howe", "2026-04-05"),  # half an hour
    ("Australia/Lord_Howe", "2026-10-04"),
    ("Australia/Sydney", "2026-04-05"),
    ("America/Sao_Paulo", "2018-02-18"),  # midnight comes twice
    ("America/Sao_Paulo", "2018-11-04"),  # no midnight
    ("Asia/Kathmandu", "1986-01-01"),  # a quarter of an hour
    ("Pacific/Apia", "2011-12-30"),  # a day that never was
    ("Pacific/Apia", "2012-04-01"),
    ("Pacific/Kwajalein", "1993-08-21"),
    ("Pacific/Kiritimati", "1995-01-01"),
    ("Pacific/Fakaofo", "2011-12-30"),
    ("Africa/Casablanca", "2026-02-15"),
    ("Africa/Casablanca", "2026-03-22"),
    ("Antarctica/Troll", "2026-03-29"),  # two hours
    ("Antarctica/Troll", "2026-10-25"),
    ("America/Havana", "2026-03-08"),
    ("America/Havana", "2026-11-01"),
    ("Asia/Beirut", "2026-03-29"),
    ("Asia/Beirut", "2026-10-25"),
    ("Pacific/Chatham", "2026-04-05"),
    ("Pacific/Chatham", "2026-09-27"),
    ("Asia/Pyongyang", "2015-08-15"),
    ("Asia/Pyongyang", "2018-05-05"),
    ("America/Caracas", "2007-12-09"),
    ("America/Caracas", "2016-05-01"),
    ("America/St_Johns", "2010-11-07"),  # 00:01 goes back to 23:01 of the day before
    ("America/St_Johns", "1988-04-03"),  # two hours
    ("America/St_Johns", "1988-10-30"),
    ("Asia/Gaza", "2038-10-16"),
    ("Africa/Cairo", "2026-04-24"),
    ("Africa/Cairo", "2026-10-30"),
    ("America/Asuncion", "2023-10-01"),
    ("America/Santiago", "2026-04-05"),
    ("America/Scoresbysund", "2024-03-31"),
    ("America/Noronha", "2000-10-15"),  # forth and back within eight days
    ("America/Juneau", "1983-10-30"),
    ("Antarctica/Casey", "2010-03-05"),  # three hours back
    ("Antarctica/Vostok", "2023-12-18"),
    ("Antarctica/Vostok", "1994-11-01"),  # seven hours forth
    ("Antarctica/Vostok", "1994-02-01"),  # seven hours back
    ("Asia/Tehran", "2022-03-22"),
    ("Asia/Kolkata", "2026-03-08"),
    ("Europe/Volgograd", "2020-12-27"),
    ("Europe/Samara", "2010-03-28"),
    ("Asia/Amman", "2022-10-28"),
    ("Africa/Juba", "2021-02-01"),
    ("Atlantic/Azores", "2026-10-25"),
    ("UTC", "2028-02-29"),
]
HAND_PICKED = [
    "* * * * *", "*/10 2 * * *", "30 2 * * *", "0,30 2 * * *", "30 1 * * *", "0 0 * * *",
    "0 */2 * * *", "0 * * * *", "30 * * * *", "30 0-23 * * *", "0 0-23 * * *", "5-5 5-5 * * *",
    "*/7 * * * *", "*/7 1-3 * * *", "0-59/5 2 * * *", "15 2,3 * * *", "59 23 * * *",
    "0 0 1 * *", "0 0 L * *", "30 2 L * *", "0 3 LW * *", "0 3 15W * *", "0 12 1W * *",
    "0 0 L-3 * *", "30 1 * * sun", "30 1 * * 7", "30 2 * * 0", "30 2 * * sun#2", "30 1 * * 1#1",
    "30 1 * * 0L", "30 2 * * sunL", "0 0 */2 * MON", "0 0 13 * FRI", "0 0 */2 * */2",
    "0 2 8-14 3 sun", "30 2 8 3 *", "30 2 29 3 ?", "30 1 1 11 *", "0 0 ? * sat-mon",
    "0 0 * nov-feb fri-mon", "0 30 2 * * *", "30 30 2 * * *", "15,45 0 2 * * *",
    "*/20 59 1 * * *", "0 0 2 * * *", "* 30 1 * * *", "59 59 23 * * *", "0 1-5/2 * * *",
    "0 5/6 * * *", "20/20 0/12 * * *", "0 22-23,0-2 * * *", "* 2 * * *", "0 2 * * *",
    "0 3 * * *", "1 3 * * *", "45 2 * * *", "15 0 * * *", "10 */3 * * *", "0 0 31 12 *",
    "0 0 30 12 *", "0 12 30 12 *", "0 9 * * *", "* */2 30 12 *", "0 0 29 2 *", "0 0 29 2 TUE",
    "0 0 1-31 * fri", "0 0 1,L * *", "0 2 1W,LW * *", "0 2 * * 0#1,0L", "7 1-3 * * *",
]  # fmt: skip


def random_expression(dice: random.Random) -> str:
    fields = [random_times(dice, 60), random_times(dice, 24, busy=(0, 4))]
    if dice.random() < 0.12:
        fields.insert(0, dice.choice(["0", "30", "15,45", "*/20", "50-59/3", "7"]))
    return " ".join([*fields, *random_days(dice)])


def random_times(dice: random.Random, size: int, busy: tuple[int, int] | None = None) -> str:
    """A minute or hour field, the hours more often near those at which clocks change."""

    def value() -> int:
        low, high = busy if busy and dice.random() < 0.7 else (0, size - 1)
        return dice.randint(low, high)

    def item() -> str:
        low, high = sorted((value(), value()))
        step = dice.choice([1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 59])
        return dice.choice(
            [f"{low}", f"{low}", f"{low}", f"{low}-{high}", f"{low}-{high}/{step}", f"{low}/{step}"]
        )

    roll = dice.random()
    if roll < 0.2:
        return "*"
    if roll < 0.35:
        return f"*/{dice.choice([2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 45])}"
    return ",".join(item() for _ in range(dice.choice([1, 1, 1, 2, 3])))


def random_days(dice: random.Random) -> tuple[str, str, str]:
    def day_of_month() -> str:
        day, other = sorted((dice.randint(1, 31), dice.randint(1, 31)))
        return dice.choice(
            [f"{day}", f"{day}-{other}", f"{day}-{other}/{dice.randint(1, 9)}", f"{day}W",
             f"{day}/{dice.randint(1, 9)}", "L", f"L-{dice.randint(0, 12)}", "LW"]
        )  # fmt: skip

    def day_of_week() -> str:
        day, other = dice.randint(0, 7), dice.randint(0, 6)
        name = dice.choice([str(day), DAYS[other], DAYS[other].upper()])
        return dice.choice(
            [name, name, f"{name}-{DAYS[dice.randint(0, 6)]}", f"{name}#{dice.randint(1, 5)}",
             f"{name}L", f"{DAYS[other]}-{other if day < 7 else 6}/{dice.randint(1, 3)}",
             f"{other}/{dice.randint(1, 4)}"]
        )  # fmt: skip

    def month() -> str:
        first, last = dice.choice(MONTHS), dice.choice(MONTHS)
        return dice.choice([first, f"{first}-{last}", "*/2", "2-12/2", "3,10,11,12", "10/1"])

    def many(one: Callable[[], str], star: list[str], plain: float) -> str:
        if dice.random() < plain:
            return dice.choice(star)
        count = dice.choice([1, 1, 2, 3])
        return ",".join(one() for _ in range(count))

    return (
        many(day_of_month, ["*", "*", "*", "?", "*/2", "*/3"], 0.65),
        many(month, ["*"], 0.85),
        many(day_of_week, ["*", "*", "*", "?", "*/2", "*/3"], 0.65),
    )


def schedule(expression: str, zone_name: str) -> Schedule | None:
    """None for a rule that names no day at all, which stsd refuses."""
    try:
        return schedule_for(When(cron=(expression,), timezone=zone_name), "job")
    except ScheduleError as error:
        if "never comes" not in error.message:
            raise
        return None


def disagreement(expression: str, zone_name: str, change: str) -> str:
    """Where stsd and the oracle differ within two days of a change; empty if nowhere."""
    day = date.fromisoformat(change)
    first, last = day - timedelta(days=2), day + timedelta(days=2)
    expected = Oracle(expression).instants(zone_name, first, last)
    begin = int(datetime(first.year, first.month, first.day, tzinfo=UTC).timestamp())
    end = begin + 4 * 86400
    built = schedule(expression, zone_name)
    if built is None:
        return "" if not expected else f"{expression!r} is refused, but fires"
    if len(expected) > DENSE:  # a part of it, mostly around the change, goes a long way
        middle = begin + 2 * 86400 + spread(expression)
        index = min(max(bisect_left(expected, middle), 1), len(expected) - DENSE)
        begin, expected = expected[index - 1] + 1, expected[index : index + DENSE]
        end = expected[-1] + 1
    found = []
    due = built.next_after(begin - 1)
    while due is not None and due.at < end:
        found.append(due.at)
        due = built.next_after(due.at)
    if found == expected:
        return ""
    odd = min(set(found) ^ set(expected))
    who = "stsd alone" if odd in found else "the oracle alone"
    moment = datetime.fromtimestamp(odd, zone(zone_name))
    return f"{expression!r} in {zone_name}: {who} has {moment.isoformat()}"


def spread(expression: str) -> int:
    """From 6 hours before midnight UTC to 10 after it, another for each expression."""
    return sum(expression.encode()) % 16 * 3600 - 6 * 3600


@pytest.mark.parametrize(("zone_name", "change"), CHANGES)
def test_every_hand_picked_expression_agrees_with_the_oracle(zone_name: str, change: str) -> None:
    found = [disagreement(expression, zone_name, change) for expression in HAND_PICKED]
    assert [each for each in found if each] == []


@pytest.mark.parametrize("seed", range(8))
def test_random_expressions_agree_with_the_oracle(seed: int) -> None:
    dice = random.Random(seed)
    found = []
    for _ in range(300):
        expression = random_expression(dice)
        found += [disagreement(expression, *change) for change in dice.sample(CHANGES, 3)]
    assert [each for each in found if each] == []


# Whole years


@pytest.mark.parametrize(
    ("zone_name", "year"),
    [("Pacific/Apia", 2011), ("America/Sao_Paulo", 2018), ("Australia/Lord_Howe", 2026)],
)
def test_each_day_of_a_hard_year_agrees_with_the_oracle(zone_name: str, year: int) -> None:
    first, last = date(year, 1, 1), date(year + 1, 1, 1)
    for expression in ["30 2 * * *", "0 0 * * *", "*/20 0-3 * * *", "15 */6 * * *", "30 23 L * 5"]:
        expected = Oracle(expression).instants(zone_name, first, last)
        built = schedule(expression, zone_name)
        assert built is not None
        assert fired(built, first, last) == expected, expression


# Days, over the years


@pytest.mark.parametrize("seed", range(4))
def test_the_days_of_random_rules_agree_with_the_oracle_for_years(seed: int) -> None:
    dice = random.Random(f"days {seed}")
    first, last = date(2023, 1, 1), date(2034, 1, 1)
    days = [first + timedelta(days=n) for n in range((last - first).days)]
    for _ in range(60):
        expression = f"0 0 {' '.join(random_days(dice))}"
        oracle = Oracle(expression)
        expected = [day for day in days if oracle.day(day)]
        built = schedule(expression, "UTC")
        found = [] if built is None else [day_of(each) for each in fired(built, first, last)]
        assert found == expected, expression


def test_the_rarest_days_agree_with_the_oracle_for_centuries() -> None:
    first, last = date(1970, 1, 1), date(2199, 12, 31)
    days = [first + timedelta(days=n) for n in range((last - first).days)]
    for rule in [
        "29 2 *",
        "29-29/3 2 */1",
        "*/28 2 1",
        "? 2 mon#5",
        "LW 2 *",
        "L-28 2 ?",
        "1W 8 *",
    ]:
        oracle = Oracle(f"0 0 {rule}")
        expected = [day for day in days if oracle.day(day)]
        built = schedule(f"0 0 {rule}", "UTC")
        assert built is not None
        assert [day_of(each) for each in fired(built, first, last)] == expected, rule


def fired(built: Schedule, first: date, last: date) -> list[int]:
    begin, end = midnight(first), midnight(last)
    found = []
    due = built.next_after(begin - 1)
    while due is not None and due.at < end:
        found.append(due.at)
        due = built.next_after(due.at)
    return found


def midnight(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def day_of(instant: int) -> date:
    return datetime.fromtimestamp(instant, UTC).date()


# cronsim, which follows Debian's cron as well


def debian(dice: random.Random) -> str:
    """An expression that both read alike: five fields, weekday lists and ranges up to Saturday."""
    hour, minute = dice.randint(0, 23), dice.randint(0, 59)
    times = dice.choice(
        [f"{minute} {hour}", f"{minute} *", f"*/{dice.randint(2, 30)} {hour}", f"{minute} 1,2,3",
         f"{minute} */{dice.randint(2, 12)}", "* *", f"{minute},{59 - minute} {hour // 8}-{hour}"]
    )  # fmt: skip
    day = dice.choice(["*", "*", "*/2", "1-7", "13", "L", "LW", "1,15"])
    weekday = dice.choice(["*", "*", "mon", "1-5", "sun#2", "5L", "*/2", "0,6"])
    return f"{times} {day} {dice.choice(['*', '*', '3', '10-11'])} {weekday}"


@pytest.mark.parametrize(
    ("zone_name", "start"),
    [
        ("UTC", "2026-01-01"),
        ("Europe/Berlin", "2026-03-27"),
        ("Europe/Berlin", "2026-10-23"),
        ("America/New_York", "2026-03-06"),
        ("America/New_York", "2026-10-30"),
        ("America/Havana", "2026-03-06"),
    ],
)
def test_cronsim_agrees_where_the_rules_are_the_same(zone_name: str, start: str) -> None:
    dice = random.Random(start)
    for _ in range(120):
        expression = debian(dice)
        built = schedule(expression, zone_name)
        begin = datetime.fromisoformat(start).replace(tzinfo=zone(zone_name))
        theirs = CronSim(expression, begin)
        moment = int(begin.timestamp())
        ours_text: list[str] = []
        theirs_text: list[str] = []
        assert built is not None
        for _ in range(30):
            due = built.next_after(moment)
            assert due is not None
            moment = due.at
            ours_text.append(datetime.fromtimestamp(moment, zone(zone_name)).isoformat())
        while len(theirs_text) < 30:
            text = next(theirs).isoformat()
            if text not in theirs_text[-1:]:  # cronsim tells merged skipped times one by one
                theirs_text.append(text)
        assert ours_text == theirs_text, expression


# What holds for every schedule


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Schedule, int]:
    """A schedule and an instant near a change of its clock."""
    zone_name, change = draw(st.sampled_from(CHANGES))
    expression = random_expression(random.Random(draw(st.integers(0, 10**9))))
    when = When(
        cron=(expression,),
        every=draw(st.one_of(st.none(), st.integers(1, 10**6))),
        at=draw(st.sampled_from([(), ("02:30",), ("sat-mon 00:00:30",)])),
        splay=draw(st.sampled_from([0, 0, 90, 7200])),
        skip_dates=draw(st.sampled_from([(), (date.fromisoformat(change),)])),
        timezone=zone_name,
        gap=draw(st.sampled_from(Gap)),
        fold=draw(st.sampled_from(Fold)),
    )
    try:
        built = schedule_for(when, "job")
    except ScheduleError:
        built = schedule_for(replace(when, cron=("0 */2 * * *",)), "job")
    near = midnight(date.fromisoformat(change)) + draw(st.integers(-2 * 86400, 2 * 86400))
    return built, near


@settings(max_examples=300, deadline=None, derandomize=True)
@given(schedules(), st.data())
def test_the_answer_is_later_and_the_same_from_wherever_one_asks(
    given_schedule: tuple[Schedule, int], data: st.DataObject
) -> None:
    built, instant = given_schedule
    due = built.next_after(instant)
    for _ in range(8):
        if due is None:
            return
        assert due.at > instant
        between = data.draw(st.integers(instant, due.at - 1))
        assert built.next_after(between) == due
        assert built.next_after(due.at - 1) == due
        instant, due = due.at, built.next_after(due.at)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(schedules(), st.integers(0, 3 * 86400))
def test_the_count_and_the_last_are_those_of_an_enumeration(
    given_schedule: tuple[Schedule, int], span: int
) -> None:
    built, after = given_schedule
    for part in [built, *(Schedule((each,), built.splay) for each in built.parts)]:
        found: list[Due] = []
        due = part.next_after(after)
        while due is not None and due.at <= after + span and len(found) < 3000:
            found.append(due)
            due = part.next_after(due.at)
        until = found[-1].at if len(found) == 3000 else after + span
        assert part.count(after, until) == len(found)
        assert part.last(after, until) == (found[-1] if found else None)
