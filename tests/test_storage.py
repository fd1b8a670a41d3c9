"""The two ways to open what the settings name: a daemon makes what is not there, a command does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from fxa_auth.config import Database, Layer, load
from fxa_auth.storage import Storage
from fxa_auth.store import schema
from fxa_auth.store.database import DatabaseUnavailable, UnusableDatabase
from fxa_auth.store.schema import Upgrade
from tests.catalogue import catalogue
from tests.databases import names
from tests.postgres import administer, database_url

KNOWN = schema.upgrades()
ADDED = Upgrade(len(KNOWN) + 1, ("CREATE TABLE added (a BIGINT PRIMARY KEY)",))


class ExistingContract:
    """The same on both databases. The asserting methods come from trial's TestCase."""

    assertEqual: Any
    assertFailure: Any
    assertIn: Any
    mktemp: Any
    patch: Any

    def new(self) -> Database:
        """An empty database."""
        raise NotImplementedError

    def assertEmpty(self) -> None:
        """Nothing was written to the database or beside it."""
        raise NotImplementedError

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.database = self.new()
        self.key = self.folder / "var" / "sealing.key"

    def storage(self) -> Storage:
        settings = {"database": {"url": self.database.url}, "sealingKeys": [str(self.key)]}
        return Storage(load([Layer("test", settings)], {}).settings, reactor)

    async def made_by_a_daemon(self) -> list[bytes]:
        storage = self.storage()
        await storage.open()
        await storage.close()
        return storage.sealing_keys

    async def refusal(self) -> str:
        storage = self.storage()
        try:
            return str(await self.assertFailure(Deferred.fromCoroutine(storage.open_existing()), UnusableDatabase))
        finally:
            await storage.close()

    async def test_what_a_daemon_made_is_opened(self) -> None:
        made = await self.made_by_a_daemon()
        storage = self.storage()
        await storage.open_existing()
        try:
            storage.unseal()
            self.assertEqual((storage.sealing_keys, await storage.store.accounts.is_any()), (made, False))
        finally:
            await storage.close()

    async def test_an_empty_database_is_refused_and_stays_empty(self) -> None:
        self.assertIn("is empty: name the one that the daemon uses", await self.refusal())
        self.assertEmpty()

    async def test_a_database_that_lacks_an_upgrade_is_refused_and_not_given_it(self) -> None:
        await self.made_by_a_daemon()
        before = catalogue(self.database)
        self.patch(schema, "upgrades", lambda: (*KNOWN, ADDED))
        self.assertIn(f"needs {ADDED.version}: run fxa-auth db upgrade", await self.refusal())
        self.assertEqual(catalogue(self.database), before)

    async def test_a_database_newer_than_this_program_is_refused(self) -> None:
        self.patch(schema, "upgrades", lambda: (*KNOWN, ADDED))
        await self.made_by_a_daemon()
        self.patch(schema, "upgrades", lambda: KNOWN)
        self.assertIn("run the newer version", await self.refusal())

    async def test_a_database_without_a_sealing_key_is_refused_and_none_is_made(self) -> None:
        upgraded = self.storage().database
        await upgraded.start()
        await upgraded.stop()
        self.assertIn("start one first", await self.refusal())
        self.assertEqual(self.key.parent.exists(), False)


class SqliteTests(ExistingContract, TestCase):
    def new(self) -> Database:
        path = self.folder / "accounts.sqlite"
        path.touch()
        return Database(url=f"sqlite:///{path}")

    def assertEmpty(self) -> None:
        self.assertEqual(names(self.folder), {"accounts.sqlite"})
        self.assertEqual((self.folder / "accounts.sqlite").stat().st_size, 0)

    async def test_a_file_that_is_not_there_is_not_made(self) -> None:
        (self.folder / "accounts.sqlite").unlink()
        storage = self.storage()
        await self.assertFailure(Deferred.fromCoroutine(storage.open_existing()), DatabaseUnavailable)
        await storage.close()
        self.assertEqual(names(self.folder), set())


class PostgresTests(ExistingContract, TestCase):
    def new(self) -> Database:
        return Database(url=database_url(self))

    def assertEmpty(self) -> None:
        sql = "SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
        self.assertEqual((administer(self.database.url, sql), names(self.folder)), ([], set()))
