"""What the coming changes of the clocks will do to a schedule.

Told only where a reader of the schedule would be surprised: a job that comes every hour goes on
coming every hour, and is not worth a word. Nothing here reads a clock.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from stsd.model import TriggerKind
from stsd.triggers import Every, OnTheClock, Schedule
from stsd.wallclock import LAST_INSTANT, Stretch


class Effect(StrEnum):
    """What becomes of the occurrences that a clock change touches."""

    MOVED = "moved"
    DROPPED = "dropped"
    DOUBLED = "doubled"


@dataclass(frozen=True, slots=True)
class ClockChange:
    """One change of the clock at the instant `at`, and what it does to one part of a schedule.

    `asked` is the first wall time concerned, `count` how many there are. `fires` are the times at
    which that one fires: one if moved, two if doubled, none if dropped; with the job's splay.
    `kind` and `wildcard` are the part's.
    """

    job: str
    kind: TriggerKind
    wildcard: bool
    at: int
    effect: Effect
    asked: datetime
    count: int
    fires: tuple[datetime, ...] = ()

    def __str__(self) -> str:
        asked = f"{self.asked:%H:%M:%S}".removesuffix(":00")
        zone, others = self.asked.tzinfo, f" (and {self.count - 1} more)" if self.count > 1 else ""
        times = " and ".join(moment.isoformat()[11:] for moment in self.fires)
        text = f"on {self.asked:%Y-%m-%d} {asked}{others} in {zone} "
        match self.effect:
            case Effect.MOVED:
                return f"{text}does not exist: it runs once, at {times}"
            case Effect.DROPPED:
                return f"{text}does not exist: it does not run"
            case Effect.DOUBLED:
                return f"{text}comes twice: it runs at {times}"


def clock_changes(
    schedule: Schedule, job_name: str, from_instant: int, until: int
) -> list[ClockChange]:
    """The changes from `from_instant` on, before `until` (seconds since the epoch), that move,
    drop or double occurrences of a schedule; in order of time."""
    found: list[ClockChange] = []
    for part in schedule.parts:
        if isinstance(part, Every):
            continue
        for stretch in _changes(part, from_instant, until):
            change = _effect(schedule, part, stretch, job_name)
            if change is not None:
                found.append(change)
    return sorted(found, key=lambda change: change.at)


def _changes(part: OnTheClock, from_instant: int, until: int) -> Iterator[Stretch]:
    """The stretches that begin within the span with a change of the offset."""
    stretch = part.clock.stretch(from_instant)
    if stretch.begin < from_instant:
        stretch = part.clock.stretch(stretch.end)
    while stretch.begin < min(until, LAST_INSTANT):
        if stretch.shift:
            yield stretch
        stretch = part.clock.stretch(stretch.end)


def _effect(
    schedule: Schedule, part: OnTheClock, stretch: Stretch, job_name: str
) -> ClockChange | None:
    walls = _walls(part, stretch)
    if not walls or _unmoved(part, stretch):
        return None
    if stretch.shift > 0:
        moved = part.skipped(stretch) is not None
        effect = Effect.MOVED if moved else Effect.DROPPED
        instants = [stretch.begin] if moved else []
    elif part.passes_over(stretch):
        return None
    else:
        effect = Effect.DOUBLED
        instants = [walls[0] - stretch.before, walls[0] - stretch.offset]
    if schedule.days is not None:
        for instant in instants or [stretch.begin]:
            if schedule.days.resume(instant) != instant:
                return None
    fires = (datetime.fromtimestamp(each + schedule.splay, part.clock.zone) for each in instants)
    asked = part.clock.aware(walls[0])
    return ClockChange(
        job_name,
        part.kind,
        part.wildcard,
        stretch.begin,
        effect,
        asked,
        len(walls),
        tuple(fires),
    )


def _walls(part: OnTheClock, stretch: Stretch) -> list[int]:
    """The wall times of the schedule that the change skips or repeats."""
    low, high = sorted((stretch.begin + stretch.before, stretch.begin + stretch.offset))
    walls = []
    wall = part.times.next_from(low)
    while wall is not None and wall < high:
        walls.append(wall)
        wall = part.times.next_from(wall + 1)
    return walls


def _unmoved(part: OnTheClock, stretch: Stretch) -> bool:
    """Whether the shift maps the times of day onto themselves, so that a job which comes every
    hour or every ten minutes goes on doing so in real time, none of its times made up for."""
    minutes, rest = divmod(stretch.shift, 60)
    shifted = sorted((minute + minutes) % 1440 for minute in part.times.minutes)
    if rest or tuple(shifted) != part.times.minutes:
        return False
    wall = stretch.begin + stretch.offset
    return part.skipped(stretch) is None or part.times.next_from(wall) == wall
