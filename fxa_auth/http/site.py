"""The site: what becomes a request, how large it may be, and the headers that stand on every answer.

OPTIONS requests, and bytes that are no HTTP at all, are answered here; a body that is too large is not read, but
the request goes the way of all others and is refused there.
"""

from __future__ import annotations

import re
import secrets
from io import BytesIO
from typing import Any
from urllib.parse import quote, unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http, server
from twisted.web.resource import IResource

from fxa_auth import errors, language
from fxa_auth.clock import time_ms
from fxa_auth.http.auth import Signed
from fxa_auth.http.clientaddress import ClientAddress, chain
from fxa_auth.http.route import Answer, error_answer

_log = Logger()

MAX_BODY = 16_384
_MAX_LOGGED = 255
_IDLE_TIMEOUT_S = 60
_LINGER_S = 5
"""How long the rest of a refused body may take to arrive, so that the client reads its answer, not a reset."""

_STANDING_HEADERS = {
    "Cache-Control": "no-cache",
    "Strict-Transport-Security": "max-age=15552000; includeSubdomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "1; mode=block",
    "X-Download-Options": "noopen",
    "Vary": "origin",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-None-Match, Accept-Language",
    "Access-Control-Expose-Headers": "WWW-Authenticate, Server-Authorization, Timestamp, Accept-Language, Retry-After",
    "Access-Control-Max-Age": "86400",
}


def answer_headers(answer: Answer, origin: str | None, now_s: float) -> dict[str, str]:
    """All headers of an answer; its own win over the standing ones."""
    headers = {
        "Date": http.datetimeToString(now_s).decode(),
        "Timestamp": str(int(now_s)),
        "Content-Length": str(len(answer.body)),
        "Access-Control-Allow-Origin": origin or "*",
        **_STANDING_HEADERS,
        **answer.headers,
    }
    if answer.content_type is not None:
        headers["Content-Type"] = answer.content_type
    return headers


class Request(server.Request):
    """A request of this server: what the pipeline reads of it, and how its answer is written."""

    channel: Any  # None once the client has hung up
    content: BytesIO

    def __init__(self, channel: Channel, *args: Any, **kwargs: Any) -> None:
        super().__init__(channel, *args, **kwargs)
        self.body_error: errors.ApiError | None = None
        self.signed: Signed | None = None
        self.refused = False
        self._notes: dict[str, object] = {}
        self._body_length = 0
        self._rid = secrets.token_hex(8)
        self._site = channel.site

    # What the channel calls, in this order.

    def gotLength(self, length: int | None) -> None:
        self._began_at_s = self._site.clock.seconds()
        self._peer = _host_of(self.channel.getPeer())
        self.content = BytesIO()
        if length is None:
            self.body_error = errors.missing_content_length()
        elif length > MAX_BODY:
            self._refuse_body()

    def handleContentChunk(self, data: bytes) -> None:
        self._body_length += len(data)
        if self.refused:
            return
        if self._body_length > MAX_BODY:
            self._refuse_body()
        else:
            self.content.write(data)

    def process(self) -> None:
        self.received_at_ms = time_ms(self._site.clock)
        if self.method == b"OPTIONS":
            self._answer_at_once(Answer(200, b""))
        else:
            self.path = _routable(_without_origin(self.path))
            super().process()

    def _refuse_body(self) -> None:
        """Answer now, and let what is still to come of the body run into the void."""
        self.refused = True
        self.body_error = errors.body_too_large()
        self.content = BytesIO()
        self.requestHeaders.removeHeader(b"Expect")
        self.channel.refuse_rest_of(self)

    def _answer_at_once(self, answer: Answer) -> None:
        body = self.respond(answer)
        self.write(body)
        self.finish()

    def getRequestHostname(self) -> bytes:
        """Routing does not depend on the Host header, which may hold anything."""
        return b"localhost"

    # What the pipeline uses.

    def header(self, name: str) -> str | None:
        values = self.requestHeaders.getRawHeaders(name.encode())
        return values[0].decode("utf-8", "replace") if values else None

    @property
    def content_type(self) -> str | None:
        return self.header("Content-Type")

    @property
    def accept_language(self) -> str | None:
        """As it is stored: see ``language.trim``."""
        return language.trim(self.header("Accept-Language"))

    @property
    def query(self) -> str:
        return self.uri.partition(b"?")[2].decode("latin-1")

    @property
    def client_ip(self) -> str:
        return self._site.client_address.pick(self._address_chain())

    def note(self, **fields: object) -> None:
        """Add fields to the log line that is written once the request is answered."""
        self._notes.update(fields)

    def summary(self) -> dict[str, object]:
        """The fields of the request's log line. The query may hold codes and stays out."""
        return {
            "errno": 0,
            "rid": self._rid,
            "method": self.method.decode("latin-1"),
            "path": self.path.decode("latin-1")[:_MAX_LOGGED],
            "lang": self.accept_language,
            "agent": (self.header("User-Agent") or "")[:_MAX_LOGGED],
            "remoteAddressChain": self._address_chain(),
            "t": round((self._site.clock.seconds() - self._began_at_s) * 1000),
            **self._notes,
        }

    def respond(self, answer: Answer) -> bytes:
        """Set status and headers of the answer; its body is the caller's to write."""
        self.setResponseCode(answer.status, errors.phrase(answer.status).encode())
        for name in (b"Server", b"Content-Type"):
            self.responseHeaders.removeHeader(name)
        origin = self.header("Origin")
        headers = answer_headers(answer, origin, self._site.clock.seconds())
        for field, value in headers.items():
            self.setHeader(field.encode(), value.encode())
        if answer.content_type is None:
            self.defaultContentType = b""
        if self._site.is_stopping and self.channel is not None:
            self.channel.persistent = False
            self.setHeader(b"Connection", b"close")
        return answer.body

    def abort(self) -> None:
        """Cut the connection of a request that can't be answered."""
        if self.channel is not None:
            self.channel.transport.abortConnection()

    def _address_chain(self) -> list[str]:
        forwarded_for = ",".join(
            value.decode("latin-1") for value in self.requestHeaders.getRawHeaders(b"X-Forwarded-For", [])
        )
        return chain(forwarded_for, self._peer)


def _without_origin(target: bytes) -> bytes:
    """The path of a request target in absolute form, which every server has to take (RFC 9112 section 3.2.2)."""
    return re.sub(rb"^https?://[^/]*/?", b"/", target, flags=re.IGNORECASE)


def _routable(path: bytes) -> bytes:
    """A path as Klein can take it: it answers what is not UTF-8 by itself, in a form that is not ours, and sees no
    difference between one slash at the beginning, two, and none, or between a slash and an encoded one."""
    readable = unquote_to_bytes(path).decode("utf-8", "replace")
    if not readable.startswith("/") or readable.startswith("//") or b"%2f" in path.lower():
        readable = f"/./{readable}"
    return quote(readable).encode()


def _host_of(peer: object) -> str:
    """The peer's address; one on a unix socket has none."""
    return str(getattr(peer, "host", "unix"))


class Channel(http.HTTPChannel):
    """One connection. Bytes that are no request get an answer in the protocol's form, not Twisted's bare 400."""

    site: Site
    transport: Any
    requests: list[Request]
    _is_discarding = False
    timeOut: Any
    callLater: Any
    requestFactory: Any

    def connectionMade(self) -> None:
        self.site.channels.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.site.forget(self)

    def refuse_rest_of(self, request: Request) -> None:
        """Have ``request`` answered before its body has arrived, and close the connection after that."""
        self.persistent = False
        self._is_discarding = True
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        request.requestReceived(self._command, self._path, self._version)

    def dataReceived(self, data: bytes) -> None:
        if not self._is_discarding:
            super().dataReceived(data)

    def allContentReceived(self) -> None:
        if not self._is_discarding:
            super().allContentReceived()

    def requestDone(self, request: Request) -> None:
        if not request.refused:
            super().requestDone(request)
            return
        self.requests.remove(request)
        self._networkProducer.resumeProducing()
        self.setTimeout(_LINGER_S)
        if not self.isSecure():  # TLS cannot close one direction only; there the client goes by the answer's length
            self.transport.loseWriteConnection()

    def headerReceived(self, line: bytes) -> bool:
        name, _, value = line.partition(b":")
        digits = value.strip(b" \t")
        if name.strip().lower() == b"content-length" and digits.isdigit():
            # Python makes no int of more than 4,300 digits; all that counts is whether the body is too large.
            significant = digits.lstrip(b"0") or b"0"
            line = name + b":" + significant[: len(str(MAX_BODY)) + 1]
        received: bool = super().headerReceived(line)
        return received

    def lineLengthExceeded(self, line: bytes) -> None:
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        if self._is_discarding:
            return
        error = errors.unspecified(400, "Bad Request")
        answer = error_answer(error, self.site.development)
        origin = self.requests[-1].header("Origin") if self.requests else None
        lines = [b"HTTP/1.1 400 Bad Request", b"Connection: close"]
        for name, value in answer_headers(answer, origin, self.site.clock.seconds()).items():
            lines.append(f"{name}: {value}".encode())
        self.transport.write(b"\r\n".join([*lines, b"", answer.body]))
        self.loseConnection()
        peer = _host_of(self.getPeer())
        _log.info("request.malformed", code=error.status, errno=error.errno, remoteAddressChain=[peer])


class Site(server.Site):
    """The listening end: makes channels, keeps no sessions and no access log."""

    def __init__(
        self, resource: IResource, clock: IReactorTime, client_address: ClientAddress, development: bool
    ) -> None:
        super().__init__(resource, parsePOSTFormSubmission=False, timeout=_IDLE_TIMEOUT_S, reactor=clock)
        self.clock = clock
        self.client_address = client_address
        self.development = development
        self.channels: set[Channel] = set()
        self.is_stopping = False
        self._emptied: Deferred[None] | None = None

    def begin_to_stop(self) -> None:
        """Close each connection as soon as nothing is under way on it."""
        self.is_stopping = True
        for channel in list(self.channels):
            if not channel.requests:
                channel.loseConnection()

    async def close_connections(self) -> None:
        """End every connection, once all that was written to it is on its way."""
        if self.channels:
            self._emptied = Deferred()
            for channel in list(self.channels):
                channel.loseConnection()
            await self._emptied

    def forget(self, channel: Channel) -> None:
        """A connection has ended."""
        self.channels.discard(channel)
        if self._emptied is not None and not self.channels and not self._emptied.called:
            self._emptied.callback(None)

    def buildProtocol(self, addr: object) -> Any:
        channel = Channel()
        channel.factory = self
        channel.site = self
        channel.timeOut = self.timeOut
        channel.callLater = self.clock.callLater
        channel.requestFactory = Request
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """HTTP/1.1 alone, so that every connection is a ``Channel``."""
        return [b"http/1.1"]

    def startFactory(self) -> None:
        """No access log, and so no clock for its lines: the pipeline writes one line a request."""

    def stopFactory(self) -> None:
        """Nothing was started."""

    def log(self, request: http.Request) -> None:
        """See ``startFactory``."""
