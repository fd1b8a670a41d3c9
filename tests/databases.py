"""Whole databases for tests: filled as the store fills them, and looked at without any code of ours."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.config import Database
from fxa_auth.records import Letter, MailKind, TokenKind
from fxa_auth.store import Store
from fxa_auth.store.bulk import filling_sqlite, tables
from fxa_auth.store.database import Statement
from fxa_auth.store.seal import Seal
from tests.store.contract import an_account, an_invite, keys

ROOT = Path(__file__).resolve().parent.parent
KEY_ID = "00112233aabbccdd"
NOW_MS = 1_700_000_000_123

_SERVE = """
import os
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from fxa_auth.store.database import Statement
from fxa_auth.store.sqlite import SqliteDatabase

async def serve():
    database = SqliteDatabase(reactor, reactor, Path(sys.argv[1]))
    await database.start()
    sql = "INSERT INTO events (id, kind, uid, created_at_ms, payload) VALUES (:id, 'x', :id, 1, 'written by a daemon')"
    await database.change([Statement(sql, {"id": bytes(16)})])
    print("serving", flush=True)

def leave_with_the_test():
    sys.stdin.read()
    os._exit(1)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(serve()))
reactor.callInThread(leave_with_the_test)
reactor.run()
"""
"""A daemon's use of a file, without the daemon: it is open, and the last change is still in the log."""

Rows = list[tuple[Any, ...]]


def sqlite(path: Path) -> Database:
    return Database(url=f"sqlite:///{path}")


def make_sqlite(path: Path, accounts: int = 3) -> Database:
    """A file at the present schema with some accounts and all that belongs to them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    with filling_sqlite(path) as bulk:
        bulk.upgrade(NOW_MS)
        bulk.commit()
    write(path, *_statements(accounts))
    return sqlite(path)


def write(path: Path, *statements: Statement) -> None:
    """Carry out the steps in one transaction, as another process would."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement.sql, statement.params)


def new_account(email: str) -> Statement:
    return _store().accounts.add(an_account(email), "address is free")


def _store() -> Store:
    seal = Seal()
    seal.use(bytes(32))
    return Store(None, seal)  # type: ignore[arg-type]


def _statements(accounts: int) -> Iterator[Statement]:
    store = _store()
    yield Statement("INSERT INTO sealing_keys VALUES (1, :key_id, :now_ms)", {"key_id": KEY_ID, "now_ms": NOW_MS})
    # Names that come in another order where a language has a say in it.
    for name in ("b", "B", "a", "Ä", "_", "ß", "1"):
        params = {"name": name, "id": os.urandom(16)}
        yield Statement("INSERT INTO leases VALUES (:name, :id, 9223372036854775807)", params)
        yield Statement("INSERT INTO limit_addresses VALUES (:name, 0, 9223372036854775807)", params)
        yield Statement("INSERT INTO limit_events VALUES (:name, 'net/64', :id, 'logins', 1, NULL, 2)", params)
        yield Statement("INSERT INTO limit_events VALUES ('', :name, :id, 'mails', 1, 2, 3)", params)
        yield Statement("INSERT INTO bans VALUES (:name, 'ñandú 😀', 1, 9223372036854775807)", params)
    yield Statement("INSERT INTO event_cursors VALUES ('sequencer', 7, :now_ms)", {"now_ms": NOW_MS})
    for number in range(accounts):
        is_locked = {"locked_at_ms": NOW_MS, "unlock_code": os.urandom(16)} if number % 2 else {}
        language = None if number % 3 else "de, ñandú;q=0.5 😀"
        account = an_account(f"User{number}@example.com", email_verified=not number % 2, locale=language, **is_locked)
        yield store.accounts.add(account, "address is free")
        yield store.tokens.add(keys(TokenKind.SESSION), account, NOW_MS, "there")
        yield store.tokens.add(keys(TokenKind.KEY_FETCH), account, NOW_MS, "there", key_bundle=os.urandom(96))
        yield store.tokens.add_single(keys(TokenKind.PASSWORD_FORGOT), account.uid, 0, "there", os.urandom(16), 3)
        yield store.mails.queue(Letter(MailKind.VERIFY, account.uid, account.email, os.urandom(16)), NOW_MS)
        yield store.suppressions.add(account.uid, "bounce: ñ 😀", -NOW_MS, NOW_MS, NOW_MS + number)
        if number % 2:
            died = "UPDATE mails SET dead_at_ms = :now_ms, last_answer = '550 ñ 😀' WHERE uid = :uid"
            yield Statement(died, {"now_ms": NOW_MS, "uid": account.uid})
        yield from store.events.verified(account.uid, account.email, account.locale, -NOW_MS)
        invite = an_invite(normalized_email=None if number % 2 else account.normalized_email)
        yield store.invites.add(invite, os.urandom(32) if number % 2 else None)
        yield from store.invites.use(invite.id, account.uid, 1, NOW_MS, "use is left")


def contents(database: Database) -> dict[str, Rows]:
    """All rows of all tables, sorted by Python. In Python, 1 is True and bytes equal their memoryview."""
    connect = psycopg2.connect if database.is_postgres else sqlite3.connect
    with closing(connect(database.url if database.is_postgres else database.path)) as connection:
        cursor = connection.cursor()
        found = {}
        for table in tables():
            cursor.execute(f"SELECT {table.column_list} FROM {table.name}")
            rows = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in cursor.fetchall()]
            found[table.name] = sorted(rows, key=repr if table.name == "leases" else None)
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def start(case: SynchronousTestCase, script: str, *arguments: object) -> subprocess.Popen[str]:
    """A Python process that is gone when the test is; the answer comes once it has printed a line."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    process = subprocess.Popen(
        command, env=environ, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    case.addCleanup(kill, process)
    assert process.stdout is not None and process.stderr is not None
    if not process.stdout.readline():
        case.fail(process.stderr.read())
    return process


def start_serving(case: SynchronousTestCase, path: Path) -> subprocess.Popen[str]:
    return start(case, _SERVE, path)


def kill(process: subprocess.Popen[str]) -> None:
    """kill -9, and wait for the end."""
    process.kill()
    process.communicate()
