"""Load on a daemon: raw HTTP over kept-alive connections, each with one request under way, from a process of its own.

It does next to nothing for a request, so that the figures are the daemon's.
"""

from __future__ import annotations

import json
import multiprocessing
import re
import selectors
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, repeat
from multiprocessing.connection import Connection

from fxa_auth import hawk
from fxa_auth.records import TokenKind
from fxa_auth.tokens import derive

_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)
AUTH_PW = "ab" * 32


@dataclass(frozen=True)
class Figures:
    """Answers a second, and how long an answer took (ms)."""

    rate: float
    median_ms: float
    slow_ms: float

    def __str__(self) -> str:
        return f"{self.rate:8.1f}/s   median {self.median_ms:7.2f} ms   99th percentile {self.slow_ms:7.2f} ms"


def http(method: str, path: str, body: object = None, authorization: str | None = None) -> bytes:
    """The bytes of a request."""
    payload = b"" if body is None else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: bench", f"Content-Length: {len(payload)}"]
    if body is not None:
        lines.append("Content-Type: application/json")
    if authorization is not None:
        lines.append(f"Authorization: {authorization}")
    return "\r\n".join([*lines, "", ""]).encode() + payload


def ask(port: int, request: bytes) -> dict[str, object]:
    """One request on a connection of its own; the answer has to be 200."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(request)
        received = b""
        while not (length := _complete(received)):
            received += connection.recv(65536)
    if not received.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(received.decode())
    answer: dict[str, object] = json.loads(received[length - int(_LENGTH.findall(received)[0]) :])
    return answer


def creates(prefix: str) -> Iterator[bytes]:
    """Requests that each make another account."""
    for number in count():
        yield http("POST", "/v1/account/create", {"email": f"{prefix}{number}@example.com", "authPW": AUTH_PW})


def logins(email: str) -> Iterator[bytes]:
    return repeat(http("POST", "/v1/account/login", {"email": email, "authPW": AUTH_PW}))


def session_statuses(port: int, session_token: str) -> Iterator[bytes]:
    """One signed request again and again, which ``hawk.mode = compat`` allows: signing would be the client's work."""
    keys = derive(TokenKind.SESSION, bytes.fromhex(session_token))
    unsigned = hawk.Authorization(keys.id.hex(), str(int(time.time())), "bench", "", None, "")
    mac = hawk.request_mac(keys.auth_key, unsigned, hawk.Target("GET", "/v1/session/status", "127.0.0.1", port))
    header = f'Hawk id="{unsigned.id}", ts="{unsigned.ts}", nonce="bench", mac="{mac}"'
    return repeat(http("GET", "/v1/session/status", authorization=header))


class Load:
    """A process that sends ``requests`` over so many connections for so many seconds, and awaits the last answers.

    All of them have to be answered with ``status``.
    """

    def __init__(
        self, port: int, requests: Iterable[bytes], connections: int, seconds: float, status: int = 200
    ) -> None:
        self._results, theirs = multiprocessing.Pipe(duplex=False)
        context = multiprocessing.get_context("fork")
        self._process = context.Process(
            target=_drive, args=(port, iter(requests), connections, seconds, status, theirs)
        )
        self._process.start()

    def figures(self) -> Figures:
        """Wait for the end."""
        times_s, elapsed_s = self._results.recv()
        self._process.join()
        times_s.sort()
        middle, late = times_s[len(times_s) // 2], times_s[len(times_s) * 99 // 100]
        return Figures(len(times_s) / elapsed_s, middle * 1000, late * 1000)


def _drive(
    port: int, requests: Iterator[bytes], connections: int, seconds: float, status: int, results: Connection
) -> None:
    selector = selectors.DefaultSelector()
    begun: dict[socket.socket, float] = {}
    received: dict[socket.socket, bytes] = {}
    times_s: list[float] = []
    for _ in range(connections):
        connection = socket.create_connection(("127.0.0.1", port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(connection, selectors.EVENT_READ)
        begun[connection], received[connection] = time.monotonic(), b""
        connection.sendall(next(requests))
    start = time.monotonic()
    while begun:
        for key, _ in selector.select():
            connection = key.fileobj  # type: ignore[assignment]
            received[connection] += connection.recv(65536)
            if not _complete(received[connection]):
                continue
            if not received[connection].startswith(b"HTTP/1.1 %d " % status):
                raise RuntimeError(received[connection].decode())
            now = time.monotonic()
            times_s.append(now - begun.pop(connection))
            if now >= start + seconds:
                selector.unregister(connection)
                continue
            begun[connection], received[connection] = now, b""
            connection.sendall(next(requests))
    results.send((times_s, time.monotonic() - start))


def _complete(received: bytes) -> int:
    """The length of the whole answer once it is there, else 0."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return 0
    length = _LENGTH.search(received, 0, end + 2)
    whole = end + 4 + int(length[1] if length else b"0")
    return whole if len(received) >= whole else 0
