"""The Basket forwarder, with receivers that accept, refuse, hang and die."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.server import Request

from fxa_auth.events import DELIVERY_TIMEOUT_S
from fxa_auth.events.basket import Basket
from fxa_auth.records import Event
from tests.loopback import Loopback, dies_at_once, dies_in_the_body, hangs, hangs_in_the_body, redirects, says

UID = bytes(range(16))
KEY = "key-of-basket"


def verified(email: str = "é&=+@example.com", locale: str | None = "de-CH, de;q=0.5") -> Event:
    return Event(7, "verified", UID, 1_700_000_000_123, {"email": email, "uid": UID.hex(), "locale": locale})


class BasketTests(TestCase):
    def setUp(self) -> None:
        self.server = Loopback(says({"status": "ok"}))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.stop()))
        self.pool = HTTPConnectionPool(reactor)
        self.addCleanup(self.pool.closeCachedConnections)

    def deliver(self, event: Event | None = None, clock: Any = reactor) -> Deferred[None]:
        http = HTTPClient(Agent(reactor, pool=self.pool))
        basket = Basket(clock, http, f"{self.server.url}/news", KEY)
        return Deferred.fromCoroutine(basket.deliver(event or verified()))

    def forms(self) -> list[dict[str, str]]:
        """The forms that have arrived."""
        parsed = [parse_qs(body.decode(), strict_parsing=True) for _, _, body in self.server.heard]
        return [{name: value for name, [value] in form.items()} for form in parsed]

    async def test_the_form_and_its_key(self) -> None:
        keys: list[Any] = []

        def answer(request: Request) -> bytes:
            keys.append(request.requestHeaders.getRawHeaders("X-API-Key"))
            return b"{}"

        self.server.answer = answer
        await self.deliver()
        self.assertEqual([line[:2] for line in self.server.heard], [(b"POST", b"/news/fxa-register/")])
        form = {"fxa_id": UID.hex(), "email": "é&=+@example.com", "accept_lang": "de-CH, de;q=0.5"}
        self.assertEqual((self.forms(), keys), ([form], [[KEY]]))

    async def test_an_account_without_a_language_speaks_american_english(self) -> None:
        await self.deliver(verified(locale=None))
        self.assertEqual(self.forms()[0]["accept_lang"], "en-US")

    async def test_addresses_of_client_tests_are_skipped(self) -> None:
        for email in ("a@restmail.net", "a@RestMail.net", "a@restmail.lcip.org"):
            await self.deliver(verified(email))
        self.assertEqual(self.server.heard, [])
        for email in ("a@x.restmail.net", "restmail.net@example.com", "a@restmail.net.example.com"):
            await self.deliver(verified(email))
        self.assertEqual(len(self.server.heard), 3)

    async def test_an_answer_that_refuses_is_told_and_dropped(self) -> None:
        for status, answer in ((400, says(b"", 400)), (503, says(b"", 503)), (302, redirects("/elsewhere"))):
            self.server.answer = answer
            with capturedLogs() as told:
                await self.deliver()
            [line] = [entry for entry in told if entry["log_format"] == "event.refused"]
            self.assertEqual((line["status"], line["uid"], line["number"]), (status, UID.hex(), 7))
            self.assertNotIn(KEY, repr(line))
            self.assertNotIn("example.com", repr(line))

    async def test_a_receiver_that_dies_has_not_got_it(self) -> None:
        for answer in (dies_at_once, dies_in_the_body):
            self.server.answer = answer
            error = await self.assertFailure(self.deliver(), Exception)
            self.assertNotIn(KEY, str(error))

    async def test_a_receiver_that_is_not_there_has_not_got_it(self) -> None:
        await self.server.refuse_connections()
        await self.assertFailure(self.deliver(), Exception)

    async def test_a_receiver_that_hangs_has_not_got_it(self) -> None:
        for answer in (hangs, hangs_in_the_body):
            clock = Clock()
            self.server.answer = answer
            delivery = self.deliver(clock=clock)
            await self.server.requests.get()
            clock.advance(DELIVERY_TIMEOUT_S)
            await self.assertFailure(delivery, TimeoutError)
