"""One connection of a relay that brings mails: the server's side of SMTP (RFC 5321), or of LMTP (RFC 2033).

It takes one recipient for each mail and answers for good only when the mail is done with. It refuses to know which
recipients there are and what a mail says.
"""

# Twisted's SMTP classes carry no annotations.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.mail.interfaces import IMessageSMTP
from twisted.python.failure import Failure
from zope.interface import implementer

from fxa_auth.reports.intake import Intake
from fxa_auth.returnpath import NotAReturnPath

_log = Logger()

MAX_SIZE = 262_144
"""Octets of a mail: relays cut short what they send back."""

IDLE_S = 300
"""How long a relay may say nothing (RFC 5321, 4.5.3.2.7)."""

LONGEST_S = 900
"""How long a connection may last."""

MAX_COMMAND = 2_048
"""Octets of a command: 512 for it (RFC 5321, 4.5.3.1.4), and more for what extensions add."""

MAX_COMMANDS = 1_000
MAX_REFUSALS = 20
"""Of commands of one connection, which is then ended: nobody who means well has so many."""

FAREWELL_S = 2
"""How long a relay may take to read the last answer."""

_PATH = rb'\s*%s:\s*<((?:"(?:[^"\\]|\\.)*"|[^<>"\s])*)>(?:\s(.*))?'
_FROM = re.compile(_PATH % b"FROM", re.IGNORECASE)
_TO = re.compile(_PATH % b"TO", re.IGNORECASE)
_SIZE = re.compile(rb"\bSIZE=(\d{1,20})(?!\d)", re.IGNORECASE)


class Conversation(smtp.SMTP):
    """``ended`` is called when the connection is gone. One that is not ``welcome`` is told to come again.

    Twisted's server knows commands, lines, dots and time limits. What is changed here: it would answer 550 to all that
    fails, stumble over a peer on a unix socket and over addresses outside ASCII, take lines for commands that follow
    one that is too long, and wait for ever for a peer that does not read.
    """

    noisy = False
    timeout = IDLE_S
    MAX_LENGTH = MAX_COMMAND

    def __init__(
        self, clock: IReactorTime, intake: Intake, name: str, welcome: bool, ended: Callable[[Conversation], None]
    ) -> None:
        super().__init__()
        self.host = name
        self.callLater = clock.callLater  # type: ignore[method-assign, assignment]
        self._clock = clock
        self._intake = intake
        self._is_welcome = welcome
        self._ended = ended
        self._is_busy = False
        self._is_closing = False
        self._commands = 0
        self._refusals = 0
        self._limit: IDelayedCall | None = None

    def close(self) -> None:
        """End the connection, after the answer to a mail that is in hand; at the latest after some seconds then."""
        if self._is_closing:
            return
        self._is_closing = True
        if not self._is_busy:
            self._say_goodbye("4.3.2 Closing")

    def abort(self) -> None:
        """End the connection at once."""
        cast(ITCPTransport, self.transport).abortConnection()

    # The connection.

    def connectionMade(self) -> None:
        self._limit = self._clock.callLater(LONGEST_S, self.abort)
        if self._is_welcome:
            super().connectionMade()
        else:
            self._say_goodbye("4.3.2 Too many connections")

    def greeting(self) -> bytes:
        return bytes(self.host) + b" ESMTP"

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self._limit is not None and self._limit.active():
            self._limit.cancel()
        self._ended(self)

    def timeoutConnection(self) -> None:
        self._say_goodbye("4.4.2 Nothing heard for too long")

    def lineLengthExceeded(self, line: bytes) -> None:
        self._say_goodbye("5.5.2 Line too long", 552 if self.mode == smtp.DATA else 500)

    def _say_goodbye(self, text: str, code: int = 421) -> None:
        self._is_closing = True
        super().sendCode(code, text.encode())
        cast(ITCPTransport, self.transport).loseConnection()
        if self._limit is not None and self._limit.active():
            self._limit.reset(FAREWELL_S)

    # Commands.

    def lineReceived(self, line: bytes) -> None:
        if self._is_busy:
            self.abort()  # Who does not wait for an answer would take the next one for it.
            return
        super().lineReceived(line)
        self.MAX_LENGTH = MAX_SIZE if self.mode == smtp.DATA else MAX_COMMAND

    def lookupMethod(self, command: bytes) -> Callable[[bytes], None] | None:
        self._commands += 1
        return {
            b"EHLO": self.do_EHLO,
            b"LHLO": self.do_EHLO,
            b"HELO": self.do_HELO,
            b"MAIL": self.do_MAIL,
            b"RCPT": self.do_RCPT,
            b"DATA": self.do_DATA,
            b"RSET": self.do_RSET,
            b"NOOP": self.do_NOOP,
            b"VRFY": self.do_VRFY,
            b"QUIT": self.do_QUIT,
        }.get(command.upper())

    def sendCode(self, code: int, message: bytes = b"") -> None:
        self._refusals += code >= 400
        super().sendCode(code, message)
        if (self._refusals > MAX_REFUSALS or self._commands > MAX_COMMANDS) and not self._is_closing:
            self._say_goodbye("4.7.0 Too many commands")

    def do_EHLO(self, rest: bytes) -> None:
        self._begin()
        self.sendCode(250, b"\n".join((self.host, b"SIZE %d" % MAX_SIZE, b"8BITMIME", b"SMTPUTF8")))

    def do_HELO(self, rest: bytes) -> None:
        self._begin()
        self.sendCode(250, self.host)

    def do_NOOP(self, rest: bytes) -> None:
        self.sendCode(250, b"2.0.0 OK")

    def do_VRFY(self, rest: bytes) -> None:
        self.sendCode(252, b"2.5.2 Send it, and see")

    def _begin(self) -> None:
        self._from, self._to = None, []

    def do_MAIL(self, rest: bytes) -> None:
        sender = _FROM.fullmatch(rest)
        if self._from is not None:
            self.sendCode(503, b"5.5.1 There is a sender already")
        elif sender is None:
            self.sendCode(501, b"5.5.4 No sender in angle brackets")
        elif (size := _SIZE.search(sender[2] or b"")) and int(size[1]) > MAX_SIZE:
            self.sendCode(552, b"5.3.4 Message too big")
        else:
            self._from, self._to = sender[1], []
            self.sendCode(250, b"2.1.0 OK")

    def do_RCPT(self, rest: bytes) -> None:
        recipient = _TO.fullmatch(rest)
        if self._from is None:
            self.sendCode(503, b"5.5.1 MAIL comes first")
        elif recipient is None:
            self.sendCode(501, b"5.5.4 No recipient in angle brackets")
        elif self._to:
            self.sendCode(452, b"4.5.3 One recipient at a time")
        else:
            self._admit(recipient[1].decode("utf-8", "replace"), self._from.decode("utf-8", "replace"))

    def _admit(self, recipient: str, sender: str) -> None:
        try:
            uid = self._intake.uid_of(recipient)
        except NotAReturnPath:
            self.sendCode(550, b"5.1.1 No such address")
        except Exception as error:
            _log.warn("report.put_off", reason=f"{type(error).__name__}: {error}")
            self.sendCode(451, b"4.3.0 Not now")
        else:
            mail = _IncomingMail(lambda content: self._take(uid, sender, content))
            self._to = [(recipient, lambda: mail)]
            self.sendCode(250, b"2.1.5 OK")

    # The mail.

    def receivedHeader(self, helo: object, origin: object, recipients: object) -> bytes:
        return b""

    def _take(self, uid: bytes, sender: str, content: bytes) -> Deferred[None]:
        self._is_busy = True
        return Deferred.fromCoroutine(self._intake.take(uid, sender, content))

    def _messageHandled(self, resultList: list[tuple[bool, Any]]) -> None:
        self._is_busy = False
        [(is_done, outcome)] = resultList
        if is_done:
            self.sendCode(250, b"2.0.0 Done with it")
        else:
            _log.failure("report.put_off", outcome)
            self.sendCode(451, b"4.3.0 Not now")
        if self._is_closing:
            self._say_goodbye("4.3.2 Closing")


@implementer(IMessageSMTP)
class _IncomingMail:
    """A mail as it comes in, its size bounded; in the end it is given to ``take``."""

    def __init__(self, take: Callable[[bytes], Deferred[None]]) -> None:
        self._take = take
        self._content = bytearray()

    def lineReceived(self, line: bytes) -> None:
        self._content += line + b"\n"
        if len(self._content) > MAX_SIZE:
            raise smtp.SMTPServerError(552, b"5.3.4 Message too big")

    def eomReceived(self) -> Deferred[None]:
        return self._take(bytes(self._content))

    def connectionLost(self) -> None:
        self._content.clear()
