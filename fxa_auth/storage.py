"""From the settings to an open store, for the daemon and for the commands that work beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fxa_auth.config import Settings
from fxa_auth.store import Store
from fxa_auth.store.postgres import PostgresDatabase
from fxa_auth.store.seal import Seal
from fxa_auth.store.sealingkey import find_key
from fxa_auth.store.sqlite import SqliteDatabase


class Storage:
    """The database that the settings name, and the store on it, which works once ``open`` has returned."""

    def __init__(self, settings: Settings, reactor: Any) -> None:
        database = settings.database
        self._reactor = reactor
        self._is_memory = not database.is_postgres and database.path is None
        self._key_file = Path(settings.sealing_key_file)
        self.database: SqliteDatabase | PostgresDatabase
        if database.is_postgres:
            statement_timeout_s, lock_timeout_s = database.statement_timeout / 1000, database.lock_timeout / 1000
            self.database = PostgresDatabase(
                reactor, database.url, database.pool_size, statement_timeout_s, lock_timeout_s
            )
        else:
            path = None if database.path is None else Path(database.path)
            self.database = SqliteDatabase(reactor, reactor, path)
        self._seal = Seal()
        self.store = Store(self.database, self._seal)

    async def open(self) -> None:
        """Open the database, bring its schema up to date, and find its sealing key.

        :raises DatabaseUnavailable: it cannot be opened or reached; this may be tried again
        :raises UnusableDatabase: it must not be used as it is
        """
        await self.database.start()
        now_ms = int(self._reactor.seconds() * 1000)
        self._seal.use(await find_key(self.database, None if self._is_memory else self._key_file, now_ms))

    async def close(self) -> None:
        await self.database.stop()
