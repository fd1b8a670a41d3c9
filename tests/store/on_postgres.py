"""What the tests of the PostgreSQL adapter stand on: adapters that end with the test, and locks that block them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import psycopg2
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from fxa_auth.store import postgres
from fxa_auth.store.database import DatabaseUnavailable, Statement
from fxa_auth.store.postgres import PostgresDatabase
from tests.postgres import TIMEOUT_S, administer, database_url

_T = TypeVar("_T")


class OnPostgres:
    """Gives a contract a database of its own on the shared server."""

    addCleanup: Any

    async def make_database(self) -> PostgresDatabase:
        self.url = database_url(self)  # type: ignore[arg-type]
        return await opened(self, self.url)  # type: ignore[arg-type]


def adapter(
    case: TestCase,
    url: str,
    pool_size: int = 4,
    statement_timeout_s: float = TIMEOUT_S,
    lock_timeout_s: float = TIMEOUT_S,
    connect_timeout_s: float = TIMEOUT_S,
) -> PostgresDatabase:
    """An adapter that is stopped when the test ends; it waits long unless the test is about waiting."""
    case.patch(postgres, "GRACE_S", 0.1)
    database = PostgresDatabase(reactor, url, pool_size, statement_timeout_s, lock_timeout_s, connect_timeout_s)
    case.addCleanup(lambda: Deferred.fromCoroutine(database.stop()))
    return database


async def opened(case: TestCase, url: str, **options: Any) -> PostgresDatabase:
    database = adapter(case, url, **options)
    await database.start()
    return database


def begun(call: Coroutine[Any, Any, _T]) -> Deferred[_T]:
    """The call, under way."""
    return Deferred.fromCoroutine(call)


async def until(condition: Callable[[], Any]) -> None:
    """Let the reactor run until the condition holds; trial ends what never does."""
    while not condition():
        await deferLater(reactor, 0.01)  # type: ignore[arg-type]


async def unavailable(case: TestCase, call: Deferred[Any] | Coroutine[Any, Any, Any]) -> str:
    """Why the call fails, as fail it must, with DatabaseUnavailable."""
    running = call if isinstance(call, Deferred) else begun(call)
    return str(await case.assertFailure(running, DatabaseUnavailable))


class Gate:
    """A lock that a blocking connection of its own holds; a change with the step ``passing`` waits at it."""

    passing = Statement("SELECT pg_advisory_xact_lock(7)", {})

    def __init__(self, case: TestCase, url: str, lock: int = 7) -> None:
        self._url = url
        self._connection = psycopg2.connect(url)
        case.addCleanup(self._connection.close)
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", (lock,))

    def open(self) -> None:
        self._connection.rollback()

    async def waiting(self, count: int = 1) -> None:
        """Return when so many wait for a lock in this database."""
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        await until(lambda: administer(self._url, sql)[0][0] == count)
