"""Replacing a password: by the old one, or by a mailed code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fxa_auth import errors
from fxa_auth.records import Letter, MailKind, Token, TokenKind
from fxa_auth.store.database import Row, Statement
from fxa_auth.tokens import TokenKeys
from tests.domain import EMAIL, NEW_PW, OPTIONS, PW, WRAP_KB, DomainTestCase, outcomes
from tests.postgres import administer
from tests.store.on_postgres import Gate, OnPostgres, begun

WRONG_CODE = b"\xee" * 16


class ChangeTests(DomainTestCase):
    """Who knows the old password keeps the keys."""

    async def start(self) -> TokenKeys:
        return (await self.credentials.start_change(EMAIL, PW, self.client())).password_change_token

    async def test_both_keys_are_kept(self) -> None:
        ka, wrap_kb = await self.kb_of((await self.create(with_keys=True)).key_fetch_token)
        change = await self.credentials.start_change(EMAIL, PW, self.client())
        self.assertEqual(await self.kb_of(change.key_fetch_token), (ka, wrap_kb))
        self.assertTrue(change.verified)
        await self.credentials.finish_change(
            await self.live(change.password_change_token), NEW_PW, WRAP_KB, self.client()
        )
        keys = await self.kb_of((await self.login(auth_pw=NEW_PW, with_keys=True)).key_fetch_token)
        self.assertEqual(keys, (ka, WRAP_KB), "kB is what the client wrapped")

    async def test_the_old_password_and_every_token_are_dead(self) -> None:
        await self.create(with_keys=True)
        await self.login(with_keys=True)
        await self.credentials.send_forgot_code(EMAIL, self.client(), OPTIONS)
        token, before = await self.live(await self.start()), await self.account()
        self.clock.advance(5)
        await self.credentials.finish_change(token, NEW_PW, WRAP_KB, self.client())
        self.assertEqual(await self.rows("tokens"), [])
        await self.assertRefused(103, self.login())
        account = await self.account()
        self.assertEqual((account.verifier_set_at_ms, account.created_at_ms), (self.now_ms, before.created_at_ms))
        self.assertNotEqual(account.verifier.auth_salt, before.verifier.auth_salt)

    async def test_other_accounts_keep_their_tokens(self) -> None:
        other = await self.create("other@example.com")
        await self.create()
        await self.credentials.finish_change(await self.live(await self.start()), NEW_PW, WRAP_KB, self.client())
        self.assertEqual((await self.live(other.session_token)).uid, other.uid)

    async def test_a_lock_stays(self) -> None:
        await self.create()
        token = await self.live(await self.start())
        code = await self.lock()
        await self.credentials.finish_change(token, NEW_PW, WRAP_KB, self.client())
        self.assertEqual((await self.account()).unlock_code, code)

    async def test_an_unverified_account_may(self) -> None:
        await self.create(verified=False)
        change = await self.credentials.start_change(EMAIL, PW, self.client())
        self.assertFalse(change.verified)
        await self.credentials.finish_change(
            await self.live(change.password_change_token), NEW_PW, WRAP_KB, self.client()
        )
        self.assertFalse((await self.login(auth_pw=NEW_PW)).verified)

    async def test_a_newer_token_voids_the_older(self) -> None:
        await self.create()
        first = await self.live(await self.start())
        second = await self.start()
        await self.assertRefused(110, self.credentials.finish_change(first, NEW_PW, WRAP_KB, self.client()))
        await self.login()
        await self.credentials.finish_change(await self.live(second), NEW_PW, WRAP_KB, self.client())

    async def test_one_of_twenty_finishes_with_one_token_succeeds(self) -> None:
        await self.create()
        token = await self.live(await self.start())
        calls = [self.credentials.finish_change(token, bytes([n]) * 32, WRAP_KB, self.client()) for n in range(20)]
        _, counted = await outcomes(calls)
        self.assertEqual(counted, {200: 1, 110: 19})
        logins = await outcomes([self.login(auth_pw=bytes([n]) * 32) for n in range(20)])
        self.assertEqual(logins[1], {200: 1, 103: 19}, "one of the twenty passwords is the new one")

    async def test_a_refused_hash_costs_no_token(self) -> None:
        await self.create()
        token = await self.live(await self.start())

        async def refuse(*_: bytes) -> bytes:
            raise errors.service_unavailable()

        patch = self.patch(self.stretcher, "stretch", refuse)
        await self.assertRefused(201, self.credentials.finish_change(token, NEW_PW, WRAP_KB, self.client()))
        patch.restore()
        await self.credentials.finish_change(token, NEW_PW, WRAP_KB, self.client())


class ForgotTests(DomainTestCase):
    """Who can read the account's mail gets in, but loses kB."""

    async def send(self, email: str = EMAIL, language: str | None = None) -> TokenKeys:
        _, token, _ = await self.credentials.send_forgot_code(email, self.client(language), OPTIONS)
        return token

    async def code_of(self, token: Token) -> bytes:
        assert token.pass_code is not None
        return token.pass_code

    async def reset_token(self) -> Token:
        token = await self.live(await self.send())
        return await self.live(await self.credentials.verify_forgot_code(token, await self.code_of(token)))

    async def test_the_code_is_mailed_to_the_stored_address(self) -> None:
        uid = (await self.create()).uid
        self.customs.calls.clear()
        answered, token, status = await self.credentials.send_forgot_code(EMAIL.upper(), self.client("fr"), OPTIONS)
        self.assertEqual((answered, status.ttl_s, status.tries), (uid, 3600, 3))
        code = await self.code_of(await self.live(token))
        [mail] = await self.mails()
        self.assertEqual(mail.letter, Letter(MailKind.RESET, uid, EMAIL, code, token.data, OPTIONS, "fr"))
        self.assertEqual((len(code), self.announced), (16, [(MailKind.RESET, uid)]))
        self.assertEqual(self.customs.calls, [("check", "192.0.2.1", EMAIL.lower(), "passwordForgotSendCode")])

    async def test_the_policy_comes_before_the_unknown_account(self) -> None:
        await self.assertRefused(102, self.send())
        self.customs.refusal = errors.too_many_requests(5)
        await self.assertRefused(114, self.send())

    async def test_a_resent_mail_has_the_same_code_and_link_and_another_language(self) -> None:
        await self.create()
        token = await self.live(await self.send())
        self.clock.advance(0.5)
        self.customs.calls.clear()
        status = await self.credentials.resend_forgot_code(token, self.client("fr"), OPTIONS)
        first, second = (mail.letter for mail in await self.mails())
        self.assertEqual((second.code, second.token, second.to), (first.code, first.token, EMAIL))
        self.assertEqual((second.accept_language, status.ttl_s, status.tries), ("fr", 3600, 3))
        self.assertEqual(self.customs.calls, [("check", "192.0.2.1", EMAIL.lower(), "passwordForgotResendCode")])

    async def test_a_resent_mail_that_the_policy_refuses_is_not_sent(self) -> None:
        await self.create()
        token = await self.live(await self.send())
        self.customs.refusal = errors.too_many_requests(5)
        await self.assertRefused(114, self.credentials.resend_forgot_code(token, self.client(), OPTIONS))
        self.assertEqual((len(await self.mails()), len(self.announced)), (1, 1))

    async def test_the_status_counts_down(self) -> None:
        await self.create()
        token = await self.live(await self.send())
        for advance_s, ttl_s in ((0, 3600), (0.5, 3600), (0.5, 3599), (3598.5, 1), (0.5, 0), (1, 0)):
            self.clock.advance(advance_s)
            self.assertEqual(self.credentials.forgot_status(token).ttl_s, ttl_s)

    async def test_wrong_codes_are_counted_and_the_third_ends_the_token(self) -> None:
        await self.create()
        token = await self.live(keys := await self.send())
        self.clock.advance(10)
        for tries in (2, 1, 0):
            error = await self.assertRefused(105, self.credentials.verify_forgot_code(token, WRONG_CODE))
            self.assertEqual(error.extras, {"tries": tries, "ttl": 3590})
        self.assertIsNone(await self.find(keys))
        await self.assertRefused(110, self.credentials.verify_forgot_code(token, WRONG_CODE))
        await self.assertRefused(110, self.credentials.verify_forgot_code(token, await self.code_of(token)))

    async def test_of_many_guesses_at_once_three_are_heard(self) -> None:
        await self.create()
        token = await self.live(await self.send())
        calls = [self.credentials.verify_forgot_code(token, WRONG_CODE) for _ in range(20)]
        self.assertEqual((await outcomes(calls))[1], {105: 3, 110: 17})

    async def test_the_right_code_verifies_without_an_event_and_unlocks_with_one(self) -> None:
        await self.create(verified=False)
        await self.lock()
        token = await self.live(keys := await self.send())
        self.customs.calls.clear()
        reset = await self.credentials.verify_forgot_code(token, await self.code_of(token))
        account = await self.account()
        self.assertEqual((account.email_verified, account.locked_at_ms, account.unlock_code), (True, None, None))
        self.assertEqual((reset.kind, await self.find(keys)), (TokenKind.ACCOUNT_RESET, None))
        self.assertEqual((await self.live(reset)).created_at_ms, self.now_ms)
        self.assertEqual(await self.events(), ["created", "lock", "unlock"])
        self.assertEqual(self.customs.calls, [("unlocked", EMAIL.lower())], "unlocking clears the failed logins")

    async def test_one_of_twenty_with_the_right_code_gets_a_reset_token(self) -> None:
        await self.create()
        token = await self.live(await self.send())
        code = await self.code_of(token)
        calls = [self.credentials.verify_forgot_code(token, code) for _ in range(20)]
        self.assertEqual((await outcomes(calls))[1], {200: 1, 110: 19})

    async def test_a_newer_mail_voids_the_older(self) -> None:
        await self.create()
        old = await self.live(await self.send())
        new = await self.live(await self.send())
        await self.assertRefused(110, self.credentials.verify_forgot_code(old, await self.code_of(old)))
        await self.assertRefused(110, self.credentials.verify_forgot_code(old, WRONG_CODE))
        await self.credentials.verify_forgot_code(new, await self.code_of(new))

    async def test_a_reset_keeps_ka_and_nothing_else(self) -> None:
        ka, wrap_kb = await self.kb_of((await self.create(with_keys=True)).key_fetch_token)
        token = await self.reset_token()
        self.clock.advance(5)
        self.customs.calls.clear()
        await self.credentials.reset(token, NEW_PW, self.client())
        self.assertEqual(self.customs.calls, [("password_reset", EMAIL.lower())])
        self.assertEqual(await self.rows("tokens"), [])
        self.assertEqual((await self.account()).verifier_set_at_ms, self.now_ms)
        await self.assertRefused(103, self.login())
        keys = await self.kb_of((await self.login(auth_pw=NEW_PW, with_keys=True)).key_fetch_token)
        self.assertEqual(keys[0], ka)
        self.assertNotEqual(keys[1], wrap_kb)

    async def test_a_reset_lifts_a_lock(self) -> None:
        await self.create()
        token = await self.reset_token()
        await self.lock()
        await self.credentials.reset(token, NEW_PW, self.client())
        account = await self.account()
        self.assertEqual((account.locked_at_ms, account.unlock_code), (None, None))

    async def test_one_of_twenty_resets_with_one_token_succeeds(self) -> None:
        await self.create()
        token = await self.reset_token()
        self.customs.calls.clear()
        _, counted = await outcomes([self.credentials.reset(token, bytes([n]) * 32, self.client()) for n in range(20)])
        self.assertEqual(counted, {200: 1, 110: 19})
        self.assertEqual(len(self.customs.calls), 1, "the policy hears of the one")

    async def test_no_mail_without_its_token_and_no_token_without_its_mail(self) -> None:
        await self.create()
        token = await self.live(await self.send())
        await self.accounts.destroy(EMAIL, PW, self.client())
        await self.assertRefused(110, self.credentials.resend_forgot_code(token, self.client(), OPTIONS))
        self.assertEqual((await self.mails(), len(self.announced)), ([], 1))


class RaceTests(OnPostgres, DomainTestCase):
    """Changes of one account on a PostgreSQL server, of which the first is held open until the second waits for it."""

    timeout = 60

    async def setUp(self) -> None:
        await super().setUp()
        await self.create()
        self.gate = Gate(self, self.url)

    async def held(self, call: Any, *, at_first_token: bool = False) -> Any:
        """The call, under way to the end of its change, which is not committed yet; or to where it adds a token."""
        change = self.store.change

        async def hold(*steps: Statement) -> list[Sequence[Row]]:
            self.store.change = change  # type: ignore[method-assign]
            at = len(steps)
            if at_first_token:
                at = next(number for number, step in enumerate(steps) if step.sql.startswith("INSERT INTO tokens"))
            results = await change(*steps[:at], Gate.passing, *steps[at:])
            return results[:at] + results[at + 1 :]

        self.store.change = hold  # type: ignore[method-assign]
        running = begun(call)
        await self.gate.waiting()
        return running

    def start(self) -> Any:
        return self.credentials.start_change(EMAIL, PW, self.client())

    async def change_token(self) -> Token:
        return await self.live((await self.start()).password_change_token)

    async def test_no_token_of_the_old_password_outlives_a_change_that_commits_meanwhile(self) -> None:
        token = await self.change_token()
        finishing = await self.held(self.credentials.finish_change(token, NEW_PW, WRAP_KB, self.client()))
        starting = begun(self.start())
        await self.gate.waiting(2)
        self.gate.open()
        await finishing
        await self.assertFailure(starting, errors.ApiError)
        self.assertEqual(await self.rows("tokens"), [])

    async def test_a_change_that_starts_anew_takes_the_token_of_one_that_would_end(self) -> None:
        """Neither waits for what the other holds."""
        token = await self.change_token()
        self.count_attempts()
        starting = await self.held(self.start(), at_first_token=True)
        finishing = begun(self.credentials.finish_change(token, NEW_PW, WRAP_KB, self.client()))
        await self.gate.waiting(2)
        self.gate.open()
        newer = await self.live((await starting).password_change_token)
        await self.assertFailure(finishing, errors.ApiError)
        attempts = "SELECT last_value FROM attempts"
        self.assertEqual(administer(self.url, attempts), [(2,)], "one for each change: no deadlock undid one")
        await self.credentials.finish_change(newer, NEW_PW, WRAP_KB, self.client())

    def count_attempts(self) -> None:
        """Have every attempt at a change counted by a sequence, which stays counted when a change is undone."""
        administer(self.url, "CREATE SEQUENCE attempts")
        change = self.database.change

        async def counted(steps: Sequence[Statement]) -> list[Sequence[Row]]:
            results: list[Sequence[Row]] = await change([Statement("SELECT nextval('attempts')", {}), *steps])
            return results[1:]

        self.database.change = counted
