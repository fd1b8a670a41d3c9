"""The SMTP client as a whole: what arrives, what is refused and how, and how connections are used."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.mail.compose import Message
from fxa_auth.mail.dialogue import stuffed
from fxa_auth.mail.failures import MailNotSent, Stage
from fxa_auth.mail.smtp import CARRIES, KEPT_S
from tests.mail.servers import LINES, SESSION, HeldReactor, SmtpTestCase, message

TAKEN = (*SESSION, b"250 ok", b"250 ok", b"354 go", *LINES, b"250 ok")
"""A connection on which one message is taken."""

AGAIN = (b"250 ok", b"250 ok", b"354 go", *LINES, b"250 ok")
"""One more."""


class DeliveryTests(SmtpTestCase):
    async def test_a_message_arrives_byte_for_byte(self) -> None:
        peer = await self.peer()
        sender = self.sender(peer.port)
        for content in (
            b"Subject: x\r\n\r\nhello\r\n",
            b".\r\n",
            b".leads\r\n",
            b"..\r\n.\r\n\r\n.\r\n...\r\n",
            b"X-Link: https://" + b"z" * 982 + b"\r\n\r\n" + b"z" * 998 + b"\r\n",
            *(b"x" * 900 + b"\r\n" + b"y" * (size % 900) + b"\r\n.\r\nend\r\n" for size in range(5)),
            b"".join(b"%060d\r\n.\r\n" % number for number in range(20_000)),
        ):
            self.assertEqual(await sender.send(message(content)), "250 OK")
            mail = await peer.mail()
            self.assertEqual(mail["content"], content)
            self.assertEqual((mail["sender"], mail["recipients"]), ("accounts@example.com", ["bob@example.com"]))
            self.assertEqual((mail["ehlo"], mail["options"], mail["tls"]), ("client.example.com", [], False))

    async def test_a_lone_dot_at_each_place_around_16384_bytes_arrives(self) -> None:
        peer = await self.peer()
        sender = self.sender(peer.port)
        lines = (b"x" * 126 + b"\r\n") * 127
        for shift in range(120, 130):
            content = lines + b"y" * shift + b"\r\n.\r\nRCPT TO:<eve@example.com>\r\n"
            await sender.send(message(content))
            self.assertEqual((await peer.mail())["content"], content)

    async def test_lines_ended_by_lf_alone_are_mended(self) -> None:
        peer = await self.peer()
        await self.sender(peer.port).send(message(b"a: b\n\n.x\n.\ry"))
        self.assertEqual((await peer.mail())["content"], b"a: b\r\n\r\n.x\r\n.\r\ny\r\n")

    async def test_a_quoted_local_part_is_understood(self) -> None:
        peer = await self.peer()
        await self.sender(peer.port).send(message(to='"a..b"@example.com'))
        self.assertEqual((await peer.mail())["recipients"], ["a..b@example.com"])

    async def test_a_mail_may_want_no_answer(self) -> None:
        peer = await self.peer()
        await self.sender(peer.port).send(Message("", "bob@example.com", b"x\r\n"))
        self.assertEqual((await peer.mail())["sender"], "<>")

    async def test_the_server_hears_a_plain_dialogue(self) -> None:
        port, heard = self.scripted(*TAKEN, b"221 bye")
        sender = self.sender(port)
        await sender.send(message())
        await sender.stop()
        envelope = [
            b"EHLO client.example.com",
            b"MAIL FROM:<accounts@example.com>",
            b"RCPT TO:<bob@example.com>",
            b"DATA",
        ]
        self.assertEqual(heard[:9], [*envelope, b"Subject: x", b"", b"hello", b".", b"QUIT"])

    async def test_the_dialogue_is_told_without_the_body(self) -> None:
        port, _ = self.scripted(*TAKEN, b"221 bye")
        sender = self.sender(port)
        await sender.send(message())
        await sender.stop()
        self.assertEqual(
            self.told,
            [
                f"-- connecting to 127.0.0.1:{port}",
                f"-- connected to 127.0.0.1:{port}",
                "<- 220 hi",
                "-> EHLO client.example.com",
                "<- 250-x",
                "<- 250 8BITMIME",
                "-> MAIL FROM:<accounts@example.com>",
                "<- 250 ok",
                "-> RCPT TO:<bob@example.com>",
                "<- 250 ok",
                "-> DATA",
                "<- 354 go",
                "-> Subject: x",
                "-> (1 more lines, 21 octets in all)",
                "-> .",
                "<- 250 ok",
                "-> QUIT",
                "<- 221 bye",
            ],
        )


class RefusalTests(SmtpTestCase):
    async def test_refusals_carry_the_servers_code_and_words(self) -> None:
        peer = await self.peer()
        sender = self.sender(peer.port)
        for to, code, text, for_good in (
            ("busy", 451, "4.3.0 Come back later", False),
            ("nobody", 550, "5.1.1 No such?[31m user", True),
            ("spam", 554, "5.7.1 I do not like it", True),
        ):
            error = await self.refused(sender, message(to=f"{to}@example.com"))
            self.assertEqual((error.code, error.reason, error.server_failed), (code, text, False))
            self.assertIs(error.for_good, for_good)
            self.assertEqual(str(error), f"{code} {text}")

    async def test_every_command_may_be_refused(self) -> None:
        for verb, answer, stage, server_failed, for_good in (
            ("EHLO", "421 too many of you", Stage.EHLO, True, False),
            ("MAIL", "550 5.7.1 not from you", Stage.MAIL, True, False),
            ("MAIL", "421 closing", Stage.MAIL, True, False),
            ("RCPT", "554 5.7.1 Relay access denied", Stage.RCPT, False, True),
            ("RCPT", "421 closing", Stage.RCPT, False, False),
            ("DATA", "554 no valid recipients", Stage.DATA, False, True),
            ("DATA", "451 disk full", Stage.DATA, False, False),
        ):
            peer = await self.peer(answers={verb: answer})
            error = await self.refused(self.sender(peer.port))
            self.assertEqual(str(error), answer)
            self.assertEqual((error.stage, error.server_failed, error.for_good), (stage, server_failed, for_good))

    async def test_only_5xx_from_the_recipient_on_is_for_good(self) -> None:
        taken, data = b"250 ok", [b"354 go", *LINES]
        for answers, for_good, server_failed in (
            ([b"554 go away"], False, True),
            ([b"220 hi", b"550 not you", b"550 not you"], False, True),
            ([*SESSION, b"550 not you"], False, True),
            ([*SESSION, b"451 later"], False, True),
            ([*SESSION, taken, b"550 no"], True, False),
            ([*SESSION, taken, b"530 5.7.0 authenticate first"], True, False),
            ([*SESSION, taken, b"450 later"], False, False),
            ([*SESSION, taken, b"CLOSE"], False, False),
            ([*SESSION, taken, b"oops"], False, False),
            ([*SESSION, taken, taken, b"554 no"], True, False),
            ([*SESSION, taken, taken, b"451 later"], False, False),
            ([*SESSION, taken, taken, *data, b"552 no"], True, False),
            ([*SESSION, taken, taken, *data, b"452 full"], False, False),
            ([*SESSION, taken, taken, *data, b"354 go"], False, False),
            ([*SESSION, taken, taken, *data, b"CLOSE"], False, False),
        ):
            port, _ = self.scripted(*answers, b"221 bye")
            error = await self.refused(self.sender(port))
            self.assertEqual((error.for_good, error.server_failed), (for_good, server_failed), answers)

    async def test_a_connection_lost_halfway_is_not_held_against_other_mails(self) -> None:
        peer = await self.peer()
        error = await self.refused(self.sender(peer.port), message(to="drop@example.com"))
        self.assertEqual((error.code, error.server_failed, error.stage), (None, False, Stage.RCPT))
        self.assertIn("connection lost", error.reason)

    async def test_nobody_listening(self) -> None:
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        error = await self.refused(self.sender(number))
        self.assertEqual((error.code, error.server_failed, error.stage), (None, True, Stage.CONNECT))
        self.assertIn("refused", error.reason)

    async def test_a_name_that_nobody_has(self) -> None:
        error = await self.refused(self.sender(25, HeldReactor(), host="mail.example.com"))
        self.assertEqual((error.code, error.server_failed, error.stage), (None, True, Stage.RESOLVE))
        self.assertEqual(error.reason, "no address for mail.example.com")


class ConnectionsTests(SmtpTestCase):
    async def test_a_burst_goes_over_one_connection_and_starts_anew_after_ten(self) -> None:
        peer = await self.peer()
        sender = self.sender(peer.port, max_connections=1)
        await gatherResults([Deferred.fromCoroutine(sender.send(message())) for _ in range(2 * CARRIES + 1)])
        used = [(await peer.mail())["connection"] for _ in range(2 * CARRIES + 1)]
        self.assertEqual(len(set(used)), 3)
        self.assertEqual(used, sorted(used, key=used.index))
        self.assertEqual(max(map(used.count, used)), CARRIES)

    async def test_no_more_connections_are_open_than_allowed(self) -> None:
        peer = await self.peer()
        sender = self.sender(peer.port, max_connections=3)
        sending = [Deferred.fromCoroutine(sender.send(message(to="mute@example.com"))) for _ in range(5)]
        for _ in range(3):
            await peer.falls_silent()
        self.assertEqual(len(sender._open), 3)
        for each in sending:
            each.cancel()
            await self.assertFailure(each, MailNotSent)

    async def test_a_refused_message_leaves_the_connection_to_the_next(self) -> None:
        peer = await self.peer(smtputf8=False)
        sender = self.sender(peer.port)
        await sender.send(message())
        first = (await peer.mail())["connection"]
        for to in ("nobody@example.com", "spam@example.com", "busy@example.com", "é@example.com", "a b@example.com"):
            await self.refused(sender, message(to=to))
            await sender.send(message())
            self.assertEqual((await peer.mail())["connection"], first)

    async def test_an_idle_connection_is_kept_for_some_seconds(self) -> None:
        held = HeldReactor()
        port, server = self.scripts([*TAKEN, *AGAIN, b"221 bye"])
        sender = self.sender(port, held)
        await sender.send(message())
        held.clock.advance(KEPT_S - 0.1)
        await sender.send(message())
        held.clock.advance(KEPT_S - 0.1)
        self.assertNotIn(b"QUIT", server.heard)
        held.clock.advance(0.1)
        await server.hears(b"(closed)")
        self.assertEqual(server.heard[-2:], [b"QUIT", b"(closed)"])
        self.assertEqual((server.connections, held.clock.getDelayedCalls()), (1, []))

    async def test_a_kept_connection_that_the_server_closes_is_forgotten(self) -> None:
        held = HeldReactor()
        port, server = self.scripts([*TAKEN, b"221 bye"])
        sender = self.sender(port, held)
        await sender.send(message())
        for script in sender._kept:
            script.transport.loseConnection()
        await self.until(lambda: not sender._open)
        self.assertEqual(held.clock.getDelayedCalls(), [])
        await sender.send(message())
        self.assertEqual(server.connections, 2)

    async def test_a_kept_connection_that_is_of_no_use_is_replaced_unnoticed(self) -> None:
        for goodbye in ([b"CLOSE"], [b"421 idle for too long", b"CLOSE"]):
            port, server = self.scripts([*TAKEN, *goodbye], [*TAKEN, b"CLOSE"])
            sender = self.sender(port)
            await sender.send(message())
            await sender.send(message())
            self.assertEqual((server.connections, server.heard.count(b"hello")), (2, 2), goodbye)

    async def test_a_connection_on_which_a_refusal_cannot_be_undone_is_replaced(self) -> None:
        refused = [*SESSION, b"250 ok", b"550 no"]
        for goodbye in ([b"CLOSE"], [b"502 what?", b"CLOSE"], [b"421 closing", b"CLOSE"]):
            port, server = self.scripts([*refused, *goodbye], [*TAKEN, b"CLOSE"])
            sender = self.sender(port)
            await self.refused(sender)
            await sender.send(message())
            self.assertEqual((server.connections, server.heard.count(b"RSET")), (2, 1), goodbye)

    async def test_a_new_connection_is_not_replaced(self) -> None:
        for goodbye in (b"CLOSE", b"421 too busy"):
            port, server = self.scripts([*SESSION, goodbye, b"CLOSE"], TAKEN)
            error = await self.refused(self.sender(port))
            self.assertEqual((error.stage, server.connections), (Stage.MAIL, 1), goodbye)

    async def test_what_is_lost_after_mail_is_not_sent_twice(self) -> None:
        port, server = self.scripts([*TAKEN, b"250 ok", b"CLOSE"], TAKEN)
        sender = self.sender(port)
        await sender.send(message())
        error = await self.refused(sender)
        self.assertEqual((error.stage, server.connections), (Stage.RCPT, 1))

    async def test_a_kept_connection_that_speaks_unasked_is_given_up(self) -> None:
        for unasked in (b"421 shutting down", b"250 ok"):
            port, server = self.scripts([*TAKEN[:-1], b"250 ok\r\n" + unasked], [*TAKEN, b"CLOSE"])
            sender = self.sender(port)
            await sender.send(message())
            await server.hears(b"(closed)")
            await sender.send(message())
            self.assertEqual((server.connections, server.heard.count(b"QUIT")), (2, 0))

    async def test_stopping_says_goodbye_and_ends_what_is_under_way(self) -> None:
        peer = await self.peer()
        sender = self.sender(peer.port)
        mute = Deferred.fromCoroutine(sender.send(message(to="mute@example.com")))
        await peer.falls_silent()
        await sender.send(message())
        await sender.stop()
        await self.assertFailure(mute, MailNotSent)
        self.assertEqual(self.told[-2:], ["-> QUIT", "<- 221 Bye"])
        self.assertFalse(sender._open)
        self.assertEqual((await self.refused(sender)).reason, "stopping")

    async def test_stopping_does_not_wait_for_a_server_that_says_no_goodbye(self) -> None:
        held = HeldReactor()
        port, server = self.scripts(TAKEN)
        sender = self.sender(port, held)
        await sender.send(message())
        stopping = Deferred.fromCoroutine(sender.stop())
        await server.hears(b"QUIT")
        self.assertNoResult(stopping)
        held.clock.advance(2)
        await stopping
        self.assertEqual(held.clock.getDelayedCalls(), [])

    async def test_cancelling_closes_the_connection(self) -> None:
        port, server = self.scripts([b"220 hi"])
        sending = Deferred.fromCoroutine(self.sender(port).send(message()))
        await server.hears(b"EHLO client.example.com")
        sending.cancel()
        self.assertEqual((await self.assertFailure(sending, MailNotSent)).reason, "cancelled")
        await server.hears(b"(closed)")

    async def test_who_waits_for_a_connection_may_be_cancelled(self) -> None:
        port, server = self.scripts([b"220 hi"])
        sender = self.sender(port, max_connections=1)
        first = Deferred.fromCoroutine(sender.send(message()))
        second = Deferred.fromCoroutine(sender.send(message()))
        await server.hears(b"EHLO client.example.com")
        for each in (second, first):
            each.cancel()
            await self.assertFailure(each, MailNotSent)
        self.assertEqual(server.connections, 1)


class TimeTests(SmtpTestCase):
    """Each limit ends the wait when it is reached and not before."""

    LIMITS = {"connect_timeout_s": 3.0, "reply_timeout_s": 7.0, "timeout_s": 20.0}  # noqa: RUF012

    async def failure_after(self, sending: Deferred[None], held: HeldReactor, limit_s: float) -> MailNotSent:
        held.clock.advance(limit_s - 0.1)
        self.assertNoResult(sending)
        held.clock.advance(0.1)
        error: MailNotSent = await self.assertFailure(sending, MailNotSent)
        return error

    async def test_connecting(self) -> None:
        held = HeldReactor()
        held.nameResolver.resolveHostName = lambda receiver, *_, **__: receiver  # type: ignore[method-assign]
        sending = Deferred.fromCoroutine(self.sender(25, held, host="mail.example.com", **self.LIMITS).send(message()))
        error = await self.failure_after(sending, held, 3)
        self.assertEqual((error.reason, error.stage), ("no connection within 3 s", Stage.CONNECT))
        self.assertEqual(held.clock.getDelayedCalls(), [])

    async def test_each_answer(self) -> None:
        taken = b"250 ok"
        for answers, awaited, stage in (
            ([], b"", Stage.GREETING),
            ([b"220 hi"], b"EHLO client.example.com", Stage.EHLO),
            ([b"220 hi", b"250-more"], b"EHLO client.example.com", Stage.EHLO),
            (SESSION, b"MAIL FROM:<accounts@example.com>", Stage.MAIL),
            ([*SESSION, taken], b"RCPT TO:<bob@example.com>", Stage.RCPT),
            ([*SESSION, taken, taken], b"DATA", Stage.DATA),
            ([*SESSION, taken, taken, b"354 go", *LINES], b".", Stage.CONTENT),
        ):
            held = HeldReactor()
            port, server = self.scripts(answers)
            self.told.clear()
            sending = Deferred.fromCoroutine(self.sender(port, held, **self.LIMITS).send(message()))
            await (server.hears(awaited) if awaited else self.until(lambda: self.told[1:]))
            if answers[1:] == [b"250-more"]:
                await self.until(lambda: "<- 250-more" in self.told)
            error = await self.failure_after(sending, held, 7)
            self.assertEqual(error.reason, f"no answer to {stage.value} within 7 s")
            self.assertEqual((error.stage, error.code, error.for_good), (stage, None, False))
            self.assertIs(error.server_failed, stage not in (Stage.RCPT, Stage.DATA, Stage.CONTENT))
            await server.hears(b"(closed)")

    async def test_the_whole(self) -> None:
        held = HeldReactor()
        port, server = self.scripts([b"220 hi", *SESSION[1:], b"250 ok"])
        limits = {**self.LIMITS, "reply_timeout_s": 30.0}
        sending = Deferred.fromCoroutine(self.sender(port, held, **limits).send(message()))
        await server.hears(b"RCPT TO:<bob@example.com>")
        error = await self.failure_after(sending, held, 20)
        self.assertEqual((error.reason, error.stage, error.server_failed), ("no end after 20 s", Stage.RCPT, False))
        self.assertEqual(held.clock.getDelayedCalls(), [])

    async def test_an_answer_in_time_starts_the_next_wait(self) -> None:
        held = HeldReactor()
        peer = await self.peer()
        sending = Deferred.fromCoroutine(
            self.sender(peer.port, held, **self.LIMITS).send(message(to="mute@example.com"))
        )
        await peer.falls_silent()
        error = await self.failure_after(sending, held, 7)
        self.assertEqual(error.stage, Stage.RCPT)


class StuffingTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from([b".", b"\r", b"\n", b"\r\n", b"x", b" "])).map(b"".join))
    def test_every_line_survives_and_none_is_a_lone_dot(self, content: bytes) -> None:
        wire = stuffed(content)
        *lines, rest = wire.split(b"\r\n")
        self.assertEqual(rest, b"")
        self.assertNotIn(b".", lines)
        self.assertFalse([line for line in lines if b"\r" in line or b"\n" in line])
        received = b"".join(re.sub(rb"^\.", b"", line) + b"\n" for line in lines)
        sent = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self.assertEqual(received, sent if not sent or sent.endswith(b"\n") else sent + b"\n")
