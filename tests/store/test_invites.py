"""The tables of invites, on every database."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from fxa_auth.records import Account, Invite
from fxa_auth.store.database import DatabaseUnavailable
from tests.store.contract import (
    DatabaseContract,
    OnSqliteFile,
    OnSqliteMemory,
    an_account,
    an_invite,
    outcomes,
)
from tests.store.on_postgres import OnPostgres

NOW_MS = 1_700_000_100_000
HASH = b"h" * 32
LEFT = "a use is left"


class InviteContract(DatabaseContract):
    """What holds for invites."""

    assertIsNone: Any

    async def give(self, code_hash: bytes | None = None, **fields: Any) -> Invite:
        invite = an_invite(**fields) if code_hash is None else an_invite(normalized_email=None, **fields)
        await self.store.change(self.store.invites.add(invite, code_hash))
        return invite

    async def newcomer(self) -> Account:
        return await self.add(an_account(f"{os.urandom(8).hex()}@example.com"))

    async def use(self, invite: Invite, uid: bytes, now_ms: int = NOW_MS, taken: int = 1) -> None:
        await self.store.change(*self.store.invites.use(invite.id, uid, taken, now_ms, LEFT))

    async def test_an_invite_comes_back_as_it_went_in(self) -> None:
        bound = await self.give(uses=2**31, expires_at_ms=2**53)
        by_code = await self.give(HASH, uses=5, uses_left=3, created_at_ms=2**53)
        self.assertEqual(await self.store.invites.all(), [bound, by_code])
        self.assertEqual(await self.store.invites.matching("me@example.com", HASH), [bound, by_code])

    async def test_an_invite_is_found_by_its_address_or_its_code_only(self) -> None:
        bound, by_code = await self.give(), await self.give(HASH)
        for email, code_hash, found in (
            ("me@example.com", None, [bound]),
            ("other@example.com", None, []),
            ("other@example.com", HASH, [by_code]),
            ("other@example.com", HASH[:31], []),
            ("me@example.com", b"", [bound]),
        ):
            self.assertEqual(await self.store.invites.matching(email, code_hash), found, (email, code_hash))

    async def test_of_several_the_one_for_the_address_that_expires_first_comes_first(self) -> None:
        by_code, for_ever = await self.give(HASH, expires_at_ms=1), await self.give()
        late, soon = await self.give(expires_at_ms=3), await self.give(expires_at_ms=2)
        found = await self.store.invites.matching("me@example.com", HASH)
        self.assertEqual(found, [soon, late, for_ever, by_code])

    async def test_a_use_is_counted_and_its_account_remembered(self) -> None:
        invite = await self.give(uses=3, uses_left=3)
        other, account = await self.give(uses=3, uses_left=3), await self.newcomer()
        self.assertIsNone(await self.store.invites.used_by(account.uid))
        await self.use(invite, account.uid)
        self.assertEqual(await self.store.invites.all(), sorted([replace(invite, uses_left=2), other], key=_by_id))
        self.assertEqual(await self.store.invites.used_by(account.uid), invite.id)

    async def test_of_twenty_who_want_its_last_use_at_once_one_gets_it(self) -> None:
        for uses in (1, 3):
            invite = await self.give(uses=5, uses_left=uses)
            accounts = [await self.newcomer() for _ in range(20)]
            counted = await outcomes([self.use(invite, account.uid) for account in accounts])
            self.assertEqual(counted, {"done": uses, LEFT: 20 - uses})

    async def test_neither_an_expired_nor_a_revoked_invite_can_be_used(self) -> None:
        account, invites = await self.newcomer(), self.store.invites
        invite = await self.give(expires_at_ms=NOW_MS)
        for taken in (0, 1):
            await self.assertDemandFails(LEFT, self.use(invite, account.uid, taken=taken))
        await self.use(invite, account.uid, NOW_MS - 1)
        [rows] = await self.store.change(invites.revoke(invite.id))
        self.assertEqual([row["id"] for row in rows], [invite.id])
        for taken in (0, 1):
            await self.assertDemandFails(LEFT, self.use(invite, account.uid, 1, taken))

    async def test_an_invite_that_is_used_up_can_be_used_without_taking_anything(self) -> None:
        invite, account = await self.give(uses_left=0), await self.newcomer()
        await self.use(invite, account.uid, taken=0)
        self.assertEqual(await self.store.invites.all(), [invite])
        self.assertEqual(await self.store.invites.used_by(account.uid), invite.id)

    async def test_an_account_that_goes_gives_no_use_back_and_a_revoked_invite_takes_no_account_along(self) -> None:
        invite, account = await self.give(), await self.newcomer()
        await self.use(invite, account.uid)
        await self.store.change(self.store.accounts.remove(account.uid, "account is there"))
        self.assertEqual(await self.store.invites.all(), [replace(invite, uses_left=0)])
        self.assertEqual(await self.rows("invite_uses"), [])
        second, other = await self.newcomer(), await self.give()
        await self.use(other, second.uid)
        await self.store.change(self.store.invites.revoke(other.id))
        self.assertEqual(await self.store.accounts.by_uid(second.uid), second)
        self.assertIsNone(await self.store.invites.used_by(second.uid))

    async def test_an_invite_for_an_address_gets_its_use_back_from_an_account_that_nobody_verified(self) -> None:
        for_address, by_code, full = await self.give(), await self.give(HASH), await self.give(uses_left=1)
        for invite, verified, taken, left in (
            (for_address, True, 1, 0),
            (for_address, False, 0, 1),
            (by_code, False, 1, 0),
            (full, False, 0, 1),
        ):
            account = await self.newcomer()
            await self.use(invite, account.uid, taken=taken)
            if verified:
                await self.store.change(self.store.accounts.verify_email(account.uid))
            for _ in range(2):
                await self.store.change(self.store.invites.give_back(account.uid))
            [found] = [each for each in await self.store.invites.all() if each.id == invite.id]
            self.assertEqual(found.uses_left, left)
        before = await self.store.invites.all()
        await self.store.change(self.store.invites.give_back((await self.newcomer()).uid))
        self.assertEqual(await self.store.invites.all(), before)

    async def test_of_twenty_who_remove_an_account_at_once_one_gives_a_use_back(self) -> None:
        invite, account = await self.give(uses=5, uses_left=3), await self.newcomer()
        await self.use(invite, account.uid)
        steps = self.store.invites.give_back(account.uid), self.store.accounts.remove(account.uid, LEFT)
        counted = await outcomes([self.store.change(*steps) for _ in range(20)])
        self.assertEqual(counted, {"done": 1, LEFT: 19})
        self.assertEqual((await self.store.invites.all())[0].uses_left, 3)

    async def test_all_invites_for_an_address_are_revoked_together(self) -> None:
        first, second, by_code = await self.give(), await self.give(uses_left=0), await self.give(HASH)
        other = await self.give(normalized_email="other@example.com")
        [rows] = await self.store.change(self.store.invites.revoke_for("me@example.com"))
        self.assertEqual(sorted(row["id"] for row in rows), sorted([first.id, second.id]))
        self.assertEqual(await self.store.invites.all(), sorted([by_code, other], key=_by_id))

    async def test_what_ended_before_a_time_is_pruned(self) -> None:
        invites, before_ms = self.store.invites, NOW_MS
        used_up = {}
        for used_at_ms in (before_ms - 1, before_ms):
            used_up[used_at_ms] = await self.give()
            await self.use(used_up[used_at_ms], (await self.newcomer()).uid, used_at_ms)
        expired, in_use = await self.give(expires_at_ms=before_ms - 1), await self.give(uses=2, uses_left=2)
        await self.use(in_use, (await self.newcomer()).uid, 1)
        kept = [await self.give(HASH), await self.give(expires_at_ms=before_ms)]
        [rows] = await self.store.change(invites.prune(before_ms))
        self.assertEqual(sorted(row["id"] for row in rows), sorted([used_up[before_ms - 1].id, expired.id]))
        left = {invite.id for invite in await invites.all()}
        self.assertEqual(left, {used_up[before_ms].id, in_use.id, *(invite.id for invite in kept)})

    async def test_the_database_itself_refuses_what_cannot_be(self) -> None:
        for invite, code_hash in (
            (an_invite(uses_left=-1), None),
            (an_invite(uses_left=2), None),
            (an_invite(), HASH),
            (an_invite(normalized_email=None), None),
        ):
            call = self.store.change(self.store.invites.add(invite, code_hash))
            await self.assertRefused(call)
        await self.give(HASH)
        await self.assertRefused(self.store.change(self.store.invites.add(an_invite(normalized_email=None), HASH)))

    async def assertRefused(self, call: Any) -> None:
        await self.assertFailure(Deferred.fromCoroutine(call), DatabaseUnavailable)


class SqliteFileTests(OnSqliteFile, InviteContract, TestCase):
    """In an SQLite file."""


class SqliteMemoryTests(OnSqliteMemory, InviteContract, TestCase):
    """In SQLite's memory."""


class PostgresTests(OnPostgres, InviteContract, TestCase):
    """On a PostgreSQL server."""


def _by_id(invite: Invite) -> tuple[int, bytes]:
    return invite.created_at_ms, invite.id
