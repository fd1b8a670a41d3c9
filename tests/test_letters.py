"""Which letters are still worth sending, told by what the domain has done to their accounts meanwhile."""

from __future__ import annotations

import os
from dataclasses import replace

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from fxa_auth.letters import Letters
from fxa_auth.records import Letter, TokenKind
from fxa_auth.store.database import DatabaseUnavailable, Statement
from fxa_auth.tokens import Lifetimes, TokenKeys
from tests.domain import EMAIL, LIFETIMES_MS, NEW_PW, OPTIONS, PW, DomainTestCase


class LettersTests(DomainTestCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.letters = Letters(self.store, Lifetimes(LIFETIMES_MS), self.clock)

    async def queued(self) -> Letter:
        """The letter that was queued last."""
        letter = (await self.mails())[-1].letter
        assert letter is not None
        return letter

    async def assertCurrent(self, *letters: Letter) -> None:
        for letter in letters:
            self.assertIsNone(await self.letters.outdated(letter))

    async def assertOutdated(self, letter: Letter, reason: str) -> None:
        self.assertEqual(await self.letters.outdated(letter), reason)
        for secret in (letter.code, letter.token):
            self.assertNotIn((secret or b"?").hex(), reason)

    async def verify_letter(self) -> Letter:
        await self.create(verified=False)
        return await self.queued()

    async def reset_letter(self) -> tuple[TokenKeys, Letter]:
        _, token, _ = await self.credentials.send_forgot_code(EMAIL, self.client(), OPTIONS)
        self.clock.advance(1)
        return token, await self.queued()

    async def unlock_letter(self) -> Letter:
        await self.verification.resend_unlock_code(EMAIL, self.client(), OPTIONS)
        self.clock.advance(1)
        return await self.queued()

    # Verification.

    async def test_a_verify_mail_is_of_use_until_the_address_is_verified(self) -> None:
        letter = await self.verify_letter()
        await self.assertCurrent(letter)
        await self.verification.verify_email_code(letter.uid, letter.code)
        await self.assertOutdated(letter, "the address is verified already")

    async def test_a_verify_mail_of_an_account_that_is_gone_or_was_replaced_is_of_no_use(self) -> None:
        letter = await self.verify_letter()
        self.clock.advance(1)
        await self.create(verified=False)
        await self.assertOutdated(letter, "the account is gone")
        await self.assertCurrent(await self.queued())

    async def test_a_verify_mail_with_another_code_is_of_no_use(self) -> None:
        letter = replace(await self.verify_letter(), code=os.urandom(16))
        await self.assertOutdated(letter, "the account has another code")

    # Reset.

    async def test_a_reset_mail_is_of_use_until_its_token_expires(self) -> None:
        await self.create()
        _, letter = await self.reset_letter()
        lifetime_s = LIFETIMES_MS[TokenKind.PASSWORD_FORGOT] / 1000
        self.clock.advance(lifetime_s - 2)
        await self.assertCurrent(letter)
        self.clock.advance(1)
        await self.assertOutdated(letter, "the passwordForgotToken has expired")

    async def test_a_newer_reset_mail_makes_the_older_one_useless_but_a_resent_one_does_not(self) -> None:
        await self.create()
        token, older = await self.reset_letter()
        await self.credentials.resend_forgot_code(await self.live(token), self.client(), OPTIONS)
        self.clock.advance(1)
        await self.assertCurrent(older, await self.queued())
        _, newer = await self.reset_letter()
        await self.assertOutdated(older, "the passwordForgotToken is gone")
        await self.assertCurrent(newer)

    async def test_a_reset_mail_whose_code_was_used_is_of_no_use(self) -> None:
        await self.create()
        token, letter = await self.reset_letter()
        await self.credentials.verify_forgot_code(await self.live(token), letter.code)
        await self.assertOutdated(letter, "the passwordForgotToken is gone")

    async def test_a_reset_mail_is_of_no_use_once_the_password_is_changed(self) -> None:
        await self.create()
        _, letter = await self.reset_letter()
        change = await self.credentials.start_change(EMAIL, PW, self.client())
        token = await self.live(change.password_change_token)
        await self.credentials.finish_change(token, NEW_PW, bytes(32), self.client())
        await self.assertOutdated(letter, "the passwordForgotToken is gone")

    async def test_a_reset_mail_with_another_code_or_without_a_token_is_of_no_use(self) -> None:
        await self.create()
        _, letter = await self.reset_letter()
        other = replace(letter, code=os.urandom(16))
        await self.assertOutdated(other, "the passwordForgotToken has another code")
        await self.assertOutdated(replace(letter, token=None), "the passwordForgotToken is gone")

    # Unlock.

    async def test_an_unlock_mail_is_of_use_while_the_account_is_locked_with_its_code(self) -> None:
        await self.create()
        code = await self.lock()
        letter = await self.unlock_letter()
        await self.assertCurrent(letter)
        await self.verification.verify_unlock_code(letter.uid, code)
        await self.assertOutdated(letter, "the account is not locked")
        await self.lock()
        await self.assertOutdated(letter, "the account has another unlock code")
        await self.assertCurrent(await self.unlock_letter())

    async def test_no_mail_of_an_account_that_was_removed_is_of_use(self) -> None:
        await self.create()
        await self.lock()
        unlock = await self.unlock_letter()
        _, reset = await self.reset_letter()
        await self.store.change(self.store.accounts.remove(unlock.uid, "account is there"))
        await self.assertOutdated(unlock, "the account is gone")
        await self.assertOutdated(reset, "the passwordForgotToken is gone")

    # When nobody can tell.

    async def test_a_letter_that_cannot_be_compared_is_sent_and_that_is_logged(self) -> None:
        letter = await self.verify_letter()
        damage = Statement("UPDATE accounts SET ka = :ka", {"ka": os.urandom(80)})
        await self.database.change([damage])
        with capturedLogs() as events:
            await self.assertCurrent(letter)
        [told] = events
        self.assertEqual((told["log_format"], told["uid"]), ("mail.not_compared", letter.uid.hex()))

    async def test_a_store_that_is_away_is_no_reason_to_drop_a_letter(self) -> None:
        letter = await self.verify_letter()
        await self.database.stop()
        await self.assertFailure(Deferred.fromCoroutine(self.letters.outdated(letter)), DatabaseUnavailable)
