"""Checking passwords: the order of checks, what a wrong one entails, and what a right one costs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fxa_auth import errors, onepw
from fxa_auth.records import TokenKind
from tests.domain import EMAIL, NEW_PW, PW, WRAP_KB, WRONG_PW, DomainTestCase

Call = Callable[[str, bytes], Coroutine[Any, Any, Any]]


class VerifierTests(DomainTestCase):
    """Making one."""

    async def test_each_version_keeps_what_its_arithmetic_says(self) -> None:
        for version in (0, 1):
            verifier, wrap_kb = await self.make_passwords(version).make_verifier(PW, self.client())
            stretched = onepw.xor(PW, verifier.auth_salt)
            self.assertEqual(verifier.version, version)
            self.assertEqual(verifier.verify_hash, onepw.verify_hash(stretched, version))
            self.assertEqual(wrap_kb, onepw.swap_wrap(verifier.wrap_wrap_kb, stretched, version))
        self.assertEqual(self.stretcher.hashes, 1, "version 0 needs no hash")

    async def test_hashes_are_asked_for_on_behalf_of_the_client(self) -> None:
        """Else the clients could not take turns."""
        await self.create()
        await self.login()
        change = await self.credentials.start_change(EMAIL, PW, self.client())
        token = await self.live(change.password_change_token)
        await self.credentials.finish_change(token, NEW_PW, WRAP_KB, self.client())
        self.assertEqual(self.stretcher.asked_by, [self.client().ip] * 4)

    async def test_a_given_wrap_kb_is_kept(self) -> None:
        verifier, wrap_kb = await self.passwords.make_verifier(PW, self.client(), WRAP_KB)
        stretched = onepw.xor(PW, verifier.auth_salt)
        self.assertEqual((wrap_kb, onepw.swap_wrap(verifier.wrap_wrap_kb, stretched, 1)), (WRAP_KB, WRAP_KB))

    async def test_every_verifier_has_a_salt_and_a_wrap_of_its_own(self) -> None:
        made = [await self.passwords.make_verifier(PW, self.client()) for _ in range(20)]
        for values in zip(*((v.auth_salt, v.verify_hash, v.wrap_wrap_kb, kb) for v, kb in made), strict=True):
            self.assertEqual(len(set(values)), 20)
            self.assertEqual({len(value) for value in values}, {32})

    async def test_an_account_keeps_its_version_until_its_password_is_next_set(self) -> None:
        await self.create()
        self.passwords._verifier_version = 0
        await self.login()
        self.assertEqual((await self.account()).verifier.version, 1)
        change = await self.credentials.start_change(EMAIL, PW, self.client())
        await self.credentials.finish_change(
            await self.live(change.password_change_token), NEW_PW, WRAP_KB, self.client()
        )
        self.assertEqual((await self.account()).verifier.version, 0)
        await self.login(auth_pw=NEW_PW)


class CheckingTests(DomainTestCase):
    """The operations that ask for a password, and the order in which they look."""

    def operations(self) -> list[tuple[str, Call]]:
        client = self.client()
        return [
            ("accountLogin", lambda email, pw: self.accounts.login(email, pw, client, with_keys=False)),
            ("passwordChange", lambda email, pw: self.credentials.start_change(email, pw, client)),
            ("accountLock", lambda email, pw: self.accounts.lock(email, pw, client)),
            ("accountDestroy", lambda email, pw: self.accounts.destroy(email, pw, client)),
        ]

    async def test_the_order_is_policy_then_account_then_lock_then_password(self) -> None:
        await self.create()
        for action, call in self.operations():
            self.customs.calls.clear()
            self.customs.refusal = errors.too_many_requests(900)
            await self.assertRefused(114, call("nobody@Example.com", WRONG_PW))
            self.assertEqual(self.customs.calls, [("check", "192.0.2.1", "nobody@example.com", action)])
            self.customs.refusal = None
            unknown = await self.assertRefused(102, call("nobody@Example.com", WRONG_PW))
            self.assertEqual(unknown.extras, {"email": "nobody@Example.com"}, "as sent")
            await self.assertRefused(103, call(EMAIL, WRONG_PW))
        hashes = self.stretcher.hashes
        await self.lock()
        for action, call in self.operations():
            if action != "accountLock":
                await self.assertRefused(121, call(EMAIL, WRONG_PW))
                await self.assertRefused(121, call(EMAIL, PW))
        self.assertEqual(self.stretcher.hashes, hashes + 1, "a locked account costs no hash")

    async def test_a_wrong_password_under_another_case_of_the_address_names_the_stored_one(self) -> None:
        await self.create("Me@example.com")
        for _, call in self.operations():
            for sent, errno in (("Me@example.com", 103), ("me@example.com", 120), ("ME@EXAMPLE.COM", 120)):
                error = await self.assertRefused(errno, call(sent, WRONG_PW))
                self.assertEqual(error.extras, {"email": "Me@example.com"}, sent)

    async def test_a_right_password_is_right_under_any_case_of_the_address(self) -> None:
        uid = (await self.create("Me@example.com")).uid
        for sent in ("Me@example.com", "me@example.com", "mE@EXAMPLE.com"):
            self.assertEqual((await self.login(sent)).uid, uid)

    async def test_each_wrong_password_is_told_to_the_policy_and_no_right_one(self) -> None:
        await self.create()
        for _, call in self.operations():
            self.customs.calls.clear()
            await self.assertRefused(120, call(EMAIL.upper(), WRONG_PW))
            self.assertEqual(self.customs.calls[1:], [("failed_login", "192.0.2.1", EMAIL.lower())])
        self.customs.calls.clear()
        await self.login()
        self.assertEqual([name for name, *_ in self.customs.calls], ["check"])

    async def test_a_refused_attempt_is_not_told_to_the_policy(self) -> None:
        await self.create()
        await self.lock()
        self.customs.calls.clear()
        await self.assertRefused(121, self.login(auth_pw=WRONG_PW))
        await self.assertRefused(102, self.login("nobody@example.com", WRONG_PW))
        self.assertEqual([name for name, *_ in self.customs.calls], ["check", "check"])

    async def test_a_login_costs_one_hash_also_with_keys(self) -> None:
        await self.create()
        for with_keys in (False, True):
            before = self.stretcher.hashes
            await self.login(with_keys=with_keys)
            self.assertEqual(self.stretcher.hashes, before + 1)

    async def test_sessions_come_of_right_passwords_only(self) -> None:
        await self.create()
        for _, call in self.operations():
            await self.assertRefused(103, call(EMAIL, WRONG_PW))
        self.assertEqual([row["kind"] for row in await self.rows("tokens")], [TokenKind.SESSION.value])


class LockoutTests(DomainTestCase):
    """The policy says that it is enough."""

    async def test_the_attempt_that_locks_still_answers_as_a_wrong_password(self) -> None:
        session = (await self.create(verified=False)).session_token
        self.customs.lockout = True
        mails = len(await self.mails())
        await self.assertRefused(120, self.login(EMAIL.upper(), WRONG_PW))
        account = await self.account()
        self.assertEqual((account.locked_at_ms, account.email_verified), (self.now_ms, False))
        self.assertEqual(len(account.unlock_code or b""), 16)
        await self.assertRefused(121, self.login())
        self.assertEqual(len(await self.mails()), mails, "locking sends no mail")
        self.assertIsNotNone(await self.find(session), "its sessions go on working")

    async def test_who_locks_second_leaves_the_first_code(self) -> None:
        await self.create()
        seen = await self.account()
        await self.passwords.lock(seen)
        code = (await self.account()).unlock_code
        await self.passwords.lock(seen)
        self.assertEqual((await self.account()).unlock_code, code)


class LockoutDisabledTests(DomainTestCase):
    """The same where the settings have lockout off, as production has by default."""

    lockout_enabled = False

    async def test_the_policys_wish_is_not_heard(self) -> None:
        await self.create()
        self.customs.lockout = True
        await self.assertRefused(103, self.login(auth_pw=WRONG_PW))
        self.assertIsNone((await self.account()).locked_at_ms)
        await self.login()
