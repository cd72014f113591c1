"""`stsd check`, as its user sees it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stsd import cgroups
from stsd.cli import main


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TZ", "UTC")


def check(text: str, *options: str) -> int:
    path = Path("jobs.toml")
    path.write_text(text)
    path.chmod(0o644)
    return main(["check", *options])


def test_a_valid_jobfile_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert check('[jobs.a]\ncommand = "true"\n') == 0
    assert capsys.readouterr() == ("jobs.toml: 1 job, no problems\n", "")


def test_a_problem_is_told_with_its_line_and_a_caret(capsys: pytest.CaptureFixture[str]) -> None:
    assert check('[jobs.a]\ncommand = "true"\n  timout = 3\n') == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (
        "jobs.toml:3:3: jobs.a.timout: is not a known key (did you mean `timeout`?)\n"
        "  3 |   timout = 3\n"
        "    |   ^\n"
        "1 problem in jobs.toml\n"
    )


def test_an_escape_in_the_line_is_shown_and_the_caret_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check("[jobs.a]\ncommand = 'x'\nenv = { 'a\x9b' = '1', B = 2 }\n") == 2
    shown, caret = capsys.readouterr().err.splitlines()[1:3]
    assert "\\x9b" in shown
    assert shown[caret.index("^")] == "2"


def test_a_warning_leaves_the_jobfile_valid(capsys: pytest.CaptureFixture[str]) -> None:
    assert check('[jobs.a]\ncommand = "true"\ncwd = "/nowhere"\n') == 0
    told = capsys.readouterr()
    assert told.out == "jobs.toml: 1 job, no problems, 1 warning\n"
    assert told.err.startswith("jobs.toml:3:7: warning: jobs.a.cwd: there is no folder")


def test_a_change_of_the_clocks_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    text = '[jobs.a]\ncommand = "true"\ncron = "30 2 * * *"\ntimezone = "Europe/Berlin"\n'
    assert check(text) == 0
    told = capsys.readouterr().err
    assert told.startswith("jobs.toml:3:8: warning: jobs.a.cron: on ")
    assert "03:00:00+02:00" in told


def test_as_json_each_problem_is_an_object_on_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert check("[jobs.a]\ncommand = 3\ntimeout = 0\n", "--json") == 2
    told = capsys.readouterr()
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert told.err == ""
    assert [(line["line"], line["column"], line["key"]) for line in lines] == [
        (2, 11, "jobs.a.command"),
        (3, 11, "jobs.a.timeout"),
    ]
    assert list(lines[0]) == ["severity", "file", "line", "column", "key", "message", "remedy"]
    assert lines[0]["severity"] == "error"


def test_as_json_a_warning_is_an_object_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert check("", "--json") == 0
    assert json.loads(capsys.readouterr().out)["severity"] == "warning"


LIMITED = """
[jobs.a]
command = "true"
limits = { memory = "64M", cpu = 0.5, processes = 9 }
"""


def test_where_there_are_limits_it_is_told_what_holds_them(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(cgroups, "delegated", lambda state_dir: tmp_path)
    monkeypatch.setattr(
        cgroups, "controllers_within", lambda host, state_dir: frozenset({"cpu", "memory", "pids"})
    )
    assert check(LIMITED) == 0
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.splitlines()[1] == (
        "limits by cgroup v2: memory, cpu, processes; by rlimits: cpu_time, open_files, file_size"
    )


def test_what_rlimits_cannot_hold_is_warned_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "delegated", lambda state_dir: None)
    monkeypatch.setattr(cgroups, "controllers_of_systemd", lambda: frozenset())
    assert check(LIMITED) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[1].endswith("; not at all: cpu")
    assert told.err.count("jobs.toml:4:10: warning: jobs.a.limits: without the ") == 3


def test_under_systemd_it_is_told_what_a_service_will_have(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "delegated", lambda state_dir: None)
    monkeypatch.setattr(
        cgroups, "controllers_of_systemd", lambda: frozenset({"cpu", "memory", "pids"})
    )
    assert check(LIMITED, "--json") == 0
    (note,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert note["severity"] == "note"
    assert note["message"].startswith("by cgroup v2: memory, cpu, processes; by rlimits: ")
    assert "as a service with Delegate=" in note["message"]


def test_without_limits_nothing_is_told_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert check('[jobs.a]\ncommand = "true"\n') == 0
    assert "limits" not in capsys.readouterr().out
