"""What others notice while one address floods the server with wrong passwords: ``python -m bench.flood [seconds]``.

The abuse policy is off, so that nothing but the queue of password hashes stands between them. Addresses are told apart
by X-Forwarded-For.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import repeat
from multiprocessing.connection import Connection

from bench.daemon import running_daemon
from bench.load import AUTH_PW, ask, http, session_statuses

RATE = 200
ATTACKER, OTHER = "192.0.2.1", "198.51.100.7"
EMAIL = "victim@example.com"


def login(address: str, auth_pw: str) -> bytes:
    request = http("POST", "/v1/account/login", {"email": EMAIL, "authPW": auth_pw})
    return request.replace(b"\r\n", b"\r\nX-Forwarded-For: %s\r\n" % address.encode(), 1)


class Paced:
    """A process that sends ``rate`` requests a second, each when its time has come, answered or not."""

    def __init__(self, port: int, requests: Iterator[bytes], rate: float, seconds: float) -> None:
        self._results, theirs = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("fork")
        self._process = context.Process(target=_drive, args=(port, requests, rate, seconds, theirs))
        self._process.start()

    def outcome(self) -> tuple[list[float], Counter[int]]:
        """Wait for the end: how long each answer took (ms, sorted), and how often each status came; 0 is no answer."""
        outcome: tuple[list[float], Counter[int]] = self._results.recv()
        self._process.join()
        return outcome


def _drive(port: int, requests: Iterator[bytes], rate: float, seconds: float, results: Connection) -> None:
    times_ms: list[float] = []
    statuses: Counter[int] = Counter()
    idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def one(request: bytes) -> None:
        begun = time.monotonic()
        try:
            status = await answered(request)
        except (OSError, asyncio.IncompleteReadError):
            status = 0
        times_ms.append((time.monotonic() - begun) * 1000)
        statuses[status] += 1

    async def answered(request: bytes) -> int:
        reader, writer = idle.pop() if idle else await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        idle.append((reader, writer))
        return int(head.split()[1])

    async def all_of_them() -> None:
        start, tasks = time.monotonic(), []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
            tasks.append(asyncio.ensure_future(one(next(requests))))
        await asyncio.gather(*tasks)

    asyncio.run(all_of_them())
    results.send((sorted(times_ms), statuses))


def _tell(what: str, times_ms: list[float], statuses: Counter[int]) -> None:
    middle, late = times_ms[len(times_ms) // 2], times_ms[len(times_ms) * 99 // 100]
    print(
        f"{what:<48} median {middle:7.1f} ms   99th percentile {late:7.1f} ms   slowest {times_ms[-1]:7.1f} ms"
        f"   {dict(statuses)}",
        flush=True,
    )


def measure(seconds: float) -> None:
    with running_daemon(settings='trustProxies = ["127.0.0.0/8"]\ncustomsUrl = "none"\n') as port:
        created = ask(port, http("POST", "/v1/account/create", {"email": EMAIL, "authPW": AUTH_PW}))
        token = str(created["sessionToken"])
        for flooded in (False, True):
            flood = Paced(port, repeat(login(ATTACKER, "00" * 32)), RATE, seconds + 3) if flooded else None
            time.sleep(2)  # by then the flood has filled its line
            beside = f", {RATE} wrong logins/s from elsewhere" if flooded else ""
            logins = Paced(port, repeat(login(OTHER, AUTH_PW)), 0.8, seconds)
            _tell(f"login{beside}", *logins.outcome())
            if flood is not None:
                _tell("the flood itself", *flood.outcome())
            flood = Paced(port, repeat(login(ATTACKER, "00" * 32)), RATE, seconds + 3) if flooded else None
            time.sleep(2)
            statuses = Paced(port, session_statuses(port, token), 100, seconds)
            _tell(f"session/status, 100/s{beside}", *statuses.outcome())
            if flood is not None:
                flood.outcome()


if __name__ == "__main__":
    measure(float(sys.argv[1]) if len(sys.argv) > 1 else 20.0)
