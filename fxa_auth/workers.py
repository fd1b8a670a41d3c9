"""The CPU pool for password hashes: threads of our own, nicer than the reactor, with a bounded queue.

One hash takes 64 MiB and about a tenth of a second. The reactor's own thread pool is left alone, since it resolves
names.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping

from nacl.bindings import crypto_pwhash_scryptsalsa208sha256_ll
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from fxa_auth import errors, onepw

_NICENESS = 10
_MAX_MEMORY = 128 * onepw.SCRYPT_N * onepw.SCRYPT_R * 2


class ScryptPool:
    """Stretches passwords on ``threads`` threads.

    ``max_pending`` bounds the hashes waiting or running; 0 means no bound.
    """

    def __init__(self, reactor: IReactorFromThreads, threads: int, max_pending: int) -> None:
        self._reactor = reactor
        self._pool = ThreadPool(minthreads=0, maxthreads=threads, name="scrypt")
        self._stopping = False
        self._high_water_mark = 0
        self.max_pending = max_pending
        self.pending = 0

    def start(self) -> None:
        self._pool.start()

    def stop(self) -> None:
        """End the threads. Hashes that wait are given up; one that runs is waited for."""
        self._stopping = True
        self._pool.stop()

    def statistics(self) -> Mapping[str, int]:
        """The bound, the hashes pending now, and the most that were at once since this was last asked."""
        mark, self._high_water_mark = self._high_water_mark, self.pending
        return {"maxPending": self.max_pending, "numPending": self.pending, "numPendingHWM": mark}

    async def stretch(self, auth_pw: bytes, auth_salt: bytes) -> bytes:
        """The ``stretched`` of verifier version 1: scrypt over both (32 bytes each), 32 bytes.

        :raises ApiError: 503/201, too many hashes are pending, or the pool has been stopped
        """
        if self._stopping or 0 < self.max_pending <= self.pending:
            raise errors.service_unavailable()
        self.pending += 1
        self._high_water_mark = max(self._high_water_mark, self.pending)
        try:
            return await deferToThreadPool(self._reactor, self._pool, self._hash, auth_pw, auth_salt)
        finally:
            self.pending -= 1

    def _hash(self, auth_pw: bytes, auth_salt: bytes) -> bytes:
        if self._stopping:
            raise errors.service_unavailable()
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        stretched: bytes = crypto_pwhash_scryptsalsa208sha256_ll(
            auth_pw, auth_salt, onepw.SCRYPT_N, onepw.SCRYPT_R, onepw.SCRYPT_P, onepw.KEY_LENGTH, _MAX_MEMORY
        )
        return stretched
