"""Removing what has expired, again and again, in the background: tokens, and invites some time after their end.

Each batch is one short transaction, so that requests get their turn between two of them. Ahead of it a lease is
claimed: of several daemons on one database one prunes at a time. What a token is good for is no matter here.
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
from fxa_auth.store.database import DatabaseUnavailable, DemandFailed
from fxa_auth.tokens import Lifetimes

_log = Logger()

BATCH = 100
MOST_SKIPPED = 20
"""Tokens of a kind that one turn tries in vain, because somebody else holds them, before it leaves the rest."""

PAUSE_S = 0.1
"""Between two batches, so that other processes that wait to write to the same SQLite file come to it."""

LEASE_MS = 60_000
"""How long the other daemons hold back when the one that prunes has died."""

INVITES_KEPT_MS = 30 * 24 * 60 * 60 * 1000
"""How long an operator still finds an invite in the list that has expired or was used up."""

_LEASE = "prune"


class Pruning:
    """Removes what has expired about every ``interval_s`` seconds, between ``start`` and ``stop``."""

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
        """Remove all that has expired by now, unless another daemon is at it.

        :raises DatabaseUnavailable: the rest is left for the next time
        """
        removed = 0
        try:
            for kind in self._lifetimes.by_kind:
                removed += await self._prune_kind(kind)
            removed += await self._prune_invites()
        except DemandFailed:
            _log.debug("prune.done_elsewhere", removed=removed)
            return
        await self._store.change(self._store.leases.release(_LEASE, self._holder))
        _log.debug("prune.done", removed=removed)

    async def _prune_kind(self, kind: TokenKind) -> int:
        """Remove the tokens of one kind, the oldest first; the answer is how many.

        A batch that fails is gone through one token at a time, so that the one that somebody holds is passed over, and
        the others are not held while it is waited for.
        """
        removed = skipped = singles = 0
        while not self._stopping:
            limit = 1 if singles else BATCH
            singles = max(0, singles - 1)
            await self._claim_lease()
            try:
                rows = await self._remove(kind, limit, skipped)
            except DatabaseUnavailable:
                if skipped == MOST_SKIPPED:
                    raise
                if limit == BATCH:
                    singles = BATCH
                else:
                    skipped += 1
                    _log.warn("prune.token_skipped", kind=kind.value)
                continue
            removed += rows
            if rows < limit:
                break
            await deferLater(self._clock, PAUSE_S)
        return removed

    async def _prune_invites(self) -> int:
        """All in one batch: an operator has made each of them by hand."""
        if self._stopping:
            return 0
        await self._claim_lease()
        [rows] = await self._store.change(self._store.invites.prune(time_ms(self._clock) - INVITES_KEPT_MS))
        return len(rows)

    async def _claim_lease(self) -> None:
        """Take the lease, in a transaction of its own: nobody is to wait for it as long as a batch may take.

        :raises DemandFailed: another daemon holds it
        """
        now_ms = time_ms(self._clock)
        await self._store.change(
            self._store.leases.claim(_LEASE, self._holder, now_ms, now_ms + LEASE_MS, "nobody else prunes")
        )

    async def _remove(self, kind: TokenKind, limit: int, skipped: int) -> int:
        expired_before_ms = self._lifetimes.expired_before_ms(kind, time_ms(self._clock))
        [rows] = await self._store.change(self._store.tokens.prune(kind, expired_before_ms, limit, skipped))
        return len(rows)
