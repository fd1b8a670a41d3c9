"""One connection with servers that behave ill, and with those that speak more than ASCII."""

from __future__ import annotations

from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.mail.compose import Message
from fxa_auth.mail.dialogue import Dialogue
from fxa_auth.mail.failures import Stage
from fxa_auth.mail.server import SmtpServer
from tests.mail.servers import LINES, SESSION, SmtpTestCase, message

GREEK = "δοκιμή@παράδειγμα.example"


class IllBehavedServerTests(SmtpTestCase):
    async def test_what_is_no_smtp_is_left(self) -> None:
        for answers, reason in (
            ([b"SSH-2.0-x"], "not an answer of SMTP: SSH-2.0-x"),
            ([b"+20 hi"], "not an answer of SMTP: +20 hi"),
            ([b" 220 hi"], "not an answer of SMTP: 220 hi"),
            ([b"2200 hi"], "not an answer of SMTP: 2200 hi"),
            ([b"120 hi"], "not an answer of SMTP: 120 hi"),
            ([b"\xd9\xa2\xd9\xa2\xd9\xa0 hi"], "not an answer of SMTP: ٢٢٠ hi"),
            ([b"220 hi", b"\xff\x00\x1b[2J"], r"not an answer of SMTP: \xff??[2J"),
            ([b"220 hi", b"250-x\r\nSIZE 10\r\n250 OK"], "not an answer of SMTP: SIZE 10"),
        ):
            port, server = self.scripts(answers)
            error = await self.refused(self.sender(port))
            self.assertEqual((error.reason, error.code, error.server_failed), (reason, None, True))
            await server.hears(b"(closed)")

    async def test_garbage_in_an_answer_does_no_harm(self) -> None:
        port, _ = self.scripted(
            b"220 \xff\x00\x1b[2J\xc3\xa9",
            b"250-x\r\n250-\xff\xfe \x80\r\n250-\r\n250",
            b"250",
            b"550 \xe2\x80\xaeno\x00",
            b"221",
        )
        error = await self.refused(self.sender(port))
        self.assertEqual((error.code, error.reason), (550, "?no?"))
        self.assertEqual(self.told[2], r"<- 220 \xff??[2Jé")

    async def test_every_line_of_an_answer_is_told(self) -> None:
        port, _ = self.scripted(*SESSION, b"550-one\r\n550-two\r\n550 three", b"221 bye")
        error = await self.refused(self.sender(port))
        self.assertEqual((error.code, error.reason), (550, "one two three"))

    async def test_a_very_long_answer_is_cut_and_an_endless_one_left(self) -> None:
        port, _ = self.scripted(*SESSION, b"550 " + b"no" * 1000, b"221 bye")
        self.assertEqual((await self.refused(self.sender(port))).reason, ("no" * 1000)[:300])
        for endless in (b"220 " + b"x" * 40_000, b"220 " + b"x" * 200_000, b"\r\n".join([b"220-x"] * 10_000)):
            port, server = self.scripts([endless])
            error = await self.refused(self.sender(port))
            self.assertEqual((error.reason, error.stage, error.server_failed), ("endless answer", Stage.GREETING, True))
            await server.hears(b"(closed)")

    async def test_whatever_ends_before_the_message_is_the_servers_failure(self) -> None:
        for answers, code, reason in (
            ([b"554 go away"], 554, "go away"),
            ([b"421-one\r\n421 two"], 421, "one two"),
            ([b"CLOSE"], None, "connection lost"),
            ([b"220 hi", b"CLOSE"], None, "connection lost"),
            ([b"220 hi", b"500 what?", b"500 what?"], 500, "what?"),
            ([b"220 hi", b"451 not now"], 451, "not now"),
        ):
            port, _ = self.scripted(*answers, b"221 bye")
            error = await self.refused(self.sender(port))
            self.assertEqual((error.code, error.server_failed), (code, True), answers)
            self.assertIn(reason, error.reason)

    async def test_only_250_after_the_data_counts_as_sent(self) -> None:
        begun = [*SESSION, b"250 ok", b"250 ok", b"354 go", *LINES]
        for last, code in (
            (b"451 disk full", 451),
            (b"354 go", 354),
            (b"251 ok", 251),
            (b"CLOSE", None),
            (b"oops", None),
        ):
            port, _ = self.scripted(*begun, last, b"221 bye")
            error = await self.refused(self.sender(port))
            self.assertEqual((error.code, error.server_failed, error.for_good), (code, False, False))

    async def test_answers_that_come_too_early_are_no_answers(self) -> None:
        too_early = b"250 ok\r\n250 ok\r\n354 go\r\n250 ok"
        for answers in (
            [b"220 hi\r\n250 x", *SESSION[1:], b"250 ok"],
            [b"220 hi", b"250 x\r\n250 ok"],
            [*SESSION, too_early],
            [*SESSION, b"250 ok", b"250 ok\r\n354 go"],
            [*SESSION, b"250 ok", b"250 ok", b"354 go\r\n250 ok"],
        ):
            port, server = self.scripts(answers)
            error = await self.refused(self.sender(port))
            self.assertEqual((error.reason, error.code), ("more was answered than asked", None), answers)
            await server.hears(b"(closed)")

    async def test_a_server_without_ehlo_is_greeted_with_helo(self) -> None:
        port, heard = self.scripted(b"220 hi", b"502 what?", b"250 x", b"550 no", b"221 bye")
        error = await self.refused(self.sender(port))
        self.assertEqual((error.code, heard[1]), (550, b"HELO client.example.com"))

    async def test_a_server_that_must_encrypt_or_log_in_needs_ehlo(self) -> None:
        for options in ({"start_tls": "required"}, {"user": "u", "password": "p"}):
            port, server = self.scripts([b"220 hi", b"502 what?", b"221 bye"])
            error = await self.refused(self.sender(port, **options))
            self.assertEqual((error.code, error.stage), (502, Stage.EHLO))
            await self.quits(server, 1)


class FarewellTests(SynchronousTestCase):
    def test_a_goodbye_that_takes_its_time_is_cut_short(self) -> None:
        clock, told = Clock(), list[str]()
        dialogue = Dialogue(clock, SmtpServer("mail.example.com", 25, "client.example.com"), None, told.append)
        transport = StringTransport(peerAddress=IPv4Address("TCP", "192.0.2.1", 25))
        dialogue.makeConnection(transport)
        for line in (b"220 hi", b"250 x"):
            dialogue.dataReceived(line + b"\r\n")
        self.successResultOf(dialogue.ready)
        dialogue.quit()
        for _ in range(3):
            self.assertFalse(transport.disconnecting)
            dialogue.dataReceived(b"221-still there\r\n")
            clock.advance(0.7)
        self.assertTrue(transport.disconnecting)
        dialogue.connectionLost()
        self.assertEqual(clock.getDelayedCalls(), [])


class AddressTests(SmtpTestCase):
    async def test_an_address_outside_ascii_goes_to_a_server_that_knows_them(self) -> None:
        peer = await self.peer(smtputf8=True)
        content = f"To: {GREEK}\r\n\r\nhello\r\n".encode()
        await self.sender(peer.port).send(message(content, GREEK))
        mail = await peer.mail()
        self.assertEqual((mail["recipients"], mail["content"]), ([GREEK], content))
        self.assertEqual(sorted(mail["options"]), ["BODY=8BITMIME", "SMTPUTF8"])

    async def test_an_address_outside_ascii_is_refused_for_good_by_a_server_that_does_not(self) -> None:
        port, server = self.scripts([*SESSION, b"250 ok", b"250 ok", b"354 go", *LINES, b"250 ok", b"221 bye"])
        sender = self.sender(port)
        for mail in (message(to=GREEK), message("Subject: é\r\n\r\nx\r\n".encode())):
            error = await self.refused(sender, mail)
            self.assertEqual((error.code, error.server_failed, error.for_good), (553, False, True))
            self.assertEqual(error.stage, Stage.ADDRESS)
            self.assertIn("does not offer SMTPUTF8", error.reason)
        await sender.send(message())
        self.assertEqual((server.connections, server.heard.count(b"hello")), (1, 1))

    async def test_the_domain_of_an_ascii_address_is_no_concern_of_the_server(self) -> None:
        peer = await self.peer(smtputf8=True)
        await self.sender(peer.port).send(message(to="bob@xn--hxajbheg2az3al.example"))
        self.assertEqual((await peer.mail())["options"], [])

    async def test_a_body_outside_ascii_is_announced_where_that_is_known(self) -> None:
        body = "Subject: x\r\n\r\né\r\n".encode()
        for offer, told in ((b"250-x\r\n250 8bitmime", b" BODY=8BITMIME"), (b"250 x", b"")):
            port, heard = self.scripted(b"220 hi", offer, b"550 no", b"221 bye")
            await self.refused(self.sender(port), message(body))
            self.assertEqual(heard[1], b"MAIL FROM:<accounts@example.com>" + told)

    async def test_an_international_mail_that_is_not_taken_is_not_held_against_others(self) -> None:
        offer = b"250-x\r\n250-8BITMIME\r\n250 smtputf8"
        port, heard = self.scripted(b"220 hi", offer, b"555 no such parameter", b"221 bye")
        error = await self.refused(self.sender(port), message(to=GREEK))
        self.assertEqual((error.stage, error.server_failed, error.for_good), (Stage.MAIL, False, False))
        self.assertEqual(heard[1], b"MAIL FROM:<accounts@example.com> SMTPUTF8")

    async def test_what_would_break_the_envelope_is_refused_for_good(self) -> None:
        port, heard = self.scripted(*SESSION, b"221 bye")
        sender = self.sender(port)
        for address in ("a>b@x.example", "a b@x.example", "a\r\n@x.example", "a\u2028@x.example", "a\x85@x.example"):
            for mail in (message(to=address), Message(address, "bob@example.com", b"")):
                error = await self.refused(sender, mail)
                self.assertEqual((error.code, error.server_failed, error.for_good), (553, False, True), address)
        self.assertEqual(heard, [b"EHLO client.example.com"])
