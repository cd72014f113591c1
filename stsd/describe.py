"""A schedule in plain words, told from what it means and not from how it is written."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

from stsd import at, cron
from stsd.calendar import DayRule, MonthDays, WallTimes, WeekDays

_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
_MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
_FEW = 6


def describe(expression: str, job_name: str = "") -> str:
    """A sentence on when a cron expression fires: `at 02:30 on Monday to Friday`.

    `job_name` decides what `H` stands for. Raises ScheduleError as the parser does.
    """
    return _wall_times(cron.parse(expression, job_name).times)


def describe_at(text: str) -> str:
    """A sentence on when one `at` fires: `at 10:30 on Sunday`, `at 12:00 on 2027-01-31, once`.

    Raises ScheduleError as the parser does.
    """
    return _wall_times(at.parse(text))


def describe_every(period: int) -> str:
    """A sentence on a grid of so many seconds."""
    pieces = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, period = divmod(period, size)
        pieces += [f"{count}{unit}"] if count else []
    return f"every {''.join(pieces)} of elapsed time, whatever the clocks do"


def _wall_times(times: WallTimes) -> str:
    of_day = _times(times.minutes, times.seconds)
    if isinstance(times.days, DayRule):
        return f"{of_day}{_days(times.days)}"
    return f"{of_day} on {date(1970, 1, 1) + timedelta(days=times.days.day)}, once"


def _times(of_day: tuple[int, ...], seconds: tuple[int, ...]) -> str:
    if len(of_day) <= _FEW and len(seconds) == 1:
        second = f":{seconds[0]:02d}" if seconds[0] else ""
        return "at " + _listed([f"{m // 60:02d}:{m % 60:02d}{second}" for m in of_day])
    hours = sorted({minute // 60 for minute in of_day})
    minutes = sorted({minute % 60 for minute in of_day})
    pieces = []
    if seconds != (0,):
        pieces.append(_within(seconds, 60, "second"))
    if len(minutes) < 60 or seconds == (0,):
        pieces.append(_within(minutes, 60, "minute"))
    if len(hours) < 24:
        span = _counted("hour", hours)
        pieces.append(span if span.startswith("every") else f"in {span}")
    elif len(minutes) == 1:
        pieces[-1] = f"{pieces[-1]} of every hour"
    return ", ".join(pieces)


def _within(values: Sequence[int], size: int, unit: str) -> str:
    """`every 5 minutes` where the values go round without a break, else `at minutes 1 and 7`."""
    step = size // len(values)
    if list(values) == list(range(0, size, step)) and size % step == 0 and len(values) > 1:
        return f"every {unit}" if step == 1 else f"every {step} {unit}s"
    span = _counted(unit, values)
    return span if span.startswith("every") else f"at {span}"


def _days(rule: DayRule) -> str:
    month_days = None if rule.month_days is None else _month_days(rule.month_days)
    week_days = None if rule.week_days is None else _week_days(rule.week_days)
    if month_days and week_days:
        joint = "if that is" if rule.both else "and also on"
        text = f" on {month_days}, {joint} {week_days}"
    elif month_days or week_days:
        text = f" on {month_days or week_days}"
    else:
        text = ""
    if len(rule.months) < 12:
        text += f"{',' if text else ''} in {_spans(rule.months, _MONTHS, 1)}"
    return text


def _month_days(days: MonthDays) -> str:
    pieces = []
    if days.numbers:
        pieces.append(_counted("day", days.numbers))
    pieces += [f"the weekday nearest to day {day}" for day in days.nearest]
    for back in days.before_last:
        ago = "1 day" if back == 1 else f"{back} days"
        pieces.append(f"the day {ago} before the last" if back else "the last day")
    if days.last_weekday:
        pieces.append("the last weekday")
    return f"{_listed(pieces)} of the month"


def _week_days(days: WeekDays) -> str:
    pieces = []
    if days.numbers:
        monday_first = sorted((number - 1) % 7 for number in days.numbers)
        pieces.append(_spans(monday_first, (*_WEEKDAYS[1:], _WEEKDAYS[0]), 0))
    ordinals = ("first", "second", "third", "fourth", "fifth")
    pieces += [f"the {ordinals[n - 1]} {_WEEKDAYS[day]} of the month" for day, n in days.nth]
    pieces += [f"the last {_WEEKDAYS[day]} of the month" for day in days.last]
    return _listed(pieces)


def _counted(unit: str, values: Sequence[int]) -> str:
    step = values[1] - values[0] if len(values) > 3 else 1
    if step > 1 and list(values) == list(range(values[0], values[-1] + 1, step)):
        return f"every {_ordinal(step)} {unit} from {values[0]} to {values[-1]}"
    names = [str(number) for number in range(max(values) + 1)]
    return f"{unit}{'s' if len(values) > 1 else ''} {_spans(values, names, 0)}"


def _ordinal(number: int) -> str:
    return f"{number}{({2: 'nd', 3: 'rd'}).get(number, 'th')}"  # no step of 21 fits four times


def _spans(values: Sequence[int], names: Sequence[str], first: int) -> str:
    """Sorted values, three or more in a row as a span: `1, 5 to 9 and 12`."""
    rows: list[list[int]] = []
    for value in values:
        if rows and value == rows[-1][-1] + 1:
            rows[-1].append(value)
        else:
            rows.append([value])
    pieces: list[str] = []
    for row in rows:
        named = [names[value - first] for value in row]
        pieces += [f"{named[0]} to {named[-1]}"] if len(row) > 2 else named
    return _listed(pieces)


def _listed(pieces: Sequence[str]) -> str:
    return pieces[0] if len(pieces) == 1 else f"{', '.join(pieces[:-1])} and {pieces[-1]}"
