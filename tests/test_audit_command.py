"""`stsd audit` as a user calls it, on files."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from stsd.recovery import born
from stsd.units import rfc3339
from tests.support import Stsd
from tests.support_audit import T0, Past, minute, minutes


@pytest.fixture
def past() -> Past:
    return Past().daemon().plan().run(*minutes(1, 3)).skipped(minute(4)).run(minute(5))


def put(stsd: Stsd, past: Past, marks: dict[str, Any] | None = None) -> None:
    past.write(stsd.folder / "log")
    if marks is not None:
        (stsd.folder / "state").mkdir(exist_ok=True)
        (stsd.folder / "state" / "state.json").write_text(json.dumps(marks))


def marks(upto: int, job: str = "job") -> dict[str, Any]:
    book = {"plan": {"cron": ["* * * * *"]}, "since": T0, "mark": upto}
    return {"version": 1, "at": rfc3339(upto + 1.5), "jobs": {job: book}, "runs": []}


def test_books_that_balance_end_with_a_sentence_and_exit_0(stsd: Stsd, past: Past) -> None:
    put(stsd, past.plan(None, since=minute(5)), marks(minute(5)))
    done = stsd.run("audit")
    assert (done.returncode, done.stderr) == (0, "")
    head, row, sentence = [line.split() for line in done.stdout.splitlines()]
    assert head == ["JOB", "DEMANDED", "RUN", "SKIPPED", "MISSED", "PENDING", "DISCREPANCIES"]
    assert row == ["job", "5", "4", "1", "0", "0", "0"]
    assert " ".join(sentence).startswith("the books balance: 5 occurrences of 1 job since 2026-11-")


def test_books_that_do_not_balance_say_where_and_exit_1(stsd: Stsd, past: Past) -> None:
    put(stsd, past.run(minute(9)), marks(minute(9)))
    done = stsd.run("audit")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert "lost" in lines[1]
    assert "3 until" in lines[1]
    assert "the books do not balance: 3 lost; " in lines[-1]


def test_what_the_state_does_not_vouch_for_is_pending(stsd: Stsd, past: Past) -> None:
    put(stsd, past, marks(minute(5)))
    done = stsd.run("audit")
    assert done.returncode == 0
    assert "more pending" in done.stdout


def test_what_the_state_vouches_for_has_to_be_there(stsd: Stsd, past: Past) -> None:
    put(stsd, past, marks(minute(6)))
    assert stsd.run("audit").returncode == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 1, "jobs": {"job": 7}}', '{"at": 1}'])
def test_a_state_that_cannot_be_read_is_told_and_done_without(
    stsd: Stsd, past: Past, text: str
) -> None:
    put(stsd, past, marks(minute(6)))
    (stsd.folder / "state" / "state.json").write_text(text)
    done = stsd.run("audit")
    assert done.returncode == 0
    assert "state.json: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_books_of_a_daemon_balance_while_it_runs_and_after_it_was_killed(
    stsd: Stsd,
) -> None:
    stsd.write(
        """
        [jobs.quick]
        command = "true"
        every = 1

        [jobs.slow]
        command = "sleep 2.5"
        every = 1
        overlap = "queue"
        """
    )
    with stsd:
        stsd.wait_for_record("finished", "slow")
        running = stsd.run("audit")
        assert (running.returncode, running.stderr) == (0, ""), running.stdout
    stsd.start()
    stsd.wait_for_record("finished", "slow", 3)
    assert stsd.stop() == 0
    stopped = stsd.run("audit", "--json")
    assert stopped.returncode == 0, stopped.stdout
    assert [json.loads(line) for line in stopped.stdout.splitlines()][-1]["run"] > 2


def test_nothing_recorded_is_no_fault(stsd: Stsd) -> None:
    done = stsd.run("audit")
    assert (done.returncode, done.stdout) == (0, "nothing is on the books yet\n")


def test_a_job_that_is_not_on_the_books_is_a_misuse_with_a_suggestion(
    stsd: Stsd, past: Past
) -> None:
    put(stsd, past)
    done = stsd.run("audit", "jbo")
    assert done.returncode == 2
    assert "no job jbo is on the books (did you mean job?)" in done.stderr


def test_as_json_each_line_is_an_object_of_fixed_fields(stsd: Stsd, past: Past) -> None:
    put(stsd, past.run(minute(8)), marks(minute(8)))
    done = stsd.run("audit", "--json")
    assert done.returncode == 1
    fault, job, books = [json.loads(line) for line in done.stdout.splitlines()]
    assert fault == {
        "event": "discrepancy",
        "job": "job",
        "kind": "lost",
        "first": "2026-11-21T10:06:00Z",
        "last": "2026-11-21T10:07:00Z",
        "count": 2,
        "details": "nothing is on record",
        "run": None,
    }
    counts = ("event", "job", "since", "run", "skipped", "missed", "discrepancies")
    assert [job[name] for name in counts] == ["job", "job", "2026-11-21T10:00:00Z", 5, 1, 0, 1]
    assert (books["event"], books["balanced"], books["damaged"]) == ("books", False, 0)


def test_as_json_nothing_recorded_is_one_line(stsd: Stsd) -> None:
    [line] = stsd.run("audit", "--json").stdout.splitlines()
    assert json.loads(line)["balanced"] is True


def test_since_and_job_narrow_it_down(stsd: Stsd, past: Past) -> None:
    past.run(minute(9))
    past.job = "other"
    put(stsd, past.plan().run(*minutes(1, 9)))
    assert stsd.run("audit", "other").returncode == 0
    assert stsd.run("audit", "job").returncode == 1
    assert stsd.run("audit", "--since", "2026-11-21T10:09:00Z").returncode == 0
    assert stsd.run("audit", "--since", "2026-11-21T10:08:00Z").returncode == 1


def test_damaged_lines_are_told_and_counted(stsd: Stsd, past: Past) -> None:
    past.lines.insert(3, b'{"event":"started\n')
    past.lines.insert(5, b'{"event":"skipped","job":"job","at":"soon"}\n')
    past.lines.insert(5, b"\xff\x00\n")
    folder = stsd.folder / "log" / "history"
    folder.mkdir(parents=True)
    (folder / "2026-11-21.jsonl").write_bytes(b"".join(past.lines))
    done = stsd.run("audit")
    assert done.returncode == 0
    assert done.stderr.count("a damaged line is passed over") == 3
    assert "(3 damaged lines passed over)" in done.stdout


def test_with_many_jobs_only_those_at_fault_have_a_row(stsd: Stsd) -> None:
    past = Past().daemon()
    for number in range(40):
        past.job = f"job{number:02}"
        past.plan().run(minute(1), minute(2 + (number == 17)))
    put(stsd, past)
    rows = stsd.run("audit").stdout.split("JOB ")[-1].splitlines()[1:-1]
    assert [row.split()[0] for row in rows] == ["job17", "all"]
    assert len(stsd.run("audit", "--all").stdout.splitlines()) == 40 + len(rows) + 4


def test_an_attempt_whose_process_lives_is_running_and_a_dead_one_is_unfinished(
    stsd: Stsd,
) -> None:
    birth = born(os.getpid())
    alive = Past().daemon().plan().intent(minute(1))
    alive.started(minute(1), pid=os.getpid(), born=birth).daemon(at=minute(2))
    put(stsd, alive, marks(minute(1)))
    assert stsd.run("audit").returncode == 0
    segment = stsd.folder / "log" / "history" / "2026-11-21.jsonl"
    segment.write_text(segment.read_text().replace(f'"born":{birth}', '"born":1'))
    done = stsd.run("audit")
    assert done.returncode == 1
    assert "unfinished" in done.stdout


def test_names_from_the_files_cannot_command_the_terminal(stsd: Stsd, past: Past) -> None:
    past.job = "evil\x1b[2J"
    put(stsd, past.plan().run(minute(1), minute(3)))
    done = stsd.run("audit")
    assert "\x1b" not in done.stdout
    assert "evil\\x1b[2J" in done.stdout
