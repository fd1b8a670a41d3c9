"""Whole tables at a time: one blocking connection to either database, for commands that read or fill all of it.

What tables there are, with their columns and keys, is asked of the schema files themselves. Nothing here knows what a
row means; sealed values pass through as they are.
"""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import extensions, extras

from fxa_auth.config import masked_url
from fxa_auth.store import schema
from fxa_auth.store.database import DatabaseUnavailable, UnusableDatabase
from fxa_auth.store.pgconnection import url_parts
from fxa_auth.store.schema import MIGRATION_LOCK, VERSION_TABLE, pending_upgrades
from fxa_auth.store.sqlite import BUSY_TIMEOUT_S

BATCH = 1000
"""Rows read and written at a time."""

CONNECT_TIMEOUT_S = 10
LOCK_TIMEOUT_MS = 10_000
SILENCE_TIMEOUT_MS = 60_000

_AS_READ: dict[str, tuple[type, ...]] = {
    "BYTEA": (bytes, memoryview),
    "BIGINT": (int,),
    "TEXT": (str,),
    "BOOLEAN": (bool, int),
}
_AS_MEANT: dict[str, Callable[[Any], Any]] = {"BYTEA": bytes, "BIGINT": int, "TEXT": str, "BOOLEAN": bool}
"""For each type that the schema uses: what either database gives, and what makes one and the same value of it."""

Values = tuple[Any, ...]

Digests = dict[str, tuple[int, str]]
"""For each table the number of its rows and their SHA-256 (64 hex digits)."""


@dataclass(frozen=True)
class Column:
    name: str
    type: str


@dataclass(frozen=True)
class Table:
    """``key`` names the columns of the primary key, in its order."""

    name: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]

    @property
    def column_list(self) -> str:
        return ", ".join(column.name for column in self.columns)

    def values(self, raw: Sequence[Any]) -> Values:
        """A row as a database gave it, in the types that the schema declares.

        :raises UnusableDatabase: a value is of another type
        """
        values = []
        for column, value in zip(self.columns, raw, strict=True):
            if value is not None and not isinstance(value, _AS_READ[column.type]):
                raise UnusableDatabase(f"{self.name}.{column.name} holds something else than {column.type}")
            values.append(None if value is None else _AS_MEANT[column.type](value))
        return tuple(values)


class Digest:
    """Number and SHA-256 of a table's rows, taken in the order of the primary key."""

    def __init__(self) -> None:
        self.rows = 0
        self._hash = sha256()

    def add(self, rows: Sequence[Values]) -> None:
        """Each value counts with its type and length, so that no two different rows look the same."""
        self.rows += len(rows)
        for row in rows:
            for value in row:
                encoded = value if isinstance(value, bytes) else str(value).encode()
                self._hash.update(b"%s %d:%s" % (type(value).__name__.encode(), len(encoded), encoded))

    @property
    def checksum(self) -> str:
        """64 hex digits."""
        return self._hash.hexdigest()


VERSIONS = Table("schema_versions", (Column("version", "BIGINT"), Column("applied_at_ms", "BIGINT")), ("version",))
"""The one table that is not in the schema files."""

BACKUP_DIGESTS = Table(
    "backup_digests", (Column("name", "TEXT"), Column("rows", "BIGINT"), Column("checksum", "TEXT")), ("name",)
)
"""Only in a backup of an SQLite file: the digest of each of its other tables."""


def known_version() -> int:
    """The schema that this program works with."""
    return schema.upgrades()[-1].version


def tables(version: int | None = None) -> tuple[Table, ...]:
    """The tables of a schema version (None for this program's), each after those that its rows refer to."""
    with _fresh(version) as connection:
        found = {name: _table(connection, name) for name in _table_names(connection)}
        parents = {
            name: {row[2] for row in connection.execute(f"PRAGMA foreign_key_list({name})")} - {name} for name in found
        }
    return tuple(found[name] for name in TopologicalSorter(parents).static_order())


@contextmanager
def _fresh(version: int | None) -> Iterator[sqlite3.Connection]:
    """A database in memory at a schema version (None for this program's), still without the table of versions."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for upgrade in schema.upgrades()[:version]:
            for sql in upgrade.statements:
                connection.execute(sql)
        yield connection


def _catalogue(connection: sqlite3.Connection) -> set[tuple[str, ...]]:
    """Everything that makes up the schema, apart from spaces, SQLite's statistics and a backup's digests."""
    sql = "SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_master WHERE name NOT GLOB 'sqlite_stat[14]'"
    return {
        tuple(" ".join(str(value).split()) for value in row)
        for row in connection.execute(sql)
        if row[2] != BACKUP_DIGESTS.name
    }


def _table_names(connection: sqlite3.Connection) -> list[str]:
    sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
    return [name for (name,) in connection.execute(sql)]


def _table(connection: sqlite3.Connection, name: str) -> Table:
    about = connection.execute(f"PRAGMA table_info({name})").fetchall()
    columns = tuple(Column(row[1], row[2]) for row in about)
    keyed = sorted((row[5], row[1]) for row in about if row[5])
    return Table(name, columns, tuple(column for _, column in keyed))


class Bulk(ABC):
    """One connection, inside one transaction that ends with ``commit`` or comes to nothing.

    Everything raises DatabaseUnavailable when the database fails.
    """

    @abstractmethod
    def execute(self, sql: str) -> Sequence[Sequence[Any]]: ...

    @abstractmethod
    def has_table(self, name: str) -> bool: ...

    @abstractmethod
    def insert(self, table: Table, rows: Sequence[Values]) -> None: ...

    @abstractmethod
    def commit(self) -> None: ...

    @abstractmethod
    def _batches(self, sql: str) -> Iterator[Sequence[Sequence[Any]]]:
        """The rows of a query, ``BATCH`` at a time, so that they need not fit into memory."""

    @abstractmethod
    def _order(self, column: Column) -> str:
        """How to order by this column so that it comes out the same everywhere: bytes by value, text by UTF-8."""

    def version(self) -> int:
        """The schema that was applied, 0 for none."""
        if not self.has_table("schema_versions"):
            return 0
        return max((version or 0 for batch in self.rows(VERSIONS) for version, _ in batch), default=0)

    def upgrade(self, now_ms: int) -> None:
        """Apply the schema files that the database lacks, as the daemon does at its start.

        :raises UnusableDatabase: the database is newer than this program
        """
        self.execute(VERSION_TABLE)
        for upgrade in pending_upgrades(self.version()):
            for sql in upgrade.statements:
                self.execute(sql)
            self.execute(f"INSERT INTO schema_versions VALUES ({upgrade.version:d}, {now_ms:d})")

    def count(self, table: Table) -> int:
        return int(self.execute(f"SELECT count(*) FROM {table.name}")[0][0])

    def sealing_keys(self) -> list[str]:
        """The ids (hex) of the keys that the secrets in this database may be sealed with, oldest first."""
        return [key for (key,) in self.execute("SELECT key_id FROM sealing_keys ORDER BY position")]

    def rows(self, table: Table) -> Iterator[list[Values]]:
        """All rows, in batches, in the order of the primary key.

        :raises UnusableDatabase: a value is not of its column's type
        """
        types = {column.name: column for column in table.columns}
        order = ", ".join(self._order(types[name]) for name in table.key)
        for batch in self._batches(f"SELECT {table.column_list} FROM {table.name} ORDER BY {order}"):
            yield [table.values(raw) for raw in batch]

    def digest(self, table: Table) -> Digest:
        digest = Digest()
        for batch in self.rows(table):
            digest.add(batch)
        return digest


class SqliteBulk(Bulk):
    """Made by ``reading_sqlite`` and ``filling_sqlite``."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str) -> Sequence[Sequence[Any]]:
        return self._connection.execute(sql).fetchall()

    def has_table(self, name: str) -> bool:
        return name in _table_names(self._connection)

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        marks = ", ".join("?" * len(table.columns))
        self._connection.executemany(f"INSERT INTO {table.name} ({table.column_list}) VALUES ({marks})", rows)

    def commit(self) -> None:
        self._connection.execute("COMMIT")

    def strangers(self, version: int) -> list[str]:
        """The names of what a new database of this schema version has and this one has not, or the other way round."""
        with _fresh(version) as fresh:
            fresh.execute(VERSION_TABLE)
            return sorted({name for _, name, *_ in _catalogue(self._connection) ^ _catalogue(fresh)})

    def digests(self) -> Digests:
        """Of all tables, as they are now."""
        found = {table.name: self.digest(table) for table in (VERSIONS, *tables(self.version()))}
        return {name: (digest.rows, digest.checksum) for name, digest in found.items()}

    def record_digests(self) -> None:
        """Note the digests in a table of their own."""
        self.drop_recorded_digests()
        self.execute("CREATE TABLE backup_digests (name TEXT PRIMARY KEY, rows BIGINT, checksum TEXT)")
        self.insert(BACKUP_DIGESTS, [(name, *digest) for name, digest in self.digests().items()])

    def recorded_digests(self) -> Digests | None:
        """What was noted, None if nothing was."""
        if not self.has_table(BACKUP_DIGESTS.name):
            return None
        return {name: (rows, checksum) for batch in self.rows(BACKUP_DIGESTS) for name, rows, checksum in batch}

    def drop_recorded_digests(self) -> None:
        self.execute("DROP TABLE IF EXISTS backup_digests")

    def is_blank(self) -> bool:
        """Whether the file holds no table at all."""
        return not _table_names(self._connection)

    def faults(self) -> list[str]:
        """What SQLite itself finds wrong with the file: damaged pages, rows that refer to nothing."""
        found = [str(row[0]) for row in self.execute("PRAGMA integrity_check") if row[0] != "ok"]
        orphans = self.execute("PRAGMA foreign_key_check")
        return found + [f"a row of {row[0]} refers to a missing one of {row[2]}" for row in orphans]

    def _batches(self, sql: str) -> Iterator[Sequence[Sequence[Any]]]:
        cursor = self._connection.execute(sql)
        while batch := cursor.fetchmany(BATCH):
            yield batch

    def _order(self, column: Column) -> str:
        return column.name


class PostgresBulk(Bulk):
    """Made by ``reading_postgres`` and ``filling_postgres``."""

    def __init__(self, connection: extensions.connection) -> None:
        self._connection = connection

    def execute(self, sql: str) -> Sequence[Sequence[Any]]:
        with self._connection.cursor() as cursor:
            cursor.execute(sql)
            return [] if cursor.description is None else cursor.fetchall()

    def has_table(self, name: str) -> bool:
        return self.execute(f"SELECT to_regclass('{name}') IS NOT NULL") == [(True,)]

    def insert(self, table: Table, rows: Sequence[Values]) -> None:
        with self._connection.cursor() as cursor:
            sql = f"INSERT INTO {table.name} ({table.column_list}) VALUES %s"
            try:
                extras.execute_values(cursor, sql, rows, page_size=BATCH)
            except ValueError as error:
                raise UnusableDatabase(f"PostgreSQL cannot keep a row of {table.name}: {error}") from error

    def commit(self) -> None:
        self._connection.commit()

    def keep_out_writers(self, named: Sequence[Table]) -> None:
        """Let nobody else write to these tables until the end of the transaction."""
        self.execute(f"LOCK TABLE {', '.join(table.name for table in named)} IN EXCLUSIVE MODE")

    def _batches(self, sql: str) -> Iterator[Sequence[Sequence[Any]]]:
        with self._connection.cursor("rows") as cursor:
            cursor.execute(sql)
            while batch := cursor.fetchmany(BATCH):
                yield batch

    def _order(self, column: Column) -> str:
        return f'{column.name} COLLATE "C"' if column.type == "TEXT" else column.name


@contextmanager
def reading_sqlite(path: Path, *, at_rest: bool = False) -> Iterator[SqliteBulk]:
    """One snapshot of a file, which daemons may go on using; the file must be there.

    A file ``at_rest`` has no other user and no log beside it; reading it leaves nothing behind in its folder.
    """
    uri = path.absolute().as_uri() + ("?mode=ro&immutable=1" if at_rest else "?mode=ro")
    with told(str(path)), closing(_connect_sqlite(uri)) as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM sqlite_master").fetchall()
        yield SqliteBulk(connection)


@contextmanager
def filling_sqlite(path: Path) -> Iterator[SqliteBulk]:
    """Fill a file that nobody else knows of yet. It is safe on disk once it was closed and synced."""
    with told(str(path)), closing(_connect_sqlite(path.absolute().as_uri() + "?mode=rw")) as connection:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("BEGIN")
        yield SqliteBulk(connection)


@contextmanager
def reading_postgres(url: str) -> Iterator[PostgresBulk]:
    """One snapshot of a database, which daemons may go on using."""
    with told(masked_url(url)), closing(_connect_postgres(url)) as connection:
        connection.set_session(isolation_level=extensions.ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
        yield PostgresBulk(connection)


@contextmanager
def filling_postgres(url: str) -> Iterator[PostgresBulk]:
    """Fill a database in one transaction; a daemon that starts meanwhile waits for the end of it."""
    with told(masked_url(url)), closing(_connect_postgres(url)) as connection:
        bulk = PostgresBulk(connection)
        bulk.execute(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK:d})")
        yield bulk


def _connect_sqlite(uri: str) -> sqlite3.Connection:
    return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)


def _connect_postgres(url: str) -> extensions.connection:
    """Connect with waits that end: for the server, for a lock, and for an answer from a host that is gone."""
    options = f"-c lock_timeout={LOCK_TIMEOUT_MS} -c statement_timeout=0 -c idle_in_transaction_session_timeout=0"
    parts = {"application_name": "fxa-auth db", "connect_timeout": str(CONNECT_TIMEOUT_S), **url_parts(url)}
    parts |= {"client_encoding": "UTF8", "tcp_user_timeout": str(SILENCE_TIMEOUT_MS)}
    parts["options"] = f"{parts.get('options', '')} {options}".strip()
    return psycopg2.connect(extensions.make_dsn(**parts))


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn an error of either database into DatabaseUnavailable with one line; ``what`` begins it."""
    try:
        yield
    except (sqlite3.Error, psycopg2.Error, UnicodeDecodeError) as error:
        # Python cannot decode some of what SQLite says about a damaged schema.
        raise DatabaseUnavailable(f"{what}: {first_line(error)}") from error


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
