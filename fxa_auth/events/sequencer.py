"""The sequencer: gives committed events their numbers, wakes the feeds that publish them, and removes old ones.

That one of several daemons does it at a time, and in the right order, is the log's part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from fxa_auth.clock import time_ms
from fxa_auth.events import EventLog
from fxa_auth.events.feed import Feed
from fxa_auth.periodic import Periodic
from fxa_auth.wakeful import Rest, Wakeful

BATCH = 500
"""Events that are numbered, or removed, at a time: one short transaction."""

POLL_S = 1.0
"""How often to look for events of daemons that died before they could number them, and of commands."""

COALESCE_S = 0.05
"""The pause after numbering: events that come in quick succession are numbered together."""

PRUNE_PAUSE_S = 0.1
"""Between two removals, so that other processes that wait to write to the same SQLite file come to it."""

FORGET_AFTER_MS = 7 * 24 * 60 * 60 * 1000
"""How long events wait for a publisher that is no longer in any daemon's settings."""


class Sequencer:
    """Numbers events between ``start`` and ``stop``, and runs the feeds, which it has found their places before.

    Every ``prune_interval_s`` seconds (0 is never) events are removed that are older than ``retention_ms`` and that
    every publisher is done with.
    """

    def __init__(
        self,
        clock: IReactorTime,
        log: EventLog,
        feeds: Sequence[Feed],
        retention_ms: int,
        prune_interval_s: float,
        random: Callable[[int], bytes],
    ) -> None:
        self._clock = clock
        self._log = log
        self._feeds = feeds
        self._retention_ms = retention_ms
        self._loop = Wakeful(clock, "events.sequencer", self._turn)
        self._pruning = Periodic(clock, prune_interval_s, "events.prune", self.prune, random)
        self._is_pruning_wanted = prune_interval_s > 0
        self._feeds_run = False
        self._numbered = 0

    def start(self) -> None:
        self._loop.start()
        if self._is_pruning_wanted:
            self._pruning.start()

    def wake(self) -> None:
        """Say that an event was recorded, and committed."""
        self._loop.wake()

    async def stop(self) -> None:
        """Return when what is under way has ended. What has not been published by then will be after the next start."""
        endings = [self._loop.stop(), self._pruning.stop(), *(feed.stop() for feed in self._feeds)]
        await gatherResults([Deferred.fromCoroutine(ending) for ending in endings])

    def statistics(self) -> Mapping[str, object]:
        """How many events this process has numbered, and how each publisher fares."""
        publishers = {
            feed.name: {"place": feed.place, "delivered": feed.delivered, "failed": feed.failed} for feed in self._feeds
        }
        return {"numbered": self._numbered, "publishers": publishers}

    async def _turn(self) -> Rest:
        if not self._feeds_run:
            await self._run_feeds()
        numbered = await self._log.number(BATCH, time_ms(self._clock))
        if not numbered:
            return Rest(POLL_S)
        self._numbered += numbered
        for feed in self._feeds:
            feed.wake()
        return Rest(0 if numbered == BATCH else COALESCE_S, deaf=True)

    async def _run_feeds(self) -> None:
        for feed in self._feeds:
            await feed.attend()
        if not self._loop.stopping:
            for feed in self._feeds:
                feed.start()
            self._feeds_run = True

    async def prune(self) -> None:
        """Remove all events that nobody waits for and that are old enough."""
        while not self._loop.stopping:
            now_ms = time_ms(self._clock)
            removed = await self._log.prune(now_ms - self._retention_ms, now_ms - FORGET_AFTER_MS, BATCH)
            if removed < BATCH:
                break
            await deferLater(self._clock, PRUNE_PAUSE_S)
