"""The listener as a relay knows it: over real sockets, before real accounts."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import defer, reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint, connectProtocol
from twisted.internet.task import Clock, deferLater
from twisted.internet.testing import StringTransport, StringTransportWithDisconnection
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.bounces import Bounces
from fxa_auth.records import MailReport
from fxa_auth.reports.conversation import (
    FAREWELL_S,
    IDLE_S,
    LONGEST_S,
    MAX_COMMAND,
    MAX_COMMANDS,
    MAX_REFUSALS,
    MAX_SIZE,
    Conversation,
)
from fxa_auth.reports.intake import LARGE, Intake
from fxa_auth.reports.listener import MAX_CONNECTIONS, ReportListener
from fxa_auth.returnpath import LIFETIME_DAYS, ReturnPaths
from fxa_auth.store.database import DatabaseUnavailable
from tests.domain import EMAIL, DomainTestCase
from tests.reports.relay import Relay
from tests.reports.samples import (
    EXIM,
    FAILED_FOR_GOOD,
    OUT_OF_OFFICE,
    POSTFIX,
    abuse_report,
    delivery_report,
)

DOMAIN = "bounces.example.com"
GREETING = f"220 {DOMAIN} ESMTP"
DONE = "250 2.0.0 Done with it"
NOT_NOW = "451 4.3.0 Not now"
TOO_BIG = "552 5.3.4 Message too big"
SOFT = {"Action": "delayed", "Status": "4.4.1"}


class ListenerCase(DomainTestCase):
    timeout = 120

    async def setUp(self) -> None:
        await super().setUp()
        self.keys = [b"k" * 32]
        self.return_paths = ReturnPaths(f"bounce@{DOMAIN}", lambda: self.keys)
        self.bounces = Bounces(self.store, self.clock, 3600_000)
        self.report: Callable[[MailReport], Awaitable[None]] = self.bounces.handle
        taking = Intake(reactor, self.clock, self.return_paths, lambda report: self.report(report))
        self.listener = ReportListener(self.clock, taking, DOMAIN)
        self.relays: list[Relay] = []
        port = reactor.listenTCP(0, self.listener, interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(self.close, port)
        self.endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)

    async def close(self, *ports: Any) -> None:
        for port in ports:
            await maybeDeferred(port.stopListening)
        self.listener._abort_all()
        for relay in self.relays:
            await relay.gone

    async def connect(self) -> Relay:
        """A relay that has not heard the greeting yet."""
        relay: Relay = await connectProtocol(self.endpoint, Relay())
        self.relays.append(relay)
        return relay

    async def greeted(self) -> Relay:
        relay = await self.connect()
        self.assertEqual(await relay.answer(), GREETING)
        self.assertEqual(await relay.say("HELO relay.example.com"), [f"250 {DOMAIN}"])
        return relay

    def address_of(self, uid: bytes) -> str:
        return self.return_paths.address_of(uid, self.now_ms)

    def counts(self) -> dict[str, object]:
        told = self.listener.statistics()
        return {name: count for name, count in told.items() if count and name != "connections"}

    async def is_suppressed(self, uid: bytes) -> bool:
        return await self.store.suppressions.find(uid, self.now_ms) is not None


class ReportTests(ListenerCase):
    """What becomes of accounts and of mails that report nothing."""

    async def test_an_unverified_account_goes_with_its_bounce(self) -> None:
        relay = await self.greeted()
        for content in (delivery_report(), POSTFIX, EXIM, abuse_report()):
            account = await self.create(verified=False)
            with capturedLogs() as events:
                self.assertEqual(await relay.bring(self.address_of(account.uid), content), DONE)
            self.assertEqual(await self.rows("accounts"), [])
            self.assertEqual([event["log_format"] for event in events], ["report.taken", "bounce.handled"])
        self.assertEqual(self.counts(), {"reports": 4})

    async def test_a_verified_account_is_kept_and_gets_no_mail(self) -> None:
        relay = await self.greeted()
        for content, reason in ((delivery_report(), "bounce: 5.1.1"), (abuse_report(), "complaint: abuse")):
            account = await self.create(f"{len(content)}@example.com")
            self.assertEqual(await relay.bring(self.address_of(account.uid), content), DONE)
            suppression = await self.store.suppressions.find(account.uid, self.now_ms)
            assert suppression is not None
            self.assertEqual(suppression.reason, reason)

    async def test_the_account_is_the_one_of_the_return_path_whatever_the_report_says(self) -> None:
        own, other = await self.create(verified=False), await self.create("other@example.com", verified=False)
        claims = {"Final-Recipient": "rfc822; other@example.com", "X-Uid": other.uid.hex()}
        forged = delivery_report({**FAILED_FOR_GOOD, **claims})
        relay = await self.greeted()
        self.assertEqual(await relay.bring(self.address_of(own.uid), forged), DONE)
        self.assertEqual([row["uid"] for row in await self.rows("accounts")], [other.uid])

    async def test_a_soft_bounce_is_counted_only(self) -> None:
        account = await self.create(verified=False)
        relay = await self.greeted()
        self.assertEqual(await relay.bring(self.address_of(account.uid), delivery_report(SOFT)), DONE)
        self.assertEqual(len(await self.rows("accounts")), 1)
        self.assertEqual(self.bounces.statistics()["soft"], 1)

    async def test_a_report_that_comes_twice_changes_nothing_the_second_time(self) -> None:
        account = await self.create()
        relay, path = await self.greeted(), self.address_of(account.uid)
        self.assertEqual(await relay.bring(path, delivery_report()), DONE)
        before = await self.rows("suppressions")
        self.clock.advance(60)
        self.assertEqual(await relay.bring(path, delivery_report()), DONE)
        self.assertEqual(await self.rows("suppressions"), before)
        await self.bounces.unblock(EMAIL)
        self.assertEqual(await relay.bring(path, delivery_report()), DONE)
        self.assertFalse(await self.is_suppressed(account.uid))

    async def test_a_report_without_a_date_is_of_now(self) -> None:
        account = await self.create()
        relay, path = await self.greeted(), self.address_of(account.uid)
        for _ in range(2):
            self.assertEqual(await relay.bring(path, delivery_report(date=None)), DONE)
            self.assertTrue(await self.is_suppressed(account.uid))
            self.clock.advance(60)
            await self.bounces.unblock(EMAIL)
            self.clock.advance(60)

    async def test_a_report_for_an_account_that_has_gone_is_taken(self) -> None:
        relay = await self.greeted()
        self.assertEqual(await relay.bring(self.address_of(b"u" * 16), delivery_report()), DONE)
        self.assertEqual(self.bounces.statistics()["unknown"], 1)

    async def test_what_is_no_report_is_taken_and_dropped_with_a_line_in_the_log(self) -> None:
        account = await self.create(verified=False)
        relay, path = await self.greeted(), self.address_of(account.uid)
        for content, sender, reason in (
            (OUT_OF_OFFICE, "", "no multipart/report"),
            (OUT_OF_OFFICE, "me@example.com", "no multipart/report"),
            (b"", "", "no multipart/report"),
            (delivery_report(), "me@example.com", "delivery report with a sender"),
            (delivery_report(), "jürgen@bücher.example", "delivery report with a sender"),
        ):
            with capturedLogs() as events:
                self.assertEqual(await relay.bring(path, content, sender), DONE)
            [event] = events
            told = event["log_format"], event["uid"], event["reason"]
            self.assertEqual(told, ("report.dropped", account.uid.hex(), reason))
        self.assertEqual(len(await self.rows("accounts")), 1)
        self.assertEqual(self.counts(), {"dropped": 5})

    async def test_a_provider_that_reports_abuse_may_have_a_sender(self) -> None:
        account = await self.create(verified=False)
        relay = await self.greeted()
        self.assertEqual(await relay.bring(self.address_of(account.uid), abuse_report(), "fbl@example.net"), DONE)
        self.assertEqual(await self.rows("accounts"), [])

    async def test_the_log_has_no_more_of_a_strangers_words_than_one_printable_line(self) -> None:
        account = await self.create()
        content = delivery_report(of_mail={"Reporting-MTA": f"dns; \x1b[2J{'x' * 1000}"})
        relay = await self.greeted()
        with capturedLogs() as events:
            await relay.bring(self.address_of(account.uid), content)
            await relay.bring(f"\u2028{'x' * 1000}", content)
        self.assertEqual(events[0]["reporter"], f"?[2J{'x' * 1000}"[:200])
        self.assertEqual(events[2]["recipient"], f"?{'x' * 1000}"[:200])

    async def test_a_large_mail_is_read_on_a_thread_to_the_same_end(self) -> None:
        account = await self.create(verified=False)
        relay = await self.greeted()
        content = delivery_report() + b"x\n" * LARGE
        self.assertGreater(len(content), LARGE)
        self.assertEqual(await relay.bring(self.address_of(account.uid), content), DONE)
        self.assertEqual(await self.rows("accounts"), [])


class RecipientTests(ListenerCase):
    """Who may be written to."""

    async def test_an_address_that_is_no_return_path_is_refused_and_told_in_the_log(self) -> None:
        account = await self.create(verified=False)
        path, forged = self.address_of(account.uid), ReturnPaths(f"bounce@{DOMAIN}", lambda: [b"o" * 32])
        old = self.return_paths.address_of(account.uid, self.now_ms - (LIFETIME_DAYS + 1) * 86_400_000)
        relay = await self.greeted()
        self.assertEqual(await relay.codes("MAIL FROM:<>"), [250])
        for recipient, reason in (
            (EMAIL, "not of the form of a return path"),
            (f"bounce@{DOMAIN}", "not of the form of a return path"),
            ("jürgen@bücher.example", "not of the form of a return path"),
            ("", "not of the form of a return path"),
            (path.replace(DOMAIN, "example.com"), "not of the form of a return path"),
            (forged.address_of(account.uid, self.now_ms), "wrong MAC"),
            (old, "lapsed"),
        ):
            with capturedLogs() as events:
                self.assertEqual(await relay.say(f"RCPT TO:<{recipient}>"), ["550 5.1.1 No such address"])
            [event] = events
            told = event["log_format"], event["recipient"], event["reason"]
            self.assertEqual(told, ("report.refused", recipient, reason))
        self.assertEqual(await relay.codes("DATA"), [503])
        self.assertEqual(self.counts(), {"refused": 7})

    async def test_a_return_path_may_have_changed_its_case(self) -> None:
        account = await self.create(verified=False)
        relay = await self.greeted()
        self.assertEqual(await relay.bring(self.address_of(account.uid).upper(), delivery_report()), DONE)
        self.assertEqual(await self.rows("accounts"), [])

    async def test_after_a_change_of_key_both_keys_prove(self) -> None:
        account = await self.create(verified=False)
        path, old = self.address_of(account.uid), self.keys[0]
        relay = await self.greeted()
        self.keys[:] = [b"n" * 32, old]
        self.assertEqual(await relay.codes("MAIL FROM:<>", f"RCPT TO:<{path}>", "RSET"), [250, 250, 250])
        self.keys[:] = [b"n" * 32]
        self.assertEqual(await relay.codes("MAIL FROM:<>", f"RCPT TO:<{path}>"), [250, 550])

    async def test_before_the_keys_are_there_it_is_asked_to_come_again(self) -> None:
        def not_yet() -> list[bytes]:
            raise DatabaseUnavailable("the sealing keys are not loaded yet")

        path = self.address_of(b"u" * 16)
        self.return_paths._keys = not_yet
        relay = await self.greeted()
        with capturedLogs() as events:
            self.assertEqual(await relay.say("MAIL FROM:<>", f"RCPT TO:<{path}>"), ["250 2.1.0 OK", NOT_NOW])
        self.assertEqual(
            (events[0]["log_format"], events[0]["reason"]),
            ("report.put_off", "DatabaseUnavailable: the sealing keys are not loaded yet"),
        )

    async def test_a_second_recipient_comes_later(self) -> None:
        relay, path = await self.greeted(), self.address_of(b"u" * 16)
        lines = ("MAIL FROM:<>", f"RCPT TO:<{path}>", f"RCPT TO:<{path}>")
        self.assertEqual((await relay.say(*lines))[2], "452 4.5.3 One recipient at a time")
        self.assertEqual(await relay.codes("DATA"), [354])


class OutageTests(ListenerCase):
    """Nothing that was acknowledged is lost."""

    async def test_while_the_store_is_down_it_is_asked_to_come_again(self) -> None:
        account = await self.create(verified=False)
        relay, path = await self.greeted(), self.address_of(account.uid)
        real, self.report = self.report, self.fail_to_report
        self.assertEqual(await relay.bring(path, delivery_report()), NOT_NOW)
        self.assertEqual(len(self.flushLoggedErrors(DatabaseUnavailable)), 1)
        self.assertEqual(self.counts(), {"putOff": 1})
        self.report = real
        self.assertEqual(await relay.bring(path, delivery_report()), DONE)
        self.assertEqual(await self.rows("accounts"), [])

    async def fail_to_report(self, report: MailReport) -> None:
        raise DatabaseUnavailable("the database does not answer")

    async def bringing(self, relay: Relay) -> tuple[Deferred[str], Deferred[None]]:
        """Bring a mail that is in hand now: what its answer will be, and what has to fire before it is done with."""
        begun: Deferred[None] = Deferred()
        gate: Deferred[None] = Deferred()

        async def report(report: MailReport) -> None:
            begun.callback(None)
            await gate

        self.report = report
        answer = Deferred.fromCoroutine(relay.bring(self.address_of(b"u" * 16), delivery_report()))
        await begun
        return answer, gate

    async def test_the_answer_waits_for_the_change(self) -> None:
        relay = await self.greeted()
        answer, gate = await self.bringing(relay)
        self.assertEqual(await (await self.greeted()).codes("NOOP"), [250])
        self.assertFalse(answer.called)
        gate.callback(None)
        self.assertEqual(await answer, DONE)

    async def test_who_does_not_wait_for_an_answer_gets_none(self) -> None:
        relay = await self.greeted()
        answer, gate = await self.bringing(relay)
        relay.sendLine(b"NOOP")
        self.assertEqual(await answer, "(gone)")
        gate.callback(None)

    async def test_a_stop_lets_a_mail_in_hand_be_answered_and_ends_the_others(self) -> None:
        busy, idle, halfway = await self.greeted(), await self.greeted(), await self.greeted()
        path = self.address_of(b"u" * 16)
        self.assertEqual(await halfway.codes("MAIL FROM:<>", f"RCPT TO:<{path}>", "DATA"), [250, 250, 354])
        answer, gate = await self.bringing(busy)
        drained = Deferred.fromCoroutine(self.listener.drain())
        for relay in (idle, halfway):
            self.assertEqual([await relay.answer(), await relay.answer()], ["421 4.3.2 Closing", "(gone)"])
        late = await self.connect()
        self.assertEqual([await late.answer(), await late.answer()], ["421 4.3.2 Too many connections", "(gone)"])
        self.assertFalse(drained.called)
        gate.callback(None)
        rest = [await answer, await busy.answer(), await busy.answer()]
        self.assertEqual(rest, [DONE, "421 4.3.2 Closing", "(gone)"])
        await drained

    async def test_a_stop_that_takes_too_long_breaks_off(self) -> None:
        answer, gate = await self.bringing(await self.greeted())
        drained = Deferred.fromCoroutine(self.listener.drain()).addTimeout(20, self.clock)
        drained.addErrback(lambda failure: failure.trap(defer.TimeoutError))
        self.clock.advance(20)
        await drained
        self.assertEqual(await answer, "(gone)")
        gate.callback(None)

    async def test_a_stop_without_connections_is_over_at_once(self) -> None:
        await self.listener.drain()


class BoundTests(ListenerCase):
    """How much is taken, and for how long."""

    async def test_a_mail_of_the_largest_size_is_taken_and_one_octet_more_is_not(self) -> None:
        relay, path = await self.greeted(), self.address_of(b"u" * 16)
        content = b"X: y\n" * (MAX_SIZE // 5)
        rest = b"x" * (MAX_SIZE - len(content) - 1)
        self.assertEqual(await relay.bring(path, content + rest + b"\n"), DONE)
        self.assertEqual(await relay.bring(path, content + rest + b"x\n"), TOO_BIG)
        self.assertEqual(await relay.bring(path, delivery_report()), DONE)

    async def test_a_mail_that_says_that_it_is_too_big_is_refused_at_once(self) -> None:
        relay = await self.greeted()
        self.assertEqual(await relay.say(f"MAIL FROM:<> SIZE={MAX_SIZE + 1}"), [TOO_BIG])
        self.assertEqual(await relay.codes(f"MAIL FROM:<> SIZE={MAX_SIZE} BODY=8BITMIME SMTPUTF8"), [250])
        self.assertEqual(await relay.codes("RSET", "MAIL FROM:<SIZE=999999999@example.com>"), [250, 250])

    async def test_one_line_may_be_as_long_as_a_mail_but_no_longer(self) -> None:
        relay, path = await self.greeted(), self.address_of(b"u" * 16)
        self.assertEqual(await relay.bring(path, b"X:" + b"x" * (MAX_SIZE - 3)), DONE)
        self.assertEqual(await relay.bring(path, b"X:" + b"x" * (MAX_SIZE - 1)), "552 5.5.2 Line too long")
        self.assertEqual(await relay.answer(), "(gone)")

    async def test_a_command_that_is_too_long_ends_the_connection_and_nothing_behind_it_is_obeyed(self) -> None:
        for line in (b"NOOP " + b"x" * MAX_COMMAND, b"x" * MAX_COMMAND * 3):
            relay = await self.greeted()
            relay.transport.write(line + b"\r\nNOOP\r\n")
            self.assertEqual([await relay.answer(), await relay.answer()], ["500 5.5.2 Line too long", "(gone)"])

    async def test_who_says_nothing_for_too_long_is_let_go(self) -> None:
        relay = await self.greeted()
        self.clock.advance(IDLE_S - 1)
        self.assertEqual(await relay.codes("NOOP"), [250])
        self.clock.advance(IDLE_S)
        self.assertEqual(
            [await relay.answer(), await relay.answer()], ["421 4.4.2 Nothing heard for too long", "(gone)"]
        )

    async def test_no_connection_lasts_longer_than_its_limit(self) -> None:
        relay = await self.greeted()
        for _ in range(LONGEST_S // 100 - 1):
            self.clock.advance(100)
            self.assertEqual(await relay.codes("NOOP"), [250])
        self.clock.advance(100)
        self.assertEqual(await relay.answer(), "(gone)")

    async def test_who_is_refused_too_often_is_let_go(self) -> None:
        relay = await self.greeted()
        self.assertEqual(await relay.codes(*["HELP"] * MAX_REFUSALS), [500] * MAX_REFUSALS)
        self.assertEqual(
            [*await relay.say("HELP"), await relay.answer(), await relay.answer()],
            ["500 Command not implemented", "421 4.7.0 Too many commands", "(gone)"],
        )

    async def test_who_says_too_much_is_let_go(self) -> None:
        relay = await self.greeted()
        relay.transport.write(b"NOOP\r\n" * (2 * MAX_COMMANDS))
        answers = 0
        while (answer := await relay.answer()).startswith("250"):
            answers += 1
        self.assertEqual((answers, answer), (MAX_COMMANDS, "421 4.7.0 Too many commands"))

    async def test_of_too_many_connections_the_last_are_told_to_come_again(self) -> None:
        first = await self.greeted()
        for _ in range(MAX_CONNECTIONS - 1):
            await self.greeted()
        relay = await self.connect()
        self.assertEqual([await relay.answer(), await relay.answer()], ["421 4.3.2 Too many connections", "(gone)"])
        self.assertEqual(await first.codes("QUIT"), [221])
        await first.gone
        while len(self.listener._open) >= MAX_CONNECTIONS:
            await deferLater(reactor, 0)  # type: ignore[arg-type]
        await self.greeted()


class DialogueTests(ListenerCase):
    """The rest of SMTP and LMTP."""

    async def test_what_it_offers(self) -> None:
        for hello in ("EHLO relay.example.com", "LHLO relay.example.com", "ehlo x"):
            relay = await self.connect()
            await relay.answer()
            first = await relay.say(hello)
            offers = [*first, *[await relay.answer() for _ in range(3)]]
            self.assertEqual(offers, [f"250-{DOMAIN}", f"250-SIZE {MAX_SIZE}", "250-8BITMIME", "250 SMTPUTF8"])

    async def test_commands_out_of_order_or_out_of_form(self) -> None:
        relay, path = await self.greeted(), self.address_of(b"u" * 16)
        for line, code in (
            ("DATA", 503),
            (f"RCPT TO:<{path}>", 503),
            ("MAIL", 501),
            ("MAIL FROM:", 501),
            ("MAIL FROM:me@example.com", 501),
            ("MAIL FROM:<", 501),
            ("MAIL TO:<>", 501),
            ("", 500),
            ("AUTH", 500),
            ("STARTTLS", 500),
            (b"\xff\xfe", 500),
            ("VRFY me", 252),
            ('mail from: <"a b>"@example.com>', 250),
            ("MAIL FROM:<>", 503),
            ("DATA", 503),
            (f"RCPT TO:{path}", 501),
            ("RCPT", 501),
            (f"rcpt to:<{path}> NOTIFY=NEVER", 250),
            ("RSET", 250),
            (f"RCPT TO:<{path}>", 503),
            ("QUIT", 221),
        ):
            self.assertEqual(await relay.codes(line), [code], line)

    async def test_dots_at_the_beginning_of_lines_belong_to_the_dialogue(self) -> None:
        account = await self.create(verified=False)
        relay = await self.greeted()
        content = delivery_report().replace(b'boundary="=_1"', b'boundary="."').replace(b"--=_1", b"--.")
        content = content.replace(b"I'm sorry", b".\n..\n.I'm sorry")
        self.assertEqual(await relay.bring(self.address_of(account.uid), content), DONE)
        self.assertEqual(await self.rows("accounts"), [])

    async def test_over_a_unix_socket_it_is_all_the_same(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "reports.sock")
            port = reactor.listenUNIX(path, self.listener)  # type: ignore[attr-defined]
            self.endpoint = UNIXClientEndpoint(reactor, path)
            account = await self.create(verified=False)
            relay = await self.greeted()
            await relay.say("LHLO relay.example.com")
            for _ in range(3):
                await relay.answer()
            self.assertEqual(await relay.bring(self.address_of(account.uid), delivery_report()), DONE)
            self.assertEqual(await self.rows("accounts"), [])
            await self.close(port)


class PeerTests(SynchronousTestCase):
    """Peers that behave badly, without sockets."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.paths = ReturnPaths(f"bounce@{DOMAIN}", lambda: [b"k" * 32])
        self.ended: list[Conversation] = []

    def conversation(self) -> Conversation:
        async def report(report: MailReport) -> None:
            pass

        taking = Intake(reactor, self.clock, self.paths, report)
        return Conversation(self.clock, taking, DOMAIN, True, self.ended.append)

    def test_one_that_does_not_read_its_last_answer_is_broken_off(self) -> None:
        transport = StringTransport()
        conversation = self.conversation()
        conversation.makeConnection(transport)
        conversation.close()
        self.assertEqual((transport.disconnecting, transport.disconnected), (True, False))
        self.clock.advance(FAREWELL_S)
        self.assertTrue(transport.disconnected)

    PIECES = (
        b"EHLO x", b"LHLO", b"HELO", b"MAIL FROM:<>", b"MAIL FROM:<a@b> SIZE=", b"RCPT TO:<%s>", b"DATA", b"RSET",
        b"QUIT", b"NOOP", b"AUTH", b"\r\n", b"\r\n", b"\r\n", b"\r\n.\r\n", b"\n", b".", b"\r", b"\0", b"\xff", b" ",
        delivery_report().replace(b"\n", b"\r\n"),
    )  # fmt: skip

    @settings(max_examples=300)
    @given(st.lists(st.sampled_from(PIECES) | st.binary(max_size=20), max_size=40))
    def test_whatever_one_sends_it_gets_answers_and_nothing_is_left(self, pieces: list[bytes]) -> None:
        path = self.paths.address_of(b"u" * 16, 0).encode()
        conversation = self.conversation()
        transport = StringTransportWithDisconnection()
        transport.protocol = conversation
        transport.abortConnection = transport.loseConnection  # type: ignore[method-assign]
        conversation.makeConnection(transport)
        for piece in pieces:
            if not transport.connected:
                break
            conversation.dataReceived(piece.replace(b"%s", path))
        if transport.connected:
            transport.loseConnection()
        self.assertEqual((self.ended.pop(), self.clock.getDelayedCalls()), (conversation, []))
        for line in transport.value().splitlines():
            self.assertRegex(line, rb"\A[2345]\d\d[ -]")
