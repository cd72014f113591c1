"""Why a job ran, or did not run, at a time: what the records say of it, in words.

Decides on what it is handed: the evidence of the history, the job as the jobfile has it now, and
what the daemon says of the present. Reads no file and no clock.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from stsd.evidence import Evidence, Record, Skip, Tale
from stsd.model import MissReason, Outcome, SkipReason, TriggerKind
from stsd.notdue import Asked, why_not_due
from stsd.present import Present
from stsd.records import ending_in_words
from stsd.units import compact, escaped, format_duration, from_rfc3339

MOST = 20
"""So many occurrences are told of one question."""
_LATE_S = 1.0


class Verdict(StrEnum):
    """What became of a job at a time."""

    RAN = "ran"
    RUNNING = "running"
    RETRYING = "waits for a retry"
    QUEUED = "queued"
    SKIPPED = "skipped"
    MISSED = "missed"
    OPEN = "not accounted for yet"
    LOST = "unaccounted for"
    COMING = "to come"
    NOT_DUE = "not due"


@dataclass(frozen=True, slots=True)
class Answer:
    """One occurrence, or that there is none: `because` is a sentence, `details` are more of them.
    `at` is the instant for which it was due, of what was not due the one asked about;
    `evidence` are records of the history."""

    job: str
    at: int
    verdict: Verdict
    because: str
    details: tuple[str, ...] = ()
    run: str | None = None
    evidence: tuple[Record, ...] = ()


def answers(evidence: Evidence, asked: Asked, present: Present) -> list[Answer]:
    """An answer for each occurrence in the time asked about, in their order, at most MOST; else one
    that says why there was none."""
    reasoning = _Reasoning(evidence, asked, present)
    found = [reasoning.of(at) for at in islice(reasoning.due(), MOST)]
    found += reasoning.others(found)
    if found:
        return sorted(found, key=lambda answer: answer.at)[:MOST]
    because, details = why_not_due(evidence, asked, present.job, present.now)
    return [Answer(evidence.job, asked.at, Verdict.NOT_DUE, because, details)]


class _Reasoning:
    """One question."""

    def __init__(self, evidence: Evidence, asked: Asked, present: Present) -> None:
        self._evidence = evidence
        self._asked = asked
        self._present = present

    def due(self) -> Iterator[int]:
        """The occurrences that the schedules in force demanded, or will."""
        instant = self._asked.begin - 1
        while instant < self._asked.end:
            following = self._next_after(instant)
            if following is None or following >= self._asked.end:
                return
            yield following
            instant = following

    def of(self, at: int) -> Answer:
        """What became of one occurrence."""
        tale = self._tale_of(at)
        if tale is not None:
            return self.of_run(tale)
        for skip in self._evidence.skips:
            by_time = skip.record.get("trigger", TriggerKind.CRON) in _BY_TIME
            if by_time and from_rfc3339(skip.record["scheduled"]) == at:
                return self.of_skip(skip)
        for record in self._evidence.misses:
            if from_rfc3339(record["first"]) <= at <= from_rfc3339(record["last"]):
                return self._missed(at, record)
        if at > self._present.now:
            return self._coming(at)
        return self._open(at)

    def others(self, told: list[Answer]) -> Iterator[Answer]:
        """What is on record besides what has been told: of runs that no schedule asked for, or that
        were due at another time, and of schedules that are not on record any more."""
        runs = {answer.run for answer in told}
        known = {id(record) for answer in told for record in answer.evidence}
        for run, tale in self._evidence.tales.items():
            if run not in runs:
                yield self.of_run(tale)
        for skip in self._evidence.skips:
            if id(skip.record) not in known:
                yield self.of_skip(skip)
        for record in self._evidence.misses:
            if id(record) not in known and not told:
                yield self._missed(int(from_rfc3339(record["first"])), record)

    # -- what is on record

    def of_run(self, tale: Tale) -> Answer:
        """A run, from its attempts."""
        last = tale.records[-1]
        attempts = tuple(self._attempts(tale))
        details = (*self._late(tale), *attempts)
        if last["event"] != "finished":
            verdict, because = Verdict.RUNNING, self._running(tale)
        elif not tale.over:
            due = self._shown(from_rfc3339(last["will_retry_at"]))
            verdict = Verdict.RETRYING
            because = f"attempt {last['attempt']} {_ended(last)}, and the next one is due at {due}"
        else:
            verdict, because = Verdict.RAN, _ran(tale)
        return self._answer(tale.scheduled, verdict, because, details, tale.run, tale.records)

    def of_skip(self, skip: Skip) -> Answer:
        """An occurrence that was not run on purpose."""
        record = skip.record
        at, when = int(from_rfc3339(record["scheduled"])), from_rfc3339(record["at"])
        detail = escaped(str(record.get("detail") or ""))
        details: list[str] = []
        evidence = [record]
        match record.get("reason"):
            case SkipReason.OVERLAP:
                because = "it was skipped: an earlier run had not ended"
                details += [self._blocker(tale) for tale in skip.live[:3]]
                evidence += [tale.records[-1] for tale in skip.live[:3]]
                if len(skip.live) > 3:
                    details.append(f"and {len(skip.live) - 3} runs more")
                if self._present.job is not None:
                    details.append(f'by its policy: overlap = "{self._present.job.overlap}"')
            case SkipReason.PAUSED:
                because = "it was skipped: the job was paused"
                pause = self._evidence.pause_before(when)
                if pause is not None:
                    details.append(self._pause(pause))
                    evidence.append(pause)
                    detail = ""  # it says the same
            case SkipReason.CONDITION:
                because = "it was skipped: what it needs was not so"
            case SkipReason.SUPERSEDED:
                because = "it was skipped before it had started: something else took its place"
                details += self._replaced(when)
            case other:
                because = f"it was skipped: {escaped(str(other))}"
        if detail:
            because = f"{because}: {detail}"
        return self._answer(
            at, Verdict.SKIPPED, because, tuple(details), record.get("run"), evidence
        )

    def _missed(self, at: int, record: Record) -> Answer:
        written, count = from_rfc3339(record["at"]), record["count"]
        first, last = (self._shown(from_rfc3339(record[name])) for name in ("first", "last"))
        details: list[str] = []
        match record["reason"]:
            case MissReason.DOWN:
                because = "it was missed: stsd was not running"
                details += self._downtime(written)
            case MissReason.SLEPT:
                because = (
                    "it was missed: the machine slept, stsd was stopped, or the clock was set"
                    " forward"
                )
                details.append(f"stsd noticed at {self._shown(written)}")
            case MissReason.HELD:
                because = "it was missed: the history could not be written"
            case other:
                because = f"it was missed: {escaped(str(other))}"
        if count > 1:
            details.append(f"with it {count - 1:,} others were missed, from {first} to {last}")
        job = self._present.job
        if job is not None:
            window = format_duration(job.catch_up_window)
            details.append(f'by its policy: catch_up = "{job.catch_up}", not older than {window}')
        return self._answer(at, Verdict.MISSED, because, tuple(details), None, [record])

    # -- what is not

    def _coming(self, at: int) -> Answer:
        ahead = format_duration(round(at - self._present.now))
        because, details = f"it is to come, in {ahead}", []
        row = self._present.row_of(self._evidence.job)
        pause = row.get("paused")
        if pause is not None and not _is_over(pause, at):
            because = f"{because}, and will be skipped: the job is paused"
            details.append(self._pause(pause | {"at": pause["since"]}))
        if self._present.daemon is None:
            details.append(f"by what is on record; {self._present.absent}")
        return self._answer(at, Verdict.COMING, because, tuple(details))

    def _open(self, at: int) -> Answer:
        present, job = self._present, self._evidence.job
        run_id = f"{job}@{compact(at)}"
        for run in present.row_of(job).get("running", ()):
            if run["run"] == run_id:
                because, details = present.why_waiting(job, run)
                return self._answer(at, Verdict.QUEUED, because, details, run_id)
        if present.daemon is None:
            because = f"it fell due, and nothing is on record of it yet: {present.absent}"
            details = ("stsd accounts for it when it starts: by a late run, or as missed",)
            return self._answer(at, Verdict.OPEN, because, details)
        because = "it was due, and nothing is on record; `stsd audit` checks all books"
        return self._answer(at, Verdict.LOST, because)

    # -- in words

    def _attempts(self, tale: Tale) -> Iterator[str]:
        for record in tale.records:
            number, when = record.get("attempt"), self._shown(from_rfc3339(record["at"]))
            if record["event"] == "started":
                yield f"attempt {number} started at {when}, {_lateness(record)}"
            elif record["event"] == "finished":
                retry = record["will_retry_at"]
                again = f"; the next one at {self._shown(from_rfc3339(retry))}" if retry else ""
                yield f"attempt {number} {_ended(record)} at {when}{again}"

    def _late(self, tale: Tale) -> Iterator[str]:
        """What kept a run that began well after it was due."""
        begun, due = from_rfc3339(tale.records[0]["at"]), tale.scheduled
        by_time = tale.records[0].get("trigger") in _BY_TIME
        if not by_time or begun - due < _LATE_S:
            return
        late = format_duration(begun - due)
        for start in self._evidence.starts:
            if due < start <= begun:
                yield f"it began {late} late: stsd was down, and caught up with it"
                yield from self._downtime(start)
                return
        yield f"it began {late} late: until then it waited for its turn"

    def _running(self, tale: Tale) -> str:
        last = tale.records[-1]
        since = self._shown(from_rfc3339(last["at"]))
        if self._present.daemon is None:
            return f"it began at {since}, and its end is not on record; {self._present.absent}"
        took = format_duration(max(0.0, self._present.now - from_rfc3339(last["at"])))
        return f"it has been running for {took}, attempt {last['attempt']}"

    def _blocker(self, tale: Tale) -> str:
        begun, last = tale.records[0], tale.records[-1]
        since = self._shown(from_rfc3339(begun["at"]))
        if not tale.over:
            return f"{tale.run} began at {since} and has not ended"
        end = self._shown(from_rfc3339(last["at"]))
        return f"{tale.run} went on from {since} to {end}, and {last['outcome']}"

    def _pause(self, pause: Record) -> str:
        by, until = pause.get("by"), pause.get("until")
        told = f"paused at {self._shown(from_rfc3339(pause['at']))}"
        told += f" by {escaped(str(by))}" if by else ""
        told += f" until {self._shown(from_rfc3339(until))}" if until else " until it is resumed"
        return f"{told}: {escaped(str(pause['reason']))}" if pause.get("reason") else told

    def _replaced(self, when: float) -> Iterator[str]:
        for plan in self._evidence.plans:
            if abs(plan.at - when) < _LATE_S:
                yield f"the job's schedule changed at {self._shown(plan.at)}"

    def _downtime(self, until: float) -> Iterator[str]:
        """The last start of stsd up to that time, and since when there had been none."""
        starts = [start for start in self._evidence.starts if start <= until + _LATE_S]
        if starts:
            up, sign = self._shown(starts[-1]), self._evidence.last_signs.get(starts[-1])
            before = "" if sign is None else f"its last sign before is of {self._shown(sign)}; "
            yield f"{before}it started at {up}"

    def _answer(
        self,
        at: int,
        verdict: Verdict,
        because: str,
        details: tuple[str, ...] = (),
        run: str | None = None,
        evidence: list[Record] | tuple[Record, ...] = (),
    ) -> Answer:
        return Answer(self._evidence.job, at, verdict, because, details, run, tuple(evidence))

    def _shown(self, instant: float) -> str:
        """`2026-11-21 02:30:00` on the asker's clock."""
        return self._asked.shown(instant)

    def _tale_of(self, at: int) -> Tale | None:
        for tale in self._evidence.tales.values():
            if tale.scheduled == at and tale.records[0].get("trigger") in _BY_TIME:
                return tale
        return None

    def _next_after(self, instant: int) -> int | None:
        return self._asked.next_after(self._evidence, instant)


_OF_TRIGGERS: Mapping[str, str] = {
    TriggerKind.MANUAL: " by hand",
    TriggerKind.AFTER: " after other jobs",
    TriggerKind.ON_START: " when stsd started",
}
_BY_TIME = frozenset({TriggerKind.CRON, TriggerKind.EVERY, TriggerKind.AT})


def _is_over(pause: Record, at: int) -> bool:
    return bool(pause["until"]) and from_rfc3339(pause["until"]) <= at


def _lateness(started: Record) -> str:
    late = started["late_s"]
    return "on time" if late < _LATE_S else f"{format_duration(late)} late"


def _ended(finished: Record) -> str:
    """How an attempt ended: `failed after 3.2s (exit 2)`."""
    took, why = finished["duration_s"], ending_in_words(finished)
    after = "" if took is None else f" after {format_duration(took)}"
    return f"{finished['outcome']}{after}" + (f" ({why})" if why else "")


def _ran(tale: Tale) -> str:
    first, last = tale.records[0], tale.records[-1]
    how = _OF_TRIGGERS.get(str(first.get("trigger")), "")
    if first["event"] == "finished" and last["outcome"] == Outcome.CANCELLED:
        return f"it was due{how}, and called off before it started: {ending_in_words(last)}"
    attempts = f" in {last['attempt']} attempts" if last["attempt"] > 1 else ""
    return f"it ran{how}{attempts}, and {_ended(last)}"
