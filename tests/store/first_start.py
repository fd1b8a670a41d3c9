"""A daemon's first steps with its store, as a process of its own: ``python -m tests.store.first_start DATABASE KEY``.

It opens the database, finds the sealing key, and prints the key's id or the one line of complaint.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from fxa_auth.store.database import DatabaseUnavailable, UnusableDatabase
from fxa_auth.store.seal import key_id
from fxa_auth.store.sealingkeys import find_keys
from fxa_auth.store.sqlite import SqliteDatabase


async def start(reactor: object, database_path: Path, key_path: Path) -> None:
    database = SqliteDatabase(reactor, reactor, database_path)  # type: ignore[arg-type]
    try:
        await database.start()
        [key] = await find_keys(database, [str(key_path)], {}, 1)
        print(key_id(key).hex())
    except (DatabaseUnavailable, UnusableDatabase) as error:
        print(error)
    finally:
        await database.stop()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(start(reactor, *map(Path, sys.argv[1:]))))
