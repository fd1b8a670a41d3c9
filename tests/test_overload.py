"""How late the reactor is, measured with a clock that can be late."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.overload import ReactorLag


class ReactorLagTests(SynchronousTestCase):
    """The watch looks every quarter of a second."""

    def watch(self, max_lag_ms: int) -> tuple[Clock, ReactorLag]:
        clock = Clock()
        clock.advance(1000)
        lag = ReactorLag(clock, max_lag_ms)
        lag.start()
        return clock, lag

    def test_a_punctual_reactor_is_not_overloaded(self) -> None:
        clock, lag = self.watch(1)
        for _ in range(10):
            clock.advance(0.25)
            self.assertFalse(lag.is_too_much())

    def test_a_late_reactor_is_until_it_is_punctual_again(self) -> None:
        clock, lag = self.watch(70)
        clock.advance(0.25 + 0.125)
        self.assertTrue(lag.is_too_much())
        clock.advance(0.25)
        self.assertFalse(lag.is_too_much())

    def test_only_more_than_the_limit_is_too_much(self) -> None:
        for late_s, too_much in ((0.0625, False), (0.125, False), (0.1875, True)):
            clock, lag = self.watch(125)
            clock.advance(0.25 + late_s)
            self.assertEqual(lag.is_too_much(), too_much, late_s)

    def test_without_a_limit_no_lag_is_too_much(self) -> None:
        clock, lag = self.watch(0)
        clock.advance(60)
        self.assertFalse(lag.is_too_much())

    def test_a_stopped_watch_leaves_nothing_behind(self) -> None:
        clock, lag = self.watch(1)
        self.successResultOf(Deferred.fromCoroutine(lag.stop()))
        self.assertEqual(clock.getDelayedCalls(), [])
