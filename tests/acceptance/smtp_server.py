"""A mail server apart from the daemon, which takes every mail and keeps it for the test to read."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.acceptance.daemon import eventually


class SmtpServer:
    """aiosmtpd on a thread of its own, on this port of 127.0.0.1, between ``start`` and ``stop``."""

    def __init__(self, port: int) -> None:
        self._mails: list[tuple[str, EmailMessage]] = []
        self._controller = Controller(self, "127.0.0.1", port, ready_timeout=30)
        self._runs = False

    def start(self) -> None:
        self._controller.start()
        self._runs = True

    def stop(self) -> None:
        if self._runs:
            self._controller.stop()
            self._runs = False

    def to(self, email: str) -> list[EmailMessage]:
        """The mails that came for this address so far."""
        return [mail for recipient, mail in self._mails if recipient == email]

    def nth_to(self, email: str, n: int) -> EmailMessage:
        """The n-th mail for this address, counted from 1, once it is there."""
        mails: list[EmailMessage] = eventually(lambda: self.to(email)[n - 1 :], f"mail {n} to {email}")
        return mails[0]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, EmailMessage, policy=policy.default)
        self._mails += [(recipient, mail) for recipient in envelope.rcpt_tos]
        return "250 OK"
