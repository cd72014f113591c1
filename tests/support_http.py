"""A web server on loopback whose answers a test writes itself."""

from __future__ import annotations

import socket
import socketserver
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


@dataclass(frozen=True)
class Asked:
    """One request as the server got it; the names of `headers` are in small letters."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Handler(BaseHTTPRequestHandler):
    """Takes note of a request and hands it to the test's function of that path."""

    server: Web

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        asked = Asked(self.command, self.path, headers, self.rfile.read(length))
        self.server.asked.append(asked)
        self.server.answers[self.path.partition("?")[0]](self)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Nothing: the test asks for what it wants to know."""


class Web(ThreadingHTTPServer):
    """The server; `answers` are functions by path, `asked` what was asked so far."""

    daemon_threads = True

    def __init__(self, certificate: tuple[str, str] | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.answers: dict[str, Callable[[Handler], object]] = {}
        self.asked: list[Asked] = []
        self.scheme = "http"
        if certificate is not None:
            self.scheme = "https"
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self.scheme}://{host}:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: that a client goes away is what some of the tests are about."""

    def __enter__(self) -> Web:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()


class Raw(socketserver.ThreadingTCPServer):
    """A server that sends the same bytes to everybody, whatever was asked, and hangs up."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, data: bytes) -> None:
        class Sender(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                asker: socket.socket = self.request
                asker.recv(65536)
                asker.sendall(data)

        super().__init__(("127.0.0.1", 0), Sender)
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Raw:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.shutdown()
        self.server_close()
