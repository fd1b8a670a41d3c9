"""Removing expired tokens and old dead letters, again and again, in the background.

Each batch is one short transaction, so that requests get their turn between two of them. Ahead of it a lease is
claimed: of several daemons on one database one prunes at a time. What a row is good for is no matter here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from fxa_auth.clock import time_ms
from fxa_auth.periodic import Periodic
from fxa_auth.records import TokenKind
from fxa_auth.store import Store
from fxa_auth.store.database import DatabaseUnavailable, DemandFailed, Statement
from fxa_auth.tokens import Lifetimes

_log = Logger()

BATCH = 100
MOST_SKIPPED = 20
"""Rows of a kind that one turn tries in vain, because somebody else holds them, before it leaves the rest."""

PAUSE_S = 0.1
"""Between two batches, so that other processes that wait to write to the same SQLite file come to it."""

LEASE_MS = 60_000
"""How long the other daemons hold back when the one that prunes has died."""

_LEASE = "prune"


class Pruning:
    """Removes what is out of date about every ``interval_s`` seconds, between ``start`` and ``stop``.

    That is tokens whose lifetime is over, and dead letters that are older than ``dead_letter_age_ms``.
    """

    def __init__(
        self,
        clock: IReactorTime,
        store: Store,
        lifetimes: Lifetimes,
        dead_letter_age_ms: int,
        interval_s: float,
        random: Callable[[int], bytes],
    ) -> None:
        self._clock = clock
        self._store = store
        self._lifetimes = lifetimes
        self._dead_letter_age_ms = dead_letter_age_ms
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
        """Remove all that is out of date by now, unless another daemon is at it.

        :raises DatabaseUnavailable: the rest is left for the next time
        """
        removed = 0
        try:
            for kind in self._lifetimes.by_kind:
                removed += await self._prune_rows(kind.value, partial(self._expired_tokens, kind))
            removed += await self._prune_rows("deadLetter", self._old_dead_letters)
        except DemandFailed:
            _log.debug("prune.done_elsewhere", removed=removed)
            return
        await self._store.change(self._store.leases.release(_LEASE, self._holder))
        _log.debug("prune.done", removed=removed)

    async def _prune_rows(self, kind: str, out_of_date: Callable[[int, int], Statement]) -> int:
        """Remove the rows of one kind, the oldest first; the answer is how many.

        ``out_of_date`` gives the step that removes up to so many rows, but for so many that are skipped. A batch that
        fails is gone through one row at a time, so that the one that somebody holds is passed over, and the others are
        not held while it is waited for.
        """
        removed = skipped = singles = 0
        while not self._stopping:
            limit = 1 if singles else BATCH
            singles = max(0, singles - 1)
            await self._claim_lease()
            try:
                [rows] = await self._store.change(out_of_date(limit, skipped))
            except DatabaseUnavailable:
                if skipped == MOST_SKIPPED:
                    raise
                if limit == BATCH:
                    singles = BATCH
                else:
                    skipped += 1
                    _log.warn("prune.row_skipped", kind=kind)
                continue
            removed += len(rows)
            if len(rows) < limit:
                break
            await deferLater(self._clock, PAUSE_S)
        return removed

    async def _claim_lease(self) -> None:
        """Take the lease, in a transaction of its own: nobody is to wait for it as long as a batch may take.

        :raises DemandFailed: another daemon holds it
        """
        now_ms = time_ms(self._clock)
        await self._store.change(
            self._store.leases.claim(_LEASE, self._holder, now_ms, now_ms + LEASE_MS, "nobody else prunes")
        )

    def _expired_tokens(self, kind: TokenKind, limit: int, skipped: int) -> Statement:
        expired_before_ms = self._lifetimes.expired_before_ms(kind, time_ms(self._clock))
        return self._store.tokens.prune(kind, expired_before_ms, limit, skipped)

    def _old_dead_letters(self, limit: int, skipped: int) -> Statement:
        dead_before_ms = time_ms(self._clock) - self._dead_letter_age_ms
        return self._store.mails.prune_dead(dead_before_ms, limit, skipped)
