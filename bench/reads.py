"""One point read of the embedded store, on the event loop and by way of its thread: ``python -m bench.reads``."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from twisted.internet import task
from twisted.internet.defer import Deferred

from fxa_auth.store.database import Statement
from fxa_auth.store.sqlite import SqliteDatabase

READS = 5_000
ROUNDS = 5
ROWS = 10_000


async def measure(reactor: Any, folder: str) -> None:
    database = SqliteDatabase(reactor, reactor, Path(folder, "accounts.sqlite"))
    await database.start()
    insert = "INSERT INTO events (id, kind, uid, created_at_ms, payload) VALUES (:id, 'bench', :id, 0, :payload)"
    rows = [{"id": number.to_bytes(16, "big"), "payload": "x" * 400} for number in range(ROWS)]
    await database.change([Statement(insert, row) for row in rows])
    for name, read in (("on the event loop", database.point), ("by the thread", database.query)):
        micros = [await _micros(read, rows) for _ in range(ROUNDS)]
        print(f"{name:18} {statistics.median(micros):6.1f} microseconds (median of {ROUNDS} rounds)")
    await database.stop()


async def _micros(read: Callable[[str, dict[str, object]], Awaitable[object]], rows: list[dict[str, Any]]) -> float:
    start = time.perf_counter()
    for number in range(READS):
        await read("SELECT * FROM events WHERE id = :id", {"id": rows[number * 7919 % ROWS]["id"]})
    return (time.perf_counter() - start) / READS * 1_000_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        task.react(lambda reactor: Deferred.fromCoroutine(measure(reactor, folder)))


if __name__ == "__main__":
    main()
