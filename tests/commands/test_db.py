"""``fxa-auth db`` as an operator types it: what it says, how it ends, and that it leaves alone what it only reads."""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from fxa_auth.commands.db import _Progress
from fxa_auth.config import Database
from fxa_auth.store import schema
from fxa_auth.store.database import Statement
from fxa_auth.store.schema import Upgrade
from fxa_auth.store.seal import SEALED_TABLES, key_id
from fxa_auth.store.sealingkeys import mend_of_missing
from tests.databases import ROOT, contents, kill, make_sqlite, names, sqlite, start_serving, write
from tests.postgres import database_url
from tests.test_cli import Operator

KEY, OTHER_KEY = bytes(32), bytes(range(32))
"""The first seals what the database holds."""

KNOWN = schema.upgrades()
NEXT = Upgrade(len(KNOWN) + 1, ("CREATE TABLE added (a BIGINT PRIMARY KEY)",))


class DbOperator(Operator):
    """Has a filled SQLite database as the settings' own, sealed with a key that is at hand."""

    def setUp(self) -> None:
        path, inherited = os.environ["PATH"], dict(os.environ)
        super().setUp()
        self.inherited = inherited
        self.folder = self.folder.absolute()
        self.path = self.folder / "auth.sqlite"
        self.key = self.folder / "sealing.key"
        self.key.write_text(KEY.hex())
        self.database = make_sqlite(self.path)
        self.seal_with(key_id(KEY).hex())
        self.environ.update(PATH=path, DATABASE_URL=self.database.url)
        self.config = self.write("a.toml", f'sealingKeys = ["{self.key}"]')

    def seal_with(self, *ids: str) -> None:
        add = "INSERT INTO sealing_keys VALUES (:position, :key_id, 1)"
        rows = [{"position": number, "key_id": id_} for number, id_ in enumerate(ids)]
        write(self.path, Statement("DELETE FROM sealing_keys", {}), *(Statement(add, row) for row in rows))

    def db(self, *argv: object) -> tuple[int, str, str]:
        return self.run_command("db", *map(str, argv))

    def configured(self, action: str, *argv: object) -> tuple[int, str, str]:
        return self.db(action, *argv, "--config", self.config)

    def in_a_process(self, *argv: object) -> tuple[int, str, str]:
        """For a command that needs a reactor of its own."""
        script = "import sys; from fxa_auth.cli import main; sys.exit(main(sys.argv[1:]))"
        environ = {**self.inherited, **self.environ, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", script, "db", *map(str, argv)]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, cwd=self.folder, timeout=60)
        return done.returncode, done.stdout, done.stderr

    def assertComplains(self, needle: str, outcome: tuple[int, str, str]) -> None:
        """One line, exit code 1, no traceback and no password."""
        code, _, err = outcome
        self.assertEqual((code, len(err.splitlines())), (1, 1), err)
        self.assertIn(needle, err)
        self.assertTrue(err.startswith("fxa-auth: "), err)
        self.assertNotIn("geheim", err)


class StatusTests(DbOperator):
    def test_a_good_database(self) -> None:
        code, out, err = self.configured("status")
        self.assertEqual((code, err), (0, ""))
        for line in (
            f"database: {self.database.url} (environment DATABASE_URL)",
            f"schema: {len(KNOWN)} applied, {len(KNOWN)} known to this program",
            f"sealing key: {key_id(KEY).hex()} is in {self.key}",
            "accounts: 3 rows",
            "tokens: 9 rows",
            "sealing_keys: 1 row",
        ):
            self.assertIn(line, out.splitlines())

    def test_a_database_on_a_server(self) -> None:
        server = Database(url=database_url(self))
        self.environ["DATABASE_URL"] = server.url
        code, out, err = self.configured("status")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("schema: 0 applied", out)
        self.assertEqual(self.db("copy", self.database.url, server.url)[0], 0)
        code, out, err = self.configured("status")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("accounts: 3 rows", out)

    def test_nothing_is_made_or_changed(self) -> None:
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
        before = names(self.folder), self.path.read_bytes(), self.path.stat().st_mtime_ns
        self.configured("status")
        self.configured("upgrade", "--dry-run")
        self.assertEqual((names(self.folder), self.path.read_bytes(), self.path.stat().st_mtime_ns), before)
        for url in (sqlite(self.folder / "none" / "none.sqlite").url, "sqlite://"):
            self.environ["DATABASE_URL"] = url
            code, out, _ = self.configured("status")
            self.assertEqual(code, 0)
            self.assertIn("nothing yet", out)
        self.assertEqual(names(self.folder), before[0])

    def test_what_a_crashed_daemon_left_in_its_log_counts(self) -> None:
        kill(start_serving(self, self.path))
        self.assertIn("events: 4 rows", self.configured("status")[1])

    def test_a_pending_schema_is_told(self) -> None:
        self.patch(schema, "upgrades", lambda: (*KNOWN, NEXT))
        code, out, _ = self.configured("status")
        self.assertEqual(code, 0, "a daemon would apply it")
        self.assertIn(f"schema: {NEXT.version} pending", out)
        self.assertNotIn("added", out)

    def test_what_a_daemon_could_not_start_on_is_code_1(self) -> None:
        other = self.folder / "other.key"
        other.write_text(OTHER_KEY.hex())
        first, second = key_id(KEY).hex(), key_id(OTHER_KEY).hex()
        self.seal_with(first, second)
        code, out, _ = self.configured("status")
        self.assertEqual(code, 1)
        mend = mend_of_missing(str(self.key), is_first_recorded=True)
        self.assertIn(f"sealing key: {second} is missing: {mend}\n", out)
        self.config = self.write("b.toml", f'sealingKeys = ["{other}", "env:THE_KEY"]')
        self.environ["THE_KEY"] = KEY.hex()
        code, out, _ = self.configured("status")
        self.assertEqual(code, 0)
        self.assertIn(f"sealing key: {first} is in env:THE_KEY", out)
        other.write_text("no key")
        self.assertComplains(f"({self.config}): {other} is not a sealing key", self.configured("status"))
        other.unlink()
        self.assertComplains("is missing", self.configured("status"))
        self.config = self.write("c.toml", f'sealingKeys = ["{self.write("foreign.key", "ab" * 32)}"]')
        self.assertIn("foreign.key, or name it first in sealingKeys", self.configured("status")[1])
        write(self.path, Statement("INSERT INTO schema_versions VALUES (999, 1)", {}))
        self.assertComplains("run the newer version", self.configured("status"))

    def test_a_key_that_seals_values_but_is_not_recorded_is_code_1(self) -> None:
        """A rewrap that was cut off after it had struck the old key off leaves this."""
        old, new = key_id(KEY).hex(), key_id(OTHER_KEY).hex()
        self.seal_with(new)
        self.environ["NEW"] = OTHER_KEY.hex()
        server = Database(url=database_url(self))
        self.assertEqual(self.db("copy", self.database.url, server.url)[0], 0)
        mend = mend_of_missing("env:NEW", is_first_recorded=True)
        for url in (self.database.url, server.url):
            self.environ["DATABASE_URL"] = url
            for places, where in ((f'"env:NEW", "{self.key}"', f"it is in {self.key}"), ('"env:NEW"', mend)):
                self.config = self.write("b.toml", f"sealingKeys = [{places}]")
                code, out, err = self.configured("status")
                self.assertEqual((code, err), (1, ""))
                self.assertIn(f"sealing key: {new} is in env:NEW\n", out)
                told = (
                    f"sealing key: {old} seals some values but is not recorded: {where}; then run fxa-auth db rewrap\n"
                )
                self.assertIn(told, out)

    def test_every_sealed_column_is_looked_at(self) -> None:
        new = key_id(OTHER_KEY)
        self.seal_with(new.hex())
        self.key.write_text(OTHER_KEY.hex())
        columns = [(table.name, column) for table in SEALED_TABLES for column in table.columns]
        for table, column in columns:
            self.assertEqual(self.configured("status")[0], 1, f"all but those before {table}.{column} is old")
            sql = f"UPDATE {table} SET {column} = :new WHERE {column} IS NOT NULL"
            write(self.path, Statement(sql, {"new": b"\1" + new + bytes(30)}))
        self.assertEqual(self.configured("status")[0], 0)

    def test_a_new_databases_key_need_not_be_there_yet(self) -> None:
        self.seal_with()
        write(self.path, *(Statement(f"DELETE FROM {table.name}", {}) for table in SEALED_TABLES))
        self.key.unlink()
        code, out, err = self.configured("status")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("sealing key: none yet", out)
        self.key.write_text("no key")
        self.assertComplains("is not a sealing key", self.configured("status"))

    def test_what_cannot_be_reached_is_told_without_the_password(self) -> None:
        for url in (
            "postgresql://me:geheim@127.0.0.1:1/x",
            "postgresql://me:geheim@127.0.0.1:1/x?password=geheim",
            "postgresql://me:ge@geheim@127.0.0.1:1/x",
            sqlite(self.write_text("text")).url,
        ):
            self.environ["DATABASE_URL"] = url
            outcome = self.configured("status")
            self.assertComplains("", outcome)
            self.assertNotIn("geheim", outcome[1])

    def test_bad_settings_are_told(self) -> None:
        self.environ["PORT"] = "x"
        for argv in (("status",), ("upgrade",), ("backup", "x"), ("restore", "x")):
            self.assertComplains("listen.port", self.configured(*argv))

    def write_text(self, name: str) -> Path:
        return Path(self.write(name, "Dear diary, " * 100))


class UpgradeTests(DbOperator):
    def test_a_new_database_is_given_the_schema(self) -> None:
        new = sqlite(self.folder / "new.sqlite")
        for database in (new, Database(url=database_url(self))):
            self.environ["DATABASE_URL"] = database.url
            code, out, err = self.in_a_process("upgrade", "--dry-run")
            self.assertEqual((code, err), (0, ""))
            self.assertIn("would be given schema 1", out)
            self.assertFalse((self.folder / "new.sqlite").exists() and database is new)
            code, out, err = self.in_a_process("upgrade")
            self.assertEqual((code, err), (0, ""))
            self.assertIn("was given schema 1", out)
            self.assertTrue(all(rows == [] for rows in contents(database).values()), "no key is recorded, for one")
            code, out, err = self.in_a_process("upgrade")
            self.assertEqual((code, err), (0, ""))
            self.assertIn("nothing is pending", out)

    def test_only_what_is_pending_is_named(self) -> None:
        self.patch(schema, "upgrades", lambda: (*KNOWN, NEXT))
        _, out, _ = self.configured("upgrade", "--dry-run")
        self.assertIn(f"would be given schema {NEXT.version}\n", out)

    def test_a_newer_database_is_refused(self) -> None:
        write(self.path, Statement("INSERT INTO schema_versions VALUES (999, 1)", {}))
        before = self.path.read_bytes()
        for argv in (("upgrade", "--dry-run"), ("upgrade",)):
            self.assertComplains("run the newer version", self.configured(*argv))
        self.assertEqual(self.path.read_bytes(), before)

    def test_what_fails_is_one_line(self) -> None:
        write(self.folder / "foreign.sqlite", Statement("CREATE TABLE accounts (a)", {}))
        for url, needle in (
            (sqlite(self.folder / "foreign.sqlite").url, "already exists"),
            ("postgresql://me:geheim@127.0.0.1:1/x", "refused"),
            ("sqlite://", "memory"),
        ):
            self.environ["DATABASE_URL"] = url
            self.assertComplains(needle, self.in_a_process("upgrade"))


class CopyTests(DbOperator):
    def test_the_outcome_is_told(self) -> None:
        target = self.folder / "copy.sqlite"
        code, out, err = self.db("copy", self.database.url, sqlite(target).url)
        self.assertEqual((code, err), (0, ""), "and no progress where there is no terminal")
        self.assertRegex(out, r"(?m)^accounts: 3 rows, SHA-256 [0-9a-f]{64}$")
        self.assertIn(key_id(KEY).hex(), out)
        self.assertIn("The keys are not in it", out)
        self.assertEqual(contents(sqlite(target)), contents(self.database))

    def test_the_settings_do_not_matter(self) -> None:
        self.environ["PORT"] = "x"
        self.assertEqual(self.db("copy", self.database.url, sqlite(self.folder / "copy.sqlite").url)[0], 0)

    def test_passwords_are_masked(self) -> None:
        server = database_url(self).replace("postgresql:///", "postgresql://postgres:geheim@/")
        for source, target in ((self.database.url, server), (server, sqlite(self.folder / "copy.sqlite").url)):
            code, out, err = self.db("copy", source, target)
            self.assertEqual((code, err), (0, ""))
            self.assertIn("postgresql://***@/", out)
            self.assertNotIn("geheim", out)
        self.assertComplains("TO_URL is not empty", self.db("copy", self.database.url, server))

    def test_a_bad_url_is_told_and_not_repeated(self) -> None:
        for argv in (
            ("mysql://me:geheim@h/x", self.database.url),
            (self.database.url, "geheim"),
            (self.database.url, ""),
        ):
            self.assertComplains("_URL must be sqlite:///relative", self.db("copy", *argv))
        self.assertComplains("%40", self.db("copy", self.database.url, "postgresql://a:geheim%zz@h/d"))

    def test_a_folder_that_cannot_be_written_is_told(self) -> None:
        (self.folder / "file").touch()
        target = sqlite(self.folder / "file" / "copy.sqlite").url
        self.assertComplains("file", self.db("copy", self.database.url, target))

    def test_progress_stays_on_one_line_of_a_terminal(self) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        for stream, expected in (
            (Terminal(), "\raccounts: 1,000 of 2,500\x1b[K\r\x1b[K"),
            (io.StringIO(), ""),
        ):
            with _Progress(stream) as progress:
                progress("accounts", 1000, 2500)
            self.assertEqual(stream.getvalue(), expected)


class BackupTests(DbOperator):
    def test_there_and_back_while_a_daemon_serves(self) -> None:
        daemon = start_serving(self, self.path)
        before = contents(self.database)
        file = self.folder / "backup"
        code, out, err = self.configured("backup", file)
        self.assertEqual((code, err), (0, ""))
        size = f"{file.stat().st_size:,} bytes"
        self.assertIn(f"{file}: {size}, 3 accounts, schema {len(KNOWN)}, read back and sound\n", out)
        self.assertIn(f"only with sealing key {key_id(KEY).hex()}.\nThe keys are not in it", out)
        self.assertComplains("is in use: stop the daemon first", self.configured("restore", file))
        kill(daemon)
        write(self.path, Statement("DELETE FROM mails", {}))
        code, out, err = self.configured("restore", file)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(contents(self.database), before)
        [aside] = [name for name in names(self.folder) if ".replaced-" in name]
        self.assertIn(f"what it held before is now {self.path.with_name(aside)}", out)
        self.assertEqual(contents(sqlite(self.folder / aside))["mails"], [])

    def test_what_cannot_be_done_is_told(self) -> None:
        file = self.folder / "backup"
        self.assertComplains("cannot write in", self.configured("backup", self.folder / "none" / "backup"))
        self.assertComplains("there is no such file", self.configured("restore", file))
        self.assertEqual(self.configured("backup", file)[0], 0)
        self.assertComplains("is there already", self.configured("backup", file))
        self.environ["DATABASE_URL"] = "postgresql://me:geheim@h/x"
        self.assertComplains("pg_dump", self.configured("backup", self.folder / "other"))
        self.assertComplains("pg_restore", self.configured("restore", file))
        self.environ["DATABASE_URL"] = sqlite(self.folder / "none.sqlite").url
        self.assertComplains("there is no such file", self.configured("backup", self.folder / "other"))

    def test_a_backup_without_a_key_says_so(self) -> None:
        self.seal_with()
        code, out, _ = self.configured("backup", self.folder / "backup")
        self.assertEqual(code, 0)
        self.assertIn("It has no sealing key yet.", out)
