"""One connection to a mail server: what is said on it, from the greeting to QUIT (RFC 5321).

It carries any number of messages, one after the other. It refuses to know when a connection is opened, how long an
idle one is kept, and what a message says. The credentials appear in no error and in nothing that is told.
"""

# Twisted's SMTP classes carry no annotations.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IHandshakeListener, IReactorTime, ITCPTransport, ITLSTransport
from twisted.internet.protocol import connectionDone
from twisted.mail import smtp
from twisted.python.failure import Failure
from zope.interface import implementer

from fxa_auth.mail.compose import Message
from fxa_auth.mail.failures import CANCELLED, MailNotSent, Stage
from fxa_auth.mail.masking import Masking
from fxa_auth.mail.server import SmtpServer
from fxa_auth.mail.tls import TlsSession

Tell = Callable[[str], None]
"""Is given the dialogue line by line: ``-> `` what is sent, ``<- `` what comes, ``-- `` what else happens."""

SERVICE_CLOSING = 421

_FAREWELL_S = 2
"""How long the server may take to answer QUIT and to close the connection."""

_MAX_ANSWER = 32_768
"""Octets of one answer, over all its lines."""

_MAX_CHALLENGES = 3
"""Of one AUTH; LOGIN has two."""

_NOT_INTERNATIONAL = 553
"""The code of RFC 6531, 3.5, for an address that would need SMTPUTF8."""

_ANSWER_LINE = re.compile(rb"[2-5][0-9][0-9](?:[ -].*)?", re.DOTALL)

_PATH = re.compile(r"[^\x00-\x20<>\x7f-\x9f\u2028\u2029\ud800-\udfff]*")
"""What may stand between the angle brackets of MAIL and RCPT; whether it is an address the server knows better."""

_OPENINGS = {b"EHLO": Stage.EHLO, b"HELO": Stage.EHLO, b"STARTTLS": Stage.STARTTLS}


@implementer(IHandshakeListener)
class Dialogue(smtp.ESMTPClient):
    """The client's side of one connection.

    Twisted's client knows how greeting, EHLO, STARTTLS and AUTH follow each other. Messages are handed over here,
    because there it loses a dot on the first line and at the joints of its chunks, raises inside ``dataReceived`` for
    some addresses and answers, and puts what it sent (the password, too) into its errors.

    ``ready`` fires when the first message may follow, ``ended`` when the connection is gone; ``is_lost`` tells that
    it was not given up here, ``carried`` counts the messages. ``tls`` is what the connection is, or may be, encrypted
    with; without it STARTTLS is left alone, as if the server did not offer it.
    """

    debug = False
    MAX_LENGTH = _MAX_ANSWER

    def __init__(self, clock: IReactorTime, server: SmtpServer, tls: TlsSession | None, tell: Tell) -> None:
        super().__init__(server.password.encode(), None, server.ehlo_name.encode("ascii"))
        self._clock = clock
        self._server = server
        self._tls = tls
        self._tell = tell
        self._masking = Masking(server.user, server.password)
        self._stage = Stage.GREETING
        self._waiting: Deferred[str] | None = Deferred(lambda _: self.break_off(CANCELLED))
        self._offers: dict[bytes, bytes] = {}
        self._answer_size = 0
        self._challenges = 0
        self._is_special = False
        self._must_reset = False
        self._is_leaving = False
        self.requireAuthentication = bool(server.user)
        self.ready = self._waiting
        self.ended: Deferred[None] = Deferred()
        self.is_lost = False
        self.carried = 0

    async def deliver(self, message: Message) -> str:
        """Hand one message over, once the one before is done with; what the server then says, code and text.

        Raises ``MailNotSent``, also when cancelled.
        """
        self._stage = Stage.ADDRESS
        parameters = self._parameters(message)
        self._is_special = bool(parameters)
        if self._must_reset:
            await self._ask(Stage.RESET, b"RSET", 250)
        self._must_reset = True
        await self._ask(Stage.MAIL, b"MAIL FROM:<%s>%s" % (message.sender.encode(), parameters), 250)
        await self._ask(Stage.RCPT, b"RCPT TO:<%s>" % message.recipient.encode(), 250, 251)
        await self._ask(Stage.DATA, b"DATA", 354)
        content = stuffed(message.content) + b"."
        answer = await self._ask(Stage.CONTENT, content, 250, shown=_abridged(message.content))
        self._must_reset = False
        self.carried += 1
        return answer

    def quit(self) -> None:
        """Say goodbye: the connection is gone soon, whatever the server does."""
        if not self._is_leaving:
            self._is_leaving = True
            self._disconnectFromServer()

    def break_off(self, reason: str) -> None:
        """End the connection at once."""
        self._is_leaving = True
        self._fail(reason)
        self.clearLineBuffer()
        cast(ITCPTransport, self.transport).abortConnection()

    def _parameters(self, message: Message) -> bytes:
        """What MAIL needs beside the sender (RFC 6152, RFC 6531)."""
        problem = None
        envelope, (head, _, _) = message.sender + message.recipient, message.content.partition(b"\r\n\r\n")
        needs_utf8 = not (envelope.isascii() and head.isascii())
        if not _PATH.fullmatch(envelope):
            problem = "it holds a space, an angle bracket or a control character"
        elif needs_utf8 and b"SMTPUTF8" not in self._offers:
            problem = "it is not ASCII, and the mail server does not offer SMTPUTF8"
        if problem is not None:
            reason = f"address cannot be mailed to: {problem}"
            raise MailNotSent(reason, _NOT_INTERNATIONAL, for_good=True, stage=Stage.ADDRESS)
        needs_8_bits = not message.content.isascii() and b"8BITMIME" in self._offers
        return b" BODY=8BITMIME" * needs_8_bits + b" SMTPUTF8" * needs_utf8

    # Asking and being answered.

    def _ask(self, stage: Stage, line: bytes, *expected: int, shown: str | None = None) -> Deferred[str]:
        """Fires with the answer on one of the expected codes, and fails with ``MailNotSent`` on anything else."""
        answered: Deferred[str] = Deferred(lambda _: self.break_off(CANCELLED))
        self._waiting, self._stage = answered, stage
        self._expected = list(expected)
        self._okresponse = lambda code, answer: self._succeed(f"{code} {self._masking.readable(answer)}")
        self._failresponse = self._refused
        self._say(line, line.decode() if shown is None else shown)
        return answered

    def sendLine(self, line: bytes) -> None:
        """What Twisted's part of the dialogue has to say: the opening, AUTH, and QUIT."""
        if self._stage is Stage.AUTH and not self._is_leaving:
            self._say(line, self._masking.sent(line))
        else:
            self._stage = _OPENINGS.get(line.partition(b" ")[0], self._stage)
            self._say(line, line.decode("ascii"))

    def _say(self, line: bytes, shown: str) -> None:
        for each in shown.split("\n"):
            self._tell(f"-> {each}")
        # What came unasked must not pass for the answer to what is asked now.
        if self.clearLineBuffer():
            self.break_off("more was answered than asked")
        else:
            self.setTimeout(_FAREWELL_S if self._is_leaving else self._server.reply_timeout_s)
            super().sendLine(line)

    def lineReceived(self, line: bytes) -> None:
        told = self._masking.readable(line)
        self._tell(f"<- {told}")
        self._answer_size += len(line)
        if self._waiting is None and not self._is_leaving:
            self.break_off("spoken to unasked")
        elif not _ANSWER_LINE.fullmatch(line):
            self.break_off(f"not an answer of SMTP: {told}")
        elif self._answer_size > _MAX_ANSWER:
            self.break_off("endless answer")
        else:
            if line[3:4] != b"-":
                self._answer_size = 0
            super().lineReceived(line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.break_off("endless answer")

    def _refused(self, code: int, answer: bytes) -> None:
        self._fail(self._masking.readable(answer), code)
        if code == SERVICE_CLOSING:
            self.quit()

    def _succeed(self, answer: str) -> None:
        self.setTimeout(None)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(answer)

    def _fail(self, reason: str, code: int | None = None) -> None:
        """Let whoever waits know why; the first reason counts."""
        self.setTimeout(None)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            of_message = self._stage in (Stage.RCPT, Stage.DATA, Stage.CONTENT)
            # MAIL may be refused for what this message needs beside the sender.
            server_failed = not (of_message or (self._stage is Stage.MAIL and self._is_special))
            for_good = of_message and code is not None and code >= 500
            waiting.errback(MailNotSent(reason, code, server_failed, for_good, self._stage))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.is_lost = self._is_leaving = True
        if self._stage is Stage.TLS and self._tls is not None:
            self._stage = Stage.CERTIFICATE if self._tls.is_refused else Stage.TLS
            self._fail(self._tls.fail(reason))
        self._fail(f"connection lost: {reason.getErrorMessage()}")
        self.ended.callback(None)

    # Time, for Twisted's TimeoutMixin.

    def callLater(self, period: float, func: Callable[[], None]) -> IDelayedCall:
        return self._clock.callLater(period, func)

    def resetTimeout(self) -> None:
        if not self._is_leaving:
            super().resetTimeout()

    def timeoutConnection(self) -> None:
        self.break_off(f"no answer to {self._stage.value} within {self._server.reply_timeout_s:g} s")

    # Opening a session, where Twisted's way will not do. It would end in an error that holds all that was sent.

    def connectionMade(self) -> None:
        super().connectionMade()
        self.setTimeout(self._server.reply_timeout_s)
        peer = cast(ITCPTransport, self.transport).getPeer()
        self._tell(f"-- connected to {peer.host}:{peer.port}")
        if self._tlsMode:
            self._stage = Stage.TLS
            return
        start_tls = self._server.start_tls
        # Encrypted or not, without a believed certificate the password could go to anybody.
        if start_tls == "opportunistic" and self._server.user and not ip_address(peer.host).is_loopback:
            start_tls = "required"
        self.requireTransportSecurity = start_tls == "required"
        if self._tls is not None:
            self._tls.must_be_believed = self.requireTransportSecurity
            self.context = self._tls

    def _give_up(self, reason: str, code: int | None = None) -> None:
        self._fail(reason, code)
        self.quit()

    def smtpConnectionFailed(self, code: int, resp: bytes) -> None:
        self._give_up(self._masking.readable(resp), code)

    def esmtpEHLORequired(self, code: int = -1, resp: bytes = b"") -> None:
        self.smtpConnectionFailed(code, resp)

    def smtpState_helo(self, code: int, resp: bytes) -> None:
        if code < 500:
            self.smtpConnectionFailed(code, resp)
            return
        super().smtpState_helo(code, resp)
        # Else a refused HELO would be said again, without end.
        self._failresponse = self.smtpConnectionFailed

    def esmtpState_serverConfig(self, code: int, resp: bytes) -> None:
        # Keywords are of any case (RFC 5321, 2.4); the first line names the server; an empty one would raise.
        lines = [line.strip().partition(b" ") for line in resp.upper().splitlines()[1:]]
        self._offers = {keyword: parameters for keyword, _, parameters in lines}
        self.tryTLS(code, resp, self._offers)

    def esmtpTLSRequired(self, code: int = -1, resp: bytes = b"") -> None:
        self._stage = Stage.STARTTLS
        self._give_up("the server offers no STARTTLS")

    def esmtpTLSFailed(self, code: int = -1, resp: bytes = b"") -> None:
        if self.requireTransportSecurity:
            self.smtpConnectionFailed(code, resp)
        else:
            self.authenticate(code, resp, self._offers)

    def esmtpState_starttls(self, code: int, resp: bytes) -> None:
        self._stage = Stage.TLS
        # What came in clear must not pass for something that TLS has protected.
        if self.clearLineBuffer():
            self.break_off("more was answered than asked")
        else:
            self.setTimeout(self._server.reply_timeout_s)
            cast(ITLSTransport, self.transport).startTLS(cast(TlsSession, self._tls))

    def handshakeCompleted(self) -> None:
        assert self._tls is not None
        handle: SSL.Connection = cast(Any, self.transport).getHandle()
        believed = "believed" if self._tls.doubt is None else f"not believed: {self._tls.doubt}"
        self._tell(f"-- {handle.get_protocol_version_name()}, certificate {believed}")
        if self._tlsMode:
            self._stage = Stage.GREETING
        else:
            self._tlsMode = True
            self.esmtpState_ehlo(220, b"")

    def authenticate(self, code: int, resp: bytes, items: dict[bytes, bytes]) -> None:
        """Log in, if there is a user; in clear by showing no password, if the server can do that."""
        if not self._server.user:
            self.smtpState_from(code, resp)
            return
        hidden = [smtp.CramMD5ClientAuthenticator]
        plain = [smtp.PLAINAuthenticator, smtp.LOGINAuthenticator]
        for mechanism in [*plain, *hidden] if self._tlsMode else [*hidden, *plain]:
            self.registerAuthenticator(mechanism(self._server.user.encode()))
        self._stage = Stage.AUTH
        super().authenticate(code, resp, items)

    def esmtpAUTHRequired(self, code: int = -1, resp: bytes = b"") -> None:
        known = ", ".join(authenticator.getName().decode("ascii") for authenticator in self.authenticators)
        offered = self._masking.readable(self._offers.get(b"AUTH", b"")) or "no AUTH at all"
        self._give_up(f"the server offers none of {known}, but {offered}")

    def _authResponse(self, auth: Any, challenge: bytes) -> None:
        self._challenges += 1
        if self._challenges > _MAX_CHALLENGES:
            self.esmtpAUTHMalformedChallenge()
        else:
            super()._authResponse(auth, challenge)

    def esmtpAUTHMalformedChallenge(self, code: int = -1, resp: bytes = b"") -> None:
        self._give_up("AUTH failed: the server makes no sense")

    def esmtpAUTHDeclined(self, code: int = -1, resp: bytes = b"") -> None:
        self._give_up(f"AUTH refused: {self._masking.readable(resp)}", code)

    def esmtpAUTHServerError(self, code: int = -1, resp: bytes = b"") -> None:
        self.esmtpAUTHDeclined(code, resp)

    def _esmtpState_plainAuth(self, code: int, resp: bytes) -> None:
        # Twisted would say the same once more, which counts as two wrong passwords.
        self.esmtpAUTHDeclined(code, resp)

    def smtpState_from(self, code: int, resp: bytes) -> None:
        self._succeed(self._masking.readable(resp))


def stuffed(content: bytes) -> bytes:
    """The message as DATA carries it (RFC 5321, 4.5.2): every line ends with CRLF, a leading dot is doubled.

    A lone CR or LF counts as the end of a line: passed on, some servers would take it for one and others not.
    """
    lines = re.split(rb"\r\n|\r|\n", content)
    if not lines[-1]:
        lines.pop()
    return b"".join(b"." * line.startswith(b".") + line + b"\r\n" for line in lines)


def _abridged(content: bytes) -> str:
    """The header fields, and how much more there is."""
    head, _, body = content.partition(b"\r\n\r\n")
    lines = len(body.splitlines())
    fields = head.decode("utf-8", "backslashreplace").split("\r\n")
    return "\n".join([*fields, f"({lines} more lines, {len(content)} octets in all)", "."])
