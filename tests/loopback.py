"""A real HTTP server on 127.0.0.1 for tests of the parts that ask other servers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredQueue, maybeDeferred
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

Answer = Callable[[Request], bytes | int]
"""What a twisted.web resource's render does: return the body, or NOT_DONE_YET."""


class Loopback:
    """Answers every request by calling ``answer``, which a test may change at any time.

    ``requests`` yields each request as it arrives; ``heard`` are method, path and body of all so far.
    """

    def __init__(self, answer: Answer, tls: CertificateOptions | None = None) -> None:
        self.answer = answer
        self.requests: DeferredQueue[Request] = DeferredQueue()
        self.heard: list[tuple[bytes, bytes, bytes]] = []
        root = Resource()
        root.isLeaf = True
        root.render = self._render  # type: ignore[method-assign,assignment]
        self._factory = WrappingFactory(Site(root))
        listen: Any = reactor.listenTCP if tls is None else reactor.listenSSL  # type: ignore[attr-defined]
        options = () if tls is None else (tls,)
        self._port: Any = listen(0, self._factory, *options, interface="127.0.0.1")
        self.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{self._port.getHost().port}"

    def _render(self, request: Request) -> bytes | int:
        assert request.content is not None
        self.heard.append((request.method, request.path, request.content.read()))
        answer = self.answer(request)
        self.requests.put(request)
        return answer

    async def refuse_connections(self) -> None:
        await maybeDeferred(self._port.stopListening)

    async def stop(self) -> None:
        await self.refuse_connections()
        while self._factory.protocols:
            for connection in list(self._factory.protocols):
                connection.transport.abortConnection()
            await deferLater(reactor, 0)  # type: ignore[arg-type]


def says(body: bytes | Any, status: int = 200) -> Answer:
    """The answer ``body``, as JSON unless it is bytes."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode("utf-8")

    def answer(request: Request) -> bytes:
        request.setResponseCode(status)
        return data

    return answer


def redirects(location: str) -> Answer:
    def answer(request: Request) -> bytes:
        request.redirect(location.encode("ascii"))
        return b"{}"

    return answer


def hangs(request: Request) -> int:
    """Never answers."""
    return NOT_DONE_YET


def hangs_in_the_body(request: Request) -> int:
    request.setHeader(b"Content-Length", b"1000")
    request.write(b"{")
    return NOT_DONE_YET


def dies_in_the_body(request: Request) -> int:
    request.setHeader(b"Content-Length", b"1000")
    request.write(b"{}")
    request.transport.loseConnection()
    return NOT_DONE_YET


def dies_at_once(request: Request) -> int:
    request.transport.abortConnection()
    return NOT_DONE_YET


def never_ends(request: Request) -> int:
    """Sends without end and without saying how much, as long as somebody reads."""

    class Flood:
        def resumeProducing(self) -> None:
            request.write(b" " * 4096)

        def pauseProducing(self) -> None:
            pass

        def stopProducing(self) -> None:
            pass

    request.registerProducer(Flood(), False)
    return NOT_DONE_YET


def ended(request: Request) -> Deferred[object]:
    """Fires when the connection of ``request`` is gone."""
    gone: Deferred[object] = Deferred()
    request.notifyFinish().addBoth(lambda _: gone.callback(None))
    return gone
