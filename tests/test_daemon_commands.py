"""The commands that give orders, and a real daemon that obeys them."""

from __future__ import annotations

import json
import os

import pytest

from stsd.cli import main
from tests.support import Stsd, clean_environment, wait_for

JOBS = """
[jobs.flaky]
command = "echo attempt $STSD_ATTEMPT $COLOUR; test $STSD_ATTEMPT = 2"
retry = { max = 1, delay = "0.1s" }
[jobs.bad]
command = "exit 4"
[jobs.rates]
python = "shop:refresh"
kwargs = { base = "USD" }
[jobs.long]
command = "sleep 100"
stop_grace = "1s"
[jobs.often]
command = "true"
every = "1s"
tags = ["t"]
"""
SHOP = "def refresh(base, days=1):\n    print(base, days)\n"


@pytest.fixture
def daemon(stsd: Stsd, monkeypatch: pytest.MonkeyPatch) -> Stsd:
    """A daemon whose socket is in its own folder, and commands in this process that find it."""
    for name in os.environ.keys() - clean_environment().keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(stsd.folder / "run"))
    monkeypatch.setenv("STSD_CONFIG", str(stsd.jobfile))
    (stsd.folder / "shop.py").write_text(SHOP)
    stsd.folder.chmod(0o700)
    stsd.write(JOBS)
    stsd.start()
    wait_for((stsd.folder / "run" / "control.sock").exists, "the control socket")
    return stsd


def rows(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    """The rows of `stsd status`, by job."""
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    return {row["job"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}


def test_a_run_by_hand_is_followed_through_its_retries_to_its_verdict(
    daemon: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trigger", "flaky", "--wait", "--env", "COLOUR=red"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "attempt 1 red\nattempt 2 red\n"
    assert "exit 1; attempt 2 " in printed.err
    assert main(["trigger", "rates", "--wait", "--set", "kwargs.days=7"]) == 0
    assert capsys.readouterr().out == "USD 7\n"
    assert main(["trigger", "bad", "--wait"]) == 1
    assert "exit 4" in capsys.readouterr().err
    told = rows(capsys)
    assert [told[job]["last_outcome"] for job in ("flaky", "bad")] == ["succeeded", "failed"]


def test_a_run_is_cancelled_by_its_id(daemon: Stsd, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trigger", "long"]) == 0
    run_id = capsys.readouterr().out.strip()
    daemon.wait_for_record("started", "long")
    assert rows(capsys)["long"]["state"] == "running"
    assert main(["cancel", run_id]) == 0
    assert capsys.readouterr().out.strip() == run_id
    assert daemon.wait_for_record("finished", "long")["outcome"] == "cancelled"
    assert main(["cancel", run_id]) == 1


def test_a_paused_job_skips_and_a_resumed_one_goes_on(
    daemon: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pause", "--tag", "t", "--for", "1h", "--reason", "a new disk"]) == 0
    daemon.wait_for_record("skipped", "often")
    paused = rows(capsys)["often"]
    assert paused["state"] == "paused"
    assert isinstance(paused["paused"], dict)
    assert paused["paused"]["reason"] == "a new disk"
    assert main(["resume", "often"]) == 0
    begun = len(daemon.records("started", "often"))
    daemon.wait_for_record("started", "often", begun + 1)
    assert rows(capsys)["often"]["paused"] is None


def test_a_reload_does_what_its_dry_run_has_shown(
    daemon: Stsd, capsys: pytest.CaptureFixture[str]
) -> None:
    daemon.write(JOBS.replace('every = "1s"', 'every = "1h"').replace("jobs.bad", "jobs.new"))
    shown = []
    for words in (["--dry-run"], [], []):
        assert main(["reload", "--json", *words]) == 0
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        shown.append([(line["change"], line["job"]) for line in lines])
    assert shown[0] == [("added", "new"), ("removed", "bad"), ("changed", "often")]
    assert shown[1:] == [shown[0], []]
    daemon.jobfile.write_text("[jobs")
    assert main(["reload"]) == 2
    assert "jobs.toml:1:" in capsys.readouterr().err
    assert main(["status"]) == 0
    wait_for(lambda: "new" in rows(capsys), "the jobfile before is in force")
