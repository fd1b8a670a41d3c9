"""Codes from mails: verifying an address, unlocking an account, and mailing either again."""

from __future__ import annotations

from fxa_auth import errors
from fxa_auth.records import Letter, MailKind
from tests.domain import EMAIL, NEW_PW, OPTIONS, PW, WRAP_KB, DomainTestCase, outcomes

WRONG_CODE = b"\xee" * 16
NOBODY = b"\x00" * 16


class EmailCodeTests(DomainTestCase):
    """The code that verifies."""

    async def test_the_right_code_verifies_and_is_an_event_once(self) -> None:
        await self.create(verified=False)
        account = await self.account()
        calls = [self.verification.verify_email_code(account.uid, account.email_code) for _ in range(20)]
        self.assertEqual((await outcomes(calls))[1], {200: 20})
        self.assertTrue((await self.account()).email_verified)
        self.assertEqual(await self.events(), ["created", "verified"])

    async def test_a_wrong_code_is_refused_until_the_address_is_verified(self) -> None:
        await self.create(verified=False)
        account = await self.account()
        for code in (WRONG_CODE, b"", account.email_code[:15], account.email_code + b"\0"):
            await self.assertRefused(105, self.verification.verify_email_code(account.uid, code))
        self.assertFalse((await self.account()).email_verified)
        await self.verification.verify_email_code(account.uid, account.email_code)
        await self.verification.verify_email_code(account.uid, WRONG_CODE)

    async def test_an_unknown_account_is_named_by_no_address(self) -> None:
        for uid in (NOBODY, b"", b"\x01"):
            error = await self.assertRefused(102, self.verification.verify_email_code(uid, WRONG_CODE))
            self.assertEqual(error.extras, {})

    async def test_the_same_code_is_mailed_again(self) -> None:
        made = await self.create(verified=False)
        self.customs.calls.clear()
        session = await self.live(made.session_token)
        await self.verification.resend_email_code(session, self.client("fr"), OPTIONS)
        account = await self.account()
        letters = [mail.letter for mail in await self.mails()]
        again = Letter(MailKind.VERIFY, account.uid, EMAIL, account.email_code, None, OPTIONS, "fr")
        self.assertEqual((len(letters), again in letters), (2, True))
        self.assertEqual(self.announced, [(MailKind.VERIFY, account.uid)] * 2)
        self.assertEqual(self.customs.calls, [("check", "192.0.2.1", EMAIL.lower(), "recoveryEmailResendCode")])

    async def test_a_verified_address_is_mailed_nothing_and_the_policy_not_asked(self) -> None:
        session = await self.live((await self.create()).session_token)
        self.customs.calls.clear()
        await self.verification.resend_email_code(session, self.client(), OPTIONS)
        self.assertEqual((await self.mails(), self.announced, self.customs.calls), ([], [], []))

    async def test_the_policy_may_refuse(self) -> None:
        session = await self.live((await self.create(verified=False)).session_token)
        self.customs.refusal = errors.too_many_requests(5)
        await self.assertRefused(114, self.verification.resend_email_code(session, self.client(), OPTIONS))
        self.assertEqual(len(self.announced), 1)

    async def test_an_account_that_has_gone_takes_its_session_along(self) -> None:
        session = await self.live((await self.create(verified=False)).session_token)
        await self.accounts.destroy(EMAIL, PW, self.client())
        await self.assertRefused(110, self.verification.resend_email_code(session, self.client(), OPTIONS))


class BlackoutTests(DomainTestCase):
    """With ten minutes of silence after each password, as in production."""

    resend_blackout_ms = 600_000

    async def test_no_mail_is_resent_before_its_end(self) -> None:
        session = await self.live((await self.create(verified=False)).session_token)
        self.customs.calls.clear()
        for advance_s, mails in ((0, 1), (599.5, 1), (0.5, 2)):
            self.clock.advance(advance_s)
            await self.verification.resend_email_code(session, self.client(), OPTIONS)
            self.assertEqual((len(await self.mails()), len(self.customs.calls)), (mails, mails - 1), advance_s)

    async def test_a_password_change_begins_it_anew(self) -> None:
        await self.create(verified=False)
        self.clock.advance(600)
        change = await self.credentials.start_change(EMAIL, PW, self.client())
        await self.credentials.finish_change(
            await self.live(change.password_change_token), NEW_PW, WRAP_KB, self.client()
        )
        session = await self.live((await self.login(auth_pw=NEW_PW)).session_token)
        await self.verification.resend_email_code(session, self.client(), OPTIONS)
        self.assertEqual(len(await self.mails()), 1)


class UnlockCodeTests(DomainTestCase):
    """The code that unlocks."""

    async def test_the_code_is_mailed_to_the_stored_address_each_time_the_same(self) -> None:
        uid = (await self.create()).uid
        code = await self.lock()
        self.customs.calls.clear()
        for _ in range(2):
            answered = await self.verification.resend_unlock_code(EMAIL.upper(), self.client("fr"), OPTIONS)
            self.assertEqual(answered, uid)
        letter = Letter(MailKind.UNLOCK, uid, EMAIL, code, None, OPTIONS, "fr")
        self.assertEqual([mail.letter for mail in await self.mails()], [letter, letter])
        self.assertEqual(self.announced, [(MailKind.UNLOCK, uid)] * 2)
        self.assertEqual(self.customs.calls[0], ("check", "192.0.2.1", EMAIL.lower(), "accountUnlockResendCode"))

    async def test_policy_then_unknown_account_then_no_lock(self) -> None:
        def resend(email: str) -> object:
            return self.verification.resend_unlock_code(email, self.client(), OPTIONS)

        await self.create()
        unlocked = await self.assertRefused(122, resend(EMAIL.upper()))
        self.assertEqual(unlocked.extras, {"email": EMAIL.upper()})
        await self.assertRefused(102, resend("nobody@example.com"))
        self.customs.refusal = errors.too_many_requests(5)
        await self.assertRefused(114, resend("nobody@example.com"))
        self.assertEqual(await self.mails(), [])

    async def test_the_right_code_unlocks_and_clears_the_failed_logins(self) -> None:
        uid = (await self.create()).uid
        code = await self.lock()
        self.customs.calls.clear()
        await self.verification.verify_unlock_code(uid, code)
        account = await self.account()
        self.assertEqual((account.locked_at_ms, account.unlock_code), (None, None))
        self.assertEqual(self.customs.calls, [("unlocked", EMAIL.lower())])
        await self.login()
        self.assertNotEqual(await self.lock(), code, "the next lock has a fresh code")

    async def test_a_wrong_code_is_refused_while_there_is_a_lock(self) -> None:
        uid = (await self.create()).uid
        await self.verification.verify_unlock_code(uid, WRONG_CODE)
        code = await self.lock()
        for wrong in (WRONG_CODE, b"", code[:15]):
            await self.assertRefused(105, self.verification.verify_unlock_code(uid, wrong))
        await self.assertRefused(102, self.verification.verify_unlock_code(NOBODY, code))
        await self.assertRefused(121, self.login())
