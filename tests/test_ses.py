"""What SES says of mails: notifications and events, as they are and in SNS's envelope, and what is neither."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.records import MailFate, MailReport
from fxa_auth.ses import Malformed, SesFeedback, Unrelated, reports

NOW_MS = 1_700_000_000_123
UID = bytes(range(16))
AT, AT_MS = "2016-01-27T14:59:38.237Z", 1_453_906_778_237


def a_bounce(kind: str = "Permanent", *addresses: str, **more: Any) -> dict[str, Any]:
    """A notification of a bounce, with what SES puts into it."""
    recipients = [
        {"emailAddress": address, "action": "failed", "status": "5.1.1", "diagnosticCode": "smtp; 550 5.1.1 unknown"}
        for address in addresses or ("me@example.com",)
    ]
    return {
        "notificationType": "Bounce",
        "bounce": {
            "bounceType": kind,
            "bounceSubType": "General",
            "bouncedRecipients": recipients,
            "timestamp": AT,
            "feedbackId": "00000138111222aa-33322211-cccc-cccc-cccc-ddddaaaa068a-000000",
            "remoteMtaIp": "127.0.2.0",
            "reportingMTA": "dsn; a8-70.smtp-out.amazonses.com",
            **more,
        },
        "mail": {
            "timestamp": "2016-01-27T14:59:37.000Z",
            "source": "accounts@example.com",
            "messageId": "00000138111222aa-33322211-cccc-cccc-cccc-ddddaaaa0680-000000",
            "destination": ["me@example.com"],
        },
    }


def a_complaint(kind: Any = "abuse", *addresses: str, **more: Any) -> dict[str, Any]:
    return {
        "notificationType": "Complaint",
        "complaint": {
            "complainedRecipients": [{"emailAddress": address} for address in addresses or ("me@example.com",)],
            "timestamp": AT,
            "feedbackId": "0000013786031775-fea503bc-7497-49e1-881b-a0379bb037d3-000000",
            "complaintSubType": None,
            "complaintFeedbackType": kind,
            **more,
        },
        "mail": {"timestamp": AT, "source": "accounts@example.com"},
    }


def with_headers(notice: dict[str, Any], *headers: Any) -> dict[str, Any]:
    return {**notice, "mail": {**notice["mail"], "headersTruncated": False, "headers": list(headers)}}


def in_envelope(notice: Any, **more: Any) -> dict[str, Any]:
    """What SNS makes of it."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:us-east-1:123456789012:bounces",
        "Message": json.dumps(notice),
        "Timestamp": AT,
        "SignatureVersion": "1",
        "Signature": "EXAMPLE",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/x.pem",
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
        **more,
    }


def read(message: Any) -> list[MailReport]:
    return reports(message if isinstance(message, str) else json.dumps(message), NOW_MS)


class ReportTests(SynchronousTestCase):
    def test_a_permanent_bounce(self) -> None:
        expected = MailReport(MailFate.BOUNCED, "me@example.com", AT_MS, "Permanent General 5.1.1")
        self.assertEqual(read(a_bounce()), [expected])

    def test_other_bounces_are_soft(self) -> None:
        for kind in ("Transient", "Undetermined", "permanent", "Whatever Is New"):
            self.assertEqual([report.fate for report in read(a_bounce(kind))], [MailFate.DELAYED], kind)

    def test_a_complaint_of_abuse(self) -> None:
        expected = MailReport(MailFate.COMPLAINED, "me@example.com", AT_MS, "abuse")
        self.assertEqual(read(a_complaint()), [expected])

    def test_every_recipient_is_reported(self) -> None:
        addresses = ("a@example.com", "b@example.com")
        for notice in (a_bounce("Permanent", *addresses), a_complaint("abuse", *addresses)):
            self.assertEqual([report.address for report in read(notice)], list(addresses))

    def test_an_event_is_understood_as_a_notification_is(self) -> None:
        for notice in (a_bounce(), a_complaint()):
            event = {"eventType": notice["notificationType"], **notice}
            del event["notificationType"]
            self.assertEqual(read(event), read(notice))

    def test_the_envelope_of_sns_makes_no_difference(self) -> None:
        for notice in (a_bounce(), a_complaint()):
            self.assertEqual(read(in_envelope(notice)), read(notice))
            self.assertEqual(read({"Message": json.dumps(notice)}), read(notice))

    def test_an_address_may_be_reported_with_a_name(self) -> None:
        for address in ("Me <me@example.com>", "<me@example.com>", '"<Me>" <me@example.com>'):
            self.assertEqual([report.address for report in read(a_bounce("Permanent", address))], ["me@example.com"])

    def test_the_account_is_that_of_the_header_x_uid(self) -> None:
        header = {"name": "X-Uid", "value": UID.hex()}
        other = {"name": "X-Link", "value": "https://example.com/"}
        for notice in (a_bounce(), a_complaint()):
            for headers in ([header], [other, {**header, "name": "x-uid"}], [other, header]):
                [report] = read(with_headers(notice, *headers))
                self.assertEqual(report.uid, UID)

    def test_without_a_usable_header_or_with_several_recipients_the_account_is_that_of_the_address(self) -> None:
        header = {"name": "X-Uid", "value": UID.hex()}
        for notice in (
            a_bounce(),
            with_headers(a_bounce()),
            with_headers(a_bounce(), None, {}, {"name": "X-Uid"}, {"name": 1, "value": 2}),
            with_headers(a_bounce(), {"name": "X-Uid", "value": "zz" * 16}),
            with_headers(a_bounce(), {"name": "X-Uid", "value": UID.hex() + "00"}),
            with_headers(a_bounce("Permanent", "a@example.com", "b@example.com"), header),
            {**a_bounce(), "mail": {"headers": 5}},
            {**a_bounce(), "mail": None},
        ):
            self.assertEqual({report.uid for report in read(notice)}, {None}, notice)

    def test_what_does_not_say_when_happened_now(self) -> None:
        for timestamp in (None, 5, "", "yesterday", [], "2016-13-01T00:00:00Z"):
            for notice in (a_bounce(timestamp=timestamp), a_complaint(timestamp=timestamp)):
                self.assertEqual([report.happened_at_ms for report in read(notice)], [NOW_MS], timestamp)

    def test_a_time_may_have_a_zone_or_none(self) -> None:
        for timestamp in ("2016-01-27T15:59:38.237+01:00", "2016-01-27T14:59:38.237", "2016-01-27T14:59:38.237000Z"):
            self.assertEqual([report.happened_at_ms for report in read(a_bounce(timestamp=timestamp))], [AT_MS])

    def test_the_detail_has_only_words(self) -> None:
        odd = a_bounce(bounceSubType="\x1b[2J")
        odd["bounce"]["bouncedRecipients"][0]["status"] = {"a": 1}
        self.assertEqual([report.detail for report in read(odd)], ["Permanent (unknown) (unknown)"])
        del odd["bounce"]["bounceSubType"], odd["bounce"]["bouncedRecipients"][0]["status"]
        self.assertEqual([report.detail for report in read(odd)], ["Permanent"])


class FeedbackTests(SynchronousTestCase):
    """From messages to whoever is told of reports."""

    def setUp(self) -> None:
        self.told: list[str] = []
        self.is_down = False
        clock = Clock()
        clock.advance(NOW_MS / 1000)
        self.feedback = SesFeedback(clock, self.tell)

    async def tell(self, report: MailReport) -> None:
        if self.is_down:
            raise OSError("store is down")
        self.told.append(report.address)

    def handle(self, message: Any) -> list[dict[str, Any]]:
        """Have a message handled; what the log says."""
        body = message if isinstance(message, str) else json.dumps(message)
        with capturedLogs() as events:
            self.successResultOf(Deferred.fromCoroutine(self.feedback.handle("an id", body)))
        return list(events)

    def test_every_report_of_a_message_is_told(self) -> None:
        self.assertEqual(self.handle(in_envelope(a_bounce("Permanent", "a@example.com", "b@example.com"))), [])
        self.assertEqual(self.handle(a_complaint("abuse", "c@example.com")), [])
        self.assertEqual(self.told, ["a@example.com", "b@example.com", "c@example.com"])
        self.assertEqual(self.feedback.statistics(), {"unrelated": 0, "malformed": 0})

    def test_a_message_that_is_not_understood_is_logged_and_done_with(self) -> None:
        [event] = self.handle(a_bounce("Permanent", "me secret"))
        told = {name: event[name] for name in ("log_format", "id", "reason")}
        reason = "bouncedRecipients without an emailAddress"
        self.assertEqual(told, {"log_format": "ses.malformed", "id": "an id", "reason": reason})
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertNotIn("secret", repr(event))
        self.assertEqual(self.feedback.statistics(), {"unrelated": 0, "malformed": 1})

    def test_a_message_that_asks_for_nothing_is_logged_and_done_with(self) -> None:
        [event] = self.handle({"notificationType": "Delivery"})
        self.assertEqual((event["log_format"], event["reason"]), ("ses.unrelated", "Delivery"))
        self.assertEqual(self.feedback.statistics(), {"unrelated": 1, "malformed": 0})

    def test_a_report_that_could_not_be_dealt_with_is_the_senders_matter(self) -> None:
        self.is_down = True
        body = json.dumps(a_bounce())
        self.failureResultOf(Deferred.fromCoroutine(self.feedback.handle("an id", body)), OSError)


LEAVES = st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from(["Bounce", "Complaint", "abuse"])
NAMES = ["Message", "Type", "notificationType", "eventType", "bounce", "complaint", "mail", "headers", "timestamp"]
NAMES += ["bounceType", "bouncedRecipients", "complaintFeedbackType", "complainedRecipients", "emailAddress"]


def tables(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)


class RestTests(SynchronousTestCase):
    """Messages that report nothing."""

    def assertUnrelated(self, message: Any, text: str) -> None:
        with self.assertRaises(Unrelated) as caught:
            read(message)
        self.assertEqual(str(caught.exception), text)

    def test_what_asks_for_nothing(self) -> None:
        for kind in ("Delivery", "AmazonSnsSubscriptionSucceeded", "Received"):
            for notice in ({"notificationType": kind, "mail": {}}, in_envelope({"notificationType": kind})):
                self.assertUnrelated(notice, kind)
        for kind in ("Send", "Open", "DeliveryDelay", "Rendering Failure"):
            self.assertUnrelated({"eventType": kind}, kind)
        self.assertUnrelated(in_envelope("x", Type="SubscriptionConfirmation"), "SubscriptionConfirmation")
        self.assertUnrelated({"notificationType": "\x1b[2J"}, "(unknown)")

    def test_complaints_of_anything_but_abuse(self) -> None:
        for kind in ("fraud", "not-spam", "virus", "other", "auth-failure"):
            self.assertUnrelated(a_complaint(kind), f"Complaint {kind}")
        self.assertUnrelated(a_complaint(None), "Complaint (unknown)")

    def test_what_is_not_understood(self) -> None:
        for message, reason in (
            ("", "not JSON"),
            ("{", "not JSON"),
            ("<html>", "not JSON"),
            ("[" * 100_000, "not JSON"),
            ("9" * 10_000, "not JSON"),
            ("null", "not a JSON object"),
            ([a_bounce()], "not a JSON object"),
            ({}, "neither notificationType nor eventType"),
            ({"notificationType": 5}, "neither notificationType nor eventType"),
            (in_envelope(a_bounce(), Message=a_bounce()), "Message is no text"),
            (in_envelope(a_bounce(), Message="hello"), "not JSON"),
            (in_envelope([]), "not a JSON object"),
            ({"notificationType": "Bounce"}, "no object bounce"),
            ({"notificationType": "Bounce", "bounce": []}, "no object bounce"),
            ({"notificationType": "Bounce", "bounce": {}}, "bounce has no bounceType"),
            ({"notificationType": "Complaint"}, "no object complaint"),
            (a_bounce(bouncedRecipients=None), "no list of bouncedRecipients"),
            (a_bounce(bouncedRecipients=[]), "no list of bouncedRecipients"),
            (a_bounce(bouncedRecipients=["me@example.com"]), "bouncedRecipients without an emailAddress"),
            (a_bounce(bouncedRecipients=[{}]), "bouncedRecipients without an emailAddress"),
            (a_bounce("Permanent", "me"), "bouncedRecipients without an emailAddress"),
            (a_complaint(complainedRecipients=[{"emailAddress": 5}]), "complainedRecipients without an emailAddress"),
        ):
            with self.assertRaises(Malformed) as caught:
                read(message)
            self.assertEqual(str(caught.exception), reason, str(message)[:200])

    @given(st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | tables(inner), max_leaves=30))
    def test_whatever_comes_is_reports_or_one_of_the_two_errors(self, message: Any) -> None:
        try:
            found = read(json.dumps(message))
        except (Malformed, Unrelated):
            return
        self.assertTrue(found)
