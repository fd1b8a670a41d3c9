"""What the store's tests stand on: a contract is written once and run on every database.

A test module writes its contract as a mixin over ``DatabaseContract`` and adds one class for each database, such as
``class SqliteFileTests(OnSqliteFile, MailContract, TestCase)``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults

from fxa_auth.records import Account, Invite, Letter, MailKind, TokenKind, Verifier
from fxa_auth.store import Store
from fxa_auth.store.database import DemandFailed
from fxa_auth.store.seal import Seal
from fxa_auth.store.sealingkeys import find_keys
from fxa_auth.store.sqlite import SqliteDatabase
from fxa_auth.tokens import TokenKeys, derive


class DatabaseContract:
    """An open, empty database, and a store over it. The three asserting methods come from trial's TestCase."""

    assertEqual: Any
    assertFailure: Any
    addCleanup: Any
    mktemp: Any

    async def make_database(self) -> Any:
        """A new database, started, and stopped at the test's end."""
        raise NotImplementedError

    async def setUp(self) -> None:
        self.database = await self.make_database()
        self.seal = Seal()
        self.seal.use(*await find_keys(self.database, (), {}, 0))
        self.store = Store(self.database, self.seal)

    async def add(self, account: Account) -> Account:
        await self.store.change(self.store.accounts.add(account, "address is free"))
        return account

    async def assertDemandFails(self, demand: str, call: Coroutine[Any, Any, Any]) -> None:
        error = await self.assertFailure(Deferred.fromCoroutine(call), DemandFailed)
        self.assertEqual(error.demand, demand)

    async def rows(self, table: str) -> list[dict[str, Any]]:
        """All rows of a table as the database holds them."""
        return [dict(row) for row in await self.database.query(f"SELECT * FROM {table}", {})]


class OnSqliteFile:
    """Gives a contract an SQLite file."""

    mktemp: Any
    addCleanup: Any

    async def make_database(self) -> SqliteDatabase:
        self.path = self.scratch() / "data" / "auth.sqlite"
        return await self.open(self.path)

    def scratch(self) -> Path:
        """A place for files of this test's own; nothing is there yet."""
        return Path(self.mktemp()).absolute()

    async def open(self, path: Path | None, clock: Any = reactor) -> SqliteDatabase:
        database = SqliteDatabase(reactor, clock, path)  # type: ignore[arg-type]
        self.addCleanup(lambda: Deferred.fromCoroutine(database.stop()))
        await database.start()
        return database


class OnSqliteMemory(OnSqliteFile):
    """Gives a contract an SQLite database in memory."""

    async def make_database(self) -> SqliteDatabase:
        return await self.open(None)


async def outcomes(calls: list[Coroutine[Any, Any, Any]]) -> Counter[str]:
    """Run all at once, and count how they end: ``done``, or the text of the exception."""
    results = await DeferredList([Deferred.fromCoroutine(call) for call in calls], consumeErrors=True)
    return Counter("done" if success else str(result.value) for success, result in results)


async def all_of(calls: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """Run all at once; the answers in order."""
    return await gatherResults([Deferred.fromCoroutine(call) for call in calls])


def an_account(email: str = "Me@example.com", **other: Any) -> Account:
    """An account with random secrets; ``other`` are fields that are to differ."""
    fields: dict[str, Any] = {
        "uid": os.urandom(16),
        "email": email,
        "normalized_email": email.lower(),
        "email_code": os.urandom(16),
        "email_verified": False,
        "ka": os.urandom(32),
        "verifier": a_verifier(),
        "verifier_set_at_ms": 1_700_000_000_123,
        "created_at_ms": 1_700_000_000_123,
        "locale": None,
        "locked_at_ms": None,
        "unlock_code": None,
    }
    return Account(**{**fields, **other})


def an_invite(**other: Any) -> Invite:
    """An invite for one account of Me@example.com, or by code where ``normalized_email`` is to be None."""
    fields: dict[str, Any] = {
        "id": os.urandom(8),
        "normalized_email": "me@example.com",
        "uses": 1,
        "uses_left": 1,
        "created_at_ms": 1_700_000_000_123,
        "expires_at_ms": None,
    }
    return Invite(**{**fields, **other})


def a_verifier() -> Verifier:
    return Verifier(1, os.urandom(32), os.urandom(32), os.urandom(32))


def keys(kind: TokenKind) -> TokenKeys:
    return derive(kind, os.urandom(32))


def a_letter(account: Account, kind: MailKind = MailKind.VERIFY) -> Letter:
    return Letter(kind, account.uid, account.email, account.email_code)
