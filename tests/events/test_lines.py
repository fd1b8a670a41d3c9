"""Events as lines in a pipe, whose reader reads, or takes its time, or has gone."""

from __future__ import annotations

import json
import os
import select

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from fxa_auth.events.lines import LineWriter, line
from fxa_auth.records import Event

UID = bytes(range(16))
EVENT = Event(7, "verified", UID, 1_700_000_000_123, {"email": "mé@example.com", "uid": UID.hex(), "locale": None})


class LineTests(SynchronousTestCase):
    def test_a_line_is_one_object_in_ascii(self) -> None:
        text = line(EVENT)
        self.assertTrue(text.isascii() and text.isprintable())
        expected = {"event": "verified", "data": EVENT.payload, "number": 7, "time": 1_700_000_000_123}
        self.assertEqual(json.loads(text), expected)

    def test_the_longest_there_can_be_fits_into_one_piece_of_a_pipe(self) -> None:
        """So no reader ever sees half of a line and then, as it was not delivered, the whole of it."""
        email = "\U0001f98a" * 243 + "@example.com"
        payload = {"email": email, "uid": UID.hex(), "locale": "x" * 255, "service": "x" * 16}
        self.assertEqual(len(email), 255)
        self.assertLess(len(line(Event(10**15, "created", UID, 10**13, payload))) + 1, select.PIPE_BUF)


class PipeTests(TestCase):
    def setUp(self) -> None:
        self.read_end, self.write_end = os.pipe()
        self.open = {self.read_end, self.write_end}
        self.addCleanup(lambda: [os.close(end) for end in self.open])
        self.clock = Clock()
        self.writer = LineWriter(self.clock, self.write_end)

    def fill(self) -> int:
        """Leave no room in the pipe; the answer is how much is in it."""
        os.set_blocking(self.write_end, False)
        filled = 0
        try:
            while True:
                filled += os.write(self.write_end, b"." * 4096)
        except BlockingIOError:
            os.set_blocking(self.write_end, True)
            return filled

    async def test_lines_arrive_in_order(self) -> None:
        for _ in range(2):
            await self.writer.deliver(EVENT)
        self.assertEqual(os.read(self.read_end, 65536).decode(), f"{line(EVENT)}\n" * 2)

    async def test_a_slow_reader_is_waited_for_without_blocking(self) -> None:
        filled = self.fill()
        delivery = Deferred.fromCoroutine(self.writer.deliver(EVENT))
        self.assertNoResult(delivery)
        self.clock.advance(1)
        self.assertNoResult(delivery)
        read = b""
        while len(read) < filled:
            read += os.read(self.read_end, 65536)
        self.clock.advance(1)
        await delivery
        self.assertEqual(os.read(self.read_end, 65536).decode(), f"{line(EVENT)}\n")

    async def test_a_line_that_is_given_up_leaves_nothing_behind(self) -> None:
        self.fill()
        delivery = Deferred.fromCoroutine(self.writer.deliver(EVENT))
        delivery.cancel()
        await self.assertFailure(delivery, Exception)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        os.set_blocking(self.read_end, False)
        read = b""
        while chunk := self.readable():
            read += chunk
        self.assertEqual(read.strip(b"."), b"")

    def readable(self) -> bytes:
        try:
            return os.read(self.read_end, 65536)
        except BlockingIOError:
            return b""

    async def test_a_reader_that_has_gone_is_an_error(self) -> None:
        os.close(self.read_end)
        self.open.discard(self.read_end)
        await self.assertFailure(Deferred.fromCoroutine(self.writer.deliver(EVENT)), OSError)

    async def test_a_file_takes_lines_too(self) -> None:
        file = os.open(self.mktemp(), os.O_CREAT | os.O_RDWR)
        self.open.add(file)
        await LineWriter(self.clock, file).deliver(EVENT)
        self.assertEqual(os.pread(file, 65536, 0).decode(), f"{line(EVENT)}\n")
