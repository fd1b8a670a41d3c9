"""PostgreSQL by txpostgres: a pool of connections that mends itself.

Nothing here blocks the reactor. A connection that died is dropped and replaced when one is next needed; while the
server does not answer, one caller at a time tries to reach it and all others are refused at once. A call that was
begun runs to its end even if its caller gives up, so that no connection is left inside a transaction.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, TypeVar

import psycopg2
from psycopg2 import errorcodes, extensions
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.error import ConnectionClosed
from twisted.logger import Logger
from txpostgres import txpostgres

from fxa_auth.shield import shielded
from fxa_auth.store.database import DatabaseUnavailable, DemandFailed, Row, Statement
from fxa_auth.store.schema import VERSION_TABLE, pending_upgrades

_log = Logger()
_T = TypeVar("_T")

CONNECT_TIMEOUT_S = 3.0
GRACE_S = 1.0
"""How long after the server's own time limit a statement counts as lost, and its connection with it."""

_MIGRATION_LOCK = 0x66786120
_NAMED = re.compile(r"(?<!:):([a-z_]+)")
_AGAIN = (errorcodes.SERIALIZATION_FAILURE, errorcodes.DEADLOCK_DETECTED)
_BYTES = extensions.new_type(
    (psycopg2.BINARY.values[0],),
    "BYTES",
    lambda value, cursor: None if value is None else bytes(psycopg2.BINARY(value, cursor)),
)


class _Lost(Exception):
    """The connection died. ``undone`` tells whether it is certain that the server kept nothing."""

    def __init__(self, reason: str, undone: bool) -> None:
        super().__init__(reason)
        self.undone = undone


class _Connection(txpostgres.Connection):  # type: ignore[misc]  # txpostgres has no annotations
    """One connection, which is closed without fuss when its server goes away."""

    def doRead(self) -> None:
        try:
            super().doRead()
        except psycopg2.Error:
            _log.info("store.connection_lost")
            self.close()

    @property
    def is_open(self) -> bool:
        return not self.pollable().closed


class PostgresDatabase:
    """A ``Database`` on a PostgreSQL server.

    ``url`` is a libpq URL, with TLS options or a unix socket as it may be. At most ``pool_size`` connections are open
    at a time. The server ends a statement after ``statement_timeout_s`` and a wait for a lock after
    ``lock_timeout_s``.
    """

    def __init__(
        self, reactor: Any, url: str, pool_size: int, statement_timeout_s: float, lock_timeout_s: float
    ) -> None:
        self._reactor = reactor
        self._url = url
        self._pool_size = pool_size
        self._statement_timeout_s = statement_timeout_s
        self._lock_timeout_s = lock_timeout_s
        self._idle: list[_Connection] = []
        self._in_use: set[_Connection] = set()
        self._opening = 0
        self._waiting: deque[Deferred[None]] = deque()
        self._is_down = False
        self._is_open = False

    @property
    def pending(self) -> int:
        """How many calls run or wait for a connection."""
        return len(self._in_use) + self._opening + len(self._waiting)

    async def start(self) -> None:
        """Reach the server and bring the schema up to date; of several daemons one does it while the others wait.

        :raises DatabaseUnavailable: the server cannot be reached
        :raises UnusableDatabase: a newer version of this program has used the database
        """
        self._is_open = True
        try:
            await shielded(Deferred.fromCoroutine(self._with_connection(self._upgrade, None)))
        except (DatabaseUnavailable, _Lost) as error:
            self._is_open = False
            raise DatabaseUnavailable(str(error)) from error
        except psycopg2.Error as error:
            self._is_open = False
            raise DatabaseUnavailable(_reason(error)) from error

    async def stop(self) -> None:
        """Refuse further calls, wait for those under way, and close all connections."""
        self._is_open = False
        while self._in_use or self._opening:
            await self._turn()
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def point(self, sql: str, params: Mapping[str, Any]) -> Sequence[Row]:
        return await self.query(sql, params)

    async def query(self, sql: str, params: Mapping[str, Any]) -> Sequence[Row]:
        async def read(connection: _Connection) -> Sequence[Row]:
            try:
                return (await _execute(connection, sql, params))[0]
            except ConnectionClosed as error:
                raise _Lost(str(error), undone=True) from error

        return await self._call(read)

    async def change(self, statements: Sequence[Statement]) -> list[Sequence[Row]]:
        return await self._call(lambda connection: _in_transaction(connection, statements))

    async def _call(self, work: Callable[[_Connection], Awaitable[_T]]) -> _T:
        """Do the work on a connection, once more on another one if the first died or a deadlock undid the work."""
        return await shielded(Deferred.fromCoroutine(self._attempts(work)))

    async def _attempts(self, work: Callable[[_Connection], Awaitable[_T]]) -> _T:
        limit_s = self._statement_timeout_s + GRACE_S
        for attempt in range(1, 4):
            try:
                return await self._with_connection(work, limit_s)
            except _Lost as error:
                if not error.undone or attempt > 1:
                    raise self._unavailable(str(error)) from error
            except psycopg2.Error as error:
                if error.pgcode not in _AGAIN or attempt == 3:
                    raise self._unavailable(_reason(error)) from error
        raise AssertionError("every way out of the last attempt is above")

    def _unavailable(self, reason: str) -> DatabaseUnavailable:
        _log.error("store.failed", reason=reason)
        return DatabaseUnavailable(reason)

    async def _with_connection(self, work: Callable[[_Connection], Awaitable[_T]], limit_s: float | None) -> _T:
        """Do the work on a connection of the pool. After ``limit_s`` the connection is closed, which ends the work."""
        connection = await self._take()
        deadline = None if limit_s is None else self._reactor.callLater(limit_s, connection.close)
        try:
            return await work(connection)
        except psycopg2.Error as error:
            if _is_dead(error):
                connection.close()
                raise _Lost(_reason(error), undone=True) from error
            raise
        finally:
            if deadline is not None and deadline.active():
                deadline.cancel()
            self._give_back(connection)

    async def _take(self) -> _Connection:
        while self._is_open:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_open:
                    self._in_use.add(connection)
                    return connection
            if len(self._in_use) + self._opening < self._pool_size:
                return await self._connect()
            await self._turn(self._statement_timeout_s)
        raise DatabaseUnavailable("the database is not open")

    def _give_back(self, connection: _Connection) -> None:
        self._in_use.discard(connection)
        if connection.is_open:
            self._idle.append(connection)
        self._next_turn()

    async def _turn(self, limit_s: float | None = None) -> None:
        """Wait until a connection comes back, or its place becomes free."""
        turn: Deferred[None] = Deferred()
        self._waiting.append(turn)
        try:
            await (turn if limit_s is None else turn.addTimeout(limit_s, self._reactor))
        except TimeoutError:
            self._waiting.remove(turn)
            raise DatabaseUnavailable("all connections are busy") from None

    def _next_turn(self) -> None:
        if self._waiting:
            self._waiting.popleft().callback(None)

    async def _connect(self) -> _Connection:
        if self._is_down and self._opening:
            raise DatabaseUnavailable("the server does not answer")
        self._opening += 1
        connection = _Connection(reactor=self._reactor)
        try:
            await self._open(connection)
        except (psycopg2.Error, TimeoutError, ConnectionClosed, OSError) as error:
            if not self._is_down:
                _log.error("store.unreachable", reason=_reason(error))
            self._is_down = True
            raise DatabaseUnavailable(_reason(error)) from error
        finally:
            self._opening -= 1
            self._next_turn()
        if self._is_down:
            _log.info("store.reachable")
        self._is_down = False
        self._in_use.add(connection)
        return connection

    async def _open(self, connection: _Connection) -> None:
        options = f"-c statement_timeout={self._statement_timeout_s * 1000:.0f}"
        options += f" -c lock_timeout={self._lock_timeout_s * 1000:.0f}"
        options += f" -c idle_in_transaction_session_timeout={self._statement_timeout_s * 1000:.0f}"
        parts = extensions.parse_dsn(self._url)
        parts = {"application_name": "fxa-auth", **parts, "options": f"{parts.get('options', '')} {options}".strip()}
        connecting: Deferred[Any] = Deferred.fromCoroutine(self._dial(connection, parts))
        deadline = self._reactor.callLater(CONNECT_TIMEOUT_S, _hang_up, connection, connecting)
        try:
            await connecting
        except ConnectionClosed:
            raise TimeoutError(f"no connection within {CONNECT_TIMEOUT_S:g} s") from None
        finally:
            if deadline.active():
                deadline.cancel()
        extensions.register_type(_BYTES, connection.pollable())

    async def _dial(self, connection: _Connection, parts: dict[str, str]) -> None:
        """Connect; the name is looked up first, since libpq would block the reactor for that."""
        host = parts.get("host", "")
        if host and "hostaddr" not in parts and not host.startswith("/") and "," not in host and not _is_address(host):
            parts = {**parts, "hostaddr": await self._reactor.resolve(host, timeout=(CONNECT_TIMEOUT_S,))}
        await connection.connect(extensions.make_dsn(**parts))

    async def _upgrade(self, connection: _Connection) -> None:
        """Apply the schema files that the database lacks, under a lock that all daemons know."""
        now_ms = int(self._reactor.seconds() * 1000)
        await _execute(connection, "BEGIN", {})
        try:
            await _execute(connection, "SET LOCAL statement_timeout = 0", {})
            await _execute(connection, "SET LOCAL lock_timeout = 0", {})
            await _execute(connection, "SELECT pg_advisory_xact_lock(:lock)", {"lock": _MIGRATION_LOCK})
            await _execute(connection, VERSION_TABLE, {})
            sql = "SELECT coalesce(max(version), 0) AS version FROM schema_versions"
            [row], _ = await _execute(connection, sql, {})
            for upgrade in pending_upgrades(row["version"]):
                for sql in upgrade.statements:
                    await _execute(connection, sql, {})
                sql = "INSERT INTO schema_versions VALUES (:version, :now_ms)"
                await _execute(connection, sql, {"version": upgrade.version, "now_ms": now_ms})
                _log.info("store.upgraded", version=upgrade.version)
            await _execute(connection, "COMMIT", {})
        except BaseException:
            await _roll_back(connection)
            raise


async def _in_transaction(connection: _Connection, statements: Sequence[Statement]) -> list[Sequence[Row]]:
    results: list[Sequence[Row]] = []
    committing = False
    try:
        await _execute(connection, "BEGIN", {})
        for statement in statements:
            rows, touched = await _execute(connection, statement.sql, statement.params)
            if statement.demand is not None and touched < 1:
                raise DemandFailed(statement.demand)
            results.append(rows)
        committing = True
        await _execute(connection, "COMMIT", {})
    except ConnectionClosed as error:
        raise _Lost(str(error), undone=not committing) from error
    except psycopg2.Error as error:
        if _is_dead(error):
            connection.close()
            raise _Lost(_reason(error), undone=not committing) from error
        await _roll_back(connection)
        raise
    except DemandFailed:
        await _roll_back(connection)
        raise
    return results


async def _roll_back(connection: _Connection) -> None:
    """Leave the transaction; a connection on which even that fails is of no further use."""
    try:
        await _execute(connection, "ROLLBACK", {})
    except (psycopg2.Error, ConnectionClosed):
        connection.close()


async def _execute(connection: _Connection, sql: str, params: Mapping[str, Any]) -> tuple[Sequence[Row], int]:
    """The rows and how many rows were touched.

    :raises psycopg2.Error: as the server says
    :raises ConnectionClosed: the connection was closed meanwhile
    """
    cursor = connection.cursor()
    await cursor.execute(_NAMED.sub(r"%(\1)s", sql), params)
    if cursor.description is None:
        return [], cursor.rowcount
    names = [column.name for column in cursor.description]
    return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()], cursor.rowcount


def _hang_up(connection: _Connection, connecting: Deferred[Any]) -> None:
    if connection.pollable() is None:
        connecting.cancel()
    else:
        connection.close()


def _is_dead(error: psycopg2.Error) -> bool:
    """Whether the connection is gone; lock timeouts, deadlocks and the like are errors of a healthy one."""
    if isinstance(error, psycopg2.InterfaceError):
        return True
    code = error.pgcode
    return isinstance(error, psycopg2.OperationalError) and (code is None or code.startswith(("08", "57P")))


def _reason(error: BaseException) -> str:
    """The first line of what the server or libpq says; it names hosts and users, never a password."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
