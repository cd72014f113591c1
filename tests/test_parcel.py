"""What is handed to the child that delivers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stsd.cli.common import SYSTEM_JOBFILE
from stsd.model import ArgvTask, Job, Secret, ShellTask, When
from stsd.notices import Event, Means, Target, notice_of
from stsd.parcel import item_for, ping_item
from tests.support_notices import DUE, bare, notice

JOB = Job(
    "backup",
    ShellTask("true"),
    When(cron=("30 2 * * *",), timezone="Europe/Berlin"),
    description="Nightly dump",
    secrets=(Secret("KEY", command=ArgvTask(("pass", "key"))),),
)
TARGET = Target(Means.WEBHOOK, address="https://x.example.com/${KEY}")


def item(*notices: Any, job: Job = JOB, **known: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "jobfile": Path("/jobs.toml"),
        "log_dir": Path("/log"),
        "host": "db1",
        "now": DUE + 5.0,
    }
    return item_for("5f1c", TARGET, notices or (notice(),), {job.name: job}, **(fields | known))


def test_an_item_is_a_line_of_json_that_tells_the_notice_as_it_is() -> None:
    found = json.loads(json.dumps(item()))
    (each,) = found["notices"]
    assert notice_of(each["notice"]) == notice()
    assert (each["description"], each["zone"]) == ("Nightly dump", "Europe/Berlin")
    assert (found["id"], found["kind"], found["log_dir"]) == ("5f1c", "notice", "/log")


def test_an_item_names_the_jobfile_unless_every_command_finds_it() -> None:
    assert item()["jobfile"] == "/jobs.toml"
    assert item(jobfile=SYSTEM_JOBFILE)["jobfile"] == ""


def test_an_item_says_where_secrets_are_and_not_what_they_are() -> None:
    assert item()["variables"]["secrets"] == [
        {"name": "KEY", "file": "", "credential": "", "command": {"argv": ("pass", "key")}}
    ]


def test_the_next_occurrence_is_that_of_the_schedule() -> None:
    assert item()["notices"][0]["next"] == DUE + 23 * 3600  # 02:30 in Berlin, an hour east


def test_the_next_attempt_goes_before_the_next_occurrence_until_it_has_begun() -> None:
    failed = notice(Event.ATTEMPT_FAILED, will_retry_at=DUE + 60.0)
    assert item(failed)["notices"][0]["next"] == DUE + 60.0
    assert item(failed, now=DUE + 61.0)["notices"][0]["next"] == DUE + 23 * 3600


@pytest.mark.parametrize(
    "job",
    [
        replace(JOB, enabled=False),
        replace(JOB, when=When()),
        replace(JOB, when=When(on_start=True)),
    ],
)
def test_a_job_that_is_not_due_again_has_no_next_time(job: Job) -> None:
    assert item(job=job)["notices"][0]["next"] is None


def test_of_a_job_that_is_gone_only_the_notice_is_told() -> None:
    (each,) = item(bare(Event.LATE, "gone", "no success"))["notices"]
    assert (each["description"], each["zone"], each["next"]) == ("", "UTC", None)


def test_a_ping_takes_its_variables_and_the_end_of_an_output_along() -> None:
    found = ping_item("p1", "https://x/${KEY}", "text", "output/x.log", JOB, log_dir=Path("/log"))
    assert found["variables"]["secrets"][0]["name"] == "KEY"
    assert (found["body"], found["output"], found["log_dir"]) == ("text", "output/x.log", "/log")
