"""What becomes of one mail whose turn has come, with a queue in memory and a clock in hand."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.backoff import Backoff
from fxa_auth.mail.compose import Message
from fxa_auth.mail.delivery import MANY_REFUSED, Delivery, MailCounts, Server
from fxa_auth.mail.failures import MailNotSent
from fxa_auth.records import ClaimedMail, Letter
from tests.mail.queue import CODE, TOKEN, UID, MemoryQueue
from tests.test_backoff import middle

NOW_MS = 1_000_000_000
RETRY_MS, MAX_RETRY_MS, MAX_AGE_MS, CLAIM_MS = 30_000, 100_000, 3_600_000, 60_000


class DeliveryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW_MS / 1000)
        self.queue = MemoryQueue()
        self.counts = MailCounts()
        self.error: Exception | None = None
        self.answer = "250 2.0.0 queued as 4XyZ"
        self.reason: str | None = None
        self.sent: list[str] = []
        retries = Backoff(RETRY_MS, MAX_RETRY_MS, middle)
        self.delivery = Delivery(
            self.clock, self.queue, self.compose, self.send, self.outdated, retries, MAX_AGE_MS, self.counts
        )

    def compose(self, letter: Letter) -> Message:
        if letter.to.startswith("odd"):
            raise ValueError(f"cannot be composed: {letter.code.hex()}")
        return Message("accounts@example.com", letter.to, b"")

    async def send(self, message: Message) -> str:
        if self.error is not None:
            raise self.error
        self.sent.append(message.recipient.partition("@")[0])
        return self.answer

    async def outdated(self, letter: Letter) -> str | None:
        return self.reason

    def claim(self) -> ClaimedMail:
        now_ms = int(self.clock.seconds() * 1000)
        [mail] = self.successResultOf(Deferred.fromCoroutine(self.queue.claim(now_ms, now_ms + CLAIM_MS, 1)))
        return mail

    def deliver(self, name: str = "bob", age_ms: int = 0) -> Server:
        """Queue a mail, if it is not there yet, claim it and deliver it."""
        if name not in self.queue.entries:
            self.queue.add(name, NOW_MS - age_ms)
        return self.delivered(self.claim())

    def delivered(self, mail: ClaimedMail) -> Server:
        send_by_ms = int(self.clock.seconds() * 1000)
        return self.successResultOf(Deferred.fromCoroutine(self.delivery.deliver(mail, send_by_ms)))

    def logged(self, *fields: str, name: str = "bob", age_ms: int = 0) -> list[list[object]]:
        """The op and these fields of each line that a delivery writes."""
        with capturedLogs() as events:
            self.deliver(name, age_ms)
        return [[event["log_format"], *(event[field] for field in fields)] for event in events]

    def counted(self) -> dict[str, int]:
        """The counts that are not 0, of the only kind there is here."""
        return {event: kinds["reset"] for event, kinds in self.counts.by_event().items() if kinds["reset"]}

    def test_a_mail_that_was_sent_leaves_the_queue(self) -> None:
        self.assertEqual(self.deliver(), Server.WORKS)
        self.assertEqual((self.sent, self.queue.entries, self.counted()), (["bob"], {}, {"sent": 1}))

    def test_each_attempt_is_told_with_the_servers_answer(self) -> None:
        fields = ("id", "kind", "uid", "attempts")
        about = [b"bob".hex(), "reset", UID.hex()]
        self.error = MailNotSent("4.2.0 come back later", 451)
        deferred = self.logged(*fields, "code", "reason")
        self.assertEqual(deferred, [["mail.deferred", *about, 1, 451, "4.2.0 come back later"]])
        self.clock.advance(RETRY_MS / 1000)
        self.error = None
        self.assertEqual(self.logged(*fields, "answer"), [["mail.sent", *about, 2, self.answer]])

    def test_pauses_between_attempts_at_a_mail_double_up_to_the_longest(self) -> None:
        self.error = MailNotSent("come back later", 451)
        pauses_ms = []
        for _ in range(4):
            self.assertEqual(self.deliver(), Server.WORKS)
            due_at_ms = self.queue.entries["bob"].due_at_ms
            pauses_ms.append(due_at_ms - round(self.clock.seconds() * 1000))
            self.clock.advance(pauses_ms[-1] / 1000)
        self.assertEqual(pauses_ms, [30_000, 60_000, 100_000, 100_000])
        self.assertEqual(self.queue.entries["bob"].mail.last_answer, "451 come back later")
        self.assertEqual(self.counted(), {"deferred": 4})

    def test_a_mail_is_not_to_blame_for_a_server_that_failed(self) -> None:
        self.error = MailNotSent("no connection: refused", server_failed=True)
        for _ in range(2):
            self.assertEqual(self.deliver(), Server.FAILS)
        mail = self.queue.entries["bob"].mail
        self.assertEqual((mail.attempts, mail.last_answer), (0, "no connection: refused"))
        self.assertEqual((self.queue.entries["bob"].due_at_ms, self.counted()), (NOW_MS, {"deferred": 2}))

    def test_a_mail_refused_for_good_becomes_a_dead_letter(self) -> None:
        self.error = MailNotSent("no such user", 550, for_good=True)
        told = self.logged("attempts", "code", "reason")
        self.assertEqual(told, [["mail.failed", 1, 550, "no such user"]])
        self.assertEqual((self.queue.dead(), self.counted()), ({"bob": "550 no such user"}, {"failed": 1}))
        self.assertEqual(self.queue.entries["bob"].mail.attempts, 1)

    def test_a_mail_that_is_too_old_becomes_a_dead_letter_without_another_attempt(self) -> None:
        self.assertEqual(self.logged("reason", age_ms=MAX_AGE_MS), [["mail.failed", "too old to be tried again"]])
        self.assertEqual((self.sent, list(self.queue.dead())), ([], ["bob"]))
        self.assertEqual(self.deliver("eve", MAX_AGE_MS - 1), Server.WORKS)
        self.assertEqual((self.sent, self.counted()), (["eve"], {"failed": 1, "sent": 1}))

    def test_a_dead_letter_that_was_too_old_keeps_the_last_answer(self) -> None:
        self.error = MailNotSent("come back later", 451)
        self.deliver(age_ms=MAX_AGE_MS - 1)
        self.clock.advance(RETRY_MS / 1000)
        self.deliver()
        reason = "too old to be tried again; the last answer was: 451 come back later"
        self.assertEqual(self.queue.dead(), {"bob": reason})

    def test_an_outdated_mail_is_dropped(self) -> None:
        self.reason = "the address is verified already"
        self.assertEqual(self.logged("kind", "reason"), [["mail.dropped", "reset", self.reason]])
        self.assertEqual((self.sent, self.queue.entries, self.counted()), ([], {}, {"dropped": 1}))

    def test_a_mail_that_cannot_be_composed_is_put_off_and_its_code_not_stored(self) -> None:
        self.assertEqual(self.deliver("odd"), Server.WAS_NOT_ASKED)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        entry = self.queue.entries["odd"]
        self.assertEqual((entry.due_at_ms, entry.mail.last_answer), (NOW_MS + RETRY_MS, "ValueError"))
        self.assertEqual(self.counted(), {"deferred": 1})

    def test_a_mail_whose_claim_is_half_over_is_given_back_untried(self) -> None:
        self.queue.add("bob", NOW_MS)
        mail = self.claim()
        self.clock.advance(1)
        too_late = self.delivery.deliver(mail, NOW_MS + 999)
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(too_late)), Server.WAS_NOT_ASKED)
        self.assertEqual((self.sent, self.queue.entries["bob"].due_at_ms), ([], NOW_MS + 1000))
        self.assertEqual(self.queue.entries["bob"].mail.attempts, 0)

    def test_a_mail_that_could_not_be_forgotten_is_not_sent_again(self) -> None:
        self.queue.is_deaf = True
        self.queue.add("bob", NOW_MS)
        for _ in range(2):
            self.failureResultOf(Deferred.fromCoroutine(self.delivery.deliver(self.claim(), 2 * NOW_MS)), OSError)
            self.assertEqual(self.sent, ["bob"])
            self.clock.advance(CLAIM_MS / 1000)
        self.queue.is_deaf = False
        self.deliver()
        self.assertEqual((self.sent, self.queue.entries, self.counted()), (["bob"], {}, {"sent": 1}))

    def test_a_success_after_many_first_refusals_hastens_what_was_refused(self) -> None:
        self.error = MailNotSent("temporary failure", 451)
        for number in range(MANY_REFUSED):
            self.deliver(f"n{number}")
        self.error = None
        self.deliver("fresh")
        self.assertEqual({entry.due_at_ms for entry in self.queue.entries.values()}, {NOW_MS})

    def test_a_few_mails_that_are_refused_again_and_again_are_not_hastened(self) -> None:
        self.error = MailNotSent("mailbox full", 452)
        for _ in range(2):
            for number in range(MANY_REFUSED - 1):
                self.deliver(f"n{number}")
            self.clock.advance(RETRY_MS / 1000)
        self.error = None
        self.deliver("fresh")
        self.deliver("another")
        due = {entry.due_at_ms for entry in self.queue.entries.values()}
        self.assertEqual(due, {NOW_MS + RETRY_MS + 2 * RETRY_MS})

    def test_successes_between_refusals_hasten_nothing(self) -> None:
        for number in range(2 * MANY_REFUSED):
            self.error = MailNotSent("mailbox full", 452)
            self.deliver(f"n{number}")
            self.error = None
            self.deliver("fresh")
        self.assertEqual({entry.due_at_ms for entry in self.queue.entries.values()}, {NOW_MS + RETRY_MS})

    def test_neither_log_nor_queue_repeats_a_link(self) -> None:
        for quoted in (CODE.hex(), "TOKEN=" + TOKEN.hex().upper()[:40], "token=" + TOKEN.hex()[:10]):
            reason = f"blocked: https://example.com/?{quoted}"
            for error in (MailNotSent(reason, 554), MailNotSent(reason, 554, for_good=True), None):
                self.queue.entries.clear()
                self.error, self.answer = error, f"250 {reason}"
                with capturedLogs() as events:
                    self.deliver()
                self.assertEqual(len(events), 1)
                self.assertNotIn(quoted, repr(events) + repr(self.queue.entries))

    def test_answers_are_stored_on_one_printable_line(self) -> None:
        self.error = MailNotSent("two\nlines \x00 \x1b[2J \ud800", 451)
        self.deliver()
        self.assertEqual(self.queue.entries["bob"].mail.last_answer, "451 two?lines ? ?[2J ?")
