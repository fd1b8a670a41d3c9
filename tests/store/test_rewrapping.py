"""Changing the sealing key under a store in use: nothing is lost, nothing stays behind, a cut-off run goes on."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from fxa_auth.records import TokenKind
from fxa_auth.store import Store, rewrapping
from fxa_auth.store.database import DatabaseUnavailable, Statement, UnusableDatabase
from fxa_auth.store.rewrapping import Rewrapped, Rewrapping
from fxa_auth.store.seal import SEALED_TABLES, BrokenSeal, Seal, key_id
from fxa_auth.store.sealingkeys import find_keys
from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory, a_letter, an_account, keys
from tests.store.on_postgres import OnPostgres

NOW_MS = 1_700_000_000_000
OLD, NEW, THIRD = b"\x01" * 32, b"\x02" * 32, b"\x03" * 32
ENVIRON = {"OLD": OLD.hex(), "NEW": NEW.hex(), "THIRD": THIRD.hex()}
OLD_ID = key_id(OLD).hex()


class WatchedClock(Clock):
    """Tells when somebody begins to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.is_waited_for: Deferred[None] = Deferred()

    def callLater(self, delay: float, call: Any, *args: Any, **options: Any) -> Any:
        later = super().callLater(delay, call, *args, **options)
        self.is_waited_for.callback(None)
        return later


class RewrappingContract(DatabaseContract):
    assertIn: Any
    patch: Any

    async def setUp(self) -> None:
        await super().setUp()
        await self.database.change([Statement("DELETE FROM sealing_keys", {})])
        await self.record("env:OLD")
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
        await self.record("env:NEW", "env:OLD")
        self.seal.use(NEW, OLD)
        self.rewrapping = Rewrapping(self.database, self.seal, reactor, 0)  # type: ignore[arg-type]

    async def record(self, *places: str) -> list[bytes]:
        """What the start of a daemon does with these keys."""
        return await find_keys(self.database, places, ENVIRON, NOW_MS)

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
        [mail] = await store.mails.page(None, 10)
        self.assertEqual(mail.letter, self.letter)

    def store_with(self, *sealing_keys: bytes) -> Store:
        seal = Seal()
        seal.use(*sealing_keys)
        return Store(self.database, seal)

    async def test_the_newest_key_alone_then_opens_everything(self) -> None:
        self.assertEqual(await self.rewrapping.run(), Rewrapped(5, (OLD_ID,)))
        await self.is_all_there(self.store_with(NEW))

    async def test_dead_letters_are_sealed_anew_too(self) -> None:
        [mail] = await self.store.mails.claim(NOW_MS, NOW_MS + 1, 1)
        await self.store.mails.bury(mail, NOW_MS, "550 no such user", 1)
        await self.rewrapping.run()
        mails = self.store_with(NEW).mails
        self.assertEqual(await mails.retry(None, NOW_MS), 1)
        [mail] = await mails.claim(NOW_MS, NOW_MS + 1, 1)
        self.assertEqual(mail.letter, self.letter)

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
        self.assertEqual(await self.rewrapping.run(), Rewrapped(5, (OLD_ID,)))
        self.assertEqual(await self.rewrapping.run(), Rewrapped(0, ()))
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
        else:
            raise AssertionError("it was not cut off")
        self.assertEqual((await self.rewrapping.run()).rows, 3)
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
        await self.rewrapping.run()
        self.assertEqual(await self.record("env:NEW"), [NEW])
        self.assertEqual(await self.record("env:THIRD", "env:NEW"), [THIRD, NEW])

    async def test_a_daemon_that_still_seals_with_the_old_key_stops_writing_and_loses_nothing(self) -> None:
        behind = self.store_with(OLD, NEW)
        meant = [an_account("meanwhile@example.com"), an_account("afterwards@example.com")]
        await behind.change(behind.accounts.add(meant[0], "address is free"))
        await self.rewrapping.run()
        call = behind.change(behind.accounts.add(meant[1], "address is free"))
        await self.assertFailure(Deferred.fromCoroutine(call), DatabaseUnavailable)
        await self.is_all_there(behind)
        alone = self.store_with(NEW)
        await self.is_all_there(alone)
        self.assertEqual([await alone.accounts.by_uid(one.uid) for one in meant], [meant[0], None])

    async def test_a_change_that_found_its_key_before_it_was_struck_off_is_sealed_anew(self) -> None:
        clock, late = WatchedClock(), an_account("late@example.com")
        run = Deferred.fromCoroutine(Rewrapping(self.database, self.seal, clock, 6).run())
        await clock.is_waited_for
        self.assertEqual(len(await self.rows("sealing_keys")), 1, "the old key is struck off already")
        await self.database.change([self.store_with(OLD).accounts.add(late, "address is free")])
        clock.advance(5)
        self.assertEqual(len(clock.getDelayedCalls()), 1, "it still waits")
        clock.advance(1)
        self.assertEqual(await run, Rewrapped(6, (OLD_ID,)))
        self.assertEqual(await self.store_with(NEW).accounts.by_uid(late.uid), late)

    async def test_a_run_cut_off_after_the_old_key_was_struck_off_is_made_good_by_the_next(self) -> None:
        await self.database.change([Statement("DELETE FROM sealing_keys WHERE key_id = :old", {"old": OLD_ID})])
        self.assertEqual(await self.rewrapping.run(), Rewrapped(5, ()))
        await self.is_all_there(self.store_with(NEW))

    async def test_only_the_newest_key_may_take_over(self) -> None:
        self.seal.use(OLD, NEW)
        before = await self.rows("accounts"), await self.rows("sealing_keys")
        error = await self.assertFailure(Deferred.fromCoroutine(self.rewrapping.run()), UnusableDatabase)
        self.assertEqual(error.setting, "sealingKeys")
        self.assertIn(f"the newest key of this database is {key_id(NEW).hex()}", str(error))
        self.assertEqual((await self.rows("accounts"), await self.rows("sealing_keys")), before)

    async def test_a_key_that_is_recorded_meanwhile_is_not_struck_off(self) -> None:
        change = self.database.change

        async def beside(statements: list[Statement]) -> Any:
            self.patch(self.database, "change", change)
            await self.record("env:THIRD", "env:NEW", "env:OLD")
            return await change(statements)

        self.patch(self.database, "change", beside)
        await self.rewrapping.run()
        recorded = [row["key_id"] for row in await self.rows("sealing_keys")]
        self.assertEqual(recorded, [key_id(NEW).hex(), key_id(THIRD).hex()])

    async def test_a_run_whose_own_key_another_run_has_struck_off_seals_nothing_more(self) -> None:
        change, before = self.database.change, await self.rows("accounts")

        async def overtaken(statements: list[Statement]) -> Any:
            self.patch(self.database, "change", change)
            await change([Statement("DELETE FROM sealing_keys", {})])
            return await change(statements)

        self.patch(self.database, "change", overtaken)
        await self.assertFailure(Deferred.fromCoroutine(self.rewrapping.run()), DatabaseUnavailable)
        self.assertEqual(await self.rows("accounts"), before)

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


class PostgresTests(OnPostgres, RewrappingContract, TestCase):
    pass
