"""What people ask of a running daemon: the real daemon, by its real socket."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stsd.client import Client, RefusedError, Told
from tests.support import Stsd, wait_for

ME = pwd.getpwuid(os.geteuid()).pw_name
JOBS = """
[jobs.sleeper]
command = "sleep 60"
tags = ["long"]

[jobs.other]
command = "sleep 60"
tags = ["long", "other"]

[jobs.greet]
command = "echo hello $NAME; exit ${CODE:-0}"

[jobs.absent]
command = ["/no/such/program"]

[jobs.python]
python = "json:dumps"
args = [1]
kwargs = { indent = 2 }

[jobs.often]
command = "true"
every = "1s"

[jobs.yearly]
command = "true"
cron = "0 0 1 1 *"
timezone = "Asia/Tokyo"
description = "Once a year"
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stsd]:
    stsd = Stsd(tmp_path_factory.mktemp("orders"), JOBS)
    with stsd:
        yield stsd


@pytest.fixture
def client(house: Stsd) -> Iterator[Client]:
    with house.client() as client:
        yield client


def row(client: Client, job: str) -> dict[str, Any]:
    (found,) = client.ask("status", jobs=[job])["jobs"]
    assert isinstance(found, dict)
    return found


def told(client: Client, do: str, **arguments: object) -> list[Told]:
    return [line for line in client.follow(do, **arguments) if line is not None]


def cancel_all(client: Client, *jobs: str) -> None:
    client.ask("cancel", runs=list(jobs))
    for job in jobs:
        wait_for(lambda job=job: not row(client, job)["running"], f"{job} ends")  # type: ignore[misc]


def test_it_says_who_it_is(house: Stsd, client: Client) -> None:
    assert client.hello["pid"] == house.pid
    assert client.hello["jobfile"] == str(house.jobfile)
    assert client.hello["may"] == "change"


def test_the_status_has_a_row_for_each_job_in_the_order_of_the_jobfile(client: Client) -> None:
    jobs = client.ask("status")["jobs"]
    names = ["sleeper", "other", "greet", "absent", "python", "often", "yearly"]
    assert [job["job"] for job in jobs] == names
    assert [next(iter(job)) for job in jobs] == ["job"] * len(names)


def test_a_row_tells_the_schedule_and_the_next_occurrence_in_the_zone_of_the_job(
    client: Client,
) -> None:
    yearly = row(client, "yearly")
    assert yearly["state"] == "idle"
    assert yearly["next"].endswith("-01-01T00:00:00+09:00")
    assert yearly["schedule"] == "at 00:00 on day 1 of the month, in January"
    assert yearly["description"] == "Once a year"
    assert (yearly["last_outcome"], yearly["recent"], yearly["usual_s"]) == (None, [], None)


def test_a_job_without_a_schedule_is_run_by_hand(client: Client) -> None:
    assert (row(client, "greet")["schedule"], row(client, "greet")["next"]) == ("by hand", None)


def test_a_triggered_run_is_told_to_whoever_waits_for_it(client: Client) -> None:
    lines = told(client, "trigger", jobs=["greet"], env={"NAME": "you", "CODE": "3"}, wait=True)
    (run,) = lines[0].runs or ()
    assert run.startswith("greet@manual-")
    events = [line.record["event"] for line in lines if line.record]
    assert events == ["started", "finished"]
    (output,) = [line for line in lines if line.descriptor is not None]
    assert output.descriptor is not None
    with os.fdopen(output.descriptor, "rb") as file:
        assert file.read() == b"hello you\n"
    assert lines[-1].answer == {"runs": [run], "outcomes": {run: "failed"}}


def test_what_has_run_shows_in_its_row(client: Client) -> None:
    told(client, "trigger", jobs=["greet"], wait=True)
    greet = row(client, "greet")
    assert greet["last_outcome"] == "succeeded"
    assert greet["recent"][-1][0] == "succeeded"
    assert 0 <= greet["usual_s"] < 10


def test_the_intent_of_a_triggered_run_tells_who_wanted_it(house: Stsd, client: Client) -> None:
    (run,) = client.ask("trigger", jobs=["greet"], env={"NAME": "x"})["runs"]
    wait_for(lambda: run in [r["run"] for r in house.records("finished")], "the run ends")
    (intent,) = [record for record in house.records("intent") if record["run"] == run]
    assert intent["by_hand"] == {"by": ME, "kwargs": {}, "env": {"NAME": "x"}}


def test_keyword_arguments_reach_the_function(client: Client) -> None:
    lines = told(client, "trigger", jobs=["python"], kwargs={"bogus": 1}, wait=True)
    outputs = [line.descriptor for line in lines if line.descriptor is not None]
    with os.fdopen(outputs[0], "rb") as file:
        assert b"unexpected keyword argument 'bogus'" in file.read()


def test_keyword_arguments_for_a_command_are_refused(client: Client) -> None:
    with pytest.raises(RefusedError, match="greet is no Python entry point") as refused:
        client.ask("trigger", jobs=["greet"], kwargs={"a": 1})
    assert refused.value.kind == "not_possible"


def test_jobs_are_triggered_by_tag_and_cancelled_by_name(client: Client) -> None:
    runs = client.ask("trigger", tags=["long"])["runs"]
    assert [run.partition("@")[0] for run in runs] == ["sleeper", "other"]
    wait_for(lambda: row(client, "sleeper")["running"][0]["pid"], "it runs")
    assert row(client, "sleeper")["state"] == "running"
    assert client.ask("cancel", runs=["sleeper", runs[1]])["cancelled"] == runs
    wait_for(lambda: row(client, "other")["last_outcome"] == "cancelled", "it has ended")
    wait_for(lambda: row(client, "sleeper")["last_outcome"] == "cancelled", "it has ended")


@pytest.mark.slow
def test_a_job_that_runs_already_is_not_started_again(client: Client) -> None:
    client.ask("trigger", jobs=["sleeper"])
    with pytest.raises(RefusedError, match="sleeper has as many runs as it may have"):
        client.ask("trigger", jobs=["sleeper"])
    cancel_all(client, "sleeper")


def test_a_run_that_cannot_be_started_is_told_as_one_that_was_made(client: Client) -> None:
    lines = told(client, "trigger", jobs=["absent"], wait=True)
    (run,) = lines[0].runs or ()
    (record,) = [line.record for line in lines if line.record]
    assert (record["run"], record["outcome"]) == (run, "spawn_failed")
    answer = client.ask("trigger", jobs=["absent"])
    assert ([run.partition("@")[0] for run in answer["runs"]], answer["skipped"]) == (
        ["absent"],
        [],
    )


def test_of_several_jobs_those_that_run_already_are_told_beside_the_runs(client: Client) -> None:
    client.ask("trigger", jobs=["sleeper"])
    accepted, *_ = told(client, "trigger", jobs=["greet", "sleeper"], wait=True)
    assert accepted.skipped == ("sleeper",)
    answer = client.ask("trigger", jobs=["greet", "sleeper"])
    assert ([run.partition("@")[0] for run in answer["runs"]], answer["skipped"]) == (
        ["greet"],
        ["sleeper"],
    )
    cancel_all(client, "sleeper")


@pytest.mark.parametrize("do", ["status", "trigger", "pause", "resume"])
def test_an_unknown_job_is_told_with_the_one_that_was_meant(client: Client, do: str) -> None:
    with pytest.raises(RefusedError, match="did you mean `greet`") as refused:
        client.ask(do, jobs=["gret"])
    assert refused.value.kind == "unknown_job"


def test_an_unknown_tag_is_told(client: Client) -> None:
    with pytest.raises(RefusedError, match="no job has the tag"):
        client.ask("trigger", tags=["lng"])


@pytest.mark.parametrize("do", ["trigger", "pause", "resume"])
def test_orders_for_no_job_at_all_are_refused(client: Client, do: str) -> None:
    with pytest.raises(RefusedError, match="name a job, or a tag"):
        client.ask(do)


@pytest.mark.parametrize(
    ("what", "kind"),
    [("greet@20200101T000000Z", "unknown_run"), ("yearly", "unknown_run"), ("x", "unknown_job")],
)
def test_what_does_not_run_cannot_be_cancelled(client: Client, what: str, kind: str) -> None:
    with pytest.raises(RefusedError) as refused:
        client.ask("cancel", runs=[what])
    assert refused.value.kind == kind


def test_a_pause_is_on_record_before_it_is_answered(house: Stsd, client: Client) -> None:
    assert client.ask("pause", jobs=["often"], for_s=3600, reason="tired") == {"paused": ["often"]}
    assert house.records("paused", "often")[-1]["reason"] == "tired"
    paused = row(client, "often")["paused"]
    assert (paused["reason"], paused["by"]) == ("tired", ME)
    wait_for(
        lambda: [r["reason"] for r in house.records("skipped", "often")] == ["paused"], "a skip"
    )
    assert client.ask("resume", jobs=["often"]) == {"resumed": ["often"]}
    assert house.records("resumed", "often")
    assert row(client, "often")["paused"] is None


def test_resuming_what_is_not_paused_resumes_nothing(client: Client) -> None:
    assert client.ask("resume", jobs=["greet"]) == {"resumed": []}


@pytest.fixture
def own(tmp_path: Path) -> Iterator[tuple[Stsd, Client]]:
    with (
        Stsd(tmp_path, '[jobs.a]\ncommand = "true"\ncron = "0 0 1 1 *"\n') as stsd,
        stsd.client() as client,
    ):
        yield stsd, client


def test_a_reload_answers_with_what_has_changed(own: tuple[Stsd, Client]) -> None:
    stsd, client = own
    stsd.write('[jobs.a]\ncommand = "false"\ncron = "0 0 1 1 *"\n[jobs.b]\ncommand = "true"\n')
    dry = client.ask("plan")["plan"]
    assert [job["job"] for job in client.ask("status")["jobs"]] == ["a"]
    plan = client.ask("reload")["plan"]
    assert plan == dry
    assert plan["added"] == [{"job": "b", "next": None}]
    (changed,) = plan["changed"]
    assert changed["keys"] == [{"key": "command", "before": "true", "after": "false"}]
    assert [job["job"] for job in client.ask("status")["jobs"]] == ["a", "b"]


def test_a_reload_of_a_broken_jobfile_is_refused_with_its_problems(
    own: tuple[Stsd, Client],
) -> None:
    stsd, client = own
    stsd.write('[jobs.a]\ncomand = "true"\n')
    with pytest.raises(RefusedError) as refused:
        client.ask("reload")
    assert refused.value.kind == "invalid_jobfile"
    assert any("did you mean `command`" in problem for problem in refused.value.problems)
    daemon = client.ask("status")["daemon"]
    assert "comand" in daemon["reload"]["problem"]
    assert daemon["jobs"] == 1


def test_while_it_stops_nothing_is_started(own: tuple[Stsd, Client]) -> None:
    stsd, client = own
    stsd.write('[jobs.a]\ncommand = "sleep 30"\nstop_signal = "KILL"\n')
    client.ask("reload")
    client.ask("trigger", jobs=["a"])
    wait_for(lambda: row(client, "a")["running"][0]["pid"], "it runs")
    os.kill(stsd.pid, 15)
    wait_for(lambda: client.ask("status")["daemon"]["stopping"], "it stops")
    with pytest.raises(RefusedError, match="stsd is stopping") as refused:
        client.ask("trigger", jobs=["a"])
    assert refused.value.kind == "stopping"
    client.ask("cancel", runs=["a"])
    assert stsd.process is not None
    assert stsd.process.wait(20) == 0


def test_after_a_restart_in_place_it_answers_again(own: tuple[Stsd, Client]) -> None:
    stsd, client = own
    client.ask("pause", jobs=["a"])
    os.kill(stsd.pid, 12)
    stsd.wait_for_event("started_daemon", 2)
    with stsd.client() as again:
        assert again.hello["pid"] == stsd.pid
        assert row(again, "a")["state"] == "paused"
