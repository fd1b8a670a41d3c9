"""A store whose sealing key was struck off changes nothing any more, and says so."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from fxa_auth.store import Store
from fxa_auth.store.database import DatabaseUnavailable, Statement
from fxa_auth.store.seal import Seal
from tests.store.contract import DatabaseContract, OnSqliteFile, OnSqliteMemory, an_account
from tests.store.on_postgres import OnPostgres


class StoreContract(DatabaseContract):
    assertIn: Any

    async def test_each_step_finds_its_own_answer(self) -> None:
        account = await self.add(an_account())
        select = Statement("SELECT email FROM accounts WHERE uid = :uid", {"uid": account.uid})
        unlocked, [row] = await self.store.change(self.store.accounts.unlock(account.uid), select)
        self.assertEqual((list(unlocked), row["email"]), ([], account.email))
        self.assertEqual(await self.store.change(), [])

    async def test_what_a_step_demands_is_told_as_before(self) -> None:
        account = await self.add(an_account())
        await self.assertDemandFails("address is free", self.add(account))

    async def test_once_the_key_is_struck_off_nothing_is_changed(self) -> None:
        await self.store.ping()
        await self.database.change([Statement("DELETE FROM sealing_keys", {})])
        with capturedLogs() as events:
            for _ in range(2):
                for call in (self.add(an_account()), self.store.ping()):
                    error = await self.assertFailure(Deferred.fromCoroutine(call), DatabaseUnavailable)
                    self.assertIn("newest key first in sealingKeys", str(error))
        told = [event for event in events if event["log_format"] == "store.sealing_key_struck_off"]
        self.assertEqual([event["key"] for event in told], [self.seal.newest_id], "one line is enough")
        self.assertEqual(await self.rows("accounts"), [])

    async def test_nothing_is_changed_before_the_keys_are_loaded(self) -> None:
        store = Store(self.database, Seal())
        for call in (store.change(Statement("DELETE FROM sealing_keys", {})), store.ping()):
            await self.assertFailure(Deferred.fromCoroutine(call), DatabaseUnavailable)
        self.assertEqual(len(await self.rows("sealing_keys")), 1)


class SqliteFileTests(OnSqliteFile, StoreContract, TestCase):
    pass


class SqliteMemoryTests(OnSqliteMemory, StoreContract, TestCase):
    pass


class PostgresTests(OnPostgres, StoreContract, TestCase):
    pass
