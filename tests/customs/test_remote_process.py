"""The policy of a separate server that is a process of its own: it answers, hangs, babbles, dies and comes back."""

from __future__ import annotations

from typing import Any

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent

from fxa_auth.customs import remote
from fxa_auth.customs.remote import RemoteCustoms
from fxa_auth.errors import ApiError
from tests.customs.customs_server import CustomsServer

IP, EMAIL = "192.0.2.7", "someone@example.org"


class ProcessTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.patch(remote, "TIMEOUT_S", 60.0)
        self.server = CustomsServer(self)
        self.server.start()
        self.blocked: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("log_format") == "customs.blocked":
            self.blocked.append(event)

    def customs(self, behaviour: str) -> RemoteCustoms:
        return RemoteCustoms(reactor, HTTPClient(Agent(reactor)), self.server.url(behaviour))  # type: ignore[arg-type]

    async def guess_wrong(self, customs: RemoteCustoms) -> bool:
        async with customs.guess(IP, EMAIL, "accountLogin") as guess:
            return await guess.wrong()

    async def assertLetsThrough(self, customs: RemoteCustoms) -> None:
        before = customs.failures
        await customs.check(IP, EMAIL, "accountLogin")
        self.assertIs(await self.guess_wrong(customs), False)
        await customs.password_reset(EMAIL)
        self.assertEqual(customs.failures, before + 3)

    async def test_it_is_asked_and_obeyed(self) -> None:
        customs = self.customs("blocks")
        error = await self.assertFailure(Deferred.fromCoroutine(customs.check(IP, EMAIL, "accountCreate")), ApiError)
        self.assertEqual((error.errno, error.extras), (114, {"retryAfter": 77}))
        self.assertEqual(self.server.heard(), ["check", {"ip": IP, "email": EMAIL, "action": "accountCreate"}])
        [event] = self.blocked
        told = {name: event[name] for name in ("rule", "action", "ip", "email", "retryAfter")}
        expected = {"rule": "customs server", "action": "accountCreate", "ip": IP, "email": EMAIL, "retryAfter": 77}
        self.assertEqual(told, expected)
        self.assertIs(await self.guess_wrong(self.customs("locks")), True)
        self.assertEqual(self.server.heard(), ["failedLoginAttempt", {"ip": IP, "email": EMAIL}])
        answers = self.customs("answers")
        await answers.check(IP, EMAIL, "accountLogin")
        self.assertIs(await self.guess_wrong(answers), False)
        await answers.password_reset(EMAIL)
        self.assertEqual((customs.failures, answers.failures), (0, 0))

    async def test_one_that_hangs_or_stalls_lets_through_once_its_time_is_up(self) -> None:
        self.patch(remote, "TIMEOUT_S", 0.1)
        for behaviour in ("hangs", "stalls"):
            await self.assertLetsThrough(self.customs(behaviour))

    async def test_one_that_babbles_lets_through(self) -> None:
        await self.assertLetsThrough(self.customs("babbles"))

    async def test_one_that_dies_lets_through_and_is_asked_again_when_it_is_back(self) -> None:
        customs = self.customs("dies")
        await customs.check(IP, EMAIL, "accountLogin")
        self.server.wait()
        await self.assertLetsThrough(customs)
        self.assertEqual(customs.failures, 4)
        self.server.kill()
        self.server.start()
        customs = self.customs("answers")
        await customs.check(IP, EMAIL, "accountLogin")
        self.server.kill()
        await self.assertLetsThrough(customs)
        self.server.start()
        await customs.check(IP, EMAIL, "accountLogin")
        self.assertEqual(customs.failures, 3)
