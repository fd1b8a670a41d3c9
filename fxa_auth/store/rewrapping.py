"""Sealing every value anew with the newest key, a batch of rows at a time, while daemons go on working.

What is done stays done: a run that was cut off is simply begun again, and passes over what the newest key has sealed.
Striking off the older keys stops a daemon that still seals with one; what it wrote before is sealed anew afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from fxa_auth.store import Store
from fxa_auth.store.database import Database, Row, Statement, UnusableDatabase
from fxa_auth.store.seal import SEALED_TABLES, Seal, SealedTable
from fxa_auth.store.sealingkeys import recorded_keys

BATCH = 200


@dataclass(frozen=True)
class Rewrapped:
    """How many rows were sealed anew, and the ids (hex) of the keys that the database needs no more."""

    rows: int
    struck_off: tuple[str, ...]


class Rewrapping:
    """Seals anew what older keys have sealed in ``database``.

    A change that has found its sealing key recorded may be kept for ``longest_change_s`` after that, though the key is
    struck off meanwhile; 0 where changes wait for each other.
    """

    def __init__(self, database: Database, seal: Seal, clock: IReactorTime, longest_change_s: float) -> None:
        self._database = database
        self._store = Store(database, seal)
        self._seal = seal
        self._clock = clock
        self._longest_change_s = longest_change_s

    async def run(self) -> Rewrapped:
        """Seal everything with the newest key, and strike off the older ones that were recorded at the beginning.

        :raises UnusableDatabase: the key that seals here is not the newest recorded
        :raises BrokenSeal: a value is sealed with a key that is not known here
        :raises DatabaseUnavailable: the database failed, or another run has struck off the key that seals here
        """
        older = await self._older_keys()
        rows = await self._until_nothing_is_stale()
        struck_off = await self._strike_off(older)
        await deferLater(self._clock, self._longest_change_s)
        rows += await self._until_nothing_is_stale()
        return Rewrapped(rows, struck_off)

    async def _older_keys(self) -> list[str]:
        *older, newest = [*await recorded_keys(self._database)] or [""]
        if newest != self._seal.newest_id:
            raise UnusableDatabase(
                f"the newest key of this database is {newest or 'not recorded'}, the first one here is "
                f"{self._seal.newest_id}: put the newest first on all hosts, restart the daemons, and run this again",
                "sealingKeys",
            )
        return older

    async def _strike_off(self, keys: list[str]) -> tuple[str, ...]:
        sql = "DELETE FROM sealing_keys WHERE key_id = :key_id RETURNING key_id"
        results = await self._store.change(*(Statement(sql, {"key_id": key}) for key in keys))
        return tuple(row["key_id"] for rows in results for row in rows)

    async def _until_nothing_is_stale(self) -> int:
        """Pass over all rows until a whole pass finds nothing to do; the answer is how many rows were sealed anew."""
        total = 0
        while rewrapped := await self._pass():
            total += rewrapped
        return total

    async def _pass(self) -> int:
        found = 0
        for table in SEALED_TABLES:
            after: bytes | None = b""
            while after is not None:
                rows = await self._rows(table, after)
                stale = [row for row in rows if self._is_stale(row, table)]
                if stale:
                    await self._store.change(*(self._sealed_anew(row, table) for row in stale))
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
