"""Removing expired tokens, again and again, in the background.

Each batch is one short transaction, so that requests get their turn between two of them. It also claims a lease: of
several daemons on one database one prunes at a time. What a token is good for is no matter here.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from fxa_auth.clock import time_ms
from fxa_auth.periodic import Periodic
from fxa_auth.records import TokenKind
from fxa_auth.store import Store
from fxa_auth.store.database import DemandFailed
from fxa_auth.tokens import Lifetimes

_log = Logger()

BATCH = 500
PAUSE_S = 0.1
"""Between two batches, so that other processes that wait to write to the same SQLite file come to it."""

LEASE_MS = 60_000
"""How long the other daemons hold back when the one that prunes has died."""

_LEASE = "prune"


class Pruning:
    """Removes expired tokens about every ``interval_s`` seconds, between ``start`` and ``stop``."""

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        lifetimes: Lifetimes,
        interval_s: float,
        random: Callable[[int], bytes],
    ) -> None:
        self._clock = clock
        self._store = store
        self._lifetimes = lifetimes
        self._holder = random(16)
        self._turns = Periodic(clock, interval_s, "prune", self.prune, random)
        self._stopping = False

    def start(self) -> None:
        self._turns.start()

    async def stop(self) -> None:
        """No further batch; wait for the one under way."""
        self._stopping = True
        await self._turns.stop()

    async def prune(self) -> None:
        """Remove all tokens that have expired by now, unless another daemon is at it.

        :raises DatabaseUnavailable: the rest is left for the next time
        """
        removed = 0
        try:
            for kind in self._lifetimes.by_kind:
                removed += await self._prune_kind(kind)
        except DemandFailed:
            _log.debug("prune.done_elsewhere", removed=removed)
            return
        await self._store.change(self._store.leases.release(_LEASE, self._holder))
        _log.debug("prune.done", removed=removed)

    async def _prune_kind(self, kind: TokenKind) -> int:
        removed = 0
        while not self._stopping:
            rows = await self._prune_batch(kind)
            removed += rows
            if rows < BATCH:
                break
            await deferLater(self._clock, PAUSE_S)
        return removed

    async def _prune_batch(self, kind: TokenKind) -> int:
        """How many tokens were removed.

        :raises DemandFailed: another daemon holds the lease
        """
        now_ms = time_ms(self._clock)
        claim = self._store.leases.claim(_LEASE, self._holder, now_ms, now_ms + LEASE_MS, "nobody else prunes")
        expired_before_ms = self._lifetimes.expired_before_ms(kind, now_ms)
        _, rows = await self._store.change(claim, self._store.tokens.prune(kind, expired_before_ms, BATCH))
        return len(rows)
