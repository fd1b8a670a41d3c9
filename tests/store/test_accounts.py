"""The table of accounts, on every database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import TestCase

from fxa_auth.records import TokenKind
from fxa_auth.store.seal import BrokenSeal
from tests.store.contract import (
    DatabaseContract,
    OnSqliteFile,
    OnSqliteMemory,
    a_letter,
    a_verifier,
    an_account,
    keys,
    outcomes,
)

NOW_MS = 1_700_000_100_000
CODE = b"\xc0" * 16
SEALED = ("email_code", "ka", "wrap_wrap_kb", "verify_hash", "unlock_code")


class AccountContract(DatabaseContract):
    """What holds for accounts."""

    assertRaises: Any
    assertNotIn: Any
    assertFalse: Any
    assertTrue: Any
    assertIsNone: Any

    async def test_an_account_comes_back_as_it_went_in(self) -> None:
        for account in (
            an_account("Me@example.com"),
            an_account("ÄÖ\U0001f98a@bücher.example", locale="de,en;q=0.5", email_verified=True),
            an_account("locked@example.com", locked_at_ms=NOW_MS, unlock_code=CODE),
            an_account("late@example.com", created_at_ms=2**53, verifier_set_at_ms=2**53),
        ):
            await self.add(account)
            self.assertEqual(await self.store.accounts.by_email(account.normalized_email), account)
            self.assertEqual(await self.store.accounts.by_uid(account.uid), account)
            self.assertTrue(await self.store.accounts.exists(account.uid))

    async def test_what_is_not_there_is_not_found(self) -> None:
        self.assertFalse(await self.store.accounts.is_any())
        account = await self.add(an_account())
        self.assertTrue(await self.store.accounts.is_any())
        self.assertIsNone(await self.store.accounts.by_email(account.email), "found by the lower-cased address only")
        self.assertIsNone(await self.store.accounts.by_email("me@example_com"))
        self.assertIsNone(await self.store.accounts.by_uid(account.uid[:15]))
        self.assertFalse(await self.store.accounts.exists(account.uid[:15]))

    async def test_an_address_is_given_to_one_account(self) -> None:
        first = await self.add(an_account("Me@example.com"))
        second = an_account("mE@example.com")
        await self.assertDemandFails("address is free", self.add(second))
        self.assertEqual(await self.store.accounts.by_email("me@example.com"), first)

    async def test_of_twenty_at_once_one_gets_the_address(self) -> None:
        counted = await outcomes([self.add(an_account()) for _ in range(20)])
        self.assertEqual(counted, {"done": 1, "address is free": 19})

    async def test_accounts_are_counted_as_far_as_is_asked(self) -> None:
        accounts = self.store.accounts
        made = [await self.add(an_account(f"{number}@example.com")) for number in range(3)]
        for most, besides, number in ((1, None, 1), (3, None, 3), (9, None, 3), (9, made[1].uid, 2), (2, b"", 2)):
            self.assertEqual(await accounts.count(most, besides), number, (most, besides))
        for number in (3, 4):
            await self.store.change(accounts.at_most(number, "few"))
        for number in (0, 2):
            await self.assertDemandFails("few", self.store.change(accounts.at_most(number, "few")))

    async def test_an_unverified_account_gives_way_to_a_create_received_later(self) -> None:
        accounts = self.store.accounts
        for verified, later_ms, replaced in ((False, 1, True), (False, 0, False), (False, -1, False), (True, 1, False)):
            old = await self.add(an_account(email_verified=verified))
            session = keys(TokenKind.SESSION)
            await self.store.change(
                self.store.tokens.add(session, old, NOW_MS, "password"), self.store.mails.queue(a_letter(old), NOW_MS)
            )
            [rows] = await self.store.change(accounts.replace_unverified(old.uid, old.created_at_ms + later_ms))
            message = f"verified {verified}, received {later_ms} ms later"
            self.assertEqual(len(rows), int(replaced), message)
            self.assertEqual(await accounts.exists(old.uid), not replaced, message)
            self.assertEqual(len(await self.rows("tokens")), int(not replaced), message)
            self.assertEqual(len(await self.rows("mails")), int(not replaced), message)
            await self.store.change(accounts.delete(old, "still there") if not replaced else accounts.unlock(old.uid))

    async def test_deleting_takes_tokens_and_mails_along_but_no_event(self) -> None:
        other = await self.add(an_account("other@example.com"))
        account = await self.add(an_account())
        tokens, mails = self.store.tokens, self.store.mails
        for owner in (account, other):
            await self.store.change(
                tokens.add(keys(TokenKind.SESSION), owner, NOW_MS, "password"),
                tokens.add_single(keys(TokenKind.PASSWORD_FORGOT), owner.uid, NOW_MS, "account", CODE, 3),
                mails.queue(a_letter(owner), NOW_MS),
                *self.store.events.verified(owner.uid, owner.email, None, NOW_MS),
            )
        await self.store.change(self.store.accounts.delete(account, "password is unchanged"))
        self.assertIsNone(await self.store.accounts.by_uid(account.uid))
        for table, left in (("tokens", 2), ("mails", 1), ("events", 2), ("accounts", 1)):
            self.assertEqual(len(await self.rows(table)), left, table)

    async def test_an_account_whose_password_has_changed_is_not_deleted(self) -> None:
        seen = await self.add(an_account())
        await self.store.change(self.store.accounts.set_verifier(seen.uid, a_verifier(), NOW_MS))
        call = self.store.change(self.store.accounts.delete(seen, "password is unchanged"))
        await self.assertDemandFails("password is unchanged", call)
        self.assertTrue(await self.store.accounts.exists(seen.uid))

    async def test_a_new_verifier_replaces_the_old_one_and_nothing_else(self) -> None:
        account, other = await self.add(an_account()), await self.add(an_account("other@example.com"))
        verifier = replace(a_verifier(), version=0)
        await self.store.change(self.store.accounts.set_verifier(account.uid, verifier, NOW_MS))
        changed = replace(account, verifier=verifier, verifier_set_at_ms=NOW_MS)
        self.assertEqual(await self.store.accounts.by_uid(account.uid), changed)
        self.assertEqual(await self.store.accounts.by_uid(other.uid), other)

    async def test_an_address_is_verified_once(self) -> None:
        account = await self.add(an_account())
        step = self.store.accounts.verify_email(account.uid, "unverified")
        self.assertEqual(await outcomes([self.store.change(step) for _ in range(20)]), {"done": 1, "unverified": 19})
        self.assertEqual(await self.store.accounts.by_uid(account.uid), replace(account, email_verified=True))

    async def test_a_lock_keeps_its_first_code_until_it_is_lifted(self) -> None:
        account = await self.add(an_account())
        accounts = self.store.accounts
        await self.store.change(accounts.lock(account.uid, NOW_MS, CODE))
        await self.store.change(accounts.lock(account.uid, NOW_MS + 1, b"\xc1" * 16))
        locked = replace(account, locked_at_ms=NOW_MS, unlock_code=CODE)
        self.assertEqual(await accounts.by_uid(account.uid), locked)
        await self.store.change(accounts.unlock(account.uid))
        self.assertEqual(await accounts.by_uid(account.uid), account)

    async def test_a_locale_is_learnt_once(self) -> None:
        account = await self.add(an_account())
        for locale in ("fr", "de"):
            await self.store.change(self.store.accounts.set_locale(account.uid, locale))
        self.assertEqual(await self.store.accounts.by_uid(account.uid), replace(account, locale="fr"))

    async def test_secret_columns_are_sealed(self) -> None:
        account = await self.add(an_account(locked_at_ms=NOW_MS, unlock_code=CODE))
        secrets = (account.email_code, account.ka, account.verifier.wrap_wrap_kb, account.verifier.verify_hash, CODE)
        [row] = await self.rows("accounts")
        for column, secret in zip(SEALED, secrets, strict=True):
            self.assertNotIn(secret, row[column], column)
            self.assertEqual(self.seal.open(row[column], "accounts", column, account.uid), secret, column)

    async def test_a_sealed_value_moved_to_another_account_does_not_open(self) -> None:
        account = await self.add(an_account(locked_at_ms=NOW_MS, unlock_code=CODE))
        [row] = await self.rows("accounts")
        other = an_account("other@example.com", locked_at_ms=NOW_MS, unlock_code=CODE)
        for column in SEALED:
            step = self.store.accounts.add(other, "address is free")
            moved = replace(step, params={**step.params, column: row[column]})
            await self.store.change(moved)
            with self.assertRaises(BrokenSeal, msg=column):
                await self.store.accounts.by_uid(other.uid)
            await self.store.change(self.store.accounts.delete(other, "password"))
        self.assertEqual(await self.store.accounts.by_uid(account.uid), account)


class SqliteFileTests(OnSqliteFile, AccountContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, AccountContract, TestCase):
    """In SQLite's memory."""
