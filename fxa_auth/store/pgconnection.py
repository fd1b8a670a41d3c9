"""One connection to a PostgreSQL server by txpostgres: opened within a time limit, closed without fuss when it dies.

Whatever goes wrong with a statement is either ``Refused`` or ``Lost`` here. This module knows nothing of pools, of
repeating what failed, or of the tables.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Any

import psycopg2
from psycopg2 import errorcodes, extensions
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionClosed, DNSLookupError
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.logger import Logger
from txpostgres import txpostgres
from zope.interface import implementer

from fxa_auth.store.database import Row, UnusableDatabase

_log = Logger()

_NAMED = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")
_AGAIN = (errorcodes.SERIALIZATION_FAILURE, errorcodes.DEADLOCK_DETECTED)
_OF_NO_USE = ("08", "57P", errorcodes.READ_ONLY_SQL_TRANSACTION)
"""How the codes begin by which the server ends a connection, or says that it is only a copy of the one to write to."""

_BYTES = extensions.new_type(
    (psycopg2.BINARY.values[0],),
    "BYTES",
    lambda value, cursor: None if value is None else bytes(psycopg2.BINARY(value, cursor)),
)


class Refused(Exception):
    """The server refused a statement; the connection is as good as before. ``again`` tells whether to repeat it."""

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.again = again


class Lost(Exception):
    """The connection died. ``undone`` tells whether it is certain that the server kept nothing."""

    def __init__(self, reason: str, undone: bool) -> None:
        super().__init__(reason)
        self.undone = undone


class Connection(txpostgres.Connection):  # type: ignore[misc]  # txpostgres has no annotations
    """A connection, which is not open yet."""

    async def open(self, parts: Mapping[str, str], timeout_s: float) -> None:
        """Connect to the server that ``parts``, by libpq's names, describe.

        :raises OSError: it does not answer, or its name is unknown
        :raises psycopg2.Error: it refuses
        """
        connecting: Deferred[None] = Deferred.fromCoroutine(self._dial(parts))

        def hang_up() -> None:
            if self.pollable() is None:
                connecting.cancel()
            else:
                self.close()

        deadline = self.reactor.callLater(timeout_s, hang_up)
        try:
            await connecting
        except (ConnectionClosed, CancelledError):
            raise TimeoutError(f"no connection within {timeout_s:g} s") from None
        finally:
            if deadline.active():
                deadline.cancel()
        extensions.register_type(_BYTES, self.pollable())

    async def _dial(self, parts: Mapping[str, str]) -> None:
        await self.connect(extensions.make_dsn(**await _located(self.reactor, parts)))

    def doRead(self) -> None:
        try:
            super().doRead()
        except (psycopg2.Error, txpostgres.UnexpectedPollResult):
            _log.info("store.connection_lost")
            self.close()

    def close(self) -> None:
        if self.pollable() is not None:
            super().close()

    @property
    def is_at_rest(self) -> bool:
        """Whether it is open, and outside any transaction."""
        status = extensions.TRANSACTION_STATUS_IDLE
        return not self.pollable().closed and self.pollable().info.transaction_status == status

    async def execute(self, sql: str, params: Mapping[str, Any]) -> tuple[Sequence[Row], int]:
        """The rows, and how many rows were touched.

        :raises Refused: the server says no
        :raises Lost: the connection died, or was closed meanwhile
        """
        try:
            cursor = self.cursor()
            await cursor.execute(_NAMED.sub(r"%(\1)s", sql.replace("%", "%%")), params)
            if cursor.description is None:
                return [], cursor.rowcount
            names = [column.name for column in cursor.description]
            return [dict(zip(names, values, strict=True)) for values in cursor.fetchall()], cursor.rowcount
        except CancelledError as error:  # so txpostgres calls what ends by the server's time limit
            raise Refused("the statement took too long", again=False) from error
        except (KeyError, ValueError) as error:  # psycopg2: a parameter is missing, or has a NUL or a lone surrogate
            raise Refused(f"no fit parameter: {error}", again=False) from error
        except ConnectionClosed as error:
            raise Lost("no answer in time", undone=True) from error
        except (psycopg2.Error, txpostgres.UnexpectedPollResult) as error:
            if self._is_dead(error):
                self.close()
                raise Lost(first_line(error), undone=True) from error
            raise Refused(first_line(error), getattr(error, "pgcode", None) in _AGAIN) from error

    async def roll_back(self) -> None:
        """Leave the transaction; a connection on which even that fails is closed."""
        try:
            await self.execute("ROLLBACK", {})
        except (Lost, Refused):
            self.close()

    def _is_dead(self, error: Exception) -> bool:
        """Whether an error ends the connection; lock timeouts, deadlocks and the like befall a healthy one."""
        if not isinstance(error, psycopg2.Error) or isinstance(error, psycopg2.InterfaceError):
            return True
        if self.pollable().closed:
            return True
        if error.pgcode is None:
            return isinstance(error, psycopg2.OperationalError)
        return error.pgcode.startswith(_OF_NO_USE)


def url_parts(url: str) -> dict[str, str]:
    """A libpq URL taken apart, by libpq's names.

    :raises UnusableDatabase: libpq does not understand it, or takes a part of the password for one of a host
    """
    try:
        parts = dict(extensions.parse_dsn(url))
    except psycopg2.Error:  # whose text would show the password
        parts = None
    if parts is None or any("@" in host[1:] for host in parts.get("host", "").split(",")):
        mend = "see to its parameters, and write special signs of names and passwords as %40 and the like"
        raise UnusableDatabase(f"libpq does not understand this URL: {mend}")
    return parts


def first_line(error: BaseException) -> str:
    """The first line of what the server or libpq says; it names hosts and users, never a password."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@implementer(IResolutionReceiver)
class _Addresses:
    """What a look-up of a name has found, once ``complete`` fires."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.complete: Deferred[None] = Deferred()

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        pass

    def addressResolved(self, address: IAddress) -> None:
        self.found.append(address.host)  # type: ignore[attr-defined]

    def resolutionComplete(self) -> None:
        self.complete.callback(None)


async def _located(reactor: Any, parts: Mapping[str, str]) -> Mapping[str, str]:
    """The parts with the addresses of their hosts; libpq would block the reactor to look them up itself."""
    hosts = (parts.get("host") or os.environ.get("PGHOST", "")).split(",")
    ports = (parts.get("port") or os.environ.get("PGPORT", "")).split(",")
    if len(ports) == 1:
        ports *= len(hosts)
    if "hostaddr" in parts or len(ports) != len(hosts):
        return parts
    places: list[tuple[str, str, str]] = []
    unknown: DNSLookupError | None = None
    for host, port in zip(hosts, ports, strict=True):
        try:
            places += [(host, address, port) for address in await _addresses(reactor, host)]
        except DNSLookupError as error:
            unknown = error
    if unknown is not None and not places:
        raise unknown
    located = {name: [place[i] for place in places] for i, name in enumerate(("host", "hostaddr", "port"))}
    return {**parts, **{name: ",".join(values) for name, values in located.items() if any(values)}}


async def _addresses(reactor: Any, host: str) -> list[str]:
    """All addresses of a host; one empty one of a unix socket's folder."""
    if not host or host.startswith(("/", "@")):
        return [""]
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        return [host]
    addresses = _Addresses()
    reactor.nameResolver.resolveHostName(addresses, host)
    await addresses.complete
    if not addresses.found:
        raise DNSLookupError(f"no address found for {host}")
    return addresses.found
