"""From the settings to an open store, for the daemon and for the commands that work beside it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from fxa_auth.clock import time_ms
from fxa_auth.config import Settings
from fxa_auth.store import Store
from fxa_auth.store.database import UnusableDatabase
from fxa_auth.store.postgres import PostgresDatabase
from fxa_auth.store.seal import Seal
from fxa_auth.store.sealingkeys import find_keys
from fxa_auth.store.sqlite import SqliteDatabase


class Storage:
    """The database that the settings name, and the store on it, which works once opened and unsealed."""

    def __init__(self, settings: Settings, reactor: Any) -> None:
        database = settings.database
        self._reactor = reactor
        is_memory = not database.is_postgres and database.path is None
        self._key_places = () if is_memory else settings.sealing_keys
        self.database: SqliteDatabase | PostgresDatabase
        if database.is_postgres:
            statement_timeout_s, lock_timeout_s = database.statement_timeout / 1000, database.lock_timeout / 1000
            self.database = PostgresDatabase(
                reactor, database.url, database.pool_size, statement_timeout_s, lock_timeout_s
            )
        else:
            path = None if database.path is None else Path(database.path)
            self.database = SqliteDatabase(reactor, reactor, path)
        self.seal = Seal()
        self.store = Store(self.database, self.seal)

    async def open(self) -> None:
        """Open the database, bring its schema up to date, and find its sealing keys. The store refuses work still.

        :raises DatabaseUnavailable: it cannot be opened or reached; this may be tried again
        :raises UnusableDatabase: it must not be used as it is
        """
        await self.database.start()
        await self._find_keys(may_record=True)

    async def open_existing(self) -> None:
        """Open the database as ``open`` does, provided that a daemon of this version has used it.

        So no schema is applied, and no key is made or recorded.

        :raises DatabaseUnavailable: it cannot be opened or reached
        :raises UnusableDatabase: it is empty, lacks upgrades or has no sealing key yet, or must not be used as it is
        """
        await self.database.start(upgrade=False)
        if not await self.database.query("SELECT 1 FROM sealing_keys LIMIT 1", {}):
            raise UnusableDatabase("no daemon has used this database yet: start one first")
        await self._find_keys(may_record=False)

    async def _find_keys(self, may_record: bool) -> None:
        now_ms, places = time_ms(self._reactor), self._key_places
        self.sealing_keys = await find_keys(self.database, places, os.environ, now_ms, may_record=may_record)

    def interrupt(self) -> None:
        """Let an ``open`` under way fail soon, if it waits for a server."""
        if isinstance(self.database, PostgresDatabase):
            self.database.interrupt()

    def unseal(self) -> None:
        """Let the store be used."""
        self.seal.use(*self.sealing_keys)

    async def close(self) -> None:
        await self.database.stop()
