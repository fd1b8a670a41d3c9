"""The development profile's stand-in for a mail server and its readers' mailboxes.

An SMTP server that takes every mail and keeps the latest in memory, and a small HTTP API by which tests and people
read them (docs/api.md, "Dev mail helper"). It knows nothing of accounts and has no place in production.
"""

# Twisted's SMTP classes carry no annotations.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any, TextIO

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IProtocolFactory, IReactorTime
from twisted.internet.protocol import ServerFactory
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageDelivery, IMessageSMTP
from twisted.web.http import Request as HttpRequest
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site
from zope.interface import implementer

_KEPT = 1000
"""Mails kept; a newer one pushes the oldest out."""

_MAX_SIZE = 1024 * 1024
"""Octets of a mail that is taken."""

_WAIT_S = 60
"""How long a reader waits for a first mail."""

Mail = dict[str, Any]
"""A mail as the API shows it: headers, subject, from, to, text, html."""


class MailSink:
    """Mailboxes by local part: case and domain are ignored.

    Each X-Link that comes in is printed on ``console``, one to a line.
    """

    def __init__(self, clock: IReactorTime, console: TextIO) -> None:
        self._clock = clock
        self._console = console
        self._mails: deque[tuple[str, Mail]] = deque(maxlen=_KEPT)
        self._waiting: dict[Deferred[None], str] = {}
        self._stopped = False

    def smtp_factory(self) -> IProtocolFactory:
        """What serves SMTP."""
        return _SmtpFactory(self._clock, self._keep)

    def site(self) -> Site:
        """What serves ``/mail/<local part>`` over HTTP; it keeps no access log."""
        root = notFound()
        root.putChild(b"mail", _Mailboxes(self))
        return _QuietSite(root, reactor=self._clock)

    def stop(self) -> None:
        """Answer every waiting reader with what there is: nothing. Later ones do not wait at all."""
        self._stopped = True
        self._release(None)

    def mails(self, local_part: str) -> list[Mail]:
        """The mails in this mailbox, oldest first."""
        return [mail for owner, mail in self._mails if owner == local_part.lower()]

    def empty(self, local_part: str) -> None:
        """Throw away what is in this mailbox."""
        kept = [entry for entry in self._mails if entry[0] != local_part.lower()]
        self._mails.clear()
        self._mails.extend(kept)

    async def first_mails(self, local_part: str) -> list[Mail]:
        """Like ``mails``, but wait for the first at most a minute. May be cancelled."""
        if not self.mails(local_part) and not self._stopped:
            arrival: Deferred[None] = Deferred()
            self._waiting[arrival] = local_part.lower()
            deadline = self._clock.callLater(_WAIT_S, arrival.callback, None)
            try:
                await arrival
            finally:
                self._waiting.pop(arrival, None)
                if deadline.active():
                    deadline.cancel()
        return self.mails(local_part)

    def _keep(self, local_part: str, content: bytes) -> None:
        mail = _shown(content)
        link = mail["headers"].get("x-link")
        if link is not None:
            print(link, file=self._console, flush=True)
        owner = local_part.lower()
        self._mails.append((owner, mail))
        self._release(owner)

    def _release(self, owner: str | None) -> None:
        """Let those go on who wait for this mailbox; None: for any."""
        for arrival, awaited in list(self._waiting.items()):
            if owner in (None, awaited):
                del self._waiting[arrival]
                arrival.callback(None)


class _SmtpFactory(ServerFactory):
    noisy = False

    def __init__(self, clock: IReactorTime, keep: Callable[[str, bytes], None]) -> None:
        self._clock = clock
        self._keep = keep

    def buildProtocol(self, addr: IAddress | None) -> smtp.ESMTP:
        protocol = smtp.ESMTP()
        protocol.factory = self
        protocol.noisy = False
        protocol.callLater = self._clock.callLater  # type: ignore[method-assign, assignment]
        protocol.delivery = _Delivery(self._keep)
        return protocol


@implementer(IMessageDelivery)
class _Delivery:
    """Accepts every sender and every recipient."""

    def __init__(self, keep: Callable[[str, bytes], None]) -> None:
        self._keep = keep

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:
        return b""

    def validateFrom(self, helo: object, origin: smtp.Address) -> smtp.Address:
        return origin

    def validateTo(self, user: smtp.User) -> Callable[[], _IncomingMail]:
        local_part: str = user.dest.local.decode("ascii")
        if local_part.startswith('"'):
            local_part = re.sub(r"\\(.)", r"\1", local_part[1:-1])
        return lambda: _IncomingMail(lambda content: self._keep(local_part, content))


@implementer(IMessageSMTP)
class _IncomingMail:
    def __init__(self, keep: Callable[[bytes], None]) -> None:
        self._keep = keep
        self._content = bytearray()

    def lineReceived(self, line: bytes) -> None:
        self._content += line + b"\n"
        if len(self._content) > _MAX_SIZE:
            raise smtp.SMTPServerError(552, b"Message too big")

    def eomReceived(self) -> Deferred[None]:
        return maybeDeferred(self._keep, bytes(self._content))

    def connectionLost(self) -> None:
        self._content.clear()


class _QuietSite(Site):
    def log(self, request: HttpRequest) -> None:
        pass


class _Mailboxes(Resource):
    isLeaf = True

    def __init__(self, sink: MailSink) -> None:
        super().__init__()
        self._sink = sink

    def render_GET(self, request: Request) -> int:
        def answer(mails: list[Mail]) -> None:
            body = json.dumps(mails).encode()
            request.setHeader(b"Content-Type", b"application/json; charset=utf-8")
            request.setHeader(b"Content-Length", b"%d" % len(body))
            request.write(body)
            request.finish()

        reading = Deferred.fromCoroutine(self._sink.first_mails(_local_part(request)))
        request.notifyFinish().addErrback(lambda reason: reading.cancel())
        reading.addCallbacks(answer, lambda reason: reason.trap(CancelledError))
        return NOT_DONE_YET

    def render_DELETE(self, request: Request) -> bytes:
        self._sink.empty(_local_part(request))
        return b""


def _local_part(request: Request) -> str:
    """What follows ``/mail/``; a whole address does as well."""
    return b"/".join(request.postpath or []).decode("utf-8", "replace").partition("@")[0]


def _shown(content: bytes) -> Mail:
    message = message_from_bytes(content, EmailMessage, policy=policy.default)
    headers: dict[str, str] = {}
    for name, value in message.items():
        headers.setdefault(name.lower(), _decoded(value))
    return {
        "headers": headers,
        "subject": headers.get("subject", ""),
        "from": _addresses(message, "From"),
        "to": _addresses(message, "To"),
        "text": _body(message, "plain"),
        "html": _body(message, "html"),
    }


def _addresses(message: EmailMessage, name: str) -> list[dict[str, str]]:
    return [
        {"address": _decoded(address.addr_spec), "name": _decoded(address.display_name)}
        for header in message.get_all(name, [])
        for address in header.addresses
    ]


def _body(message: EmailMessage, subtype: str) -> str:
    part = message.get_body((subtype,))
    return "" if part is None else part.get_content()


def _decoded(value: str) -> str:
    """Text of a header whose bytes outside ASCII are taken for UTF-8."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
