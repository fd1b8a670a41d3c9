"""Mail servers to talk to, good ones and bad ones, and a clock that stands still until a test moves it."""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IHostResolution, IResolutionReceiver
from twisted.internet.protocol import Factory, ProcessProtocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock, deferLater
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import directlyProvides, implementer, providedBy

from fxa_auth.mail.compose import Message
from fxa_auth.mail.smtp import MailNotSent, SmtpSender, SmtpServer

PASSWORD = "s3cr3t-pässword"
USER = "secret-user"

SESSION = (b"220 hi", b"250-x\r\n250 8BITMIME")
"""What a server says until the first message may follow."""

LINES = b"", b"", b""
"""What a server answers to the lines of ``message()``."""


def message(content: bytes = b"Subject: x\r\n\r\nhello\r\n", to: str = "bob@example.com") -> Message:
    return Message("accounts@example.com", to, content)


class Peer(ProcessProtocol):
    """``smtp_peer.py`` in a child process: the lines it prints, and its end."""

    def __init__(self) -> None:
        self.lines: DeferredQueue[str] = DeferredQueue()
        self.ended: Deferred[None] = Deferred()
        self.port = 0
        self._rest = b""
        self._errors = b""

    async def start(self, **arguments: Any) -> None:
        script = str(Path(__file__).with_name("smtp_peer.py"))
        command = [sys.executable, script, json.dumps(arguments)]
        reactor.spawnProcess(self, sys.executable, command, env=os.environ)
        self.port = int(await self.lines.get())

    async def mail(self) -> dict[str, Any]:
        """The next mail that it has taken."""
        mail: dict[str, Any] = json.loads(await self.lines.get())
        mail["content"] = base64.b64decode(mail["content"])
        return mail

    async def falls_silent(self) -> None:
        """It has been asked for the recipient that it never answers."""
        assert "silent_for" in json.loads(await self.lines.get())

    def stop(self) -> Deferred[None]:
        if not self.ended.called:
            self.transport.signalProcess("KILL")
        return self.ended

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self.lines.put(line.decode())

    def errReceived(self, data: bytes) -> None:
        self._errors += data

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)
        if not self.port:
            self.lines.put(f"not started: {self._errors.decode()}")
        assert reason.check(ProcessTerminated), reason


class Scripted(Factory):
    """A server that answers the n-th line of the n-th connection with the n-th of its answers, and then with nothing.

    The last script is that of all further connections. Answers are sent as lines; an empty one is none. ``CLOSE``
    closes the connection, ``TLS`` begins TLS after the answer before it, ``NOISE`` fails at that. ``heard`` are the
    lines of all connections, and ``(closed)`` where one ended.
    """

    noisy = False

    def __init__(self, scripts: Sequence[Sequence[bytes]], tls: CertificateOptions | None = None) -> None:
        self.heard: list[bytes] = []
        self.connections = 0
        self.tls = tls
        self._scripts = [list(script) for script in scripts]

    def buildProtocol(self, addr: Any) -> _Script:
        self.connections += 1
        script = self._scripts.pop(0) if len(self._scripts) > 1 else list(self._scripts[0])
        return _Script(self, script)

    async def hears(self, line: bytes, times: int = 1) -> None:
        while self.heard.count(line) < times:
            await deferLater(reactor, 0.005)


class _Script(LineReceiver):
    def __init__(self, server: Scripted, answers: list[bytes]) -> None:
        self._server = server
        self._answers = answers

    def connectionMade(self) -> None:
        self._answer()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._server.heard.append(b"(closed)")

    def lineReceived(self, line: bytes) -> None:
        self._server.heard.append(line)
        self._answer()

    def _answer(self) -> None:
        if not self._answers:
            return
        answer = self._answers.pop(0)
        if answer == b"CLOSE":
            self.transport.loseConnection()
        elif answer:
            self.sendLine(answer)
        if self._answers[:1] == [b"TLS"]:
            self._answers.pop(0)
            self.transport.startTLS(self._server.tls)
        elif self._answers[:1] == [b"NOISE"]:
            self.setRawMode()

    def rawDataReceived(self, data: bytes) -> None:
        self.transport.write(b"no handshake\r\n")
        self.transport.loseConnection()


class HeldReactor:
    """The reactor, but that time stands still on it until ``clock`` is moved, and names resolve as ``hosts`` says."""

    def __init__(self, hosts: dict[str, list[str]] | None = None) -> None:
        self.clock = Clock()
        self.callLater = self.clock.callLater
        self.seconds = self.clock.seconds
        self.nameResolver = _Resolver({"127.0.0.1": ["127.0.0.1"], **(hosts or {})})
        directlyProvides(self, providedBy(reactor))

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


class _Resolver:
    def __init__(self, hosts: dict[str, list[str]]) -> None:
        self._hosts = hosts

    def resolveHostName(
        self, receiver: IResolutionReceiver, hostName: str, portNumber: int = 0, *_: Any, **__: Any
    ) -> IResolutionReceiver:
        receiver.resolutionBegan(_Resolution(hostName))
        for address in self._hosts.get(hostName, []):
            receiver.addressResolved(IPv4Address("TCP", address, portNumber))
        receiver.resolutionComplete()
        return receiver


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        pass


class SmtpTestCase(TestCase):
    """Starts servers and senders, which end with the test. ``told`` is what the senders told of their dialogues."""

    timeout = 120

    def setUp(self) -> None:
        self.told: list[str] = []

    async def peer(self, **arguments: Any) -> Peer:
        peer = Peer()
        self.addCleanup(peer.stop)
        await peer.start(**arguments)
        return peer

    def scripts(self, *scripts: Sequence[bytes], tls: CertificateOptions | None = None) -> tuple[int, Scripted]:
        """The port of a server that follows these scripts, and the server."""
        server = Scripted(scripts, tls)
        port = reactor.listenTCP(0, server, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port.getHost().port, server

    def scripted(self, *answers: bytes) -> tuple[int, list[bytes]]:
        """The port of a server that gives these answers on every connection, and what it hears."""
        port, server = self.scripts(answers)
        return port, server.heard

    def sender(self, port: int, reactor: Any = reactor, **options: Any) -> SmtpSender:
        """A sender to this port of 127.0.0.1, with time limits that are reached only if something is wrong."""
        limits = dict.fromkeys(("connect_timeout_s", "reply_timeout_s", "timeout_s"), 60.0)
        server = SmtpServer(
            **{"host": "127.0.0.1", "port": port, "ehlo_name": "client.example.com", **limits, **options}
        )
        sender = SmtpSender(reactor, server, self.told.append)
        self.addCleanup(lambda: self.stopped(sender, reactor))
        return sender

    def stopped(self, sender: SmtpSender, reactor: Any) -> Deferred[None]:
        """The sender's end; a server that does not answer QUIT has its time, whoever keeps that."""
        stopping = Deferred.fromCoroutine(sender.stop())
        if isinstance(reactor, HeldReactor):
            reactor.clock.advance(60)
        return stopping

    async def refused(self, sender: SmtpSender, mail: Message | None = None) -> MailNotSent:
        sending = Deferred.fromCoroutine(sender.send(mail or message()))
        return cast(MailNotSent, await self.assertFailure(sending, MailNotSent))

    async def quits(self, server: Scripted, after: int) -> None:
        """So many lines were said on the only connection, and then goodbye."""
        await server.hears(b"(closed)")
        self.assertEqual(server.heard[after:], [b"QUIT", b"(closed)"])

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await deferLater(reactor, 0.005)
