"""The books of all jobs: since when which schedule is in force, and what is settled of it.

What fell due while nobody was there is settled here, and what others' ends make due is noticed.
What is demanded and what accounts for it goes to the history as records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import floor

from stsd.admission import Admission
from stsd.agenda import Agenda
from stsd.catchup import limit_of, settle, unsettled
from stsd.chains import Chains
from stsd.dispatch import Dispatch
from stsd.memory import BY_TIME, Book, Chain, Memory, instant_of
from stsd.messages import Action, Write
from stsd.model import Job, MissReason, Outcome, Reading, Run, SkipReason, TriggerKind
from stsd.plan import after_of, plan_of, when_of
from stsd.recent import Recent, followed
from stsd.records import Finished, Planned, Skipped
from stsd.triggers import Schedule, schedule_for
from stsd.units import rfc3339

# Debian's cron takes a step of more than three hours for a correction of the clock (cron(8));
# anything smaller is left to run out, so that nothing repeats.
CORRECTION_S = 3 * 3600.0


def is_kept(job: Job) -> bool:
    """Whether there is a book of the job: it falls due by the clock, or after others."""
    when = job.when
    return job.enabled and bool(when.cron or when.every or when.at or when.after)


class Accounts:
    """`_since` are the instants from which the books have been kept, by job; `_closed` those up to
    which they were kept of jobs that are gone, as long as a correction of the clock may come
    before that. `recent` is how the last runs of each job have ended."""

    def __init__(self, dispatch: Dispatch, admission: Admission) -> None:
        self._dispatch = dispatch
        self._admission = admission
        self._since: dict[str, int] = {}
        self._closed: dict[str, int] = {}
        self._chains = Chains()
        self._followed = 0  # of the actions of this step
        self.recent: dict[str, Recent] = {}

    def books(self, agendas: Iterable[Agenda]) -> dict[str, Book]:
        """The book of each job on these agendas."""
        books = {}
        for agenda in agendas:
            for job, schedule, mark in agenda.settled():
                books[job.name] = self._book(job, schedule, mark)
        return books

    def chains(self) -> dict[str, Chain]:
        """Where each job stands that is due after others."""
        return {
            job: Chain(met, tuple(run.scheduled for run in self._unstarted_after(job)))
            for job, met in self._chains.met().items()
        }

    @property
    def closed(self) -> dict[str, int]:
        """Up to which instants jobs that are gone have been accounted for, where that matters."""
        return dict(self._closed)

    def open(self, job: Job, now: Reading, since: int | None = None) -> None:
        """The job's schedule is in force from now on, or from the instant `since`; not before
        what is accounted for."""
        begin = floor(now.wall) if since is None else since
        self._since[job.name] = max(begin, self._closed.pop(job.name, begin))
        self._chains.enter(job.name, job.when.after)
        self._do(Write(Planned(job.name, job.when, self._since[job.name], now.wall)))

    def begun(self, jobs: Iterable[Job], marks: Mapping[str, int]) -> dict[str, int]:
        """The marks of these jobs, of none before its book begins."""
        begins = {job.name: self._since[job.name] for job in jobs}
        return {name: max(since, marks.get(name, since)) for name, since in begins.items()}

    def rewind(self) -> None:
        """The clock was set back for good: schedules begin anew, whatever was accounted for."""
        self._closed.clear()

    def close(self, job: str, now: Reading, since: int) -> None:
        """The job is not due any more from the instant `since` on."""
        del self._since[job]
        self._chains.leave(job)
        self._closed[job] = since
        self._do(Write(Planned(job, None, since, now.wall)))

    def settle(self, jobs: Mapping[str, Job], memory: Memory, now: Reading) -> dict[str, int]:
        """Account for the time without a daemon; returns the marks from which to go on."""
        marks: dict[str, int] = {}
        # Of each name and number one copy stays with the daemon, not one for each place it is at.
        own = {name: job.name for name, job in jobs.items()}
        begins: dict[int, int] = {}
        successes = memory.successes.items()
        self._dispatch.successes.update({own.get(name, name): at for name, at in successes})
        self.recent = {own[name]: known for name, known in memory.recent.items() if name in own}
        self._closed = _of_use(memory.closed, now)
        for name, book in memory.books.items():
            chain = memory.chains.get(name, Chain())
            self._chains.enter(own.get(name, name), after_of(book.plan), chain.met)
        gone = []
        for name, book in memory.books.items():
            job = jobs.get(name)
            if job is None or not is_kept(job) or plan_of(job.when) != book.plan:
                gone.append(name)
            elif book.mark <= now.wall + CORRECTION_S:
                self._since[job.name] = begins.setdefault(book.since, book.since)
                marks[job.name] = book.newest
                self._catch_up(job, book, now)
                self._catch_up_chain(job, memory.chains.get(name, Chain()), now)
        # What has ended unseen is for those to follow that did so then, and for none that begins.
        self.follow_up(jobs, now)
        for name in gone:
            self._chains.leave(name)
            self._close_chain(name, memory.chains.get(name, Chain()).due, now)
            self._close_book(name, memory.books[name], jobs.get(name), now)
        begin = floor(now.wall)
        for job in jobs.values():
            if is_kept(job) and job.name not in self._since:
                self.open(job, now, begin)
        return marks

    def forget(self, jobs: Iterable[str], now: Reading) -> None:
        """These jobs are gone."""
        self._closed = _of_use(self._closed, now)
        for name in jobs:
            self.recent.pop(name, None)
            self._dispatch.successes.pop(name, None)

    def conclude(self, jobs: Mapping[str, Job], now: Reading) -> list[Action]:
        """The actions of this step, with those that its ends bring."""
        self.follow_up(jobs, now)
        actions = list(self._dispatch.actions)
        self._dispatch.actions.clear()
        self._followed = 0
        return actions

    def follow_up(self, jobs: Mapping[str, Job], now: Reading) -> None:
        """Start what is due after the runs that have ended by now. Whoever reads the history goes
        by its order, so that this is to be done before a schedule begins or ends. What is due
        of a job that is not among the `jobs` is left out."""
        actions = self._dispatch.actions
        while self._followed < len(actions):
            action = actions[self._followed]
            self._followed += 1
            if isinstance(action, Write) and isinstance(action.record, Finished):
                self._follow_up(action.record, jobs, now)

    def _follow_up(self, end: Finished, jobs: Mapping[str, Job], now: Reading) -> None:
        if end.will_retry_at is not None:
            return
        before = self.recent.get(end.job)
        self.recent[end.job] = followed(before, end.outcome, end.at, end.duration_s)
        if end.outcome is Outcome.SUCCEEDED:
            self._dispatch.successes[end.job] = end.at
        for name in self._chains.ended(end.job, end.outcome):
            scheduled = instant_of(rfc3339(end.at))  # as a restart reads it off the record
            if name in self._since and name in jobs:
                self._admission.admit_untimed(jobs[name], TriggerKind.AFTER, now, scheduled)
            else:
                self._close_chain(name, [scheduled], now, "its schedule is another one from now on")

    def _catch_up(self, job: Job, book: Book, now: Reading) -> None:
        schedule = schedule_for(job.when, job.name)
        passed = unsettled(schedule, book, max(floor(now.wall), book.newest))
        run, missed = settle(schedule, passed, limit_of(job), now.wall - job.catch_up_window)
        self._admission.miss(job.name, missed, MissReason.DOWN, now)
        self._admission.admit(job, run, len(run), now)

    def _catch_up_chain(self, job: Job, chain: Chain, now: Reading) -> None:
        """Runs that were due after others when the last daemon ended."""
        recent = [due for due in chain.due if due >= now.wall - job.catch_up_window]
        limit = limit_of(job)
        run = recent[-limit:] if limit else []
        self._close_chain(job.name, chain.due[: len(chain.due) - len(run)], now)
        for due in run:
            self._admission.admit_untimed(job, TriggerKind.AFTER, now, due, caught_up=True)

    def _close_chain(
        self,
        name: str,
        dues: Sequence[int],
        now: Reading,
        detail: str = "not caught up with after a restart",
    ) -> None:
        for due in dues:
            skipped = Skipped(name, due, SkipReason.SUPERSEDED, now.wall, TriggerKind.AFTER, detail)
            self._do(Write(skipped))

    def _close_book(self, name: str, book: Book, job: Job | None, now: Reading) -> None:
        """What the old schedule still demanded has been missed: the jobfile has it no more."""
        schedule = schedule_for(when_of(book.plan), name)
        until = max(floor(now.wall), book.newest)
        passed = unsettled(schedule, book, until)
        _, missed = settle(schedule, passed, 0, 0.0)
        self._admission.miss(name, missed, MissReason.DOWN, now)
        self._closed |= _of_use({name: until}, now)
        if job is None or not is_kept(job):
            self._do(Write(Planned(name, None, self._closed.get(name, floor(now.wall)), now.wall)))

    def _book(self, job: Job, schedule: Schedule, mark: int) -> Book:
        """The book of a job; runs that have not started are not settled."""
        runs = self._dispatch.unstarted(job.name)
        waiting = {run.scheduled for run in runs if run.trigger in BY_TIME}
        plan, since = plan_of(job.when), self._since[job.name]
        if not waiting:
            return Book(plan, since, mark)
        low, settled = min(waiting) - 1, set()
        due = schedule.next_after(low)
        while due is not None and due.at <= mark:
            settled.add(due.at)
            due = schedule.next_after(due.at)
        return Book(plan, since, low, frozenset(settled - waiting))

    def _unstarted_after(self, job: str) -> list[Run]:
        runs = self._dispatch.unstarted(job)
        return [run for run in runs if run.trigger is TriggerKind.AFTER]

    def _do(self, action: Action) -> None:
        self._dispatch.actions.append(action)


def _of_use(closed: Mapping[str, int], now: Reading) -> dict[str, int]:
    """Those of the closings between which and now there may be a correction of the clock."""
    return {name: at for name, at in closed.items() if abs(at - now.wall) <= CORRECTION_S}
