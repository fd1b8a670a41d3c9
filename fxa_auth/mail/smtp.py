"""Messages go to an SMTP server (RFC 5321), one message to a connection.

It knows the server's address and credentials, and refuses to know what a message says and when to try again. The
credentials appear in no error, log line or ``repr``.
"""

# Twisted's SMTP classes carry no annotations.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import re
from collections.abc import Callable
from typing import cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.mail import smtp
from twisted.python.failure import Failure

from fxa_auth.mail.compose import Message

_MAX_TEXT = 300
"""Characters of a server's answer that are worth telling."""

_PATH = re.compile(r"[!-;=?-~]+")
"""What may stand between the angle brackets of MAIL and RCPT: printable ASCII without spaces and brackets."""

_MAILBOX_NAME_NOT_ALLOWED = 553


class MailNotSent(Exception):
    """The server did not take the message over.

    ``code`` is the SMTP reply code, None where there was no reply; ``reason`` says why in one line, mostly in the
    server's own words. ``server_failed`` tells that the server refused or broke off before it heard of this message,
    so that any other message would have fared alike. ``for_good`` tells that this message to this recipient was
    refused, and will be the next time, too.
    """

    def __init__(
        self, reason: str, code: int | None = None, server_failed: bool = False, for_good: bool = False
    ) -> None:
        super().__init__(reason if code is None else f"{code} {reason}")
        self.reason = reason
        self.code = code
        self.server_failed = server_failed
        self.for_good = for_good


class SmtpSender:
    """Sends messages by way of ``host``:``port``.

    ``secure`` means TLS from the first byte (RFC 8314), the certificate checked against the system's authorities or
    those in the file that the environment variable SSL_CERT_FILE names; else there is no TLS. With a ``user`` the
    server has to accept ``user`` and ``password``. ``timeout_s`` bounds the whole of one ``send``.
    """

    def __init__(
        self, reactor: IReactorTime, host: str, port: int, secure: bool, user: str, password: str, timeout_s: float
    ) -> None:
        self._reactor = reactor
        self._user = user.encode()
        self._password = password.encode()
        self._timeout_s = timeout_s
        # Our own limit covers connecting, too; the endpoint's would only cut it short.
        endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, host, port, timeout=timeout_s)
        self._endpoint = wrapClientTLS(optionsForClientTLS(host), endpoint) if secure else endpoint

    async def send(self, message: Message) -> str:
        """The server's answer, code and text, when it has taken the message over and the connection is closed.

        Raises ``MailNotSent``, also when cancelled; for an address that is not ASCII it does so with code 553 and
        without asking the server: SMTPUTF8 (RFC 6531) is not spoken here. For a recipient that is for good; a sender
        is a matter of settings.
        """
        for address, for_good in ((message.sender, False), (message.recipient, True)):
            if not _PATH.fullmatch(address):
                reason = "address cannot be mailed to: not plain ASCII"
                raise MailNotSent(reason, _MAILBOX_NAME_NOT_ALLOWED, for_good=for_good)
        dialogue = _Dialogue(message, self._user, self._password)
        connecting = connectProtocol(self._endpoint, dialogue)

        def expire() -> None:
            dialogue.break_off(f"no end after {self._timeout_s:g} s")
            connecting.cancel()

        deadline = self._reactor.callLater(self._timeout_s, expire)
        try:
            await connecting
            await dialogue.closed
        except Exception as error:
            dialogue.fail(f"no connection: {error}")
        finally:
            if deadline.active():
                deadline.cancel()
        if dialogue.error is not None:
            raise dialogue.error
        return dialogue.answer


class _Dialogue(smtp.ESMTPClient):
    """One connection that carries one message.

    Twisted's client knows greeting, EHLO and AUTH. What follows is done here, because there it loses a dot on the
    first line and at the joints of its chunks, raises inside ``dataReceived`` for some addresses and answers, and
    puts what it sent (the password, too) into its errors.
    """

    debug = False

    def __init__(self, message: Message, user: bytes, password: bytes) -> None:
        domain = message.sender.rpartition("@")[2]
        super().__init__(password, None, domain.encode("ascii"))
        self.requireAuthentication = bool(user)
        if user:
            for mechanism in (smtp.CramMD5ClientAuthenticator, smtp.LOGINAuthenticator, smtp.PLAINAuthenticator):
                self.registerAuthenticator(mechanism(user))
        self.closed: Deferred[None] = Deferred(lambda closed: self.break_off("cancelled"))
        self.error: MailNotSent | None = None
        self.answer = ""
        self._message = message
        self._authenticating = False
        self._message_begun = False
        self._sender_taken = False
        self._accepted = False

    def fail(self, reason: str, code: int | None = None) -> None:
        """Remember why the message was not sent; the first reason counts, and none once the server took it."""
        if not self._accepted and self.error is None:
            for_good = self._sender_taken and _is_about_the_mailbox(code, reason)
            self.error = MailNotSent(reason, code, server_failed=not self._message_begun, for_good=for_good)

    def break_off(self, reason: str) -> None:
        """End the connection at once, if there is one."""
        self.fail(reason)
        if self.transport is not None:
            cast(ITCPTransport, self.transport).abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.fail(f"connection lost: {reason.value}")
        if not self.closed.called:
            self.closed.callback(None)

    def sendError(self, exc: smtp.SMTPClientError) -> None:
        code = exc.code if exc.code > 0 else None
        if isinstance(exc, smtp.AUTHRequiredError):
            self.fail("server offers no AUTH mechanism out of CRAM-MD5, LOGIN, PLAIN")
        elif self._authenticating:
            self.fail("AUTH failed (the answer is not shown: it may repeat the credentials)", code)
        else:
            self.fail(_readable(exc.resp), code)
        super().sendError(exc)

    def esmtpState_serverConfig(self, code: int, resp: bytes) -> None:
        # Keywords are of any case (RFC 5321, 2.4); an empty line would raise.
        lines = [line for line in resp.upper().splitlines() if line.strip()]
        super().esmtpState_serverConfig(code, b"\n".join(lines))

    def authenticate(self, code: int, resp: bytes, items: dict[bytes, bytes | None]) -> None:
        self._authenticating = True
        super().authenticate(code, resp, items)

    def smtpState_helo(self, code: int, resp: bytes) -> None:
        super().smtpState_helo(code, resp)
        # Else a refused HELO would be said again, without end.
        self._failresponse = self.smtpConnectionFailed

    def smtpState_from(self, code: int, resp: bytes) -> None:
        self._authenticating = False
        self._message_begun = True
        self._say(b"MAIL FROM:<%s>" % self._message.sender.encode("ascii"), [250], self._sender_accepted)

    def _sender_accepted(self, code: int, resp: bytes) -> None:
        self._sender_taken = True
        recipient = self._message.recipient.encode("ascii")
        self._say(b"RCPT TO:<%s>" % recipient, [250, 251], self._recipient_accepted)

    def _recipient_accepted(self, code: int, resp: bytes) -> None:
        self._say(b"DATA", [354], self._data_awaited)

    def _data_awaited(self, code: int, resp: bytes) -> None:
        self._say(stuffed(self._message.content) + b".", [250], self._message_accepted)

    def _message_accepted(self, code: int, resp: bytes) -> None:
        self._accepted = True
        self.answer = f"{code} {_readable(resp)}"
        self._disconnectFromServer()

    def _say(self, line: bytes, expected: list[int], then: Callable[[int, bytes], None]) -> None:
        self._expected = expected
        self._okresponse = then
        self._failresponse = self._refused
        self.sendLine(line)

    def _refused(self, code: int, resp: bytes) -> None:
        self.sendError(smtp.SMTPDeliveryError(code, resp))


def _is_about_the_mailbox(code: int | None, reason: str) -> bool:
    """Whether a refusal says that there is no such mailbox.

    One for reasons of policy (5.7 of RFC 3463), or of any other kind, an operator may mend.
    """
    return code in (550, 551, 553) and not reason.startswith("5.7.")


def stuffed(content: bytes) -> bytes:
    """The message as DATA carries it (RFC 5321, 4.5.2): every line ends with CRLF, a leading dot is doubled.

    A lone CR or LF counts as the end of a line: passed on, some servers would take it for one and others not.
    """
    lines = re.split(rb"\r\n|\r|\n", content)
    if not lines[-1]:
        lines.pop()
    return b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines)


def _readable(answer: bytes) -> str:
    """A server's answer as one printable line of bounded length."""
    text = " ".join(answer.decode("ascii", "backslashreplace").split())
    return "".join(char if char.isprintable() else "?" for char in text)[:_MAX_TEXT]
