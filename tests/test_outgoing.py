"""Answers of other servers, real ones: whole, too long, too late, cut short."""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, ResponseFailed
from twisted.web.iweb import IResponse

from fxa_auth.outgoing import Answer, BodyTooLong, answer_to
from tests import loopback


class AnswerToTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.clock = Clock()

    def answer(self, answer: loopback.Answer, max_bytes: int) -> Deferred[Answer]:
        self.server = loopback.Loopback(answer)
        self.addCleanup(self.server.stop)
        asked = Agent(reactor).request(b"GET", self.server.url.encode("ascii"))
        self.responded: Deferred[None] = Deferred()
        asked.addCallback(self.note_response)
        return answer_to(asked, max_bytes, 3, self.clock)

    def note_response(self, response: IResponse) -> IResponse:
        # Not at once: first answer_to, which comes after, shall have begun on the body.
        reactor.callLater(0, self.responded.callback, None)  # type: ignore[attr-defined]
        return response

    async def connection_end(self) -> Deferred[object]:
        return loopback.ended(await self.server.requests.get())

    async def stage_reached(self, stage: loopback.Answer) -> Deferred[object]:
        """Wait until the exchange hangs at ``stage``; the result is the end of its connection."""
        gone = await self.connection_end()
        if stage is loopback.hangs_in_the_body:
            await self.responded
        return gone

    async def test_a_body_of_just_the_limit_is_read(self) -> None:
        answer = await self.answer(loopback.says(b"x" * 100_000, 404), 100_000)
        self.assertEqual(answer, Answer(404, b"x" * 100_000))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_an_empty_body_is_read(self) -> None:
        self.assertEqual(await self.answer(loopback.says(b""), 10), Answer(200, b""))

    async def test_one_byte_more_than_the_limit_is_an_error(self) -> None:
        with self.assertRaises(BodyTooLong):
            await self.answer(loopback.says(b"x" * 101), 100)

    async def test_a_body_without_end_is_an_error_and_its_connection_is_closed(self) -> None:
        answer = self.answer(loopback.never_ends, 10_000)
        gone = await self.connection_end()
        with self.assertRaises(BodyTooLong):
            await answer
        await gone

    async def test_a_body_cut_short_is_an_error(self) -> None:
        with self.assertRaises(ResponseFailed):
            await self.answer(loopback.dies_in_the_body, 10_000)

    async def test_a_refused_connection_is_an_error(self) -> None:
        server = loopback.Loopback(loopback.hangs)
        await server.stop()
        asked = Agent(reactor).request(b"GET", server.url.encode("ascii"))
        with self.assertRaises(ConnectionRefusedError):
            await answer_to(asked, 10, 3, self.clock)

    async def test_when_the_time_is_over_the_connection_is_closed(self) -> None:
        for stage in (loopback.hangs, loopback.hangs_in_the_body):
            answer = self.answer(stage, 10_000)
            gone = await self.stage_reached(stage)
            self.clock.advance(2.99)
            self.assertNoResult(answer)
            self.clock.advance(0.02)
            with self.assertRaises(TimeoutError):
                await answer
            await gone

    async def test_a_caller_who_gives_up_closes_the_connection(self) -> None:
        for stage in (loopback.hangs, loopback.hangs_in_the_body):
            answer = self.answer(stage, 10_000)
            gone = await self.stage_reached(stage)
            answer.cancel()
            with self.assertRaises(CancelledError):
                await answer
            await gone
            self.assertEqual(self.clock.getDelayedCalls(), [])
