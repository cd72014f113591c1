"""`stsd status`: of a daemon, of its files, in all widths, and drawn anew each second."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stsd.cli import main
from stsd.cli.jobview import Known, in_depth
from stsd.cli.statusview import glance, summary
from stsd.cli.terminal import Terminal
from stsd.cli.wording import instant_of
from stsd.jobfile import load
from stsd.protocol import Trouble
from tests.support import DEADLINE_S, STSD, Stsd, clean_environment, wait_for
from tests.support_commands import ControlAlone, daemon_fields, done, refused, row
from tests.support_golden import assert_golden, shown

NOW = instant_of("2026-11-21T12:00:00Z")

JOBS = """
[jobs.backup]
description = "Nightly dump of the shop's data base"
command = "pg_dump app | zstd > /srv/backup/app.zst"
cron = "30 2 * * *"
timezone = "America/New_York"
timeout = "1h"
limits = { memory = "512M", cpu_time = "20m", open_files = 64 }
retry = { max = 3 }
pools = ["db"]
overlap = "queue"
priority = 2
tags = ["nightly", "db"]
[jobs.rates]
command = ["true"]
every = "5s"
"""

BACKUP = row(
    "backup",
    state="running",
    next="2026-11-22T02:30:00-05:00",
    last_outcome="succeeded",
    last_at="2026-11-20T07:35:12Z",
    running=[
        {
            "run": "backup@20261121T073000Z",
            "attempt": 2,
            "phase": "running",
            "since": "2026-11-21T11:57:50Z",
            "pid": 4712,
        }
    ],
    recent=[*[["succeeded", 300.0]] * 8, ["failed", 3.0], ["succeeded", 310.5]],
    usual_s=302.0,
    description="Nightly dump of the shop's data base",
    tags=["nightly", "db"],
    schedule="at 02:30",
)
PAUSED = row(
    "report-of-the-week-for-the-company",
    state="paused",
    next="2026-11-23T18:00:00+01:00",
    last_outcome="succeeded",
    last_at="2026-11-16T17:00:09Z",
    recent=[["succeeded", 12.0]] * 3,
    usual_s=12.0,
    paused={
        "since": "2026-11-21T09:00:00Z",
        "until": "2026-11-21T14:00:00Z",
        "reason": "the disk is being changed",
        "by": "alice",
    },
)
ROWS = [
    BACKUP,
    row(
        "rates",
        next="2026-11-21T12:00:05Z",
        last_outcome="failed",
        last_at="2026-11-21T11:59:58Z",
        recent=[
            *(["succeeded", 0.05], ["timed_out", 30.0], ["failed", 0.05], ["spawn_failed", None]),
            *(["interrupted", 4.0], ["cancelled", 3.3], ["succeeded", 0.04], ["failed", 0.04]),
        ],
        usual_s=0.04,
        schedule="every 5s",
    ),
    PAUSED,
    row(
        "sync",
        state="queued",
        next="2026-11-21T12:01:00Z",
        running=[
            {
                "run": "sync@20261121T115900Z",
                "attempt": 1,
                "phase": "ready",
                "since": "2026-11-21T11:59:00Z",
                "pid": None,
            }
        ],
    ),
    row(
        "fetch",
        state="retrying",
        last_outcome="failed",
        last_at="2026-11-21T11:59:30Z",
        running=[
            {
                "run": "fetch@20261121T115900Z",
                "attempt": 3,
                "phase": "delayed",
                "since": "2026-11-21T12:01:15Z",
                "pid": None,
            }
        ],
    ),
    row("old", state="disabled"),
]
LAST = [
    {
        "event": "finished",
        "run": "backup@20261121T073000Z",
        "attempt": 1,
        "at": "2026-11-21T11:57:40Z",
        "outcome": "failed",
        "duration_s": 3.2,
        "exit_code": 2,
        "signal": None,
        "error": None,
    },
    {
        "event": "finished",
        "run": "backup@20261120T073000Z",
        "attempt": 1,
        "at": "2026-11-20T07:35:12Z",
        "outcome": "succeeded",
        "duration_s": 310.5,
        "exit_code": 0,
        "signal": None,
        "error": None,
    },
]


@pytest.fixture(autouse=True)
def in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Times are shown in the machine's zone."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def jobfile(tmp_path: Path) -> Path:
    path = tmp_path / "jobs.toml"
    head = f'[daemon]\nlog_dir = "{tmp_path}/log"\nstate_dir = "{tmp_path}/state"\n'
    path.write_text(head + JOBS)
    return path


@pytest.fixture
def control(jobfile: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlAlone]:
    """A daemon that answers with all the rows."""
    fields = daemon_fields(jobfile, len(ROWS))
    answers = {"status": done(daemon=fields, jobs=ROWS)}
    with ControlAlone(jobfile.parent / "run", answers, jobfile) as alone:
        monkeypatch.setenv("STSD_SOCKET", str(alone.path))
        monkeypatch.setenv("STSD_CONFIG", str(jobfile))
        yield alone


def lit(columns: int | None) -> Terminal:
    return Terminal(live=True, glyphs=True, columns=columns)


# -- at a glance


@pytest.mark.parametrize("columns", [60, 100, 160])
def test_the_table_fits_the_screen(columns: int) -> None:
    screen = lit(columns)
    daemon = daemon_fields(Path("/etc/stsd/jobs.toml"), len(ROWS))
    lines = [*glance(ROWS, NOW, screen), *summary(ROWS, daemon, NOW, screen)]
    text = shown(lines, screen)
    assert max(map(len, text.splitlines())) <= columns
    assert_golden(f"status-{columns}", text)


def test_off_a_terminal_there_are_words_and_nothing_is_cut() -> None:
    screen = Terminal()
    text = shown(glance(ROWS, NOW, screen), screen)
    assert text.isascii()
    assert "9 of 10 succeeded" in text
    assert "report-of-the-week-for-the-company " in text
    assert "until 14:00:00 (in 2h), by alice: the disk is being changed" in text
    assert_golden("status-pipe", text)


def test_what_other_people_wrote_cannot_give_orders_to_the_terminal() -> None:
    evil = "\x1b[2J"
    paused = {"since": "2026-11-21T09:00:00Z", "until": None, "reason": evil, "by": evil}
    rows = [row("a", description=evil, state="paused", paused=paused, schedule=evil)]
    daemon = daemon_fields(Path("/x"), 1, reload={"at": "2026-11-21T09:00:00Z", "problem": evil})
    screen = lit(160)
    lines = [*glance(rows, NOW, screen), *summary(rows, daemon, NOW, screen)]
    lines += in_depth(Known(rows[0]), NOW, screen)
    assert "\x1b" not in shown(lines, screen)


def test_a_job_has_one_line_however_many_its_owner_has_written() -> None:
    words = "first line\n\tsecond\n"
    paused = {"since": "2026-11-21T09:00:00Z", "until": None, "reason": words, "by": "ann"}
    rows = [row("a", description=words), row("b", state="paused", paused=paused, alerts=["slow"])]
    text = shown(glance(rows, NOW, Terminal()), Terminal())
    assert len(text.splitlines()) == 1 + len(rows)
    assert text.count("first line second") == len(rows)


def test_it_says_who_is_told_and_who_cannot_be() -> None:
    down = {
        "target": "mailto://mx.example.com",
        "waiting": 3,
        "failing_since": "2026-11-21T10:00:00Z",
        "problem": "Connection\x1b[31m refused",
    }
    waiting = {"target": "command mail", "waiting": 1, "failing_since": None, "problem": ""}
    telling = {"pid": 1, "problem": None, "audience": 2, "targets": [down, waiting]}
    fields = daemon_fields(Path("/etc/stsd/jobs.toml"), 2, telling=telling)
    text = shown(summary(ROWS, fields, NOW, lit(None)), lit(None))
    assert "notifications: to 2 targets, 4 wait" in text
    assert "mailto://mx.example.com cannot be told, for 2h now: Connection" in text
    assert "\x1b[31m refused" not in text
    assert "command mail" not in text


def test_it_says_when_nobody_can_be_told_anything() -> None:
    telling = {"pid": None, "problem": "it has ended (signal 9)", "audience": 0, "targets": []}
    fields = daemon_fields(Path("/etc/stsd/jobs.toml"), 2, telling=telling)
    text = shown(summary(ROWS, fields, NOW, lit(None)), lit(None))
    assert "nobody is told how jobs fare: it has ended (signal 9)" in text
    assert "notifications:" not in text


def test_what_is_amiss_stands_before_what_a_job_is_at_unless_its_last_end_says_so() -> None:
    found = [
        row("a", alerts=["late", "silent"], last_outcome="succeeded"),
        row("b", alerts=["failed"], last_outcome="failed"),
        row("c", alerts=["slow"], paused={"until": None, "by": "ann", "reason": "x", "since": ""}),
    ]
    first, second, third = shown(glance(found, NOW, lit(None)), lit(None)).splitlines()[1:]
    assert "late, silent" in first
    assert second.count("failed") == 1
    assert "slow" in third
    assert third.index("slow") < third.index("until it is resumed")


def test_a_job_in_depth_names_all_that_is_amiss() -> None:
    known = Known(row("a", alerts=["failed", "late"]))
    text = shown(in_depth(known, NOW, lit(100)), lit(100))
    assert "amiss: failed, late" in text


def test_a_daemon_in_trouble_says_so() -> None:
    reload = {"at": "2026-11-21T11:57:00Z", "problem": "jobs.toml:3:1: jobs.a.evry: not known"}
    fields = daemon_fields(Path("/x"), 1, held=True, stopping=True, reload=reload)
    text = shown(summary(ROWS, fields, NOW, lit(None)), lit(None))
    assert "the history cannot be written" in text
    assert "stsd is stopping" in text
    assert "the last reload, 3m ago, was refused: jobs.toml:3:1" in text


# -- one job in depth


@pytest.mark.parametrize("columns", [60, 100])
def test_a_job_in_depth(columns: int, jobfile: Path) -> None:
    job = load(jobfile, local_zone="UTC").jobs["backup"]
    known = Known(BACKUP, job, LAST, "/var/log/stsd/output/backup")
    text = shown(in_depth(known, NOW, lit(columns)), lit(columns))
    assert max(map(len, text.splitlines())) <= columns
    assert_golden(f"status-job-{columns}", text)


def test_a_paused_job_in_depth_tells_since_when_until_when_by_whom_and_why() -> None:
    text = shown(in_depth(Known(PAUSED), NOW, lit(None)), lit(None))
    told = "paused: since 09:00:00, until 14:00:00 (in 2h), by alice: the disk is being changed"
    assert told in text


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('command = ["ls", "a b"]', "runs: ls 'a b'"),
        ('python = "shop:refresh"', "runs: shop:refresh, a Python function"),
        ('http = { url = "http://localhost/x", method = "POST" }', "runs: POST http://localhost/x"),
        ('message = { to = ["mailto://a@b.c"], body = "x" }', "runs: a message to 1 address"),
        ('command = "x"\nuser = "nobody"', "as: nobody"),
        (
            'command = "x"\nmax_running = 3\noverlap = "allow"',
            "policies: overlap allow, at most 3 at once",
        ),
        (
            'command = "x"\ncondition = "true"\npools = ["a", "b"]',
            "policies: pools a and b, with a condition",
        ),
        (
            'command = "x"\ndeadline = "06:00"\nmax_age = "26h"\nslow = "2x"\nmin_output = "1K"',
            "expected: a success by 06:00, a success every 1d2h, in 2 times what most runs take,"
            " 1.0 KiB of output",
        ),
        (
            'command = "x"\nslow = "10m"\n'
            'notify = { to = ["mailto://u:secret@mx.example.com", { command = "mail root" }],'
            ' on = ["failed", "late"] }',
            "told: mailto://mx.example.com, command mail (failed, late)",
        ),
    ],
)
def test_what_a_job_runs_and_on_what_terms_is_told(table: str, told: str, jobfile: Path) -> None:
    jobfile.write_text(f"[jobs.a]\n{table}\n")
    job = load(jobfile, local_zone="UTC").jobs["a"]
    assert told in shown(in_depth(Known(row("a"), job), NOW, Terminal()), Terminal())


def test_a_run_that_waits_for_its_next_attempt_tells_when_that_is() -> None:
    text = shown(in_depth(Known(ROWS[4]), NOW, Terminal()), Terminal())
    assert "fetch@20261121T115900Z waits for its next attempt in 1m15s, attempt 3" in text


# -- the command, with a daemon


def test_json_has_the_fixed_fields_first(
    control: ControlAlone, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["job"] for line in lines] == [line["job"] for line in ROWS]
    assert list(lines[0])[:5] == ["job", "state", "next", "last_outcome", "running"]
    assert lines[0] == BACKUP


def test_jobs_and_tags_are_asked_of_the_daemon(
    control: ControlAlone, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--tag", "nightly", "--tag", "db"]) == 0
    assert control.wait_until_asked("status")["tags"] == ("nightly", "db")
    assert "6 jobs: 1 running, 1 queued" in capsys.readouterr().out


def test_a_job_that_nobody_knows_is_a_wrong_usage(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = refused(Trouble.UNKNOWN_JOB, "no job bakcup (did you mean backup?)")
    with ControlAlone(jobfile.parent / "run", {"status": refusal}, jobfile) as alone:
        monkeypatch.setenv("STSD_SOCKET", str(alone.path))
        assert main(["status", "-c", str(jobfile), "bakcup"]) == 2
    assert capsys.readouterr().err == "stsd: no job bakcup (did you mean backup?)\n"


def test_a_jobfile_that_has_changed_since_is_not_taken_for_the_one_in_force(
    control: ControlAlone, jobfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobfile.write_text(jobfile.read_text().replace("30 2 * * *", "45 3 * * *"))
    assert main(["status", "backup"]) == 0
    told = capsys.readouterr().out
    assert "note: the jobfile says otherwise by now (stsd reload --dry-run)" in told
    assert "pg_dump" not in told


def test_a_jobfile_that_is_broken_by_now_is_told_and_the_rest_is_shown(
    control: ControlAlone, jobfile: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobfile.write_text("[jobs")
    assert main(["status", "backup"]) == 0
    told = capsys.readouterr().out
    assert "note: the jobfile cannot be read for more:" in told
    assert "state: running" in told


# -- the command, without a daemon


def test_without_a_daemon_it_is_told_from_the_files(
    stsd: Stsd, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stsd.write(
        '[jobs.good]\ncommand = "true"\non_start = true\ntags = ["t"]\n[jobs.b]\ncommand = "x"\n'
    )
    stsd.start()
    stsd.wait_for_record("finished", "good")
    assert stsd.stop() == 0
    for name, value in clean_environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("STSD_SOCKET", str(stsd.folder / "no.sock"))
    config = ["-c", str(stsd.jobfile)]
    assert main(["status", *config, "--json", "b", "--tag", "t"]) == 0
    named = [json.loads(line)["job"] for line in capsys.readouterr().out.splitlines()]
    assert named == ["good", "b"]
    assert main(["status", *config, "--json", "--tag", "t"]) == 0
    printed = capsys.readouterr()
    assert [json.loads(line)["last_outcome"] for line in printed.out.splitlines()] == ["succeeded"]
    assert "no daemon runs" in printed.err
    assert "this is what its files tell" in printed.err
    assert main(["status", *config, "good"]) == 0
    assert "succeeded" in capsys.readouterr().out
    assert main(["status", *config, "god"]) == 2
    assert "did you mean `good`?" in capsys.readouterr().err


# -- drawn anew


class Watched:
    """`stsd status --watch` on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.ours, self.theirs = pty.openpty()
        termios.tcsetwinsize(self.theirs, (20, 90))
        self.before = termios.tcgetattr(self.theirs)
        self.drawn = b""
        self.process = subprocess.Popen(
            [*STSD, "status", "--watch", *words],
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            env=os.environ | {"TERM": "xterm", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )

    def shows(self, text: str) -> None:
        """Waits until this has been drawn since the last call."""

        def drawn() -> bool:
            if select.select([self.ours], [], [], 0.05)[0]:
                self.drawn += os.read(self.ours, 65536)
            return text in re.sub(rb"\x1b[\[(][0-9;?]*[A-Za-z]", b"", self.drawn).decode()

        wait_for(drawn, f"{text} on the screen")
        self.drawn = b""

    def ends(self) -> int:
        """The exit code, once it has left the terminal as it was."""
        while self.process.poll() is None:
            if select.select([self.ours], [], [], 0.05)[0]:
                self.drawn += os.read(self.ours, 65536)
        while select.select([self.ours], [], [], 0.0)[0]:
            self.drawn += os.read(self.ours, 65536)
        assert b"\x1b[?1049l" in self.drawn, "still on the other screen"
        assert termios.tcgetattr(self.theirs) == self.before
        return self.process.returncode


@pytest.fixture
def watched(control: ControlAlone) -> Iterator[Callable[..., Watched]]:
    started: list[Watched] = []

    def start(*words: str) -> Watched:
        started.append(Watched(*words))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.wait(DEADLINE_S)
        os.close(each.ours)
        os.close(each.theirs)


def test_a_watch_ends_with_q_and_leaves_the_terminal_as_it_was(
    watched: Callable[..., Watched],
) -> None:
    watch = watched()
    watch.shows("6 jobs: 1 running")
    os.write(watch.ours, b"q")
    assert watch.ends() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_that_a_signal_ends_leaves_the_terminal_as_it_was(
    watched: Callable[..., Watched], number: signal.Signals
) -> None:
    watch = watched()
    watch.shows("6 jobs: 1 running")
    watch.process.send_signal(number)
    code = watch.ends()
    assert code == 0 if number is signal.SIGINT else code != 0


def test_a_watch_of_one_job_is_in_depth(watched: Callable[..., Watched]) -> None:
    watch = watched("backup")
    watch.shows("pg_dump app")


@pytest.mark.slow
def test_a_watch_says_that_the_daemon_has_gone_and_goes_on_when_it_is_back(
    jobfile: Path, monkeypatch: pytest.MonkeyPatch, watched: Callable[..., Watched]
) -> None:
    def answers(*jobs: str) -> dict[str, Any]:
        rows = [row(job) for job in jobs]
        return {"status": done(daemon=daemon_fields(jobfile, len(rows)), jobs=rows)}

    with ControlAlone(jobfile.parent / "other", answers("first"), jobfile) as alone:
        monkeypatch.setenv("STSD_SOCKET", str(alone.path))
        watch = watched()
        watch.shows("first")
    watch.shows("no daemon is running")
    with ControlAlone(jobfile.parent / "other", answers("second"), jobfile):
        watch.shows("second")
        os.write(watch.ours, b"q")
        assert watch.ends() == 0


def test_a_watch_takes_a_terminal_and_is_not_for_programs(
    control: ControlAlone, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--watch"]) == 2
    assert "--watch takes a terminal" in capsys.readouterr().err
    assert main(["status", "--watch", "--json"]) == 2


@pytest.mark.slow
def test_a_thousand_jobs_are_told_within_0_3_seconds(
    stsd: Stsd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(stsd.folder / "run"))
    stsd.folder.chmod(0o700)
    stsd.write(
        "".join(
            f'[jobs.job-{number}]\ncommand = ["true"]\ncron = "{number % 60} 3 1 1 *"\n'
            f'description = "Job number {number}"\n'
            for number in range(1000)
        )
    )
    stsd.start()
    wait_for((stsd.folder / "run" / "control.sock").exists, "the control socket")
    took = []
    for _ in range(10):
        began = time.monotonic()
        done = stsd.run("status")
        took.append(time.monotonic() - began)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout.splitlines()) == 1003
    assert min(took) < 0.3
