"""Sealing every value anew with the newest key, a batch of rows at a time, while daemons go on working.

What is done stays done: a run that was cut off is simply begun again, and passes over what the newest key has sealed.
"""

from __future__ import annotations

from typing import Any

from fxa_auth.store.database import Database, Row, Statement
from fxa_auth.store.seal import SEALED_TABLES, Seal, SealedTable, key_id

BATCH = 200


class Rewrapping:
    """Seals anew what older keys have sealed in ``database``."""

    def __init__(self, database: Database, seal: Seal) -> None:
        self._database = database
        self._seal = seal

    async def run(self) -> int:
        """Pass over all rows until a whole pass finds nothing to do; the answer is how many rows were sealed anew."""
        total = 0
        while rewrapped := await self._pass():
            total += rewrapped
        return total

    async def forget_other_keys(self, newest: bytes) -> list[str]:
        """Strike all keys but ``newest`` (32 bytes) off the database's list; the answer is their ids, in hex.

        Only for when ``run`` has found nothing more to do.
        """
        sql = "DELETE FROM sealing_keys WHERE key_id <> :key_id RETURNING key_id"
        [rows] = await self._database.change([Statement(sql, {"key_id": key_id(newest).hex()})])
        return [row["key_id"] for row in rows]

    async def _pass(self) -> int:
        found = 0
        for table in SEALED_TABLES:
            after: bytes | None = b""
            while after is not None:
                rows = await self._rows(table, after)
                stale = [row for row in rows if self._is_stale(row, table)]
                if stale:
                    await self._database.change([self._sealed_anew(row, table) for row in stale])
                found += len(stale)
                after = rows[-1][table.row] if len(rows) == BATCH else None
        return found

    async def _rows(self, table: SealedTable, after: bytes) -> list[Row]:
        sql = (
            f"SELECT {table.row}, {', '.join(table.columns)} FROM {table.name}"
            f" WHERE {table.row} > :after ORDER BY {table.row} LIMIT :limit"
        )
        return list(await self._database.query(sql, {"after": after, "limit": BATCH}))

    def _is_stale(self, row: Row, table: SealedTable) -> bool:
        values = [row[column] for column in table.columns if row[column] is not None]
        return not all(self._seal.is_newest(value) for value in values)

    def _sealed_anew(self, row: Row, table: SealedTable) -> Statement:
        """The new values, unless the row has changed since it was read; then a later pass looks at it again."""
        params: dict[str, Any] = {"row": row[table.row]}
        changes, conditions = [], [f"{table.row} = :row"]
        for column in table.columns:
            old = row[column]
            if old is None:
                conditions.append(f"{column} IS NULL")
                continue
            value = self._seal.open(old, table.name, column, row[table.row])
            params[f"old_{column}"], params[f"new_{column}"] = (
                old,
                self._seal.close(value, table.name, column, row[table.row]),
            )
            changes.append(f"{column} = :new_{column}")
            conditions.append(f"{column} = :old_{column}")
        return Statement(f"UPDATE {table.name} SET {', '.join(changes)} WHERE {' AND '.join(conditions)}", params)
