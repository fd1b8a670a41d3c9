"""From a mail that bounced to its account: SES's words by way of SNS and SQS, which are not ours, to a daemon."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests import aws
from tests.acceptance import held_deletes
from tests.acceptance.daemon import Daemon, eventually
from tests.acceptance.wire import Token, Wire, credentials, mailed_code, mails, new_email
from tests.commands.operator import run_command
from tests.test_ses import a_bounce, a_complaint

SETTINGS = """
[bounces]
bounceQueueUrl = "{bounces}"
complaintQueueUrl = "{complaints}"
region = "{region}"
"""


class Queue:
    """A queue that a topic feeds, which puts an envelope around what is published unless it is ``raw``.

    What was received and not deleted comes again after a second.
    """

    def __init__(self, raw: bool) -> None:
        name = f"feedback-{os.urandom(8).hex()}"
        self.topic = aws.client("sns").create_topic(Name=name)["TopicArn"]
        attributes = {"VisibilityTimeout": "1"}
        self.url: str = aws.client("sqs").create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        arn = f"arn:aws:sqs:{aws.REGION}:{self.topic.split(':')[4]}:{name}"
        raw_delivery = {"RawMessageDelivery": "true" if raw else "false"}
        aws.client("sns").subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=arn, Attributes=raw_delivery)

    def publish(self, notice: Any) -> None:
        aws.client("sns").publish(TopicArn=self.topic, Message=json.dumps(notice))

    def left(self) -> int:
        """How many messages there are, received or not."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        answer = aws.client("sqs").get_queue_attributes(QueueUrl=self.url, AttributeNames=names)
        return sum(int(answer["Attributes"][name]) for name in names)

    def wait_until_empty(self) -> None:
        eventually(lambda: self.left() == 0, "an empty queue")


class FeedbackCase(SynchronousTestCase):
    """A daemon with a queue of bounces and one of complaints."""

    database_url: str | None = None

    def setUp(self) -> None:
        self.bounces, self.complaints = Queue(raw=False), Queue(raw=True)
        credentials = {name: value for name, value in aws.environment().items() if name.startswith("AWS_")}
        environ = {**credentials, "CONFIG_FILES": "queues.toml", "LOG_LEVEL": "trace"}
        self.daemon = Daemon(environ=environ, database_url=self.database_url)
        self.addCleanup(self.daemon.close)
        self.poll(self.bounces.url)
        self.wire = Wire(self.daemon)

    def poll(self, bounces_url: str) -> None:
        """Have the daemon poll this queue from its next start on."""
        text = SETTINGS.format(bounces=bounces_url, complaints=self.complaints.url, region=aws.REGION)
        (self.daemon.folder / "queues.toml").write_text(text)

    def sign_up(self, **more: object) -> tuple[str, Token]:
        email = new_email()
        created = self.wire.post("/account/create", credentials(email, **more))
        self.assertEqual(created.outcome, (200, 0))
        return email, Token.of(created)

    def login(self, email: str) -> tuple[int, int]:
        return self.wire.post("/account/login", credentials(email)).outcome

    def forget(self, email: str) -> Token:
        answer = self.wire.post("/password/forgot/send_code", {"email": email})
        self.assertEqual(
            (answer.outcome, set(answer.body)), ((200, 0), {"passwordForgotToken", "ttl", "codeLength", "tries"})
        )
        return Token.of(answer, "passwordForgotToken")

    def wait_for(self, count: int = 1, **fields: object) -> list[dict[str, Any]]:
        """Lines of the daemon's log, once there are so many."""
        found: list[dict[str, Any]] = eventually(
            lambda: self.daemon.entries(**fields)[count - 1 :], f"{count} {fields}"
        )
        return found

    def operate(self, *argv: str) -> str:
        environ = {"DATABASE_URL": self.daemon.database_url, "CONFIG_FILES": "queues.toml"}
        outcome = run_command(self.daemon.folder, "mail", *argv, environ=environ)
        self.assertEqual((outcome.code, outcome.err), (0, ""))
        return outcome.out

    def assertNothingElseWentWrong(self) -> None:
        self.assertEqual(self.daemon.failures(), [])
        self.assertEqual(self.daemon.entries(op="sqs.failed"), [])
        self.assertNotIn(aws.CREDENTIALS["AWS_SECRET_ACCESS_KEY"], self.daemon.log)


class UnverifiedTests(FeedbackCase):
    def test_an_account_whose_mail_bounces_for_good_or_is_abuse_is_gone(self) -> None:
        self.daemon.start()
        for queue, notify, kind in (
            (self.bounces, a_bounce, "Permanent"),
            (self.complaints, a_complaint, "abuse"),
        ):
            email, session = self.sign_up()
            other, other_session = self.sign_up()
            queue.publish({"eventType": "Delivery"})
            queue.publish("no notification at all")
            queue.publish(a_bounce("Transient", other))
            queue.publish(notify(kind, email.upper()))
            eventually(lambda: self.login(email) == (400, 102), "an account that is gone")  # noqa: B023
            self.assertEqual(self.wire.get("/session/status", session).outcome, (401, 110))
            self.assertEqual(self.login(other), (200, 0))
            self.assertEqual(self.wire.get("/session/status", other_session).outcome, (200, 0))
            queue.wait_until_empty()
        self.assertEqual(len(self.daemon.entries(op="bounce.handled", outcome="deleted")), 2)
        self.assertEqual(len(self.daemon.entries(op="ses.malformed")), 2)
        self.assertEqual(self.daemon.stop(), 0)
        self.assertTrue(self.daemon.entries(op="server.stopped"))
        self.assertNothingElseWentWrong()

    def test_a_message_is_handled_again_when_the_daemon_dies_before_it_is_deleted(self) -> None:
        command = [sys.executable, str(Path(held_deletes.__file__)), aws.endpoint()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
            self.addCleanup(proxy.wait)
            self.addCleanup(proxy.kill)
            assert proxy.stdout is not None
            port = proxy.stdout.readline().strip()
            self.poll(self.bounces.url.replace(aws.endpoint(), f"http://127.0.0.1:{port}"))
            self.daemon.start()
            email, _ = self.sign_up()
            self.bounces.publish(a_bounce("Permanent", email))
            self.assertEqual(proxy.stdout.readline(), "AmazonSQS.DeleteMessageBatch\n")
            self.assertEqual(self.login(email), (400, 102))
            self.daemon.kill()
            proxy.kill()
        self.assertEqual(self.bounces.left(), 1)
        self.poll(self.bounces.url)
        self.daemon.start()
        self.wait_for(op="bounce.unknown")
        self.bounces.wait_until_empty()
        self.assertNothingElseWentWrong()


class VerifiedTests(FeedbackCase):
    def setUp(self) -> None:
        super().setUp()
        self.daemon.start()
        self.email, self.session = self.sign_up(preVerified=True)

    def report(self, count: int = 1) -> None:
        """Have a mail bounce, for the so manieth time."""
        self.bounces.publish(a_bounce("Permanent", self.email, timestamp=datetime.now(UTC).isoformat()))
        self.wait_for(count, op="bounce.handled", outcome="suppressed")
        self.bounces.wait_until_empty()

    def test_it_is_kept_and_gets_no_mail_until_an_operator_unblocks_it(self) -> None:
        self.report()
        self.assertEqual(self.login(self.email), (200, 0))
        self.forget(self.email)
        [line] = self.wait_for(op="mail.suppressed")
        self.assertEqual((line["kind"], line["reason"]), ("reset", "bounce: Permanent General 5.1.1"))
        self.wait_for(op="mail.dropped", reason="suppressed")
        self.assertRegex(
            self.operate("blocked"), rf"^until .*\n\S+Z  \S+Z  {self.email}  bounce: Perm.*\nblocked: 1\n$"
        )
        told = f"{self.email}: gets mail again\n"
        self.assertEqual(self.operate("unblock", self.email), told)
        self.assertEqual(self.operate("unblock", self.email), f"{self.email}: was not blocked\n")
        self.assertEqual(self.operate("blocked"), "blocked: 0\n")
        self.forget(self.email)
        self.assertEqual(len(mails(self.daemon, self.email)), 1)
        self.assertNothingElseWentWrong()

    def test_a_mailed_code_that_comes_back_lets_it_have_mail_again(self) -> None:
        token = self.forget(self.email)
        code = mailed_code(self.daemon, self.email, "x-recovery-code")
        self.report()
        self.wire.post("/account/lock", credentials(self.email))
        self.wire.post("/account/unlock/resend_code", {"email": self.email})
        self.wait_for(op="mail.suppressed", kind="unlock")
        verified = self.wire.post("/password/forgot/verify_code", {"code": code}, token)
        self.assertEqual(verified.outcome, (200, 0))
        self.wait_for(op="mail.unblocked")
        self.wire.post("/account/lock", credentials(self.email))
        self.wire.post("/account/unlock/resend_code", {"email": self.email})
        unlock_code = mailed_code(self.daemon, self.email, "x-unlock-code", count=2)
        self.report(count=2)
        uid = self.wire.get("/session/status", self.session).body["uid"]
        answer = self.wire.post("/account/unlock/verify_code", {"uid": uid, "code": unlock_code})
        self.assertEqual(answer.outcome, (200, 0))
        self.wait_for(2, op="mail.unblocked")
        self.forget(self.email)
        self.assertEqual(len(mails(self.daemon, self.email, count=3)), 3)
        self.assertNothingElseWentWrong()
