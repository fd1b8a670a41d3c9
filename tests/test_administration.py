"""What an operator does to accounts, on real databases."""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from fxa_auth.administration import Administration
from fxa_auth.records import Account, MailKind, Tally, TokenKind
from fxa_auth.tokens import Lifetimes
from tests.store.contract import (
    DatabaseContract,
    OnSqliteFile,
    OnSqliteMemory,
    a_letter,
    a_verifier,
    an_account,
    keys,
)
from tests.store.on_postgres import OnPostgres

NOW_MS = 1_800_000_000_000
LIFETIMES = Lifetimes(
    {TokenKind.ACCOUNT_RESET: 10_000, TokenKind.PASSWORD_FORGOT: 60_000, TokenKind.PASSWORD_CHANGE: 10_000}
)


class AttentiveCustoms:
    """An abuse policy that remembers whose failed logins it was to forget."""

    def __init__(self) -> None:
        self.forgotten: list[str] = []

    async def check(self, ip: str, email: str, action: str) -> None:
        raise AssertionError("an operator needs nobody's leave")

    def guess(self, ip: str, email: str, action: str) -> Any:
        raise AssertionError("an operator gives no password")

    async def password_reset(self, email: str) -> None:
        raise AssertionError("no password is reset here")

    async def unlocked(self, email: str) -> None:
        self.forgotten.append(email)


class AdministrationContract(DatabaseContract):
    """Two accounts; what is done to one must not touch the other."""

    assertIsNone: Any
    assertIs: Any

    async def setUp(self) -> None:
        await super().setUp()
        clock = Clock()
        clock.advance(NOW_MS / 1000)
        self.customs = AttentiveCustoms()
        self.administration = Administration(self.store, self.customs, LIFETIMES, clock, "accounts.example.com")
        self.account = await self.add(an_account(locale="de-CH"))
        self.other = await self.add(an_account("other@example.com"))

    async def give(self, kind: TokenKind, account: Account, age_ms: int = 0) -> None:
        bundle = os.urandom(96) if kind is TokenKind.KEY_FETCH else None
        step = self.store.tokens.add(keys(kind), account, NOW_MS - age_ms, "account is there", bundle)
        await self.store.change(step)

    async def now(self, account: Account) -> Account:
        """The account as it is stored now."""
        found = await self.store.accounts.by_uid(account.uid)
        assert found is not None
        return found

    async def events(self) -> list[tuple[str, bytes, int, dict[str, Any]]]:
        rows = await self.rows("events")
        return [(row["kind"], row["uid"], row["created_at_ms"], json.loads(row["payload"])) for row in rows]

    async def test_an_account_is_found_by_address_and_by_uid(self) -> None:
        for name in ("Me@example.com", "mE@EXAMPLE.com", self.account.uid.hex(), self.account.uid.hex().upper()):
            self.assertEqual(await self.administration.find(name), self.account, name)
        for name in ("", "me", "me@example.org", "ab" * 16, self.account.uid.hex()[:-1], self.account.uid.hex() + "\n"):
            self.assertIsNone(await self.administration.find(name), name)

    async def test_an_address_goes_before_a_uid(self) -> None:
        namesake = await self.add(an_account(self.other.uid.hex()))
        self.assertEqual(await self.administration.find(self.other.uid.hex()), namesake)

    async def test_belongings_are_counted_by_kind(self) -> None:
        for kind, age_ms in (
            (TokenKind.SESSION, 7_000),
            (TokenKind.SESSION, 10**9),
            (TokenKind.SESSION, 0),
            (TokenKind.KEY_FETCH, 20_000),
            (TokenKind.PASSWORD_CHANGE, 9_999),
        ):
            await self.give(kind, self.account, age_ms)
        await self.give(TokenKind.SESSION, self.other)
        for letter, queued_at_ms in ((a_letter(self.account), 5), (a_letter(self.account, MailKind.RESET), 3)):
            await self.store.change(self.store.mails.queue(letter, queued_at_ms))
        belongings = await self.administration.belongings(self.account)
        self.assertEqual(
            belongings.tokens,
            {
                TokenKind.SESSION: Tally(3, NOW_MS - 10**9),
                TokenKind.KEY_FETCH: Tally(1, NOW_MS - 20_000),
                TokenKind.PASSWORD_CHANGE: Tally(1, NOW_MS - 9_999),
            },
        )
        self.assertEqual((belongings.queued_mails, belongings.dead_letters), (Tally(2, 3), None))

    async def test_dead_letters_are_counted_apart(self) -> None:
        for queued_at_ms in (3, 5):
            await self.store.change(self.store.mails.queue(a_letter(self.account), queued_at_ms))
        [mail] = await self.store.mails.claim(3, NOW_MS, 1)
        await self.store.mails.bury(mail, NOW_MS, "550 no such user", 1)
        belongings = await self.administration.belongings(self.account)
        self.assertEqual((belongings.queued_mails, belongings.dead_letters), (Tally(1, 5), Tally(1, 3)))

    async def test_expired_tokens_do_not_count_as_belongings(self) -> None:
        await self.give(TokenKind.PASSWORD_CHANGE, self.account, 10_000)
        belongings = await self.administration.belongings(self.account)
        self.assertEqual((belongings.tokens, belongings.queued_mails), ({}, None))

    async def test_verifying_marks_the_address_and_records_the_event_once(self) -> None:
        self.assertIs(await self.administration.verify(self.account), True)
        self.assertIs(await self.administration.verify(self.account), False)
        self.assertEqual(
            [(await self.now(account)).email_verified for account in (self.account, self.other)], [True, False]
        )
        uid = self.account.uid
        payload = {"email": "Me@example.com", "uid": uid.hex(), "locale": "de-CH"}
        self.assertEqual(await self.events(), [("verified", uid, NOW_MS, payload)])

    async def test_unlocking_opens_the_account_and_clears_its_failed_logins(self) -> None:
        for account in (self.account, self.other):
            await self.store.change(self.store.accounts.lock(account.uid, 1, os.urandom(16)))
        self.assertIs(await self.administration.unlock(await self.now(self.account)), True)
        self.assertEqual(await self.now(self.account), self.account)
        self.assertEqual((await self.now(self.other)).locked_at_ms, 1)
        self.assertEqual(self.customs.forgotten, ["me@example.com"])

    async def test_an_account_that_is_not_locked_is_left_alone(self) -> None:
        self.assertIs(await self.administration.unlock(self.account), False)
        self.assertEqual((await self.now(self.account), self.customs.forgotten), (self.account, []))

    async def test_signing_out_ends_what_signing_in_began(self) -> None:
        for kind in (TokenKind.SESSION, TokenKind.SESSION, TokenKind.KEY_FETCH, TokenKind.PASSWORD_CHANGE):
            await self.give(kind, self.account)
            await self.give(kind, self.other)
        self.assertEqual(await self.administration.sign_out(self.account), (2, 1))
        left = [(row["uid"], row["kind"]) for row in await self.rows("tokens")]
        self.assertEqual([kind for uid, kind in left if uid == self.account.uid], ["passwordChangeToken"])
        self.assertEqual(len([kind for uid, kind in left if uid == self.other.uid]), 4)
        self.assertEqual(await self.administration.sign_out(self.account), (0, 0))

    async def test_removing_takes_all_that_belongs_to_the_account_and_records_the_event_once(self) -> None:
        for account in (self.account, self.other):
            await self.give(TokenKind.SESSION, account)
            await self.store.change(self.store.mails.queue(a_letter(account), NOW_MS))
        self.assertIs(await self.administration.delete(self.account), True)
        self.assertIs(await self.administration.delete(self.account), False)
        for table in ("accounts", "tokens", "mails"):
            self.assertEqual([row["uid"] for row in await self.rows(table)], [self.other.uid], table)
        uid = self.account.uid
        payload = {"uid": f"{uid.hex()}@accounts.example.com"}
        self.assertEqual(await self.events(), [("delete", uid, NOW_MS, payload)])

    async def test_removing_does_not_mind_a_password_change_meanwhile(self) -> None:
        await self.store.change(self.store.accounts.set_verifier(self.account.uid, a_verifier(), NOW_MS))
        self.assertIs(await self.administration.delete(self.account), True)
        self.assertEqual([row["uid"] for row in await self.rows("accounts")], [self.other.uid])


class SqliteFileTests(OnSqliteFile, AdministrationContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, AdministrationContract, TestCase):
    """In memory."""


class PostgresTests(OnPostgres, AdministrationContract, TestCase):
    """On a PostgreSQL server."""
