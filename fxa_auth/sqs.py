"""Queues of Amazon SQS: messages are fetched by long polling, handed to whoever handles them, and deleted after that.

What a message says is not known here, nor who signs the requests.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from fxa_auth.backoff import Backoff
from fxa_auth.config.kinds import region_of_queue

_log = Logger()
_T = TypeVar("_T")

WAIT_S = 20
"""How long SQS waits for a message before it answers that there is none: the most that it allows."""

MOST_MESSAGES = 10
TIMEOUT_S = 10
"""For a whole exchange, besides what SQS was asked to wait."""

FIRST_PAUSE_MS = 2_000
LONGEST_PAUSE_MS = 60_000
SHORTEST_TURN_S = 1
"""A queue that does not wait, though it was asked to, is not asked more often than this."""

STOP_TIMEOUT_S = 1
"""How long messages in hand may take once the poller is told to stop. What is cut off comes again."""


class Request(Protocol):
    """Sends a signed POST to the service ``sqs`` of a region, and gives the body of the answer.

    Any exception is a failure, refusals of the service included.
    """

    def __call__(
        self, service: str, region: str, headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Awaitable[bytes]: ...


@dataclass(frozen=True)
class Message:
    """``id`` stays the same however often it is received; ``receipt`` is of this time, and deletes it."""

    id: str
    body: str = field(repr=False)
    receipt: str = field(repr=False)


class QueueFailed(Exception):
    """Something was wrong with what the service answered; the text says what in one line."""


class SqsQueue:
    """The queue at ``url``, in ``region`` of Amazon or of whatever name a compatible service goes by."""

    def __init__(self, request: Request, url: str, region: str) -> None:
        self._request = request
        self._url = url
        self._region = region

    async def receive(self) -> list[Message]:
        """Up to ten messages, as soon as there is one; none after ``WAIT_S`` seconds.

        :raises Exception: there was no answer, or none that makes sense
        """
        asked = {"MaxNumberOfMessages": MOST_MESSAGES, "WaitTimeSeconds": WAIT_S}
        messages = (await self._call("ReceiveMessage", asked, WAIT_S + TIMEOUT_S)).get("Messages", [])
        if not isinstance(messages, list):
            raise QueueFailed("its answer holds no list of messages")
        return [_message(message) for message in messages]

    async def delete(self, messages: Sequence[Message]) -> None:
        """Delete up to ten messages that were received.

        :raises Exception: there was no answer, or some messages were not deleted
        """
        entries = [{"Id": str(number), "ReceiptHandle": message.receipt} for number, message in enumerate(messages)]
        if (await self._call("DeleteMessageBatch", {"Entries": entries}, TIMEOUT_S)).get("Failed"):
            raise QueueFailed("it did not delete all messages that were handled")

    async def _call(self, action: str, parameters: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        headers = {"Content-Type": "application/x-amz-json-1.0", "X-Amz-Target": f"AmazonSQS.{action}"}
        body = json.dumps({"QueueUrl": self._url, **parameters}).encode()
        answered = await self._request("sqs", self._region, headers, body, timeout_s)
        try:
            answer = json.loads(answered)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise QueueFailed("its answer is no JSON object")
        return answer


def endpoint_of(queue_url: str, instead_of_amazon: str | None) -> str:
    """Where the service is that keeps a queue: the host in the queue's URL, or what is asked in Amazon's stead."""
    if instead_of_amazon is not None and region_of_queue(queue_url) is not None:
        return instead_of_amazon
    parts = urlsplit(queue_url)
    return f"{parts.scheme}://{parts.netloc}"


def _message(message: object) -> Message:
    match message:
        case {"MessageId": str(id_), "Body": str(body), "ReceiptHandle": str(receipt)}:
            return Message(id_, body, receipt)
    raise QueueFailed("its answer holds a message without id, body or receipt")


class QueuePoller:
    """Takes messages from a queue between ``start`` and ``stop``; ``name`` is what the log calls it.

    ``handle`` is given the id and the body of each. One that it fails on stays in the queue, and comes again when the
    queue's visibility timeout is over; so may one that it was done with, when the process or the service dies at the
    wrong moment. A queue or handler that fails is let alone for 2 s, then for twice as long and so on up to a minute.
    """

    def __init__(
        self,
        clock: IReactorTime,
        random: Callable[[int], bytes],
        name: str,
        queue: SqsQueue,
        handle: Callable[[str, str], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._name = name
        self._queue = queue
        self._handle = handle
        self._pauses = Backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS, random)
        self._running: Deferred[None] | None = None
        self._waiting: Deferred[Any] | None = None
        self._stopping = False
        self._failures_in_a_row = 0
        self._counts = {"received": 0, "failures": 0}

    def start(self) -> None:
        """Begin to poll. Call it once."""
        self._running = Deferred.fromCoroutine(self._run())

    async def stop(self) -> None:
        """Return when nothing is under way any more: at once while a poll is open, within ``STOP_TIMEOUT_S`` else."""
        self._stopping = True
        if self._running is None:
            return
        if self._waiting is not None:
            self._waiting.cancel()
        alarm = self._clock.callLater(STOP_TIMEOUT_S, self._running.cancel)
        await self._running
        if alarm.active():
            alarm.cancel()

    def statistics(self) -> Mapping[str, object]:
        """Messages received, and turns that failed, since the process started."""
        return dict(self._counts)

    async def _run(self) -> None:
        while not self._stopping:
            try:
                await self._turn()
            except Exception as error:
                if not self._stopping:
                    await self._failed(f"{type(error).__name__}: {error}")

    async def _turn(self) -> None:
        began_s = self._clock.seconds()
        messages = await self._wait_for(self._queue.receive())
        self._counts["received"] += len(messages)
        handled = [message for message in messages if await self._hand_over(message)]
        if handled:
            await self._queue.delete(handled)
        if len(handled) < len(messages):
            raise QueueFailed("some messages could not be handled, and stay in it")
        if self._failures_in_a_row:
            self._failures_in_a_row = 0
            _log.info("sqs.works_again", queue=self._name)
        if not messages and self._clock.seconds() - began_s < SHORTEST_TURN_S:
            await self._pause(SHORTEST_TURN_S)

    async def _hand_over(self, message: Message) -> bool:
        """Have a message handled; False if it has to come again."""
        if self._stopping:
            return False
        try:
            await self._handle(message.id, message.body)
        except Exception:
            if self._stopping:
                raise
            _log.failure("sqs.message_kept", queue=self._name, id=message.id)
            return False
        return True

    async def _failed(self, reason: str) -> None:
        self._counts["failures"] += 1
        self._failures_in_a_row += 1
        pause_s = self._pauses.pause_ms(self._failures_in_a_row) / 1000
        _log.warn("sqs.failed", queue=self._name, reason=reason, pauseSeconds=pause_s)
        await self._pause(pause_s)

    async def _pause(self, seconds: float) -> None:
        with suppress(CancelledError):  # by a stop, which the loop sees
            await self._wait_for(deferLater(self._clock, seconds))

    async def _wait_for(self, waiting: Coroutine[Any, Any, _T] | Deferred[_T]) -> _T:
        """Wait for something that a stop may cancel."""
        self._waiting = waiting if isinstance(waiting, Deferred) else Deferred.fromCoroutine(waiting)
        try:
            return await self._waiting
        finally:
            self._waiting = None
