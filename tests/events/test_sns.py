"""Publishing to SNS: moto's topics, with queues that subscribe to them, and what is said on the wire."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import parse_qs

from treq.client import HTTPClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, HTTPConnectionPool

from fxa_auth.aws import AwsClient, AwsRefused
from fxa_auth.events.sns import SnsTopic
from fxa_auth.records import Event
from tests import aws
from tests.loopback import Loopback, says

UID = bytes(range(16))
VERIFIED = Event(7, "verified", UID, 1_700_000_000_123, {"email": "é&=+@example.com", "uid": UID.hex(), "locale": None})
DELETE = Event(8, "delete", UID, 1_700_000_000_456, {"uid": f"{UID.hex()}@accounts.example.com"})


class SnsCase(TestCase):
    def setUp(self) -> None:
        self.patch(os, "environ", aws.environment())
        self.pool = HTTPConnectionPool(reactor)
        self.addCleanup(self.pool.closeCachedConnections)

    def topic(self, endpoint_url: str, arn: str) -> SnsTopic:
        return SnsTopic(AwsClient(reactor, HTTPClient(Agent(reactor, pool=self.pool)), endpoint_url), arn)


class MotoTests(SnsCase):
    """With a real topic and a real queue, as far as those can be had here."""

    async def subscribed(self, name: str, **attributes: str) -> tuple[str, str]:
        """A new topic's ARN, and the URL of a queue that gets all that is published there."""

        def make() -> tuple[str, str]:
            sns, sqs = aws.client("sns"), aws.client("sqs")
            arn = sns.create_topic(Name=name, Attributes=attributes)["TopicArn"]
            url = sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
            queue_arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
            sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
            return arn, url

        return await deferToThread(make)

    async def received(self, url: str) -> list[dict[str, Any]]:
        """The envelopes in the queue."""
        asked = {"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 20, "AttributeNames": ["All"]}
        answer = await deferToThread(lambda: aws.client("sqs").receive_message(**asked))
        return [{**json.loads(message["Body"]), "of_queue": message["Attributes"]} for message in answer["Messages"]]

    async def test_a_message_arrives_at_a_subscribed_queue_in_the_original_form(self) -> None:
        arn, url = await self.subscribed("plain")
        await self.topic(aws.endpoint(), arn).deliver(VERIFIED)
        [envelope] = await self.received(url)
        self.assertEqual(json.loads(envelope["Message"]), {"event": "verified", **VERIFIED.payload})
        self.assertEqual(envelope["TopicArn"], arn)
        attributes = {name: each["Value"] for name, each in envelope["MessageAttributes"].items()}
        self.assertEqual(attributes, {"number": "7", "time": "1700000000123"})

    async def test_a_fifo_topic_keeps_the_order_of_an_account_and_drops_what_comes_twice(self) -> None:
        arn, url = await self.subscribed("ordered.fifo", FifoTopic="true", FifoQueue="true")
        topic = self.topic(aws.endpoint(), arn)
        for event in (VERIFIED, VERIFIED, DELETE):
            await topic.deliver(event)
        envelopes = await self.received(url)
        self.assertEqual([json.loads(each["Message"])["event"] for each in envelopes], ["verified", "delete"])
        self.assertEqual({each["of_queue"]["MessageGroupId"] for each in envelopes}, {UID.hex()})

    async def test_a_topic_that_does_not_exist_is_an_error_with_its_name(self) -> None:
        arn = f"arn:aws:sns:{aws.REGION}:123456789012:nowhere"
        call = Deferred.fromCoroutine(self.topic(aws.endpoint(), arn).deliver(VERIFIED))
        error = await self.assertFailure(call, AwsRefused)
        self.assertEqual((error.status, error.code), (404, "NotFound"))


class WireTests(SnsCase):
    """What a server is asked."""

    def setUp(self) -> None:
        super().setUp()
        self.server = Loopback(says(b"<PublishResponse/>"))
        self.addCleanup(lambda: Deferred.fromCoroutine(self.server.stop()))

    async def test_the_form(self) -> None:
        arn = "arn:aws:sns:us-west-2:123456789012:accounts"
        await self.topic(self.server.url, arn).deliver(DELETE)
        [(method, path, body)] = self.server.heard
        form = {name: value for name, [value] in parse_qs(body.decode(), strict_parsing=True).items()}
        message = json.loads(form.pop("Message"))
        self.assertEqual(message, {"event": "delete", "uid": f"{UID.hex()}@accounts.example.com"})
        self.assertEqual((method, path), (b"POST", b"/"))
        expected = {"Action": "Publish", "Version": "2010-03-31", "TopicArn": arn}
        for position, name, value in ((1, "number", "8"), (2, "time", "1700000000456")):
            entry = f"MessageAttributes.entry.{position}"
            expected |= {f"{entry}.Name": name, f"{entry}.Value.DataType": "Number"}
            expected[f"{entry}.Value.StringValue"] = value
        self.assertEqual(form, expected)
