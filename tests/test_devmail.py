"""The development mail sink: real SMTP in, real HTTP out, on loopback; only its clock is a made one."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any
from urllib.parse import quote

import treq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent

from fxa_auth.devmail import MailSink
from fxa_auth.mail.compose import Message
from fxa_auth.mail.smtp import MailNotSent, SmtpSender, SmtpServer
from fxa_auth.records import Letter, LinkOptions, MailKind
from tests.texts import make_composer

CODE = b"\xab" * 16


class DevMailTests(TestCase):
    timeout = 30

    def setUp(self) -> None:
        self.clock = Clock()
        self.console = StringIO()
        self.sink = MailSink(self.clock, self.console)
        self.smtp_port = self.listen(self.sink.smtp_factory())
        self.http_port = self.listen(self.sink.site())
        self.addCleanup(self.sink.stop)
        self.sender = SmtpSender(reactor, SmtpServer("127.0.0.1", self.smtp_port, "example.com"))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.sender.stop()))

    def listen(self, factory: Any) -> int:
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(lambda: maybeDeferred(port.stopListening))
        number: int = port.getHost().port
        return number

    def request(self, method: str, local_part: str) -> Deferred[Any]:
        url = f"http://127.0.0.1:{self.http_port}/mail/{quote(local_part, safe='')}"
        return treq.request(method, url, agent=Agent(reactor))

    async def read(self, local_part: str) -> list[dict[str, Any]]:
        response = await self.request("GET", local_part)
        self.assertEqual(response.code, 200)
        self.assertEqual(response.headers.getRawHeaders("content-type"), ["application/json; charset=utf-8"])
        mails: list[dict[str, Any]] = await response.json()
        return mails

    async def deliver(self, to: str, content: bytes = b"Subject: hello\r\n\r\nhello\r\n") -> None:
        await self.sender.send(Message("accounts@example.com", to, content))

    async def somebody_waits(self, readers: int = 1) -> None:
        while len(self.sink._waiting) != readers:
            await deferLater(reactor, 0.005)

    def composed(self, to: str, resume: str = "r") -> Message:
        composer = make_composer("https://content.example.com", "Füchse <a@example.com>", self.clock)
        return composer.compose(Letter(MailKind.VERIFY, bytes(16), to, CODE, options=LinkOptions(resume=resume)))

    async def test_a_composed_mail_is_shown_with_all_its_parts(self) -> None:
        for resume in ("r", "long" * 500):
            await self.sender.send(self.composed("Bob@example.com", resume))
            (mail,) = await self.read("bob")
            link = f"https://content.example.com/v1/verify_email?uid={'00' * 16}&code={'ab' * 16}&resume={resume}"
            self.assertEqual(set(mail), {"headers", "subject", "from", "to", "text", "html"})
            self.assertEqual(mail["subject"], "Verify your account")
            self.assertEqual(mail["from"], [{"address": "a@example.com", "name": "Füchse"}])
            self.assertEqual(mail["to"], [{"address": "Bob@example.com", "name": ""}])
            self.assertIn(link, mail["text"].split("\n"))
            self.assertIn(link.replace("&", "&amp;"), mail["html"])
            for name, value in {"x-link": link, "x-verify-code": CODE.hex(), "content-language": "en"}.items():
                self.assertEqual(mail["headers"][name], value)
            await self.request("DELETE", "bob")

    async def test_each_link_is_printed(self) -> None:
        for link in ("http://example.com/1", "http://example.com/2"):
            await self.deliver("bob@example.com", f"X-Link: {link}\r\n\r\nx\r\n".encode())
        await self.deliver("bob@example.com")
        self.assertEqual(self.console.getvalue(), "http://example.com/1\nhttp://example.com/2\n")

    async def test_mails_come_oldest_first_and_only_ones_own(self) -> None:
        for to, subject in (("bob", "one"), ("eve", "other"), ("BOB", "two")):
            await self.deliver(f"{to}@example.com", f"Subject: {subject}\r\n\r\n".encode())
        self.assertEqual([mail["subject"] for mail in await self.read("bOb")], ["one", "two"])
        self.assertEqual([mail["subject"] for mail in await self.read("bob@example.com")], ["one", "two"])

    async def test_any_local_part_has_a_mailbox(self) -> None:
        for local_part in ("a/b", "a+b", "100%", "what?", "#1", "o'neil", "{a|b}", "a=b&c"):
            await self.deliver(f"{local_part}@example.com")
            self.assertEqual(len(await self.read(local_part)), 1, local_part)
        await self.deliver('"a..b"@localhost')
        self.assertEqual(len(await self.read("a..b")), 1)

    async def test_deleting_empties_one_mailbox(self) -> None:
        await self.deliver("bob@example.com")
        await self.deliver("eve@example.com")
        response = await self.request("DELETE", "Bob")
        self.assertEqual((response.code, await response.content()), (200, b""))
        self.assertEqual((self.sink.mails("bob"), len(self.sink.mails("eve"))), ([], 1))

    async def test_a_reader_waits_for_the_first_mail(self) -> None:
        readers = [Deferred.fromCoroutine(self.read("bob")) for _ in range(2)]
        await self.somebody_waits(2)
        await self.deliver("eve@example.com")
        self.assertEqual(len(self.sink._waiting), 2)
        await self.deliver("bob@example.com")
        for reader in readers:
            self.assertEqual(len(await reader), 1)
        self.assertEqual(self.sink._waiting, {})

    async def test_a_reader_waits_a_minute_and_gets_nothing(self) -> None:
        reader = Deferred.fromCoroutine(self.read("bob"))
        await self.somebody_waits()
        self.clock.advance(59.9)
        self.assertEqual(len(self.sink._waiting), 1)
        self.clock.advance(0.1)
        self.assertEqual(await reader, [])

    async def test_a_reader_that_hangs_up_is_forgotten(self) -> None:
        reader = Deferred.fromCoroutine(self.read("bob"))
        await self.somebody_waits()
        reader.cancel()
        await self.assertFailure(reader, Exception)
        await self.somebody_waits(0)
        await self.deliver("bob@example.com")
        self.assertEqual(len(self.sink.mails("bob")), 1)

    async def test_stopping_sends_readers_home(self) -> None:
        reader = Deferred.fromCoroutine(self.read("bob"))
        await self.somebody_waits()
        self.sink.stop()
        self.assertEqual(await reader, [])
        self.assertEqual(await self.read("bob"), [])

    async def test_a_huge_mail_is_refused_and_the_sink_goes_on(self) -> None:
        content = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n"
        huge = content + (b"y" * 998 + b"\r\n") * 1100
        error = await self.assertFailure(Deferred.fromCoroutine(self.deliver("bob@example.com", huge)), MailNotSent)
        self.assertEqual((error.code, self.sink.mails("bob")), (552, []))
        await self.deliver("bob@example.com", content)
        self.assertEqual(len(self.sink.mails("bob")), 1)

    async def test_the_sink_logs_neither_mails_nor_readers(self) -> None:
        with capturedLogs() as events:
            await self.deliver("bob@example.com")
            await self.read("bob")
        self.assertNotIn("bob", repr(list(events)))

    async def test_other_paths_are_not_found(self) -> None:
        response = await treq.get(f"http://127.0.0.1:{self.http_port}/", agent=Agent(reactor))
        self.assertEqual(response.code, 404)


class SinkTests(SynchronousTestCase):
    """What needs no sockets."""

    def deliver(self, sink: MailSink, *contents: bytes) -> list[bytes]:
        """Give mails for bob to the SMTP server in one connection; returns what it said."""
        protocol = sink.smtp_factory().buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        for content in contents:
            protocol.dataReceived(b"MAIL FROM:<>\r\nRCPT TO:<bob@example.com>\r\nDATA\r\n" + content + b".\r\n")
        protocol.connectionLost(None)
        return transport.value().splitlines()

    def test_only_the_latest_thousand_are_kept(self) -> None:
        sink = MailSink(Clock(), StringIO())
        self.deliver(sink, *(b"Subject: %d\r\n\r\n" % number for number in range(1005)))
        subjects = [mail["subject"] for mail in sink.mails("bob")]
        self.assertEqual((len(subjects), subjects[0], subjects[-1]), (1000, "5", "1004"))

    def test_the_time_limit_of_a_connection_ends_with_it(self) -> None:
        clock = Clock()
        protocol = MailSink(clock, StringIO()).smtp_factory().buildProtocol(None)
        protocol.makeConnection(StringTransport())
        self.assertEqual(len(clock.getDelayedCalls()), 1)
        protocol.connectionLost(None)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_odd_mails_are_taken(self) -> None:
        for content, subject, text in (
            (b"\r\n", "", ""),
            (b"Subject: =?utf-8?q?=C3=A9?=\r\n\r\nx\r\n", "é", "x\n"),
            ("Subject: é\r\nTo: é@example.com\r\n\r\n".encode(), "é", ""),
            (b"Content-Type: text/plain; charset=utf-8\r\n\r\n\xc3\xa9\r\n", "", "é\n"),
            (b"Content-Type: text/html\r\n\r\n<p>\r\n", "", ""),
        ):
            sink = MailSink(Clock(), StringIO())
            self.assertTrue(self.deliver(sink, content)[-1].startswith(b"250"))
            (mail,) = sink.mails("bob")
            self.assertEqual((mail["subject"], mail["text"]), (subject, text))
            json.dumps(mail, ensure_ascii=False).encode()

    def test_a_mail_that_cannot_be_read_is_refused(self) -> None:
        sink = MailSink(Clock(), StringIO())
        said = self.deliver(sink, b"Content-Type: text/plain; charset=bogus\r\n\r\n\xff\r\n")
        self.assertTrue(said[-1].startswith(b"550"), said)
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)
