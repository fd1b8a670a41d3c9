"""Why a message was not sent, in the terms that decide what becomes of it.

What to do about it is for others to say: the outbox tries again or gives up, ``advice`` tells the operator the mend.
"""

from __future__ import annotations

from enum import Enum

CANCELLED = "cancelled"
"""The reason of a message that was not sent because its sender gave up."""


class Stage(Enum):
    """How far a message got, named by what was tried last. The value completes "no answer to …"."""

    RESOLVE = "the look-up of the name"
    CONNECT = "the connection"
    GREETING = "the connection (no greeting)"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    TLS = "the TLS handshake"
    CERTIFICATE = "the check of the certificate"
    AUTH = "AUTH"
    RESET = "RSET"
    ADDRESS = "the check of the addresses"
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    CONTENT = "the message"


class MailNotSent(Exception):
    """The server did not take the message over.

    ``code`` is the SMTP reply code, None where there was no reply; ``reason`` says why in one line, mostly in the
    server's own words. ``server_failed`` tells that the server refused or broke off before it heard to whom the
    message goes, so that any other message would have fared alike. ``for_good`` tells that this message to this
    recipient was refused, and will be the next time, too. ``stage`` is None only where nobody knows.
    """

    def __init__(
        self,
        reason: str,
        code: int | None = None,
        server_failed: bool = False,
        for_good: bool = False,
        stage: Stage | None = None,
    ) -> None:
        super().__init__(reason if code is None else f"{code} {reason}")
        self.reason = reason
        self.code = code
        self.server_failed = server_failed
        self.for_good = for_good
        self.stage = stage
