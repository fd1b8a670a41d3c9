"""A way to a PostgreSQL server that a test can cut at a chosen word, and that speaks TLS for a server that does not."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure

_SSL_REQUEST = bytes.fromhex("0000000804d2162f")


class Proxy:
    """Listens on 127.0.0.1 and passes everything on to ``server_port``, and back.

    The first time that a client says ``cut_at``, its connection is cut: before the server hears of it, or, if it
    ``is_heard``, when the server answers.
    """

    def __init__(
        self, server_port: int, tls: CertificateOptions | None = None, cut_at: bytes = b"", is_heard: bool = False
    ) -> None:
        self.server_port = server_port
        self.tls = tls
        self.cut_at = cut_at
        self.is_heard = is_heard
        self.connections = 0
        self.encrypted = 0
        self.open: set[_Client] = set()
        self._port: Any = reactor.listenTCP(  # type: ignore[attr-defined]
            0, Factory.forProtocol(lambda: _Client(self)), interface="127.0.0.1"
        )
        self.port: int = self._port.getHost().port

    def forget_connections(self) -> None:
        """From now on, nothing that is said on the connections there are gets through, and nobody is told."""
        for client in self.open:
            client.is_forgotten = True

    async def stop(self) -> None:
        await maybeDeferred(self._port.stopListening)
        for client in list(self.open):
            client.cut()


class _Client(Protocol):
    """The side of the proxy that a client of the server talks to."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._unsent = b""
        self._server: _Server | None = None
        self.is_doomed = False
        self.is_forgotten = False

    def connectionMade(self) -> None:
        self._proxy.connections += 1
        self._proxy.open.add(self)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self._proxy.server_port)
        connectProtocol(endpoint, _Server(self)).addCallbacks(self._connected, lambda _: self.cut())

    def _connected(self, server: _Server) -> None:
        self._server = server
        server.transport.write(self._unsent)  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        proxy = self._proxy
        if self.is_forgotten:
            return
        if proxy.tls is not None and data == _SSL_REQUEST:
            proxy.encrypted += 1
            self.transport.write(b"S")  # type: ignore[union-attr]
            self.transport.startTLS(proxy.tls)  # type: ignore[union-attr]
            return
        if proxy.cut_at and proxy.cut_at in data:
            proxy.cut_at = b""
            self.is_doomed = True
            if not proxy.is_heard:
                self.cut()
                return
        if self._server is None:
            self._unsent += data
        else:
            self._server.transport.write(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = Protocol.connectionLost) -> None:  # type: ignore[assignment]
        self._proxy.open.discard(self)
        if self._server is not None:
            self._server.transport.loseConnection()  # type: ignore[union-attr]

    def cut(self) -> None:
        self.transport.abortConnection()  # type: ignore[union-attr]
        if self._server is not None:
            self._server.transport.abortConnection()  # type: ignore[union-attr]


class _Server(Protocol):
    """The side of the proxy that talks to the server."""

    def __init__(self, client: _Client) -> None:
        self._client = client

    def dataReceived(self, data: bytes) -> None:
        if self._client.is_doomed:
            self._client.cut()
        else:
            self._client.transport.write(data)  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = Protocol.connectionLost) -> None:  # type: ignore[assignment]
        if self._client.transport is not None:
            self._client.transport.loseConnection()
