"""A schema that was upgraded step by step equals a fresh one, on both databases and by whichever way it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.trial.unittest import TestCase

from fxa_auth.config import Database, Layer, load
from fxa_auth.storage import Storage
from fxa_auth.store import bulk, schema
from fxa_auth.store.schema import Upgrade
from tests.catalogue import catalogue
from tests.databases import NOW_MS
from tests.postgres import administer, database_url

KNOWN = schema.upgrades()
ADDED = Upgrade(
    len(KNOWN) + 1,
    (
        "CREATE TABLE added (a BIGINT PRIMARY KEY, uid BYTEA NOT NULL REFERENCES accounts (uid))",
        "ALTER TABLE accounts ADD COLUMN added TEXT",
        "CREATE INDEX added_by_account ON added (uid)",
    ),
)


class UpgradeContract:
    """The same on both databases. The asserting methods come from trial's TestCase."""

    assertEqual: Any
    assertNotEqual: Any
    patch: Any

    def new(self) -> Database:
        """An empty database."""
        raise NotImplementedError

    async def opened(self, database: Database, known: tuple[Upgrade, ...]) -> None:
        """Have a daemon's adapter bring the database up to date, as a program that knows these schema files."""
        self.patch(schema, "upgrades", lambda: known)
        adapter = Storage(load([Layer("test", {"database": {"url": database.url}})], {}).settings, reactor).database
        await adapter.start()
        await adapter.stop()

    async def test_an_upgraded_schema_equals_a_fresh_one(self) -> None:
        for known in (KNOWN, (*KNOWN, ADDED)):
            fresh, stepwise = self.new(), self.new()
            await self.opened(fresh, known)
            for version in range(1, len(known) + 1):
                await self.opened(stepwise, known[:version])
            self.assertEqual(catalogue(stepwise), catalogue(fresh))

    async def test_a_copys_target_is_given_the_schema_that_a_daemon_makes(self) -> None:
        by_daemon, by_copy = self.new(), self.new()
        await self.opened(by_daemon, (*KNOWN, ADDED))
        self.fill(by_copy)
        self.assertEqual(catalogue(by_copy), catalogue(by_daemon))

    async def test_any_difference_shows(self) -> None:
        """The comparison itself can fail."""
        plain = self.new()
        await self.opened(plain, KNOWN)
        for sql in (
            "CREATE TABLE other (a BIGINT)",
            "CREATE INDEX other ON accounts (email)",
            "ALTER TABLE accounts ADD COLUMN other BIGINT",
            "ALTER TABLE accounts ADD COLUMN other TEXT DEFAULT 'x'",
            "ALTER TABLE accounts ADD COLUMN other TEXT CHECK (other <> 'x')",
            "DROP INDEX tokens_by_account",
        ):
            other = self.new()
            await self.opened(other, KNOWN)
            self.execute(other, sql)
            self.assertNotEqual(catalogue(other), catalogue(plain), sql)

    def fill(self, database: Database) -> None:
        """Apply the schema as a copy does."""
        raise NotImplementedError

    def execute(self, database: Database, sql: str) -> None:
        raise NotImplementedError


class SqliteTests(UpgradeContract, TestCase):
    def new(self) -> Database:
        path = Path(self.mktemp()).absolute()
        path.touch()
        return Database(url=f"sqlite:///{path}")

    def fill(self, database: Database) -> None:
        with bulk.filling_sqlite(Path(str(database.path))) as target:
            target.upgrade(NOW_MS)
            target.commit()

    def execute(self, database: Database, sql: str) -> None:
        with bulk.filling_sqlite(Path(str(database.path))) as target:
            target.execute(sql)
            target.commit()


class PostgresTests(UpgradeContract, TestCase):
    def new(self) -> Database:
        return Database(url=database_url(self))

    def fill(self, database: Database) -> None:
        with bulk.filling_postgres(database.url) as target:
            target.upgrade(NOW_MS)
            target.commit()

    def execute(self, database: Database, sql: str) -> None:
        administer(database.url, sql)
