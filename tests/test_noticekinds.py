"""The kinds of value that are about telling people."""

from __future__ import annotations

from datetime import time

import pytest

from stsd.noticekinds import DaySpan, OrFalse, Slowness, TimeOfDay
from stsd.notices import Means, Quiet, Slow, Target
from stsd.shapes import RECIPIENT
from stsd.values import BadValueError, Duration, Kind


def refusal(kind: Kind, value: object) -> str:
    """What is said of a value that has one fault."""
    with pytest.raises(BadValueError) as raised:
        kind.read(value, "/")
    (fault,) = raised.value.faults
    return f"{'.'.join(map(str, fault.path))}: {fault.message} ({fault.remedy})"


@pytest.mark.parametrize(
    ("value", "second"),
    [
        ("00:00", 0),
        ("6:00", 21600),
        ("06:00:30", 21630),
        ("23:59:59", 86399),
        (time(6, 0, 30), 21630),
    ],
)
def test_a_time_of_day_is_a_second_of_the_day(value: object, second: int) -> None:
    assert TimeOfDay().read(value, "/") == second


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("24:00", 'there is no time of day "24:00" (from "00:00" to "23:59:59")'),
        ("06:60", "there is no time of day"),
        ("12:00:99", "there is no time of day"),
        ("6am", '"6am" is not a time of day (such as "06:00" or "06:00:30")'),
        ("06:00 ", "is not a time of day"),
        ("٠٦:٠٠", "is not a time of day"),  # noqa: RUF001 - digits, but not ours
        (6, 'must be a time of day, not 6 (such as "06:00")'),
        (time(6, 0, 0, 500_000), "must be a time of day, not 06:00:00.5"),
    ],
)
def test_what_is_no_time_of_day_is_refused(value: object, said: str) -> None:
    assert said in refusal(TimeOfDay(), value)


@pytest.mark.parametrize(
    ("text", "quiet"),
    [
        ("22:00-07:00", Quiet(79200, 25200)),
        ("12:00 - 13:30:15", Quiet(43200, 48615)),
        ("18:00-24:00", Quiet(64800, 0)),
        ("00:00-06:00", Quiet(0, 21600)),
    ],
)
def test_a_part_of_the_day_may_go_across_midnight(text: str, quiet: Quiet) -> None:
    assert DaySpan().read(text, "/") == quiet


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("22:00-22:00", '"22:00-22:00" ends when it begins'),
        ("00:00-24:00", "ends when it begins"),
        ("24:00-06:00", 'is not a part of the day (write "22:00-07:00"'),
        ("22-7", "is not a part of the day"),
        ("22:00", "is not a part of the day"),
        ("", "is not a part of the day"),
        (8, "must be a part of the day, not 8"),
    ],
)
def test_what_is_no_part_of_the_day_is_refused(value: object, said: str) -> None:
    assert said in refusal(DaySpan(), value)


@pytest.mark.parametrize(
    ("value", "slow"),
    [
        ("2x", Slow(factor=2.0)),
        ("1.5x", Slow(factor=1.5)),
        ("1x", Slow(factor=1.0)),
        ("20m", Slow(seconds=1200.0)),
        (90, Slow(seconds=90.0)),
    ],
)
def test_slow_is_a_factor_or_a_duration(value: object, slow: Slow) -> None:
    assert Slowness().read(value, "/") == slow


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("0x", '"0x" is not a factor (write a duration such as "20m", or a factor'),
        ("0.5x", "is not a factor"),
        ("x", "is not a factor"),
        ("-2x", "is not a factor"),
        ("1e3x", "is not a factor"),
        ("2X", "is not a factor"),
        ("0s", "a duration of"),
        ("fast", '"fast" is not a duration (write a duration such as "20m", or a factor'),
        (True, "a duration cannot be true"),
    ],
)
def test_what_is_neither_is_refused_with_both(value: object, said: str) -> None:
    assert said in refusal(Slowness(), value)


def test_false_is_none_of_it_and_all_else_is_the_other_kinds() -> None:
    assert OrFalse(Duration()).read(False, "/") is None
    assert OrFalse(Duration()).read("2m", "/") == 120.0
    assert "cannot be true" in refusal(OrFalse(Duration()), True)
    assert "0 is not between" in refusal(OrFalse(Duration()), 0)


@pytest.mark.parametrize(
    ("value", "target"),
    [
        ("mailto://u:${P}@example.com", Target(Means.MESSAGE, "mailto://u:${P}@example.com")),
        ("${CHAT}", Target(Means.MESSAGE, "${CHAT}")),
        ("https://example.com/hook", Target(Means.WEBHOOK, "https://example.com/hook")),
        ("HTTP://h", Target(Means.WEBHOOK, "HTTP://h")),
        ({"webhook": "${HOOK}"}, Target(Means.WEBHOOK, "${HOOK}")),
        (
            {"webhook": "https://h/", "secret": "${KEY}"},
            Target(Means.WEBHOOK, "https://h/", "${KEY}"),
        ),
        ({"command": "cat >> x"}, Target(Means.COMMAND, shell="cat >> x")),
        ({"command": ["tell", "", "me"]}, Target(Means.COMMAND, argv=("tell", "", "me"))),
    ],
)
def test_somebody_is_told_by_message_webhook_or_command(value: object, target: Target) -> None:
    assert RECIPIENT.read(value, "/") == target


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("ops@example.com", ': "ops@example.com" is not an address for a message (such as "mailto'),
        ("https://h:99999/", '"99999" is not a port'),
        ("json://h/${", "no variable in"),
        (5, "must be an address or a table, not 5"),
        ({}, "says nobody to tell (such as"),
        ({"webhook": "http://h", "command": "x"}, "is both a `webhook` and a `command`"),
        ({"webhook": "mailto://h"}, "webhook: "),
        ({"command": "x", "secret": "k"}, "secret: belongs to `webhook`, which is not there"),
        ({"command": []}, "command: is an empty array"),
        ({"command": [""]}, "command: the name of the program is empty"),
        ({"web_hook": "http://h"}, "web_hook: is not a known key (did you mean `webhook`?)"),
    ],
)
def test_who_cannot_be_told_is_refused(value: object, said: str) -> None:
    assert said in refusal(RECIPIENT, value)
