"""Work that is done when there is some: rests, waking, failures, stopping."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.wakeful import FAILURE_PAUSE_S, Rest, Wakeful


class WakefulTests(SynchronousTestCase):
    """A turn that answers with what the test has set, or waits for ``gate`` first."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = 0
        self.rest: Rest | Exception = Rest(10)
        self.gate: Deferred[None] | None = None
        self.loop = Wakeful(self.clock, "work", self.turn)

    async def turn(self) -> Rest:
        self.turns += 1
        if self.gate is not None:
            await self.gate
        if isinstance(self.rest, Exception):
            raise self.rest
        return self.rest

    def start(self) -> None:
        self.loop.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.loop.stop()))

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.loop.stop())

    def test_the_first_turn_comes_at_once_and_the_next_after_the_rest(self) -> None:
        self.start()
        self.assertEqual(self.turns, 1)
        self.clock.advance(9.9)
        self.assertEqual(self.turns, 1)
        self.clock.advance(0.1)
        self.assertEqual(self.turns, 2)

    def test_waking_ends_a_rest(self) -> None:
        self.start()
        self.loop.wake()
        self.assertEqual(self.turns, 2)
        self.clock.advance(9.9)
        self.assertEqual(self.turns, 2, "the rest has begun anew")

    def test_waking_does_not_end_a_deaf_rest(self) -> None:
        self.rest = Rest(10, deaf=True)
        self.start()
        self.loop.wake()
        self.assertEqual(self.turns, 1)
        self.clock.advance(10)
        self.assertEqual(self.turns, 2)

    def test_waking_during_a_turn_brings_another_one(self) -> None:
        self.gate = Deferred()
        self.start()
        self.loop.wake()
        gate, self.gate = self.gate, None
        gate.callback(None)
        self.assertEqual(self.turns, 2)

    def test_waking_before_the_start_and_after_the_stop_does_nothing(self) -> None:
        self.loop.wake()
        self.start()
        self.successResultOf(self.stop())
        self.loop.wake()
        self.clock.advance(100)
        self.assertEqual((self.turns, self.clock.getDelayedCalls()), (1, []))

    def test_a_failure_is_told_and_followed_by_a_deaf_pause(self) -> None:
        self.rest = ValueError("out of order")
        with capturedLogs() as events:
            self.start()
        self.assertEqual([(event["log_format"], event["task"]) for event in events], [("wakeful.failed", "work")])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.rest = Rest(1)
        self.loop.wake()
        self.clock.advance(FAILURE_PAUSE_S - 0.1)
        self.assertEqual(self.turns, 1)
        self.clock.advance(0.1)
        self.assertEqual(self.turns, 2)

    def test_stopping_waits_for_the_turn_under_way_which_can_see_it(self) -> None:
        self.gate = Deferred()
        self.start()
        stopped = self.stop()
        self.assertNoResult(stopped)
        self.assertTrue(self.loop.stopping)
        self.gate.callback(None)
        self.successResultOf(stopped)
        self.assertEqual((self.turns, self.clock.getDelayedCalls()), (1, []))

    def test_what_was_never_started_stops_at_once(self) -> None:
        self.successResultOf(self.stop())
