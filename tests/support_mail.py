"""A mail server on loopback that keeps what it gets."""

from __future__ import annotations

import socket
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session


def _free_port() -> int:
    """A port that was free a moment ago: the server insists on being told a number."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Mailbox:
    """The server; `mails` came in whole. With a `login` (user, password) it takes none without."""

    def __init__(self, login: tuple[str, str] | None = None) -> None:
        self.mails: list[EmailMessage] = []
        self.refuse = ""
        self._login = login
        self.port = _free_port()
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            authenticator=self._authenticate,
            auth_required=login is not None,
            auth_require_tls=False,
        )

    def address(self, user: str = "", **query: str) -> str:
        """Its address for apprise, without TLS."""
        options = {"from": "stsd@example.com", "to": "ann@example.com", "mode": "insecure"} | query
        tail = "&".join(f"{name}={value}" for name, value in options.items())
        return f"mailto://{user}127.0.0.1:{self.port}?{tail}"

    async def handle_DATA(  # noqa: N802 - the name that aiosmtpd calls
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        if self.refuse:
            return self.refuse
        assert isinstance(envelope.content, bytes)
        self.mails.append(message_from_bytes(envelope.content, EmailMessage, policy=policy.default))
        return "250 OK"

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: object
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        given = (data.login.decode(), data.password.decode())
        return AuthResult(success=given == self._login, handled=False)

    def __enter__(self) -> Mailbox:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._controller.stop()
