"""Waiting for the answer to a request that this server makes of another one: so long, so many bytes, and no more.

treq bounds neither the time of a whole exchange nor the size of a body, so this is the one place where such answers
are read. It knows nothing of who asks whom, nor of what an answer means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import IResponse


class BodyTooLong(Exception):
    """The other server sent more than was allowed."""


@dataclass(frozen=True)
class Answer:
    """``status`` is the HTTP status, ``body`` the whole body."""

    status: int
    body: bytes


def answer_to(asked: Deferred[Any], max_bytes: int, timeout_s: float, clock: IReactorTime) -> Deferred[Answer]:
    """The whole answer to a request, given treq's Deferred of an ``unbuffered=True`` response.

    Errors: BodyTooLong; twisted.internet.defer.TimeoutError when ``timeout_s`` has passed since the call;
    CancelledError when the caller gave up; or what kept the connection from being made or ended it too early. The
    connection is closed in every case.
    """
    exchange = Deferred.fromCoroutine(_answer(asked, max_bytes))

    def give_up(waiter: Deferred[Answer]) -> None:
        # Said before the exchange is cancelled: that fails with whatever error its present stage has for it.
        waiter.errback(CancelledError())
        exchange.cancel()

    def hand_on(result: Answer | Failure) -> None:
        if not waiter.called:
            waiter.callback(result)

    waiter: Deferred[Answer] = Deferred(give_up)
    exchange.addBoth(hand_on)
    return waiter.addTimeout(timeout_s, clock)


async def _answer(asked: Deferred[Any], max_bytes: int) -> Answer:
    response: IResponse = await asked
    body = _LimitedBody(max_bytes)
    response.deliverBody(body)
    return Answer(response.code, await body.whole)


class _LimitedBody(Protocol):
    def __init__(self, limit: int) -> None:
        self.whole: Deferred[bytes] = Deferred(lambda _cancelled: self._hang_up())
        self._limit = limit
        self._received = bytearray()

    def dataReceived(self, data: bytes) -> None:
        if self.whole.called:
            return
        self._received += data
        if len(self._received) > self._limit:
            self.whole.errback(BodyTooLong(f"more than {self._limit} bytes"))
            self._hang_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return
        # PotentialDataLoss: without a length, the end of the connection is the end of the body (RFC 9112 section 6.3).
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(bytes(self._received))
        else:
            self.whole.errback(reason)

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
