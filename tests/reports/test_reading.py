"""What mails that come back report, by the RFCs, and that whatever else comes does no harm."""

from __future__ import annotations

import base64
import quopri

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from fxa_auth.records import MailFate
from fxa_auth.reports.reading import MAX_HEAD, MAX_PARTS, MAX_RECIPIENTS, NoReport, Reading, read
from tests.reports.samples import (
    DATE_MS,
    EXIM,
    OUT_OF_OFFICE,
    POSTFIX,
    RECIPIENT,
    abuse_report,
    block,
    delivery_report,
    part,
    report,
)

FAILED = {"Action": "failed", "Status": "5.1.1"}


class ReadingCase(SynchronousTestCase):
    def assertNoReport(self, content: bytes, reason: str) -> None:
        with self.assertRaises(NoReport) as caught:
            read(content)
        self.assertEqual(str(caught.exception), reason)

    def assertFate(self, fate: MailFate, *recipients: dict[str, str]) -> None:
        self.assertIs(read(delivery_report(*recipients)).fate, fate, recipients)


class DeliveryReportTests(ReadingCase):
    def test_a_report_in_postfixs_layout(self) -> None:
        told = "5.1.1 550 5.1.1 <…>: no such user"
        expected = Reading(MailFate.BOUNCED, "Me@example.com", "relay.example.com", DATE_MS, told)
        self.assertEqual(read(POSTFIX), expected)

    def test_a_report_in_exims_layout(self) -> None:
        told = "5.1.1 550 5.1.1 no such user"
        self.assertEqual(read(EXIM), Reading(MailFate.BOUNCED, RECIPIENT, "relay.example.com", DATE_MS, told))

    def test_the_ends_of_lines_make_no_difference(self) -> None:
        for content in (POSTFIX, EXIM, delivery_report(), abuse_report()):
            self.assertEqual(read(content.replace(b"\n", b"\r\n")), read(content))

    def test_a_failure_for_good_is_a_bounce(self) -> None:
        for status in ("5.1.1", "5.1.10", "5.0.0", "5.2.1", "5.4.4", "5.1.1 (no such user)"):
            self.assertFate(MailFate.BOUNCED, {"Action": "failed", "Status": status})
        self.assertFate(MailFate.BOUNCED, {"Action": "Failed (bad destination)", "Status": "5.1.1"})

    def test_what_may_pass_is_soft(self) -> None:
        for action, status in (("delayed", "4.4.1"), ("failed", "4.4.7"), ("delayed", "5.1.1"), ("failed", "2.0.0")):
            self.assertFate(MailFate.DELAYED, {"Action": action, "Status": status})

    def test_what_is_no_fault_of_the_address_is_soft(self) -> None:
        for status in ("5.7.1", "5.7.26", "5.6.0", "5.2.2", "5.3.4"):
            self.assertFate(MailFate.DELAYED, {"Action": "failed", "Status": status})

    def test_without_a_status_of_use_it_is_soft(self) -> None:
        for status in ("", "5", "5.1", "6.1.1", "15.1.1", "permanent", "5.1.1111"):
            self.assertFate(MailFate.DELAYED, {"Action": "failed", "Status": status})
        self.assertFate(MailFate.DELAYED, {"Action": "failed"})

    def test_where_the_status_says_nothing_the_answer_of_the_server_counts(self) -> None:
        for status in ("5.0.0", None):
            fields = {"Action": "failed"} if status is None else {"Action": "failed", "Status": status}
            for answer, fate in (
                ("smtp; 550 5.1.1 no such user", MailFate.BOUNCED),
                ("smtp; 550-5.1.1 no such\n user", MailFate.BOUNCED),
                ("smtp; 550 no such user", MailFate.BOUNCED),
                ("SMTP ;554 5.7.1 blocked", MailFate.DELAYED),
                ("smtp; 550 5.7.26 not authenticated", MailFate.DELAYED),
                ("smtp; 451 try later", MailFate.DELAYED),
                ("smtp; 450 4.2.1 try later", MailFate.DELAYED),
            ):
                self.assertFate(fate, {**fields, "Diagnostic-Code": answer})

    def test_a_status_that_says_something_wins_over_the_answer(self) -> None:
        self.assertFate(MailFate.DELAYED, {"Action": "failed", "Status": "4.4.1", "Diagnostic-Code": "smtp; 550 no"})
        self.assertFate(MailFate.BOUNCED, {**FAILED, "Diagnostic-Code": "smtp; 554 5.7.1 no"})

    def test_of_several_recipients_all_have_to_have_failed(self) -> None:
        self.assertFate(MailFate.BOUNCED, FAILED, FAILED)
        self.assertFate(MailFate.DELAYED, FAILED, {"Action": "delayed", "Status": "4.4.1"})
        for action in ("delivered", "relayed", "expanded"):
            arrived = {"Action": action, "Status": "2.0.0"}
            for recipients in ((arrived,), (FAILED, arrived), (arrived, FAILED)):
                self.assertNoReport(delivery_report(*recipients), f"the mail was {action}")

    def test_the_original_recipient_is_told_before_the_final_one(self) -> None:
        final, original = {"Final-Recipient": "rfc822; b@example.com"}, {"Original-Recipient": "rfc822;a@example.com"}
        for fields, expected in (
            (final, "b@example.com"),
            (final | original, "a@example.com"),
            (original, "a@example.com"),
            ({}, ""),
        ):
            self.assertEqual(read(delivery_report(fields | FAILED)).recipient, expected)

    def test_addresses_outside_ascii(self) -> None:
        for field, expected in (
            ("utf-8; jürgen@bücher.example", "jürgen@bücher.example"),
            (r"utf-8; j\x{FC}rgen@b\x{fc}cher.example", "jürgen@bücher.example"),
            (r"UTF-8;\x{1F600}@example.com", "\U0001f600@example.com"),
            (r"utf-8; \x{D800}\x{110000}@example.com", "\ufffd\ufffd@example.com"),
            (r"rfc822; \x{FC}@example.com", r"\x{FC}@example.com"),
        ):
            for part_type in ("message/global-delivery-status", "message/delivery-status"):
                found = read(delivery_report({"Final-Recipient": field, **FAILED}, part_type=part_type))
                self.assertEqual((found.fate, found.recipient), (MailFate.BOUNCED, expected))

    def test_the_fields_may_be_encoded(self) -> None:
        fields = (block({"Reporting-MTA": "dns; mx"}) + "\n" + block(FAILED)).encode()
        for body, encoding in (
            (base64.encodebytes(fields).decode(), "base64"),
            (base64.encodebytes(fields.replace(b"\n", b"\r\n")).decode(), "BASE64"),
            (quopri.encodestring(fields).decode(), "quoted-printable"),
            (fields.decode(), "8bit"),
        ):
            status = part("message/global-delivery-status", body, f"Content-Transfer-Encoding: {encoding}")
            self.assertIs(read(report("delivery-status", status)).fate, MailFate.BOUNCED, encoding)

    def test_names_and_words_are_of_any_case(self) -> None:
        content = delivery_report({"ACTION": "FAILED", "status": "5.1.1"}, part_type="Message/Delivery-Status")
        content = content.replace(b"multipart/report; report-type=d", b"MULTIPART/Report; Report-Type=D")
        self.assertIs(read(content).fate, MailFate.BOUNCED)

    def test_the_text_for_people_and_the_returned_mail_are_no_matter(self) -> None:
        content = delivery_report()
        for words in (b"\nAction: delivered\n", b"\nX-Uid: 00\n"):
            self.assertIn(words, content)
        self.assertEqual(read(content), read(content.replace(b"Action: delivered", b"").replace(b"X-Uid: 00", b"")))

    def test_the_answer_is_told_without_what_may_be_a_code_and_not_at_length(self) -> None:
        quoted = (
            "smtp; 550 spam: https://a.example/v1/verify_email?uid=00112233445566778899aabbccddeeff&code=DEADBEEFdead"
        )
        detail = read(delivery_report({**FAILED, "Diagnostic-Code": quoted})).detail
        self.assertEqual(detail, "5.1.1 550 spam: https://a.example/v1/verify_email?uid=…&code=…")

    def test_its_date_is_the_reports(self) -> None:
        for date, expected in (
            ("Wed, 27 Jan 2016 15:59:38 +0100", DATE_MS),
            ("Wed, 27 Jan 2016 14:59:38 -0000", DATE_MS),
            ("27 Jan 2016 14:59:38 GMT", DATE_MS),
            (None, None),
            ("yesterday", None),
            ("Wed, 99 Jan 2016 14:59:38 +0000", None),
            ("Wed, 27 Jan 99999999 14:59:38 +0000", None),
            ("", None),
        ):
            for content in (delivery_report(date=date), abuse_report(date=date)):
                self.assertEqual(read(content).happened_at_ms, expected, date)


class AbuseReportTests(ReadingCase):
    def test_an_abuse_report_is_a_complaint(self) -> None:
        expected = Reading(MailFate.COMPLAINED, RECIPIENT, "feedback.example.net", DATE_MS, "abuse")
        self.assertEqual(read(abuse_report()), expected)

    def test_what_it_need_not_say_may_be_missing(self) -> None:
        expected = Reading(MailFate.COMPLAINED, "", "Generator", DATE_MS, "abuse")
        self.assertEqual(read(abuse_report({"feedback-type": "Abuse", "User-Agent": "Generator"})), expected)

    def test_other_feedback_asks_for_nothing(self) -> None:
        for kind, told in (("fraud", "fraud"), ("not-spam", "not-spam"), ("x" * 50, "(unknown)"), ("", "(unknown)")):
            self.assertNoReport(abuse_report({"Feedback-Type": kind}), f"feedback of the type {told}")
        self.assertNoReport(abuse_report({}), "feedback of the type (unknown)")


class RestTests(ReadingCase):
    """Mails that report nothing."""

    def test_what_people_and_their_programs_write(self) -> None:
        for content in (OUT_OF_OFFICE, b"", b"\n", b"hello", b"Content-Type: multipart/mixed; boundary=x\n\n--x\n"):
            self.assertNoReport(content, "no multipart/report")

    def test_reports_of_other_types(self) -> None:
        self.assertNoReport(report("disposition-notification"), "report of the type disposition-notification")
        self.assertNoReport(report('"\x1b[2J"'), "report of the type (unknown)")
        self.assertNoReport(b"Content-Type: multipart/report; boundary=x\n\n--x\n", "report of the type (unknown)")

    def test_reports_that_lack_a_part(self) -> None:
        for content, missing in (
            (report("delivery-status"), "delivery-status"),
            (report("delivery-status", part("text/plain", block(FAILED))), "delivery-status"),
            (report("delivery-status", part("message/feedback-report", block(FAILED))), "delivery-status"),
            (report("feedback-report", part("message/delivery-status", "Feedback-Type: abuse")), "feedback-report"),
        ):
            self.assertNoReport(content, f"no part of the type message/{missing}")
        self.assertNoReport(
            b"Content-Type: multipart/report; report-type=delivery-status\n\n", "no boundary between its parts"
        )

    def test_a_report_within_another_mail_is_none(self) -> None:
        inner = delivery_report().decode()
        for content_type in ("message/rfc822", "multipart/report; report-type=delivery-status; boundary=inner"):
            self.assertNoReport(
                report("delivery-status", part(content_type, inner), boundary="outer"),
                "no part of the type message/delivery-status",
            )

    def test_a_delivery_status_without_a_recipient(self) -> None:
        for body in (
            "",
            "\n\n\n",
            "Reporting-MTA: dns; mx\n",
            "Reporting-MTA: dns; mx\n\nStatus: 5.1.1\n",
            block(FAILED),
        ):
            status = part("message/delivery-status", body)
            self.assertNoReport(report("delivery-status", status), "no recipient with an Action")

    def test_what_is_too_much(self) -> None:
        head = b"Content-Type: multipart/report; report-type=delivery-status; boundary=x\n"
        self.assertNoReport(b"X: " + b"y" * MAX_HEAD + b"\n" + head + b"\n", "its header is too long")
        self.assertNoReport(head.replace(b"x\n", b"x" * 1000 + b"\n") + b"\n", "its Content-Type is too long")
        self.assertNoReport(delivery_report(*[FAILED] * (MAX_RECIPIENTS + 1)), "too many recipients")
        self.assertIs(read(delivery_report(*[FAILED] * MAX_RECIPIENTS)).fate, MailFate.BOUNCED)
        parts = [part("text/plain", "x")] * MAX_PARTS
        status = part("message/delivery-status", "A: b\n\n" + block(FAILED))
        self.assertIs(read(report("delivery-status", *parts[1:], status)).fate, MailFate.BOUNCED)
        self.assertNoReport(report("delivery-status", *parts, status), "no part of the type message/delivery-status")

    def test_a_report_that_ends_early_is_read_as_far_as_it_goes(self) -> None:
        whole = delivery_report()
        self.assertIs(read(whole[: whole.index(b"message/rfc822")]).fate, MailFate.BOUNCED)
        self.assertNoReport(whole[: whole.index(b"Action: failed")], "no recipient with an Action")

    @given(st.binary())
    def test_whatever_comes_is_a_report_or_none(self, content: bytes) -> None:
        for each in (content, report("delivery-status", "\n").replace(b"\n\n", b"\n" + content)):
            self.read_or_not(each)

    @given(
        st.lists(
            st.sampled_from(
                [
                    b"Content-Type: multipart/report; report-type=delivery-status; boundary=a\n",
                    b"Content-Type: message/delivery-status\n",
                    b"Content-Type: message/global-delivery-status; charset=\"x\n",
                    b"Content-Transfer-Encoding: base64\n",
                    b"Content-Transfer-Encoding: uuencode\n",
                    b"Content-Type: multipart/report; report-type*=x''%ff; boundary*0=a; boundary*1*=''b\n",
                    b"Date: Thu, 1 Jan 1970 00:00:00 +9999\n",
                    b"--a\n", b"--a--\n", b"--a \n", b"\n", b"\r\n", b" \n", b"Action: failed\n", b"Status: 5.1.1\n",
                    b"Final-Recipient: utf-8; \\x{FFFFFF}\n", b"Original-Recipient\n", b": x\n", b"\xff: \xfe\n",
                    b"Diagnostic-Code: smtp; 5\n", b"Feedback-Type: abuse\n", b"\0", b"=",
                ]
            ),
            max_size=30,
        ).map(b"".join)
    )  # fmt: skip
    @example(b"Content-Type: multipart/report; report-type*=x''%ff; boundary=a\n\n--a\n")
    def test_pieces_of_reports_in_any_order_are_a_report_or_none(self, content: bytes) -> None:
        self.read_or_not(content)
        self.read_or_not(b"Content-Type: multipart/report; report-type=delivery-status; boundary=a\n\n--a\n" + content)

    def read_or_not(self, content: bytes) -> None:
        try:
            found = read(content)
        except NoReport as reason:
            self.assertTrue(str(reason).isprintable())
        else:
            self.assertIn(found.fate, MailFate)
