"""`stsd notify --test`: tells the targets of a job one of each event, to see whether it arrives."""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stsd.addressees import public
from stsd.child import process_of
from stsd.cli.common import config_path, files_of, print_json, visible
from stsd.cli.selection import Jobs, Selection, newest
from stsd.cli.table import Column, cell, table
from stsd.cli.talk import unknown_job
from stsd.cli.terminal import terminal_of, working, write
from stsd.cli.wording import instant_of
from stsd.errors import UsageError
from stsd.jobfile import load, machine_zone
from stsd.link import memory_file
from stsd.model import Job, Outcome
from stsd.notices import Event, Notice, Notify, Target
from stsd.parcel import item_for

EXAMPLE = """\
examples:
  stsd notify --test backup                    each event that somebody is told of, to each target
  stsd notify --test backup --event failed     this one alone
  stsd notify --test backup --json | jq 'select(.told | not)'

Each message says that it is a test. No daemon is needed, and none is asked: what is sent here
waits for no quiet hours and goes into no digest. Dead man's switches (ping) are left alone."""

_COLUMNS = tuple(map(Column, ("TARGET", "EVENT", "TOLD", "WHAT CAME BACK")))
_SHADES = {True: "green", False: "red"}
_IN_A_TEST = {
    Event.FAILED: "exit code 1",
    Event.ATTEMPT_FAILED: "exit code 1, to be tried again",
    Event.RECOVERED: "it has succeeded again",
    Event.LATE: "it has not succeeded by its deadline",
    Event.MISSED: "stsd was not running when it was due",
    Event.SKIPPED: "the run before had not ended",
    Event.SLOW: "it takes longer than it should",
    Event.SILENT: "it has not succeeded for too long",
    Event.HELD: "the history cannot be written: No space left on device",
}
# Of those that are about a run, how that has ended, and its exit code.
_OF_RUNS: dict[Event, tuple[Outcome | None, int | None]] = {
    Event.FAILED: (Outcome.FAILED, 1),
    Event.ATTEMPT_FAILED: (Outcome.FAILED, 1),
    Event.RECOVERED: (Outcome.SUCCEEDED, 0),
    Event.SLOW: (None, None),
}


@dataclass(frozen=True, slots=True)
class _Trial:
    """One message that was tried, and what became of it."""

    target: str
    event: Event
    told: bool
    said: str


def configure(parser: argparse.ArgumentParser) -> None:
    """The options of `stsd notify`."""
    parser.add_argument("job", metavar="JOB", help="the job whose targets are told")
    parser.add_argument(
        "--test", action="store_true", help="say that it is a test; there is nothing else to send"
    )
    parser.add_argument(
        "--event",
        action="append",
        choices=[event.value for event in Event],
        help="only this event (again for more)",
    )
    parser.add_argument("--json", action="store_true", help="one JSON line a message")


def run(arguments: argparse.Namespace) -> int:
    """Tell, and show what came back: 0 if everybody was told of everything."""
    if not arguments.test:
        raise UsageError(
            f"only tests are sent by hand (stsd notify --test {visible(arguments.job)})"
        )
    path = config_path(arguments)
    jobfile = load(path, local_zone=machine_zone())
    job = jobfile.jobs.get(arguments.job)
    if job is None:
        raise unknown_job(arguments.job, jobfile.jobs, path)
    notify, events = _asked_for(job, arguments.event or [])
    log_dir = files_of(jobfile.settings, path).log_dir
    trials = _tried(job, notify, events, path.absolute(), log_dir)
    if arguments.json:
        for trial in trials:
            print_json(
                {
                    "job": job.name,
                    "target": trial.target,
                    "event": trial.event,
                    "told": trial.told,
                    "said": trial.said,
                }
            )
    else:
        # What came back is what one wants to read: nothing of it is cut off.
        terminal = replace(terminal_of(sys.stdout), columns=None)
        write(table(_COLUMNS, [_row(trial) for trial in trials], terminal), sys.stdout)
    return 0 if all(trial.told for trial in trials) else 1


def _asked_for(job: Job, words: list[str]) -> tuple[Notify, list[Event]]:
    """Who is told, and of what. Raises UsageError where that is nobody, or nothing."""
    if job.notify is None:
        remedy = 'add notify = { to = "mailto://..." } to the job or to [defaults]'
        raise UsageError(f"nobody is told of {job.name} ({remedy})")
    wanted = {Event(word) for word in words} or job.notify.on
    if unheard := sorted(wanted - job.notify.on):
        known = ", ".join(sorted(job.notify.on))
        raise UsageError(f"nobody is told of {job.name}: {', '.join(unheard)} (on: {known})")
    return job.notify, [event for event in Event if event in wanted]


def _row(trial: _Trial) -> list[Any]:
    return [
        cell(trial.target),
        cell(trial.event),
        cell("yes" if trial.told else "no", _SHADES[trial.told]),
        cell(trial.said),
    ]


# -- what is told


def _tried(
    job: Job, notify: Notify, events: list[Event], jobfile: Path, log_dir: Path
) -> list[_Trial]:
    """All targets are told at the same time, so that one that hangs holds up no other."""
    last, now = _last_run(job, log_dir), time.time()
    notices = [_sample(event, job, now, last) for event in events]
    started = [_begun(target, notices, job, jobfile, log_dir, now) for target in notify.to]
    trials = []
    with working("telling"):
        for target, child in zip(notify.to, started, strict=True):
            printed, _ = child.communicate()
            answers = [json.loads(line) for line in printed.splitlines()]
            trials += [_trial(target, *each) for each in zip(events, answers, strict=False)]
            trials += [
                _Trial(public(target), event, told=False, said="the process that tells has ended")
                for event in events[len(answers) :]
            ]
    return trials


def _begun(
    target: Target, notices: list[Notice], job: Job, jobfile: Path, log_dir: Path, now: float
) -> subprocess.Popen[bytes]:
    """The process that tells a target of all of it, one after the other."""
    host, jobs = socket.gethostname(), {job.name: job}
    items = [
        item_for(
            str(uuid.uuid4()),
            target,
            [notice],
            jobs,
            jobfile=jobfile,
            log_dir=log_dir,
            host=host,
            now=now,
            test=True,
        )
        for notice in notices
    ]
    lines = "".join(f"{json.dumps(item)}\n" for item in items)
    with open(memory_file("items", lines.encode()), "rb") as given:
        return subprocess.Popen(process_of("deliver"), stdin=given, stdout=subprocess.PIPE, cwd="/")


def _trial(target: Target, event: Event, answer: Mapping[str, Any]) -> _Trial:
    place = answer["place"] or public(target)
    return _Trial(visible(place), event, told=answer["ok"], said=visible(answer["said"]))


def _last_run(job: Job, log_dir: Path) -> dict[str, Any] | None:
    """The last end of an attempt of the job, so that the test looks like the real thing."""
    wanted = Selection(Jobs(frozenset({job.name})), ended=True)
    with suppress(PermissionError):
        ends = (each for each in newest(log_dir, wanted) if each["event"] == "finished")
        return next(ends, None)
    return None


def _sample(event: Event, job: Job, now: float, last: Mapping[str, Any] | None) -> Notice:
    notice = Notice(event, job.name, now, _IN_A_TEST[event])
    if event is Event.RECOVERED:
        notice = replace(notice, since=now - 3600, ended=(Event.FAILED,))
    if event is Event.ATTEMPT_FAILED:
        notice = replace(notice, will_retry_at=now + 10)
    if event in _OF_RUNS and last is not None:
        with suppress(KeyError, TypeError, ValueError):  # a byte of the record may have flipped
            return _of_run(notice, last)
    return notice


def _of_run(notice: Notice, last: Mapping[str, Any]) -> Notice:
    """The notice as if it were of this run."""
    outcome, exit_code = _OF_RUNS[notice.event]
    return replace(
        notice,
        outcome=outcome,
        exit_code=exit_code,
        run=last["run"],
        scheduled=int(instant_of(last["scheduled"])),
        trigger=last["trigger"],
        attempt=last["attempt"],
        duration_s=last["duration_s"],
        output=last["output"],
        output_bytes=last["output_bytes"],
    )
