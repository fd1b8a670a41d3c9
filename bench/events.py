"""What recording events costs: ``python -m bench.events [seconds]``. Logins with and without their event.

Passwords are of verifier version 0 and there is no abuse policy, so that it is the event's part of the store's work
that is compared. PostgreSQL is the one that the tests start, but with fsync.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from bench.daemon import running_daemon
from bench.endpoints import CONNECTIONS, ROUNDS, tell
from bench.load import AUTH_PW, Figures, Load, ask, http
from fxa_auth.records import TokenKind
from fxa_auth.store import Store
from fxa_auth.store.postgres import PostgresDatabase
from fxa_auth.store.seal import Seal
from fxa_auth.store.sealingkeys import find_keys
from fxa_auth.store.sqlite import SqliteDatabase
from tests.postgres import create_database, started_server
from tests.store.contract import an_account, keys

CHANGES = 1000
ACCOUNTS = 64

WITHOUT_EVENT = """
from fxa_auth.store.events import EventTable
EventTable.login = lambda *_: ()
"""


def logins(port: int, accounts: int) -> Iterator[bytes]:
    """Logins to so many accounts, which are made, in turn."""
    bodies = [{"email": f"a{number}@example.com", "authPW": AUTH_PW} for number in range(accounts)]
    for body in bodies:
        ask(port, http("POST", "/v1/account/create", body))
    return cycle([http("POST", "/v1/account/login", body) for body in bodies])


def measure(name: str, server_url: str | None, accounts: int, seconds: float) -> None:
    """Both ways alternate, since a machine is not equally fast all the time."""
    found: dict[str, list[Figures]] = {"": [], WITHOUT_EVENT: []}
    for _ in range(ROUNDS):
        for altered, all_figures in found.items():
            url = None if server_url is None else create_database(server_url)
            with running_daemon(
                verifier_version=0, settings='customsUrl = "none"\n', database_url=url, altered=altered
            ) as port:
                all_figures.append(Load(port, logins(port, accounts), CONNECTIONS, seconds).figures())
    for altered, all_figures in found.items():
        what = "without their event" if altered else "with their event"
        tell(f"account/login of {accounts} account(s) on {name}, {what}", all_figures)


async def measure_changes(reactor: Any, server_url: str) -> None:
    """The change that a login is, one after the other, with and without its event in turn."""
    with tempfile.TemporaryDirectory() as folder:
        url = create_database(server_url)
        for name, database in (
            ("SQLite", SqliteDatabase(reactor, reactor, Path(folder, "accounts.sqlite"))),
            ("PostgreSQL", PostgresDatabase(reactor, url, pool_size=1, statement_timeout_s=60, lock_timeout_s=60)),
        ):
            await database.start()
            seal = Seal()
            seal.use(*await find_keys(database, (), {}, 0))
            store, account = Store(database, seal), an_account()
            await store.change(store.accounts.add(account, "address is free"))
            times_ms: dict[bool, list[float]] = {True: [], False: []}
            for number in range(2 * CHANGES):
                event = store.events.login(account.uid, account.email, number) if number % 2 else ()
                session = store.tokens.add(keys(TokenKind.SESSION), account, number, "account is there")
                begun = time.perf_counter()
                await store.change(*event, session)
                times_ms[bool(event)].append((time.perf_counter() - begun) * 1000)
            with_event, without = (statistics.median(times_ms[which]) for which in (True, False))
            print(f"the change of a login on {name}: {with_event:.2f} ms with its event, {without:.2f} ms without")
            await database.stop()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    server = started_server({"fsync": "on"})
    try:
        for name, url in (("SQLite", None), ("PostgreSQL", server.url())):
            for accounts in (ACCOUNTS, 1):
                measure(name, url, accounts, seconds)
        react(lambda reactor: Deferred.fromCoroutine(measure_changes(reactor, server.url())))
    finally:
        server.close()


if __name__ == "__main__":
    main()
