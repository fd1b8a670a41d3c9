"""Copies between databases of both kinds, backups and their restoring: complete or not at all, and kept from harm."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth import onepw, transfer
from fxa_auth.accounts import Accounts, SignIn
from fxa_auth.config import Database, Layer, load
from fxa_auth.customs import NoCustoms
from fxa_auth.passwords import Passwords
from fxa_auth.records import Client, LinkOptions
from fxa_auth.registration import Registration
from fxa_auth.storage import Storage
from fxa_auth.store import bulk, schema, sqlitefile
from fxa_auth.store.bulk import BATCH, SqliteBulk, Table, filling_postgres, reading_postgres
from fxa_auth.store.database import DatabaseUnavailable, Statement, UnusableDatabase
from fxa_auth.store.schema import MIGRATION_LOCK, Upgrade
from tests.catalogue import catalogue
from tests.databases import (
    KEY_ID,
    NOW_MS,
    contents,
    kill,
    make_sqlite,
    names,
    new_account,
    sqlite,
    start,
    start_serving,
    write,
)
from tests.domain import ObedientPreVerification, ObedientStretcher
from tests.postgres import administer, database_url
from tests.store.contract import all_of

ASIDE = ".replaced"
CROWD = 100
"""So many at once: those that come after more than 5 s of work by others are refused."""

_STALL = """
import sys
from pathlib import Path
from fxa_auth import transfer
from fxa_auth.config import Database

def stall(what, done, total):
    if what == sys.argv[1]:
        print(what, flush=True)
        sys.stdin.read()

act, first, second = sys.argv[2:]
if act == "copy":
    transfer.copy(Database(url=first), Database(url=second), 1, ".replaced", stall)
elif act == "backup":
    transfer.backup(Database(url=first), Path(second), stall)
else:
    transfer.restore(Database(url=first), Path(second), ".replaced", stall)
"""
"""Begins a transfer and stands still when the work named first has been begun."""


def quietly(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


class Transfers(SynchronousTestCase):
    """A folder, a filled file in it, and what tests do with databases."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "source.sqlite"
        self.source = make_sqlite(self.path)

    def postgres(self) -> Database:
        """An empty database on a server."""
        return Database(url=database_url(self))

    def copy(self, source: Database, target: Database, progress: transfer.Progress = quietly) -> transfer.Copied:
        return transfer.copy(source, target, NOW_MS, ASIDE, progress)

    def assertRefused(self, needle: str, call: Any, *arguments: Any) -> None:
        error = self.assertRaises((UnusableDatabase, DatabaseUnavailable), call, *arguments)
        self.assertIn(needle, str(error))
        self.assertEqual(len(str(error).splitlines()), 1)

    def has_tables(self, database: Database) -> bool:
        return administer(database.url, "SELECT to_regclass('accounts') IS NOT NULL") == [(True,)]


class CopyTests(Transfers):
    def test_every_row_arrives_whatever_the_kinds(self) -> None:
        first, second, third = self.postgres(), self.postgres(), sqlite(self.folder / "new" / "a.sqlite")
        wanted = contents(self.source)
        self.assertTrue(all(wanted.values()), "an empty table shows nothing")
        copies = []
        for source, target in (
            (self.source, first),
            (first, second),
            (second, third),
            (third, sqlite(self.folder / "b.sqlite")),
        ):
            copies.append(self.copy(source, target))
            self.assertEqual(contents(target), wanted, target.shown_url)
        for copied in copies:
            self.assertEqual(copied.sealing_keys, (KEY_ID,))
            self.assertIsNone(copied.replaced)
            for name, digest in copied.digests.items():
                self.assertEqual(digest.rows, len(wanted[name]))
                self.assertEqual(digest.checksum, copies[0].digests[name].checksum, "the same rows on every database")

    def test_a_copied_file_is_whole_and_its_owners_alone(self) -> None:
        self.copy(self.source, sqlite(self.folder / "copy.sqlite"))
        self.assertEqual(names(self.folder), {"source.sqlite", "copy.sqlite"})
        self.assertEqual((self.folder / "copy.sqlite").stat().st_mode & 0o777, 0o600)

    def test_more_rows_than_a_batch(self) -> None:
        accounts = BATCH + BATCH // 2
        many, target = make_sqlite(self.folder / "many.sqlite", accounts), self.postgres()
        seen: list[tuple[str, int, int]] = []
        self.copy(many, target, lambda *progress: seen.append(progress))
        self.assertEqual([(done, total) for what, done, total in seen if what == "accounts"],
                         [(BATCH, accounts), (accounts, accounts)])  # fmt: skip
        self.assertEqual(contents(target), contents(many))

    def test_the_order_of_a_language_does_not_count(self) -> None:
        target = self.postgres()
        with filling_postgres(target.url) as made:
            made.upgrade(NOW_MS)
            made.commit()
        sorting = administer(
            target.url,
            "SELECT collname FROM pg_collation WHERE collencoding IN (-1, pg_char_to_encoding('UTF8'))"
            " AND collname IN ('en-x-icu', 'en_US.utf8', 'en_US')",
        )
        for (name,) in sorting[:1]:
            administer(target.url, f'ALTER TABLE leases ALTER name TYPE TEXT COLLATE "{name}"')
        self.copy(self.source, target)
        with reading_postgres(target.url) as rows:
            [leases] = rows.rows(next(table for table in bulk.tables() if table.name == "leases"))
        self.assertEqual([lease[0] for lease in leases], sorted(lease[0] for lease in leases))

    def test_the_copy_is_of_one_moment(self) -> None:
        on_server = self.postgres()
        self.copy(self.source, on_server)
        wanted = contents(self.source)
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")

        def meddle_in_file(what: str, done: int, total: int) -> None:
            write(self.path, Statement("DELETE FROM tokens", {}), new_account(f"{what}{done}@example.com"))

        def meddle_on_server(what: str, done: int, total: int) -> None:
            administer(on_server.url, "DELETE FROM tokens")

        for source, meddle in ((self.source, meddle_in_file), (on_server, meddle_on_server)):
            for number, target in enumerate((self.postgres(), sqlite(self.folder / f"{source.is_postgres}.sqlite"))):
                self.copy(source, target, meddle if number else quietly)
                self.assertEqual(contents(target), wanted, (source.shown_url, target.shown_url))
            self.assertEqual(contents(source)["tokens"], [], "the source was changed meanwhile")

    def test_a_target_with_the_schema_alone_will_do(self) -> None:
        on_server, in_file = self.postgres(), make_sqlite(self.folder / "empty.sqlite", 0)
        emptying = [Statement(f"DELETE FROM {table.name}", {}) for table in reversed(bulk.tables())]
        write(self.folder / "empty.sqlite", *emptying)
        with filling_postgres(on_server.url) as made:
            made.upgrade(NOW_MS)
            made.commit()
        self.assertIsNone(self.copy(self.source, on_server).replaced)
        self.assertEqual(self.copy(self.source, in_file).replaced, self.folder / f"empty.sqlite{ASIDE}")
        for target in (on_server, in_file):
            self.assertEqual(contents(target), contents(self.source))

    def test_a_target_with_a_single_row_is_refused(self) -> None:
        for table in bulk.tables():
            on_server, in_file = self.postgres(), sqlite(self.folder / f"{table.name}.sqlite")
            for target in (on_server, in_file):
                self.copy(self.source, target)
            emptied = [other.name for other in bulk.tables() if other.name != table.name]
            if table.name in ("tokens", "mails", "suppressions", "invite_uses"):
                emptied.remove("accounts")
            if table.name == "invite_uses":
                emptied.remove("invites")
            for name in reversed(emptied):
                administer(on_server.url, f"DELETE FROM {name}")
                write(self.folder / f"{table.name}.sqlite", Statement(f"DELETE FROM {name}", {}))
            for target in (on_server, in_file):
                before = contents(target)
                self.assertRefused("TO_URL is not empty", self.copy, self.source, target)
                self.assertEqual(contents(target), before)

    def test_what_is_no_database_of_ours_is_refused(self) -> None:
        foreign, text = self.folder / "foreign.sqlite", self.folder / "text"
        write(foreign, Statement("CREATE TABLE cookies (a)", {}))
        text.write_text("Dear diary, this is not a database at all. " * 100)
        new = self.folder / "new.sqlite"
        for path in (foreign, text):
            before = path.read_bytes()
            for source, target in ((sqlite(path), sqlite(new)), (self.source, sqlite(path))):
                self.assertRefused("", self.copy, source, target)
            self.assertEqual(path.read_bytes(), before)
        for missing in (sqlite(self.folder / "none.sqlite"), Database(url="sqlite://")):
            self.assertRefused("", self.copy, missing, sqlite(new))
        self.assertRefused("name a file", self.copy, self.source, Database(url="sqlite://"))
        self.assertEqual(names(self.folder), {"source.sqlite", "foreign.sqlite", "text"})

    def test_both_must_be_of_this_programs_schema(self) -> None:
        on_server, in_file = self.postgres(), make_sqlite(self.folder / "old.sqlite")
        with filling_postgres(on_server.url) as made:
            made.upgrade(NOW_MS)
            made.commit()
        known = schema.upgrades()
        self.patch(schema, "upgrades", lambda: (*known, Upgrade(len(known) + 1, ("CREATE TABLE added (a BIGINT)",))))
        for source, target, needle in (
            (in_file, sqlite(self.folder / "b.sqlite"), "FROM_URL has schema"),
            (in_file, self.postgres(), "fxa-auth db upgrade"),
        ):
            self.assertRefused(needle, self.copy, source, target)
        new = make_sqlite(self.folder / "new.sqlite")
        for target in (on_server, in_file):
            self.assertRefused("TO_URL has schema", self.copy, new, target)
        self.patch(schema, "upgrades", lambda: known)
        self.assertRefused("run the newer version", self.copy, new, sqlite(self.folder / "c.sqlite"))

    def test_what_arrived_otherwise_is_noticed_and_not_kept(self) -> None:
        insert = SqliteBulk.insert

        def lose_one(target: SqliteBulk, table: Table, rows: Sequence[bulk.Values]) -> None:
            insert(target, table, rows[1:] if table.name == "events" else rows)

        def change_one(target: SqliteBulk, table: Table, rows: Sequence[bulk.Values]) -> None:
            insert(target, table, [(*rows[0][:-1], 5), *rows[1:]] if table.name == "events" else rows)

        for fault in (lose_one, change_one):
            self.patch(SqliteBulk, "insert", fault)
            self.assertRefused("events: ", self.copy, self.source, sqlite(self.folder / "a.sqlite"))
            self.assertEqual(names(self.folder), {"source.sqlite"})

    def test_what_the_target_cannot_hold_is_told(self) -> None:
        target = self.postgres()
        write(self.path, Statement("UPDATE accounts SET locale = :locale", {"locale": "a\0b"}))
        self.assertRefused("cannot keep a row of accounts", self.copy, self.source, target)
        write(self.path, Statement("UPDATE accounts SET locale = NULL, uid = CAST(email AS TEXT)", {}))
        self.assertRefused("accounts.uid holds something else than BYTEA", self.copy, self.source, target)
        self.assertFalse(self.has_tables(target))

    def test_no_daemon_can_start_on_the_target_or_write_to_it_meanwhile(self) -> None:
        target, tried = self.postgres(), []
        with filling_postgres(target.url) as made:
            made.upgrade(NOW_MS)
            made.commit()

        def meddle(what: str, done: int, total: int) -> None:
            write_at_once = "SET lock_timeout = 1; INSERT INTO sealing_keys VALUES (9, 'x', 1)"
            self.assertRaises(psycopg2.errors.LockNotAvailable, administer, target.url, write_at_once)
            tried.extend(administer(target.url, f"SELECT pg_try_advisory_lock({MIGRATION_LOCK})"))

        self.copy(self.source, target, meddle)
        self.assertEqual(set(tried), {(False,)})

    def test_a_password_is_in_no_complaint(self) -> None:
        for url in (
            "postgresql://me:geheim@127.0.0.1:1/x",
            "postgresql://me:gehe@geheim@127.0.0.1:1/x",
            "postgresql://me:geheim%zz@127.0.0.1:1/x",
            "postgresql://127.0.0.1:1/x?password=geheim",
        ):
            with self.assertRaises((DatabaseUnavailable, UnusableDatabase)) as caught:
                self.copy(Database(url=url), self.source)
            self.assertNotIn("gehe", str(caught.exception))


class KilledTests(Transfers):
    """kill -9 at the worst moments."""

    def kill_during(self, moment: str, act: str, first: object, second: object) -> None:
        kill(start(self, _STALL, moment, act, first, second))

    def test_a_copy_to_a_server(self) -> None:
        target = self.postgres()
        for moment in ("accounts", "tokens", "verifying tokens"):
            self.kill_during(moment, "copy", self.source.url, target.url)
            self.assertFalse(self.has_tables(target), moment)
        self.copy(self.source, target)
        self.assertEqual(contents(target), contents(self.source))

    def test_a_copy_to_a_file(self) -> None:
        target = self.folder / "target.sqlite"
        for moment in ("accounts", "verifying tokens"):
            self.kill_during(moment, "copy", self.source.url, sqlite(target).url)
            self.assertFalse(target.exists(), moment)
        self.copy(self.source, sqlite(target))
        self.assertEqual(contents(sqlite(target)), contents(self.source))

    def test_a_backup(self) -> None:
        file = self.folder / "backup"
        self.kill_during("pages", "backup", self.source.url, file)
        self.assertFalse(file.exists())
        transfer.backup(self.source, file, quietly)

    def test_a_restore(self) -> None:
        file = self.folder / "backup"
        transfer.backup(self.source, file, quietly)
        write(self.path, new_account("new@example.com"))
        before = contents(self.source)
        self.kill_during("pages", "restore", self.source.url, file)
        self.assertEqual(contents(self.source), before)


class BackupTests(Transfers):
    def setUp(self) -> None:
        super().setUp()
        self.file = self.folder / "backup"

    def backup(self, progress: transfer.Progress = quietly) -> sqlitefile.Content:
        return transfer.backup(self.source, self.file, progress)

    def restore(self) -> tuple[sqlitefile.Content, Path | None]:
        return transfer.restore(self.source, self.file, ASIDE, quietly)

    def assertRestoreRefused(self, needle: str) -> None:
        before = {path.name: path.read_bytes() for path in self.folder.iterdir()}
        self.assertRefused(needle, self.restore)
        self.assertEqual({path.name: path.read_bytes() for path in self.folder.iterdir()}, before)

    def test_it_holds_everything_in_one_file(self) -> None:
        content = self.backup()
        self.assertEqual(contents(sqlite(self.file)), contents(self.source))
        self.assertEqual(names(self.folder), {"source.sqlite", "backup"})
        self.assertEqual(self.file.stat().st_mode & 0o777, 0o600)
        self.assertEqual((content.size, content.accounts, content.version, content.sealing_keys),
                         (self.file.stat().st_size, 3, bulk.known_version(), (KEY_ID,)))  # fmt: skip

    def test_it_is_of_one_moment_while_daemons_write(self) -> None:
        start_serving(self, self.path)
        self.patch(sqlitefile, "PAGES", 4)
        before, steps = contents(self.source), []

        def meddle(what: str, done: int, total: int) -> None:
            steps.append(done)
            self.assertLess(len(steps), 1000, "the copy begins again and again")
            write(self.path, Statement("DELETE FROM tokens", {}), new_account(f"{done}@example.com"))

        self.backup(meddle)
        self.assertGreater(len(steps), 2)
        self.assertEqual(steps, sorted(set(steps)), "no page was copied twice")
        self.assertEqual(contents(sqlite(self.file)), before)
        self.assertIn(b"written by a daemon", self.file.read_bytes())
        self.assertEqual(self.file.read_bytes()[18:20], b"\1\1", "the file wants no log beside it")

    def test_nothing_is_overwritten(self) -> None:
        self.file.write_text("mine")
        self.assertRefused("is there already", self.backup)
        self.assertEqual(self.file.read_text(), "mine")
        self.file.unlink()
        self.assertRefused("is there already", self.backup, lambda *progress: self.file.write_text("in between"))
        self.assertEqual(self.file.read_text(), "in between")
        self.file.unlink()
        self.patch(sqlitefile, "sync", lambda path: self.file.write_text("at the last moment"))
        self.assertRefused("is there already", self.backup)
        self.assertEqual(self.file.read_text(), "at the last moment")
        self.assertEqual(names(self.folder), {"source.sqlite", "backup"})

    def test_a_damaged_database_gives_no_backup(self) -> None:
        damage(self.path)
        self.assertRefused("damaged", self.backup)
        self.assertEqual(names(self.folder), {"source.sqlite"})

    def test_only_a_file_can_be_backed_up(self) -> None:
        for url, needle in (("postgresql://me:geheim@h/x", "pg_dump"), ("sqlite://", "memory")):
            self.assertRefused(needle, transfer.backup, Database(url=url), self.file, quietly)
            self.assertRefused(needle, transfer.restore, Database(url=url), self.file, ASIDE, quietly)

    def test_restoring_brings_back_what_was_and_keeps_what_is(self) -> None:
        self.backup()
        saved = contents(self.source)
        write(self.path, new_account("new@example.com"), Statement("DELETE FROM mails", {}))
        replaced, schema_before = contents(self.source), catalogue(self.source)
        content, aside = self.restore()
        self.assertEqual((content.accounts, aside), (3, self.folder / f"source.sqlite{ASIDE}"))
        self.assertEqual(contents(self.source), saved)
        self.assertEqual(catalogue(self.source), schema_before, "and the digests are in the backup alone")
        self.assertEqual(contents(sqlite(self.folder / f"source.sqlite{ASIDE}")), replaced)
        self.assertEqual(names(self.folder), {"source.sqlite", "backup", f"source.sqlite{ASIDE}"})
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_restoring_where_nothing_is(self) -> None:
        self.backup()
        saved = contents(self.source)
        self.path.unlink()
        (self.folder / "source.sqlite-wal").write_bytes(b"left over")
        self.assertIsNone(self.restore()[1])
        self.assertEqual(contents(self.source), saved)
        self.assertEqual((self.folder / f"source.sqlite{ASIDE}-wal").read_bytes(), b"left over")

    def test_a_crashed_daemons_log_goes_with_the_database_that_it_belongs_to(self) -> None:
        self.backup()
        kill(start_serving(self, self.path))
        self.assertTrue((self.folder / "source.sqlite-wal").stat().st_size)
        self.restore()
        self.assertEqual(names(self.folder), {"source.sqlite", "backup", f"source.sqlite{ASIDE}"})
        self.assertEqual(len(contents(self.source)["events"]), 3)
        self.assertEqual(len(contents(sqlite(self.folder / f"source.sqlite{ASIDE}"))["events"]), 4)

    def test_a_ruined_database_can_be_replaced(self) -> None:
        self.backup()
        saved = contents(self.source)
        self.path.write_bytes(b"ruined" * 1000)
        _, aside = self.restore()
        self.assertEqual(contents(self.source), saved)
        self.assertEqual(aside and aside.read_bytes(), b"ruined" * 1000)

    def test_a_database_in_use_is_not_replaced(self) -> None:
        self.backup()
        daemon = start_serving(self, self.path)
        self.assertRestoreRefused("is in use: stop the daemon first")
        self.path.write_bytes(b"ruined" * 1000)
        self.assertRestoreRefused("is in use: stop the daemon first")
        kill(daemon)
        self.restore()

    def test_a_daemon_that_starts_meanwhile_is_noticed(self) -> None:
        self.backup()
        before = contents(self.source)
        self.assertRefused(
            "is in use", transfer.restore, self.source, self.file, ASIDE, lambda *_: start_serving(self, self.path)
        )
        self.assertEqual(contents(self.source)["accounts"], before["accounts"])
        self.assertFalse((self.folder / f"source.sqlite{ASIDE}").exists())

    def test_what_is_no_sound_backup_is_refused_before_anything_is_touched(self) -> None:
        def newer() -> None:
            write(self.file, Statement("INSERT INTO schema_versions VALUES (999, 1)", {}))

        def without_a_table() -> None:
            write(self.file, Statement("DROP TABLE mails", {}))

        def with_another_column() -> None:
            write(self.file, Statement("ALTER TABLE mails RENAME attempts TO b", {}))

        def orphaned() -> None:
            write(self.file, Statement("DELETE FROM accounts", {}))

        def with_another_index() -> None:
            write(self.file, Statement("CREATE INDEX accounts_locale ON accounts (locale)", {}))

        def with_other_content() -> None:
            write(self.file, Statement("UPDATE accounts SET created_at_ms = created_at_ms + 1", {}))

        def with_another_version_date() -> None:
            write(self.file, Statement("UPDATE schema_versions SET applied_at_ms = 1", {}))

        def without_a_digest() -> None:
            write(self.file, Statement("DELETE FROM backup_digests WHERE name = 'leases'", {}))

        def without_digests() -> None:
            write(self.file, Statement("DROP TABLE backup_digests", {}))

        def foreign() -> None:
            self.file.unlink()
            write(self.file, Statement("CREATE TABLE cookies (a)", {}))

        for spoil, needle in (
            (lambda: damage(self.file), "damaged"),
            (lambda: os.truncate(self.file, self.file.stat().st_size // 2), ""),
            (lambda: os.truncate(self.file, 0), "is no backup"),
            (lambda: self.file.write_text("Dear diary, " * 1000), "not a database"),
            (newer, "run the newer version"),
            (without_a_table, "other tables"),
            (with_another_column, "other tables"),
            (orphaned, "refers to a missing one of accounts"),
            (with_another_index, "accounts_locale"),
            (with_other_content, "other rows in 'accounts'"),
            (with_another_version_date, "other rows in 'schema_versions'"),
            (without_a_digest, "other rows in 'leases'"),
            (without_digests, "only what fxa-auth db backup wrote can be restored"),
            (foreign, "is no backup"),
            (self.file.unlink, "there is no such file"),
        ):
            self.file.unlink(missing_ok=True)
            self.backup()
            spoil()
            self.assertRestoreRefused(needle)

    def test_a_copy_by_other_means_is_no_backup(self) -> None:
        with closing(sqlite3.connect(self.path)) as source, closing(sqlite3.connect(self.file)) as copy:
            source.backup(copy)
        self.assertRestoreRefused("only what fxa-auth db backup wrote can be restored")

    def test_no_flipped_bit_changes_what_is_restored(self) -> None:
        self.backup()
        sound, wanted = self.file.read_bytes(), contents(self.source)
        wanted_schema = catalogue(self.source)
        ka = next(row for row in wanted["accounts"])[5]
        marked = [
            sound.index(mark) + offset
            for mark in (ka, b"User1@example.com", b"CREATE TABLE accounts", b"CREATE UNIQUE INDEX", b"backup_digests")
            for offset in (0, 3, len(mark) - 1)
        ]
        header = [16, 18, 19, 20, 31, 35, 43, 47, 50, 55, 59, 63, 67, 71, 95]
        spread = range(100, len(sound), len(sound) // 40)
        accepted = 0
        for number, position in enumerate((*header, *marked, *spread)):
            spoilt = bytearray(sound)
            spoilt[position] ^= 1 << number % 8
            self.file.write_bytes(spoilt)
            where = f"bit {number % 8} of byte {position}"
            self.path.unlink(missing_ok=True)
            try:
                self.restore()
            except (UnusableDatabase, DatabaseUnavailable) as error:
                self.assertEqual(len(str(error).splitlines()), 1, where)
                self.assertEqual(names(self.folder), {"backup"}, where)
                continue
            accepted += 1
            self.assertEqual(contents(self.source), wanted, where)
            self.assertEqual(catalogue(self.source), wanted_schema, where)
            write(self.path, new_account("new@example.com"))
        self.assertTrue(0 < accepted < 60, accepted)

    def test_the_database_is_no_backup_of_itself(self) -> None:
        self.file.hardlink_to(self.path)
        self.assertRestoreRefused("is the database itself")

    def test_root_leaves_the_file_to_its_owner(self) -> None:
        if os.geteuid() != 0:
            return
        self.backup()
        os.chown(self.path, 12345, 23456)
        self.restore()
        self.assertEqual((self.path.stat().st_uid, self.path.stat().st_gid), (12345, 23456))
        os.chown(self.folder, 54321, 65432)
        self.copy(self.source, sqlite(self.folder / "copy.sqlite"))
        made = (self.folder / "copy.sqlite").stat()
        self.assertEqual((made.st_uid, made.st_gid), (54321, 65432))


class ThousandAccountsTests(TestCase):
    """What accounts are for survives a move to a server and back."""

    async def opened(self, database: Database) -> Storage:
        """A store as a daemon has it."""
        layer = {"sealingKeys": [str(self.folder / "sealing.key")], "database": {"url": database.url}}
        storage = Storage(load([Layer("test", layer)], {}).settings, reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(storage.close()))
        await storage.open()
        storage.unseal()
        return storage

    def accounts(self, storage: Storage) -> Accounts:
        store, customs, clock, vouching = storage.store, NoCustoms(), Clock(), ObedientPreVerification()
        passwords = Passwords(store, customs, ObedientStretcher(), os.urandom, clock, 0, False)
        rules = Registration(store, clock, ["open"], (), 0)
        return Accounts(store, passwords, customs, rules, vouching, os.urandom, clock, "a.example", lambda: None)

    async def keys_of(self, storage: Storage, accounts: Accounts, sign_in: SignIn) -> bytes:
        """kA and wrapKb, opened as a client does."""
        assert sign_in.key_fetch_token is not None
        token = await storage.store.tokens.find(sign_in.key_fetch_token.kind, sign_in.key_fetch_token.id_hash)
        assert token is not None
        bundle = await accounts.fetch_keys(token)
        return onepw.xor(bundle[:64], onepw.hkdf(sign_in.key_fetch_token.bundle_key, "account/keys", 96)[32:])

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    async def test_all_log_in_with_the_same_keys(self) -> None:
        first, second = sqlite(self.folder / "first.sqlite"), Database(url=database_url(self))
        third = sqlite(self.folder / "third.sqlite")
        storage, client = await self.opened(first), Client("192.0.2.1", None, 0)
        accounts = self.accounts(storage)

        async def create(number: int) -> tuple[str, bytes, bytes]:
            email, auth_pw = f"user{number}@example.com", os.urandom(32)
            sign_in = await accounts.create(
                email,
                auth_pw,
                client,
                LinkOptions(),
                pre_verified=True,
                pre_verify_token=None,
                invite_code=None,
                with_keys=True,
            )
            return email, auth_pw, await self.keys_of(storage, accounts, sign_in)

        async def log_in(email: str, auth_pw: bytes, keys: bytes) -> None:
            sign_in = await accounts.login(email, auth_pw, client, with_keys=True)
            self.assertEqual(await self.keys_of(storage, accounts, sign_in), keys, email)

        known = []
        for begin in range(0, 1000, CROWD):
            known += await all_of([create(number) for number in range(begin, begin + CROWD)])
        for source, target in ((first, second), (second, third)):
            self.assertEqual(transfer.copy(source, target, NOW_MS, ASIDE, quietly).digests["accounts"].rows, 1000)
            storage = await self.opened(target)
            accounts = self.accounts(storage)
            for begin in range(0, 1000, CROWD):
                await all_of([log_in(*account) for account in known[begin : begin + CROWD]])


def damage(path: Path) -> None:
    """Overwrite pages in the middle, as a failing disk would; the beginning still looks like a database."""
    size = path.stat().st_size
    with path.open("rb+") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(os.urandom(3 * 4096))
