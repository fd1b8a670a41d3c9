"""Removing what has expired, again and again, in the background: tokens, counts, bans, invites and dead letters.

Each batch is one short transaction, so that requests get their turn between two of them. Ahead of it a lease is
claimed: of several daemons on one database one prunes at a time. What a row was good for is no matter here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

INVITES_KEPT_MS = 30 * 24 * 60 * 60 * 1000
"""How long an operator still finds an invite in the list that has expired or was used up."""

_LEASE = "prune"

_Removal = Callable[[int, int, int], Statement]
"""The step that removes rows which have expired by a time (ms), so many at most, but for so many of the oldest."""


class Pruning:
    """Removes what has expired about every ``interval_s`` seconds, between ``start`` and ``stop``.

    Of dead letters those have expired that have been dead for ``dead_letter_age_ms``.
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
        """Remove all that has expired by now, unless another daemon is at it.

        :raises DatabaseUnavailable: the rest is left for the next time
        """
        removed = 0
        try:
            for kind, removal in self._removals():
                removed += await self._prune_kind(kind, removal)
            removed += await self._prune_invites()
        except DemandFailed:
            _log.debug("prune.done_elsewhere", removed=removed)
            return
        await self._store.change(self._store.leases.release(_LEASE, self._holder))
        _log.debug("prune.done", removed=removed)

    def _removals(self) -> Iterator[tuple[str, _Removal]]:
        """What there is to remove, by the name that the log has for it."""
        for kind in self._lifetimes.by_kind:
            yield kind.value, partial(self._remove_tokens, kind)
        yield "limit event", self._store.limits.prune_events
        yield "limited address", self._store.limits.prune_addresses
        yield "ban", self._store.bans.prune
        yield "dead letter", self._remove_dead_letters
        yield "suppression", self._store.suppressions.prune

    def _remove_tokens(self, kind: TokenKind, now_ms: int, limit: int, skipped: int) -> Statement:
        return self._store.tokens.prune(kind, self._lifetimes.expired_before_ms(kind, now_ms), limit, skipped)

    def _remove_dead_letters(self, now_ms: int, limit: int, skipped: int) -> Statement:
        return self._store.mails.prune_dead(now_ms - self._dead_letter_age_ms, limit, skipped)

    async def _prune_kind(self, kind: str, removal: _Removal) -> int:
        """Remove the rows of one kind, the oldest first; the answer is how many.

        A batch that fails is gone through one row at a time, so that the one that somebody holds is passed over, and
        the others are not held while it is waited for.
        """
        removed = skipped = singles = 0
        while not self._stopping:
            limit = 1 if singles else BATCH
            singles = max(0, singles - 1)
            await self._claim_lease()
            try:
                [rows] = await self._store.change(removal(time_ms(self._clock), limit, skipped))
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
