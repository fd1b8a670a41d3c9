"""What a database says about its own schema, so that two schemas can be compared."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from fxa_auth.config import Database
from tests.postgres import administer

_MINE = "table_schema = current_schema()"
_POSTGRES = (
    "SELECT table_name, column_name, ordinal_position, data_type, is_nullable, column_default, collation_name"
    f" FROM information_schema.columns WHERE {_MINE}",
    "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()",
    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = current_schema()::regnamespace",
    "SELECT version FROM schema_versions",
)
_SQLITE = (
    "SELECT name, tbl_name, type, sql FROM sqlite_master",
    "SELECT m.name, c.* FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table'",
    "SELECT m.name, f.* FROM sqlite_master m JOIN pragma_foreign_key_list(m.name) f WHERE m.type = 'table'",
    "SELECT version FROM schema_versions",
)


def catalogue(database: Database) -> list[list[tuple[Any, ...]]]:
    """Tables with their columns, indexes, constraints, and the versions applied; equal if the schemas are."""
    if database.is_postgres:
        return [sorted(administer(database.url, sql), key=repr) for sql in _POSTGRES]
    with closing(sqlite3.connect(str(database.path))) as connection:
        return [sorted(connection.execute(sql).fetchall(), key=repr) for sql in _SQLITE]
