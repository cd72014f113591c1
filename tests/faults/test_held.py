"""A history that cannot be written is told to those who want to know it, and that it can again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.support import Box, Disk, needs_ext4
from tests.support import wait_for
from tests.support_http import Web

pytestmark = [pytest.mark.slow, needs_ext4]

PATIENCE_S = 120.0
"""What concerns several jobs is gathered for a minute."""


@pytest.fixture
def hook() -> Iterator[Web]:
    with Web() as web:
        web.answers["/hook"] = lambda handler: handler.reply(200)
        yield web


def notices(hook: Web) -> list[tuple[str, str]]:
    """Event and job of all that was told, in its order."""
    bodies: list[Any] = [json.loads(asked.body) for asked in hook.asked]
    return [(each["event"], each["job"]) for body in bodies for each in body["notices"]]


def test_a_full_disk_is_told_as_one_message_although_nothing_can_be_written(
    tmp_path: Path, disk_of: Callable[[str], Disk], hook: Web
) -> None:
    disk = disk_of("24M")
    box = Box(tmp_path, where=disk.mountpoint)
    box.write(
        box.job("a", notify=f'{{ to = "{hook.url("/hook")}" }}')
        + box.job("b", notify=f'{{ to = "{hook.url("/hook")}" }}')
    )
    with box:
        box.wait_for_count("finished", 1, "a")
        filler = disk.fill()
        box.wait_for_event("history_not_written")
        wait_for(lambda: hook.asked, "the message", PATIENCE_S)
        assert notices(hook) == [("held", "a"), ("held", "b")]
        assert len(hook.asked) == 1
        box.wait_for_event("notifications_not_kept")
        filler.unlink()
        box.wait_for_event("history_written_again")
        box.wait_for_event("notifications_kept_again")
        assert box.stop() == 0
    assert {("recovered", "a"), ("recovered", "b")} <= set(notices(hook))
    assert len(hook.asked) == 2
    box.assert_balanced()
    assert len(hook.asked) == 2
