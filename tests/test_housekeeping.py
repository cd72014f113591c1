"""The child that keeps the history in order: when there is one, and what it leaves to be told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from stsd.housekeeping import AGAIN_S, DAY_S, Housekeeping
from tests.support import wait_for


def test_a_failure_is_told_with_its_words_and_the_next_one_comes_a_day_later() -> None:
    asked = []

    def command() -> list[str]:
        asked.append("for one")
        return [sys.executable, "-I", "-S", "-c", "raise SystemExit('no room')"]

    housekeeping = Housekeeping({})
    assert wait_for(lambda: housekeeping.tend(command, 5.0), "its end") == "no room"
    assert housekeeping.tend(command, 4.0 + DAY_S) is None
    assert len(asked) == 1
    assert wait_for(lambda: housekeeping.tend(command, 5.0 + DAY_S), "the next one") == "no room"


def test_without_a_process_to_be_had_it_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_more(*arguments: object, **keys: object) -> None:
        raise OSError(24, "Too many open files")

    housekeeping, command = Housekeeping({}), [sys.executable, "-I", "-S", "-c", "raise ValueError"]
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", no_more)
        told = housekeeping.tend(lambda: command, 5.0)
    assert told == "there is no process for it: [Errno 24] Too many open files"
    assert housekeeping.tend(lambda: command, 4.0 + AGAIN_S) is None
    words = wait_for(lambda: housekeeping.tend(lambda: command, 5.0 + AGAIN_S), "its end")
    assert words.endswith("ValueError")
