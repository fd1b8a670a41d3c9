"""The delivery loop, with a queue in memory that can be made to fail, and a clock in hand."""

from __future__ import annotations

from dataclasses import dataclass, replace

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.mail.compose import Message
from fxa_auth.mail.outbox import Outbox
from fxa_auth.mail.smtp import MailNotSent
from fxa_auth.records import Letter, MailKind, QueuedMail

RETRY_DELAY_S = 30


@dataclass
class Entry:
    mail: QueuedMail
    due_ms: int


class MemoryQueue:
    """The port with a dict behind it; ``down`` makes every call fail, ``deaf`` only the reports."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.asked = 0
        self.down = False
        self.deaf = False

    def add(self, name: str, due_ms: int = 0) -> None:
        letter = Letter(MailKind.RESET, b"\x01" * 16, f"{name}@example.com", b"\xc0" * 16, b"\xd0" * 32)
        self.entries[name.encode()] = Entry(QueuedMail(name.encode(), letter, 0), due_ms)

    def check(self) -> None:
        self.asked += 1
        if self.down:
            raise OSError("database is gone")

    async def due(self, now_ms: int, limit: int) -> list[QueuedMail]:
        self.check()
        due = sorted((entry.due_ms, key) for key, entry in self.entries.items() if entry.due_ms <= now_ms)
        return [self.entries[key].mail for _, key in due[:limit]]

    async def next_due_ms(self) -> int | None:
        self.check()
        return min((entry.due_ms for entry in self.entries.values()), default=None)

    async def remove(self, mail_id: bytes) -> None:
        self.check()
        if self.deaf:
            raise OSError("database is gone")
        del self.entries[mail_id]

    async def failed(self, mail_id: bytes, retry_at_ms: int) -> None:
        self.check()
        mail = self.entries[mail_id].mail
        self.entries[mail_id] = Entry(replace(mail, attempts=mail.attempts + 1), retry_at_ms)


class OutboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.queue = MemoryQueue()
        self.error: Exception | None = None
        self.refused: set[str] = set()
        self.refused_for_good: set[str] = set()
        self.in_hand: Deferred[None] | None = None
        self.tried: list[str] = []
        self.sent: list[str] = []
        self.outbox = Outbox(self.clock, self.queue, self.compose, self.send, RETRY_DELAY_S * 1000)

    def compose(self, letter: Letter) -> Message:
        if letter.to.startswith("odd"):
            raise ValueError("cannot be composed")
        return Message("accounts@example.com", letter.to, b"")

    async def send(self, message: Message) -> None:
        name = message.recipient.partition("@")[0]
        self.tried.append(name)
        if self.in_hand is not None:
            await self.in_hand
        if self.error is not None:
            raise self.error
        if name in self.refused:
            raise MailNotSent("come back later", 451)
        if name in self.refused_for_good:
            raise MailNotSent("no such user", 550, for_good=True)
        self.sent.append(name)

    def start(self, *names: str) -> None:
        for name in names:
            self.queue.add(name)
        self.outbox.start()

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.outbox.stop())

    def test_what_is_due_at_the_start_is_sent_and_leaves_the_queue(self) -> None:
        names = [f"n{number:03d}" for number in range(50)]
        self.start(*names)
        self.assertEqual(self.sent, names)
        self.assertEqual(self.queue.entries, {})

    def test_a_mail_queued_later_is_sent_at_the_wake_up(self) -> None:
        self.start()
        self.queue.add("bob")
        self.assertEqual(self.sent, [])
        self.outbox.wake()
        self.outbox.wake()
        self.assertEqual(self.sent, ["bob"])

    def test_a_mail_is_sent_when_its_time_comes(self) -> None:
        self.queue.add("bob", due_ms=int(self.clock.seconds() * 1000) + 5000)
        self.start()
        self.clock.advance(4.9)
        self.assertEqual(self.sent, [])
        self.clock.advance(0.1)
        self.assertEqual(self.sent, ["bob"])

    def test_a_wake_up_during_a_delivery_is_not_lost(self) -> None:
        self.in_hand = first = Deferred()
        self.start("bob")
        self.in_hand = None
        self.queue.add("eve")
        self.outbox.wake()
        self.assertEqual(self.tried, ["bob"])
        first.callback(None)
        self.assertEqual(self.sent, ["bob", "eve"])

    def test_a_wake_up_while_the_queue_is_asked_for_its_next_time_is_not_lost(self) -> None:
        asked: Deferred[int | None] = Deferred()

        async def next_due_ms() -> int | None:
            return await asked

        self.queue.next_due_ms = next_due_ms  # type: ignore[method-assign]
        self.start()
        self.queue.add("bob")
        self.outbox.wake()
        asked.callback(None)
        self.assertEqual(self.sent, ["bob"])

    def test_an_idle_loop_does_nothing_at_all(self) -> None:
        self.start()
        asked = self.queue.asked
        self.clock.advance(100_000)
        self.assertEqual((self.queue.asked, self.clock.getDelayedCalls()), (asked, []))

    def test_a_refused_mail_is_pushed_back_and_the_others_go_on(self) -> None:
        self.refused = {"bob"}
        self.start("ann", "bob", "eve")
        self.assertEqual(self.sent, ["ann", "eve"])
        self.assertEqual(self.queue.entries[b"bob"].mail.attempts, 1)
        self.clock.advance(RETRY_DELAY_S - 0.1)
        self.assertEqual(self.tried, ["ann", "bob", "eve"])
        self.refused = set()
        self.clock.advance(0.1)
        self.assertEqual(self.sent, ["ann", "eve", "bob"])
        self.assertEqual(self.queue.entries, {})

    def test_a_mail_refused_for_good_is_given_up_and_the_others_go_on(self) -> None:
        self.refused = {"bob"}
        self.start("bob")
        self.refused_for_good, self.refused = self.refused, set()
        self.queue.add("eve", due_ms=int(self.clock.seconds() + RETRY_DELAY_S) * 1000)
        with capturedLogs() as events:
            self.clock.advance(RETRY_DELAY_S)
            self.clock.advance(10 * RETRY_DELAY_S)
        self.assertEqual((self.tried, self.sent, self.queue.entries), (["bob", "bob", "eve"], ["eve"], {}))
        told = [event for event in events if event["log_format"] == "mail.given_up"]
        names = ("kind", "uid", "attempts", "code", "reason")
        self.assertEqual(
            [[event[name] for name in names] for event in told], [["reset", "01" * 16, 2, 550, "no such user"]]
        )

    def test_a_mail_taken_out_of_the_queue_while_another_is_in_hand_is_not_sent(self) -> None:
        self.in_hand = Deferred()
        self.start("ann", "bob", "eve")
        del self.queue.entries[b"bob"]
        self.in_hand.callback(None)
        self.assertEqual(self.sent, ["ann", "eve"])

    def test_while_the_server_is_down_it_is_asked_once_in_each_retry_delay(self) -> None:
        self.error = MailNotSent("no connection", server_failed=True)
        self.start("ann", "bob", "eve")
        for tries in range(1, 6):
            self.outbox.wake()
            self.assertEqual(len(self.tried), tries)
            self.clock.advance(RETRY_DELAY_S)
        self.error = None
        self.clock.advance(RETRY_DELAY_S)
        self.assertEqual(sorted(self.sent), ["ann", "bob", "eve"])
        self.assertEqual(self.queue.entries, {})
        self.clock.advance(10 * RETRY_DELAY_S)
        self.assertEqual(len(self.sent), 3)

    def test_a_mail_that_cannot_be_composed_or_sent_does_not_stop_the_others(self) -> None:
        self.start("odd", "bob")
        self.assertEqual(self.sent, ["bob"])
        self.assertEqual(self.queue.entries[b"odd"].due_ms, int(self.clock.seconds() + RETRY_DELAY_S) * 1000)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.error = RuntimeError("a bug")
        self.queue.add("eve")
        self.outbox.wake()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.error = None
        self.clock.advance(RETRY_DELAY_S)
        self.assertEqual(self.sent, ["bob", "eve"])
        self.flushLoggedErrors(ValueError)

    def test_a_queue_that_is_down_is_asked_again_after_a_rest(self) -> None:
        self.queue.down = True
        self.start("bob")
        for asked in range(1, 5):
            self.assertEqual(self.queue.asked, asked)
            self.outbox.wake()
            self.clock.advance(RETRY_DELAY_S)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 5)
        self.queue.down = False
        self.clock.advance(RETRY_DELAY_S)
        self.assertEqual(self.sent, ["bob"])

    def test_a_mail_that_could_not_be_forgotten_is_not_sent_again(self) -> None:
        self.queue.deaf = True
        self.start("bob")
        self.clock.advance(RETRY_DELAY_S)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)
        self.assertIn(b"bob", self.queue.entries)
        self.queue.deaf = False
        self.clock.advance(RETRY_DELAY_S)
        self.assertEqual((self.sent, self.queue.entries), (["bob"], {}))

    def test_a_mail_given_up_that_could_not_be_forgotten_is_not_tried_again(self) -> None:
        self.queue.deaf = True
        self.refused_for_good = {"bob"}
        with capturedLogs() as events:
            self.start("bob")
            self.clock.advance(RETRY_DELAY_S)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)
        self.queue.deaf = False
        self.clock.advance(RETRY_DELAY_S)
        self.assertEqual((self.tried, self.queue.entries), (["bob"], {}))
        self.assertEqual([event["log_format"] for event in events].count("mail.given_up"), 1)

    def test_stopping_lets_the_mail_in_hand_finish_and_begins_no_other(self) -> None:
        self.in_hand = Deferred()
        self.start("ann", "bob")
        stopped = self.stop()
        self.assertNoResult(stopped)
        self.in_hand.callback(None)
        self.successResultOf(stopped)
        self.assertEqual((self.tried, list(self.queue.entries)), (["ann"], [b"bob"]))
        self.outbox.wake()
        self.assertEqual((self.tried, self.clock.getDelayedCalls()), (["ann"], []))

    def test_stopping_while_the_queue_is_asked_begins_no_mail(self) -> None:
        answer: Deferred[list[QueuedMail]] = Deferred()

        async def due(now_ms: int, limit: int) -> list[QueuedMail]:
            return await answer

        self.queue.add("bob")
        self.queue.due = due  # type: ignore[method-assign]
        self.start()
        stopped = self.stop()
        answer.callback([self.queue.entries[b"bob"].mail])
        self.successResultOf(stopped)
        self.assertEqual(self.tried, [])

    def test_stopping_ends_every_kind_of_sleep(self) -> None:
        self.start()
        self.successResultOf(self.stop())

        self.outbox = Outbox(self.clock, self.queue, self.compose, self.send, RETRY_DELAY_S * 1000)
        self.refused = {"bob"}
        self.start("bob")
        self.successResultOf(self.stop())

        self.outbox = Outbox(self.clock, self.queue, self.compose, self.send, RETRY_DELAY_S * 1000)
        self.error = MailNotSent("no connection", server_failed=True)
        self.start("ann")
        self.successResultOf(self.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_outbox_that_never_started_stops(self) -> None:
        self.successResultOf(self.stop())

    def test_the_log_tells_what_became_of_each_mail(self) -> None:
        self.refused = {"bob"}
        with capturedLogs() as events:
            self.start("ann", "bob")
        told = [{name: event[name] for name in ("log_format", "kind", "uid", "attempts")} for event in events]
        about = {"kind": "reset", "uid": "01" * 16, "attempts": 1}
        self.assertEqual(told, [{"log_format": "mail.sent", **about}, {"log_format": "mail.deferred", **about}])
        self.assertEqual((events[1]["code"], events[1]["reason"]), (451, "come back later"))

    def test_the_log_repeats_no_link(self) -> None:
        for quoted in ("c0" * 16, "TOKEN=" + "D0" * 20, "token=" + "d0" * 5):
            for for_good in (False, True):
                self.error = MailNotSent(f"blocked: https://example.com/?{quoted}", 554, for_good=for_good)
                self.queue.add("bob")
                with capturedLogs() as events:
                    Outbox(self.clock, self.queue, self.compose, self.send, RETRY_DELAY_S * 1000).start()
                self.assertEqual(len(events), 1)
                self.assertNotIn(quoted, repr(events))
