"""The queue of mails, on every database."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import TestCase

from fxa_auth.records import Letter, LinkOptions, MailKind, QueuedMail
from fxa_auth.store import Store
from fxa_auth.store.database import DatabaseUnavailable, Statement
from fxa_auth.store.seal import Seal
from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory, a_letter, an_account

NOW_MS = 1_700_000_100_000
DAY_MS = 86_400_000


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
            self.assertEqual((mail.letter, mail.attempts, len(mail.id)), (letter, 0, 16))
            await self.store.mails.remove(mail.id)

    async def test_the_longest_due_come_first_and_no_more_than_asked_for(self) -> None:
        for late_ms in (3, 1, 2, 5):
            await self.queue(replace(a_letter(self.account), code=bytes([late_ms] * 16)), NOW_MS + late_ms)
        for limit, expected in ((100, [1, 2, 3]), (2, [1, 2]), (1, [1])):
            mails = await self.due(NOW_MS + 4, limit)
            self.assertEqual([mail.letter.code[0] for mail in mails], expected)

    async def test_a_failed_mail_waits_for_its_next_turn(self) -> None:
        await self.queue(a_letter(self.account))
        [mail] = await self.due(NOW_MS)
        await self.store.mails.failed(mail.id, NOW_MS + 30_000)
        self.assertEqual(await self.due(NOW_MS + 29_999), [])
        self.assertEqual(await self.due(NOW_MS + 30_000), [replace(mail, attempts=1)])
        self.assertEqual(await self.store.mails.next_due_ms(), NOW_MS + 30_000)

    async def test_a_removed_mail_is_gone(self) -> None:
        self.assertIsNone(await self.store.mails.next_due_ms())
        await self.queue(a_letter(self.account))
        await self.queue(a_letter(self.account), NOW_MS + 1)
        self.assertEqual(await self.store.mails.next_due_ms(), NOW_MS)
        first, second = await self.due(NOW_MS + 1)
        await self.store.mails.remove(first.id)
        await self.store.mails.remove(first.id)
        self.assertEqual(await self.due(NOW_MS + 1), [second])
        self.assertEqual(await self.store.mails.next_due_ms(), NOW_MS + 1)

    async def test_no_mail_is_queued_for_an_account_that_has_gone(self) -> None:
        letter = a_letter(an_account("stranger@example.com"))
        await self.assertDemandFails("account is there", self.queue(letter))
        await self.store.change(self.store.mails.queue(letter, NOW_MS))
        self.assertEqual(await self.rows("mails"), [])

    async def test_mails_that_cannot_be_read_are_put_off_for_a_day_and_the_others_come(self) -> None:
        damages: list[Callable[[bytes], bytes]] = [
            lambda mail_id: b"",
            lambda mail_id: os.urandom(80),
            lambda mail_id: self.seal.close(b"{}", "mails", "letter", os.urandom(16)),
            lambda mail_id: self.seal.close(b"not JSON", "mails", "letter", mail_id),
            lambda mail_id: self.seal.close(b"{}", "mails", "letter", mail_id),
            lambda mail_id: self.seal.close(b'{"kind": "poem"}', "mails", "letter", mail_id),
        ]
        for _ in damages:
            await self.queue(a_letter(self.account))
        damaged = [mail.id for mail in await self.due(NOW_MS)]
        for mail_id, damage in zip(damaged, damages, strict=True):
            sql = "UPDATE mails SET letter = :letter WHERE id = :id"
            await self.database.change([Statement(sql, {"id": mail_id, "letter": damage(mail_id)})])
        letter = a_letter(self.account)
        await self.queue(letter, NOW_MS + 1)

        with capturedLogs() as events:
            [mail] = await self.due(NOW_MS + 1, limit=1)
        self.assertEqual(mail.letter, letter)
        told = {(event["log_format"], event["log_level"], event["id"]) for event in events}
        self.assertEqual(told, {("mail.unreadable", LogLevel.error, mail_id.hex()) for mail_id in damaged})

        with capturedLogs() as events:
            self.assertEqual(await self.due(NOW_MS + DAY_MS), [mail])
        self.assertEqual(list(events), [])
        await self.store.mails.remove(mail.id)
        self.assertEqual(await self.store.mails.next_due_ms(), NOW_MS + 1 + DAY_MS)

    async def test_without_the_sealing_keys_no_mail_is_held_to_be_unreadable(self) -> None:
        await self.queue(a_letter(self.account))
        sealed = Store(self.database, Seal())
        await self.assertFailure(Deferred.fromCoroutine(sealed.mails.due(NOW_MS, 1)), DatabaseUnavailable)
        self.assertEqual(len(await self.due(NOW_MS)), 1)

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
