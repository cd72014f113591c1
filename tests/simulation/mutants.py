"""Faults planted in stsd, each of which the simulation has to find."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

from stsd import catchup, history, triggers
from stsd.accounts import Accounts
from stsd.agenda import Agenda
from stsd.catchup import Passed
from stsd.dispatch import Dispatch
from stsd.history import History
from stsd.memory import Book
from stsd.messages import Commit
from stsd.model import SkipReason
from stsd.pauses import Pauses
from stsd.runqueue import RunQueue
from stsd.scheduler import Scheduler

Mutant = Callable[[], AbstractContextManager[Any]]


def the_fsync_is_left_out() -> AbstractContextManager[Any]:
    def claimed(self: History) -> None:
        self._safe_size = os.fstat(self._fd).st_size
        self._unsafe.clear()

    return mock.patch.object(History, "_sync_segment", claimed)


def the_folder_is_not_synced() -> AbstractContextManager[Any]:
    return mock.patch.object(history, "sync_folder", return_value=None)


def a_torn_line_is_not_cut() -> AbstractContextManager[Any]:
    return mock.patch.object(history, "_cut_torn_tail", lambda fd: os.fstat(fd).st_size)


def the_intent_comes_after_the_start() -> AbstractContextManager[Any]:
    whole = Dispatch.fill

    def fill(self: Dispatch, now: Any) -> None:
        whole(self, now)
        if self.actions and isinstance(self.actions[-1], Commit):
            commit = self.actions.pop()
            self.committed()
            self.actions.append(commit)

    return mock.patch.object(Dispatch, "fill", fill)


def the_mark_of_the_snapshot_is_too_high() -> AbstractContextManager[Any]:
    whole = Accounts._book

    def book(self: Accounts, *args: Any) -> Book:
        known = whole(self, *args)
        return replace(known, mark=known.mark + 7200)

    return mock.patch.object(Accounts, "_book", book)


def waiting_runs_count_as_settled() -> AbstractContextManager[Any]:
    return mock.patch.object(Dispatch, "unstarted", return_value=[])


def retries_are_forgotten_at_a_restart() -> AbstractContextManager[Any]:
    whole = Scheduler._resume

    def resume(self: Scheduler, memory: Any, now: Any) -> None:
        whole(self, replace(memory, delayed={}), now)

    return mock.patch.object(Scheduler, "_resume", resume)


def an_overlap_is_not_recorded() -> AbstractContextManager[Any]:
    whole = Dispatch._skip

    def skip(self: Dispatch, run: Any, reason: SkipReason, *rest: Any) -> None:
        if reason is not SkipReason.OVERLAP:
            whole(self, run, reason, *rest)

    return mock.patch.object(Dispatch, "_skip", skip)


def what_ran_is_caught_up_with() -> AbstractContextManager[Any]:
    whole = Accounts._catch_up

    def catch_up(self: Accounts, job: Any, book: Book, now: Any) -> None:
        whole(self, job, replace(book, settled=frozenset()), now)

    return mock.patch.object(Accounts, "_catch_up", catch_up)


def ends_before_a_restart_do_not_count_for_a_chain() -> AbstractContextManager[Any]:
    whole = Accounts.settle

    def settle(self: Accounts, jobs: Any, memory: Any, now: Any) -> Any:
        bare = {name: replace(chain, met=frozenset()) for name, chain in memory.chains.items()}
        return whole(self, jobs, replace(memory, chains=bare), now)

    return mock.patch.object(Accounts, "settle", settle)


def a_pool_is_never_full() -> AbstractContextManager[Any]:
    return mock.patch.object(RunQueue, "_is_full", return_value=False)


def one_missed_too_many() -> AbstractContextManager[Any]:
    whole = catchup._passed

    def passed(*args: Any) -> Passed | None:
        found = whole(*args)
        return found and replace(found, count=found.count + 1)

    return mock.patch.object(catchup, "_passed", passed)


def a_reload_forgets_the_marks() -> AbstractContextManager[Any]:
    whole = Agenda.enter

    def enter(self: Agenda, jobs: Any, now: float, marks: Any) -> None:
        whole(self, jobs, now, {})

    return mock.patch.object(Agenda, "enter", enter)


@contextmanager
def the_splay_is_rolled_anew() -> Iterator[None]:
    rolls = itertools.count(7, 13)
    triggers._schedule.cache_clear()
    with mock.patch.object(triggers, "_offset", lambda job, splay: splay and next(rolls) % splay):
        yield
    triggers._schedule.cache_clear()


def a_pause_is_forgotten_at_a_restart() -> AbstractContextManager[Any]:
    return mock.patch.object(Pauses, "recall", return_value=None)


def a_pause_never_ends_by_itself() -> AbstractContextManager[Any]:
    whole = Pauses.over

    def over(self: Pauses, job: str, instant: float) -> Any:
        return whole(self, job, float("-inf"))

    return mock.patch.object(Pauses, "over", over)


MUTANTS: list[Mutant] = [
    the_fsync_is_left_out,
    the_folder_is_not_synced,
    a_torn_line_is_not_cut,
    the_intent_comes_after_the_start,
    the_mark_of_the_snapshot_is_too_high,
    waiting_runs_count_as_settled,
    retries_are_forgotten_at_a_restart,
    an_overlap_is_not_recorded,
    what_ran_is_caught_up_with,
    ends_before_a_restart_do_not_count_for_a_chain,
    a_pool_is_never_full,
    one_missed_too_many,
    a_reload_forgets_the_marks,
    the_splay_is_rolled_anew,
    a_pause_is_forgotten_at_a_restart,
    a_pause_never_ends_by_itself,
]
