"""The CPU pool for password hashes: threads of our own, nicer than the reactor, with a bounded queue that is fair.

One hash takes 64 MiB and about a tenth of a second. The reactor's own thread pool is left alone, since it resolves
names.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from nacl.bindings import crypto_pwhash_scryptsalsa208sha256_ll
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from fxa_auth import clientnetwork, errors, onepw
from fxa_auth.fairqueue import FairQueue

_NICER_BY, _NICEST = 10, 19
_EXPRESS_THREADS = 1
"""Threads beyond those that a flood may fill, so that another client need not wait until a hash of the flood ends."""

_MAX_MEMORY = 128 * onepw.SCRYPT_N * onepw.SCRYPT_R * 2


@dataclass(frozen=True)
class _Task:
    """A hash that waits for a thread, and who waits for the hash."""

    auth_pw: bytes = field(repr=False)
    auth_salt: bytes = field(repr=False)
    outcome: Deferred[bytes]


class ScryptPool:
    """Stretches passwords on ``threads`` threads, and on one more for clients that have none running; they take turns.

    ``max_pending`` bounds the hashes waiting or running, ``max_pending_per_address`` those waiting for one client
    address; 0 means no bound.
    """

    def __init__(
        self, reactor: IReactorFromThreads, threads: int, max_pending: int, max_pending_per_address: int
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._pool = ThreadPool(minthreads=0, maxthreads=threads + _EXPRESS_THREADS, name="scrypt")
        self._stopping = False
        self._waiting: FairQueue[_Task] = FairQueue()
        self._running: Counter[str] = Counter()
        self._refused = 0
        self._high_water_mark = 0
        self._max_pending = max_pending
        self._max_pending_per_address = max_pending_per_address

    def start(self) -> None:
        self._pool.start()

    def stop(self) -> None:
        """End the threads. Hashes that wait are given up; one that runs is waited for."""
        self._stopping = True
        while (owner := self._waiting.next_owner()) is not None:
            self._waiting.take(owner).outcome.errback(errors.service_unavailable("the server stops"))
        self._pool.stop()

    @property
    def pending(self) -> int:
        """The hashes that wait or run."""
        return len(self._waiting) + self._running.total()

    def statistics(self) -> Mapping[str, int]:
        """The bound, the hashes pending now, the most that were at once and those refused since this was last asked."""
        mark, self._high_water_mark = self._high_water_mark, self.pending
        refused, self._refused = self._refused, 0
        return {
            "maxPending": self._max_pending,
            "numPending": self.pending,
            "numPendingHWM": mark,
            "refused": refused,
        }

    async def stretch(self, auth_pw: bytes, auth_salt: bytes, client_address: str) -> bytes:
        """The ``stretched`` of verifier version 1: scrypt over both (32 bytes each), 32 bytes.

        When there is room for no more, whoever has the most waiting loses the latest: the caller, or one whose call
        fails in its stead.

        :raises ApiError: 503/201, too many hashes are pending, or the pool has been stopped
        """
        owner = clientnetwork.of(client_address)
        pushed_out = self._make_room(owner)
        task = _Task(auth_pw, auth_salt, Deferred())
        self._waiting.put(owner, task)
        self._high_water_mark = max(self._high_water_mark, self.pending)
        self._fill_threads()
        if pushed_out is not None:  # told last, as whoever hears of it may ask for another hash at once
            pushed_out.outcome.errback(errors.service_unavailable("a hash of another client took the place"))
        return await task.outcome

    def _make_room(self, owner: str) -> _Task | None:
        """See that the owner may wait; the answer is what was taken out in exchange."""
        if self._stopping:
            raise errors.service_unavailable("the server stops")
        if 0 < self._max_pending_per_address <= self._waiting.waiting(owner):
            self._refused += 1
            raise errors.service_unavailable("too many hashes of this client wait")
        if not 0 < self._max_pending <= self.pending:
            return None
        self._refused += 1
        pushed_out = self._waiting.give_way(owner)
        if pushed_out is None:
            raise errors.service_unavailable("too many hashes are pending")
        return pushed_out

    def _fill_threads(self) -> None:
        while (owner := self._next_owner()) is not None:
            task = self._waiting.take(owner)
            self._running[owner] += 1
            hashing = deferToThreadPool(self._reactor, self._pool, _hash, task.auth_pw, task.auth_salt)
            hashing.addBoth(self._hashed, owner, task)

    def _next_owner(self) -> str | None:
        """Whose hash is to run now, if there is a thread for it: the last one is for clients that have none running."""
        running = self._running.total()
        if running < self._threads:
            return self._waiting.next_owner()
        if running < self._threads + _EXPRESS_THREADS:
            return self._waiting.next_owner(passing_over=self._running)
        return None

    def _hashed(self, result: bytes | Failure, owner: str, task: _Task) -> None:
        self._running[owner] -= 1
        if not self._running[owner]:
            del self._running[owner]
        self._fill_threads()
        task.outcome.callback(result)


def _hash(auth_pw: bytes, auth_salt: bytes) -> bytes:
    _be_nicer_than_the_reactor()
    stretched: bytes = crypto_pwhash_scryptsalsa208sha256_ll(
        auth_pw, auth_salt, onepw.SCRYPT_N, onepw.SCRYPT_R, onepw.SCRYPT_P, onepw.KEY_LENGTH, _MAX_MEMORY
    )
    return stretched


def _be_nicer_than_the_reactor() -> None:
    """Let this thread make way for the main one, whatever niceness the process was started with or given since.

    Only root may make a thread less nice again.
    """
    own, reactors = (os.getpriority(os.PRIO_PROCESS, thread) for thread in (threading.get_native_id(), os.getpid()))
    niceness = min(reactors + _NICER_BY, _NICEST)
    if own < niceness:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)
