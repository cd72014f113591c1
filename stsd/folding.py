"""What has waited long is told shorter: notices of one job that say the same, or the beginning of
what is over by now, become one.

Decides on values alone. What is folded is still counted and dated in what is left, and what is left
last of a thing is how it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stsd.notices import Event, Notice


def folded(earlier: Sequence[Notice], later: Notice) -> tuple[tuple[int, ...], Notice]:
    """Which of the `earlier` notices of a job (their indices) need not be told, since others tell
    of them, and what the `later` one says then. However many come one after the other, no more than
    two of each event are left."""
    gone = []
    last = later
    for index, notice in enumerate(earlier):
        between = earlier[index + 1 :]
        if any(notice.event in other.ended for other in (*between, later)):
            gone.append(index)
        elif notice.event is later.event and not _begun_again(notice, between, later):
            last = _merged(notice, last)
            gone.append(index)
    return tuple(gone), last


def _begun_again(recovered: Notice, between: Sequence[Notice], later: Notice) -> bool:
    """Whether something that was over has begun again since, and goes on."""
    return any(each.event in recovered.ended and each.event not in later.ended for each in between)


def _merged(earlier: Notice, later: Notice) -> Notice:
    known = [since for since in (earlier.since, later.since) if since is not None]
    since = min(known, default=None)
    if later.event is Event.RECOVERED:
        more = tuple(event for event in later.ended if event not in earlier.ended)
        again = len(more) < len(later.ended)
        count = earlier.count + later.count if again else later.count
        return replace(later, since=since, ended=earlier.ended + more, count=count)
    if later.reminder:  # counts on from the earlier one
        count = max(earlier.count, later.count)
        return replace(
            later, since=since, count=count, reminder=earlier.reminder and later.reminder
        )
    return replace(later, since=since, count=earlier.count + later.count)
