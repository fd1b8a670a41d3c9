"""The policy of a separate server: its answers, and every way in which it can fail to answer."""

from __future__ import annotations

import json
from typing import Any

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent

from fxa_auth.customs import Customs, NoCustoms
from fxa_auth.customs.remote import MAX_ANSWER_BYTES, RemoteCustoms
from fxa_auth.errors import ApiError
from tests import loopback

IP = "192.0.2.7"
EMAIL = "someone@example.org"


class RemoteCustomsCase(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.clock = Clock()
        self.server = loopback.Loopback(loopback.says({}))
        self.addCleanup(self.server.stop)
        self.customs = RemoteCustoms(self.clock, HTTPClient(Agent(reactor)), f"{self.server.url}/base/")
        self.warnings: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: dict[str, Any]) -> None:
        if event.get("log_format") == "customs.unavailable":
            self.warnings.append(event)

    async def check(self) -> None:
        await self.customs.check(IP, EMAIL, "accountLogin")

    async def guess_wrong(self) -> bool:
        """Try a wrong password; the answer is whether to lock the account."""
        async with self.customs.guess(IP, EMAIL, "accountLogin") as guess:
            return await guess.wrong()

    def asked(self) -> tuple[bytes, bytes, Any]:
        """Method, path and JSON of the latest question that the server got."""
        method, path, body = self.server.heard[-1]
        return method, path, json.loads(body)

    async def refusal(self) -> ApiError:
        with self.assertRaises(ApiError) as caught:
            await self.check()
        return caught.exception


class AnswerTests(RemoteCustomsCase):
    async def test_a_check_asks_with_ip_email_and_action(self) -> None:
        self.server.answer = loopback.says({"block": False})
        await self.check()
        expected = {"ip": IP, "email": EMAIL, "action": "accountLogin"}
        self.assertEqual(self.asked(), (b"POST", b"/base/check", expected))
        self.assertEqual(self.customs.failures, 0)

    async def test_a_block_is_too_many_requests_with_its_retry_after(self) -> None:
        self.server.answer = loopback.says({"block": True, "retryAfter": 901})
        error = await self.refusal()
        self.assertEqual((error.status, error.errno, error.extras), (429, 114, {"retryAfter": 901}))
        self.assertEqual(error.headers, {"Retry-After": "901"})
        self.assertEqual(self.customs.failures, 0)

    async def test_a_block_holds_whatever_its_retry_after_is(self) -> None:
        for said, told in [
            ("null", 30),
            ("0", 30),
            ("-5", 30),
            ("true", 30),
            ('"60"', 30),
            ("[]", 30),
            ("NaN", 30),
            ("-Infinity", 30),
            ("0.2", 1),
            ("12.5", 13),
            ("86400", 86400),
            ("86401", 86400),
            ("1e400", 86400),
            ("9" * 400, 86400),
        ]:
            self.server.answer = loopback.says(f'{{"block": true, "retryAfter": {said}}}'.encode())
            self.assertEqual((await self.refusal()).extras, {"retryAfter": told}, said)
        self.server.answer = loopback.says({"block": True})
        self.assertEqual((await self.refusal()).extras, {"retryAfter": 30})

    async def test_a_retry_after_without_a_block_blocks_nothing(self) -> None:
        self.server.answer = loopback.says({"block": False, "retryAfter": 60})
        await self.check()
        self.assertEqual(self.customs.failures, 0)

    async def test_a_failed_login_is_told_and_says_whether_to_lock(self) -> None:
        for lockout in (True, False):
            self.server.answer = loopback.says({"lockout": lockout})
            self.assertIs(await self.guess_wrong(), lockout)
            expected = {"ip": IP, "email": EMAIL}
            self.assertEqual(self.asked(), (b"POST", b"/base/failedLoginAttempt", expected))
        self.assertEqual(self.customs.failures, 0)

    async def test_an_unlocking_is_told_as_a_password_reset(self) -> None:
        await self.customs.unlocked(EMAIL)
        self.assertEqual(self.asked(), (b"POST", b"/base/passwordReset", {"email": EMAIL}))

    async def test_a_password_reset_is_told(self) -> None:
        await self.customs.password_reset(EMAIL)
        self.assertEqual(self.asked(), (b"POST", b"/base/passwordReset", {"email": EMAIL}))
        self.assertEqual(self.customs.failures, 0)


class FailureTests(RemoteCustomsCase):
    async def assert_lets_through(self, reason: str, message: str = "") -> None:
        """Each of the three calls ends well, and is logged and counted with ``reason``."""
        self.customs.failures = 0
        self.warnings.clear()
        await self.check()
        self.assertIs(await self.guess_wrong(), False, message)
        await self.customs.password_reset(EMAIL)
        self.assertEqual(self.customs.failures, 3, message)
        actions = [event["action"] for event in self.warnings]
        self.assertEqual(actions, ["accountLogin", "failedLoginAttempt", "passwordReset"], message)
        for event in self.warnings:
            self.assertIn(reason, event["reason"], message)
            self.assertNotIn(EMAIL, event["reason"], message)

    async def test_a_status_other_than_200_lets_through(self) -> None:
        for status in (201, 204, 400, 404, 429, 500, 503):
            self.server.answer = loopback.says({"block": True, "lockout": True}, status)
            await self.assert_lets_through(f"status {status}", str(status))

    async def test_an_answer_that_is_no_json_object_lets_through(self) -> None:
        for body, reason in [
            (b"", "not JSON"),
            (b"<html>", "not JSON"),
            (b'{"block": true', "not JSON"),
            (b'\xff{"block": true}', "not JSON"),
            (b"[" * 10_000, "not JSON"),
            (b'{"block": true, "retryAfter": ' + b"9" * 5000 + b"}", "not JSON"),
            (b"null", "not a JSON object"),
            (b"true", "not a JSON object"),
            (b'[{"block": true}]', "not a JSON object"),
        ]:
            self.server.answer = loopback.says(body)
            await self.assert_lets_through(reason, repr(body[:40]))

    async def test_a_block_or_lockout_that_is_no_boolean_lets_through(self) -> None:
        for flag in (None, 1, 0, "true", [True], {}):
            self.server.answer = loopback.says({"block": flag, "lockout": flag})
            await self.check()
            self.assertIs(await self.guess_wrong(), False, repr(flag))
        self.server.answer = loopback.says({"other": True})
        await self.check()
        self.assertIs(await self.guess_wrong(), False)
        self.assertEqual(self.customs.failures, 14)
        self.assertEqual({event["reason"] for event in self.warnings[::2]}, {"_BadAnswer: no boolean block"})

    async def test_a_redirect_is_not_followed(self) -> None:
        self.server.answer = loopback.redirects(f"{self.server.url}/elsewhere")
        await self.assert_lets_through("status 302")
        self.assertEqual(len(self.server.heard), 3)

    async def test_an_answer_too_long_lets_through(self) -> None:
        padding = b" " * MAX_ANSWER_BYTES
        self.server.answer = loopback.says(b'{"block": true, "lockout": true}' + padding)
        await self.assert_lets_through("BodyTooLong")
        self.server.answer = loopback.never_ends
        await self.assert_lets_through("BodyTooLong")

    async def test_a_server_that_dies_lets_through(self) -> None:
        self.server.answer = loopback.dies_in_the_body
        await self.assert_lets_through("ResponseFailed")
        self.server.answer = loopback.dies_at_once
        await self.assert_lets_through("Response")

    async def test_a_server_that_is_not_there_lets_through(self) -> None:
        await self.server.refuse_connections()
        await self.assert_lets_through("ConnectionRefused")

    async def test_a_url_that_nobody_can_ask_lets_through(self) -> None:
        self.customs = RemoteCustoms(self.clock, HTTPClient(Agent(reactor)), "gopher://127.0.0.1")
        await self.assert_lets_through("SchemeNotSupported")


class TimeTests(RemoteCustomsCase):
    async def asking(self, answer: loopback.Answer) -> tuple[Deferred[None], Deferred[object]]:
        """A check that the server has heard, and the end of its connection."""
        self.server.answer = answer
        asking = Deferred.fromCoroutine(self.check())
        request = await self.server.requests.get()
        return asking, loopback.ended(request)

    async def test_after_a_second_without_an_answer_it_lets_through_and_hangs_up(self) -> None:
        for answer in (loopback.hangs, loopback.hangs_in_the_body):
            asking, gone = await self.asking(answer)
            self.clock.advance(0.99)
            self.assertNoResult(asking)
            self.clock.advance(0.02)
            await asking
            await gone
        self.assertEqual(self.customs.failures, 2)
        self.assertEqual({event["reason"].split(":")[0] for event in self.warnings}, {"TimeoutError"})

    async def test_a_caller_who_gives_up_counts_as_no_failure(self) -> None:
        asking, gone = await self.asking(loopback.hangs)
        asking.cancel()
        with self.assertRaises(CancelledError):
            await asking
        await gone
        self.assertEqual((self.customs.failures, self.warnings), (0, []))

    async def test_no_timer_outlives_the_answer(self) -> None:
        self.server.answer = loopback.says({"block": False})
        await self.check()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class NoCustomsTests(TestCase):
    async def test_it_lets_everything_through(self) -> None:
        customs: Customs = NoCustoms()
        await customs.check(IP, EMAIL, "accountLogin")
        async with customs.guess(IP, EMAIL, "accountLogin") as guess:
            self.assertEqual((guess.if_right, await guess.wrong()), ((), False))
        await customs.password_reset(EMAIL)
