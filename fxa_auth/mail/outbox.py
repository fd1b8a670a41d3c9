"""The delivery loop: claims queued mails that are due, and has them delivered, several at a time.

It knows when to look, how much to take in hand and when to let a failing server or queue rest; what is done with a mail
is the business of ``delivery``. Where the queue is kept it refuses to know.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth.backoff import Backoff
from fxa_auth.clock import time_ms
from fxa_auth.mail.compose import Message
from fxa_auth.mail.delivery import ClaimedMails, Delivery, MailCounts, Server
from fxa_auth.records import ClaimedMail, Letter, MailKind, Outlook

_log = Logger()

POLL_MS = 5_000
"""How often an idle loop looks whether another process has queued a mail, or wants one to be tried again."""

FIRST_REST_MS, LONGEST_REST_MS = 5_000, 45_000
"""For how long a failing server is let alone, give or take a quarter: mail flows within a minute of its return."""


class MailQueue(ClaimedMails, Protocol):
    """The queue as the loop sees it; times are milliseconds since the epoch.

    Any method may fail with any exception: the loop logs it, rests and asks again.
    """

    async def outlook(self) -> Outlook:
        """What waits; a mail that somebody has claimed waits for the end of that time."""

    async def claim(self, now_ms: int, until_ms: int, limit: int) -> Sequence[ClaimedMail]:
        """At most ``limit`` mails whose time has come; nobody else gets them before ``until_ms``."""


@dataclass(frozen=True)
class Terms:
    """On which terms mails are delivered; times in ms.

    At most ``at_once`` are in delivery together, each for ``send_ms`` at most. One that was refused waits ``retry_ms``,
    the next time twice as long, and so on up to ``max_retry_ms``. At the age of ``max_age_ms`` it is given up.
    """

    at_once: int
    send_ms: int
    retry_ms: int
    max_retry_ms: int
    max_age_ms: int


class Outbox:
    """Delivers what is in the queue between ``start`` and ``stop``; for ``send`` and ``outdated`` see ``Delivery``.

    Where the server as a whole or the queue fails, everything rests, and then one mail is tried at a time until one
    comes through to the server. ``random(n)`` gives n random bytes.
    """

    def __init__(
        self,
        clock: IReactorTime,
        queue: MailQueue,
        compose: Callable[[Letter], Message],
        send: Callable[[Message], Awaitable[str]],
        outdated: Callable[[Letter], Awaitable[str | None]],
        random: Callable[[int], bytes],
        terms: Terms,
    ) -> None:
        self._clock = clock
        self._queue = queue
        self._terms = terms
        self._counts = MailCounts()
        retries = Backoff(terms.retry_ms, terms.max_retry_ms, random)
        self._delivery = Delivery(clock, queue, compose, send, outdated, retries, terms.max_age_ms, self._counts)
        first_rest_ms, longest_rest_ms = min(terms.retry_ms, FIRST_REST_MS), min(terms.max_retry_ms, LONGEST_REST_MS)
        self._rests = Backoff(first_rest_ms, longest_rest_ms, random)
        self._rests_in_a_row = 0
        self._wants_rest = False
        self._is_resting = False
        self._in_hand = 0
        self._oldest_queued_at_ms: int | None = None
        self._running: Deferred[None] | None = None
        self._sleep: Deferred[None] | None = None
        self._woken = False
        self._stopping = False

    def start(self) -> None:
        """Begin to deliver. Call it once."""
        self._running = Deferred.fromCoroutine(self._run())

    def queued(self, kind: MailKind, uid: bytes) -> None:
        """Say that a mail to the account ``uid`` (16 bytes) was queued. It goes out at once unless the loop rests."""
        self._counts.add("queued", kind)
        _log.info("mail.queued", kind=kind.value, uid=uid.hex())
        self._wake()

    async def stop(self) -> None:
        """Return when the mails in hand are done with; no other is begun."""
        self._stopping = True
        self._end_sleep()
        if self._running is not None:
            await self._running

    def statistics(self) -> Mapping[str, object]:
        """How many mails of each kind were ``queued``, ``sent`` and so on, and ``oldestSeconds``.

        That is for how long the oldest one in the queue waits by now, None if there is none; of all processes' mails,
        and as the loop last saw them.
        """
        oldest_ms = self._oldest_queued_at_ms
        age_s = None if oldest_ms is None else max(0, time_ms(self._clock) - oldest_ms) // 1000
        return {**self._counts.by_event(), "oldestSeconds": age_s}

    async def _run(self) -> None:
        while not self._stopping:
            self._woken = False
            idle_ms = await self._take_up()
            if self._wants_rest and not self._in_hand:
                await self._rest()
            elif not self._woken and not self._stopping:
                await self._sleep_for(idle_ms)
        while self._in_hand:
            await self._sleep_for(None)

    async def _take_up(self) -> int | None:
        """Begin to deliver what is due, as far as there is room.

        The answer is how long (ms) there is nothing else to do, None meaning until a mail in hand is done with.
        """
        try:
            while (room := self._room()) > 0:
                outlook, now_ms = await self._queue.outlook(), time_ms(self._clock)
                self._oldest_queued_at_ms = outlook.oldest_queued_at_ms
                if outlook.next_due_ms is None:
                    return POLL_MS
                if outlook.next_due_ms > now_ms:
                    return min(POLL_MS, outlook.next_due_ms - now_ms)
                await self._claim(now_ms, room)
        except Exception:
            self._queue_has_failed()
        return None

    def _room(self) -> int:
        """How many mails may be taken in hand: only one while nobody knows whether the server works again."""
        if self._stopping or self._wants_rest:
            return 0
        return (1 if self._rests_in_a_row else self._terms.at_once) - self._in_hand

    async def _claim(self, now_ms: int, limit: int) -> None:
        """Begin to deliver mails that are due.

        They are claimed for twice as long as sending may take, and not sent in the second half of that time, so that
        nobody else sends one at the same time.
        """
        for mail in await self._queue.claim(now_ms, now_ms + 2 * self._terms.send_ms, limit):
            self._in_hand += 1
            Deferred.fromCoroutine(self._see_through(mail, now_ms + self._terms.send_ms))

    async def _see_through(self, mail: ClaimedMail, send_by_ms: int) -> None:
        """Deliver a mail, and draw the conclusions; fails never."""
        try:
            if self._stopping:
                await self._queue.release(mail, time_ms(self._clock), None)
            else:
                self._learn(await self._delivery.deliver(mail, send_by_ms))
        except Exception:
            self._queue_has_failed()
        self._in_hand -= 1
        self._wake()

    def _learn(self, server: Server) -> None:
        if server is Server.FAILS:
            self._wants_rest = True
        elif server is Server.WORKS:
            self._wants_rest = False
            self._rests_in_a_row = 0

    def _queue_has_failed(self) -> None:
        _log.failure("mail.queue_failed")
        self._wants_rest = True

    async def _rest(self) -> None:
        """Let everything be, new mails too; only ``stop`` ends it early."""
        self._wants_rest = False
        self._rests_in_a_row += 1
        self._is_resting = True
        await self._sleep_for(self._rests.pause_ms(self._rests_in_a_row))
        self._is_resting = False

    def _wake(self) -> None:
        """Have the loop look again, unless it rests."""
        self._woken = True
        if not self._is_resting:
            self._end_sleep()

    async def _sleep_for(self, duration_ms: int | None) -> None:
        """Sleep so long, None meaning for ever, or until ``_end_sleep``."""
        self._sleep = Deferred()
        alarm = None if duration_ms is None else self._clock.callLater(duration_ms / 1000, self._end_sleep)
        await self._sleep
        if alarm is not None and alarm.active():
            alarm.cancel()

    def _end_sleep(self) -> None:
        sleep, self._sleep = self._sleep, None
        if sleep is not None:
            sleep.callback(None)
