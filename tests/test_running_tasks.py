"""Jobs that call a web server or send a message, run by a real daemon."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from tests.support import Stsd, wait_for
from tests.support_http import Handler, Web

pytestmark = pytest.mark.slow


def arguments_of_children(stsd: Stsd) -> str:
    """The argv of all processes that the daemon has started, as `ps` shows them."""
    pids = Path(f"/proc/{stsd.pid}/task/{stsd.pid}/children").read_text().split()
    return "\n".join(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in pids)


def test_an_http_job_calls_a_server_and_keeps_its_answer(stsd: Stsd) -> None:
    with Web() as web:
        web.answers["/hook"] = lambda handler: handler.reply(201, b"thanks\n")
        stsd.write(
            f"""
            [jobs.call]
            on_start = true
            secrets = {{ TOKEN = {{ command = "echo hunter2hunter2" }} }}
            [jobs.call.http]
            url = "{web.url("/hook")}?key=${{TOKEN}}"
            headers = {{ X-Token = "${{TOKEN}}" }}
            json = {{ job = "${{STSD_JOB}}", list = [1] }}
            """
        )
        stsd.start()
        record = stsd.wait_for_record("finished", "call")
    assert record["outcome"] == "succeeded", stsd.output_of(record)
    assert stsd.output_of(record) == "HTTP/1.0 201 Created\nthanks\n"
    (asked,) = web.asked
    assert (asked.method, asked.path) == ("POST", "/hook?key=hunter2hunter2")
    assert asked.headers["x-token"] == "hunter2hunter2"
    assert asked.headers["content-type"] == "application/json"
    assert json.loads(asked.body) == {"job": "call", "list": [1]}


def test_an_unexpected_answer_is_retried_and_a_secret_shown_by_the_server_is_masked(
    stsd: Stsd,
) -> None:
    def moody(handler: Handler) -> None:
        echoed = handler.headers["X-Token"].encode()
        handler.reply(200 if len(web.asked) > 1 else 503, b"you said " + echoed)

    with Web() as web:
        web.answers["/"] = moody
        (stsd.folder / "token").write_text("hunter2hunter2\n")
        (stsd.folder / "token").chmod(0o600)
        stsd.write(
            f"""
            [jobs.call]
            on_start = true
            http = {{ url = "{web.url()}", headers = {{ X-Token = "${{TOKEN}}" }} }}
            secrets = {{ TOKEN = {{ file = "token" }} }}
            retry = {{ max = 1, delay = "0.1s" }}
            """
        )
        stsd.start()
        stsd.wait_for_record("finished", "call", 2)
    failed, succeeded = stsd.records("finished", "call")
    assert (failed["outcome"], failed["exit_code"]) == ("failed", 1)
    assert stsd.output_of(failed) == (
        "HTTP/1.0 503 Service Unavailable\nyou said ***"
        f"stsd: GET {web.url()} answered 503 (expected any from 200 to 299)\n"
    )
    assert succeeded["outcome"] == "succeeded"


def test_what_an_http_job_sends_is_not_seen_in_the_list_of_processes(stsd: Stsd) -> None:
    seen: list[str] = []

    def look(handler: Handler) -> None:
        seen.append(arguments_of_children(stsd))
        handler.reply(200)

    with Web() as web:
        web.answers["/hook"] = look
        url = web.url("/hook?key=in-the-query", host="ann:in-the-user@127.0.0.1")
        stsd.write(
            f"""
            [jobs.call]
            on_start = true
            http = {{ url = "{url}", headers = {{ A = "in-the-header" }}, body = "in-the-body" }}
            """
        )
        stsd.start()
        stsd.wait_for_record("finished", "call")
    assert f"POST {web.url('/hook')}" in seen[0]
    assert "in-the-" not in seen[0]


def test_a_message_job_sends_a_mail(stsd: Stsd) -> None:
    pytest.importorskip("apprise")
    pytest.importorskip("aiosmtpd")
    from tests.support_mail import Mailbox

    with Mailbox() as mailbox:
        stsd.write(
            f"""
            [jobs.tell]
            on_start = true
            env = {{ WHAT = "soup" }}
            [jobs.tell.message]
            to = ["{mailbox.address()}"]
            title = "${{STSD_JOB}}"
            body = "There is ${{WHAT}}."
            """
        )
        stsd.start()
        record = stsd.wait_for_record("finished", "tell")
        assert record["outcome"] == "succeeded", stsd.output_of(record)
        wait_for(lambda: mailbox.mails, "a mail")
        (mail,) = mailbox.mails
    assert mail["Subject"] == "tell"
    assert mail.get_content().strip() == "There is soup."


def test_a_hanging_server_is_ended_by_the_jobs_timeout(stsd: Stsd) -> None:
    released = threading.Event()
    with Web() as web:
        web.answers["/"] = lambda handler: released.wait(20)
        stsd.write(
            f'[jobs.call]\non_start = true\ntimeout = "0.5s"\nhttp = {{ url = "{web.url()}" }}\n'
        )
        stsd.start()
        assert stsd.wait_for_record("finished", "call")["outcome"] == "timed_out"
        released.set()
