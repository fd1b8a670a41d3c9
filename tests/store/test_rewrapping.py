"""Changing the sealing key under a store in use: nothing is lost, nothing stays behind, a cut-off run goes on."""

from __future__ import annotations

import os
from typing import Any

from twisted.trial.unittest import TestCase

from fxa_auth.records import TokenKind
from fxa_auth.store import Store, rewrapping
from fxa_auth.store.database import DatabaseUnavailable, Statement
from fxa_auth.store.rewrapping import Rewrapping
from fxa_auth.store.seal import SEALED_TABLES, BrokenSeal, Seal
from fxa_auth.store.sealingkeys import find_keys
from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory, a_letter, an_account, keys

NOW_MS = 1_700_000_000_000
OLD, NEW = b"\x01" * 32, b"\x02" * 32


class RewrappingContract(DatabaseContract):
    assertRaises: Any
    patch: Any

    async def setUp(self) -> None:
        await super().setUp()
        self.seal.use(OLD)
        self.account = await self.add(an_account(unlock_code=os.urandom(16), locked_at_ms=NOW_MS))
        self.session = keys(TokenKind.SESSION)
        self.key_fetch, self.bundle = keys(TokenKind.KEY_FETCH), os.urandom(96)
        self.forgot, self.pass_code = keys(TokenKind.PASSWORD_FORGOT), os.urandom(16)
        self.letter = a_letter(self.account)
        tokens = self.store.tokens
        await self.store.change(
            tokens.add(self.session, self.account, NOW_MS, "account"),
            tokens.add(self.key_fetch, self.account, NOW_MS, "account", self.bundle),
            tokens.add_single(self.forgot, self.account.uid, NOW_MS, "account", self.pass_code, 3),
            self.store.mails.queue(self.letter, NOW_MS),
        )
        self.seal.use(NEW, OLD)
        self.rewrapping = Rewrapping(self.database, self.seal)

    async def is_all_there(self, store: Store) -> None:
        """Everything that was sealed reads as it was written."""
        self.assertEqual(await store.accounts.by_uid(self.account.uid), self.account)
        for token in (self.session, self.key_fetch, self.forgot):
            found = await store.tokens.find(token.kind, token.id_hash)
            self.assertEqual(found.auth_key, token.auth_key)
        self.assertEqual((found.data, found.pass_code), (self.forgot.data, self.pass_code))
        [row] = await self.database.query(
            "SELECT id_hash, key_bundle FROM tokens WHERE kind = :kind", {"kind": TokenKind.KEY_FETCH.value}
        )
        self.assertEqual(store.tokens.key_bundle(row), self.bundle)
        [mail] = await store.mails.due(NOW_MS, 10)
        self.assertEqual(mail.letter, self.letter)

    def store_with(self, *sealing_keys: bytes) -> Store:
        seal = Seal()
        seal.use(*sealing_keys)
        return Store(self.database, seal)

    async def test_the_newest_key_alone_then_opens_everything(self) -> None:
        self.assertEqual(await self.rewrapping.run(), 5)
        await self.is_all_there(self.store_with(NEW))

    async def test_the_old_key_then_opens_nothing(self) -> None:
        await self.rewrapping.run()
        await self.refuses_the_account(self.store_with(OLD))

    async def refuses_the_account(self, store: Store) -> None:
        try:
            await store.accounts.by_uid(self.account.uid)
        except BrokenSeal as error:
            self.assertEqual(len(str(error).splitlines()), 1)
        else:
            raise AssertionError("an old key has opened what a new one sealed")

    async def test_without_the_old_key_what_it_sealed_is_not_touched(self) -> None:
        self.seal.use(NEW)
        before = await self.rows("accounts")
        try:
            await self.rewrapping.run()
        except BrokenSeal:
            self.assertEqual(await self.rows("accounts"), before)
        else:
            raise AssertionError("what cannot be opened was passed over")

    async def test_every_batch_counts_and_a_second_run_finds_nothing(self) -> None:
        self.patch(rewrapping, "BATCH", 2)
        for number in range(5):
            await self.add(an_account(f"{number}@example.com"))
        self.assertEqual(await self.rewrapping.run(), 5)
        self.assertEqual(await self.rewrapping.run(), 0)
        await self.is_all_there(self.store_with(NEW))

    async def test_a_run_that_was_cut_off_goes_on_where_it_stopped(self) -> None:
        self.patch(rewrapping, "BATCH", 1)
        change, left = self.database.change, [2]

        async def dying(statements: list[Statement]) -> Any:
            if not left[0]:
                raise DatabaseUnavailable("killed")
            left[0] -= 1
            return await change(statements)

        self.patch(self.database, "change", dying)
        try:
            await self.rewrapping.run()
        except DatabaseUnavailable:
            self.patch(self.database, "change", change)
        self.assertEqual(await self.rewrapping.run(), 3)
        await self.is_all_there(self.store_with(NEW))

    async def test_a_row_that_changes_meanwhile_keeps_its_change(self) -> None:
        change, code = self.database.change, os.urandom(16)
        accounts = self.store_with(OLD).accounts

        async def beside(statements: list[Statement]) -> Any:
            self.patch(self.database, "change", change)
            await change([accounts.unlock(self.account.uid), accounts.lock(self.account.uid, NOW_MS, code)])
            return await change(statements)

        self.patch(self.database, "change", beside)
        await self.rewrapping.run()
        found = await self.store_with(NEW).accounts.by_uid(self.account.uid)
        self.assertEqual(found.unlock_code, code)

    async def test_the_database_then_wants_the_newest_key_only(self) -> None:
        environ = {"OLD": OLD.hex(), "NEW": NEW.hex()}
        await find_keys(self.database, ["env:OLD"], environ, NOW_MS)
        await find_keys(self.database, ["env:NEW", "env:OLD"], environ, NOW_MS)
        await self.rewrapping.run()
        self.assertEqual(len(await self.rewrapping.forget_other_keys(NEW)), 1)
        self.assertEqual(await find_keys(self.database, ["env:NEW"], environ, NOW_MS), [NEW])
        third = {**environ, "THIRD": "03" * 32}
        self.assertEqual(len(await find_keys(self.database, ["env:THIRD", "env:NEW"], third, NOW_MS)), 2)

    async def test_every_column_that_the_schema_calls_sealed_is_known(self) -> None:
        """A secret column that is added later must not be left behind under an old key."""
        self.assertEqual(await self.sealed_columns(), {table.name: set(table.columns) for table in SEALED_TABLES})

    async def sealed_columns(self) -> dict[str, set[str]]:
        """The columns that hold something sealed in the rows of setUp, which fill each of them."""
        found: dict[str, set[str]] = {}
        for table in ("accounts", "tokens", "mails", "events"):
            for row in await self.rows(table):
                for column, value in row.items():
                    if isinstance(value, bytes) and value[:1] == b"\x01" and len(value) > 9 + 12 + 16:
                        found.setdefault(table, set()).add(column)
        return found


class SqliteFileTests(OnSqliteFile, RewrappingContract, TestCase):
    pass


class SqliteMemoryTests(OnSqliteMemory, RewrappingContract, TestCase):
    pass
