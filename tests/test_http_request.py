"""The program of http jobs, run as stsd runs it, against a real server."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support_http import Handler, Raw, Web

PROGRAM = Path(__file__).parent.parent / "stsd" / "http_request.py"


@pytest.fixture
def web() -> Iterator[Web]:
    with Web() as server:
        server.answers["/"] = lambda handler: handler.reply(200, b"hello\n")
        yield server


def spec_of(url: str, **spec: Any) -> bytes:
    """What the program reads: a plain request, but for what is told."""
    plain = {"url": url, "method": "GET", "headers": [], "body": None, "json": False}
    return json.dumps({**plain, "expect": [], "timeout": 5.0, **spec}).encode()


def run(
    url: str, env: dict[str, str] | None = None, **spec: Any
) -> subprocess.CompletedProcess[bytes]:
    """The program on a spec, with nothing else in its environment."""
    return subprocess.run(
        [sys.executable, "-I", PROGRAM, "GET somewhere"],
        input=spec_of(url, **spec),
        capture_output=True,
        timeout=30,
        env=env or {},
        cwd="/",
        check=False,
    )


def failure(url: str, env: dict[str, str] | None = None, **spec: Any) -> str:
    """What is said of a request that fails, which is one sentence."""
    done = run(url, env, **spec)
    assert done.returncode == 1, done
    (said,) = done.stderr.decode().splitlines()
    assert said.startswith("stsd: ")
    return said


def refused_port() -> int:
    """A port at which nobody listens, as nearly as can be had."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port: int = unused.getsockname()[1]
    return port


# -- the answer


def test_the_status_line_and_the_body_are_printed(web: Web) -> None:
    done = run(web.url())
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == b"HTTP/1.0 200 OK\nhello\n"


def test_a_body_that_is_no_text_comes_as_it_is(web: Web) -> None:
    data = bytes(range(256)) * 1000
    web.answers["/bytes"] = lambda handler: handler.reply(200, data)
    assert run(web.url("/bytes")).stdout.partition(b"\n")[2] == data


def test_an_unexpected_status_fails_with_what_was_expected(web: Web) -> None:
    web.answers["/broken"] = lambda handler: handler.reply(500, b"oh no")
    done = run(web.url("/broken?token=hunter2"))
    assert done.returncode == 1
    assert done.stdout.endswith(b"\noh no")
    url = web.url("/broken")
    said = f"stsd: GET {url} answered 500 (expected any from 200 to 299)\n"
    assert done.stderr.decode() == said
    assert failure(web.url(), expect=[201, 202]) == (
        f"stsd: GET {web.url()} answered 200 (expected 201, 202)"
    )
    assert run(web.url("/broken"), expect=[404, 500]).returncode == 0


def test_a_big_body_is_passed_on_in_bounded_memory(web: Web) -> None:
    block, count = b"x" * (1 << 20), 200
    measured = threading.Event()

    def big(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        for _ in range(count):
            handler.wfile.write(block)
        measured.wait(20)

    web.answers["/big"] = big
    with subprocess.Popen(
        [sys.executable, "-I", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(spec_of(web.url("/big"), timeout=20))
        child.stdin.close()
        assert child.stdout.readline() == b"HTTP/1.0 200 OK\n"
        for _ in range(count):
            assert len(child.stdout.read(len(block))) == len(block)
        status = Path(f"/proc/{child.pid}/status").read_text()
        measured.set()
        assert child.stdout.read() == b""
    assert child.returncode == 0
    peak_kb = int(status.partition("VmHWM:")[2].split()[0])
    assert peak_kb < 64 << 10


def test_what_the_server_has_sent_is_printed_before_it_sends_more(web: Web) -> None:
    go_on = threading.Event()

    def slow(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"first")
        handler.wfile.flush()
        go_on.wait(20)
        handler.wfile.write(b"second")

    web.answers["/slow"] = slow
    with subprocess.Popen(
        [sys.executable, "-I", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(spec_of(web.url("/slow"), timeout=20))
        child.stdin.close()
        assert child.stdout.readline() == b"HTTP/1.0 200 OK\n"
        assert child.stdout.read(5) == b"first"
        go_on.set()
        assert child.stdout.read() == b"second"


# -- the request


def test_method_headers_and_body_are_sent(web: Web) -> None:
    run(
        web.url("/?a=1"),
        method="PUT",
        headers=[["X-Token", "ä b"], ["Content-Type", "text/plain"]],
        body="grüße",
    )
    (asked,) = web.asked
    assert (asked.method, asked.path, asked.body) == ("PUT", "/?a=1", "grüße".encode())
    assert asked.headers["x-token"].encode("latin-1") == "ä b".encode()
    assert asked.headers["content-type"] == "text/plain"
    assert asked.headers["user-agent"].startswith("stsd/")
    assert asked.headers["host"] == f"127.0.0.1:{web.server_address[1]}"


def test_variables_are_put_into_address_headers_and_body(web: Web) -> None:
    env = {"TOKEN": "a/b&c=d é", "HOST": web.url().split("/")[2]}
    web.answers["/a/b%26c%3Dd%20%C3%A9"] = lambda handler: handler.reply(200)
    done = run(
        "http://${HOST}/${TOKEN}?t=${TOKEN}",
        env,
        headers=[["X-Token", "Bearer ${TOKEN}"]],
        body="<${TOKEN}> $${TOKEN}",
    )
    assert done.returncode == 0, done.stderr
    (asked,) = web.asked
    assert asked.path == "/a/b%26c%3Dd%20%C3%A9?t=a/b%26c%3Dd%20%C3%A9"
    assert asked.headers["x-token"].encode("latin-1").decode() == "Bearer a/b&c=d é"
    assert asked.body.decode() == "<a/b&c=d é> ${TOKEN}"


def test_a_variable_can_be_the_whole_address(web: Web) -> None:
    assert run("${URL}", {"URL": web.url("/?a=b&c=d")}).returncode == 0
    assert web.asked[0].path == "/?a=b&c=d"


def test_what_a_variable_holds_stays_within_its_string_of_json(web: Web) -> None:
    value = '", "admin": true, "x": "\n'
    run(web.url(), {"WORD": value}, method="POST", json=True, body='{"text": "say ${WORD}"}')
    assert json.loads(web.asked[0].body) == {"text": f"say {value}"}


def test_a_variable_that_is_not_set_is_named_and_nothing_is_sent(web: Web) -> None:
    said = failure(web.url("/"), headers=[["A", "${TOKEN}"]])
    assert said == f"stsd: GET {web.url()} cannot be sent: the variable TOKEN is not set"
    assert web.asked == []


def test_a_newline_of_a_variable_makes_no_second_header(web: Web) -> None:
    said = failure(web.url(), {"T": "secret\nX-Admin: 1"}, headers=[["A", "${T}"]])
    assert said == f"stsd: GET {web.url()} has a newline in its header A"
    assert web.asked == []


def test_user_and_password_of_the_address_go_into_a_header_alone(web: Web) -> None:
    url = web.url("/", host="ann:${PASSWORD}@127.0.0.1")
    assert run(url, {"PASSWORD": "p@ss:/word"}).returncode == 0
    assert web.asked[0].headers["authorization"] == "Basic YW5uOnBAc3M6L3dvcmQ="
    web.answers["/"] = lambda handler: handler.reply(401)
    assert failure(url, {"PASSWORD": "p@ss:/word"}) == (
        f"stsd: GET {web.url()} answered 401 (expected any from 200 to 299)"
    )


def test_a_proxy_of_the_environment_is_used(web: Web) -> None:
    target = "http://elsewhere.example/x"
    web.answers["http://elsewhere.example/x"] = lambda handler: handler.reply(200, b"by proxy")
    done = run(target, {"http_proxy": web.url()})
    assert done.stdout.endswith(b"by proxy")
    assert (
        run(web.url(), {"http_proxy": "http://127.0.0.1:1", "no_proxy": "127.0.0.1"}).returncode
        == 0
    )


# -- redirects


def to(url: str, status: int = 302) -> Any:
    return lambda handler: handler.reply(status, b"moved", Location=url)


def test_a_redirect_is_followed_without_the_body_of_a_post(web: Web) -> None:
    web.answers["/old"] = to("/?new")
    done = run(
        web.url("/old"),
        method="POST",
        body="x",
        headers=[["Content-Type", "text/plain"], ["X-Token", "t"]],
    )
    assert done.stdout == b"HTTP/1.0 200 OK\nhello\n"
    _, second = web.asked
    assert (second.method, second.path, second.body) == ("GET", "/?new", b"")
    assert second.headers["x-token"] == "t"
    assert "content-type" not in second.headers


def test_credentials_do_not_go_to_another_host(web: Web) -> None:
    with Web() as other:
        other.answers["/"] = lambda handler: handler.reply(200)
        web.answers["/old"] = to(other.url())
        headers = [["Authorization", "Bearer t"], ["X-Api-Key", "k"], ["Accept", "text/html"]]
        assert run(web.url("/old"), headers=headers).returncode == 0
        (asked,) = other.asked
    assert asked.headers["accept"] == "text/html"
    assert asked.headers.keys() == {"accept", "accept-encoding", "connection", "host", "user-agent"}


def test_what_was_posted_is_not_posted_to_where_a_307_leads(web: Web) -> None:
    web.answers["/old"] = to("/", 307)
    said = failure(web.url("/old"), method="POST", body="x")
    assert "answered 307 (expected any from 200 to 299)" in said
    assert len(web.asked) == 1
    assert run(web.url("/old")).returncode == 0


def test_a_redirect_that_is_expected_is_not_followed(web: Web) -> None:
    web.answers["/old"] = to("/")
    assert run(web.url("/old"), expect=[302]).stdout == b"HTTP/1.0 302 Found\nmoved"
    assert len(web.asked) == 1


def test_redirects_without_end_are_given_up(web: Web) -> None:
    web.answers["/loop"] = to("/loop")
    assert "was redirected more than 10 times" in failure(web.url("/loop"))


def test_a_redirect_to_a_file_is_not_followed(web: Web) -> None:
    for target in ("file:///etc/passwd", "ftp://127.0.0.1/x", "http://[::1/"):
        web.answers["/old"] = to(target)
        assert "was redirected to no address of http or https" in failure(web.url("/old"))


# -- TLS


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate for localhost that it signed itself, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    folder = tmp_path_factory.mktemp("tls")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    words = [*command.split(), "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*words, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: tuple[str, str]) -> None:
    with Web(certificate) as web:
        web.answers["/"] = lambda handler: handler.reply(200)
        said = failure(web.url("/", "localhost"))
        assert said.endswith("has a certificate that is not valid: self-signed certificate")
        assert web.asked == []


def test_a_certificate_that_is_trusted_is_good_for_its_own_name(
    certificate: tuple[str, str],
) -> None:
    trusted = {"SSL_CERT_FILE": certificate[0]}
    with Web(certificate) as web:
        web.answers["/"] = lambda handler: handler.reply(200)
        assert run(web.url("/", "localhost"), trusted).returncode == 0
        assert "not valid: IP address mismatch" in failure(web.url("/"), trusted)


def test_a_redirect_from_https_to_http_is_not_followed(
    certificate: tuple[str, str], web: Web
) -> None:
    with Web(certificate) as secure:
        secure.answers["/"] = to(web.url())
        said = failure(secure.url("/", "localhost"), {"SSL_CERT_FILE": certificate[0]})
    assert said.endswith("was redirected from https to http, which is not followed")
    assert web.asked == []


# -- what goes wrong


def test_a_server_that_is_silent_is_given_up(web: Web) -> None:
    released = threading.Event()
    web.answers["/hang"] = lambda handler: released.wait(20)
    begun = time.monotonic()
    assert failure(web.url("/hang"), timeout=0.3).endswith("was silent for 0.3 s")
    assert time.monotonic() - begun < 5
    released.set()


def test_a_server_that_falls_silent_within_its_answer_is_given_up(web: Web) -> None:
    released = threading.Event()

    def stall(handler: Handler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(b"half")
        released.wait(20)

    web.answers["/stall"] = stall
    done = run(web.url("/stall"), timeout=0.3)
    released.set()
    assert done.returncode == 1
    assert done.stdout.endswith(b"half")
    assert b"was silent for 0.3 s" in done.stderr


def test_an_answer_that_breaks_off_is_no_success(web: Web) -> None:
    def broken(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"x" * 60)

    web.answers["/broken"] = broken
    assert failure(web.url("/broken")).endswith("broke off its answer, 40 bytes before the end")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "ended the connection without an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "got no answer: what came is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: " + b"x" * 100_000, "got no answer: what came is not HTTP"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "broke off its answer: what came is not HTTP",
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
            "broke off its answer: what came is not HTTP",
        ),
    ],
)
def test_what_is_no_answer_of_http_is_told(data: bytes, said: str) -> None:
    with Raw(data) as server:
        assert said in failure(f"http://127.0.0.1:{server.server_address[1]}/")


def test_a_server_that_is_not_there_is_told() -> None:
    port = refused_port()
    assert failure(f"http://u:pw@127.0.0.1:{port}/x?secret") == (
        f"stsd: GET http://127.0.0.1:{port}/x got no answer: Connection refused"
    )
    assert "has a host that is not found: " in failure("http://nowhere.invalid/")


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "", "http://", "http://[::1/", "ht tp://x/", "http://a..b/"]
)
def test_a_variable_that_is_no_address_of_the_web_is_refused_unseen(url: str) -> None:
    said = failure("${URL}", {"URL": url})
    assert said.startswith("stsd: GET ${URL} has ")
    assert "passwd" not in said


def test_no_part_of_a_variable_is_ever_shown(web: Web) -> None:
    env = {"S": "hunter2"}
    host = web.url().split("/")[2]
    for url in (
        f"http://{host}/missing/${{S}}",
        "http://127.0.0.1:1/${S}",
        "http://${S}.invalid/",
        "http://ann:${S}@127.0.0.1:1/",
        "${S}",
    ):
        web.answers["/missing/hunter2"] = lambda handler: handler.reply(404)
        done = run(url, env, headers=[["A", "${S}"]])
        assert done.returncode == 1
        assert b"hunter2" not in done.stdout + done.stderr


def test_an_output_that_takes_no_more_is_told_without_a_traceback(web: Web) -> None:
    web.answers["/big"] = lambda handler: handler.reply(200, b"x" * 1_000_000)
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-I", PROGRAM],
            input=spec_of(web.url("/big")),
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert b"the answer cannot be written: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr
