"""The pool of password hashes: its bounds, its end, and how it makes room for the reactor."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.trial.unittest import TestCase

from fxa_auth import workers
from fxa_auth.errors import ApiError
from fxa_auth.workers import ScryptPool

PW, SALT = b"\xab" * 32, b"\x01" * 32
ALICE, BOB, CAROL, MALLORY = "192.0.2.1", "192.0.2.2", "192.0.2.3", "203.0.113.9"
TOO_MANY, TOO_MANY_OF_ONE = "too many hashes are pending", "too many hashes of this client wait"
PUSHED_OUT = "a hash of another client took the place"
ROOT = Path(__file__).resolve().parent.parent

NICE_PROCESS = """
import os, sys, threading
from fxa_auth import workers

def hash_and_tell():
    workers._hash(bytes(32), bytes(32))
    print(own, os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

own = os.nice(int(sys.argv[1]))
thread = threading.Thread(target=hash_and_tell)
thread.start()
thread.join()
"""
"""A process that is made nicer, by so much, and hashes on a thread."""


class ScryptPoolTests(TestCase):
    """With a hash that costs nothing but waits for the test's word; the real one is in test_onepw."""

    timeout = 30

    def setUp(self) -> None:
        self.go_on = threading.Event()
        self.addCleanup(self.go_on.set)
        self.hashed: list[bytes] = []
        self.niceness: list[int] = []
        self.patch(workers, "crypto_pwhash_scryptsalsa208sha256_ll", self.wait_and_hash)

    def wait_and_hash(self, auth_pw: bytes, *_: object) -> bytes:
        self.niceness.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        self.go_on.wait(60)
        self.hashed.append(auth_pw)
        return bytes(32)

    def pool(self, threads: int, max_pending: int, max_pending_per_address: int = 0) -> ScryptPool:
        pool = ScryptPool(reactor, threads, max_pending, max_pending_per_address)
        pool.start()
        self.addCleanup(pool.stop)
        self.addCleanup(self.go_on.set)
        return pool

    def stretch(self, pool: ScryptPool, address: str = ALICE, auth_pw: bytes = PW) -> Deferred[bytes]:
        return Deferred.fromCoroutine(pool.stretch(auth_pw, SALT, address))

    async def assertRefused(self, call: Deferred[bytes], reason: str) -> None:
        error = await self.assertFailure(call, ApiError)
        self.assertEqual((error.status, error.errno, error.reason), (503, 201, reason))

    async def outcomes(self, calls: list[Deferred[bytes]]) -> list[Any]:
        """True for a hash, or the errno."""
        results = await DeferredList(calls, consumeErrors=True)
        return [success or result.value.errno for success, result in results]

    async def test_one_too_many_is_refused_and_the_others_end(self) -> None:
        pool = self.pool(threads=1, max_pending=3)
        accepted = [self.stretch(pool) for _ in range(3)]
        await self.assertRefused(self.stretch(pool), TOO_MANY)
        self.assertEqual(pool.pending, 3, "a refused hash is not pending")
        self.go_on.set()
        self.assertEqual(await self.outcomes(accepted), [True] * 3)
        self.assertEqual(pool.pending, 0)
        self.assertEqual(await self.stretch(pool), bytes(32), "there is room again")

    async def test_no_bound_takes_all(self) -> None:
        pool = self.pool(threads=2, max_pending=0)
        calls = [self.stretch(pool) for _ in range(200)]
        self.go_on.set()
        self.assertEqual(await self.outcomes(calls), [True] * 200)

    async def test_clients_take_turns_however_many_hashes_one_of_them_asks_for(self) -> None:
        pool = self.pool(threads=1, max_pending=0)
        calls = [self.stretch(pool, MALLORY, b"m0"), self.stretch(pool, ALICE, b"a0")]  # these run at once
        calls += [self.stretch(pool, MALLORY, b"m%d" % n) for n in range(1, 5)]
        calls += [self.stretch(pool, BOB, b"b%d" % n) for n in range(2)]
        calls.append(self.stretch(pool, CAROL, b"c0"))
        one_by_one = threading.Lock()

        def hash_alone(auth_pw: bytes, *_: object) -> bytes:
            with one_by_one:
                self.hashed.append(auth_pw)
            return bytes(32)

        self.patch(workers, "crypto_pwhash_scryptsalsa208sha256_ll", hash_alone)
        self.go_on.set()
        self.assertEqual(await self.outcomes(calls), [True] * 9)
        place = self.hashed.index
        for others in (b"b0", b"b1", b"c0"):
            self.assertLess(place(others), place(b"m4"), self.hashed)
        self.assertLess(place(b"c0"), place(b"m3"), self.hashed)

    async def test_one_client_alone_cannot_take_the_last_thread(self) -> None:
        """So that another need not wait until a hash of a flood ends."""
        meeting = threading.Barrier(2, timeout=60)
        self.go_on.wait = meeting.wait  # type: ignore[method-assign, assignment]
        pool = self.pool(threads=1, max_pending=0)
        mallorys = [self.stretch(pool, MALLORY) for _ in range(3)]
        alices = self.stretch(pool, ALICE)
        self.assertEqual(await alices, bytes(32), "it ran beside the first of the flood")
        others = [self.stretch(pool, address) for address in (BOB, CAROL)]
        self.assertEqual(await self.outcomes([*mallorys, *others]), [True] * 5)

    async def test_the_addresses_of_an_ipv6_network_are_one_client(self) -> None:
        pool = self.pool(threads=1, max_pending=0, max_pending_per_address=1)
        running = self.stretch(pool, "2001:db8::1")
        waiting = self.stretch(pool, "2001:db8::2")
        await self.assertRefused(self.stretch(pool, "2001:db8::ffff:3"), TOO_MANY_OF_ONE)
        other = self.stretch(pool, "2001:db8:0:1::1")
        self.go_on.set()
        self.assertEqual(await self.outcomes([running, waiting, other]), [True] * 3)

    async def test_a_client_with_too_many_waiting_is_refused_and_others_are_not(self) -> None:
        pool = self.pool(threads=1, max_pending=0, max_pending_per_address=2)
        accepted = [self.stretch(pool, MALLORY) for _ in range(3)]
        await self.assertRefused(self.stretch(pool, MALLORY), TOO_MANY_OF_ONE)
        accepted += [self.stretch(pool, ALICE) for _ in range(3)]
        self.assertEqual(pool.statistics()["refused"], 1)
        self.assertEqual(pool.statistics()["refused"], 0, "it starts anew when read")
        self.go_on.set()
        self.assertEqual(await self.outcomes(accepted), [True] * 6)

    async def test_when_all_is_full_whoever_has_the_most_waiting_loses_the_latest(self) -> None:
        pool = self.pool(threads=1, max_pending=5)
        *kept, lost = [self.stretch(pool, MALLORY) for _ in range(5)]
        kept.append(self.stretch(pool, ALICE))
        await self.assertRefused(lost, PUSHED_OUT)
        await self.assertRefused(self.stretch(pool, MALLORY), TOO_MANY)
        self.assertEqual(pool.pending, 5)
        self.go_on.set()
        self.assertEqual(await self.outcomes(kept), [True] * 5)

    async def test_whoever_loses_a_place_and_asks_again_at_once_does_not_exceed_the_bound(self) -> None:
        pool = self.pool(threads=1, max_pending=3)
        *kept, lost = [self.stretch(pool, MALLORY) for _ in range(3)]
        again = lost.addErrback(lambda _: self.stretch(pool, BOB))
        kept.append(self.stretch(pool, ALICE))
        self.assertEqual(pool.pending, 3)
        await self.assertRefused(again, TOO_MANY)
        self.go_on.set()
        self.assertEqual(await self.outcomes(kept), [True] * 3)

    async def test_who_has_as_many_waiting_as_any_other_is_refused(self) -> None:
        pool = self.pool(threads=1, max_pending=4)
        accepted = [self.stretch(pool, address) for address in (ALICE, ALICE, BOB, BOB)]
        await self.assertRefused(self.stretch(pool, CAROL), TOO_MANY)
        self.go_on.set()
        self.assertEqual(await self.outcomes(accepted), [True] * 4)

    async def test_the_high_water_mark_starts_anew_when_read(self) -> None:
        pool = self.pool(threads=1, max_pending=0)
        self.assertEqual(pool.statistics()["numPendingHWM"], 0)
        calls = [self.stretch(pool) for _ in range(3)]
        self.assertEqual(pool.statistics()["numPendingHWM"], 3)
        self.assertEqual(pool.statistics()["numPendingHWM"], 3, "all three are still pending")
        self.go_on.set()
        await self.outcomes(calls)
        self.assertEqual(pool.statistics()["numPendingHWM"], 3)
        self.assertEqual(pool.statistics()["numPendingHWM"], 0)

    async def test_a_failed_hash_is_no_longer_pending(self) -> None:
        def fail(*_: object) -> bytes:
            raise MemoryError("no 64 MiB left")

        self.patch(workers, "crypto_pwhash_scryptsalsa208sha256_ll", fail)
        pool = self.pool(threads=1, max_pending=1)
        await self.assertFailure(self.stretch(pool), MemoryError)
        self.assertEqual(pool.pending, 0)

    async def test_stopping_gives_up_the_hashes_that_wait(self) -> None:
        pool = ScryptPool(reactor, 1, 0, 0)
        pool.start()
        calls = [self.stretch(pool, MALLORY) for _ in range(50)]
        calls.append(self.stretch(pool, ALICE))
        self.go_on.set()  # no other can begin before the reactor hears of an end, and stop keeps it busy
        pool.stop()
        self.assertEqual(len(self.hashed), 2, "one that runs is waited for")
        self.assertEqual(await self.outcomes(calls), [True, *[201] * 49, True])

    async def test_a_stopped_pool_refuses(self) -> None:
        pool = ScryptPool(reactor, 1, 0, 0)
        pool.start()
        pool.stop()
        await self.assertRefused(self.stretch(pool), "the server stops")

    async def test_its_threads_are_nicer_than_the_reactor(self) -> None:
        own = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        self.go_on.set()
        await self.stretch(self.pool(threads=1, max_pending=0))
        self.assertEqual(self.niceness, [min(own + 10, 19)])
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), own)

    def test_so_they_are_in_a_process_that_is_nice_itself(self) -> None:
        """Who is not root may not make them less nice than that: there every hash would fail."""
        for more in (3, 19):
            child = [sys.executable, "-c", NICE_PROCESS, str(more)]
            done = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, timeout=60)
            own, threads = map(int, done.stdout.split())
            self.assertEqual(threads, min(own + 10, 19), done.stderr)

    async def test_as_many_run_at_once_as_there_are_threads(self) -> None:
        pool = self.pool(threads=3, max_pending=0)
        meeting = threading.Barrier(3, timeout=60)

        def meet(*_: object) -> bytes:
            meeting.wait()
            return bytes(32)

        self.patch(workers, "crypto_pwhash_scryptsalsa208sha256_ll", meet)
        self.assertEqual(await self.outcomes([self.stretch(pool) for _ in range(3)]), [True] * 3)
