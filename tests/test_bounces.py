"""What a bounce does to an account, and how it is undone, over the real store."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from fxa_auth.bounces import MAX_REASON_LENGTH, Bounces
from fxa_auth.records import Letter, MailFate, MailKind, MailReport, Suppression
from fxa_auth.store.database import DatabaseUnavailable
from tests.domain import EMAIL, OPTIONS, START_S, DomainTestCase, outcomes
from tests.store.contract import an_invite

SUPPRESSION_S = 3600
NOW_MS = START_S * 1000


class BouncesCase(DomainTestCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.bounces = Bounces(self.store, self.clock, SUPPRESSION_S * 1000)

    async def report(
        self,
        fate: MailFate = MailFate.BOUNCED,
        address: str = EMAIL,
        happened_at_ms: int = NOW_MS,
        detail: str = "Permanent General",
        uid: bytes | None = None,
    ) -> dict[str, Any]:
        """Have a report handled; the answer is the line of the log that tells of it."""
        with capturedLogs() as events:
            await self.bounces.handle(MailReport(fate, address, happened_at_ms, detail, uid))
        [event] = events
        return event

    async def suppression(self) -> Suppression | None:
        return await self.store.suppressions.find((await self.account()).uid, self.now_ms)

    def counts(self) -> dict[str, object]:
        """The outcomes that there have been."""
        return {outcome: count for outcome, count in self.bounces.statistics().items() if count}


class UnverifiedTests(BouncesCase):
    """An account whose address nobody verified."""

    async def test_it_is_removed_with_its_tokens_and_mails_without_an_event(self) -> None:
        for fate in (MailFate.BOUNCED, MailFate.COMPLAINED):
            sign_in = await self.create(verified=False, with_keys=True)
            event = await self.report(fate)
            self.assertEqual((event["log_format"], event["outcome"]), ("bounce.handled", "deleted"))
            self.assertEqual(event["uid"], sign_in.uid.hex())
            for table in ("accounts", "tokens", "mails", "suppressions"):
                self.assertEqual(await self.rows(table), [], (fate, table))
            self.assertNotIn("delete", await self.events())
        self.assertEqual(self.counts(), {"deleted": 2})

    async def test_its_address_is_found_in_any_case_of_letters(self) -> None:
        await self.create("Me@Example.com", verified=False)
        await self.report(address="mE@eXAMPLE.COM")
        self.assertEqual(await self.rows("accounts"), [])

    async def test_a_soft_bounce_is_counted_and_changes_nothing(self) -> None:
        await self.create(verified=False)
        event = await self.report(MailFate.DELAYED, detail="Transient MailboxFull")
        self.assertEqual((event["log_format"], event["reason"]), ("bounce.soft", "soft bounce: Transient MailboxFull"))
        self.assertEqual(len(await self.rows("accounts")), 1)
        self.assertEqual(self.counts(), {"soft": 1})

    async def test_a_report_that_names_its_account_spares_another_that_has_taken_its_place(self) -> None:
        old = await self.create(verified=False)
        self.clock.advance(1)
        new = await self.create(verified=False)
        event = await self.report(uid=old.uid)
        self.assertEqual(event["log_format"], "bounce.unknown")
        self.assertEqual((await self.account()).uid, new.uid)
        await self.report(uid=new.uid, address="where-it-was-forwarded-to@example.net")
        self.assertEqual(await self.rows("accounts"), [])
        self.assertEqual(self.counts(), {"unknown": 1, "deleted": 1})

    async def test_an_invite_for_its_address_is_good_for_another_try(self) -> None:
        sign_in, invite, invites = await self.create(verified=False), an_invite(), self.store.invites
        use = invites.use(invite.id, sign_in.uid, 1, self.now_ms, "use is left")
        await self.store.change(invites.add(invite, None), *use)
        for uses_left in (0, 1):
            self.assertEqual([row["uses_left"] for row in await self.rows("invites")], [uses_left])
            await self.report()

    async def test_a_report_of_an_address_that_nobody_has_or_can_have_changes_nothing(self) -> None:
        await self.create(verified=False)
        for address in ("other@example.com", "", "a\0@example.com", "\ud800@example.com", '"a b"@example.com', "@"):
            event = await self.report(address=address)
            self.assertEqual(event["log_format"], "bounce.unknown", repr(address))
        self.assertEqual(len(await self.rows("accounts")), 1)

    async def test_when_a_report_and_a_verification_race_no_verified_account_is_removed(self) -> None:
        sign_in = await self.create(verified=False)
        code = (await self.account()).email_code
        report = MailReport(MailFate.BOUNCED, EMAIL, NOW_MS)
        found, _ = await outcomes([self.verification.verify_email_code(sign_in.uid, code), self.bounces.handle(report)])
        self.assertEqual(len(found), 2)
        self.assertTrue((await self.account()).email_verified)
        self.assertIsNotNone(await self.suppression())


class VerifiedTests(BouncesCase):
    """A verified account."""

    async def setUp(self) -> None:
        await super().setUp()
        self.sign_in = await self.create()
        self.events_before = await self.events()

    async def test_it_is_kept_and_gets_no_mail_for_a_while(self) -> None:
        for fate, reason in ((MailFate.BOUNCED, "bounce: x"), (MailFate.COMPLAINED, "complaint: x")):
            now_ms = self.now_ms
            event = await self.report(fate, happened_at_ms=now_ms - 5, detail="x")
            self.assertEqual((event["outcome"], event["reason"]), ("suppressed", reason))
            until_ms = now_ms + SUPPRESSION_S * 1000
            expected = Suppression(self.sign_in.uid, EMAIL, reason, now_ms - 5, until_ms)
            self.assertEqual(await self.suppression(), expected)
            self.assertEqual(await self.bounces.suppressions(), [expected])
            self.clock.advance(SUPPRESSION_S)
            self.assertIsNone(await self.suppression())
            self.assertEqual(await self.bounces.suppressions(), [])
            self.clock.advance(60)
        self.assertEqual(await self.events(), self.events_before)
        self.assertIsNotNone(await self.find(self.sign_in.session_token))

    async def test_a_soft_bounce_leaves_it_alone(self) -> None:
        await self.report(MailFate.DELAYED)
        self.assertIsNone(await self.suppression())

    async def test_the_same_report_again_changes_nothing(self) -> None:
        await self.report()
        before = await self.rows("suppressions")
        self.clock.advance(60)
        event = await self.report()
        self.assertEqual(event["outcome"], "unchanged")
        self.assertEqual(await self.rows("suppressions"), before)

    async def test_the_same_report_after_the_address_was_seen_to_work_changes_nothing(self) -> None:
        await self.report()
        self.clock.advance(60)
        self.assertTrue(await self.bounces.unblock(EMAIL.upper()))
        await self.report()
        self.assertIsNone(await self.suppression())
        self.clock.advance(60)
        await self.report(happened_at_ms=self.now_ms)
        self.assertIsNotNone(await self.suppression())

    async def test_a_report_from_the_future_is_of_now(self) -> None:
        await self.report(happened_at_ms=NOW_MS + 10**9)
        self.clock.advance(60)
        await self.bounces.unblock(EMAIL.upper())
        self.clock.advance(60)
        await self.report(happened_at_ms=self.now_ms)
        self.assertIsNotNone(await self.suppression())

    async def test_without_a_time_of_suppression_it_gets_all_its_mail(self) -> None:
        self.bounces = Bounces(self.store, self.clock, 0)
        self.assertEqual((await self.report())["outcome"], "unchanged")
        self.assertEqual(await self.rows("suppressions"), [])

    async def test_a_reason_is_one_printable_line_of_bounded_length(self) -> None:
        await self.report(detail="\x1b[2J\n" + "x" * 1000)
        suppression = await self.suppression()
        assert suppression is not None
        self.assertEqual(suppression.reason, ("bounce: ?[2J?" + "x" * 1000)[:MAX_REASON_LENGTH])

    async def test_a_report_that_the_store_cannot_take_is_not_counted(self) -> None:
        await self.database.stop()
        await self.assertFailure(Deferred.fromCoroutine(self.report()), DatabaseUnavailable)
        self.assertEqual(self.counts(), {})


class LetterTests(BouncesCase):
    """What becomes of letters to a verified account."""

    async def setUp(self) -> None:
        await super().setUp()
        self.sign_in = await self.create()
        self.letter = Letter(MailKind.RESET, self.sign_in.uid, EMAIL, b"c" * 16, b"t" * 32)

    async def test_there_is_no_objection_before_a_bounce_and_after_the_suppression(self) -> None:
        self.assertIsNone(await self.bounces.objection_to(self.letter))
        await self.report()
        self.assertEqual(await self.bounces.objection_to(self.letter), "suppressed")
        self.clock.advance(SUPPRESSION_S)
        self.assertIsNone(await self.bounces.objection_to(self.letter))

    async def test_the_log_tells_why_and_until_when_but_no_code(self) -> None:
        await self.report()
        with capturedLogs() as events:
            await self.bounces.objection_to(self.letter)
        [event] = events
        self.assertEqual(event["log_format"], "mail.suppressed")
        until = "2023-11-14T23:13:20Z"
        told = {name: event[name] for name in ("kind", "uid", "reason", "until")}
        expected = {"kind": "reset", "uid": self.sign_in.uid.hex(), "reason": "bounce: Permanent General"}
        self.assertEqual(told, {**expected, "until": until})
        self.assertNotIn((b"c" * 16).hex(), repr(event))

    async def test_letters_to_others_are_no_matter(self) -> None:
        await self.create("other@example.com")
        await self.report(address="other@example.com")
        self.assertIsNone(await self.bounces.objection_to(self.letter))


class LiftingTests(BouncesCase):
    """A verified account whose mail is suppressed."""

    async def setUp(self) -> None:
        await super().setUp()
        self.sign_in = await self.create()
        await self.report()

    async def assertSuppressed(self, expected: bool) -> None:
        self.assertIs(await self.suppression() is not None, expected)

    async def test_the_mailed_code_of_a_verification_lifts_it_and_a_wrong_one_does_not(self) -> None:
        code = (await self.account()).email_code
        await self.verification.verify_email_code(self.sign_in.uid, b"\0" * 16)
        await self.assertSuppressed(True)
        await self.verification.verify_email_code(self.sign_in.uid, code)
        await self.assertSuppressed(False)

    async def test_the_mailed_code_of_a_reset_lifts_it_and_a_wrong_one_does_not(self) -> None:
        _, keys, _ = await self.credentials.send_forgot_code(EMAIL, self.client(), OPTIONS)
        token = await self.live(keys)
        assert token.pass_code is not None
        await self.assertRefused(105, self.credentials.verify_forgot_code(token, b"\0" * 16))
        await self.assertSuppressed(True)
        await self.credentials.verify_forgot_code(await self.live(keys), token.pass_code)
        await self.assertSuppressed(False)

    async def test_the_mailed_code_that_unlocks_lifts_it_and_a_wrong_one_does_not(self) -> None:
        code = await self.lock()
        await self.assertRefused(105, self.verification.verify_unlock_code(self.sign_in.uid, b"\0" * 16))
        await self.assertSuppressed(True)
        await self.verification.verify_unlock_code(self.sign_in.uid, code)
        await self.assertSuppressed(False)

    async def test_an_operator_lifts_it_once(self) -> None:
        self.assertTrue(await self.bounces.unblock(EMAIL.upper()))
        await self.assertSuppressed(False)
        self.assertIs(await self.bounces.unblock(EMAIL.upper()), False)
        for address in ("other@example.com", "\0", "\ud800@example.com"):
            self.assertIsNone(await self.bounces.unblock(address))

    async def test_signing_in_and_mailing_do_not_lift_it(self) -> None:
        await self.login()
        await self.credentials.send_forgot_code(EMAIL, self.client(), OPTIONS)
        await self.assertSuppressed(True)
