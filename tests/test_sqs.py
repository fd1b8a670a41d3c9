"""Queues of SQS: messages of a real service that is not ours, and every way in which a service can fail."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from twisted.web.client import Agent

from fxa_auth import sqs
from fxa_auth.aws import AwsClient
from fxa_auth.sqs import Message, QueuePoller, SqsQueue, endpoint_of
from tests import aws, loopback


class SqsCase(TestCase):
    """``send`` and ``left`` go past the code under test."""

    timeout = 120

    def setUp(self) -> None:
        self.clock = Clock()
        self.taken: list[str] = []
        self.lines: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)
        self.patch(os, "environ", aws.environment())

    def observe(self, event: dict[str, Any]) -> None:
        if str(event.get("log_format")).startswith("sqs."):
            self.lines.append(event)

    def told(self, op: str) -> list[dict[str, Any]]:
        return [event for event in self.lines if event["log_format"] == op]

    def make_queue(self, **attributes: str) -> SqsQueue:
        """A queue of the real service, empty."""
        created = aws.client("sqs").create_queue(QueueName=f"q{os.urandom(8).hex()}", Attributes=attributes)
        self.queue_url = created["QueueUrl"]
        return self.queue_at(self.queue_url, aws.REGION)

    def queue_at(self, url: str, region: str) -> SqsQueue:
        client = AwsClient(reactor, HTTPClient(Agent(reactor)), endpoint_of(url, None))
        return SqsQueue(client.request, url, region)

    def send(self, *bodies: str) -> None:
        for body in bodies:
            aws.client("sqs").send_message(QueueUrl=self.queue_url, MessageBody=body)

    def left(self) -> int:
        """How many messages there are in the queue, received or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = aws.client("sqs").get_queue_attributes(QueueUrl=self.queue_url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def make_poller(self, queue: SqsQueue, handle: Callable[[str, str], Any] | None = None) -> QueuePoller:
        poller = QueuePoller(
            self.clock, lambda length: b"\x7f" + b"\xff" * (length - 1), "bounces", queue, handle or self.take
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(poller.stop()))
        return poller

    async def take(self, message_id: str, body: str) -> None:
        self.taken.append(body)

    async def until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            await deferLater(reactor, 0.01)  # type: ignore[arg-type]


class QueueTests(SqsCase):
    """What is asked of a service that is not ours."""

    async def test_a_message_is_received_as_it_was_sent_and_deleted(self) -> None:
        queue = self.make_queue()
        self.send('{"a": "ä \U0001f98a"}')
        [message] = await queue.receive()
        self.assertEqual(message.body, '{"a": "ä \U0001f98a"}')
        self.assertEqual(self.left(), 1)
        await queue.delete([message])
        self.assertEqual(self.left(), 0)

    async def test_no_more_than_ten_come_at_a_time(self) -> None:
        queue = self.make_queue()
        self.send(*(str(number) for number in range(12)))
        messages = await queue.receive()
        self.assertEqual(len({message.id for message in messages}), 10)
        await queue.delete(messages)
        self.assertEqual(self.left(), 2)

    async def test_a_poll_waits_for_a_message(self) -> None:
        queue = self.make_queue()
        receiving = Deferred.fromCoroutine(queue.receive())
        await deferLater(reactor, 0.2)  # type: ignore[arg-type]
        self.assertNoResult(receiving)
        self.send("late")
        self.assertEqual([message.body for message in await receiving], ["late"])

    async def test_an_empty_queue_gives_none(self) -> None:
        self.patch(sqs, "WAIT_S", 1)
        self.assertEqual(await self.make_queue().receive(), [])

    async def test_a_refusal_says_why(self) -> None:
        self.make_queue()
        queue = self.queue_at(f"{self.queue_url}-that-is-not-there", aws.REGION)
        error = await self.assertFailure(Deferred.fromCoroutine(queue.receive()), Exception)
        self.assertIn("QueueDoesNotExist", str(error))
        error = await self.assertFailure(Deferred.fromCoroutine(queue.delete([Message("1", "", "x")])), Exception)
        self.assertIn("QueueDoesNotExist", str(error))

    async def test_a_message_that_is_not_deleted_is_a_failure(self) -> None:
        queue = self.make_queue()
        self.send("a")
        [message] = await queue.receive()
        other = Message("other", "", "no receipt")
        error = await self.assertFailure(Deferred.fromCoroutine(queue.delete([message, other])), sqs.QueueFailed)
        self.assertEqual(str(error), "it did not delete all messages that were handled")
        self.assertEqual(self.left(), 0)

    def test_bodies_and_receipts_are_not_shown(self) -> None:
        self.assertEqual(repr(Message("an id", "a body", "a receipt")), "Message(id='an id')")


class EndpointTests(SynchronousTestCase):
    def test_it_is_at_the_host_in_the_url_unless_something_else_is_asked_in_amazons_stead(self) -> None:
        amazons, other = "https://sqs.us-east-1.amazonaws.com/1/q", "http://127.0.0.1:9324/000000000000/q"
        for url, instead, expected in (
            (amazons, None, "https://sqs.us-east-1.amazonaws.com"),
            (amazons, "http://127.0.0.1:4566", "http://127.0.0.1:4566"),
            (other, None, "http://127.0.0.1:9324"),
            (other, "http://127.0.0.1:4566", "http://127.0.0.1:9324"),
        ):
            self.assertEqual(endpoint_of(url, instead), expected)


class PollerTests(SqsCase):
    """The loop on a real queue; its pauses are in the hand of the test."""

    async def test_messages_are_handled_and_then_deleted_as_long_as_it_runs(self) -> None:
        poller = self.make_poller(self.make_queue())
        self.send("a", "b")
        poller.start()
        await self.until(lambda: len(self.taken) == 2 and self.left() == 0)
        self.send("c")
        await self.until(lambda: self.taken[2:] == ["c"] and self.left() == 0)
        await poller.stop()
        self.assertEqual(poller.statistics(), {"received": 3, "failures": 0})
        self.assertEqual(self.lines, [])

    async def test_what_is_not_handled_stays_and_comes_again_and_the_others_are_done_with(self) -> None:
        is_down = True

        async def handle(message_id: str, body: str) -> None:
            if is_down and body == "b":
                raise OSError("store is down")
            self.taken.append(body)

        poller = self.make_poller(self.make_queue(VisibilityTimeout="0"), handle)
        self.send("a", "b", "c")
        poller.start()
        await self.until(lambda: self.told("sqs.failed"))
        self.assertEqual((sorted(self.taken), self.left()), (["a", "c"], 1))
        [kept] = self.told("sqs.message_kept")
        self.assertEqual((kept["queue"], len(kept["id"])), ("bounces", 36))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        is_down = False
        self.clock.advance(2)
        await self.until(lambda: self.left() == 0)
        self.assertEqual(sorted(self.taken), ["a", "b", "c"])
        await self.until(lambda: self.told("sqs.works_again"))

    async def test_a_stop_lets_the_message_in_hand_be_done_with_and_leaves_the_others(self) -> None:
        gate: Deferred[None] = Deferred()

        async def handle(message_id: str, body: str) -> None:
            self.taken.append(body)
            await gate

        poller = self.make_poller(self.make_queue(), handle)
        self.send("a", "b", "c")
        poller.start()
        await self.until(lambda: self.taken)
        stopping = Deferred.fromCoroutine(poller.stop())
        self.assertNoResult(stopping)
        gate.callback(None)
        await stopping
        self.assertEqual((len(self.taken), self.left()), (1, 2))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_stop_cuts_off_a_message_that_takes_too_long_and_it_stays(self) -> None:
        gate: Deferred[None] = Deferred()

        async def handle(message_id: str, body: str) -> None:
            self.taken.append(body)
            await gate

        poller = self.make_poller(self.make_queue(), handle)
        self.send("a")
        poller.start()
        await self.until(lambda: self.taken)
        stopping = Deferred.fromCoroutine(poller.stop())
        self.clock.advance(sqs.STOP_TIMEOUT_S - 0.01)
        self.assertNoResult(stopping)
        self.clock.advance(0.02)
        self.successResultOf(stopping)
        self.assertEqual(self.left(), 1)
        self.assertEqual(self.lines, [])

    async def test_one_that_was_never_started_stops(self) -> None:
        await self.make_poller(self.make_queue()).stop()


class FaultTests(SqsCase):
    """A service that refuses, hangs, dies or talks nonsense."""

    async def setUp(self) -> None:
        super().setUp()
        self.server = loopback.Loopback(loopback.hangs)
        self.addCleanup(self.server.stop)
        self.poller = self.make_poller(self.queue_at(f"{self.server.url}/1/q", "elasticmq"))

    def one_message(self) -> loopback.Answer:
        message = {"MessageId": "an id", "Body": "a body", "ReceiptHandle": "a receipt"}
        return loopback.says({"Messages": [message]})

    async def failures(self, count: int) -> list[dict[str, Any]]:
        await self.until(lambda: len(self.told("sqs.failed")) >= count)
        return self.told("sqs.failed")

    async def test_the_request_is_a_signed_one_of_the_json_protocol(self) -> None:
        self.poller.start()
        request = await self.server.requests.get()
        [(method, path, body)] = self.server.heard
        self.assertEqual((method, path), (b"POST", b"/"))
        asked = {"QueueUrl": f"{self.server.url}/1/q", "MaxNumberOfMessages": 10, "WaitTimeSeconds": 20}
        self.assertEqual(json.loads(body), asked)
        self.assertEqual(request.getHeader("x-amz-target"), "AmazonSQS.ReceiveMessage")
        self.assertEqual(request.getHeader("content-type"), "application/x-amz-json-1.0")
        scope = "/elasticmq/sqs/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-target, "
        self.assertIn(scope, request.getHeader("authorization"))

    async def test_a_stop_ends_an_open_poll_at_once(self) -> None:
        self.poller.start()
        request = await self.server.requests.get()
        gone = loopback.ended(request)
        self.successResultOf(Deferred.fromCoroutine(self.poller.stop()))
        await gone
        self.assertEqual(self.lines, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_a_stop_ends_a_pause_at_once(self) -> None:
        self.server.answer = loopback.dies_at_once
        self.poller.start()
        await self.failures(1)
        self.successResultOf(Deferred.fromCoroutine(self.poller.stop()))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_every_fault_is_told_with_its_reason_and_ends_in_a_pause(self) -> None:
        no_message = "its answer holds a message without id, body or receipt"
        refusal = {"__type": "com.amazonaws.sqs#AccessDenied", "message": "not yours\n\nPOST\nsecret"}
        for answer, reason in (
            (loopback.says(refusal, 403), "AwsRefused: status 403, AccessDenied: not yours"),
            (loopback.says(b"<html>", 502), "AwsRefused: status 502, without a code: <html>"),
            (loopback.redirects("http://127.0.0.1:1/"), "AwsRefused: status 302"),
            (loopback.says(b"<html>"), "QueueFailed: its answer is no JSON object"),
            (loopback.says(b""), "QueueFailed: its answer is no JSON object"),
            (loopback.says(b"[" * 100_000), "QueueFailed: its answer is no JSON object"),
            (loopback.says([]), "QueueFailed: its answer is no JSON object"),
            (loopback.says({"Messages": 5}), "QueueFailed: its answer holds no list of messages"),
            (loopback.says({"Messages": [5]}), f"QueueFailed: {no_message}"),
            (loopback.says({"Messages": [{"MessageId": "x", "Body": None, "ReceiptHandle": "y"}]}), no_message),
            (loopback.dies_at_once, "Response"),
            (loopback.dies_in_the_body, "Response"),
            (loopback.never_ends, "BodyTooLong"),
        ):
            self.server.answer = answer
            self.lines.clear()
            poller = self.make_poller(self.queue_at(f"{self.server.url}/1/q", "elasticmq"))
            poller.start()
            [failure] = await self.failures(1)
            self.assertIn(reason, failure["reason"])
            self.assertEqual((failure["queue"], failure["pauseSeconds"]), ("bounces", 2.0))
            self.assertNotIn("secret", failure["reason"])
            await poller.stop()
        self.assertEqual(self.taken, [])

    async def test_a_service_that_is_not_there_is_a_failure(self) -> None:
        await self.server.refuse_connections()
        self.poller.start()
        [failure] = await self.failures(1)
        self.assertIn("ConnectionRefused", failure["reason"])

    async def test_a_service_that_does_not_answer_in_time_is_a_failure(self) -> None:
        self.patch(sqs, "WAIT_S", 0)
        self.patch(sqs, "TIMEOUT_S", 0.05)
        for answer in (loopback.hangs, loopback.hangs_in_the_body):
            self.server.answer = answer
            self.lines.clear()
            poller = self.make_poller(self.queue_at(f"{self.server.url}/1/q", "elasticmq"))
            poller.start()
            [failure] = await self.failures(1)
            self.assertIn("Timeout", failure["reason"])
            await poller.stop()

    async def test_without_credentials_it_goes_on_asking_for_them(self) -> None:
        self.patch(os, "environ", aws.environment({}))
        self.server.answer = self.one_message()
        self.poller.start()
        [failure] = await self.failures(1)
        self.assertIn("NoCredentials", failure["reason"])
        self.assertEqual(self.server.heard, [])
        os.environ.update(aws.CREDENTIALS)
        self.clock.advance(2)
        await self.until(lambda: self.taken)

    async def test_the_pauses_grow_up_to_a_minute_and_begin_anew_once_it_works(self) -> None:
        self.server.answer = loopback.dies_at_once
        self.poller.start()
        for number, pause_s in enumerate((2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0), start=1):
            failure = (await self.failures(number))[-1]
            self.assertEqual(failure["pauseSeconds"], pause_s)
            if number == 7:
                self.server.answer = loopback.says({})
            self.clock.advance(pause_s)
        await self.until(lambda: self.told("sqs.works_again"))
        self.server.answer = loopback.dies_at_once
        self.clock.advance(sqs.SHORTEST_TURN_S)
        self.assertEqual((await self.failures(8))[-1]["pauseSeconds"], 2.0)
        self.assertEqual(self.poller.statistics(), {"received": 0, "failures": 8})

    async def test_a_service_that_does_not_wait_is_not_asked_more_often_than_once_a_second(self) -> None:
        self.server.answer = loopback.says({})
        self.poller.start()
        await self.until(self.clock.getDelayedCalls)
        self.assertEqual(len(self.server.heard), 1)
        self.clock.advance(sqs.SHORTEST_TURN_S)
        await self.until(lambda: len(self.server.heard) == 2)
        self.assertEqual(self.lines, [])

    async def test_a_delete_that_fails_is_a_failure_and_the_message_is_handled_again(self) -> None:
        message, no_message = self.one_message(), loopback.says({})
        answers = iter([message, loopback.dies_at_once, message, no_message, loopback.hangs])
        self.server.answer = lambda request: next(answers)(request)
        self.poller.start()
        await self.failures(1)
        self.assertEqual(self.taken, ["a body"])
        self.clock.advance(2)
        await self.until(lambda: len(self.server.heard) == 5)
        self.assertEqual(self.taken, ["a body", "a body"])
        target = [json.loads(body).get("Entries") for _, _, body in self.server.heard]
        entries = [{"Id": "0", "ReceiptHandle": "a receipt"}]
        self.assertEqual(target, [None, entries, None, entries, None])
