"""The program of message jobs, run as stsd runs it, against a real mail server."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("apprise")
pytest.importorskip("aiosmtpd")

from stsd.send_message import masked, place_of, untold_of
from tests.support_http import Web
from tests.support_mail import Mailbox

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).parent.parent / "stsd" / "send_message.py"


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        yield server


def run(
    *to: str,
    title: str = "It is noon",
    body: str = "Eat.",
    env: dict[str, str] | None = None,
    python: str | Path = sys.executable,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-I", PROGRAM],
        input=json.dumps({"to": to, "title": title, "body": body}),
        capture_output=True,
        text=True,
        timeout=30,
        env={"LANG": "C.UTF-8"} | (env or {}),
        cwd="/",
        check=False,
    )


def text_of(mailbox: Mailbox) -> tuple[str, str]:
    """Subject and plain text of the only mail."""
    (mail,) = mailbox.mails
    part = mail.get_body(("plain",))
    assert part is not None
    return mail["Subject"], part.get_content().strip().replace("\r\n", "\n")


class Service:
    """A service of apprise's that keeps what it is told."""

    def __init__(self, title_maxlen: int) -> None:
        self.title_maxlen = title_maxlen
        self.told: list[dict[str, str]] = []

    def url(self, *, privacy: bool) -> str:
        assert privacy
        return "x://y/"

    def notify(self, **message: str) -> bool:
        self.told.append(message)
        return True


class Apprise:
    """The module, as far as it is used, with a single service."""

    def __init__(self, service: Service) -> None:
        self.Apprise = self
        self._service = service

    def AppriseAsset(self, **kwargs: str) -> None:  # noqa: N802
        """Nothing of it matters here."""

    def instantiate(self, url: str, asset: object) -> Service:
        return self._service


def test_a_mail_arrives(mailbox: Mailbox) -> None:
    done = run(mailbox.address(), title="Grüße", body="a < b & c\nzwei")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"told mailto://127.0.0.1:{mailbox.port}\n"
    assert text_of(mailbox) == ("Grüße", "a < b & c\nzwei")
    (mail,) = mailbox.mails
    assert (mail["From"], mail["To"]) == ("stsd@example.com", "ann@example.com")
    assert mail.get_content_type() == "text/plain"


def test_a_title_alone_is_a_message(mailbox: Mailbox) -> None:
    assert run(mailbox.address(), body="").returncode == 0
    assert text_of(mailbox) == ("It is noon", "It is noon")


def test_a_title_alone_is_said_once_where_there_are_no_titles() -> None:
    service = Service(title_maxlen=0)
    list(untold_of({"to": ["x://y"], "title": "noon", "body": ""}, {}, Apprise(service)))
    assert service.told == [{"title": "", "body": "noon", "body_format": "text"}]


def test_variables_are_put_into_title_and_body(mailbox: Mailbox) -> None:
    env = {"STSD_JOB": "lunch", "WHAT": "soup & ${STSD_JOB}"}
    run(mailbox.address(), title="${STSD_JOB}", body="$${WHAT}: ${WHAT}", env=env)
    assert text_of(mailbox) == ("lunch", "${WHAT}: soup & ${STSD_JOB}")


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
def test_a_password_of_any_characters_can_be_put_into_an_address() -> None:
    password = "p@ss:/w%rd?&#"
    with Mailbox(("ann", password)) as mailbox:
        address = mailbox.address("ann:${PASSWORD}@")
        assert run(address, env={"PASSWORD": password}).returncode == 0
        assert len(mailbox.mails) == 1
        done = run(address, env={"PASSWORD": "wrong-one"})
    assert done.returncode == 1
    assert done.stderr.startswith(f"stsd: address 1 of 1, mailto://127.0.0.1:{mailbox.port}, was")
    assert "535" in done.stderr
    assert "wrong-one" not in done.stdout + done.stderr


def test_a_variable_can_be_a_whole_address(mailbox: Mailbox) -> None:
    assert run("${OPS}", env={"OPS": mailbox.address()}).returncode == 0
    assert len(mailbox.mails) == 1


def test_all_are_told_and_it_is_said_who_was_not(mailbox: Mailbox) -> None:
    gone = Mailbox()  # never started
    absent, port = gone.address("user:hunter2@"), gone.port
    done = run(absent, "nonsense://hunter2", "${NOBODY}", mailbox.address())
    assert done.returncode == 1
    assert len(mailbox.mails) == 1
    first, second, third = done.stderr.splitlines()
    assert first.startswith(f"stsd: address 1 of 4, mailto://127.0.0.1:{port}, was not told: ")
    assert "Connection refused" in first
    assert second.startswith("stsd: address 2 of 4, nonsense://…, is none that apprise understands")
    assert third == "stsd: address 3 of 4 cannot be used: the variable NOBODY is not set"
    assert "hunter2" not in done.stdout + done.stderr


def test_a_server_that_refuses_is_no_success(mailbox: Mailbox) -> None:
    mailbox.refuse = "554 no, thanks"
    done = run(mailbox.address())
    assert done.returncode == 1
    assert "no, thanks" in done.stderr


def test_a_web_hook_is_told_and_its_key_is_not_shown() -> None:
    with Web() as web:
        web.answers["/key-of-mine/x"] = lambda handler: handler.reply(200)
        address = web.url("/key-of-mine/x").replace("http", "json")
        assert run(address).returncode == 0
        assert json.loads(web.asked[0].body)["message"] == "Eat."
        web.answers["/key-of-mine/x"] = lambda handler: handler.reply(500)
        done = run(address)
    assert done.returncode == 1
    assert "error=500" in done.stderr
    assert "key-of-mine" not in done.stdout + done.stderr


def test_a_variable_of_the_text_that_is_not_set_is_told_before_anything_is_sent(
    mailbox: Mailbox,
) -> None:
    done = run(mailbox.address(), body="${WHAT}")
    assert (done.returncode, mailbox.mails) == (1, [])
    assert done.stderr == "stsd: the message cannot be sent: the variable WHAT is not set\n"


def test_a_missing_apprise_is_one_sentence(tmp_path: Path) -> None:
    venv.create(tmp_path, symlinks=True)
    done = run("ntfy://topic", python=tmp_path / "bin" / "python")
    assert done.returncode == 1
    assert done.stderr == (
        "stsd: a message takes apprise, which is not installed (pip install 'stsd[messages]')\n"
    )


def test_a_host_that_is_a_key_is_shown_as_apprise_hides_it() -> None:
    assert place_of("tgram://1...p/987/?silent=no") == "tgram://1...p"
    assert place_of("mailto://u:****@localhost:2525/?from=a") == "mailto://localhost:2525"
    url = "tgram://123456789:abcdefg_hijklmnop/98765/"
    said = "no: https://x/bot123456789:abcdefg_hijklmnop/to/98765"
    assert masked(said, url, "tgram://1...p") == "no: https://x/bot***:***/to/***"


def test_what_is_hidden_is_hidden_encoded_and_decoded() -> None:
    url = "json://ann:p%40ss@host/hook/s%20t?+X-Key=k%2Fy12"
    said = "p@ss p%40ss hook s t s%20t k/y12 host ann"
    assert masked(said, url, "json://host") == "*** *** *** s t *** *** host ann"
