"""The embedded database: SQLite in WAL mode, one file, no server.

Changes and scans run on one thread of their own, since a commit waits for the disk. A point read runs on the reactor
itself over a read-only connection: it takes some 20 microseconds, far less than a hop to a thread and back
(bench/README.md has the figures), and in WAL mode it never waits for a writer.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from fxa_auth.clock import time_ms
from fxa_auth.store.database import DatabaseUnavailable, DemandFailed, Row, Statement
from fxa_auth.store.schema import VERSION_TABLE, pending_upgrades, require_current

_log = Logger()
_T = TypeVar("_T")

BUSY_TIMEOUT_S = 5.0
"""How long work waits for its turn, and for another process that writes to the same file, both together."""


class SqliteDatabase:
    """A ``Database`` in the file ``path``, or in memory when that is None."""

    def __init__(self, reactor: IReactorFromThreads, clock: IReactorTime, path: Path | None) -> None:
        self._reactor = reactor
        self._clock = clock
        self._path = path
        self._pool = ThreadPool(minthreads=1, maxthreads=1, name="sqlite")
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

    @property
    def pending(self) -> int:
        """How many changes and scans wait for the thread or run on it."""
        return len(self._pool.working) + self._pool._queue.qsize()

    async def start(self, upgrade: bool = True) -> None:
        """Open the file, making it (0600) if need be, and bring its schema up to date.

        Without ``upgrade`` it is only opened, and has to be there with the schema that this program knows.

        :raises DatabaseUnavailable: it cannot be opened
        :raises UnusableDatabase: a newer version of this program has used it, or there is something to upgrade
        """
        self._pool.start()
        try:
            self._writer = await self._on_thread(lambda: self._open(upgrade))
        except sqlite3.Error as error:
            raise DatabaseUnavailable(f"cannot open {self._path} ({error}): {_mend(error)}") from error
        except OSError as error:
            raise DatabaseUnavailable(f"cannot open {self._path} ({error.strerror}): {_mend(error)}") from error
        if self._path is not None:
            self._reader = _connect(f"{self._path.absolute().as_uri()}?mode=ro", timeout_s=0)

    async def stop(self) -> None:
        """Wait for the changes under way, then close."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
        if self._writer is not None:
            writer, self._writer = self._writer, None
            await self._on_thread(writer.close)
        if self._pool.started:
            self._pool.stop()

    async def point(self, sql: str, params: Mapping[str, Any]) -> Sequence[Row]:
        if self._reader is not None:
            try:
                return self._reader.execute(sql, params).fetchall()
            except sqlite3.Error:  # a schema that changed, say; a lasting fault comes up again in the query
                _log.debug("store.point_read_deferred")
        return await self.query(sql, params)

    async def query(self, sql: str, params: Mapping[str, Any]) -> Sequence[Row]:
        return await self._with_writer(lambda writer: writer.execute(sql, params).fetchall())

    async def change(self, statements: Sequence[Statement]) -> list[Sequence[Row]]:
        return await self._with_writer(lambda writer: _in_transaction(writer, statements))

    async def _with_writer(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        writer = self._writer
        if writer is None:
            raise DatabaseUnavailable("the database is not open")
        deadline_s = self._clock.seconds() + BUSY_TIMEOUT_S
        try:
            return await self._on_thread(lambda: self._in_time(deadline_s, writer, work))
        except sqlite3.Error as error:
            _log.error("store.failed", reason=str(error))
            raise DatabaseUnavailable(str(error)) from error

    def _in_time(self, deadline_s: float, writer: sqlite3.Connection, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do the work unless its turn came too late; for another process it waits no longer than until then."""
        left_s = min(deadline_s - self._clock.seconds(), BUSY_TIMEOUT_S)
        if left_s <= 0:
            raise DatabaseUnavailable("the database is busy")
        writer.execute(f"PRAGMA busy_timeout = {int(left_s * 1000)}")
        return work(writer)

    async def _on_thread(self, work: Callable[[], _T]) -> _T:
        return await deferToThreadPool(self._reactor, self._pool, work)

    def _open(self, upgrade: bool) -> sqlite3.Connection:
        if self._path is None:
            connection = _connect("file::memory:", BUSY_TIMEOUT_S)
        else:
            if upgrade:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
            connection = _connect(f"{self._path.absolute().as_uri()}?mode=rw", BUSY_TIMEOUT_S)
        try:
            if not upgrade:
                require_current(_version(connection))  # ahead of the first write
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            if upgrade:
                _upgrade(connection, time_ms(self._clock))
        except BaseException:
            connection.close()
            raise
        return connection


def _mend(error: Exception) -> str:
    """What an operator does about a database that cannot be opened."""
    if isinstance(error, IsADirectoryError):
        return "name a file, not a folder"
    code = getattr(error, "sqlite_errorcode", 0)
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return "the file was replaced while starting: start again"
    code &= 0xFF  # the rest says more than is needed here
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return "restore a backup, or name another file"
    if code == sqlite3.SQLITE_BUSY:
        return "end what uses it"
    return "create or mend its folder, or name another file"


def _connect(uri: str, timeout_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None, check_same_thread=False)
    connection.row_factory = sqlite3.Row
    return connection


def _in_transaction(connection: sqlite3.Connection, statements: Sequence[Statement]) -> list[Sequence[Row]]:
    results: list[Sequence[Row]] = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for statement in statements:
            cursor = connection.execute(statement.sql, statement.params)
            rows = cursor.fetchall()
            if statement.demand is not None and not rows and cursor.rowcount < 1:
                raise DemandFailed(statement.demand)
            results.append(rows)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


def _version(connection: sqlite3.Connection) -> int:
    """The schema that was applied, 0 for none."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_versions'").fetchall():
        return 0
    (version,) = connection.execute("SELECT coalesce(max(version), 0) FROM schema_versions").fetchone()
    return int(version)


def _upgrade(connection: sqlite3.Connection, now_ms: int) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(VERSION_TABLE)
        for upgrade in pending_upgrades(_version(connection)):
            for sql in upgrade.statements:
                connection.execute(sql)
            connection.execute("INSERT INTO schema_versions VALUES (?, ?)", (upgrade.version, now_ms))
            _log.info("store.upgraded", version=upgrade.version)
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
