"""What http and message jobs are made of, from a jobfile."""

from __future__ import annotations

from pathlib import Path

import pytest

from stsd.model import HttpTask, MessageTask
from tests.support_jobfile import loaded, problems


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o755)
    monkeypatch.chdir(tmp_path)


def test_an_http_job_has_what_the_table_says() -> None:
    made = loaded(
        """
        [jobs.a.http]
        url = "https://${HOST}/hook?a=1"
        method = "PUT"
        headers = { X-Token = "${TOKEN}", Accept = "*/*" }
        body = "it is $${NOT} ${TIME}"
        expect = [201, 202]
        timeout = "5s"
        """
    ).jobs["a"]
    assert made.task == HttpTask(
        "https://${HOST}/hook?a=1",
        "PUT",
        (
            ("X-Token", "${TOKEN}"),
            ("Accept", "*/*"),
            ("Content-Type", "text/plain; charset=utf-8"),
        ),
        "it is $${NOT} ${TIME}",
        expect=(201, 202),
        timeout=5.0,
    )


def test_an_http_job_gets_unless_it_sends_something() -> None:
    text = """
        [jobs.plain]
        http = { url = "http://localhost:8080" }
        [jobs.json]
        http = { url = "http://[::1]/", json = { text = "ä", list = [1, true] }, expect = 204 }
        [jobs.array]
        http = { url = "${URL}", json = [1], headers = { content-type = "text/json" } }
        """
    jobs = loaded(text).jobs
    assert jobs["plain"].task == HttpTask("http://localhost:8080")
    assert jobs["json"].task == HttpTask(
        "http://[::1]/",
        "POST",
        (("Content-Type", "application/json"),),
        '{"text": "\\u00e4", "list": [1, true]}',
        json=True,
        expect=(204,),
    )
    assert jobs["array"].task == HttpTask(
        "${URL}", "POST", (("content-type", "text/json"),), "[1]", json=True
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("method = 'GET'", "jobs.a.http: `url` is missing (the address, http or https)"),
        ("url = 'ftp://host/'", '"ftp://host/" is not a web address'),
        ("url = 'http:///path'", '"http:///path" is not a web address'),
        ("url = 'example.com'", '"example.com" is not a web address'),
        ("url = 'http://h:99999/'", '"99999" is not a port (from 1 to 65535)'),
        ("url = 'http://a]b@h/'", "is not a web address"),
        ("url = 'http://h/a b'", "holds a space or a control character (write %20)"),
        ("url = 'http://h/${'", 'no variable in "${" (write ${NAME}'),
        ("url = 'http://h/', method = 'post'", '"post" is not an HTTP method in capitals'),
        ("url = 'http://h/', body = 'x', json = 1", "`body` and `json` are two ways"),
        ("url = 'http://h/', json = nan", "write it as a string"),
        ("url = 'http://h/', expect = 99", "from 200 to 599"),
        ("url = 'http://h/', headers = { 'A B' = '' }", "is not a header's name"),
        ("url = 'http://h/', headers = { A = \"x\\nB: y\" }", "jobs.a.http.headers.A: holds a new"),
        ("url = 'http://h/', headers = { A = '1', a = '2' }", "twice, but for its case"),
        ("url = 'http://h/', headers = { Content-Length = '1' }", "is set by stsd itself"),
        ("url = 'http://h/', headers = { A = '${a b}' }", 'no variable in "${a b}"'),
        ("url = 'http://h/', timeout = 0", "is not between 0 and 100 years"),
    ],
)
def test_what_no_request_can_be_made_of_is_refused(table: str, said: str) -> None:
    (told,) = problems(f"[jobs.a]\nhttp = {{ {table} }}\n")
    assert told.startswith("jobs.toml:2:")
    assert said in told


def test_a_message_job_has_what_the_table_says() -> None:
    made = loaded(
        """
        [jobs.a.message]
        to = ["mailto://stsd:${PASSWORD}@example.com", "${CHAT}"]
        title = "It is ${STSD_SCHEDULED_AT}"
        body = "line\\nline"
        [jobs.b]
        message = { to = "ntfy://topic", title = "Hello" }
        """
    ).jobs
    assert made["a"].task == MessageTask(
        ("mailto://stsd:${PASSWORD}@example.com", "${CHAT}"),
        "It is ${STSD_SCHEDULED_AT}",
        "line\nline",
    )
    assert made["b"].task == MessageTask(("ntfy://topic",), "Hello", "")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("to = 'mailto://a@b.org'", "says nothing (add a `title`, a `body` or both)"),
        ("title = 'x'", "`to` is missing"),
        ("to = 'a@b.org', title = 'x'", '"a@b.org" is not an address for a message (such as'),
        ("to = [], title = 'x'", "is an empty array"),
        ("to = 'ntfy://x', title = \"x\\ny\"", "holds a newline"),
        ("to = 'ntfy://x', body = '${1}'", 'no variable in "${1}"'),
    ],
)
def test_what_no_message_can_be_made_of_is_refused(table: str, said: str) -> None:
    (told,) = problems(f"[jobs.a]\nmessage = {{ {table} }}\n")
    assert told.startswith("jobs.toml:2:")
    assert said in told


def test_a_machine_without_apprise_is_warned_of_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = '[jobs.{}]\nmessage = {{ to = "ntfy://topic", title = "x" }}\n'
    assert loaded(text.format("a") + text.format("b")).warnings == (
        "jobs.toml:2:11: jobs.a.message: takes apprise (pip install 'stsd[messages]')",
    )
