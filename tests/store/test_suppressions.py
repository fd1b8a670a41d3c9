"""Suppressions: only of verified accounts, by the newest report, until they end or are lifted."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import TestCase

from fxa_auth.records import Account, Suppression, TokenKind
from fxa_auth.store.suppressions import REMEMBERED_MS
from tests.store.contract import (
    DatabaseContract,
    OnSqliteFile,
    OnSqliteMemory,
    a_letter,
    all_of,
    an_account,
    keys,
)
from tests.store.on_postgres import Gate, OnPostgres, begun

NOW_MS = 1_700_000_100_000
REPORTED_MS = NOW_MS - 5_000
UNTIL_MS = NOW_MS + 60_000


class SuppressionContract(DatabaseContract):
    """A verified account is suppressed from NOW_MS to UNTIL_MS unless a test says otherwise."""

    assertIsNone: Any
    assertTrue: Any
    assertFalse: Any

    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.add(an_account("Me@example.com", email_verified=True))

    async def report(
        self,
        account: Account | None = None,
        reason: str = "bounce",
        reported_at_ms: int = REPORTED_MS,
        now_ms: int = NOW_MS,
        until_ms: int = UNTIL_MS,
    ) -> bool:
        """Tell whether a row was touched."""
        uid = (account or self.account).uid
        [rows] = await self.store.change(self.store.suppressions.add(uid, reason, reported_at_ms, now_ms, until_ms))
        self.assertEqual([row["uid"] for row in rows], [uid] * len(rows))
        return bool(rows)

    async def lift(self, now_ms: int) -> bool:
        [rows] = await self.store.change(self.store.suppressions.lift(self.account.uid, now_ms))
        return bool(rows)

    async def reason_at(self, now_ms: int) -> str | None:
        found = await self.store.suppressions.find(self.account.uid, now_ms)
        return found and found.reason

    async def test_a_suppression_comes_back_as_it_went_in_until_it_ends(self) -> None:
        self.assertIsNone(await self.reason_at(NOW_MS))
        self.assertTrue(await self.report(reason="bounce: ä"))
        expected = Suppression(self.account.uid, "Me@example.com", "bounce: ä", REPORTED_MS, UNTIL_MS)
        self.assertEqual(await self.store.suppressions.find(self.account.uid, UNTIL_MS - 1), expected)
        self.assertIsNone(await self.reason_at(UNTIL_MS))
        self.assertIsNone(await self.store.suppressions.find(bytes(16), NOW_MS))

    async def test_all_are_those_that_have_not_ended_the_newest_report_first(self) -> None:
        for number, until_ms in enumerate((UNTIL_MS, NOW_MS, UNTIL_MS + 1)):
            account = await self.add(an_account(f"{number}@example.com", email_verified=True))
            await self.report(account, reported_at_ms=REPORTED_MS + number, until_ms=until_ms)
        found = await self.store.suppressions.all(NOW_MS)
        self.assertEqual([suppression.email[0] for suppression in found], ["2", "0"])
        self.assertEqual(await self.store.suppressions.all(UNTIL_MS + 1), [])

    async def test_an_account_that_is_unverified_or_gone_is_not_suppressed(self) -> None:
        unverified = await self.add(an_account("other@example.com"))
        self.assertFalse(await self.report(unverified))
        self.assertFalse(await self.report(an_account("gone@example.com", email_verified=True)))
        self.assertEqual(await self.rows("suppressions"), [])

    async def test_a_newer_report_lengthens_it_and_the_same_or_an_older_one_does_not(self) -> None:
        await self.report(reason="first")
        for reported_at_ms in (REPORTED_MS, REPORTED_MS - 1):
            self.assertFalse(await self.report(reason="old", reported_at_ms=reported_at_ms, until_ms=UNTIL_MS + 9))
        self.assertEqual(await self.reason_at(UNTIL_MS - 1), "first")
        self.assertIsNone(await self.reason_at(UNTIL_MS))
        self.assertTrue(await self.report(reason="new", reported_at_ms=REPORTED_MS + 1, until_ms=UNTIL_MS + 9))
        self.assertEqual(await self.reason_at(UNTIL_MS), "new")

    async def test_a_lifted_one_has_ended_and_only_what_happened_later_begins_another(self) -> None:
        self.assertFalse(await self.lift(NOW_MS))
        await self.report()
        self.assertTrue(await self.lift(NOW_MS + 10))
        self.assertFalse(await self.lift(NOW_MS + 11))
        self.assertIsNone(await self.reason_at(NOW_MS + 10))
        for reported_at_ms in (REPORTED_MS, REPORTED_MS + 1, NOW_MS + 10):
            self.assertFalse(await self.report(reported_at_ms=reported_at_ms, now_ms=NOW_MS + 20), reported_at_ms)
        self.assertIsNone(await self.reason_at(NOW_MS + 20))
        self.assertTrue(await self.report(reason="again", reported_at_ms=NOW_MS + 11, now_ms=NOW_MS + 20))
        self.assertEqual(await self.reason_at(NOW_MS + 20), "again")

    async def test_it_goes_with_its_account(self) -> None:
        await self.report()
        await self.store.change(self.store.accounts.remove(self.account.uid, "account is there"))
        self.assertEqual(await self.rows("suppressions"), [])

    async def test_the_longest_ended_are_forgotten_first_and_no_more_than_asked_for(self) -> None:
        for number in range(5):
            account = await self.add(an_account(f"{number}@example.com", email_verified=True))
            await self.report(account, until_ms=NOW_MS + number)
        now_ms = NOW_MS + REMEMBERED_MS + 3
        for limit, skipped, left in ((1, 0, [1, 2, 3, 4]), (1, 1, [1, 3, 4]), (100, 0, [3, 4]), (100, 0, [3, 4])):
            before = len(await self.rows("suppressions"))
            [rows] = await self.store.change(self.store.suppressions.prune(now_ms, limit, skipped))
            ends = sorted(row["until_ms"] - NOW_MS for row in await self.rows("suppressions"))
            self.assertEqual((ends, len(rows)), (left, before - len(left)))

    async def test_only_an_unverified_account_is_removed_for_its_bounce_with_all_that_is_its(self) -> None:
        unverified = await self.add(an_account("other@example.com"))
        for account in (unverified, self.account):
            await self.store.change(
                self.store.tokens.add(keys(TokenKind.SESSION), account, NOW_MS, "password"),
                self.store.mails.queue(a_letter(account), NOW_MS),
            )
            [rows] = await self.store.change(self.store.accounts.remove_unverified(account.uid))
            self.assertEqual([row["uid"] for row in rows], [account.uid] if account is unverified else [])
        for table in ("accounts", "tokens", "mails"):
            self.assertEqual([row["uid"] for row in await self.rows(table)], [self.account.uid], table)

    async def test_when_a_bounce_and_a_verification_race_no_verified_account_is_removed(
        self,
    ) -> None:
        accounts = [await self.add(an_account(f"{number}@example.com")) for number in range(20)]

        async def bounce(uid: bytes) -> bool:
            deleted, suppressed = await self.store.change(
                self.store.accounts.remove_unverified(uid),
                self.store.suppressions.add(uid, "bounce", REPORTED_MS, NOW_MS, UNTIL_MS),
            )
            self.assertEqual(len(deleted) + len(suppressed), 1)
            return bool(deleted)

        async def verify(uid: bytes) -> None:
            await self.store.change(self.store.accounts.verify_email(uid))

        calls = [call(account.uid) for account in accounts for call in (bounce, verify)]
        deleted = (await all_of(calls))[::2]
        for account, is_deleted in zip(accounts, deleted, strict=True):
            found = await self.store.accounts.by_uid(account.uid)
            self.assertEqual(found is None, is_deleted)
            self.assertTrue(found is None or found.email_verified)


class SqliteFileTests(OnSqliteFile, SuppressionContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, SuppressionContract, TestCase):
    """In memory."""


class PostgresTests(OnPostgres, SuppressionContract, TestCase):
    """On a PostgreSQL server."""

    async def test_a_verification_that_commits_while_the_bounce_waits_for_it_saves_the_account(self) -> None:
        account = await self.add(an_account("other@example.com"))
        gate = Gate(self, self.url)
        store = self.store
        verifying = begun(store.change(store.accounts.verify_email(account.uid), Gate.passing))
        await gate.waiting()
        bouncing = begun(
            store.change(
                store.accounts.remove_unverified(account.uid),
                store.suppressions.add(account.uid, "bounce", REPORTED_MS, NOW_MS, UNTIL_MS),
            )
        )
        await gate.waiting(2)
        gate.open()
        await verifying
        deleted, suppressed = await bouncing
        self.assertEqual((len(deleted), len(suppressed)), (0, 1))
        self.assertTrue(await store.accounts.exists(account.uid))
