"""What tells people, against real receivers; at the end the process, as the herald runs it."""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("apprise")
pytest.importorskip("aiosmtpd")

from stsd import deliver
from stsd.child import process_of
from stsd.deliver import carried_out
from stsd.model import ArgvTask, Job, Secret, ShellTask, When
from stsd.notices import Event, Means, Notice, Target
from stsd.parcel import item_for, ping_item
from tests.support import DEADLINE_S, wait_for
from tests.support_http import Handler, Raw, Web
from tests.support_mail import Mailbox
from tests.support_notices import DUE, PRINTED, bare, notice

# apprise's own, which is not for us to mend.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

BACKUP = Job(
    "backup",
    ShellTask("true"),
    When(cron=("30 2 * * *",), timezone="Europe/Berlin"),
    description="Nightly dump",
)


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        yield server


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox() as server:
        yield server


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    output = notice().output
    assert output is not None
    path = tmp_path / output
    path.parent.mkdir(parents=True)
    path.write_bytes(PRINTED)
    return tmp_path


@pytest.fixture(autouse=True)
def alarm() -> Iterator[None]:
    """As `main` has it."""
    before = signal.signal(signal.SIGALRM, deliver._overdue)
    yield
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Items take a second at most."""
    monkeypatch.setattr(deliver, "LONGEST_S", 1)


def item(
    target: Target,
    log_dir: Path,
    *notices: Notice,
    job: Job = BACKUP,
    **known: Any,
) -> dict[str, Any]:
    """The item that tells a target of a failure, or of these."""
    told = notices or (notice(),)
    fields: dict[str, Any] = {
        "jobfile": Path("/etc/stsd/jobs.toml"),
        "log_dir": log_dir,
        "host": "db1",
        "now": DUE + 5.0,
    }
    return item_for("5f1c", target, told, {job.name: job}, **(fields | known))


def run(*items: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The answers to these items, as they are on the line; in the tests' own process."""
    answers = [carried_out(json.loads(json.dumps(each))) for each in items]
    return [json.loads(json.dumps(asdict(each))) for each in answers]


def told(target: Target, log_dir: Path, **known: Any) -> dict[str, Any]:
    (answer,) = run(item(target, log_dir, **known))
    return answer


def message(address: str) -> Target:
    return Target(Means.MESSAGE, address=address)


def hook(address: str, secret: str = "") -> Target:
    return Target(Means.WEBHOOK, address=address, secret=secret)


def shell(command: str) -> Target:
    return Target(Means.COMMAND, shell=command)


# -- mail


def test_a_mail_has_a_text_and_a_page_of_the_same_words(mailbox: Mailbox, log_dir: Path) -> None:
    answer = told(message(mailbox.address()), log_dir)
    place = f"mailto://127.0.0.1:{mailbox.port}"
    assert (answer["id"], answer["ok"], answer["said"]) == ("5f1c", True, "told")
    assert answer["place"] == place
    (mail,) = mailbox.mails
    assert mail.get_content_type() == "multipart/alternative"
    assert mail["Subject"] == "[stsd] backup failed: exit code 2 (db1)"
    assert (mail["Stsd-Delivery"], mail["Auto-Submitted"]) == ("5f1c", "auto-generated")
    parts = [mail.get_body((kind,)) for kind in ("plain", "html")]
    texts = [part.get_content() for part in parts if part is not None]
    assert len(texts) == 2
    for text in texts:
        assert "Nightly dump" in text
        assert "pg_dump: error: connection" in text
        assert "stsd logs backup@20261121T023000Z" in text
        assert "\x1b" not in text


def test_the_text_of_a_mail_is_one_that_reads_well(mailbox: Mailbox, log_dir: Path) -> None:
    told(message(mailbox.address()), log_dir)
    part = mailbox.mails[0].get_body(("plain",))
    assert part is not None
    lines = [line.strip() for line in part.get_content().splitlines()]
    first = lines.index("Run: backup@20261121T023000Z")
    assert lines[first : first + 6] == [
        "Run: backup@20261121T023000Z",
        "Due: Sat 2026-11-21 03:30:00 (Europe/Berlin), by cron",
        "Attempt: 3",
        "Outcome: failed, exit code 2",
        "Took: 3.2s, usually 4m2s",
        "Next due: Sun 2026-11-22 02:30:00 (Europe/Berlin)",
    ]
    assert lines[:3] == ["backup failed", "", "exit code 2"]


def test_no_reason_begins_a_header_of_a_mail(mailbox: Mailbox, log_dir: Path) -> None:
    evil = notice(why="no\r\nBcc: eve@example.com\r\n\r\nbody", error="x\r\nX-Evil: 1")
    run(item(message(mailbox.address()), log_dir, evil))
    (mail,) = mailbox.mails
    assert (mail["Bcc"], mail["X-Evil"]) == (None, None)
    assert mail["Subject"] == "[stsd] backup failed: no Bcc: eve@example.com body (db1)"


def test_a_digest_is_one_mail(mailbox: Mailbox, log_dir: Path) -> None:
    many = [notice(job=f"job{number}") for number in range(500)]
    (answer,) = run(item(message(mailbox.address()), log_dir, *many))
    assert answer["ok"]
    (mail,) = mailbox.mails
    assert mail["Subject"] == "[stsd] 500 jobs failed (db1)"


def test_a_mail_of_text_alone_can_be_asked_for(mailbox: Mailbox, log_dir: Path) -> None:
    told(message(mailbox.address(format="text")), log_dir)
    assert mailbox.mails[0].get_content_type() == "text/plain"


def test_a_mail_server_that_refuses_is_told_of_without_its_password(log_dir: Path) -> None:
    with Mailbox() as mailbox:
        mailbox.refuse = "554 no, hunter22"
        job = Job("backup", BACKUP.task, env=(("PASSWORD", "hunter22"),))
        answer = told(message(mailbox.address("ann:${PASSWORD}@")), log_dir, job=job)
    assert not answer["ok"]
    assert not answer["hopeless"]
    assert "hunter22" not in json.dumps(answer)
    assert answer["place"] == f"mailto://127.0.0.1:{mailbox.port}"


def test_a_mail_server_that_is_down_may_be_back_later(log_dir: Path) -> None:
    gone = Mailbox()  # never started
    answer = told(message(gone.address()), log_dir)
    assert (answer["ok"], answer["hopeless"]) == (False, False)
    assert "Connection refused" in answer["said"]


def test_an_address_that_apprise_refuses_is_hopeless(log_dir: Path) -> None:
    answer = told(message("nonsense://hunter22"), log_dir)
    assert (answer["ok"], answer["hopeless"]) == (False, True)
    assert answer["said"].startswith("apprise does not understand the address")
    assert "hunter22" not in json.dumps(answer)


# -- chat


class Service:
    """A service of apprise's, as far as `deliver` looks at one."""

    def __init__(self, formats: Any, title_maxlen: int = 250, body_maxlen: int = 2000) -> None:
        self.notify_format = formats
        self.title_maxlen = title_maxlen
        self.body_maxlen = body_maxlen
        self.said: dict[str, str] = {}

    def notify(self, **said: str) -> bool:
        self.said = said
        return True


@pytest.mark.parametrize(
    ("service", "form"),
    [
        (Service(("html", "text")), "html"),
        (Service("html"), "html"),
        (Service(("html", "markdown"), title_maxlen=0), "markdown"),
        (Service("html", title_maxlen=0), "text"),
        (Service(("text", "markdown")), "markdown"),
        (Service("markdown"), "markdown"),
        (Service(("text", "html", "markdown")), "text"),
        (Service("text"), "text"),
    ],
)
def test_a_service_gets_the_form_that_suits_it(service: Service, form: str, log_dir: Path) -> None:
    letter = deliver.letter_of(item(message("x://y"), log_dir))
    assert deliver._told(service, letter)
    assert service.said["body_format"] == form
    assert service.said["title"].startswith("[stsd] backup failed")
    assert form == "html" or len(service.said["body"]) <= 2000


@pytest.mark.parametrize(
    ("events", "kind"),
    [
        ([Event.FAILED, Event.RECOVERED], "failure"),
        ([Event.LATE, Event.RECOVERED], "warning"),
        ([Event.RECOVERED], "success"),
    ],
)
def test_a_message_has_the_colour_of_the_gravest(
    events: list[Event], kind: str, log_dir: Path
) -> None:
    service = Service("text")
    sent = item(message("x://y"), log_dir, *map(notice, events))
    deliver._told(service, deliver.letter_of(sent))
    assert service.said["notify_type"] == kind


def test_of_a_run_that_is_slow_is_shown_what_it_has_printed_so_far(log_dir: Path) -> None:
    slow = notice(Event.SLOW, outcome=None, output=None)
    (told_of,) = deliver.letter_of(item(message("x://y"), log_dir, slow)).told
    assert told_of.tail[-1].endswith("turned")


def test_a_real_chat_gets_markdown_that_it_takes(web: Web, log_dir: Path) -> None:
    web.answers["/hooks/3ccdd113474722377935511fc85d3dd4"] = lambda handler: handler.reply(200)
    address = f"mmost://127.0.0.1:{web.server_address[1]}/3ccdd113474722377935511fc85d3dd4"
    assert told(message(address), log_dir)["ok"]
    text = json.loads(web.asked[0].body)["text"]
    assert "backup failed" in text
    assert "pg_dump: error" in text


# -- webhook


def test_a_webhook_gets_the_documented_shape(web: Web, log_dir: Path) -> None:
    web.answers["/x"] = lambda handler: handler.reply(204)
    answer = told(hook(web.url("/x")), log_dir)
    assert (answer["ok"], answer["said"]) == (True, "answered 204 No Content")
    (asked,) = web.asked
    assert (asked.method, asked.headers["content-type"]) == ("POST", "application/json")
    assert asked.headers["stsd-delivery"] == "5f1c"
    assert "stsd-signature" not in asked.headers
    body = json.loads(asked.body)
    (found,) = body.pop("notices")
    expected = {"version": 1, "delivery": "5f1c", "host": "db1", "test": False, "dropped": 0}
    assert body == expected
    assert found["tail"][-1].endswith("turned")
    del found["tail"]
    assert found == {
        "event": "failed",
        "job": "backup",
        "job_description": "Nightly dump",
        "timezone": "Europe/Berlin",
        "at": "2026-11-21T02:30:04.000Z",
        "headline": "backup failed",
        "why": "exit code 2",
        "since": None,
        "run": "backup@20261121T023000Z",
        "scheduled": "2026-11-21T02:30:00Z",
        "trigger": "cron",
        "attempt": 3,
        "outcome": "failed",
        "exit_code": 2,
        "signal": None,
        "error": None,
        "started": "2026-11-21T02:30:00.500Z",
        "duration_s": 3.2,
        "usual_s": 242.0,
        "output": "output/backup/backup@20261121T023000Z.3.log",
        "output_bytes": 9216,
        "will_retry_at": None,
        "next": "2026-11-22T01:30:00.000Z",
        "count": 1,
        "reminder": 0,
        "ended": [],
        "more": "stsd logs backup@20261121T023000Z",
    }


def test_a_signature_is_that_of_the_body_by_the_secret(
    web: Web, log_dir: Path, tmp_path: Path
) -> None:
    web.answers["/x"] = lambda handler: handler.reply(200)
    key = tmp_path / "key"
    key.write_text("k1:§\n")
    key.chmod(0o600)
    job = Job("backup", BACKUP.task, secrets=(Secret("HOOK_KEY", file=str(key)),))
    told(hook(web.url("/x"), "${HOOK_KEY}"), log_dir, job=job)
    (asked,) = web.asked
    parts = dict(part.split("=", 1) for part in asked.headers["stsd-signature"].split(","))
    assert abs(time.time() - int(parts["t"])) < DEADLINE_S
    signed = f"{parts['t']}.".encode() + asked.body
    assert parts["v1"] == hmac.new("k1:§".encode(), signed, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("status", "hopeless"),
    [
        *((status, False) for status in (500, 503, 429, 408, 425)),
        *((status, True) for status in (400, 404, 410, 301)),
    ],
)
def test_a_status_tells_whether_trying_again_may_help(
    status: int, hopeless: bool, web: Web, log_dir: Path
) -> None:
    web.answers["/x"] = lambda handler: handler.reply(status, b"because\n of\x1b[2J that")
    answer = told(hook(web.url("/x")), log_dir)
    assert (answer["ok"], answer["hopeless"]) == (False, hopeless)
    assert answer["said"].startswith(f"answered {status} ")
    assert answer["said"].endswith(": because of\\x1b[2J that")


def test_what_a_server_echoes_shows_no_secret(web: Web, log_dir: Path) -> None:
    web.answers["/hooks/path-key"] = lambda handler: handler.reply(
        403, f"{handler.path} {handler.headers['Authorization']} env-key".encode()
    )
    job = Job("backup", BACKUP.task, env=(("KEY", "env-key"),))
    address = web.url("/hooks/path-key?x=${KEY}").replace("://", "://ann:basic-key@")
    answer = told(hook(address), log_dir, job=job)
    assert "-key" not in json.dumps(answer)
    assert answer["place"] == f"http://127.0.0.1:{web.server_address[1]}/…"


def test_a_server_that_hangs_is_left_after_a_while(web: Web, log_dir: Path, short: None) -> None:

    def dribble(handler: Handler) -> None:
        """One byte now and then, so that it is never silent for long."""
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Header: ")
        while True:
            handler.wfile.write(b".")
            time.sleep(0.05)

    web.answers["/x"] = dribble
    answer = carried_out(item(hook(web.url("/x")), log_dir))
    assert (answer.ok, answer.hopeless, answer.said) == (False, False, "took longer than 1 s")
    assert answer.unsure


def test_a_success_is_one_whatever_becomes_of_the_rest_of_the_answer(log_dir: Path) -> None:
    with Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf") as server:
        port = server.server_address[1]
        assert told(hook(f"http://127.0.0.1:{port}/x"), log_dir)["ok"]


@pytest.mark.parametrize(
    ("sent", "said", "unsure"),
    [
        (b"", "ended the connection without an answer", True),
        (b"nonsense\r\n", "got no answer: what came is not HTTP", False),
        (b"HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf", "answered 500 No: half", False),
    ],
)
def test_a_server_that_breaks_off_has_told_nobody(
    sent: bytes, said: str, unsure: bool, log_dir: Path
) -> None:
    with Raw(sent) as server:
        port = server.server_address[1]
        answer = told(hook(f"http://127.0.0.1:{port}/x"), log_dir)
    assert (answer["ok"], answer["unsure"]) == (False, unsure)
    assert answer["said"].startswith(said)


def test_a_server_that_is_down_may_be_back_later(log_dir: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    answer = told(hook(f"http://127.0.0.1:{port}/x"), log_dir)
    assert (answer["ok"], answer["hopeless"], answer["unsure"]) == (False, False, False)
    assert answer["said"] == "got no answer: Connection refused"


def test_a_variable_that_is_not_set_is_named(log_dir: Path) -> None:
    answer = told(hook("https://${NOBODY}/"), log_dir)
    assert (answer["hopeless"], answer["said"]) == (True, "the variable NOBODY is not set")


# -- command


def test_a_command_is_told_on_its_input_and_in_its_environment(
    log_dir: Path, tmp_path: Path
) -> None:
    job = Job("backup", BACKUP.task, env=(("GREETING", "hello"),), cwd=str(tmp_path))
    answer = told(shell("cat > body; env -0 > env"), log_dir, job=job)
    assert answer == {
        "id": "5f1c",
        "ok": True,
        "hopeless": False,
        "unsure": False,
        "place": "command cat",
        "said": "exited 0",
    }
    assert json.loads((tmp_path / "body").read_text())["delivery"] == "5f1c"
    env = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().split("\0") if line)
    known = {name: env[name] for name in env if name.startswith("STSD_")}
    assert env["GREETING"] == "hello"
    assert "More: stsd logs backup@20261121T023000Z" in known.pop("STSD_TEXT")
    assert known == {
        "STSD_EVENT": "failed",
        "STSD_JOB": "backup",
        "STSD_RUN_ID": "backup@20261121T023000Z",
        "STSD_HOST": "db1",
        "STSD_DELIVERY": "5f1c",
        "STSD_TEST": "",
        "STSD_SUBJECT": "[stsd] backup failed: exit code 2 (db1)",
    }


def test_a_command_gets_a_digest_as_one(log_dir: Path, tmp_path: Path) -> None:
    two = [notice(), bare(Event.LATE, "backup", "no success by 06:00 (UTC)")]
    target = shell('printf "%s/%s" "$STSD_EVENT" "$STSD_JOB" > got')
    job = Job("backup", BACKUP.task, cwd=str(tmp_path))
    (answer,) = run(item(target, log_dir, *two, job=job))
    assert answer["ok"]
    assert (tmp_path / "got").read_text() == "digest/"


@pytest.mark.parametrize(
    "broken",
    [
        {"cwd": "/no/such/folder"},
        {"env_files": ("/no/such/file",)},
        {"secrets": (Secret("TOKEN", command=ShellTask("exit 4")),)},
    ],
)
def test_what_a_job_fails_for_does_not_keep_its_command_from_telling(
    broken: dict[str, Any], log_dir: Path, tmp_path: Path
) -> None:
    job = Job("backup", BACKUP.task, env=(("GREETING", "hello"),), **broken)
    answer = told(shell(f'printf "%s" "$GREETING" > {tmp_path}/got'), log_dir, job=job)
    assert (answer["ok"], (tmp_path / "got").read_text()) == (True, "hello")


def test_a_command_that_fails_is_told_with_what_it_lacked(log_dir: Path) -> None:
    job = Job("backup", BACKUP.task, secrets=(Secret("TOKEN", command=ShellTask("exit 4")),))
    answer = told(shell("test -n $TOKEN; exit 3"), log_dir, job=job)
    assert answer["said"] == "exited 3; secrets.TOKEN: its command exited 4"


@pytest.mark.parametrize(
    ("target", "hopeless", "said"),
    [
        (shell("echo first; echo last >&2; exit 3"), False, "exited 3: last"),
        (shell("kill -9 $$"), False, "was killed by SIGKILL"),
        (shell("stsd-no-such-program"), True, "exited 127: "),
        (Target(Means.COMMAND, argv=("/no/such",)), True, "cannot be started: No such file"),
        (shell("yes | head -c 10000000; exit 1"), False, "exited 1: y"),
        (shell("printf '\\033[2Jcleared'; exit 1"), False, "exited 1: \\x1b[2Jcleared"),
    ],
)
def test_a_command_that_fails_has_told_nobody(
    target: Target, hopeless: bool, said: str, log_dir: Path
) -> None:
    answer = told(target, log_dir)
    assert (answer["ok"], answer["hopeless"]) == (False, hopeless)
    assert answer["said"].startswith(said)


def test_a_command_s_children_are_not_waited_for(log_dir: Path) -> None:
    began = time.monotonic()
    assert told(shell("sleep 300 & exit 0"), log_dir)["ok"]
    assert time.monotonic() - began < 100


def test_a_command_that_hangs_is_killed_with_all_that_it_has_started(
    log_dir: Path, tmp_path: Path, short: None
) -> None:
    job = Job("backup", BACKUP.task, cwd=str(tmp_path))
    target = shell("echo $$ > pid; sleep 300 & echo $! >> pid; wait")
    answer = carried_out(item(target, log_dir, job=job))
    assert (answer.ok, answer.said) == (False, "took longer than 1 s")
    pids = [int(line) for line in (tmp_path / "pid").read_text().split()]
    assert len(pids) == 2
    for pid in pids:
        wait_for(partial(_is_gone, pid), f"{pid} is gone")


def _is_gone(pid: int) -> bool:
    """Whether a process has ended, be it reaped or not."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True


def test_a_secret_that_a_command_prints_is_not_shown(log_dir: Path, tmp_path: Path) -> None:
    secret = Secret("TOKEN", command=ArgvTask(("echo", "hunter22")))
    job = Job("backup", BACKUP.task, secrets=(secret,))
    answer = told(shell('echo "refused $TOKEN"; exit 1'), log_dir, job=job)
    assert answer["said"] == "exited 1: refused ***"


def test_a_secret_that_cannot_be_had_is_named(log_dir: Path) -> None:
    job = Job("backup", BACKUP.task, secrets=(Secret("TOKEN", command=ShellTask("exit 4")),))
    answer = told(hook("https://${TOKEN}/"), log_dir, job=job)
    assert (answer["hopeless"], answer["said"]) == (True, "secrets.TOKEN: its command exited 4")


# -- ping


def test_a_ping_is_a_post_of_its_body_and_of_the_end_of_the_output(web: Web, log_dir: Path) -> None:
    web.answers["/uuid/start"] = lambda handler: handler.reply(200, b"OK")
    job = Job("backup", BACKUP.task, env=(("CHECK", "uuid"),))
    url = web.url("/${CHECK}/start?rid=1")
    ping = ("p1", url, "a ${CHECK} body\n")
    items = [ping_item(*ping, output, job, log_dir=log_dir) for output in (None, notice().output)]
    answer, _ = run(*items)
    assert (answer["id"], answer["ok"], answer["said"]) == ("p1", True, "answered 200 OK")
    asked, with_tail = web.asked
    assert (asked.method, asked.path) == ("POST", "/uuid/start?rid=1")
    assert asked.body == b"a ${CHECK} body\n"
    first, blank, *tail = with_tail.body.decode().splitlines()
    assert (first, blank, tail[1]) == ("a ${CHECK} body", "", "dumping 100%")


# -- the process


def test_items_are_answered_in_their_order_and_each_at_once(log_dir: Path) -> None:
    child = subprocess.Popen(
        process_of("deliver"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/"
    )
    with child:
        assert child.stdin is not None
        assert child.stdout is not None
        for number in (1, 2):
            sent = {**item(shell("exit 0"), log_dir), "id": f"d{number}"}
            child.stdin.write(json.dumps(sent).encode() + b"\n")
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["id"] == f"d{number}"
        child.stdin.close()
        assert child.wait(DEADLINE_S) == 0


def test_the_room_is_a_program_as_well(mailbox: Mailbox, log_dir: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "stsd.deliver"],
        input=json.dumps(item(message(mailbox.address()), log_dir)) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout)["ok"]
    assert len(mailbox.mails) == 1


def test_an_output_that_cannot_be_read_does_not_keep_the_news_back(web: Web, log_dir: Path) -> None:
    output = log_dir / str(notice().output)
    output.unlink()
    output.mkdir()
    web.answers["/x"] = lambda handler: handler.reply(200)
    assert told(hook(web.url("/x")), log_dir)["ok"]
    (tail,) = json.loads(web.asked[0].body)["notices"][0]["tail"]
    assert tail == "(it cannot be read: Is a directory)"


def test_a_job_that_is_gone_is_told_of_all_the_same(web: Web, log_dir: Path) -> None:
    web.answers["/x"] = lambda handler: handler.reply(200)
    fields: dict[str, Any] = {
        "jobfile": Path("/etc/stsd/jobs.toml"),
        "log_dir": log_dir,
        "host": "db1",
        "now": DUE + 5.0,
    }
    (answer,) = run(item_for("5f1c", hook(web.url("/x")), [notice()], {}, **fields))
    assert answer["ok"]
    (found,) = json.loads(web.asked[0].body)["notices"]
    assert (found["job"], found["timezone"], found["next"]) == ("backup", "UTC", None)
