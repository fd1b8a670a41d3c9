"""The sequencer: when events get their numbers, how feeds hear of it, and when old events go."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from fxa_auth.events import sequencer as module
from fxa_auth.events.feed import Feed
from fxa_auth.events.sequencer import COALESCE_S, FORGET_AFTER_MS, POLL_S, Sequencer
from tests.events.publishing import PublishingCase
from tests.store.on_postgres import until

DAY_MS = 24 * 60 * 60 * 1000
HOUR_S = 3600


class SequencerCase(PublishingCase):
    async def setUp(self) -> None:
        await super().setUp()
        self.sns = self.feed(self.receiver)
        self.sequencer = self.make([self.sns])

    def make(self, feeds: list[Feed], prune_interval_s: float = 0) -> Sequencer:
        sequencer = Sequencer(self.clock, self.log, feeds, DAY_MS, prune_interval_s, lambda length: b"\x80" * length)
        self.addCleanup(lambda: Deferred.fromCoroutine(sequencer.stop()))
        return sequencer

    async def settled(self, calls: int) -> None:
        """Wait until so many parts wait for the clock."""
        await until(lambda: len(self.clock.getDelayedCalls()) == calls)

    async def numbers(self) -> list[int]:
        return [event.number for event in await self.log.after(0, 1000)]


class NumberTests(SequencerCase):
    async def test_what_is_recorded_before_the_start_is_published_too(self) -> None:
        await self.record(2)
        self.sequencer.start()
        await until(lambda: len(self.receiver.taken) == 2)
        self.assertEqual(self.receiver.taken, [1, 2])

    async def test_a_recorded_event_is_numbered_and_delivered_without_a_wait(self) -> None:
        self.sequencer.start()
        await self.settled(2)
        self.store.event_recorded = self.sequencer.wake
        await self.record()
        await until(lambda: self.receiver.taken)
        self.assertEqual(self.clock.seconds(), 1_700_000_000)

    async def test_what_others_recorded_is_found_by_polling(self) -> None:
        self.sequencer.start()
        await self.settled(2)
        await self.record()
        self.clock.advance(POLL_S - 0.01)
        await self.settled(2)
        self.assertEqual(await self.numbers(), [])
        self.clock.advance(0.01)
        await until(lambda: self.receiver.taken)

    async def test_events_in_quick_succession_are_numbered_together(self) -> None:
        self.sequencer.start()
        await self.settled(2)
        for _ in range(3):
            await self.record()
            self.sequencer.wake()
            await self.settled(2)
        await until(lambda: self.receiver.taken)
        self.assertEqual(await self.numbers(), [1])
        self.clock.advance(COALESCE_S)
        await until(lambda: len(self.receiver.taken) == 3)

    async def test_a_backlog_is_numbered_in_pieces_without_a_pause(self) -> None:
        self.patch(module, "BATCH", 2)
        await self.record(5)
        self.sequencer.start()
        while len(self.receiver.taken) < 5:
            self.clock.advance(0)
            await until(lambda: self.clock.getDelayedCalls())
        self.assertEqual(self.receiver.taken, [1, 2, 3, 4, 5])

    async def test_no_number_is_given_before_every_publisher_has_its_place(self) -> None:
        """A new publisher would miss the first events else."""
        real_attend, is_away = self.log.attend, True

        async def attend(*args: Any) -> int:
            if is_away:
                raise ConnectionError("the database is away")
            return await real_attend(*args)

        self.patch(self.log, "attend", attend)
        await self.record()
        self.sequencer.start()
        await self.settled(1)
        self.assertEqual(len(self.flushLoggedErrors(ConnectionError)), 1)
        self.assertEqual(await self.numbers(), [])
        is_away = False
        self.clock.advance(60)
        await until(lambda: self.receiver.taken)

    async def test_the_statistics_tell_what_was_done(self) -> None:
        self.assertEqual(
            self.sequencer.statistics(),
            {"numbered": 0, "publishers": {"sns": {"place": None, "delivered": 0, "failed": 0}}},
        )
        await self.record(2)
        self.sequencer.start()
        await until(lambda: len(self.receiver.taken) == 2)
        self.assertEqual(self.sequencer.statistics()["numbered"], 2)

    async def test_stopping_ends_all_of_it(self) -> None:
        self.sequencer.start()
        await self.settled(2)
        await self.sequencer.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class PruneTests(SequencerCase):
    async def test_events_go_when_they_are_old_and_every_publisher_is_done(self) -> None:
        sequencer = self.make([], prune_interval_s=HOUR_S)
        await self.log.attend("sns", None, self.now_ms)
        await self.publish(2)
        await self.log.release("sns", 1, b"x" * 16, self.now_ms)
        await sequencer.prune()
        self.assertEqual(await self.numbers(), [1, 2])
        self.clock.advance(DAY_MS / 1000 + 1)
        await sequencer.prune()
        self.assertEqual(await self.numbers(), [2])
        self.clock.advance(FORGET_AFTER_MS / 1000)
        await sequencer.prune()
        self.assertEqual(await self.numbers(), [], "nobody has this publisher any more")

    async def test_they_go_by_themselves_a_piece_at_a_time(self) -> None:
        self.patch(module, "BATCH", 2)
        await self.publish(5)
        self.clock.advance(DAY_MS / 1000 + 1)
        sequencer = self.make([], prune_interval_s=HOUR_S)
        sequencer.start()
        await self.settled(2)
        self.clock.advance(HOUR_S * 1.25)
        while await self.numbers():
            self.clock.advance(0.1)
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]

    async def test_without_an_interval_they_stay(self) -> None:
        await self.publish()
        sequencer = self.make([], prune_interval_s=0)
        sequencer.start()
        await self.settled(1)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
