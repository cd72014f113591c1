"""What a reload would change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stsd.difference import difference
from stsd.jobfile import load
from stsd.settings import Jobfile

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def jobfile(tmp_path: Path, text: str) -> Jobfile:
    path = tmp_path / "jobs.toml"
    path.write_text(text)
    return load(path, local_zone="UTC")


def plan(tmp_path: Path, before: str, after: str) -> Any:
    return difference(jobfile(tmp_path, before), jobfile(tmp_path, after), NOW)


def changes(tmp_path: Path, before: str, after: str) -> list[tuple[str, object, object]]:
    """The changed keys of a job of which these are the keys before and after."""
    found = plan(tmp_path, f"[jobs.a]\n{before}\n", f"[jobs.a]\n{after}\n")["changed"]
    return [(key["key"], key["before"], key["after"]) for job in found for key in job["keys"]]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ('command = "a"', 'command = "b"', [("command", "a", "b")]),
        ('command = "a"', 'command = ["a"]', [("command", "a", ["a"]), ("shell", "/bin/sh", None)]),
        (
            'command = "a"\nevery = "5s"',
            'command = "a"\ncron = "@daily"',
            [("every", 5, None), ("cron", None, ["@daily"])],
        ),
        ('command = "a"', 'command = "a"\ntimeout = "1h"', [("timeout", None, 3600.0)]),
        (
            'command = "a"',
            'command = "a"\nretry = { max = 2, on = ["failed"] }',
            [
                ("retry.max", 0, 2),
                ("retry.on", ["failed", "spawn_failed", "timed_out"], ["failed"]),
            ],
        ),
        (
            'command = "a"\nafter = ["b"]',
            'command = "a"\nafter = [{ job = "b", outcome = "failed" }]',
            [("after", ["b"], ["b (failed)"])],
        ),
        (
            'python = "json:dumps"\nkwargs = { indent = 1 }',
            'python = "json:loads"\nkwargs = { indent = 2 }',
            [("python", "json:dumps", "json:loads"), ("kwargs", {"indent": 1}, {"indent": 2})],
        ),
        (
            'command = "a"\ncron = "0 0 * * *"',
            'command = "a"\ncron = "0 0 * * *"\ndst = { gap = "skip" }',
            [("dst.gap", "after", "skip")],
        ),
        (
            'command = "a"',
            'command = "a"\nwait_for = { network = "example.com:443" }',
            [("wait_for.network", None, ["example.com", 443]), ("wait_for.timeout", None, 300.0)],
        ),
        ('command = "a"', 'command = "a"\nenabled = false', [("enabled", True, False)]),
        ('command = "a"', 'command = "a"\ndeadline = "6:00"', [("deadline", None, "06:00")]),
        (
            'command = "a"\nnotify = { to = "json://h" }',
            'command = "a"\nnotify = { to = "json://h", quiet = "22:00-07:00:30" }',
            [("notify.quiet", None, "22:00-07:00:30")],
        ),
        (
            'command = "a"\nslow = "20m"',
            'command = "a"\nslow = "2x"',
            [("slow.seconds", 1200.0, None), ("slow.factor", None, 2.0)],
        ),
    ],
)
def test_the_keys_that_differ_are_told_with_their_values(
    tmp_path: Path, before: str, after: str, expected: list[tuple[str, object, object]]
) -> None:
    other = '\n[jobs.b]\ncommand = "b"'
    assert changes(tmp_path, before + other, after + other) == expected


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ('command = "a"', 'command = "a"\nenv = { PASSWORD = "x1" }', "env.PASSWORD"),
        (
            'command = "a"\nenv = { PASSWORD = "x1" }',
            'command = "a"\nenv = { PASSWORD = "x2" }',
            "env.PASSWORD",
        ),
        (
            'http = { url = "http://h/", headers = { Auth = "x1" } }',
            'http = { url = "http://h/", headers = { Auth = "x2" } }',
            "http.headers.Auth",
        ),
        (
            'message = { to = ["mailto://x1@h"], body = "b" }',
            'message = { to = ["mailto://x2@h"], body = "b" }',
            "message.to",
        ),
        (
            'command = "a"\nnotify = { to = "mailto://x1@h" }',
            'command = "a"\nnotify = { to = { webhook = "http://h", secret = "x2" } }',
            "notify.to",
        ),
        (
            'command = "a"\nping = "http://h/x1"',
            'command = "a"\nping = "http://h/x2"',
            "ping.check",
        ),
    ],
)
def test_what_may_be_a_password_is_told_without_its_value(
    tmp_path: Path, before: str, after: str, key: str
) -> None:
    found = changes(tmp_path, before, after)
    assert [change[0] for change in found] == [key]
    assert "x1" not in str(found)
    assert "x2" not in str(found)


def test_another_way_of_writing_the_same_is_no_change(tmp_path: Path) -> None:
    before = '[jobs.a]\ncommand = "a"\ntimeout = "60s"\n'
    after = '# tidied up\n[jobs.a]\ntimeout = "1m"\ncommand = "a"\n'
    assert plan(tmp_path, before, after) == {
        "added": [],
        "removed": [],
        "changed": [],
        "settings": [],
        "unchanged": 1,
    }


def test_a_changed_default_shows_in_each_job_that_it_reaches(tmp_path: Path) -> None:
    jobs = '[jobs.a]\ncommand = "a"\n[jobs.b]\ncommand = "b"\nnice = 5\n'
    found = plan(tmp_path, jobs, f"[defaults]\nnice = 3\n{jobs}")
    assert [job["job"] for job in found["changed"]] == ["a"]
    assert found["unchanged"] == 1


def test_jobs_that_come_and_go_are_told_with_their_next_occurrence(tmp_path: Path) -> None:
    before = '[jobs.old]\ncommand = "a"\ncron = "0 9 * * *"\n'
    after = '[jobs.new]\ncommand = "a"\ncron = "0 9 * * *"\ntimezone = "Asia/Tokyo"\n'
    found = plan(tmp_path, before, after)
    assert found["removed"] == [{"job": "old", "next": "2027-01-15T09:00:00+00:00"}]
    assert found["added"] == [{"job": "new", "next": "2027-01-16T09:00:00+09:00"}]


def test_the_next_occurrence_before_and_after_is_told(tmp_path: Path) -> None:
    job = '[jobs.a]\ncommand = "a"\ncron = "0 {} * * *"\n'
    (changed,) = plan(tmp_path, job.format(9), job.format(10))["changed"]
    assert changed["next_before"] == "2027-01-15T09:00:00+00:00"
    assert changed["next_after"] == "2027-01-15T10:00:00+00:00"


def test_the_daemons_settings_are_compared_too(tmp_path: Path) -> None:
    before = '[daemon]\nmax_running = 3\n[jobs.a]\ncommand = "a"\n'
    after = '[daemon]\nmax_running = 4\n[daemon.pools]\ndb = 2\n[jobs.a]\ncommand = "a"\n'
    assert plan(tmp_path, before, after)["settings"] == [
        {"key": "max_running", "before": 3, "after": 4},
        {"key": "pools.db", "before": None, "after": 2},
    ]
