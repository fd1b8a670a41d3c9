"""The queue of mails, on every database."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import TestCase

from fxa_auth.records import ClaimedMail, Letter, LinkOptions, MailKind, Outlook, StoredMail
from fxa_auth.store import Store
from fxa_auth.store.database import DatabaseUnavailable, Row, Statement
from fxa_auth.store.seal import Seal
from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory, a_letter, an_account
from tests.store.on_postgres import Gate, OnPostgres, begun, opened

NOW_MS = 1_700_000_100_000
UNTIL_MS = NOW_MS + 60_000


class MailContract(DatabaseContract):
    """What holds for queued mails."""

    assertIsNone: Any
    assertIn: Any
    assertNotIn: Any
    assertNotEqual: Any

    async def setUp(self) -> None:
        await super().setUp()
        self.account = await self.add(an_account("ÄÖ@example.com"))
        self.mails = self.store.mails

    async def queue(self, letter: Letter, now_ms: int = NOW_MS) -> None:
        await self.store.change(self.mails.queue(letter, now_ms, "account is there"))

    async def queue_numbered(self, *numbers: int) -> None:
        """Letters with these numbers for codes, each queued so many ms later than NOW_MS."""
        for number in numbers:
            await self.queue(replace(a_letter(self.account), code=bytes([number] * 16)), NOW_MS + number)

    async def claim(self, now_ms: int = NOW_MS, until_ms: int = UNTIL_MS, limit: int = 100) -> list[ClaimedMail]:
        return await self.mails.claim(now_ms, until_ms, limit)

    async def stored(self) -> list[StoredMail]:
        return list(await self.mails.page(None, 100))

    async def test_a_letter_comes_back_as_it_went_in(self) -> None:
        options = LinkOptions("sync", "https://firefox.com/?ä b", 'any "thing" \\ \U0001f98a')
        plain = a_letter(self.account)
        full = replace(
            plain, kind=MailKind.RESET, token=b"\xd0" * 32, options=options, accept_language="pt-BR,en;q=0.1"
        )
        for letter in (plain, full, replace(plain, kind=MailKind.UNLOCK)):
            await self.queue(letter)
            [mail] = await self.claim()
            self.assertEqual((mail.letter, mail.attempts, mail.queued_at_ms), (letter, 0, NOW_MS))
            self.assertEqual((len(mail.id), len(mail.claim), mail.last_answer), (16, 16, None))
            await self.mails.remove(mail.id)

    async def test_the_longest_due_are_claimed_first_and_no_more_than_asked_for(self) -> None:
        await self.queue_numbered(3, 1, 2, 5)
        for limit, expected in ((1, [1]), (2, [2, 3]), (100, [])):
            mails = await self.claim(NOW_MS + 4, limit=limit)
            self.assertEqual([mail.letter.code[0] for mail in mails], expected)

    async def test_a_claimed_mail_is_nobody_elses_until_the_claim_runs_out(self) -> None:
        await self.queue(a_letter(self.account))
        [first] = await self.claim()
        self.assertEqual(await self.claim(UNTIL_MS - 1), [])
        self.assertEqual((await self.mails.outlook()).next_due_ms, UNTIL_MS)
        [second] = await self.claim(UNTIL_MS, UNTIL_MS + 1)
        self.assertEqual(replace(second, claim=first.claim), first)
        self.assertNotEqual(second.claim, first.claim)

    async def test_who_lost_a_claim_changes_nothing_any_more(self) -> None:
        await self.queue(a_letter(self.account))
        [lost] = await self.claim()
        await self.claim(UNTIL_MS, UNTIL_MS + 60_000)
        before = await self.rows("mails")
        await self.mails.release(lost, NOW_MS, "no connection")
        await self.mails.defer(lost, NOW_MS, "451 come back later")
        await self.mails.bury(lost, NOW_MS, "550 no such user", 1)
        self.assertEqual(await self.rows("mails"), before)

    async def test_a_deferred_mail_waits_for_its_next_turn(self) -> None:
        await self.queue(a_letter(self.account))
        [mail] = await self.claim()
        await self.mails.defer(mail, NOW_MS + 30_000, "451 come back later")
        self.assertEqual(await self.claim(NOW_MS + 29_999), [])
        [again] = await self.claim(NOW_MS + 30_000)
        expected = replace(mail, claim=again.claim, attempts=1, last_answer="451 come back later")
        self.assertEqual(again, expected)

    async def test_a_released_mail_is_due_at_once_behind_the_others_and_was_not_tried(self) -> None:
        await self.queue_numbered(0, 1)
        [mail] = await self.claim(limit=1)
        await self.mails.release(mail, NOW_MS + 2, "no connection")
        self.assertEqual([mail.letter.code[0] for mail in await self.claim(NOW_MS + 2, limit=1)], [1])
        [again] = await self.claim(NOW_MS + 2)
        self.assertEqual((again.id, again.attempts, again.last_answer), (mail.id, 0, "no connection"))
        await self.mails.release(again, NOW_MS + 3, None)
        [once_more] = await self.claim(NOW_MS + 3)
        self.assertEqual(once_more.last_answer, "no connection")

    async def test_a_removed_mail_is_gone_whoever_holds_it(self) -> None:
        self.assertEqual(await self.mails.outlook(), Outlook(None, None))
        await self.queue_numbered(0, 1)
        self.assertEqual(await self.mails.outlook(), Outlook(NOW_MS, NOW_MS))
        [first, second] = await self.claim(NOW_MS + 1)
        for _ in range(2):
            await self.mails.remove(first.id)
        self.assertEqual([mail.id for mail in await self.stored()], [second.id])
        self.assertEqual(await self.mails.outlook(), Outlook(UNTIL_MS, NOW_MS + 1))

    async def test_a_dead_letter_stays_sealed_with_its_reason_and_is_not_tried(self) -> None:
        await self.queue(a_letter(self.account))
        [mail] = await self.claim()
        await self.mails.bury(mail, NOW_MS + 5, "550 no such user", 1)
        self.assertEqual(await self.claim(10 * UNTIL_MS), [])
        self.assertEqual(await self.mails.outlook(), Outlook(None, None))
        [dead] = await self.stored()
        told = (dead.letter, dead.dead_at_ms, dead.last_answer, dead.attempts, dead.is_claimed)
        self.assertEqual(told, (a_letter(self.account), NOW_MS + 5, "550 no such user", 1, False))
        [row] = await self.rows("mails")
        self.assertNotIn(self.account.email_code.hex().encode(), row["letter"])

    async def test_hastening_concerns_what_waits_for_its_next_attempt_only(self) -> None:
        await self.queue_numbered(0, 1, 2, 3)
        in_hand, deferred, dead, fresh = await self.claim(NOW_MS + 3)
        await self.mails.defer(deferred, NOW_MS + 10**6, "451 come back later")
        await self.mails.bury(dead, NOW_MS, "550 no such user", 1)
        await self.mails.release(fresh, NOW_MS + 3, None)
        await self.mails.hasten(NOW_MS + 5)
        due = {mail.id: mail.due_at_ms for mail in await self.stored()}
        expected = {in_hand.id: UNTIL_MS, deferred.id: NOW_MS + 5, dead.id: NOW_MS, fresh.id: NOW_MS + 3}
        self.assertEqual(due, expected)

    async def test_a_retried_mail_is_due_now_and_a_dead_one_begins_anew(self) -> None:
        await self.queue_numbered(0, 1, 2)
        in_hand, deferred, dead = await self.claim(NOW_MS + 2)
        await self.mails.defer(deferred, NOW_MS + 10**6, "451 come back later")
        await self.mails.bury(dead, NOW_MS, "550 no such user", 1)
        later_ms = NOW_MS + 10
        self.assertEqual([await self.mails.retry(mail.id, later_ms) for mail in (in_hand, deferred, dead)], [0, 1, 1])
        self.assertEqual(await self.mails.retry(b"?" * 16, later_ms), 0)
        found = {mail.id: mail for mail in await self.claim(later_ms)}
        self.assertEqual(set(found), {deferred.id, dead.id})
        told = [(found[mail.id].attempts, found[mail.id].queued_at_ms) for mail in (deferred, dead)]
        self.assertEqual(told, [(1, NOW_MS + 1), (0, later_ms)])

    async def test_all_can_be_retried_or_dropped_together(self) -> None:
        await self.queue_numbered(0, 1, 2)
        deferred, dead, _ = await self.claim(NOW_MS + 2)
        await self.mails.defer(deferred, NOW_MS + 10**6, "451 come back later")
        await self.mails.bury(dead, NOW_MS, "550 no such user", 1)
        self.assertEqual(await self.mails.retry(None, NOW_MS + 3), 2)
        self.assertEqual(len(await self.claim(NOW_MS + 3)), 2)
        self.assertEqual(await self.mails.drop(b"?" * 16), 0)
        self.assertEqual(await self.mails.drop(dead.id), 1)
        self.assertEqual(await self.mails.drop(None), 2)
        self.assertEqual(await self.rows("mails"), [])

    async def test_pages_follow_each_other_without_a_gap(self) -> None:
        for _ in range(3):
            await self.queue_numbered(2, 1)
        seen: list[StoredMail] = []
        page: Sequence[StoredMail] = await self.mails.page(None, 4)
        while page:
            seen += page
            page = await self.mails.page(page[-1], 4)
        self.assertEqual([mail.queued_at_ms - NOW_MS for mail in seen], [1, 1, 1, 2, 2, 2])
        self.assertEqual(seen, await self.stored())
        self.assertEqual(len({mail.id for mail in seen}), 6)

    async def test_no_mail_is_queued_for_an_account_that_has_gone(self) -> None:
        letter = a_letter(an_account("stranger@example.com"))
        await self.assertDemandFails("account is there", self.queue(letter))
        await self.store.change(self.mails.queue(letter, NOW_MS))
        self.assertEqual(await self.rows("mails"), [])

    async def test_mails_that_cannot_be_read_become_dead_letters_and_the_others_come(self) -> None:
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
        damaged = [mail.id for mail in await self.stored()]
        for mail_id, damage in zip(damaged, damages, strict=True):
            sql = "UPDATE mails SET letter = :letter WHERE id = :id"
            await self.database.change([Statement(sql, {"id": mail_id, "letter": damage(mail_id)})])
        letter = a_letter(self.account)
        await self.queue(letter, NOW_MS + 1)

        with capturedLogs() as events:
            [mail] = await self.claim(NOW_MS + 1)
        self.assertEqual(mail.letter, letter)
        told = {(event["log_format"], event["log_level"], event["id"]) for event in events}
        self.assertEqual(told, {("mail.unreadable", LogLevel.error, mail_id.hex()) for mail_id in damaged})
        for found in await self.stored():
            if found.id != mail.id:
                self.assertEqual((found.letter, found.dead_at_ms), (None, NOW_MS + 1))
                self.assertIn("cannot be read: ", str(found.last_answer))

    async def test_without_the_sealing_keys_no_mail_is_held_to_be_unreadable(self) -> None:
        await self.queue(a_letter(self.account))
        sealed = Store(self.database, Seal())
        await self.assertFailure(Deferred.fromCoroutine(sealed.mails.claim(NOW_MS, UNTIL_MS, 1)), DatabaseUnavailable)
        self.assertEqual(len(await self.claim()), 1)

    async def test_letters_are_sealed(self) -> None:
        letter = replace(a_letter(self.account), token=b"\xd0" * 32)
        await self.queue(letter)
        [row] = await self.rows("mails")
        assert letter.token is not None
        for secret in (letter.code.hex(), letter.token.hex(), letter.code, letter.to, "verify"):
            self.assertNotIn(secret if isinstance(secret, bytes) else secret.encode(), row["letter"])


class TwoClaimersContract(DatabaseContract):
    """Two processes on one database: the first one's transaction is still open when the second one claims."""

    assertFalse: Any
    patch: Any

    async def setUp(self) -> None:
        await super().setUp()
        account = await self.add(an_account())
        for number in range(5):
            await self.store.change(self.store.mails.queue(a_letter(account), NOW_MS + number))

    async def assertNoneIsClaimedTwice(self, first: Sequence[bytes], second: Sequence[ClaimedMail]) -> None:
        """What both got; a third claim gets what both have left."""
        self.assertEqual(len(first), 3)
        self.assertEqual({mail.id for mail in second} & set(first), set())
        third = await self.store.mails.claim(NOW_MS + 9, UNTIL_MS, 10)
        got = [*first, *(mail.id for mail in [*second, *third])]
        self.assertEqual(sorted(got), sorted(row["id"] for row in await self.rows("mails")))


class SqliteFileTests(OnSqliteFile, MailContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, MailContract, TestCase):
    """In SQLite's memory."""


class TwoClaimersOnSqliteTests(OnSqliteFile, TwoClaimersContract, TestCase):
    async def test_two_claimers_in_open_transactions_never_get_the_same_mail(self) -> None:
        statements: list[Statement] = []

        async def overheard(steps: Sequence[Statement]) -> list[Sequence[Row]]:
            statements.extend(steps)
            return [[]]

        change = self.database.change
        self.patch(self.database, "change", overheard)
        await self.store.mails.claim(NOW_MS + 9, UNTIL_MS, 3)
        self.patch(self.database, "change", change)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            [claim] = statements
            first = [row[0] for row in other.execute(claim.sql, claim.params).fetchall()]
            second = begun(self.store.mails.claim(NOW_MS + 9, UNTIL_MS, 3))
            self.assertFalse(second.called)
            other.execute("COMMIT")
        await self.assertNoneIsClaimedTwice(first, await second)


class TwoClaimersOnPostgresTests(OnPostgres, TwoClaimersContract, TestCase):
    async def test_two_claimers_in_open_transactions_never_get_the_same_mail(self) -> None:
        other = Store(await opened(self, self.url), self.seal)
        gate = Gate(self, self.url)
        change = self.database.change

        async def held_open(steps: Sequence[Statement]) -> list[Sequence[Row]]:
            results: list[Sequence[Row]] = await change([*steps, Gate.passing])
            return results[:-1]

        self.patch(self.database, "change", held_open)
        first = begun(self.store.mails.claim(NOW_MS + 9, UNTIL_MS, 3))
        await gate.waiting(1)
        second = begun(other.mails.claim(NOW_MS + 9, UNTIL_MS, 3))
        await gate.waiting(2)
        gate.open()
        claimed = [mail.id for mail in await first]
        self.patch(self.database, "change", change)
        await self.assertNoneIsClaimedTwice(claimed, await second)
