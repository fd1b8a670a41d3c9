"""What one publisher is told: the events of the log, one after the other, each again until it is delivered.

Of several daemons one publishes at a time, by a lease on the publisher. How far it has come is noted in the log, at
least every second of work; so after a crash what was delivered in the last second is delivered again, and nothing is
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth.backoff import Backoff
from fxa_auth.clock import time_ms
from fxa_auth.events import DELIVERY_TIMEOUT_S, EventLog, Publisher
from fxa_auth.records import Event
from fxa_auth.wakeful import Rest, Wakeful

_log = Logger()

BATCH = 100
"""Events read at a time."""

POLL_S = 1.0
"""How often to look for events that another daemon has numbered."""

NOTE_MS = 1_000
LEASE_MS = 10_000
"""How long others hold back when the daemon that publishes has died.

It is lengthened whenever the place is noted, so a delivery that begins has more time left than it may take.
"""

ATTEND_MS = 60_000
"""How often to say that the publisher is there, even if there is nothing for it."""

FIRST_PAUSE_MS, LONGEST_PAUSE_MS = 1_000, 60_000
"""The pause after a delivery that failed, which doubles each time it fails again."""

STOP_GRACE_S = 2.0
"""How long a delivery may go on once the daemon is told to stop."""


class Feed:
    """Delivers the log to one publisher between ``start`` and ``stop``.

    ``place`` is the number of the last event that is done with, ``delivered`` and ``failed`` count deliveries since
    the process started.
    """

    def __init__(
        self, clock: IReactorTime, log: EventLog, publisher: Publisher, random: Callable[[int], bytes]
    ) -> None:
        self._clock = clock
        self._log = log
        self._publisher = publisher
        self._holder = random(16)
        self._backoff = Backoff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS, random)
        self._loop = Wakeful(clock, f"events.{publisher.name}", self._turn)
        self._attended_at_ms = 0
        self._noted_at_ms = 0
        self._failures_in_a_row = 0
        self._delivery: Deferred[None] | None = None
        self.place: int | None = None
        self.delivered = 0
        self.failed = 0

    @property
    def name(self) -> str:
        return self._publisher.name

    async def attend(self) -> None:
        """Find the place, or take one. To be called before any event gets a number that is to be published."""
        now_ms = time_ms(self._clock)
        self.place = await self._log.attend(self.name, self.place, now_ms)
        self._attended_at_ms = now_ms

    def start(self) -> None:
        self._loop.start()

    def wake(self) -> None:
        """Say that events have got their numbers."""
        self._loop.wake()

    async def stop(self) -> None:
        """Return when the delivery under way has ended, or been given up, and the place is noted."""
        impatience = self._clock.callLater(STOP_GRACE_S, self._give_up_delivery)
        try:
            await self._loop.stop()
        finally:
            if impatience.active():
                impatience.cancel()

    def _give_up_delivery(self) -> None:
        if self._delivery is not None:
            self._delivery.cancel()

    async def _turn(self) -> Rest:
        if self.place is None or time_ms(self._clock) - self._attended_at_ms >= ATTEND_MS:
            await self.attend()
        assert self.place is not None, "attend has found it"
        events = await self._log.after(self.place, BATCH)
        if not events:
            return Rest(POLL_S)
        if not any(map(self._publisher.wants, events)):
            self._move_to(events[-1].number)
            return Rest(0)
        now_ms = time_ms(self._clock)
        place = await self._log.claim(self.name, self._holder, now_ms, now_ms + LEASE_MS)
        if place is None:
            self._move_to(await self._log.place(self.name) or 0)
            return Rest(POLL_S)
        self._noted_at_ms = now_ms
        self._move_to(place)
        try:
            return await self._publish(events)
        finally:
            await self._log.release(self.name, self.place, self._holder, time_ms(self._clock))

    async def _publish(self, events: Sequence[Event]) -> Rest:
        """Deliver the events, under the lease, as far as that goes."""
        for event in events:
            if event.number <= (self.place or 0):
                continue
            if self._publisher.wants(event):
                if self._loop.stopping or not await self._keep_lease():
                    return Rest(POLL_S)
                if not await self._deliver(event):
                    return Rest(self._backoff.pause_ms(max(1, self._failures_in_a_row)) / 1000, deaf=True)
            self._move_to(event.number)
        return Rest(0)

    async def _keep_lease(self) -> bool:
        """Note the place and lengthen the lease, if the last time is a while ago; False if another daemon has it."""
        now_ms = time_ms(self._clock)
        if now_ms - self._noted_at_ms < NOTE_MS:
            return True
        self._noted_at_ms = now_ms
        return await self._log.advance(self.name, self.place or 0, self._holder, now_ms, now_ms + LEASE_MS)

    async def _deliver(self, event: Event) -> bool:
        self._delivery = Deferred.fromCoroutine(self._handed_over(event))
        try:
            await self._delivery.addTimeout(DELIVERY_TIMEOUT_S, self._clock)
        except CancelledError:
            return False  # by stop
        except Exception as error:
            self.failed += 1
            self._failures_in_a_row += 1
            reason = f"{type(error).__name__}: {error}"
            _log.warn("event.not_delivered", publisher=self.name, number=event.number, reason=reason)
            return False
        finally:
            self._delivery = None
        if self._failures_in_a_row:
            _log.info("event.delivered_again", publisher=self.name, number=event.number, failures=self.failed)
        self.delivered += 1
        self._failures_in_a_row = 0
        return True

    async def _handed_over(self, event: Event) -> None:
        await self._publisher.deliver(event)

    def _move_to(self, number: int) -> None:
        self.place = max(number, self.place or 0)
