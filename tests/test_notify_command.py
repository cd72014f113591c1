"""`stsd notify --test`: what is sent, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stsd.cli import main
from tests.support import Stsd
from tests.support_http import Handler, Web


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        server.answers["/good"] = lambda handler: handler.reply(200)
        server.answers["/bad-key"] = lambda handler: handler.reply(500, b"bad-key is down")
        yield server


def stsd_with(folder: Path, notify: str, more: str = "") -> Stsd:
    return Stsd(folder, f'[jobs.backup]\ncommand = "echo hello"\nnotify = {notify}\n{more}')


def test_each_event_goes_to_each_target_and_all_answers_are_shown(tmp_path: Path, web: Web) -> None:
    stsd = stsd_with(
        tmp_path,
        f'{{ on = ["failed", "late"], to = ["{web.url("/good")}", "{web.url("/bad-key")}"] }}',
    )
    done = stsd.run("notify", "--test", "backup")
    assert done.returncode == 1, done.stderr
    place = f"http://127.0.0.1:{web.server_address[1]}/…"
    head, *rows = [line.split("  ") for line in done.stdout.splitlines()]
    shown = [[word.strip() for word in row if word.strip()] for row in rows]
    assert [word.strip() for word in head if word] == ["TARGET", "EVENT", "TOLD", "WHAT CAME BACK"]
    assert shown == [
        [place, "failed", "yes", "answered 200 OK"],
        [place, "late", "yes", "answered 200 OK"],
        [place, "failed", "no", "answered 500 Internal Server Error: *** is down"],
        [place, "late", "no", "answered 500 Internal Server Error: *** is down"],
    ]
    bodies = [json.loads(asked.body) for asked in web.asked]
    assert [body["test"] for body in bodies] == [True] * 4
    assert sorted(body["notices"][0]["event"] for body in bodies) == [
        "failed",
        "failed",
        "late",
        "late",
    ]
    assert len({body["delivery"] for body in bodies}) == 4


def test_all_being_told_is_a_success(tmp_path: Path, web: Web) -> None:
    stsd = stsd_with(tmp_path, f'{{ to = "{web.url("/good")}" }}')
    done = stsd.run("notify", "--test", "backup", "--event", "failed", "--json")
    assert done.returncode == 0, done.stderr
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {
            "job": "backup",
            "target": f"http://127.0.0.1:{web.server_address[1]}/…",
            "event": "failed",
            "told": True,
            "said": "answered 200 OK",
        }
    ]


def test_what_is_told_by_default_is_what_is_tried(tmp_path: Path, web: Web) -> None:
    stsd = stsd_with(tmp_path, f'{{ to = "{web.url("/good")}" }}')
    done = stsd.run("notify", "--test", "backup", "--json")
    events = [json.loads(line)["event"] for line in done.stdout.splitlines()]
    assert events == ["failed", "recovered", "late", "missed", "slow", "silent", "held"]


def test_a_test_looks_like_the_last_run(tmp_path: Path, web: Web) -> None:
    stsd = stsd_with(tmp_path, f'{{ to = "{web.url("/good")}" }}')
    with stsd, stsd.client():
        assert stsd.run("trigger", "--wait", "backup").returncode == 0
        record = stsd.wait_for_record("finished", "backup")
        stsd.run("notify", "--test", "backup", "--event", "failed")
    (told,) = json.loads(web.asked[-1].body)["notices"]
    assert (told["run"], told["tail"]) == (record["run"], ["hello"])
    assert told["more"] == f"stsd logs -c {stsd.jobfile} {record['run']}"
    assert (told["outcome"], told["exit_code"]) == ("failed", 1)


def test_a_secret_of_the_job_is_used_and_not_shown(tmp_path: Path, web: Web) -> None:
    web.answers["/hunter22"] = lambda handler: handler.reply(404, b"no hunter22 here")
    key = tmp_path / "key"
    key.write_text("hunter22\n")
    key.chmod(0o600)
    stsd = stsd_with(
        tmp_path,
        f'{{ on = ["failed"], to = "{web.url("/")}${{KEY}}" }}',
        f'secrets = {{ KEY = {{ file = "{key}" }} }}\n',
    )
    done = stsd.run("notify", "--test", "backup")
    assert web.asked[0].path == "/hunter22"
    assert "answered 404 Not Found: no *** here" in done.stdout
    assert "hunter22" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["backup"], "only tests are sent by hand (stsd notify --test backup)"),
        (["--test", "bakup"], "no job bakup in {file} (did you mean `backup`?)"),
        (
            ["--test", "backup", "--event", "late"],
            "nobody is told of backup: late (on: failed, recovered)",
        ),
        (
            ["--test", "quiet"],
            'nobody is told of quiet (add notify = {{ to = "mailto://..." }} to the job or to'
            " [defaults])",
        ),
    ],
)
def test_what_cannot_be_tried_says_what_would_be_right(
    words: list[str], said: str, tmp_path: Path
) -> None:
    stsd = stsd_with(
        tmp_path,
        '{ on = ["failed", "recovered"], to = { command = "true" } }',
        '[jobs.quiet]\ncommand = "true"\n',
    )
    done = stsd.run("notify", *words)
    assert done.returncode == 2
    assert done.stderr == f"stsd: {said.format(file=stsd.jobfile)}\n"
    assert done.stdout == ""


def test_an_event_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as refused:
        main(["notify", "--test", "backup", "--event", "fails"])
    assert refused.value.code == 2
    assert "invalid choice: 'fails'" in capsys.readouterr().err


def test_a_target_that_hangs_holds_up_no_other(tmp_path: Path, web: Web) -> None:
    """The one that answers has been told before the other one is let go."""
    flag = tmp_path / "go-on"
    hanging = f"while ! test -e {flag}; do sleep 0.05; done"

    def go_on(handler: Handler) -> None:
        handler.reply(200)
        flag.touch()

    web.answers["/good"] = go_on
    stsd = stsd_with(
        tmp_path,
        f'{{ on = ["failed"], to = [{{ command = "{hanging}" }}, "{web.url("/good")}"] }}',
    )
    assert stsd.run("notify", "--test", "backup").returncode == 0
