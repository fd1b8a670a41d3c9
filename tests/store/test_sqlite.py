"""The port of the store on every database, and what is SQLite's own: files, modes, pragmas, two daemons on one file."""

from __future__ import annotations

import base64
import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from fxa_auth.records import TokenKind
from fxa_auth.store import Store
from fxa_auth.store import sqlite as sqlite_module
from fxa_auth.store.database import DatabaseUnavailable, Statement
from fxa_auth.store.sqlite import SqliteDatabase
from tests.store.contract import (
    DatabaseContract,
    OnSqliteFile,
    OnSqliteMemory,
    a_letter,
    all_of,
    an_account,
    keys,
    outcomes,
)

NOW_MS = 1_700_000_100_000
SQL = "INSERT INTO events (id, kind, uid, created_at_ms, payload) VALUES (:id, 'x', :uid, :number, 'é\U0001f98a')"
DELETED = {"id": b"a", "created_at_ms": 2**53}
WRONG = Statement("INSERT INTO nowhere VALUES (1)", {})


def insert(name: str, number: int = 0, demand: str | None = None) -> Statement:
    return Statement(SQL, {"id": name.encode(), "uid": name.encode(), "number": number}, demand)


def delete(name: str, demand: str | None = None) -> Statement:
    return Statement("DELETE FROM events WHERE id = :id RETURNING id, created_at_ms", {"id": name.encode()}, demand)


class PortContract(DatabaseContract):
    """What ``Database`` promises, on a table without secrets."""

    assertNotIn: Any

    async def names(self) -> list[str]:
        return sorted(row["id"].decode() for row in await self.rows("events"))

    async def test_a_change_runs_its_steps_in_order_and_answers_each(self) -> None:
        results = await self.database.change([insert("a", 2**53), insert("b"), delete("a"), delete("a"), insert("a")])
        answers = [[tuple(dict(row).values()) for row in rows] for rows in results]
        self.assertEqual(answers, [[], [], [(b"a", 2**53)], [], []])
        self.assertEqual(await self.names(), ["a", "b"])

    async def test_both_ways_of_reading_give_rows_by_name(self) -> None:
        await self.database.change([insert("a", 7)])
        for read in (self.database.point, self.database.query):
            [row] = await read("SELECT id, kind, uid, created_at_ms, payload FROM events WHERE id = :id", {"id": b"a"})
            expected = {"id": b"a", "kind": "x", "uid": b"a", "created_at_ms": 7, "payload": "é\U0001f98a"}
            self.assertEqual(dict(row), expected)
            self.assertEqual(list(await read("SELECT * FROM events WHERE id = :id", {"id": b"b"})), [])

    async def test_a_point_read_sees_every_change_that_was_acknowledged(self) -> None:
        for number in range(50):
            await self.database.change([insert(str(number))])
            found = await self.database.point("SELECT 1 FROM events WHERE id = :id", {"id": str(number).encode()})
            self.assertEqual(len(found), 1)

    async def test_a_failed_demand_undoes_the_whole_change_wherever_it_stands(self) -> None:
        await self.database.change([insert("kept")])
        for change in (
            [delete("gone", "it is there"), insert("a"), delete("kept")],
            [insert("a"), delete("gone", "it is there"), delete("kept")],
            [insert("a"), delete("kept"), delete("gone", "it is there")],
            [insert("a"), delete("kept", "no fault"), delete("gone", "it is there"), delete("gone", "too late")],
        ):
            await self.assertDemandFails("it is there", self.database.change(change))
            self.assertEqual(await self.names(), ["kept"])

    async def test_every_kind_of_statement_can_meet_a_demand(self) -> None:
        update = "UPDATE events SET kind = 'y' WHERE id = :id"
        for sql, name, meets in (
            ("SELECT id FROM events WHERE id = :id", "a", True),
            ("SELECT id FROM events WHERE id = :id", "b", False),
            (update, "a", True),
            (update, "b", False),
            (update + " RETURNING id", "a", True),
            (update + " RETURNING id", "b", False),
            ("DELETE FROM events WHERE id = :id", "b", False),
            ("DELETE FROM events WHERE id = :id", "a", True),
            ("INSERT INTO leases SELECT kind, :id, 0 FROM events WHERE id = 'zz'", "c", False),
        ):
            await self.database.change([delete("a"), insert("a")])
            call = self.database.change([Statement(sql, {"id": name.encode()}, "a row")])
            self.assertEqual(await outcomes([call]), {"done" if meets else "a row": 1}, (sql, name))

    async def test_an_error_undoes_the_change_and_leaves_the_database_usable(self) -> None:
        for change in ([insert("a"), WRONG], [insert("a"), insert("a")]):
            await self.assertFailure(Deferred.fromCoroutine(self.database.change(change)), DatabaseUnavailable)
            self.assertEqual(await self.names(), [])
        for read in (self.database.point, self.database.query):
            await self.assertFailure(Deferred.fromCoroutine(read("SELECT * FROM nowhere", {})), DatabaseUnavailable)
        await self.database.change([insert("a")])
        self.assertEqual(await self.names(), ["a"])

    async def test_of_twenty_changes_that_consume_one_row_one_succeeds(self) -> None:
        await self.database.change([insert("once")])
        calls = [self.database.change([delete("once", "it is there"), insert(f"by {n}")]) for n in range(20)]
        self.assertEqual(await outcomes(calls), {"done": 1, "it is there": 19})
        self.assertEqual(len(await self.names()), 1, "the nineteen left nothing behind")

    async def test_a_caller_that_gives_up_does_not_stop_a_change_halfway(self) -> None:
        calls = [Deferred.fromCoroutine(self.database.change([insert(f"a{n}"), insert(f"b{n}")])) for n in range(10)]
        for call in calls:
            call.cancel()
            await self.assertFailure(call, CancelledError)
        await self.database.change([insert("later")])
        names = await self.names()
        self.assertEqual({name[1:] for name in names if name[0] == "a"}, {name[1:] for name in names if name[0] == "b"})
        self.assertEqual(await outcomes([self.database.change([insert("and more")])]), {"done": 1})

    async def test_a_token_or_mail_needs_an_account(self) -> None:
        for table, columns in (
            ("mails", "id, uid, letter, queued_at_ms, due_at_ms, attempts) VALUES (:id, :id, :id, 0, 0, 0"),
            ("tokens", "id_hash, kind, uid, auth_key, created_at_ms) VALUES (:id, 'sessionToken', :id, :id, 0"),
        ):
            step = Statement(f"INSERT INTO {table} ({columns})", {"id": b"x"})
            await self.assertFailure(Deferred.fromCoroutine(self.database.change([step])), DatabaseUnavailable)

    async def test_a_database_that_is_stopped_is_not_available(self) -> None:
        await self.store.ping()
        await self.database.stop()
        for call in (
            self.store.ping(),
            self.database.point("SELECT 1", {}),
            self.database.query("SELECT 1", {}),
            self.database.change([insert("a")]),
        ):
            await self.assertFailure(Deferred.fromCoroutine(call), DatabaseUnavailable)


class SqliteMemoryTests(OnSqliteMemory, PortContract, TestCase):
    """The port in SQLite's memory."""

    async def test_every_database_in_memory_is_its_own(self) -> None:
        other = await self.open(None)
        await self.database.change([insert("a")])
        self.assertEqual(await other.query("SELECT * FROM events", {}), [])


class SqliteFileTests(OnSqliteFile, PortContract, TestCase):
    """The port in an SQLite file, and the file."""

    def files(self) -> dict[str, int]:
        """The mode of each file of the database."""
        return {path.name: path.stat().st_mode & 0o7777 for path in self.path.parent.iterdir()}

    async def test_its_files_are_private_whatever_the_umask(self) -> None:
        self.addCleanup(os.umask, os.umask(0))
        self.path = self.scratch() / "data" / "auth.sqlite"
        database = await self.open(self.path)
        await database.change([insert("a")])
        names = ("auth.sqlite", "auth.sqlite-shm", "auth.sqlite-wal")
        self.assertEqual(self.files(), dict.fromkeys(names, 0o600))
        self.assertEqual(self.path.parent.stat().st_mode & 0o7777, 0o700)

    async def test_a_commit_is_on_the_disk_and_foreign_keys_hold(self) -> None:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)):
            [row] = await self.database.query(f"PRAGMA {pragma}", {})
            self.assertEqual(row[pragma], value, pragma)

    async def test_a_row_outlives_the_daemon(self) -> None:
        await self.database.change([insert("a")])
        await self.database.stop()
        self.database = await self.open(self.path)
        self.assertEqual(await self.names(), ["a"])
        self.assertEqual(sorted(self.files())[0], "auth.sqlite")

    async def test_stopping_waits_for_the_changes_under_way(self) -> None:
        calls = [Deferred.fromCoroutine(self.database.change([insert(str(n))])) for n in range(20)]
        await self.database.stop()
        for call in calls:
            self.assertEqual(await call, [[]])

    async def test_two_daemons_see_each_others_changes(self) -> None:
        other = await self.open(self.path)
        await self.database.change([insert("a")])
        self.assertEqual(len(await other.point("SELECT * FROM events", {})), 1)
        await other.change([delete("a", "it is there")])
        self.assertEqual(list(await self.database.point("SELECT * FROM events", {})), [])

    async def test_two_daemons_consume_a_row_once(self) -> None:
        other = await self.open(self.path)
        for round_ in range(5):
            await self.database.change([insert("once")])
            both = (self.database, other)
            calls = [both[n % 2].change([delete("once", "it is there")]) for n in range(20)]
            self.assertEqual(await outcomes(calls), {"done": 1, "it is there": 19}, round_)

    async def test_while_another_process_writes_reads_go_on_and_changes_wait_only_so_long(self) -> None:
        await self.database.change([insert("before")])
        writer = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(writer.close)
        writer.execute("BEGIN IMMEDIATE")
        impatience = self.patch(sqlite_module, "BUSY_TIMEOUT_S", 0.05)
        await self.assertFailure(Deferred.fromCoroutine(self.database.change([insert("a")])), DatabaseUnavailable)
        impatience.restore()
        self.assertEqual(len(await self.database.point("SELECT * FROM events", {})), 1)
        self.assertEqual(len(await self.database.query("SELECT * FROM events", {})), 1)
        writer.execute("ROLLBACK")
        await self.database.change([insert("a")])

    async def test_what_waited_too_long_for_its_turn_fails_without_touching_the_file(self) -> None:
        """Many changes behind another process's lock fail together, and a sign of life behind them is not held up."""
        clock, all_queued = Clock(), threading.Event()
        database = await self.open(self.path, clock)
        run = sqlite_module._in_transaction

        def slow(*arguments: Any) -> Any:
            all_queued.wait()
            clock.advance(sqlite_module.BUSY_TIMEOUT_S)
            return run(*arguments)

        self.patch(sqlite_module, "_in_transaction", slow)
        first = Deferred.fromCoroutine(database.change([insert("first")]))
        behind = [Deferred.fromCoroutine(database.change([insert(str(number))])) for number in range(20)]
        behind.append(Deferred.fromCoroutine(Store(database, self.seal).ping()))  # type: ignore[arg-type]
        all_queued.set()
        self.assertEqual(await first, [[]])
        for call in behind:
            error = await self.assertFailure(call, DatabaseUnavailable)
            self.assertEqual(str(error), "the database is busy")
        self.assertEqual(await self.names(), ["first"])
        await database.change([insert("later")])

    async def test_of_the_time_for_another_process_the_wait_for_its_turn_is_taken_off(self) -> None:
        clock, all_queued = Clock(), threading.Event()
        database = await self.open(self.path, clock)
        run, waits_ms = sqlite_module._in_transaction, []

        def slow(writer: sqlite3.Connection, *arguments: Any) -> Any:
            all_queued.wait()
            waits_ms.append(writer.execute("PRAGMA busy_timeout").fetchone()[0])
            clock.advance(2)
            return run(writer, *arguments)

        self.patch(sqlite_module, "_in_transaction", slow)
        calls = [Deferred.fromCoroutine(database.change([insert(name)])) for name in "abc"]
        all_queued.set()
        for call in calls:
            await call
        self.assertEqual(waits_ms, [5000, 3000, 1000])

    async def test_a_change_waits_for_another_process_to_finish(self) -> None:
        writer = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self.addCleanup(writer.close)
        writer.execute("BEGIN IMMEDIATE")
        change = Deferred.fromCoroutine(self.database.change([insert("a")]))
        reactor.callLater(0.05, writer.execute, "COMMIT")  # type: ignore[attr-defined]
        self.assertEqual(await change, [[]])

    async def test_changes_run_off_the_reactors_thread(self) -> None:
        threads: set[int] = set()
        run = sqlite_module._in_transaction
        spy = lambda *arguments: threads.add(threading.get_ident()) or run(*arguments)  # noqa: E731
        self.patch(sqlite_module, "_in_transaction", spy)
        await all_of([self.database.change([insert(str(number))]) for number in range(5)])
        self.assertEqual(len(threads), 1)
        self.assertNotIn(threading.get_ident(), threads)

    async def test_a_place_that_cannot_be_opened_is_named(self) -> None:
        folder = self.scratch()
        folder.mkdir()
        text, nothing = folder / "text", folder / "text" / "auth.sqlite"
        text.write_text("this is no database, but it is long enough to look like one" * 20)
        for path, mend in (
            (folder, "name a file, not a folder"),
            (text, "restore a backup, or name another file"),
            (nothing, "create or mend its folder, or name another file"),
            (Path("/proc/nope/auth.sqlite"), "create or mend its folder, or name another file"),
        ):
            error = await self.assertFailure(Deferred.fromCoroutine(self.open(path)), DatabaseUnavailable)
            self.assertIn(str(path), str(error))
            self.assertTrue(str(error).endswith(f": {mend}"), error)
            self.assertEqual(len(str(error).splitlines()), 1)

    async def test_a_file_that_is_replaced_while_it_is_opened_is_to_be_opened_again(self) -> None:
        connect, path = sqlite_module._connect, self.path.with_name("new.sqlite")
        restored = self.path.with_name("restored")
        for made in (path, restored):
            with closing(sqlite3.connect(made)) as connection:
                connection.execute("PRAGMA user_version = 1")  # so that it is not empty, and not in WAL mode

        def outrun(uri: str, timeout_s: float) -> sqlite3.Connection:
            connection = connect(uri, timeout_s)
            os.replace(restored, path)
            return connection

        self.patch(sqlite_module, "_connect", outrun)
        error = await self.assertFailure(Deferred.fromCoroutine(self.open(path)), DatabaseUnavailable)
        self.assertTrue(str(error).endswith(": the file was replaced while starting: start again"), error)

    async def test_a_file_that_another_process_holds_when_it_is_opened_is_named(self) -> None:
        writer = sqlite3.connect(self.path, isolation_level=None)
        self.addCleanup(writer.close)
        writer.execute("BEGIN IMMEDIATE")
        self.patch(sqlite_module, "BUSY_TIMEOUT_S", 0.05)
        error = await self.assertFailure(Deferred.fromCoroutine(self.open(self.path)), DatabaseUnavailable)
        self.assertEqual(str(error), f"cannot open {self.path} (database is locked): end what uses it")

    async def test_a_file_that_is_damaged_under_way_is_not_available(self) -> None:
        await self.database.change([insert("a")])
        await self.database.stop()
        self.database = await self.open(self.path)
        self.path.write_bytes(b"\xff" * self.path.stat().st_size)
        for read in (self.database.point, self.database.query):
            call = Deferred.fromCoroutine(read("SELECT * FROM events WHERE id = :id", {"id": b"a"}))
            await self.assertFailure(call, DatabaseUnavailable)

    async def test_no_secret_stands_in_the_files_in_any_spelling(self) -> None:
        account = await self.add(an_account(locked_at_ms=NOW_MS, unlock_code=os.urandom(16)))
        tokens = [keys(kind) for kind in TokenKind]
        code, bundle = os.urandom(16), os.urandom(96)
        for token in tokens:
            if token.kind is TokenKind.PASSWORD_FORGOT:
                step = self.store.tokens.add_single(token, account.uid, NOW_MS, "account", code, 3)
            else:
                is_key_fetch = token.kind is TokenKind.KEY_FETCH
                step = self.store.tokens.add(token, account, NOW_MS, "password", bundle if is_key_fetch else None)
            await self.store.change(step)
        await self.store.change(self.store.mails.queue(a_letter(account), NOW_MS))
        verifier = account.verifier
        secrets = [account.ka, account.email_code, account.unlock_code, verifier.verify_hash, verifier.wrap_wrap_kb]
        secrets += [
            code,
            bundle,
            *(s for token in tokens for s in (token.data, token.id, token.auth_key, token.bundle_key)),
        ]
        for when in ("in the log of writes", "in the database itself"):
            contents = b"".join(path.read_bytes() for path in self.path.parent.iterdir())
            self.assertIn(account.uid, contents, "what is not secret is found, so the search works")
            for secret in secrets:
                for spelling in spellings(secret):
                    self.assertNotIn(spelling, contents, when)
            await self.database.query("PRAGMA wal_checkpoint(TRUNCATE)", {})


def spellings(secret: bytes | None) -> list[bytes]:
    """Raw, hex and base64, the latter at each of the three offsets it could stand at."""
    assert secret is not None
    hex_ = secret.hex().encode()
    shifted = [base64.b64encode(secret[offset:])[:-4] for offset in range(3)]
    url_safe = [text.replace(b"+", b"-").replace(b"/", b"_") for text in shifted]
    return [secret, hex_, hex_.upper(), *shifted, *url_safe]


class UnopenedTests(TestCase):
    """Before it is started."""

    async def test_a_database_that_is_not_open_yet_is_not_available(self) -> None:
        database = SqliteDatabase(reactor, reactor, None)  # type: ignore[arg-type]
        for call in (database.point("SELECT 1", {}), database.query("SELECT 1", {}), database.change([])):
            await self.assertFailure(Deferred.fromCoroutine(call), DatabaseUnavailable)
