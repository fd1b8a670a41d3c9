"""Accounts: making, re-making, signing in, keys, locking, removing, and what happens when many do so at once."""

from __future__ import annotations

import uuid

from twisted.internet.defer import Deferred

from fxa_auth import errors
from fxa_auth.records import Letter, MailKind, TokenKind
from fxa_auth.store.database import DatabaseUnavailable, Statement
from tests.domain import DOMAIN, EMAIL, NEW_PW, OPTIONS, PW, START_S, WRAP_KB, DomainTestCase, outcomes


def refusing(table: str) -> Statement:
    """From now on the database takes no row into this table."""
    return Statement(f"CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'broken'); END", {})


class CreateTests(DomainTestCase):
    """A new account."""

    async def test_what_is_stored(self) -> None:
        client = self.client("de,en;q=0.5")
        made = await self.create(verified=False, client=client)
        account = await self.account()
        self.assertEqual((account.uid, account.email, account.normalized_email), (made.uid, EMAIL, EMAIL.lower()))
        self.assertEqual((account.created_at_ms, account.verifier_set_at_ms), (self.now_ms, self.now_ms))
        self.assertEqual((account.locale, account.locked_at_ms, account.email_verified), ("de,en;q=0.5", None, False))
        self.assertEqual((len(account.uid), len(account.email_code), len(account.ka)), (16, 16, 32))
        self.assertEqual(uuid.UUID(bytes=account.uid).version, 4)
        self.assertEqual((made.verified, made.auth_at_s, made.replaced), (False, START_S, False))
        self.assertEqual((await self.live(made.session_token)).uid, made.uid)
        self.assertIsNone(made.key_fetch_token)

    async def test_an_unverified_account_is_mailed_its_code(self) -> None:
        await self.create(verified=False, client=self.client("fr"))
        account = await self.account()
        [mail] = await self.mails()
        letter = Letter(MailKind.VERIFY, account.uid, EMAIL, account.email_code, None, OPTIONS, "fr")
        self.assertEqual(mail.letter, letter)
        self.assertEqual((self.announced, await self.events()), ([(MailKind.VERIFY, account.uid)], ["created"]))

    async def test_a_verified_account_is_an_event_and_no_mail(self) -> None:
        for email, token in ((EMAIL, None), ("other@example.com", "a.b.c")):
            made = await self.create(email, verified=token is None, token=token)
            self.assertTrue(made.verified)
        self.assertEqual(sorted(await self.events()), ["created", "created", "verified", "verified"])
        self.assertEqual((await self.mails(), self.announced), ([], []))
        self.assertEqual(self.pre_verification.calls, [("a.b.c", "other@example.com")])

    async def test_a_taken_address_is_refused_in_any_case_of_letters(self) -> None:
        await self.create()
        error = await self.assertRefused(101, self.create(EMAIL.upper(), verified=False))
        self.assertEqual(error.extras, {"email": EMAIL.upper()})
        self.assertEqual(len(await self.rows("tokens")), 1)

    async def test_the_policy_is_asked_first(self) -> None:
        await self.create()
        self.customs.calls.clear()
        self.customs.refusal = errors.too_many_requests(None)
        await self.assertRefused(114, self.create())
        self.assertEqual(self.customs.calls, [("check", "192.0.2.1", EMAIL.lower(), "accountCreate")])

    async def test_the_mail_is_queued_with_the_account_or_not_at_all(self) -> None:
        await self.database.change([refusing("mails")])
        await self.assertFailure(Deferred.fromCoroutine(self.create(verified=False)), DatabaseUnavailable)
        for table in ("accounts", "tokens"):
            self.assertEqual(await self.rows(table), [], table)
        self.assertEqual(self.announced, [])

    async def test_the_event_is_recorded_with_the_account_or_not_at_all(self) -> None:
        await self.database.change([refusing("events")])
        await self.assertFailure(Deferred.fromCoroutine(self.create()), DatabaseUnavailable)
        for table in ("accounts", "tokens", "events"):
            self.assertEqual(await self.rows(table), [], table)


class RecreateTests(DomainTestCase):
    """An address that was taken but never verified."""

    async def test_a_later_create_replaces_account_tokens_and_mails(self) -> None:
        old = await self.create(verified=False, with_keys=True)
        self.clock.advance(1)
        new = await self.create(EMAIL.upper(), NEW_PW, verified=False)
        self.assertTrue(new.replaced)
        self.assertNotEqual(new.uid, old.uid)
        self.assertIsNone(await self.find(old.session_token))
        account = await self.account()
        self.assertEqual((account.uid, account.email), (new.uid, EMAIL.upper()))
        self.assertEqual([mail.letter.code for mail in await self.mails()], [account.email_code])
        self.assertEqual(len(await self.rows("tokens")), 1)
        self.assertEqual(await self.events(), ["created", "created"], "no delete event")
        await self.assertRefused(103, self.login(EMAIL.upper(), PW))

    async def test_only_a_create_received_after_the_old_account_was_made_replaces_it(self) -> None:
        for later_ms, succeeds in ((-1, False), (0, False), (1, True)):
            email = f"at{later_ms}@example.com"
            old = await self.create(email, verified=False)
            self.clock.advance(1)
            late = self.client(received_at_ms=(await self.account(email)).created_at_ms + later_ms)
            _, counted = await outcomes([self.create(email, NEW_PW, verified=False, client=late)])
            self.assertEqual(counted, {200 if succeeds else 101: 1}, later_ms)
            self.assertEqual((await self.find(old.session_token)) is None, succeeds, later_ms)

    async def test_an_account_verified_meanwhile_is_not_replaced(self) -> None:
        await self.create(verified=False)
        self.clock.advance(1)
        self.stretcher.gate = Deferred()
        second = Deferred.fromCoroutine(self.create(auth_pw=NEW_PW, verified=False))
        while self.stretcher.hashes < 2:
            await self.rows("accounts")
        account = await self.account()
        await self.verification.verify_email_code(account.uid, account.email_code)
        self.stretcher.gate.callback(None)
        error = await self.assertFailure(second, errors.ApiError)
        self.assertEqual((error.errno, (await self.account()).uid), (101, account.uid))

    async def test_a_refused_pre_verify_token_leaves_the_old_account_alone(self) -> None:
        old = await self.create(verified=False)
        self.clock.advance(1)
        self.pre_verification.refusal = errors.invalid_verification_code(sig="invalid")
        await self.assertRefused(105, self.create(verified=False, token="a.b.c"))
        self.assertEqual((await self.live(old.session_token)).uid, (await self.account()).uid)

    async def test_no_pre_verify_token_is_looked_at_for_a_verified_account(self) -> None:
        await self.create()
        await self.assertRefused(101, self.create(verified=False, token="a.b.c"))
        self.assertEqual(self.pre_verification.calls, [])


class RaceTests(DomainTestCase):
    """Twenty at once."""

    async def test_one_of_twenty_creates_of_verified_accounts_succeeds(self) -> None:
        [made], counted = await outcomes([self.create(with_keys=True) for _ in range(20)])
        self.assertEqual(counted, {200: 1, 101: 19})
        self.assertEqual((await self.account()).uid, made.uid)
        self.assertEqual((len(await self.rows("tokens")), await self.events()), (2, ["created", "verified"]))

    async def test_one_of_twenty_creates_received_before_the_first_account_succeeds(self) -> None:
        [made], counted = await outcomes([self.create(verified=False) for _ in range(20)])
        self.assertEqual(counted, {200: 1, 101: 19})
        self.assertEqual((await self.account()).uid, made.uid)
        self.assertEqual([mail.letter.uid for mail in await self.mails() if mail.letter], [made.uid])
        self.assertEqual(self.announced, [(MailKind.VERIFY, made.uid)])

    async def test_of_twenty_that_replace_an_account_at_once_one_does(self) -> None:
        await self.create(verified=False)
        self.clock.advance(1)
        [made], counted = await outcomes([self.create(verified=False) for _ in range(20)])
        self.assertEqual(counted, {200: 1, 101: 19})
        self.assertEqual([(await self.account()).uid, len(await self.rows("tokens"))], [made.uid, 1])

    async def test_of_creates_one_after_another_the_last_one_wins(self) -> None:
        made = []
        for _ in range(5):
            self.clock.advance(1)
            made.append(await self.create(verified=False))
        self.assertEqual((await self.account()).uid, made[-1].uid)
        self.assertEqual([await self.find(each.session_token) is not None for each in made], [False] * 4 + [True])

    async def test_one_of_twenty_fetches_gets_the_keys(self) -> None:
        token = (await self.create(with_keys=True)).key_fetch_token
        assert token is not None
        live = await self.live(token)
        [bundle], counted = await outcomes([self.accounts.fetch_keys(live) for _ in range(20)])
        self.assertEqual((counted, len(bundle)), ({200: 1, 110: 19}, 96))

    async def test_one_of_twenty_removals_counts(self) -> None:
        uid = (await self.create()).uid
        calls = [self.accounts.destroy(EMAIL, PW, self.client()) for _ in range(20)]
        answers, counted = await outcomes(calls)
        self.assertEqual((answers, counted[200]), ([uid], 1))
        self.assertEqual(await self.events(), ["created", "verified", "delete"])

    async def test_a_login_that_races_a_password_change_leaves_no_session(self) -> None:
        await self.create()
        change = await self.credentials.start_change(EMAIL, PW, self.client())
        self.stretcher.gate = Deferred()
        hashes = self.stretcher.hashes
        logins = [Deferred.fromCoroutine(self.login(with_keys=keys)) for keys in (False, True)]
        starts = [Deferred.fromCoroutine(self.credentials.start_change(EMAIL, PW, self.client()))]
        removals = [Deferred.fromCoroutine(self.accounts.destroy(EMAIL, PW, self.client()))]
        while self.stretcher.hashes < hashes + 4:
            await self.rows("accounts")
        gate, self.stretcher.gate = self.stretcher.gate, None
        await self.credentials.finish_change(
            await self.live(change.password_change_token), NEW_PW, WRAP_KB, self.client()
        )
        gate.callback(None)
        for call in (*logins, *starts, *removals):
            self.assertEqual((await self.assertFailure(call, errors.ApiError)).errno, 103)
        self.assertEqual(await self.rows("tokens"), [])
        await self.login(auth_pw=NEW_PW)


class KeyTests(DomainTestCase):
    """kA and kB's wrapping, through the bundle."""

    async def test_the_same_keys_come_at_every_sign_in(self) -> None:
        made = await self.create(with_keys=True)
        keys = await self.kb_of(made.key_fetch_token)
        self.assertEqual(keys[0], (await self.account()).ka)
        for email in (EMAIL, EMAIL.upper()):
            self.assertEqual(await self.kb_of((await self.login(email, with_keys=True)).key_fetch_token), keys)

    async def test_an_unverified_accounts_keys_wait_for_its_verification(self) -> None:
        made = await self.create(verified=False, with_keys=True)
        assert made.key_fetch_token is not None
        await self.assertRefused(104, self.accounts.fetch_keys(await self.live(made.key_fetch_token)))
        account = await self.account()
        await self.verification.verify_email_code(account.uid, account.email_code)
        self.assertEqual((await self.kb_of(made.key_fetch_token))[0], account.ka)
        self.assertIsNone(await self.find(made.key_fetch_token), "used up")

    async def test_a_login_tells_whether_the_address_is_verified_and_when_it_was_made(self) -> None:
        await self.create(verified=False)
        self.clock.advance(90.5)
        signed_in = await self.login()
        self.assertEqual((signed_in.verified, signed_in.auth_at_s), (False, START_S + 90))


class DestroyTests(DomainTestCase):
    """The end of an account."""

    async def test_nothing_is_left_but_the_event(self) -> None:
        uid = (await self.create(verified=False, with_keys=True)).uid
        await self.credentials.send_forgot_code(EMAIL, self.client(), OPTIONS)
        self.assertEqual(await self.accounts.destroy(EMAIL.upper(), PW, self.client()), uid)
        for table in ("accounts", "tokens", "mails"):
            self.assertEqual(await self.rows(table), [], table)
        *_, event = await self.log()
        self.assertEqual((event.kind, event.payload), ("delete", {"uid": f"{uid.hex()}@{DOMAIN}"}))
        self.assertFalse(await self.accounts.exists(uid))
        await self.assertRefused(102, self.login())

    async def test_the_address_is_free_again(self) -> None:
        old = (await self.create()).uid
        await self.accounts.destroy(EMAIL, PW, self.client())
        new = await self.create()
        self.assertNotEqual(new.uid, old)
        self.assertFalse(new.replaced)


class LockTests(DomainTestCase):
    """Locking at the owner's word."""

    async def test_a_locked_account_stays_as_it_is_whatever_the_password(self) -> None:
        await self.create()
        code = await self.lock()
        for auth_pw in (PW, NEW_PW):
            await self.accounts.lock(EMAIL, auth_pw, self.client())
        self.assertEqual((await self.account()).unlock_code, code)

    async def test_its_sessions_and_keys_go_on_working(self) -> None:
        made = await self.create(with_keys=True)
        await self.lock()
        self.assertEqual(await self.sessions.count(await self.live(made.session_token)), 1)
        self.assertEqual((await self.kb_of(made.key_fetch_token))[0], (await self.account()).ka)
        self.assertEqual({row["kind"] for row in await self.rows("tokens")}, {TokenKind.SESSION.value})
