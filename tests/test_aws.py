"""Requests to Amazon's services: what is signed, whose credentials, and every way in which it goes wrong."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.server import Request

from fxa_auth import aws
from fxa_auth.aws import AwsClient, AwsRefused, NoCredentials
from tests.aws import CREDENTIALS, REGION, environment
from tests.loopback import Loopback, dies_at_once, dies_in_the_body, hangs, never_ends, says

BODY = b"Action=Publish&Message=%7B%22a%22%3A+1%7D"
HEADERS = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
LONG_S = 60


class AwsCase(TestCase):
    """A server of our own in Amazon's place, and the credentials in the environment."""

    environ = CREDENTIALS

    def setUp(self) -> None:
        self.patch(os, "environ", environment(self.environ))
        self.server = Loopback(says({}))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.stop()))
        self.pool = HTTPConnectionPool(reactor)
        self.addCleanup(self.pool.closeCachedConnections)
        self.aws = self.client(self.server.url)

    def client(self, endpoint_url: str | None, clock: Any = reactor) -> AwsClient:
        return AwsClient(clock, HTTPClient(Agent(reactor, pool=self.pool)), endpoint_url)

    def ask(self, timeout_s: float = LONG_S) -> Deferred[bytes]:
        return self.aws.request("sns", REGION, HEADERS, BODY, timeout_s)

    async def refusal(self, status: int, body: bytes) -> AwsRefused:
        self.server.answer = says(body, status)
        error: AwsRefused = await self.assertFailure(self.ask(), AwsRefused)
        return error


class RequestTests(AwsCase):
    """One that is answered."""

    async def test_the_answers_body_is_the_answer(self) -> None:
        self.server.answer = says(b"<PublishResponse/>")
        self.assertEqual(await self.ask(), b"<PublishResponse/>")
        self.assertEqual(self.server.heard, [(b"POST", b"/", BODY)])

    async def test_the_signature_is_that_of_what_arrives(self) -> None:
        arrived: list[dict[str, str]] = []

        def answer(request: Request) -> bytes:
            fields = request.requestHeaders.getAllRawHeaders()
            arrived.append({name.decode().lower(): values[0].decode() for name, values in fields})
            return b""

        self.server.answer = answer
        await self.ask()
        [headers] = arrived
        self.assertEqual(headers["authorization"], self.authorization(headers))
        self.assertIn("SignedHeaders=content-type;host;x-amz-date,", headers["authorization"])
        self.assertIn(f"Credential=AKIDFORTESTS/{headers['x-amz-date'][:8]}/{REGION}/sns/", headers["authorization"])

    def authorization(self, headers: dict[str, str]) -> str:
        """The header as the holder of the key makes it for a request that came with these headers."""
        signed = {name: headers[name] for name in ("content-type", "host", "x-amz-date")}
        request = AWSRequest("POST", f"http://{headers['host']}/", headers=signed, data=BODY)
        request.context["timestamp"] = headers["x-amz-date"]
        keys = Credentials(CREDENTIALS["AWS_ACCESS_KEY_ID"], CREDENTIALS["AWS_SECRET_ACCESS_KEY"])
        signer = SigV4Auth(keys, "sns", REGION)
        text = signer.string_to_sign(request, signer.canonical_request(request))
        named = signer.signed_headers(signer.headers_to_sign(request))
        scope, signature = signer.scope(request), signer.signature(text, request)
        return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders={named}, Signature={signature}"

    async def test_requests_at_once_share_one_look_up_of_credentials(self) -> None:
        threads: list[str] = []
        real = self.aws._found_credentials

        def counting() -> Any:
            threads.append(threading.current_thread().name)
            return real()

        self.patch(self.aws, "_found_credentials", counting)
        asked = [self.ask() for _ in range(3)]
        for each in asked:
            await each
        self.assertEqual(threads, ["aws-credentials"])

    def test_amazons_own_endpoints(self) -> None:
        for service, region, url in (
            ("sns", "eu-west-1", "https://sns.eu-west-1.amazonaws.com"),
            ("sqs", "us-gov-west-1", "https://sqs.us-gov-west-1.amazonaws.com"),
            ("sns", "cn-north-1", "https://sns.cn-north-1.amazonaws.com.cn"),
        ):
            self.assertEqual(aws._own_endpoint(service, region), url)


class TokenTests(AwsCase):
    """Credentials that were lent for a while."""

    environ = {**CREDENTIALS, "AWS_SESSION_TOKEN": "lent for a while"}  # noqa: RUF012

    async def test_their_token_is_sent_and_signed(self) -> None:
        tokens: list[tuple[str, str]] = []

        def answer(request: Request) -> bytes:
            headers = request.requestHeaders
            found = headers.getRawHeaders("x-amz-security-token", []) + headers.getRawHeaders("authorization", [])
            tokens.append((found[0], found[1]))
            return b""

        self.server.answer = answer
        await self.ask()
        [(token, authorization)] = tokens
        self.assertEqual(token, "lent for a while")
        self.assertIn("x-amz-security-token", authorization)


class RefusalTests(AwsCase):
    """What a service says when it says no."""

    async def test_in_xml(self) -> None:
        message = b"<Message>Topic does\n not exist</Message>"
        error = await self.refusal(404, b"<ErrorResponse><Error><Code>NotFound</Code>" + message)
        self.assertEqual((error.status, error.code), (404, "NotFound"))
        self.assertEqual(str(error), "status 404, NotFound: Topic does not exist")

    async def test_in_json(self) -> None:
        body = b'{"__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no such queue"}'
        error = await self.refusal(400, body)
        self.assertEqual(str(error), "status 400, QueueDoesNotExist: no such queue")

    async def test_in_words_of_something_else(self) -> None:
        for body, told in (
            (b"", ""),
            (b"Bad gateway", "Bad gateway"),
            (b"\xff{", "\ufffd{"),
            (b"{broken", "{broken"),
            (b"x" * 5000, "x" * 300),
        ):
            error = await self.refusal(502, body)
            self.assertEqual((error.code, str(error)), ("", f"status 502, without a code: {told}"))

    async def test_a_redirect_is_not_followed(self) -> None:
        self.assertEqual((await self.refusal(302, b"")).status, 302)


class OutageTests(AwsCase):
    """No answer, or none that ends."""

    async def test_a_server_that_hangs(self) -> None:
        clock = Clock()
        clock.callFromThread = reactor.callFromThread  # type: ignore[attr-defined]
        self.aws = self.client(self.server.url, clock)
        self.server.answer = hangs
        asked = self.ask(timeout_s=5)
        await self.server.requests.get()
        clock.advance(5)
        await self.assertFailure(asked, TimeoutError)

    async def test_a_server_that_dies(self) -> None:
        for answer in (dies_at_once, dies_in_the_body):
            self.server.answer = answer
            await self.assertFailure(self.ask(), Exception)

    async def test_a_server_that_sends_without_end(self) -> None:
        self.patch(aws, "MAX_ANSWER_BYTES", 10_000)
        self.server.answer = never_ends
        error = await self.assertFailure(self.ask(), Exception)
        self.assertIn("more than 10000 bytes", str(error))

    async def test_a_server_that_is_not_there(self) -> None:
        await self.server.refuse_connections()
        error = await self.assertFailure(self.ask(), Exception)
        self.assertIn("Connection", type(error).__name__)


class CredentialTests(AwsCase):
    """Credentials that are not there, or take their time."""

    environ: dict[str, str] = {}  # noqa: RUF012

    async def test_none_is_an_error_that_says_so_and_the_next_request_looks_again(self) -> None:
        for _ in range(2):
            error = await self.assertFailure(self.ask(), NoCredentials)
            self.assertIn("AWS_ACCESS_KEY_ID", str(error))
        os.environ.update(CREDENTIALS)
        self.assertEqual(await self.ask(), b"{}")

    async def test_a_look_up_that_hangs_is_given_up_and_not_begun_a_second_time(self) -> None:
        released, begun = threading.Event(), []
        self.addCleanup(released.set)

        def hanging() -> Any:
            begun.append(1)
            released.wait()
            return Credentials("a", "b").get_frozen_credentials()

        clock = Clock()
        clock.callFromThread = reactor.callFromThread  # type: ignore[attr-defined]
        self.aws = self.client(self.server.url, clock)
        self.patch(self.aws, "_found_credentials", hanging)
        for _ in range(2):
            asked = self.ask(timeout_s=5)
            clock.advance(5)
            await self.assertFailure(asked, TimeoutError)
        asked = self.ask(timeout_s=5)
        released.set()
        self.assertEqual(await asked, b"{}")
        self.assertEqual(begun, [1])


class ExtraTests(SynchronousTestCase):
    def test_it_is_seen_whether_the_extra_is_there(self) -> None:
        self.assertTrue(aws.is_installed())
        self.patch(sys, "modules", {**sys.modules, "botocore": None})
        self.assertFalse(aws.is_installed())
