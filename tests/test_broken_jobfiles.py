"""Every kind of broken jobfile, through the command line: named with its file and line, at once."""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stsd.cli import main

STRIDES = 20
GOOD = '[jobs.good]\ncommand = "true"\n'


def stride() -> float:
    """What five million steps of a loop take: some 0.1 s on a machine that has nothing else to
    do."""
    before = time.process_time()
    for _ in range(5_000_000):
        pass
    return time.process_time() - before


def check(folder: Path, name: str = "jobs.toml") -> tuple[int, str]:
    """What `stsd check` answers, run in a folder as its user would; fails if it takes too long.

    Counted is its processor time, and in strides of this machine as it is now, so that a busy one
    does not make an answer late.
    """
    before = time.process_time()
    printed = io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        code = main(["check", "-c", name])
    spent = time.process_time() - before
    assert spent < 1.0 or spent < STRIDES * stride()
    return code, printed.getvalue()


def job(line: str) -> str:
    """A jobfile whose third line is the one given, in a job that is otherwise right."""
    return f'[jobs.a]\ncommand = "true"\n{line}\n'


def python_job(line: str) -> str:
    """The same for a Python job."""
    return f'[jobs.a]\npython = "shop.rates:refresh"\n{line}\n'


# what it is: the text, the line of the fault (0: the whole file), a part of what is said
BROKEN: dict[str, tuple[str | bytes, int, str]] = {
    "no TOML": ("[jobs.a]\ncommand true\n", 2, "expected '='"),
    "text without quotes": (job("timeout = 5m"), 3, "one KEY = VALUE a line"),
    "a string that does not end": (job('description = "x'), 3, "close the string"),
    "a table twice": ("[jobs.a]\ncommand = 'x'\n[jobs.a]\n", 3, "is there twice"),
    "a key twice": (job('command = "false"'), 3, "the key command is there twice"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD.encode(), 1, "byte order mark"),
    "UTF-16": (GOOD.encode("utf-16"), 1, "byte order mark"),
    "a NUL byte": (job("description = 'a\0b'"), 3, "\\x00"),
    "a NUL escape in a command": ('[jobs.a]\ncommand = "a\\u0000b"\n', 2, "NUL"),
    "a NUL escape in an argument": ('[jobs.a]\ncommand = ["x", "\\u0000"]\n', 2, "NUL"),
    "a NUL escape in the environment": (job('env = { A = "\\u0000" }'), 3, "NUL"),
    "a NUL escape in a folder": (job('cwd = "\\u0000"'), 3, "NUL"),
    "invalid UTF-8": (b"[jobs.a]\ncommand = '\xff'\n", 2, "0xff is not UTF-8"),
    "old Mac line ends": (GOOD.replace("\n", "\r"), 1, "Unix line ends"),
    "deep arrays": (job("args = " + "[" * 10_000), 3, "nested too deep"),
    "deep tables": (job("args = " + "{a=" * 10_000), 3, "nested too deep"),
    "deep keys": ("\n" + "a." * 10_000 + "a = 1\n", 2, "nested too deep"),
    "deep keys of a variable": ("[jobs.a]\nenv." + "a." * 900 + "a = 1\n", 2, "string"),
    "a number of 5,000 digits": (job("priority = " + "9" * 5000), 3, "thousands of digits"),
    "a huge number": (job("priority = 0x" + "f" * 5000), 3, "out of range"),
    "nan": (job("timeout = nan"), 3, "nan is not between"),
    "inf": (job("timeout = inf"), 3, "inf is not between"),
    "1e999": (job("timeout = 1e999"), 3, "inf is not between"),
    "a huge duration": (job("timeout = 0x" + "f" * 5000), 3, "is not between"),
    "-1": (job("timeout = -1"), 3, "-1 is not between"),
    "a duration of nothing": (job("timeout = 0"), 3, "is not between"),
    "a duration in words": (job('timeout = "an hour"'), 3, '"an hour" is not a duration'),
    "parts of a second": (job('every = "1500ms"'), 3, "whole number of seconds"),
    "a name that leaves the folder": (
        '\n[jobs."../x"]\ncommand = "x"\n',
        2,
        '"../x" is not a name',
    ),
    "an empty name": ('\n[jobs.""]\ncommand = "x"\n', 2, '"" is not a name'),
    "a name of 300 characters": (f'\n[jobs.{"a" * 300}]\ncommand = "x"\n', 2, "300 characters"),
    "a name with a newline": ('\n[jobs."a\\nb"]\ncommand = "x"\n', 2, '"a\\nb" is not a name'),
    "a name with escape codes": ('\n[jobs."\\u001b[31m"]\ncommand = "x"\n', 2, "\\x1b[31m"),
    "case twins": (GOOD + GOOD.replace("good", "GOOD"), 3, "in case from good, at jobs.toml:1:7"),
    "a name with dots and no quotes": ("[jobs.a.b]\ncommand = 'x'\n", 1, '[jobs."a.b"]'),
    "an unknown zone": (job('timezone = "Europe/Berln"'), 3, "Europe/Berlin"),
    "a zone that is a path": (job('timezone = "../../etc/passwd"'), 3, "not a time zone"),
    "a zone that is a folder": (job('timezone = "America"'), 3, "not a time zone"),
    "a zone that is a table of zones": (job('timezone = "zone.tab"'), 3, "not a time zone"),
    "February 30 in cron": (job('cron = "0 0 30 2 *"'), 3, "jobs.a.cron"),
    "February 30 as a date": (job("start = 2026-02-30"), 3, "no such day"),
    "February 30 as a text": (job('skip_dates = ["2026-02-30"]'), 3, "no day 2026-02-30"),
    "too few cron fields": (job('cron = "* * *"'), 3, "jobs.a.cron"),
    "a cron value out of range": (job('cron = "0 25 * * *"'), 3, "jobs.a.cron"),
    "a bad one of several": (job('cron = ["0 1 * * *",\n  "0 25 * * *"]'), 4, "jobs.a.cron"),
    "a bad time of day": (job('at = "25:00"'), 3, "jobs.a.at"),
    "an end before the start": (
        job('cron = "@daily"\nstart = 2027-01-02\nend = 2027-01-01'),
        5,
        "jobs.a",
    ),
    "an anchor without offset": (job("every = 60\nanchor = 2026-01-01T00:00:00"), 4, "no offset"),
    "an anchor alone": (job("anchor = 2026-01-01T00:00:00Z"), 3, "belongs to `every`"),
    "a misspelt key": (job("timout = 5"), 3, "did you mean `timeout`?"),
    "a misspelt value": (job('overlap = "que"'), 3, "did you mean `queue`?"),
    "a misspelt table": ("[job.a]\ncommand = 'x'\n", 1, "did you mean `jobs`?"),
    "a key of the daemon": (job("log_dir = '/x'"), 3, "below [daemon]"),
    "a key outside of all tables": ("\ntimeout = 5\n", 2, "below [jobs.NAME]"),
    "a number to ping": (job("ping = 5"), 3, "must be a table, not 5 (its keys are start"),
    "an event nobody knows": (
        job('notify = { to = "json://h", on = ["failed", "recoverd"] }'),
        3,
        "did you mean `recovered`?",
    ),
    "nobody to tell": (job('notify = { on = ["failed"] }'), 3, "says nobody to tell"),
    "no address": (job('notify = { to = "ops@example.com" }'), 3, "is not an address"),
    "a webhook twice over": (
        job('notify = { to = { webhook = "http://h", command = "x" } }'),
        3,
        "is both a `webhook` and a `command`",
    ),
    "a secret without a webhook": (
        job('notify = { to = { command = "x", secret = "y" } }'),
        3,
        "belongs to `webhook`, which is not there",
    ),
    "a quiet time that never ends": (
        job('notify = { to = "json://h", quiet = "22:00-22:00" }'),
        3,
        "ends when it begins",
    ),
    "a time of day that there is not": (job('deadline = "24:00"'), 3, "there is no time of day"),
    "a factor of nothing": (job('slow = "0x"'), 3, '"0x" is not a factor'),
    "a factor without a number": (job('slow = "x"'), 3, '"x" is not a factor'),
    "true for an age": (job("max_age = true"), 3, "cannot be true"),
    "metrics nowhere": ("[daemon]\nmetrics = {}\n" + GOOD, 2, "says no place to tell them at"),
    "metrics at no port": (
        '[daemon]\nmetrics = { listen = "localhost" }\n' + GOOD,
        2,
        'is not a host and a port (such as "example.com:443"',
    ),
    "nothing to run": ("\n[jobs.a]\nevery = 60\n", 2, "says nothing to run"),
    "two things to run": (job('python = "a:b"'), 3, "there is `command` at jobs.toml:2:1"),
    "arguments for nothing": (job("args = [1]"), 3, "belongs to `python`"),
    "a default that is no default": (
        f'[defaults]\ncommand = "x"\n{GOOD}',
        2,
        "cannot be a default",
    ),
    "a bad default": (f"[defaults]\ntimeout = 0\n{GOOD}", 2, "defaults.timeout"),
    "a bad schedule by default": (f"[defaults]\ncron = '* *'\n{GOOD}", 2, "defaults.cron"),
    "an empty command": ('[jobs.a]\ncommand = ""\n', 2, "is empty"),
    "an empty program": ('[jobs.a]\ncommand = ["", "x"]\n', 2, "name of the program is empty"),
    "no program": ("[jobs.a]\ncommand = []\n", 2, "empty array"),
    "a long command": (f'[jobs.a]\ncommand = "{"x" * 131_072}"\n', 2, "131,072 bytes"),
    "a path for an entry point": ('[jobs.a]\npython = "a/b.py"\n', 2, "package.module:callable"),
    "arguments that are no JSON": (python_job("args = [2026-01-01]"), 3, "write it as a string"),
    "an argument that is no number": (python_job("kwargs = {a = nan}"), 3, "nan"),
    "a long variable": (job(f'env = {{ A = "{"x" * 131_070}" }}'), 3, "131,073 bytes"),
    "3 MB of environment": (
        job("[jobs.a.env]\n" + "".join(f'V{i} = "{"x" * 100_000}"\n' for i in range(30))),
        1,
        "together",
    ),
    "a number in the environment": (job("env = { PORT = 80 }"), 3, 'put it into quotes: "80"'),
    "a variable of stsd": (job('env = { STSD_JOB = "x" }'), 3, "set by stsd itself"),
    "a variable without a name": (job('env = { "A=B" = "x" }'), 3, "not a name for a variable"),
    "a number for a mask": (job("umask = 22"), 3, '"022"'),
    "no shell": (job('shell = "bash"'), 3, "not an absolute path"),
    "no signal": (job('stop_signal = "TREM"'), 3, "did you mean `TERM`?"),
    "a signal that ends nothing": (job('stop_signal = "SIGSTOP"'), 3, "does not end it"),
    "a key of retry": (job("retry = { maximum = 3 }"), 3, "jobs.a.retry.maximum"),
    "a jitter of two": (job("retry = { jitter = 2 }"), 3, "from 0 to 1"),
    "an outcome to retry": (job('retry = { on = ["suceeded"] }'), 3, "jobs.a.retry.on"),
    "delays that shrink": (job("retry = { delay = 9, max_delay = 1 }"), 3, "shorter than"),
    "an exit code of 256": (job("success_codes = [0, 256]"), 3, "from 0 to 255"),
    "no exit codes": (job("success_codes = []"), 3, "empty array"),
    "a truth value in quotes": (job('enabled = "yes"'), 3, "must be true or false"),
    "an unknown user": (job('user = "nobdy"'), 3, "did you mean `nobody`?"),
    "an unknown group": (job('group = "no such\\u001b[1m"'), 3, "there is no group"),
    "a limit of nothing": (job("limits = { memory = 0 }"), 3, "out of range"),
    "a secret in two places": (
        job('secrets = { A = { file = "x", credential = "y" } }'),
        3,
        "is in file and in credential",
    ),
    "a secret in plain text": (job('secrets = { A = "hunter2" }'), 3, "must be a table"),
    "a job after itself": (job('after = "a"'), 3, "cannot come after itself"),
    "a job after nobody": (job('after = "b"'), 3, 'there is no job "b"'),
    "a circle of jobs": (
        job('after = "b"\n[jobs.b]\ncommand = "x"\nafter = "a"'),
        3,
        "a after b after a",
    ),
    "a circle of 30,000 jobs": (
        "".join(
            f'[jobs.j{i}]\ncommand = "x"\nafter = "j{(i + 1) % 30_000}"\n' for i in range(30_000)
        ),
        3,
        "j0 after j1 after j2",
    ),
    "a wait for nothing": (job("wait_for = {}"), 3, "says nothing to wait for"),
    "a port of no number": (job('wait_for = { network = "x:y" }'), 3, "not a host and a port"),
    "an address of no web": (
        '[jobs.a]\nhttp = { url = "file:///etc/passwd" }\n',
        2,
        "is not a web address",
    ),
    "a header of two lines": (
        '[jobs.a.http]\nurl = "http://h/"\nheaders = { A = "x\\r\\nB: y" }\n',
        3,
        "holds a newline",
    ),
    "a message to nobody": ('[jobs.a]\nmessage = { title = "x" }\n', 2, "`to` is missing"),
    "jobs that are no table": ("jobs = 3\n", 1, "must be a table"),
    "an array of jobs": ("[[jobs]]\ncommand = 'x'\n", 1, "[jobs.NAME]"),
    "a job that is no table": ("[jobs]\na = 3\n", 2, "must be a table, not 3"),
    "an included file that is not there": (f'[daemon]\ninclude = "x.toml"\n{GOOD}', 2, '"x.toml"'),
    "too many at once": (f"[daemon]\nmax_running = 0\n{GOOD}", 2, "from 1 to 10000"),
    "100,000 tables": ("".join(f"[x{i}]\n" for i in range(100_000)), 50, "and 99950 more"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_jobfile_is_refused_with_file_and_line(kind: str, tmp_path: Path) -> None:
    content, line, said = BROKEN[kind]
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "jobs.toml").write_bytes(data)
    code, output = check(tmp_path)
    assert code == 2, output
    assert "Traceback" not in output
    assert re.search(rf"^jobs\.toml:{line}:\d+: ", output, re.MULTILINE), output
    assert said in output
    assert "\x1b" not in output


def sparse(folder: Path) -> None:
    with (folder / "jobs.toml").open("wb") as file:
        file.truncate(1 << 30)


def link(folder: Path) -> None:
    (folder / "real.toml").write_text(GOOD)
    (folder / "jobs.toml").symlink_to("real.toml")


def device(folder: Path) -> None:
    (folder / "jobs.toml").symlink_to("/dev/zero")


def loop(folder: Path) -> None:
    (folder / "jobs.toml").symlink_to("jobs.toml")


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a missing file": (lambda folder: None, "there is no such file"),
    "a file of 1 GB": (sparse, "too large: 1.0 GiB"),
    "a FIFO": (lambda folder: os.mkfifo(folder / "jobs.toml"), "not a regular file"),
    "a folder": (lambda folder: (folder / "jobs.toml").mkdir(), "is a folder"),
    "a link": (link, "is a symbolic link to real.toml"),
    "a link to a device": (device, "is a symbolic link to /dev/zero"),
    "a link to itself": (loop, "is a symbolic link"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_plain_file_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    make, said = NO_FILES[kind]
    make(tmp_path)
    code, output = check(tmp_path)
    assert code == 2, output
    assert output.startswith("jobs.toml: ")
    assert said in output
    assert "Traceback" not in output


def test_an_endless_device_is_refused_at_once(tmp_path: Path) -> None:
    code, output = check(tmp_path, "/dev/zero")
    assert code == 2
    assert "/dev/zero: is not a regular file" in output


def test_a_fault_of_an_included_file_is_told_with_its_name_and_line(tmp_path: Path) -> None:
    (tmp_path / "jobs.toml").write_text(f'[daemon]\ninclude = ["d/*.toml"]\n{GOOD}')
    (tmp_path / "d").mkdir(mode=0o755)
    (tmp_path / "d" / "a.toml").write_text("\n[jobs.x]\ncommand = 3\n")
    (tmp_path / "d" / "b.toml").write_text("\n\n[jobs.x\n")
    (tmp_path / "d" / "c.toml").write_text(
        "[daemon]\nmax_running = 3\n[jobs.Good]\ncommand = 'x'\n"
    )
    code, output = check(tmp_path)
    assert code == 2
    places = re.findall(r"^(\S+:\d+):\d+: ", output, re.MULTILINE)
    assert places == ["d/a.toml:3", "d/b.toml:3", "d/c.toml:1", "d/c.toml:3"]
    assert "differs only in case from good, at jobs.toml:3:7" in output


def test_a_file_name_that_is_no_text_is_shown_escaped(tmp_path: Path) -> None:
    name = os.fsdecode(b"a\xff\x1b[31m.toml")
    (tmp_path / name).write_text("")
    code, output = check(tmp_path, name)
    assert code == 0, output
    assert "a\\udcff\\x1b[31m.toml: 0 jobs, no problems" in output
