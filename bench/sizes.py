"""Bytes on disk for each account, event, session and keyFetchToken, on both databases: ``python -m bench.sizes``.

Rows are made through the Store, with sealed columns, addresses and locales as real ones are, in the order in which
real ones come: random keys. PostgreSQL is that of the tests: ``FXA_TEST_POSTGRES`` may name another one.
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.internet import task
from twisted.internet.defer import Deferred

from fxa_auth.records import Account, TokenKind, Verifier
from fxa_auth.store import Store
from fxa_auth.store.database import Statement
from fxa_auth.store.postgres import PostgresDatabase
from fxa_auth.store.seal import Seal
from fxa_auth.store.sealingkeys import find_keys
from fxa_auth.store.sqlite import SqliteDatabase
from fxa_auth.tokens import derive
from tests.postgres import administer, create_database, drop_database

BATCH = 500
"""Steps in one transaction."""

NAMES = ("anna", "ben", "carla", "dmitri", "elif", "farid", "grace", "hiroshi", "ines", "jakub", "lucia", "priya")
DOMAINS = ("example.com", "mail.example.org", "post.example.net", "students.example.edu")
LOCALES = ("en-US,en;q=0.5", "de,en-US;q=0.7,en;q=0.3", "fr,fr-FR;q=0.8,en-US;q=0.5,en;q=0.3", "es-ES")

Sizes = dict[str, int]
"""Bytes of each table with its indexes, or of all there is under the name ``all``."""


def an_account(now_ms: int) -> Account:
    email = f"{random.choice(NAMES)}.{random.choice(NAMES)}{random.randrange(10**6)}.{os.urandom(2).hex()}"
    email = f"{email}@{random.choice(DOMAINS)}"
    return Account(
        uid=uuid4().bytes,
        email=email.title() if random.random() < 0.1 else email,
        normalized_email=email,
        email_code=os.urandom(16),
        email_verified=True,
        ka=os.urandom(32),
        verifier=Verifier(1, os.urandom(32), os.urandom(32), os.urandom(32)),
        verifier_set_at_ms=now_ms,
        created_at_ms=now_ms,
        locale=random.choice(LOCALES),
        locked_at_ms=None,
        unlock_code=None,
    )


def stages(store: Store, accounts: Sequence[Account]) -> Iterator[tuple[str, str, Iterator[Statement]]]:
    """What is added one after the other: its name, its table, and a step for each account."""
    now_ms = accounts[0].created_at_ms
    yield "account", "accounts", (store.accounts.add(account, "address is free") for account in accounts)
    events = (store.events.verified(a.uid, a.email, a.locale, now_ms) for a in accounts)
    yield "event", "events", chain.from_iterable(events)
    for kind, key_bundle in ((TokenKind.SESSION, None), (TokenKind.KEY_FETCH, os.urandom(96))):
        mixed = random.sample(accounts, len(accounts))
        steps = (
            store.tokens.add(derive(kind, os.urandom(32)), account, now_ms, "account is there", key_bundle)
            for account in mixed
        )
        yield kind.value, "tokens", steps


async def measure(
    title: str,
    number: int,
    database: Any,
    sizes: Callable[[], Sizes],
    pack: Callable[[], None],
) -> None:
    """Print what each row takes as it came, and after ``pack``, from which the next stage goes on."""
    await database.start()
    seal = Seal()
    seal.use(*await find_keys(database, (), {}, 0))
    store = Store(database, seal)
    now_ms = int(time.time() * 1000)
    accounts = [an_account(now_ms) for _ in range(number)]
    before = sizes()
    print(f"{title}, {number:,} of each: bytes as it grew, and packed")
    for name, table, steps in stages(store, accounts):
        while batch := list(islice(steps, BATCH)):
            await store.change(*batch)
        while await store.event_log.number(BATCH, now_ms):
            pass
        grown = sizes()
        pack()
        packed = sizes()
        key = table if table in grown else "all"
        per_row = [(after[key] - before[key]) / number for after in (grown, packed)]
        print(f"  {name:14} {per_row[0]:6.0f} {per_row[1]:6.0f}", flush=True)
        before = packed
    await database.stop()


async def on_sqlite(reactor: Any, number: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "accounts.sqlite")

        def run(sql: str) -> None:
            with closing(sqlite3.connect(file)) as connection:
                connection.execute(sql).fetchall()

        def sizes() -> Sizes:
            run("PRAGMA wal_checkpoint(TRUNCATE)")
            return {"all": file.stat().st_size}

        def pack() -> None:
            run("VACUUM")

        database = SqliteDatabase(reactor, reactor, file)
        await measure(f"SQLite {sqlite3.sqlite_version}", number, database, sizes, pack)


async def on_postgres(reactor: Any, number: int) -> None:
    url = create_database()
    tables = ("accounts", "events", "tokens")

    def sizes() -> Sizes:
        administer(url, "VACUUM ANALYZE")
        return {name: administer(url, f"SELECT pg_total_relation_size('{name}')")[0][0] for name in tables}

    def pack() -> None:
        administer(url, "VACUUM FULL")

    [[version]] = administer(url, "SHOW server_version")
    try:
        database = PostgresDatabase(reactor, url, pool_size=2, statement_timeout_s=60, lock_timeout_s=60)
        await measure(f"PostgreSQL {version}", number, database, sizes, pack)
    finally:
        drop_database(url)


async def both(reactor: Any, number: int) -> None:
    await on_sqlite(reactor, number)
    await on_postgres(reactor, number)


def main() -> None:
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    task.react(lambda reactor: Deferred.fromCoroutine(both(reactor, number)))


if __name__ == "__main__":
    main()
