"""The commands that answer from files: history, logs, next; and what all commands share."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys

import pytest

from tests.support import DEADLINE_S, STSD, Stsd, clean_environment, wait_for

PAST = """
[jobs.good]
command = "echo fine"
on_start = true
[jobs.bad]
command = "printf 'oh \\u001b[31mno\\n'; exit 4"
on_start = true
retry = { max = 1, delay = "0.1s" }
"""


@pytest.fixture
def past(stsd: Stsd) -> Stsd:
    """A folder in which both jobs have run, the bad one twice."""
    stsd.write(PAST.replace("\\u001b", "\\\\033"))
    stsd.start()
    stsd.wait_for_record("finished", "good")
    stsd.wait_for_record("finished", "bad", 2)
    assert stsd.stop() == 0
    return stsd


def on_a_terminal(words: list[str]) -> str:
    """What the command prints when its standard output is a terminal."""
    ours, theirs = pty.openpty()
    environment = clean_environment() | {"TERM": "xterm"}
    process = subprocess.Popen([*STSD, *words], stdout=theirs, stdin=theirs, env=environment)
    os.close(theirs)
    printed = b""
    try:
        while block := os.read(ours, 4096):
            printed += block
    except OSError:  # the terminal's other end is closed: all is read
        pass
    finally:
        os.close(ours)
    assert process.wait(DEADLINE_S) == 0
    return printed.decode().replace("\r\n", "\n")


# -- history


def test_history_prints_one_row_an_attempt_newest_first(past: Stsd) -> None:
    rows = [line.split() for line in past.run("history").stdout.splitlines()]
    assert rows[0][:3] == ["SCHEDULED", "JOB", "OUTCOME"]
    assert sorted((row[2], row[3]) for row in rows[1:]) == [
        ("bad", "failed"),
        ("bad", "failed"),
        ("good", "succeeded"),
    ]
    assert rows[1][2:4] == ["bad", "failed"]


def test_history_says_how_an_attempt_failed_and_that_another_follows(past: Stsd) -> None:
    text = past.run("history", "bad").stdout
    assert "attempt 2, exit 4" in text
    assert "exit 4, next attempt at" in text


def test_history_as_json_prints_the_records_themselves(past: Stsd) -> None:
    records = past.history("bad")
    kinds = ("schedule", "intent", "started", "finished")
    written = [r for kind in kinds for r in past.records(kind, "bad")]
    assert sorted(map(json.dumps, records)) == sorted(map(json.dumps, written))
    attempts = [r["event"] for r in records if "attempt" in r]
    assert attempts == ["intent", "started", "finished"] * 2


def test_history_filters_by_outcome_and_time_and_number(past: Stsd) -> None:
    assert {r["job"] for r in past.history("--outcome", "succeeded")} == {"good"}
    assert past.history("--since", "in 1h") == []
    since = past.history("--since", "1h")
    assert [r["event"] for r in since].count("finished") == 3
    assert len(past.run("history", "-n", "1").stdout.splitlines()) == 2


def test_history_of_a_running_job_shows_its_start(stsd: Stsd) -> None:
    stsd.write('[jobs.long]\ncommand = "sleep 100"\non_start = true\nstop_grace = "1s"\n')
    stsd.start()
    stsd.wait_for_record("started", "long")
    assert "started" in stsd.run("history").stdout


def test_history_needs_no_valid_jobs_only_to_know_where_it_is(past: Stsd) -> None:
    with past.jobfile.open("a") as file:
        file.write('\n[jobs.broken]\ncommand = "x"\nevery = "never"\n')
    assert past.run("history").returncode == 0


def test_history_into_a_pipe_that_closes_is_no_error(past: Stsd) -> None:
    command = [*STSD, "history", "-c", str(past.jobfile), "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.wait(DEADLINE_S)


def test_colours_appear_on_a_terminal_alone(past: Stsd) -> None:
    words = ["history", "-c", str(past.jobfile)]
    assert "\x1b[31mfailed" in on_a_terminal(words)
    assert "\x1b" not in past.run("history").stdout


# -- logs


def test_logs_of_a_job_are_its_last_run_with_all_attempts(past: Stsd) -> None:
    text = past.run("logs", "bad").stdout
    assert text.count("oh \x1b[31mno") == 2
    assert "attempt 2 <==" in text


def test_logs_of_a_run_and_of_a_single_attempt_are_the_bare_bytes(past: Stsd) -> None:
    run_id = past.records("finished", "good")[0]["run"]
    assert past.run("logs", run_id).stdout == "fine\n"
    assert past.run("logs", "good").stdout == "fine\n"


def test_logs_without_a_name_show_the_last_runs_of_all(past: Stsd) -> None:
    text = past.run("logs").stdout
    assert "fine" in text
    assert "==> bad@" in text


def test_logs_of_nothing_say_so(past: Stsd) -> None:
    for subject in ("nobody", "good@20000101T000000Z", "../../etc@passwd"):
        done = past.run("logs", subject)
        assert done.returncode == 1
        assert "no output of" in done.stderr


def test_on_a_terminal_the_output_of_a_job_cannot_give_orders(past: Stsd) -> None:
    text = on_a_terminal(["logs", "-c", str(past.jobfile), "bad"])
    assert "oh \\x1b[31mno" in text


@pytest.mark.slow
def test_logs_follow_from_run_to_run_and_attempt_to_attempt(stsd: Stsd) -> None:
    stsd.write(
        """
        [jobs.tick]
        command = "echo tick $STSD_RUN_ID $STSD_ATTEMPT; test $STSD_ATTEMPT = 2"
        every = "1s"
        retry = { max = 1, delay = "0.1s" }
        """
    )
    stsd.start()
    log = stsd.folder / "followed"
    with log.open("wb") as out:
        command = [*STSD, "logs", "-c", str(stsd.jobfile), "tick", "-f"]
        process = subprocess.Popen(command, stdout=out)
    try:
        wait_for(lambda: log.read_text().count("tick tick@") >= 6, "six attempts")
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130
    lines = [line for line in log.read_text().splitlines() if line.startswith("tick ")]
    assert len(lines) == len(set(lines))
    assert lines == sorted(lines)


# -- next


def test_next_merges_jobs_in_the_order_of_time(stsd: Stsd) -> None:
    stsd.write(
        """
        [jobs.noon]
        command = "true"
        at = "12:00"
        timezone = "UTC"
        [jobs.six]
        command = "true"
        cron = "0 */6 * * *"
        timezone = "America/New_York"
        """
    )
    done = stsd.run("next", "--json", "--from", "2026-11-21T00:00Z", "-n", "5")
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"job": "six", "at": "2026-11-21T00:00:00-05:00"},
        {"job": "six", "at": "2026-11-21T06:00:00-05:00"},
        {"job": "noon", "at": "2026-11-21T12:00:00+00:00"},
        {"job": "six", "at": "2026-11-21T12:00:00-05:00"},
        {"job": "six", "at": "2026-11-21T18:00:00-05:00"},
    ]


def test_next_until_prints_all_up_to_then(stsd: Stsd) -> None:
    words = ["--every", "1h", "--from", "2026-11-21T00:00Z", "--until", "2026-11-22T00:00Z"]
    assert len(stsd.run("next", *words, "--json").stdout.splitlines()) == 24


def test_next_marks_what_a_change_of_the_clocks_has_moved(stsd: Stsd) -> None:
    words = ["--cron", "30 2 * * *", "--timezone", "America/New_York", "--from", "2026-03-07T12:00"]
    row = stsd.run("next", *words, "-n", "1").stdout.splitlines()[-1]
    assert row.startswith("Sun 2026-03-08 03:00:00 -04:00")
    assert "02:30 does not exist" in row


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--cron", "61 * * * *"], "61"),
        (["--cron", "* * * *"], "field"),
        (["--every", "0s"], "0s"),
        (["--at", "25:00"], "25"),
        (["--every", "1h", "--timezone", "Europe/Berln"], "Europe/Berlin"),
        (["nobody"], "no job nobody"),
        (["-n", "0"], "-n"),
        (["--every", "1h", "--from", "soonish"], "soonish"),
    ],
)
def test_next_refuses_in_a_sentence(stsd: Stsd, words: list[str], complaint: str) -> None:
    done = stsd.run("next", *words)
    assert done.returncode == 2
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr


# -- all commands


def test_version_and_help_import_none_of_the_core() -> None:
    program = (
        "import sys; from stsd.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "print([name for name in sys.modules if name.startswith('stsd.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "['stsd.cli']"


@pytest.mark.parametrize("command", ["run", "check", "next", "history", "logs", "why"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    done = subprocess.run([*STSD, command, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    assert f"  stsd {command}" in done.stdout


def test_the_jobfile_is_found_by_option_then_variable_then_folder(stsd: Stsd) -> None:
    stsd.write('[jobs.by-option]\ncommand = "true"\nevery = "1h"\n')
    (stsd.folder / "other").mkdir()
    other = Stsd(stsd.folder / "other", '[jobs.by-variable]\ncommand = "true"\nevery = "1h"\n')

    def shown(*words: str, **environ: str) -> str:
        env = clean_environment() | environ
        command = [*STSD, "next", "-n", "1", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=stsd.folder)
        return done.stdout + done.stderr

    assert "by-option" in shown("-c", str(stsd.jobfile), STSD_CONFIG=str(other.jobfile))
    assert "by-variable" in shown(STSD_CONFIG=str(other.jobfile))
    assert "by-option" in shown()
    stsd.jobfile.unlink()
    assert "/etc/stsd/jobs.toml" in shown()
