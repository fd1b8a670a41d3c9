"""Messages go to an SMTP server, several on one connection while there are more, over several connections at once.

It refuses to know what a message says, when to try again, and what is said on a connection (``dialogue``).
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredSemaphore
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from fxa_auth.mail.compose import Message
from fxa_auth.mail.dialogue import SERVICE_CLOSING, Dialogue, Tell
from fxa_auth.mail.failures import CANCELLED, MailNotSent, Stage
from fxa_auth.mail.server import SmtpServer
from fxa_auth.mail.tls import ServerTls, TlsSession

__all__ = ["MailNotSent", "SmtpSender", "SmtpServer"]

_log = Logger()

KEPT_S = 5
"""How long a connection is kept for the next message: mails come in bursts, and servers drop who idles."""

CARRIES = 10
"""Messages on one connection: of an eleventh Exim, as it is delivered, would make no delivery before its queue run."""


class SmtpSender:
    """Sends messages by way of one server, between its making and ``stop``.

    ``tell`` is given the dialogues line by line, the credentials masked.
    """

    def __init__(self, reactor: IReactorTime, server: SmtpServer, tell: Tell = lambda line: None) -> None:
        self._reactor = reactor
        self._server = server
        self._tell = tell
        self._tls = ServerTls(server.host, server.authorities)
        self._slots = DeferredSemaphore(server.max_connections)
        self._under_way: set[Deferred[str]] = set()
        self._open: set[Dialogue] = set()
        self._kept: dict[Dialogue, IDelayedCall] = {}
        self._is_stopping = False

    async def send(self, message: Message) -> str:
        """What the server says, code and text, when it has taken the message over. Calls may wait for each other.

        Raises ``MailNotSent``, also when cancelled.
        """
        try:
            await self._slots.acquire()
        except CancelledError:
            raise MailNotSent(CANCELLED, server_failed=True) from None
        delivery = Deferred.fromCoroutine(self._deliver(message))
        self._under_way.add(delivery)
        try:
            return await delivery.addTimeout(self._server.timeout_s, self._reactor, _too_late)
        finally:
            self._under_way.remove(delivery)
            self._slots.release()

    async def stop(self) -> None:
        """Return when every connection is closed. What is still under way fails, and so does what comes later."""
        self._is_stopping = True
        for delivery in list(self._under_way):
            delivery.cancel()
        for dialogue in list(self._kept):
            self._released(dialogue).quit()
        await DeferredList([dialogue.ended for dialogue in self._open])

    async def _deliver(self, message: Message) -> str:
        if self._is_stopping:
            raise MailNotSent("stopping", server_failed=True)
        if self._kept:
            dialogue = self._released(next(reversed(self._kept)))
            try:
                return await self._carry(dialogue, message)
            except MailNotSent as error:
                # Servers close what idles, without a word or with 421: that is no answer to this message.
                is_closed = error.stage is Stage.MAIL and (dialogue.is_lost or error.code == SERVICE_CLOSING)
                is_stuck = error.stage is Stage.RESET and (dialogue.is_lost or error.code is not None)
                if not is_closed and not is_stuck:
                    raise
        return await self._carry(await self._session(), message)

    async def _carry(self, dialogue: Dialogue, message: Message) -> str:
        is_good = False
        try:
            answer = await dialogue.deliver(message)
            is_good = True
            return answer
        except MailNotSent as error:
            is_good = error.code not in (None, SERVICE_CLOSING) and error.stage is not Stage.RESET
            raise
        finally:
            if is_good and dialogue.carried < CARRIES and not self._is_stopping:
                self._kept[dialogue] = self._reactor.callLater(KEPT_S, lambda: self._released(dialogue).quit())
            else:
                dialogue.quit()

    def _released(self, dialogue: Dialogue) -> Dialogue:
        """The dialogue, no longer kept."""
        expiry = self._kept.pop(dialogue)
        if expiry.active():
            expiry.cancel()
        return dialogue

    async def _session(self) -> Dialogue:
        """A new connection, ready for the first message."""
        server = self._server
        if not server.secure and server.start_tls == "off":
            return await self._opened(None)
        tls = self._tls.session()
        try:
            return await self._opened(tls)
        except MailNotSent as error:
            if not tls.has_failed or tls.must_be_believed:
                raise
            # Whoever can disturb a handshake can hide STARTTLS as well: nothing is gained by insisting on it.
            _log.warn("mail.unencrypted", reason=error.reason)
            self._tell(f"-- TLS failed ({error.reason}): once more without, as smtp.startTls is opportunistic")
        return await self._opened(None)

    async def _opened(self, tls: TlsSession | None) -> Dialogue:
        server, limit_s = self._server, self._server.connect_timeout_s
        dialogue = Dialogue(self._reactor, server, tls, self._tell)
        # The limit of our own covers the look-up of the name, too; the endpoint's would only cut it short.
        endpoint: IStreamClientEndpoint = HostnameEndpoint(self._reactor, server.host, server.port, timeout=limit_s + 1)
        if server.secure and tls is not None:
            endpoint = wrapClientTLS(tls, endpoint)
        self._tell(f"-- connecting to {server.host}:{server.port}")
        try:
            await connectProtocol(endpoint, dialogue).addTimeout(limit_s, self._reactor, _not_connected_in)
        except MailNotSent:
            raise
        except (CancelledError, ConnectingCancelledError):
            raise MailNotSent(CANCELLED, server_failed=True, stage=Stage.CONNECT) from None
        except DNSLookupError:
            raise MailNotSent(f"no address for {server.host}", server_failed=True, stage=Stage.RESOLVE) from None
        except Exception as error:
            raise MailNotSent(f"no connection: {error}", server_failed=True, stage=Stage.CONNECT) from None
        self._open.add(dialogue)
        dialogue.ended.addCallback(lambda _: self._forget(dialogue))
        await dialogue.ready
        return dialogue

    def _forget(self, dialogue: Dialogue) -> None:
        self._open.remove(dialogue)
        if dialogue in self._kept:
            self._released(dialogue)


def _too_late(outcome: str | Failure, limit_s: float) -> str | Failure:
    """What a delivery comes to that was cancelled at its time limit."""
    if isinstance(outcome, Failure) and isinstance(error := outcome.value, MailNotSent):
        raise MailNotSent(f"no end after {limit_s:g} s", None, error.server_failed, stage=error.stage)
    return outcome


def _not_connected_in(outcome: object, limit_s: float) -> object:
    if isinstance(outcome, Failure):
        raise MailNotSent(f"no connection within {limit_s:g} s", server_failed=True, stage=Stage.CONNECT)
    return outcome
