"""What recording events costs: ``python -m bench.events [seconds]``. Logins with and without their event.

Passwords are of verifier version 0, so that it is the store's work that is compared and not scrypt's. PostgreSQL is
the one that the tests start, but with fsync.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import cycle

from bench.daemon import running_daemon
from bench.endpoints import CONNECTIONS, ROUNDS, tell
from bench.load import AUTH_PW, Figures, Load, ask, http
from tests.postgres import create_database, started_server

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
            with running_daemon(verifier_version=0, database_url=url, altered=altered) as port:
                all_figures.append(Load(port, logins(port, accounts), CONNECTIONS, seconds).figures())
    for altered, all_figures in found.items():
        what = "without their event" if altered else "with their event"
        tell(f"account/login of {accounts} account(s) on {name}, {what}", all_figures)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    server = started_server({"fsync": "on"})
    try:
        for name, url in (("SQLite", None), ("PostgreSQL", server.url())):
            for accounts in (ACCOUNTS, 1):
                measure(name, url, accounts, seconds)
    finally:
        server.close()


if __name__ == "__main__":
    main()
