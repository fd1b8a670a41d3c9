"""Repeated background work, with a clock in hand."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.periodic import JITTER, Periodic


class PeriodicTests(SynchronousTestCase):
    """Every ten seconds."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.turns = 0
        self.under_way: Deferred[None] | None = None
        self.error: Exception | None = None
        self.periodic = Periodic(self.clock, 10, "sweep", self.work)

    async def work(self) -> None:
        self.turns += 1
        if self.under_way is not None:
            await self.under_way
        if self.error is not None:
            raise self.error

    def test_the_first_turn_comes_after_one_interval(self) -> None:
        self.periodic.start()
        self.clock.advance(9.75)
        self.assertEqual(self.turns, 0)
        self.clock.advance(0.25)
        self.assertEqual(self.turns, 1)
        self.clock.pump([10] * 3)
        self.assertEqual(self.turns, 4)

    def test_a_turn_waits_for_the_one_before(self) -> None:
        self.under_way = Deferred()
        self.periodic.start()
        self.clock.pump([10] * 5)
        self.assertEqual(self.turns, 1)
        under_way, self.under_way = self.under_way, None
        under_way.callback(None)
        self.clock.advance(10)
        self.assertEqual(self.turns, 2)

    def test_a_failure_is_logged_and_the_series_goes_on(self) -> None:
        self.error = ValueError("no good")
        self.periodic.start()
        with capturedLogs() as events:
            self.clock.advance(10)
        [event] = [event for event in events if event["log_format"] == "periodic.failed"]
        self.assertEqual((event["task"], event["log_level"]), ("sweep", LogLevel.critical))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.error = None
        self.clock.advance(10)
        self.assertEqual(self.turns, 2)

    def test_stopping_between_two_turns_ends_the_series(self) -> None:
        self.periodic.start()
        self.clock.advance(10)
        self.successResultOf(Deferred.fromCoroutine(self.periodic.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_waits_for_the_turn_under_way(self) -> None:
        self.under_way = Deferred()
        self.periodic.start()
        self.clock.advance(10)
        stopping = Deferred.fromCoroutine(self.periodic.stop())
        self.assertNoResult(stopping)
        self.under_way.callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopping_waits_for_a_turn_that_fails(self) -> None:
        self.under_way, self.error = Deferred(), ValueError("no good")
        self.periodic.start()
        self.clock.advance(10)
        stopping = Deferred.fromCoroutine(self.periodic.stop())
        self.under_way.callback(None)
        self.successResultOf(stopping)
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_stopping_what_was_never_started_or_is_stopped_does_nothing(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.periodic.stop()))
        self.periodic.start()
        for _ in range(2):
            self.successResultOf(Deferred.fromCoroutine(self.periodic.stop()))


class JitterTests(SynchronousTestCase):
    """Pauses in which chance has a say."""

    def pauses_s(self, draws: list[bytes]) -> list[float]:
        """How long the pauses are when the source of random bytes yields these draws."""
        clock, remaining, turns = Clock(), iter(draws), []

        async def work() -> None:
            turns.append(clock.seconds())

        Periodic(clock, 10, "sweep", work, lambda length: next(remaining)).start()
        pauses = []
        for _ in range(len(draws) - 1):
            [call] = clock.getDelayedCalls()
            pauses.append(call.getTime() - clock.seconds())
            clock.advance(pauses[-1])
        self.assertEqual(len(turns), len(pauses))
        return pauses

    def test_each_pause_is_drawn_anew_within_the_bounds(self) -> None:
        least, half, most = bytes(4), b"\x80\0\0\0", b"\xff" * 4
        for pause_s, expected_s in zip(
            self.pauses_s([least, most, half, least, least]),
            (10 * (1 - JITTER), 10 * (1 + JITTER), 10, 10 * (1 - JITTER)),
            strict=True,
        ):
            self.assertAlmostEqual(pause_s, expected_s, 6)
