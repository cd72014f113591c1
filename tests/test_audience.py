"""From a jobfile to who is told of its jobs, and of what."""

from __future__ import annotations

import importlib.util
import os
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from stsd.notices import (
    ON_BY_DEFAULT,
    Event,
    Means,
    Metrics,
    Notify,
    Ping,
    Quiet,
    Slow,
    Target,
)
from stsd.settings import Settings
from tests.support_jobfile import COMMAND, job, loaded, problem, problems, warnings

MAIL = Target(Means.MESSAGE, "mailto://ops@example.com")
HOOK = Target(Means.WEBHOOK, "https://example.com/")
TO = 'to = "mailto://ops@example.com"'


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)


def test_every_key_of_telling_arrives() -> None:
    made = job(
        """
        deadline = "06:00"
        max_age = "26h"
        slow = "2x"
        min_output = "1K"
        ping = "https://hc.example.com/${CHECK}"
        [jobs.a.notify]
        to = ["mailto://ops@example.com", "https://example.com/"]
        on = ["failed", "late", "silent", "slow"]
        remind = "6h"
        quiet = "22:00-07:00"
        """
    )
    on = frozenset({Event.FAILED, Event.LATE, Event.SILENT, Event.SLOW})
    assert made.notify == Notify((MAIL, HOOK), on, 21600.0, Quiet(79200, 25200))
    assert made.ping == Ping(check="https://hc.example.com/${CHECK}")
    assert (made.deadline, made.max_age, made.min_output) == (21600, 93600.0, 1024)
    assert made.slow == Slow(factor=2.0)


def test_an_address_that_apprise_alone_can_take_apart_is_left_to_it() -> None:
    address = "mailto://me:pa[ss@mx.example.com"
    made = job(f'notify = {{ to = "{address}" }}').notify
    assert made == Notify((Target(Means.MESSAGE, address),), ON_BY_DEFAULT)


def test_a_lone_recipient_needs_no_brackets_and_is_told_of_the_usual() -> None:
    assert job(f"notify = {{ {TO} }}").notify == Notify((MAIL,), ON_BY_DEFAULT)


def test_pings_may_go_to_an_address_for_each_kind() -> None:
    ping = 'ping = { start = "http://h/a", failure = "http://h/b" }'
    assert job(ping).ping == Ping(start="http://h/a", failure="http://h/b")


def test_a_job_lays_its_own_notify_over_that_of_the_defaults() -> None:
    jobs = loaded(
        f"""
        [defaults]
        notify = {{ {TO}, remind = "6h" }}
        [jobs.a]
        command = "true"
        [jobs.b]
        command = "true"
        notify = {{ on = ["failed"] }}
        """
    ).jobs
    assert jobs["a"].notify == Notify((MAIL,), remind=21600.0)
    assert jobs["b"].notify == Notify((MAIL,), frozenset({Event.FAILED}), remind=21600.0)


def test_false_switches_off_what_the_defaults_say() -> None:
    jobs = loaded(
        f"""
        [defaults]
        notify = {{ {TO} }}
        ping = "https://hc.example.com/x"
        deadline = "06:00"
        max_age = "26h"
        slow = "2x"
        min_output = 10
        [jobs.a]
        command = "true"
        [jobs.b]
        command = "true"
        notify = false
        ping = false
        deadline = false
        max_age = false
        slow = false
        min_output = false
        """
    ).jobs
    plain = loaded('[jobs.b]\ncommand = "true"\n').jobs["b"]
    assert jobs["a"].notify is not None
    assert jobs["b"] == plain


def test_jobs_share_the_notify_of_their_defaults() -> None:
    jobs = loaded(f"[defaults]\nnotify = {{ {TO} }}\n{COMMAND}[jobs.b]\ncommand = 'x'\n").jobs
    assert jobs["a"].notify is jobs["b"].notify is not None


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('notify = { on = ["failed"] }', "jobs.a.notify: says nobody to tell (add to = "),
        ("notify = {}", "jobs.a.notify: says nobody to tell"),
        ("notify = true", "jobs.a.notify: must be a table, not true (its keys are to, on,"),
        ("notify = { to = [] }", "jobs.a.notify.to: is an empty array"),
        (
            'notify = { to = ["json://h", "json://h"] }',
            "jobs.a.notify.to: is there twice (take one out)",
        ),
        (f'notify = {{ {TO}, on = ["faild"] }}', "jobs.a.notify.on: "),
        (f'notify = {{ {TO}, on = "failed" }}', "must be an array"),
        (f'notify = {{ {TO}, quite = "1h" }}', "is not a known key (did you mean `quiet`?)"),
        ("ping = {}", "jobs.a.ping: says nobody to tell (one of start, success, failure)"),
        ('ping = "mailto://h"', 'jobs.a.ping: "mailto://h" is not a web address'),
        ('deadline = "25:00"', 'jobs.a.deadline: there is no time of day "25:00"'),
        ('slow = "x"', 'jobs.a.slow: "x" is not a factor'),
        ("min_output = -1", "jobs.a.min_output: a size of -1 is out of range"),
    ],
)
def test_what_tells_nobody_or_of_nothing_is_refused(line: str, said: str) -> None:
    assert said in problem(line)


def test_defaults_that_tell_nobody_are_at_fault_once() -> None:
    text = f"[defaults]\nnotify = {{ remind = '1h' }}\n{COMMAND}[jobs.b]\ncommand = 'x'\n"
    (said,) = problems(text)
    assert said.startswith("jobs.toml:2:10: defaults.notify: says nobody to tell")


def test_recovered_alone_never_comes() -> None:
    (said,) = warnings(f'notify = {{ {TO}, on = ["recovered"] }}')
    assert said.startswith("jobs.toml:3:50: jobs.a.notify.on: `recovered` alone")


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ('deadline = "06:00"', "late"),
        ('max_age = "1d"', "silent"),
        ('slow = "2x"', "slow"),
        ('min_output = "1K"', "silent"),
    ],
)
def test_what_nobody_is_notified_of_is_warned_of(line: str, event: str) -> None:
    (said,) = warnings(f'notify = {{ {TO}, on = ["failed"] }}\n{line}')
    assert f'nobody is notified of it: `notify.on` has no "{event}"' in said
    assert warnings(f"notify = {{ {TO} }}\n{line}") == []


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('notify = { to = "mailto://me:${WORD}@example.com" }', "notify"),
        ('notify = { to = { webhook = "https://h/", secret = "${WORD}" } }', "notify"),
        ('ping = { failure = "https://h/${HOME}/${WORD}" }', "ping"),
    ],
)
def test_a_variable_that_a_job_does_not_have_is_warned_of(line: str, key: str) -> None:
    (said,) = warnings(line)
    assert said == (
        f"jobs.toml:1:7: jobs.a: `{key}` takes the variable WORD, which the job does not have "
        "(add it to `env`, `env_file` or `secrets`)"
    )
    assert warnings(f'{line}\nenv = {{ WORD = "x" }}') == []
    assert warnings(f'{line}\nsecrets = {{ WORD = {{ credential = "x" }} }}') == []


def test_what_an_env_file_has_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.env").write_text("")
    assert warnings('env_file = "a.env"\nping = "https://h/${WORD}"') == []


def test_each_job_is_warned_that_lacks_what_the_defaults_take() -> None:
    text = f'[defaults]\nping = "https://h/${{WORD}}"\n{COMMAND}env.WORD = "x"\n'
    text += '[jobs.b]\ncommand = "true"\n[jobs.c]\ncommand = "true"\nping = false\n'
    (said,) = loaded(text).warnings
    assert said.startswith("jobs.toml:6:7: jobs.b: `ping` takes the variable WORD")


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "slack"),
        ("https://discord.com/api/webhooks/123456789012345678/abcdefghijklmnopqrstuv", "discord"),
        ("https://chat.googleapis.com/v1/spaces/AAAA/messages?key=abc&token=def", "gchat"),
    ],
)
def test_a_service_with_a_shape_of_its_own_is_no_webhook(url: str, scheme: str) -> None:
    (said,) = warnings(f'notify = {{ to = "{url}" }}')
    assert said.endswith(
        f'of its own shape, not what a webhook is sent (its "{scheme}://…" of apprise)'
    )
    apprise = pytest.importorskip("apprise")  # a second to import
    assert apprise.Apprise.instantiate(url).url().startswith(f"{scheme}://")


def test_what_the_defaults_say_in_vain_is_warned_of_once() -> None:
    text = f'[defaults]\nnotify = {{ {TO}, on = ["failed"] }}\nslow = "2x"\n'
    text += f'{COMMAND}[jobs.b]\ncommand = "true"\n'
    (said,) = loaded(text).warnings
    assert said.startswith("jobs.toml:3:8: defaults.slow: nobody is notified")


def without(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Let a package look as if it were not installed."""
    found = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == missing else found(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)


def test_messages_without_apprise_are_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "apprise")
    told = warnings('notify = { to = ["json://h", "json://i"] }')
    assert told == ["jobs.toml:3:10: jobs.a.notify: takes apprise (pip install 'stsd[messages]')"]
    assert warnings('notify = { to = ["http://h", { command = "x" }] }') == []


def test_a_program_that_tells_and_is_not_there_is_warned_of() -> None:
    (said,) = warnings('notify = { to = { command = ["no-such-program", "x"] } }')
    assert said.endswith('jobs.a.notify: there is no program "no-such-program"')


def test_metrics_go_to_a_file_and_an_address() -> None:
    made = loaded(f'[daemon]\nmetrics = {{ file = "m.prom", listen = "[::1]:9464" }}\n{COMMAND}')
    assert made.settings.metrics == Metrics(f"{os.getcwd()}/m.prom", ("::1", 9464))
    assert made.warnings == ()
    assert loaded(COMMAND).settings.metrics is Settings().metrics is None


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("{}", "daemon.metrics: says no place to tell them at (`file`, `listen` or both)"),
        ('{ listen = ":9464" }', 'daemon.metrics.listen: ":9464" is not a host and a port'),
        ('{ listen = "localhost:0" }', "0 is not a port"),
        ("{ port = 9464 }", "daemon.metrics.port: is not a known key"),
        ("false", "daemon.metrics: must be a table, not false"),
    ],
)
def test_metrics_that_go_nowhere_are_refused(table: str, said: str) -> None:
    (found,) = problems(f"[daemon]\nmetrics = {table}\n{COMMAND}")
    assert said in found


def test_metrics_without_their_folder_are_warned_of() -> None:
    (folder,) = loaded(f'[daemon]\nmetrics = {{ file = "no/m.prom" }}\n{COMMAND}').warnings
    assert "daemon.metrics.file: there is no folder" in folder
