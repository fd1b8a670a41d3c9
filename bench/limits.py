"""What the builtin abuse policy costs: ``python -m bench.limits [seconds]``.

Logins with it and without it, refusals, and the look-up of what is recorded about a client and an address.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle, repeat
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from bench.daemon import running_daemon
from bench.load import AUTH_PW, Figures, Load, ask, http
from fxa_auth.customs.networks import network_key, network_keys, parse_network
from fxa_auth.store.database import Statement
from fxa_auth.store.limits import LimitTable
from fxa_auth.store.sqlite import SqliteDatabase

ROUNDS = 5
CONNECTIONS = 16
BANS = 100_000


def login(email: str, auth_pw: str = AUTH_PW) -> bytes:
    return http("POST", "/v1/account/login", {"email": email, "authPW": auth_pw})


def create(port: int, count: int) -> list[str]:
    """The addresses of new accounts."""
    emails = [f"{number}@example.com" for number in range(count)]
    for email in emails:
        ask(port, http("POST", "/v1/account/create", {"email": email, "authPW": AUTH_PW}))
    return emails


def logins_of_many(port: int) -> Iterator[bytes]:
    """As many accounts as connections, so that none waits for another."""
    return cycle([login(email) for email in create(port, CONNECTIONS)])


def logins_of_one(port: int) -> Iterator[bytes]:
    return repeat(login(*create(port, 1)))


def refused_logins(port: int) -> Iterator[bytes]:
    [email] = create(port, 1)
    for _ in range(3):
        _status(port, login(email, "00" * 32), 400)
    return repeat(login(email))


def unknown_addresses(port: int) -> Iterator[bytes]:
    return repeat(login("nobody@example.com"))


def mails_to_ever_new_addresses(port: int) -> Iterator[bytes]:
    for number in range(10**9):
        yield http("POST", "/v1/password/forgot/send_code", {"email": f"{number}@example.org"})


def _status(port: int, request: bytes, status: int) -> None:
    """One request that is answered with this status."""

    async def send() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        line = await reader.readline()
        writer.close()
        return line

    line = asyncio.run(send())
    if b" %d " % status not in line:
        raise RuntimeError(line.decode())


def measure(
    what: str, requests: Callable[[int], Iterator[bytes]], seconds: float, version: int, status: int = 200
) -> None:
    """With and without the policy in turn, since a machine is not equally fast all the time."""
    found: dict[str, list[Figures]] = {"none": [], "builtin": []}
    if status == 429:
        del found["none"]
    for _ in range(ROUNDS):
        for policy, all_figures in found.items():
            with running_daemon(verifier_version=version, settings=f'customsUrl = "{policy}"\n') as port:
                all_figures.append(Load(port, requests(port), CONNECTIONS, seconds, status).figures())
    for policy, all_figures in found.items():
        rates = [figures.rate for figures in all_figures]
        middle = min(all_figures, key=lambda figures: abs(figures.rate - statistics.median(rates)))
        print(f"{what}, {policy}\n    {middle}   ({min(rates):.1f} to {max(rates):.1f}/s)", flush=True)


async def measure_look_ups() -> None:
    with tempfile.TemporaryDirectory() as folder:
        from twisted.internet import reactor

        database = SqliteDatabase(reactor, reactor, Path(folder, "limits.sqlite"))  # type: ignore[arg-type]
        await database.start()
        for bans in (0, BANS):
            sql = "INSERT INTO bans (subject, reason, banned_at_ms, expires_at_ms) VALUES (:subject, '', 0, 1)"
            networks = (parse_network(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(bans))
            await database.change([Statement(sql, {"subject": network_key(network)}) for network in networks])
            for ip in ("192.0.2.1", "2001:db8::1"):
                times_s = []
                for _ in range(5000):
                    begun = time.perf_counter()
                    await LimitTable(database).recorded(ip, "me@example.com", network_keys(ip), 0)
                    times_s.append(time.perf_counter() - begun)
                print(f"look-up, {bans:,} bans, {ip}: {statistics.median(times_s) * 1e6:.0f} µs", flush=True)
        await database.stop()


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    measure("account/login of 16 accounts, scrypt", logins_of_many, 2 * seconds, 1)
    measure("account/login of one account, scrypt", logins_of_one, 2 * seconds, 1)
    measure("account/login of 16 accounts, verifier version 0", logins_of_many, seconds, 0)
    measure("account/login that is refused", refused_logins, seconds, 0, 429)
    measure("account/login for an unknown address", unknown_addresses, seconds, 0, 400)
    measure("password/forgot/send_code for ever new unknown addresses", mails_to_ever_new_addresses, seconds, 0, 400)
    react(lambda _: Deferred.fromCoroutine(measure_look_ups()))


if __name__ == "__main__":
    main()
