"""PostgreSQL by txpostgres: a pool of connections that mends itself.

Nothing here blocks the reactor. A connection that died is dropped and replaced when one is next needed; while the
server does not answer, one caller at a time tries to reach it and all others are refused at once. A call that was
begun runs to its end even if its caller gives up, and a connection goes back into the pool only outside any
transaction.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import psycopg2
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from fxa_auth.clock import time_ms
from fxa_auth.shield import shielded
from fxa_auth.store.database import DatabaseUnavailable, DemandFailed, Row, Statement
from fxa_auth.store.pgconnection import Connection, Lost, Refused, first_line, url_parts
from fxa_auth.store.schema import MIGRATION_LOCK, VERSION_TABLE, pending_upgrades, require_current

_log = Logger()
_T = TypeVar("_T")

CONNECT_TIMEOUT_S = 3.0
GRACE_S = 1.0
"""How long after the server's own time limit a statement counts as lost, and its connection with it."""

_ATTEMPTS = 3
_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED"
"""Whatever the default of the database: each step sees what was committed while it, or one before it, waited."""

_DEFAULTS = {
    "application_name": "fxa-auth",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
}
"""What the URL may say otherwise. A server that lost its power is noticed within a minute, whatever is awaited."""


class PostgresDatabase:
    """A ``Database`` on a PostgreSQL server.

    ``url`` is a libpq URL, with TLS options, a unix socket or several hosts as it may be. At most ``pool_size``
    connections are open at a time. The server ends a statement after ``statement_timeout_s`` and a wait for a lock
    after ``lock_timeout_s``; a call waits for a free connection, and then works, for about as long as the former.
    """

    def __init__(
        self,
        reactor: Any,
        url: str,
        pool_size: int,
        statement_timeout_s: float,
        lock_timeout_s: float,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._reactor = reactor
        self._url = url
        self._pool_size = pool_size
        self._statement_timeout_s = statement_timeout_s
        self._lock_timeout_s = lock_timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._idle: list[Connection] = []
        self._in_use: set[Connection] = set()
        self._opening = 0
        self._waiting: deque[Deferred[None]] = deque()
        self._is_down = False
        self._is_open = False
        self._is_starting = False
        self._parts: dict[str, str] = {}
        self._upgrading: Connection | None = None
        self._drained: Deferred[None] | None = None
        self.pending = 0
        """How many calls run or wait for a connection."""

    async def start(self, upgrade: bool = True) -> None:
        """Reach the server and bring the schema up to date; of several daemons one does it while the others wait.

        Without ``upgrade`` nothing is changed, and the schema has to be the one that this program knows.

        :raises DatabaseUnavailable: the server cannot be reached
        :raises UnusableDatabase: a newer version of this program has used the database, or there is something to
            upgrade, or the URL makes no sense
        """
        self._is_open = self._is_starting = True
        try:
            self._parts = self._connection_parts()
            if upgrade:
                await self._to_its_end(self._with_connection(self._upgrade, None))
            else:
                limit_s = self._statement_timeout_s + GRACE_S
                await self._to_its_end(self._with_connection(_require_current, limit_s))
        except BaseException as error:
            self._is_open = False
            if isinstance(error, Lost | Refused):
                raise DatabaseUnavailable(str(error)) from error
            raise
        finally:
            self._is_starting = False

    def _connection_parts(self) -> dict[str, str]:
        """The URL taken apart, by libpq's names, with all that a connection of ours needs."""
        parts = {**_DEFAULTS, **url_parts(self._url), "client_encoding": "UTF8"}
        limits_s = {
            "statement_timeout": self._statement_timeout_s,
            "lock_timeout": self._lock_timeout_s,
            "idle_in_transaction_session_timeout": self._statement_timeout_s,
        }
        ours = " ".join(f"-c {name}={limit_s * 1000:.0f}" for name, limit_s in limits_s.items())
        parts["options"] = f"{parts.get('options', '')} {ours}".strip()
        return parts

    def interrupt(self) -> None:
        """Let a ``start`` under way fail soon; else it might wait long for another daemon's upgrade."""
        if self._is_starting:
            self._is_open = False
            if self._upgrading is not None:
                self._upgrading.close()

    async def stop(self) -> None:
        """Refuse further calls, wait for those under way, and close all connections."""
        self.interrupt()
        self._is_open = False
        if self.pending:
            self._drained = Deferred()
            await self._drained
        self._close_idle()

    async def point(self, sql: str, params: Mapping[str, Any]) -> Sequence[Row]:
        return await self.query(sql, params)

    async def query(self, sql: str, params: Mapping[str, Any]) -> Sequence[Row]:
        async def read(connection: Connection) -> Sequence[Row]:
            return (await connection.execute(sql, params))[0]

        return await self._call(read)

    async def change(self, statements: Sequence[Statement]) -> list[Sequence[Row]]:
        return await self._call(lambda connection: _in_transaction(connection, statements))

    # A call: some attempts, each on a connection of its own.

    async def _call(self, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        if not self._is_open:
            raise DatabaseUnavailable("the database is not open")
        return await self._to_its_end(self._attempts(work))

    async def _to_its_end(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do the work though its caller may give up, and let ``stop`` wait for it."""
        self.pending += 1
        return await shielded(Deferred.fromCoroutine(work).addBoth(self._note_end))

    def _note_end(self, result: _T) -> _T:
        self.pending -= 1
        if self._drained is not None and not self.pending:
            drained, self._drained = self._drained, None
            drained.callback(None)
        return result

    async def _attempts(self, work: Callable[[Connection], Awaitable[_T]]) -> _T:
        """Do the work, once more if its connection died before anything was kept, and if a deadlock undid it."""
        limit_s = self._statement_timeout_s + GRACE_S
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._with_connection(work, limit_s)
            except Lost as error:
                if not error.undone or attempt > 1:
                    raise _unavailable(error) from error
            except Refused as error:
                if not error.again or attempt == _ATTEMPTS:
                    raise _unavailable(error) from error
        raise AssertionError("every way out of the last attempt is above")

    async def _with_connection(self, work: Callable[[Connection], Awaitable[_T]], limit_s: float | None) -> _T:
        """Do the work on a connection of the pool. After ``limit_s`` the connection is closed, which ends the work."""
        connection = await self._take()
        deadline = None if limit_s is None else self._reactor.callLater(limit_s, connection.close)
        try:
            return await work(connection)
        finally:
            if deadline is not None and deadline.active():
                deadline.cancel()
            self._give_back(connection)

    # The pool.

    async def _take(self) -> Connection:
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_at_rest:
                    self._in_use.add(connection)
                    return connection
                connection.close()
            if len(self._in_use) + self._opening >= self._pool_size:
                await self._turn()
            elif (opened := await self._connect()) is not None:
                return opened
            elif not self._idle:
                await self._turn()

    def _give_back(self, connection: Connection) -> None:
        self._in_use.discard(connection)
        if connection.is_at_rest:
            self._idle.append(connection)
        else:
            connection.close()
            self._close_idle()  # what befell one connection may have befallen all
        if self._waiting:
            self._waiting.popleft().callback(None)

    async def _turn(self) -> None:
        """Wait until a connection comes back, or its place becomes free."""
        turn: Deferred[None] = Deferred()
        self._waiting.append(turn)
        busy = DatabaseUnavailable("all connections are busy")
        limit = self._reactor.callLater(self._statement_timeout_s, turn.errback, busy)
        try:
            await turn
        finally:
            if limit.active():
                limit.cancel()
            elif turn in self._waiting:
                self._waiting.remove(turn)

    def _refuse_waiting(self, reason: str) -> None:
        while self._waiting:
            self._waiting.popleft().errback(DatabaseUnavailable(reason))

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    # A new connection.

    async def _connect(self) -> Connection | None:
        """A new connection, in use; or None if the server wants no more of them, while it serves others of ours."""
        if self._is_down and self._opening:
            raise DatabaseUnavailable("the server does not answer")
        connection = Connection(reactor=self._reactor)
        self._opening += 1
        try:
            await connection.open(self._parts, self._connect_timeout_s)
            self._found_up()
            self._in_use.add(connection)
            return connection
        except (OSError, psycopg2.Error) as error:
            if isinstance(error, psycopg2.Error) and (self._in_use or self._idle):
                _log.warn("store.connection_refused", reason=first_line(error))
                return None
            self._found_down(first_line(error))
            raise DatabaseUnavailable(first_line(error)) from error
        finally:
            self._opening -= 1
            if connection not in self._in_use:
                connection.close()

    def _found_up(self) -> None:
        if self._is_down:
            _log.info("store.reachable")
        self._is_down = False

    def _found_down(self, reason: str) -> None:
        if not self._is_down:
            _log.error("store.unreachable", reason=reason)
        self._is_down = True
        self._refuse_waiting(reason)

    async def _upgrade(self, connection: Connection) -> None:
        """Apply the schema files that the database lacks, under a lock that all daemons know."""
        if not self._is_open:
            raise DatabaseUnavailable("interrupted")
        now_ms = time_ms(self._reactor)
        self._upgrading = connection
        try:
            await connection.execute(_BEGIN, {})
            await connection.execute("SET LOCAL statement_timeout = 0", {})
            await connection.execute("SET LOCAL lock_timeout = 0", {})
            await connection.execute("SELECT pg_advisory_xact_lock(:lock)", {"lock": MIGRATION_LOCK})
            await connection.execute(VERSION_TABLE, {})
            for upgrade in pending_upgrades(await _version(connection)):
                for sql in upgrade.statements:
                    await connection.execute(sql, {})
                sql = "INSERT INTO schema_versions VALUES (:version, :now_ms)"
                await connection.execute(sql, {"version": upgrade.version, "now_ms": now_ms})
                _log.info("store.upgraded", version=upgrade.version)
            await connection.execute("COMMIT", {})
        except Exception:
            await connection.roll_back()
            raise
        finally:
            self._upgrading = None


async def _require_current(connection: Connection) -> None:
    [row], _ = await connection.execute("SELECT to_regclass('schema_versions') IS NOT NULL AS is_there", {})
    require_current(await _version(connection) if row["is_there"] else 0)


async def _version(connection: Connection) -> int:
    sql = "SELECT coalesce(max(version), 0) AS version FROM schema_versions"
    [row], _ = await connection.execute(sql, {})
    return int(row["version"])


async def _in_transaction(connection: Connection, statements: Sequence[Statement]) -> list[Sequence[Row]]:
    results: list[Sequence[Row]] = []
    try:
        await connection.execute(_BEGIN, {})
        for statement in statements:
            rows, touched = await connection.execute(statement.sql, statement.params)
            if statement.demand is not None and touched < 1:
                raise DemandFailed(statement.demand)
            results.append(rows)
    except Exception:
        await connection.roll_back()
        raise
    try:
        await connection.execute("COMMIT", {})
    except Lost as error:
        raise Lost(str(error), undone=False) from error
    return results


def _unavailable(error: Exception) -> DatabaseUnavailable:
    _log.error("store.failed", reason=str(error))
    return DatabaseUnavailable(str(error))
