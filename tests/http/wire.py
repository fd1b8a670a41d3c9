"""The client's end of the wire: exact bytes out, replies in, and what every reply must be like.

Nothing here trusts an HTTP library: what a lenient client would forgive is an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

JSON_TYPE = "application/json; charset=utf-8"
STANDING = {
    "strict-transport-security": "max-age=15552000; includeSubdomains",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-xss-protection": "1; mode=block",
    "x-download-options": "noopen",
    "vary": "origin",
    "access-control-allow-methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "access-control-allow-headers": "Authorization, Content-Type, If-None-Match, Accept-Language",
    "access-control-expose-headers": "WWW-Authenticate, Server-Authorization, Timestamp, Accept-Language, Retry-After",
    "access-control-max-age": "86400",
}
"""Headers that every answer has, whatever it says."""
ERROR_MEMBERS = ["code", "errno", "error", "message", "info"]


@dataclass(frozen=True)
class Reply:
    """One answer as it came; header names in lower case, each with all its values."""

    status: int
    headers: Mapping[str, list[str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> tuple[int, int]:
        """Status and errno; errno 0 where the body is no error."""
        is_error = self.status >= 400 and self.body
        return self.status, self.json["errno"] if is_error else 0

    def header(self, name: str) -> str | None:
        values = self.headers.get(name.lower(), [])
        assert len(values) <= 1, f"{name} stands {len(values)} times"
        return values[0] if values else None

    def faults(
        self, now_s: float, origin: str | None = None, is_head: bool = False, is_page: bool = False
    ) -> list[str]:
        """What the protocol forbids in this answer, whatever it answers to; a page may tell of errors in HTML."""
        expected: dict[str, str | None] = {
            **STANDING,
            "timestamp": str(int(now_s)),
            "access-control-allow-origin": origin or "*",
            "access-control-allow-credentials": None,
            "transfer-encoding": None,
        }
        if not is_head:
            expected["content-length"] = str(len(self.body))
        is_error = self.status >= 400 and not is_page
        if is_error:
            expected |= {"content-type": JSON_TYPE, "cache-control": "no-cache"}
        faults = [
            f"{name}: {self.headers.get(name)} instead of {value}"
            for name, value in expected.items()
            if self.headers.get(name, []) != ([] if value is None else [value])
        ]
        dates = self.headers.get("date", [])
        if len(dates) != 1 or int(parsedate_to_datetime(dates[0]).timestamp()) != int(now_s):
            faults.append(f"date: {dates}")
        if self.headers.get("cache-control", []) == []:
            faults.append("no cache-control")
        return [*faults, *self._error_faults()] if is_error and not is_head else faults

    def _error_faults(self) -> list[str]:
        error, faults = self.json, []
        if list(error)[:5] != ERROR_MEMBERS or error["code"] != self.status:
            faults.append(f"error body: {self.body!r}")
        for name, value, errnos in (
            ("www-authenticate", "Hawk", {109}),
            ("retry-after", str(error.get("retryAfter")), {114, 201}),
        ):
            expected = [value] if error["errno"] in errnos else []
            if self.headers.get(name, []) != expected:
                faults.append(f"{name}: {self.headers.get(name)} with errno {error['errno']}")
        if ("retryAfter" in error) != (error["errno"] in {114, 201}):
            faults.append(f"retryAfter with errno {error['errno']}")
        if b"Traceback" in self.body or b".py" in self.body:
            faults.append(f"a trace: {self.body!r}")
        return faults


class Wire(Protocol):
    """One connection."""

    def __init__(self) -> None:
        self.buffer = b""
        self.is_closed = False
        self._waiting: Deferred[None] | None = None

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def hang_up(self) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr]

    async def reply(self, is_head: bool = False) -> Reply:
        """The next answer; what comes after it stays in ``buffer``."""
        head = await self._until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        version, status, _ = lines[0].split(" ", 2)
        assert version in ("HTTP/1.1", "HTTP/1.0"), lines[0]
        headers: dict[str, list[str]] = {}
        for line in lines[1:]:
            name, _, value = line.partition(": ")
            headers.setdefault(name.lower(), []).append(value)
        assert "content-length" in headers, head
        length = 0 if is_head else int(headers["content-length"][0])
        while len(self.buffer) < length:
            await self.more()
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Reply(int(status), headers, body)

    async def rest(self) -> bytes:
        """What still comes until the connection ends."""
        while not self.is_closed:
            await self.more()
        return self.buffer

    async def _until(self, mark: bytes) -> bytes:
        while mark not in self.buffer:
            await self.more()
        found, _, self.buffer = self.buffer.partition(mark)
        return found

    async def more(self) -> None:
        """Wait until something has come, or the connection has ended."""
        if self.is_closed:
            raise ConnectionError(f"closed after {self.buffer!r}")
        self._waiting = Deferred()
        await self._waiting

    def dataReceived(self, data: bytes) -> None:
        self.buffer += data
        self._wake()

    def connectionLost(self, reason: Failure | None = None) -> None:
        self.is_closed = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)


@implementer(IHalfCloseableProtocol)
class StubbornWire(Wire):
    """A client that goes on sending when the server has said that it is done."""

    def readConnectionLost(self) -> None:
        """Nothing follows from it."""

    def writeConnectionLost(self) -> None:
        """Never happens."""


async def connect(port: int, kind: type[Wire] = Wire) -> Wire:
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    wire: Wire = await connectProtocol(endpoint, kind())
    return wire


def request_bytes(method: str, target: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A request as a well-behaved client writes it; Content-Length comes with a body or a POST, unless given."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    names = {name.lower() for name in headers}
    if "host" not in names:
        lines.insert(1, "Host: wherever.example")
    if (body or method == "POST") and not names & {"content-length", "transfer-encoding"}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body
