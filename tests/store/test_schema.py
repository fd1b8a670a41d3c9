"""The numbered schema files: applied once, in order, all or nothing, and never backwards."""

from __future__ import annotations

import re

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth.store import schema
from fxa_auth.store.database import DatabaseUnavailable, UnusableDatabase
from fxa_auth.store.schema import Upgrade, upgrades
from tests.store.contract import OnSqliteFile

KNOWN = upgrades()
LAST = KNOWN[-1].version
ADDED = Upgrade(LAST + 1, ("CREATE TABLE added (a TEXT)", "INSERT INTO added VALUES ('x')"))
FAILING = Upgrade(LAST + 1, ("CREATE TABLE added (a TEXT)", "INSERT INTO nowhere VALUES ('x')"))


class FileTests(SynchronousTestCase):
    """What the files say."""

    def test_they_are_numbered_from_one_without_a_gap(self) -> None:
        self.assertEqual([upgrade.version for upgrade in KNOWN], list(range(1, LAST + 1)))
        self.assertTrue(all(upgrade.statements for upgrade in KNOWN))

    def test_statements_are_whole(self) -> None:
        for upgrade in KNOWN:
            for sql in upgrade.statements:
                self.assertTrue(re.match("CREATE (TABLE|INDEX|UNIQUE INDEX) |ALTER TABLE |DROP INDEX ", sql), sql)
                self.assertEqual(sql.count("("), sql.count(")"), sql)
                self.assertNotIn("--", sql)

    def test_they_use_only_what_both_databases_take(self) -> None:
        for upgrade in KNOWN:
            for sql in upgrade.statements:
                found = re.search(r"\b(INTEGER|\w*SERIAL|AUTOINCREMENT|IDENTITY|STRICT|BLOB|VARCHAR|lower)\b", sql)
                self.assertIsNone(found, sql)


class UpgradeTests(OnSqliteFile, TestCase):
    """On an SQLite file that was made by another version of the program."""

    async def setUp(self) -> None:
        self.database = await self.make_database()

    async def reopen(self, known: tuple[Upgrade, ...]) -> None:
        """As a program that knows these schema files."""
        await self.database.stop()
        self.patch(schema, "upgrades", lambda: known)
        self.database = await self.open(self.path)

    async def versions(self) -> list[int]:
        rows = await self.database.query("SELECT version FROM schema_versions ORDER BY version", {})
        return [row["version"] for row in rows]

    async def added(self) -> list[str]:
        return [row["a"] for row in await self.database.query("SELECT a FROM added", {})]

    async def test_a_new_database_has_every_version(self) -> None:
        self.assertEqual(await self.versions(), list(range(1, LAST + 1)))

    async def test_opening_it_again_changes_nothing(self) -> None:
        await self.reopen(KNOWN)
        self.assertEqual(await self.versions(), list(range(1, LAST + 1)))

    async def test_only_what_is_missing_is_applied_and_only_once(self) -> None:
        for _ in range(2):
            await self.reopen((*KNOWN, ADDED))
            self.assertEqual(await self.versions(), list(range(1, LAST + 2)))
            self.assertEqual(await self.added(), ["x"])

    async def test_a_file_that_fails_leaves_the_database_as_it_was(self) -> None:
        await self.assertFailure(Deferred.fromCoroutine(self.reopen((*KNOWN, FAILING))), DatabaseUnavailable)
        await self.reopen(KNOWN)
        self.assertEqual(await self.versions(), list(range(1, LAST + 1)))
        await self.reopen((*KNOWN, ADDED))
        self.assertEqual(await self.added(), ["x"])

    async def test_a_database_newer_than_the_program_is_refused_in_one_line_and_not_touched(self) -> None:
        await self.reopen((*KNOWN, ADDED))
        error = await self.assertFailure(Deferred.fromCoroutine(self.reopen(KNOWN)), UnusableDatabase)
        self.assertEqual(len(str(error).splitlines()), 1)
        self.assertIn(f"schema {LAST + 1}", str(error))
        self.assertIn(f"up to {LAST}:", str(error))
        await self.reopen((*KNOWN, ADDED))
        self.assertEqual(await self.added(), ["x"])
