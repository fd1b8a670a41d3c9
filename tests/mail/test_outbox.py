"""The delivery loop, with a queue in memory that can be made to fail, and a clock in hand."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.mail.compose import Message
from fxa_auth.mail.failures import MailNotSent
from fxa_auth.mail.outbox import FIRST_REST_MS, LONGEST_REST_MS, POLL_MS, Outbox, Terms
from fxa_auth.records import ClaimedMail, Letter, MailKind, Outlook
from tests.mail.queue import UID, MemoryQueue
from tests.test_backoff import middle

AT_ONCE = 3
SEND_S, RETRY_S, MAX_AGE_S = 20, 30, 86_400
TERMS = Terms(AT_ONCE, SEND_S * 1000, RETRY_S * 1000, 900_000, MAX_AGE_S * 1000)
DOWN = MailNotSent("no connection", server_failed=True)
FIRST_REST_S, LONGEST_REST_S = FIRST_REST_MS / 1000, LONGEST_REST_MS / 1000


class OutboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.queue = MemoryQueue()
        self.error: Exception | None = None
        self.refused: set[str] = set()
        self.outdated: set[str] = set()
        self.held: dict[str, Deferred[None]] = {}
        self.is_holding = False
        self.tried: list[str] = []
        self.sent: list[str] = []
        self.outbox = self.make_outbox()

    def make_outbox(self) -> Outbox:
        return Outbox(self.clock, self.queue, self.compose, self.send, self.why_outdated, middle, TERMS)

    def compose(self, letter: Letter) -> Message:
        return Message("accounts@example.com", letter.to, b"")

    async def send(self, message: Message) -> str:
        name = message.recipient.partition("@")[0]
        self.tried.append(name)
        if self.is_holding:
            self.held[name] = Deferred()
            await self.held[name]
        if self.error is not None:
            raise self.error
        if name in self.refused:
            raise MailNotSent("come back later", 451)
        self.sent.append(name)
        return "250 OK"

    async def why_outdated(self, letter: Letter) -> str | None:
        return "of no use" if letter.to.partition("@")[0] in self.outdated else None

    @property
    def now_ms(self) -> int:
        return round(self.clock.seconds() * 1000)

    def add(self, *names: str) -> None:
        for name in names:
            self.queue.add(name, self.now_ms)

    def start(self, *names: str) -> None:
        self.add(*names)
        self.outbox.start()
        self.addCleanup(self.stop)

    def say_queued(self, *names: str) -> None:
        """Queue mails and tell the outbox, as the domain does."""
        for name in names:
            self.add(name)
            self.outbox.queued(MailKind.RESET, UID)

    def finish(self, name: str) -> None:
        self.held.pop(name).callback(None)

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.outbox.stop())

    def advance(self, *seconds: float) -> None:
        for each in seconds:
            self.clock.advance(each)

    # What is due is sent.

    def test_what_is_due_at_the_start_is_sent_and_leaves_the_queue(self) -> None:
        names = [f"n{number:03d}" for number in range(50)]
        self.start(*names)
        self.assertEqual(self.sent, names)
        self.assertEqual(self.queue.entries, {})

    def test_a_mail_queued_later_is_sent_at_once(self) -> None:
        self.start()
        self.say_queued("bob")
        self.assertEqual(self.sent, ["bob"])

    def test_what_another_process_has_queued_is_found_within_seconds(self) -> None:
        self.start()
        self.add("bob")
        self.advance(POLL_MS / 1000 - 0.1)
        self.assertEqual(self.sent, [])
        self.advance(0.1)
        self.assertEqual(self.sent, ["bob"])

    def test_a_mail_is_sent_when_its_time_comes(self) -> None:
        self.queue.add("bob", self.now_ms, due_at_ms=self.now_ms + 7000)
        self.start()
        self.advance(5, 1.9)
        self.assertEqual(self.sent, [])
        self.advance(0.1)
        self.assertEqual(self.sent, ["bob"])

    def test_so_many_are_in_delivery_at_once_and_no_more(self) -> None:
        self.is_holding = True
        self.start("a", "b", "c", "d", "e")
        self.assertEqual(self.tried, ["a", "b", "c"])
        self.finish("b")
        self.assertEqual(self.tried, ["a", "b", "c", "d"])
        self.advance(POLL_MS / 1000)
        self.assertEqual(len(self.tried), 4)
        for name in ("a", "c", "d", "e"):
            self.finish(name)
        self.assertEqual((self.sent, self.queue.entries), (["b", "a", "c", "d", "e"], {}))

    def test_a_wake_up_while_the_queue_is_asked_is_not_lost(self) -> None:
        asked: Deferred[None] = Deferred()

        async def outlook() -> Outlook:
            await asked
            return Outlook(None, None) if "bob" not in self.queue.entries else await MemoryQueue.outlook(self.queue)

        self.queue.outlook = outlook  # type: ignore[method-assign]
        self.start()
        self.outbox.queued(MailKind.RESET, UID)
        asked.callback(None)
        self.say_queued("bob")
        self.assertEqual(self.sent, ["bob"])

    def test_a_refused_mail_waits_and_the_others_go_on(self) -> None:
        self.refused = {"bob"}
        self.start("ann", "bob", "eve")
        self.assertEqual((self.sent, self.queue.names()), (["ann", "eve"], ["bob"]))
        self.refused = set()
        self.advance(*[5] * 5, 4.9)
        self.assertEqual(self.tried, ["ann", "bob", "eve"])
        self.advance(0.1)
        self.assertEqual((self.sent, self.queue.entries), (["ann", "eve", "bob"], {}))

    def test_a_mail_taken_out_of_the_queue_while_others_are_in_hand_is_not_sent(self) -> None:
        self.is_holding = True
        self.start("a", "b", "c", "d", "e")
        del self.queue.entries["d"]
        for name in ("a", "b", "c", "e"):
            self.finish(name)
        self.assertEqual(self.sent, ["a", "b", "c", "e"])

    def test_what_somebody_else_has_claimed_is_sent_when_the_claim_runs_out(self) -> None:
        self.add("bob")
        claim = self.queue.claim(self.now_ms, self.now_ms + 42_000, 1)
        self.assertEqual(len(self.successResultOf(Deferred.fromCoroutine(claim))), 1)
        self.start()
        self.advance(*[POLL_MS / 1000] * 8, 1.9)
        self.assertEqual(self.sent, [])
        self.advance(0.1)
        self.assertEqual(self.sent, ["bob"])

    def test_a_mail_is_claimed_for_longer_than_sending_may_take(self) -> None:
        self.is_holding = True
        self.start("bob")
        self.assertEqual(self.queue.entries["bob"].due_at_ms, self.now_ms + 2 * SEND_S * 1000)
        self.finish("bob")

    def test_a_mail_that_was_claimed_too_long_ago_is_not_sent(self) -> None:
        claim, gate = self.queue.claim, Deferred[None]()

        async def slowly(now_ms: int, until_ms: int, limit: int) -> list[ClaimedMail]:
            claimed = await claim(now_ms, until_ms, limit)
            if not gate.called:
                await gate
            return claimed

        self.queue.claim = slowly  # type: ignore[method-assign]
        self.start("bob")
        self.advance(SEND_S + 1)
        released = []
        release = self.queue.release

        async def noted(mail: ClaimedMail, now_ms: int, answer: str | None) -> None:
            released.append((mail.id, list(self.tried)))
            await release(mail, now_ms, answer)

        self.queue.release = noted  # type: ignore[method-assign]
        gate.callback(None)
        self.assertEqual(released, [(b"bob", [])])
        self.assertEqual(self.sent, ["bob"], "it was claimed anew")

    # The server is down.

    def test_a_server_that_is_down_is_asked_once_between_rests(self) -> None:
        self.error = DOWN
        self.start(*"abcdefgh")
        self.assertEqual(len(self.tried), AT_ONCE)
        for tries, rest_s in enumerate((5, 10, 20, 40, LONGEST_REST_S, LONGEST_REST_S), AT_ONCE + 1):
            self.say_queued(f"new{tries}")
            self.advance(rest_s - 0.1)
            self.assertEqual(len(self.tried), tries - 1)
            self.advance(0.1)
            self.assertEqual(len(self.tried), tries)

    def test_once_it_is_back_all_go_out_within_a_minute_whatever_the_outage_lasted(self) -> None:
        names = [f"n{number:03d}" for number in range(50)]
        self.error = DOWN
        self.start(*names)
        self.advance(*[60] * 600)
        self.assertEqual(self.sent, [])
        self.error = None
        self.advance(LONGEST_REST_S)
        self.assertEqual((sorted(self.sent), self.queue.entries), (names, {}))
        self.assertEqual(len(self.sent), 50)

    def test_while_nobody_knows_whether_it_is_back_a_single_mail_is_in_hand(self) -> None:
        self.error = DOWN
        self.start(*"abcdef")
        self.is_holding = True
        del self.tried[:]
        self.advance(FIRST_REST_S)
        [probe] = self.tried
        self.say_queued("new")
        self.advance(POLL_MS / 1000)
        self.assertEqual(self.tried, [probe])
        self.error = None
        self.finish(probe)
        self.assertEqual(len(self.tried), 1 + AT_ONCE)
        self.is_holding = False
        for name in list(self.held):
            self.finish(name)
        self.assertEqual(len(self.sent), 7)

    def test_a_server_that_refuses_a_mail_is_not_down(self) -> None:
        self.error = DOWN
        self.start(*"abc")
        self.error, self.refused = None, {"a", "b", "c"}
        self.advance(FIRST_REST_S)
        self.assertEqual(len(self.tried), 6)
        self.say_queued("new")
        self.assertEqual(self.sent, ["new"])

    def test_mails_that_need_no_server_do_not_count_as_a_sign_of_life(self) -> None:
        self.error = DOWN
        self.add(*"abcdef")
        self.advance(1)
        self.start()
        self.outdated = {"d", "e"}
        del self.tried[:]
        self.advance(FIRST_REST_S)
        self.assertEqual((self.tried, self.queue.names()), (["f"], ["a", "b", "c", "f"]))

    def test_new_mails_during_an_outage_cause_no_attempt(self) -> None:
        self.error = DOWN
        self.start("a")
        self.say_queued(*"bcdef")
        self.advance(FIRST_REST_S - 0.1)
        self.assertEqual(self.tried, ["a"])

    def test_one_lost_connection_among_others_stops_nothing(self) -> None:
        self.is_holding = True
        self.start(*"abcdef")
        self.advance(1)
        self.error = DOWN
        self.finish("a")
        self.error = None
        self.assertEqual(self.tried, ["a", "b", "c"], "first let it be seen what becomes of the others")
        self.finish("b")
        self.assertEqual(self.tried, ["a", "b", "c", "d", "e"])
        self.is_holding = False
        for name in list(self.held):
            self.finish(name)
        self.assertEqual(sorted(self.sent), list("abcdef"))

    # The queue is down.

    def test_a_queue_that_is_down_is_asked_again_after_a_rest(self) -> None:
        self.queue.is_down = True
        self.start("bob")
        for asked, rest_s in enumerate((5, 10, 20), 1):
            self.assertEqual(self.queue.asked, asked)
            self.outbox.queued(MailKind.RESET, UID)
            self.advance(rest_s - 0.1)
            self.assertEqual(self.queue.asked, asked)
            self.advance(0.1)
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 4)
        self.queue.is_down = False
        self.advance(LONGEST_REST_S)
        self.assertEqual(self.sent, ["bob"])

    def test_a_mail_that_could_not_be_forgotten_is_not_sent_again(self) -> None:
        self.queue.is_deaf = True
        self.start("bob")
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.queue.is_deaf = False
        self.advance(FIRST_REST_S, 2 * SEND_S)
        self.assertEqual((self.sent, self.queue.entries), (["bob"], {}))

    # The end.

    def test_stopping_lets_the_mails_in_hand_finish_and_begins_no_other(self) -> None:
        self.is_holding = True
        self.start("a", "b", "c", "d")
        stopped = self.stop()
        self.finish("b")
        self.finish("a")
        self.assertNoResult(stopped)
        self.finish("c")
        self.successResultOf(stopped)
        self.assertEqual((self.tried, self.queue.names()), (["a", "b", "c"], ["d"]))
        self.outbox.queued(MailKind.RESET, UID)
        self.assertEqual((len(self.tried), self.clock.getDelayedCalls()), (3, []))

    def test_what_is_claimed_while_it_stops_is_given_back(self) -> None:
        claim, gate = self.queue.claim, Deferred[None]()

        async def slowly(now_ms: int, until_ms: int, limit: int) -> list[ClaimedMail]:
            claimed = await claim(now_ms, until_ms, limit)
            await gate
            return claimed

        self.queue.claim = slowly  # type: ignore[method-assign]
        self.start("a", "b")
        stopped = self.stop()
        gate.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.tried, [])
        self.assertEqual({entry.due_at_ms for entry in self.queue.entries.values()}, {self.now_ms})

    def test_stopping_ends_every_kind_of_sleep(self) -> None:
        self.start()
        self.successResultOf(self.stop())

        self.outbox = self.make_outbox()
        self.refused = {"bob"}
        self.start("bob")
        self.successResultOf(self.stop())

        self.outbox = self.make_outbox()
        self.error = DOWN
        self.start("ann")
        self.successResultOf(self.stop())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_outbox_that_never_started_stops(self) -> None:
        self.successResultOf(self.stop())

    # What is told.

    def test_queuing_is_logged(self) -> None:
        with capturedLogs() as events:
            self.outbox.queued(MailKind.UNLOCK, UID)
        [told] = [(event["log_format"], event["kind"], event["uid"]) for event in events]
        self.assertEqual(told, ("mail.queued", "unlock", UID.hex()))

    def test_the_statistics_count_by_kind_and_tell_the_age_of_the_oldest(self) -> None:
        self.refused, self.outdated = {"bob"}, {"eve"}
        self.start()
        self.outbox.queued(MailKind.VERIFY, UID)
        none = {"verify": 0, "reset": 0, "unlock": 0}
        self.assertEqual(
            self.outbox.statistics(),
            {
                "queued": {**none, "verify": 1},
                **{event: none for event in ("sent", "deferred", "failed", "dropped")},
                "oldestSeconds": None,
            },
        )
        self.say_queued("ann", "bob", "eve")
        self.advance(5, 4)
        told = self.outbox.statistics()
        counts = {event: told[event] for event in ("queued", "sent", "deferred", "failed", "dropped")}
        one = {**none, "reset": 1}
        expected = {"queued": {**none, "verify": 1, "reset": 3}, "sent": one, "deferred": one, "failed": none}
        self.assertEqual(counts, {**expected, "dropped": one})
        self.assertEqual(told["oldestSeconds"], 9)

    def test_a_queue_that_is_down_does_not_keep_the_statistics_from_being_told(self) -> None:
        self.refused = {"bob"}
        self.start("bob")
        self.advance(5)
        self.queue.is_down = True
        self.advance(*[5] * 6)
        self.assertEqual(self.outbox.statistics()["oldestSeconds"], 35)
        self.flushLoggedErrors(OSError)
