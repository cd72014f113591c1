"""Children that are not stsd's own."""

from __future__ import annotations

import os
import subprocess
import time

import pytest

from stsd.strangers import PATIENCE_S, PAUSE_S, Strangers
from tests.support import wait_for


def ended_child(session: bool) -> int:
    """A child that has ended and that nobody has waited for."""
    process = subprocess.Popen(["true"], start_new_session=session)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    process.returncode = 0
    return process.pid


def is_left(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False


def test_an_orphan_that_leads_no_session_is_reaped_at_once() -> None:
    pid = ended_child(session=False)
    Strangers(set()).reap(0.0)
    assert not is_left(pid)


def test_what_could_be_stsds_own_is_left_to_its_owner_for_a_while() -> None:
    strangers = Strangers(set())
    pid = ended_child(session=True)
    strangers.reap(100.0)
    strangers.reap(100.0 + PATIENCE_S - 2 * PAUSE_S)
    assert is_left(pid)
    strangers.reap(100.0 + PATIENCE_S)
    assert not is_left(pid)


def test_the_wait_begins_anew_for_another_child_of_the_same_pid() -> None:
    strangers = Strangers(set())
    first = ended_child(session=True)
    strangers.reap(100.0)
    os.waitpid(first, 0)
    strangers.reap(101.0)
    second = ended_child(session=True)
    strangers.reap(100.0 + PATIENCE_S)
    assert is_left(second)
    os.waitpid(second, 0)


def test_they_are_not_looked_for_at_every_turn() -> None:
    strangers = Strangers(set())
    strangers.reap(100.0)
    pid = ended_child(session=False)
    strangers.reap(100.0 + PAUSE_S / 2)
    assert is_left(pid)
    strangers.reap(100.0 + PAUSE_S)
    assert not is_left(pid)


def test_one_that_is_left_to_its_owner_hides_no_other() -> None:
    own, orphan = ended_child(session=True), ended_child(session=False)
    Strangers(set()).reap(0.0)
    assert (is_left(own), is_left(orphan)) == (True, False)
    os.waitpid(own, 0)


def test_a_child_that_was_disowned_is_reaped_when_it_ends() -> None:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True)
    disowned = {process.pid}
    strangers = Strangers(disowned)
    strangers.reap(0.0)
    assert disowned == {process.pid}
    assert process.stdin is not None
    process.stdin.close()
    wait_for(lambda: strangers.reap(time.monotonic()) or not disowned, "the child to be reaped")
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, 0)
    process.returncode = 0


def test_running_children_are_left_alone() -> None:
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    Strangers(set()).reap(0.0)
    process.communicate()
    assert process.returncode == 0
