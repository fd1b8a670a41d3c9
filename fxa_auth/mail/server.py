"""The mail server as the settings tell it: where it is, how it is spoken to, and how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from twisted.internet.ssl import Certificate

StartTls = Literal["required", "opportunistic", "off"]


@dataclass(frozen=True)
class SmtpServer:
    """One server, and what it is told and trusted with.

    ``secure`` is TLS from the first byte (RFC 8314); else ``start_tls`` says when STARTTLS (RFC 3207) is used.
    ``authorities`` may vouch for the server; none named are those of the system, or of the file that the environment
    variable SSL_CERT_FILE names. With a ``user`` the server has to accept user and password.
    ``ehlo_name`` is a domain or an address literal. The times are seconds: to connect in, between a command and
    its answer, and for all that one message takes.
    """

    host: str
    port: int
    ehlo_name: str
    secure: bool = False
    start_tls: StartTls = "opportunistic"
    authorities: tuple[Certificate, ...] = ()
    user: str = ""
    password: str = field(default="", repr=False)
    max_connections: int = 4
    connect_timeout_s: float = 10
    reply_timeout_s: float = 20
    timeout_s: float = 30
