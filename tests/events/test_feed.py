"""A feed: what one publisher is told, in which order, and what happens when its receiver is away."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs

from fxa_auth.events import DELIVERY_TIMEOUT_S
from fxa_auth.events import feed as module
from fxa_auth.events.feed import ATTEND_MS, LEASE_MS, NOTE_MS, POLL_S, STOP_GRACE_S
from fxa_auth.store.database import Statement
from tests.events.publishing import PublishingCase, Receiver
from tests.store.on_postgres import until


class Refused(Exception):
    pass


class DeliveryTests(PublishingCase):
    """One feed, whose receiver does what it is told to."""

    async def setUp(self) -> None:
        await super().setUp()
        self.sns = self.feed(self.receiver)
        await self.sns.attend()

    async def delivered(self, *numbers: int) -> None:
        """Wait until these have been taken, and nothing else, and the feed has nothing to do."""
        await until(lambda: len(self.receiver.taken) >= len(numbers))
        await until(lambda: self.clock.getDelayedCalls())
        self.assertEqual(self.receiver.taken, list(numbers))

    async def asked(self, times: int) -> None:
        """Wait until the receiver was handed an event so often, and the feed waits for the clock."""
        await until(lambda: len(self.receiver.asked) == times)
        await until(lambda: self.clock.getDelayedCalls())

    async def quiet(self) -> None:
        """Give a turn, if one has begun, the time it takes to come to a delivery: two calls of the database."""
        for _ in range(4):
            await self.place()

    async def test_events_come_in_order_and_the_place_is_noted(self) -> None:
        await self.publish(3)
        self.sns.start()
        await self.delivered(1, 2, 3)
        self.assertEqual((await self.place(), self.sns.place, self.sns.delivered), (3, 3, 3))

    async def test_more_than_a_batch_comes_as_quickly(self) -> None:
        self.patch(module, "BATCH", 2)
        await self.publish(5)
        self.sns.start()
        while len(self.receiver.taken) < 5:
            self.clock.advance(0)
            await until(lambda: self.clock.getDelayedCalls())
        self.assertEqual(self.receiver.taken, [1, 2, 3, 4, 5])

    async def test_waking_brings_what_is_new_at_once_and_the_poll_soon(self) -> None:
        self.sns.start()
        await until(lambda: self.clock.getDelayedCalls())
        await self.publish()
        self.sns.wake()
        await self.delivered(1)
        self.clock.advance(0)
        await until(lambda: self.clock.getDelayedCalls())
        await self.publish()
        self.clock.advance(POLL_S)
        await self.delivered(1, 2)

    async def test_what_is_not_wanted_is_passed_over(self) -> None:
        await self.publish()
        await self.record_verified()
        await self.publish()
        self.sns.start()
        await self.delivered(1, 3)
        self.assertEqual(await self.place(), 3)

    async def test_what_nobody_wants_is_passed_over_without_a_lease(self) -> None:
        await self.record_verified()
        await self.publish(0)
        self.sns.start()
        await until(lambda: self.sns.place == 1)
        self.assertEqual([row["name"] for row in await self.database.query("SELECT name FROM leases", {})], [])

    async def test_a_new_publisher_is_told_of_nothing_before_it(self) -> None:
        await self.publish(2)
        receiver = Receiver()
        late = self.feed(receiver, "late")
        await late.attend()
        await self.publish()
        late.start()
        await until(lambda: receiver.taken)
        self.assertEqual(receiver.taken, [3])

    async def test_what_was_not_taken_comes_again_before_all_others(self) -> None:
        self.receiver.fault = Refused("not now")
        await self.publish(2)
        with capturedLogs() as told:
            self.sns.start()
            await self.asked(1)
        self.assertEqual(
            [(entry["log_format"], entry["publisher"], entry["number"], entry["reason"]) for entry in told],
            [("event.not_delivered", "sns", 1, "Refused: not now")],
        )
        self.assertEqual((await self.place(), self.sns.failed), (0, 1))
        self.receiver.fault = None
        with capturedLogs() as told:
            self.clock.advance(1)
            await self.delivered(1, 2)
        self.assertEqual([entry["log_format"] for entry in told], ["event.delivered_again"])
        self.assertEqual(self.receiver.asked, [1, 1, 2])

    async def test_the_pauses_double_up_to_a_minute_and_begin_anew_after_a_success(self) -> None:
        self.receiver.fault = Refused("not now")
        await self.publish(2)
        self.sns.start()
        await self.asked(1)
        for times, pause_s in enumerate((1, 2, 4, 8, 16, 32, 60, 60), start=2):
            self.sns.wake()
            self.clock.advance(pause_s * 0.99)
            await self.quiet()
            self.assertEqual(len(self.receiver.asked), times - 1, pause_s)
            self.clock.advance(pause_s * 0.02)
            await self.asked(times)
        self.receiver.fault = None
        self.clock.advance(61)
        await self.delivered(1, 2)
        self.receiver.fault = Refused("again")
        await self.publish()
        self.sns.wake()
        asked = len(self.receiver.asked)
        await self.asked(asked + 1)
        self.clock.advance(1.01)
        await self.asked(asked + 2)

    async def test_a_receiver_that_hangs_is_given_up_and_asked_again(self) -> None:
        gate = self.receiver.gate = Deferred()
        await self.publish()
        self.sns.start()
        await self.asked(1)
        self.receiver.gate = None
        with capturedLogs() as told:
            self.clock.advance(DELIVERY_TIMEOUT_S)
            await until(lambda: told)
        self.assertIn("Timeout", told[0]["reason"])
        self.assertTrue(gate.called, "the delivery was told to end")
        await until(lambda: self.clock.getDelayedCalls())
        self.clock.advance(2)
        await self.delivered(1)

    async def test_a_log_that_fails_is_asked_again(self) -> None:
        real_after = self.log.after

        async def failing(number: int, limit: int) -> Any:
            raise Refused("the database is away")

        self.patch(self.log, "after", failing)
        await self.publish()
        self.sns.start()
        await until(lambda: self.clock.getDelayedCalls())
        self.assertEqual(len(self.flushLoggedErrors(Refused)), 1)
        self.patch(self.log, "after", real_after)
        self.clock.advance(60)
        await self.delivered(1)

    async def test_what_was_delivered_is_not_delivered_again_though_it_could_not_be_noted(self) -> None:
        real_release = self.log.release

        async def failing(*args: Any) -> None:
            raise Refused("the database is away")

        self.patch(self.log, "release", failing)
        await self.publish()
        self.sns.start()
        await self.delivered(1)
        await until(lambda: self.flushLoggedErrors(Refused))
        self.patch(self.log, "release", real_release)
        await self.publish()
        self.clock.advance(60)
        await self.delivered(1, 2)
        self.assertEqual(await self.place(), 2)

    async def test_the_place_is_noted_during_a_long_turn_too(self) -> None:
        await self.publish(3)
        gates = [Deferred(), Deferred(), Deferred()]
        self.receiver.gate = gates[0]
        self.sns.start()
        for times, gate in enumerate(gates, start=1):
            await self.asked(times)
            self.clock.advance(NOTE_MS / 1000)
            self.receiver.gate = gates[times] if times < 3 else None
            gate.callback(None)
            if times < 3:
                await self.asked(times + 1)
                self.assertEqual(await self.place(), times)
        await self.delivered(1, 2, 3)

    async def test_it_says_that_it_is_there_though_nothing_happens(self) -> None:
        self.sns.start()
        await until(lambda: self.clock.getDelayedCalls())
        self.clock.advance(ATTEND_MS / 1000)
        sql = "SELECT attended_at_ms FROM event_cursors WHERE name = 'sns'"
        now_ms = self.now_ms
        await until(lambda: self.clock.getDelayedCalls())
        [row] = await self.database.query(sql, {})
        self.assertEqual(row["attended_at_ms"], now_ms)

    async def test_a_database_that_went_back_is_followed_within_a_minute(self) -> None:
        """As when another server takes over that has not got the latest changes: their numbers are given anew."""
        await self.publish(2)
        self.sns.start()
        await self.delivered(1, 2)
        went_back = ("DELETE FROM events", "UPDATE event_cursors SET number = 0")
        await self.database.change([Statement(sql, {}) for sql in went_back])
        await self.publish()
        self.clock.advance(ATTEND_MS / 1000)
        await self.delivered(1, 2, 1)


class StopTests(PublishingCase):
    """Stopping a feed in the midst of its work."""

    async def setUp(self) -> None:
        await super().setUp()
        self.sns = self.feed(self.receiver)
        await self.sns.attend()
        self.gate: Deferred[None] = Deferred()
        self.receiver.gate = self.gate
        await self.publish(2)
        self.sns.start()
        await until(lambda: self.receiver.asked)

    async def test_the_delivery_under_way_may_end_and_is_noted(self) -> None:
        stopped = self.stopped(self.sns)
        self.gate.callback(None)
        await stopped
        self.assertEqual((self.receiver.asked, self.receiver.taken, await self.place()), ([1], [1], 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_one_that_takes_too_long_is_given_up_and_comes_again_at_the_next_start(self) -> None:
        stopped = self.stopped(self.sns)
        self.clock.advance(STOP_GRACE_S)
        await stopped
        self.assertEqual((self.receiver.taken, await self.place(), self.sns.failed), ([], 0, 0))
        self.receiver.gate = None
        again = self.feed(self.receiver)
        await again.attend()
        again.start()
        await until(lambda: len(self.receiver.taken) == 2)
        self.assertEqual(self.receiver.taken, [1, 2])

    async def test_the_lease_is_given_back(self) -> None:
        stopped = self.stopped(self.sns)
        self.clock.advance(STOP_GRACE_S)
        await stopped
        self.assertEqual(await self.log.claim("sns", b"x" * 16, self.now_ms, self.now_ms + 1), 0)


class SeveralDaemonsTests(PublishingCase):
    """Feeds of the same publisher, each with a receiver by which the test tells them apart."""

    async def started(self, receiver: Receiver) -> Any:
        feed = self.feed(receiver)
        await feed.attend()
        feed.start()
        return feed

    async def test_one_publishes_while_the_other_looks_on(self) -> None:
        gate = self.receiver.gate = Deferred()
        await self.log.attend("sns", None, self.now_ms)
        await self.publish(2)
        await self.started(self.receiver)
        await until(lambda: self.receiver.asked)
        idle = Receiver()
        other = await self.started(idle)
        await until(lambda: len(self.clock.getDelayedCalls()) == 2)
        self.receiver.gate = None
        gate.callback(None)
        await until(lambda: len(self.receiver.taken) == 2)
        await until(lambda: len(self.clock.getDelayedCalls()) == 2)
        self.clock.advance(POLL_S)
        await until(lambda: other.place == 2)
        self.assertEqual((self.receiver.taken, idle.asked), ([1, 2], []))

    async def test_when_one_has_died_the_other_goes_on_where_that_had_come_to(self) -> None:
        await self.log.attend("sns", None, self.now_ms)
        await self.publish(3)
        # So does a daemon leave things that is killed between a note and the next.
        await self.log.claim("sns", b"d" * 16, self.now_ms, self.now_ms + LEASE_MS)
        await self.log.advance("sns", 1, b"d" * 16, self.now_ms, self.now_ms + LEASE_MS)
        await self.started(self.receiver)
        for _ in range(LEASE_MS // 1000 - 1):
            await until(lambda: self.clock.getDelayedCalls())
            self.clock.advance(POLL_S)
        await until(lambda: self.clock.getDelayedCalls())
        self.assertEqual(self.receiver.asked, [])
        self.clock.advance(POLL_S)
        await until(lambda: len(self.receiver.taken) == 2)
        self.assertEqual(self.receiver.taken, [2, 3])

    async def test_one_that_lost_its_lease_meanwhile_does_not_go_on(self) -> None:
        gate = self.receiver.gate = Deferred()
        await self.log.attend("sns", None, self.now_ms)
        await self.publish(3)
        slow = await self.started(self.receiver)
        await until(lambda: self.receiver.asked)
        # As a process that stood still would find it: the clock has moved, and another daemon has been at work.
        self.clock.rightNow += LEASE_MS / 1000
        await self.log.claim("sns", b"o" * 16, self.now_ms, self.now_ms + LEASE_MS)
        await self.log.advance("sns", 2, b"o" * 16, self.now_ms, self.now_ms + LEASE_MS)
        self.receiver.gate = None
        gate.callback(None)
        await until(lambda: self.receiver.taken)
        await until(lambda: len(self.clock.getDelayedCalls()) == 1)
        self.assertEqual((self.receiver.asked, await self.place()), ([1], 2))
        await self.log.release("sns", 2, b"o" * 16, self.now_ms)
        self.clock.advance(POLL_S)
        await until(lambda: slow.place == 3)
        self.assertEqual(self.receiver.taken, [1, 3])
