"""What waits for each target as JSON values, for a database, and back.

A lane has a key of its own, and each of its items one: what comes and goes most is small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, astuple
from typing import Any

from stsd.errors import ScheduleError
from stsd.lane import Item, Lane, Message, Trouble, Way
from stsd.notices import Means, Quiet, Target, notice_fields, notice_of
from stsd.wallclock import clock


def lane_fields(lane: Lane) -> dict[str, Any]:
    """A lane, without its items."""
    return {
        "target": asdict(lane.target),
        "dropped": lane.dropped,
        "message": None if lane.message is None else astuple(lane.message),
        "trouble": None if lane.trouble is None else astuple(lane.trouble),
    }


def item_fields(item: Item) -> dict[str, Any]:
    """One notice that waits."""
    return {
        "notice": notice_fields(item.notice),
        "arrived": item.arrived,
        "quiet": None if item.quiet is None else astuple(item.quiet),
        "zone": item.zone,
    }


def lanes_of(known: Mapping[str, Any]) -> list[Lane]:
    """The lanes whose values these are, by keys `LANE` and `LANE/SERIAL`. What was under way may
    have arrived. Raises KeyError, TypeError or ValueError for anything else."""
    numbers = sorted(int(key) for key in known if "/" not in key)
    lanes = {number: _lane(number, known[str(number)]) for number in numbers}
    items = [tuple(map(int, key.split("/"))) for key in known if "/" in key]
    for number, serial in sorted(items):
        lanes[number].items[serial] = _item(known[f"{number}/{serial}"])
    for lane in lanes.values():
        if lane.message is not None and not lane.items.keys() >= set(lane.message.serials):
            raise ValueError("a message of which a part is lost")
    return list(lanes.values())


def _lane(number: int, fields: Mapping[str, Any]) -> Lane:
    target = dict(fields["target"])
    target |= {"means": Means(target["means"]), "argv": tuple(target["argv"])}
    lane = Lane(number, Target(**target))
    lane.dropped = int(fields["dropped"])
    if fields["message"] is not None:
        name, serials, dropped, way = fields["message"]
        now = Way.BACK if Way(way) is Way.BACK else Way.UNSURE
        lane.message = Message(name, tuple(serials), dropped, now)
    if fields["trouble"] is not None:
        lane.trouble = Trouble(*fields["trouble"])
    return lane


def _item(fields: Mapping[str, Any]) -> Item:
    quiet, zone = fields["quiet"], fields["zone"]
    return Item(
        notice_of(fields["notice"]),
        float(fields["arrived"]),
        None if quiet is None or not _is_known(zone) else Quiet(*quiet),
        zone,
    )


def _is_known(zone: str) -> bool:
    """Zones may be gone after an update; what waits in one is then told at once."""
    try:
        clock(zone)
    except ScheduleError:
        return False
    return True
