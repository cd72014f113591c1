"""The books: what the schedules demanded against what is recorded.

Reckons over the records in the order in which they were written, each looked at once. Reads no
file and no clock: the state's marks, the present time and the look at a process are handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from math import floor
from typing import Any

from stsd.attempts import Attempts, check
from stsd.books import Books, Discrepancy, Kind, Marks, Tally
from stsd.errors import ScheduleError
from stsd.ledger import Ledger, Series, Verdict
from stsd.model import Outcome, TriggerKind
from stsd.plan import when_of
from stsd.sequels import Sequels
from stsd.triggers import Schedule, schedule_for

_UNTIMED = frozenset({TriggerKind.ON_START, TriggerKind.AFTER, TriggerKind.MANUAL})
_BEFORE_ALL = -(1 << 62)
_NEVER = Schedule()
# For so long may nothing have been recorded, with runs waiting, when the clock is set back.
_QUIET_S = 3600
_EVENTS = frozenset({"daemon", "schedule", "intent", "started", "finished", "skipped", "missed"})
_IN_ROWS = frozenset({Kind.TWICE, Kind.SURPLUS})


def audit(
    records: Iterable[Mapping[str, Any]],
    now: int,
    marks: Marks | None = None,
    lives: Callable[[int, int], bool] = lambda pid, born: False,
    job: str | None = None,
    since: int | None = None,
    damaged: Callable[[Mapping[str, Any]], None] = lambda record: None,
) -> Books:
    """Compare the records, the first written one first, with what their schedules demand.

    `now` ends what is counted as pending. `lives` tells whether a process of this boot, by its pid
    and its start in clock ticks, has not ended. Only `job`, and only what was scheduled at `since`
    or later, if given. JSON objects that are no records are handed to `damaged`.
    """
    auditor = _Auditor(job, _BEFORE_ALL if since is None else since - 1)
    for record in records:
        try:
            auditor.take(record)
        except (KeyError, TypeError, ValueError):
            damaged(record)
    return auditor.close(now, marks, lives)


@dataclass(slots=True)
class _Page:
    """All that is known of one job. There is a ledger more for each time that the clock was set
    back. `blind`: its schedule cannot be read. `untimed` holds hashes of run ids."""

    ledgers: list[Ledger] = field(default_factory=list)
    blind: bool = False
    untimed: set[int] = field(default_factory=set)
    faults: list[Discrepancy] = field(default_factory=list)
    run: int = 0
    skipped: int = 0
    missed: int = 0
    running: int = 0
    waiting: int = 0
    lost: int = 0


class _Auditor:
    """Takes the records in one by one; instants up to `floor` are not looked at."""

    def __init__(self, job: str | None, floor: int) -> None:
        self._only = job
        self._floor = floor
        self._pages: dict[str, _Page] = {}
        self._attempts = Attempts()
        self._sequels = Sequels()
        self._beginning: int | None = None
        self._unplanned: dict[str, Series] = {}
        self._daemons = 0
        self._written = _BEFORE_ALL
        self._turned = _BEFORE_ALL  # when the last record was written before the clock was set back

    def take(self, record: Mapping[str, Any]) -> None:
        """One record more; kinds that are not known are passed over. Raises KeyError, TypeError or
        ValueError, with nothing accounted for, where it is none."""
        event = record["event"]
        if event not in _EVENTS:
            return
        written = _floor(record["at"])
        if event == "schedule":
            self._begin(_instant(record["since"]), written)
        if event == "daemon":
            self._attempts.daemon(record["boot"])
            self._daemons += 1
        elif self._only is None or record["job"] == self._only:
            if event in ("intent", "started", "finished"):
                self._attempt(record, written)
            elif event == "skipped":
                self._skipped(record, written)
            elif event == "missed":
                self._missed(record, written)
            else:
                self._schedule(record)
        self._chain(record)
        self._written = written

    def close(self, now: int, marks: Marks | None, lives: Callable[[int, int], bool]) -> Books:
        """The books as they stand, after the last record."""
        for live, can_end in self._attempts.left(lives):
            if can_end:
                self._pages[live.job].running += 1
            else:
                details = f"attempt {live.attempt} began, and neither runs nor has an end"
                self._complain(live.job, Kind.UNFINISHED, _one(live.at), details, live.run)
        for job, count in self._sequels.pending():
            if job in self._pages:
                self._pages[job].waiting = count
        if self._beginning is None and self._daemons:
            for job, series in self._unplanned.items():
                self._complain(job, Kind.SURPLUS, series, "no schedule is on record")
        tallies = {
            job: self._balance(job, page, now, marks)
            for job, page in sorted(self._pages.items())
            if page.ledgers or page.faults or page.untimed
        }
        faults = [fault for page in self._pages.values() for fault in page.faults]
        return Books(tallies, tuple(sorted(faults, key=lambda fault: (fault.first, fault.job))))

    # -- what is demanded

    def _begin(self, since: int, written: int) -> None:
        """What was due before the first schedule is not known: history that was removed hands its
        schedules on, in force from where it ends."""
        if self._beginning is None:
            self._beginning = max(written, since)
        if self._written > written:
            self._turned = self._written

    def _schedule(self, record: Mapping[str, Any]) -> None:
        job, plan, since = record["job"], record["when"], _instant(record["since"])
        page = self._page(job)
        try:
            schedule = _NEVER if plan is None else schedule_for(when_of(plan), job)
        except (AttributeError, KeyError, ScheduleError, TypeError, ValueError) as error:
            page.blind = True
            self._complain(
                job,
                Kind.UNREADABLE,
                _one(since),
                f"its schedule cannot be read: {error}",
            )
            return
        ledger = page.ledgers[-1] if page.ledgers and not page.blind else None
        page.blind = False
        if ledger is None:
            page.ledgers.append(Ledger(since, schedule, self._floor))
        elif ledger.demand.is_current(schedule) and since == ledger.demand.sinces[-1]:
            return
        elif ledger.goes_back(since) or (
            ledger.demand.is_current(schedule) and since < self._turned
        ):
            ledger.end = max(ledger.head, self._turned + _QUIET_S)
            page.ledgers.append(Ledger(since, schedule, self._floor))
            page.untimed.clear()
        else:
            ledger.demand.change(since, schedule)

    # -- what accounts for it

    def _skipped(self, record: Mapping[str, Any], written: int) -> None:
        job, at = record["job"], _instant(record["scheduled"])
        page = self._page(job)
        if record.get("trigger") == TriggerKind.AFTER:
            page.skipped += at > self._floor and self._follow(job, at, run=False)
        elif record.get("trigger") not in _UNTIMED:
            verdict = self._settle(job, at, written)
            page.skipped += verdict is Verdict.FIRST
            self._judge(job, verdict, _one(at), "a skipped record")

    def _missed(self, record: Mapping[str, Any], written: int) -> None:
        first, last = _instant(record["first"]), _instant(record["last"])
        job, count = record["job"], record["count"]
        if not isinstance(count, int) or count < 1 or first > last:
            raise ValueError("no span")
        page = self._page(job)
        if page.blind or record.get("trigger") in _UNTIMED:
            return
        ledger = self._ledger(page, last, written)
        verdict, found = (
            (Verdict.TOO_EARLY, 0) if ledger is None else ledger.miss(first, last, count)
        )
        page.missed += found
        if verdict is Verdict.MISCOUNTED:
            self._miscounted(job, Series(first, last, count), found)
        else:
            verdict = self._strict(job, verdict, last)
            self._judge(job, verdict, Series(first, last, count), "a missed record")

    def _attempt(self, record: Mapping[str, Any], written: int) -> None:
        run, job, at = record["run"], record["job"], _instant(record["scheduled"])
        check(record)
        if run not in self._attempts:
            verdict = self._meet(job, run, TriggerKind(record["trigger"]), at, written)
            again = verdict is Verdict.AGAIN
            if verdict is Verdict.TOO_EARLY or (again and record["event"] != "intent"):
                return
            self._attempts.expect(run, job, at, record["attempt"] if again else 1)
        live, fault = self._attempts.follow(run, record)
        if fault is not None:
            self._complain(live.job, fault[0], _one(live.at), fault[1], run)
        elif (job, at) != (live.job, live.at):
            details = "tells another job or time than the run's first record"
            self._complain(live.job, Kind.SURPLUS, _one(at), details, run)

    def _meet(self, job: str, run: str, kind: TriggerKind, at: int, written: int) -> Verdict:
        """Account for a run of which nothing has been known."""
        page = self._page(job)
        if kind not in _UNTIMED:
            verdict = self._settle(job, at, written)
            page.run += verdict is Verdict.FIRST
            self._judge(job, verdict, _one(at), "a run")
            return verdict
        if self._beginning is None or at < self._beginning or at <= self._floor:
            return Verdict.TOO_EARLY
        if hash(run) in page.untimed:
            self._complain(job, Kind.TWICE, _one(at), "a run that had ended before", run)
            return Verdict.AGAIN
        page.untimed.add(hash(run))
        if kind is TriggerKind.AFTER:
            page.run += self._follow(job, at, run=True)
        return Verdict.FIRST

    def _settle(self, job: str, at: int, written: int) -> Verdict:
        page = self._page(job)
        if page.blind:
            return Verdict.TOO_EARLY
        ledger = self._ledger(page, at, written)
        return self._strict(job, Verdict.TOO_EARLY if ledger is None else ledger.settle(at), at)

    def _strict(self, job: str, verdict: Verdict, at: int) -> Verdict:
        """Before a job's first schedule nothing was demanded, but what was before the history
        begins nobody knows."""
        if verdict is not Verdict.TOO_EARLY or at <= self._floor:
            return verdict
        if self._beginning is None:
            known = self._unplanned.get(job, Series(at, at, 0))
            self._unplanned[job] = Series(known.first, at, known.count + 1)
            return verdict
        return Verdict.NOT_DEMANDED if at > self._beginning else verdict

    @staticmethod
    def _ledger(page: _Page, at: int, written: int) -> Ledger | None:
        """Where an instant is entered. What was due before the clock was set back may be recorded
        after it: such an instant lies ahead of the time at which it is written."""
        if not page.ledgers:
            return None
        last = page.ledgers[-1]
        if len(page.ledgers) > 1 and (at <= last.begin or at > written):
            for earlier in reversed(page.ledgers[:-1]):
                if earlier.wants(at):
                    return earlier
        return last

    def _chain(self, record: Mapping[str, Any]) -> None:
        """Notice what is due after others, whichever job is looked at."""
        job = record.get("job", "")
        if record["event"] == "schedule":
            self._lose(job, self._sequels.plan(job, record["when"]))
        elif record["event"] == "finished" and record["will_retry_at"] is None:
            self._sequels.ended(job, Outcome(record["outcome"]), _instant(record["at"]))

    def _follow(self, job: str, at: int, run: bool) -> bool:
        """Account for an instant that was due after others; whether it was."""
        due, lost = self._sequels.account(job, at, run)
        if not due:
            details = "was not due after any other job"
            self._complain(job, Kind.SURPLUS, _one(at), details)
        self._lose(job, lost)
        return due

    def _lose(self, job: str, instants: Iterable[int]) -> None:
        for at in instants:
            if job in self._pages and at > self._floor:
                self._pages[job].lost += 1
                details = "was due after another job, and nothing is on record"
                self._complain(job, Kind.LOST, _one(at), details)

    # -- what it comes to

    def _balance(self, job: str, page: _Page, now: int, marks: Marks | None) -> Tally:
        lost, pending = page.lost, page.waiting
        for ledger in page.ledgers:
            self._honour_claims(job, page, ledger)
            if ledger is page.ledgers[-1] and not page.blind:
                series, waiting = ledger.close(_horizon(page, job, marks), now)
            else:
                mark = _mark(page, job, marks)
                upto = ledger.latest if mark is None else min(ledger.latest, mark)
                series, waiting = ledger.close(upto, ledger.head)
            pending += waiting
            for one in series:
                lost += one.count
                self._complain(job, Kind.LOST, one, "nothing is on record")
        since = page.ledgers[0].begin if page.ledgers else self._beginning
        return Tally(
            since=0 if since is None else since,
            demanded=page.run + page.skipped + page.missed + pending + lost,
            run=page.run,
            skipped=page.skipped,
            missed=page.missed,
            pending=pending,
            running=page.running,
            discrepancies=len(page.faults),
        )

    def _honour_claims(self, job: str, page: _Page, ledger: Ledger) -> None:
        for claim in ledger.claims:
            found = ledger.honour(claim)
            page.missed += found
            if found != claim.count:
                self._miscounted(job, claim, found)

    def _page(self, job: str) -> _Page:
        page = self._pages.get(job)
        if page is None:
            if not isinstance(job, str):
                raise TypeError("a job's name is a text")
            page = self._pages[job] = _Page()
        return page

    def _miscounted(self, job: str, claim: Series, found: int) -> None:
        details = f"says {claim.count} missed, and {found} are left to be"
        self._complain(job, Kind.MISCOUNTED, replace(claim, count=1), details)

    def _judge(self, job: str, verdict: Verdict, series: Series, what: str) -> None:
        if verdict is Verdict.AGAIN:
            self._complain(job, Kind.TWICE, series, f"{what} of what was accounted for before")
        elif verdict is Verdict.NOT_DEMANDED:
            self._complain(job, Kind.SURPLUS, series, f"{what} of what no schedule demanded")

    def _complain(
        self, job: str, kind: Kind, series: Series, details: str, run: str | None = None
    ) -> None:
        """Note a fault. A row of the same one is a single, longer one."""
        faults = self._pages[job].faults
        fault = Discrepancy(job, kind, series.first, series.last, series.count, details, run)
        last = faults[-1] if faults else None
        same = last is not None and (last.kind, last.details, last.run) == (kind, details, None)
        if last is not None and same and kind in _IN_ROWS:
            faults[-1] = replace(last, last=series.last, count=last.count + series.count)
        else:
            faults.append(fault)


def _one(at: int) -> Series:
    return Series(at, at, 1)


def _mark(page: _Page, job: str, marks: Marks | None) -> int | None:
    """The job's mark, if it was made under a schedule of the page's last ledger. Old history may
    be gone, and the first schedule that is left begin later than it was said to."""
    mark = None if marks is None else marks.jobs.get(job)
    if mark is None:
        return None
    sinces = page.ledgers[-1].demand.sinces
    cut = len(page.ledgers) == 1 and mark.since < sinces[0]
    return mark.upto if cut or mark.since in sinces else None


def _horizon(page: _Page, job: str, marks: Marks | None) -> int:
    """Up to where the last ledger has to be complete."""
    ledger, mark = page.ledgers[-1], _mark(page, job, marks)
    if mark is not None:
        return mark
    ended = ledger.demand.sinces[-1]
    gone = marks is not None and job not in marks.jobs and ended <= marks.at
    if gone and ledger.demand.is_current(_NEVER):
        return max(ledger.latest, ended)
    return ledger.latest


def _floor(text: str) -> int:
    """The second in which an RFC 3339 instant lies, since the epoch."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no offset")
    return floor(moment.timestamp())


# The records of one occurrence follow each other, and jobs are due together.
_instant = lru_cache(maxsize=1 << 12)(_floor)
