"""The queue of mails, on every database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import TestCase

from fxa_auth.records import Letter, LinkOptions, MailKind, QueuedMail
from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory, a_letter, an_account

NOW_MS = 1_700_000_100_000


class MailContract(DatabaseContract):
    """What holds for queued mails."""

    assertIsNone: Any
    assertNotIn: Any
    assertNotEqual: Any

    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.add(an_account("ÄÖ@example.com"))

    async def queue(self, letter: Letter, now_ms: int = NOW_MS) -> None:
        await self.store.change(self.store.mails.queue(letter, now_ms, "account is there"))

    async def due(self, now_ms: int, limit: int = 100) -> list[QueuedMail]:
        return await self.store.mails.due(now_ms, limit)

    async def test_a_letter_comes_back_as_it_went_in(self) -> None:
        options = LinkOptions("sync", "https://firefox.com/?ä b", 'any "thing" \\ \U0001f98a')
        plain = a_letter(self.account)
        full = replace(
            plain, kind=MailKind.RESET, token=b"\xd0" * 32, options=options, accept_language="pt-BR,en;q=0.1"
        )
        for letter in (plain, full, replace(plain, kind=MailKind.UNLOCK)):
            await self.queue(letter)
            [mail] = await self.due(NOW_MS)
            self.assertEqual((mail.letter, mail.queued_at_ms, mail.attempts, len(mail.id)), (letter, NOW_MS, 0, 16))
            await self.store.mails.delivered(mail.id)

    async def test_the_longest_due_come_first_and_no_more_than_asked_for(self) -> None:
        for late_ms in (3, 1, 2, 5):
            await self.queue(a_letter(self.account), NOW_MS + late_ms)
        queued = [mail.queued_at_ms - NOW_MS for mail in await self.due(NOW_MS + 4)]
        self.assertEqual(queued, [1, 2, 3])
        self.assertEqual([mail.queued_at_ms - NOW_MS for mail in await self.due(NOW_MS + 4, limit=2)], [1, 2])

    async def test_a_failed_mail_waits_for_its_next_turn(self) -> None:
        await self.queue(a_letter(self.account))
        [mail] = await self.due(NOW_MS)
        await self.store.mails.failed(mail.id, NOW_MS + 30_000)
        self.assertEqual(await self.due(NOW_MS + 29_999), [])
        self.assertEqual(await self.due(NOW_MS + 30_000), [replace(mail, attempts=1)])
        self.assertEqual(await self.store.mails.next_due_ms(), NOW_MS + 30_000)

    async def test_a_delivered_mail_is_gone(self) -> None:
        self.assertIsNone(await self.store.mails.next_due_ms())
        await self.queue(a_letter(self.account))
        await self.queue(a_letter(self.account), NOW_MS + 1)
        self.assertEqual(await self.store.mails.next_due_ms(), NOW_MS)
        first, second = await self.due(NOW_MS + 1)
        await self.store.mails.delivered(first.id)
        await self.store.mails.delivered(first.id)
        self.assertEqual(await self.due(NOW_MS + 1), [second])
        self.assertEqual(await self.store.mails.next_due_ms(), NOW_MS + 1)

    async def test_no_mail_is_queued_for_an_account_that_has_gone(self) -> None:
        letter = a_letter(an_account("stranger@example.com"))
        await self.assertDemandFails("account is there", self.queue(letter))
        await self.store.change(self.store.mails.queue(letter, NOW_MS))
        self.assertEqual(await self.rows("mails"), [])

    async def test_letters_are_sealed(self) -> None:
        letter = replace(a_letter(self.account), token=b"\xd0" * 32)
        await self.queue(letter)
        [row] = await self.rows("mails")
        assert letter.token is not None
        for secret in (letter.code.hex(), letter.token.hex(), letter.code, letter.to, "verify"):
            self.assertNotIn(secret if isinstance(secret, bytes) else secret.encode(), row["letter"])


class SqliteFileTests(OnSqliteFile, MailContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, MailContract, TestCase):
    """In SQLite's memory."""
