"""Mails that come back, as the RFCs have them, in the layouts of servers that there are."""

from __future__ import annotations

from collections.abc import Mapping

RECIPIENT = "me@example.com"
DATE = "Wed, 27 Jan 2016 14:59:38 +0000"
DATE_MS = 1_453_906_778_000

FAILED_FOR_GOOD = {"Final-Recipient": f"rfc822; {RECIPIENT}", "Action": "failed", "Status": "5.1.1"}
"""The fields of a recipient that matter."""


def part(content_type: str, body: str, *fields: str) -> str:
    return "\n".join([f"Content-Type: {content_type}", *fields, "", body])


def report(kind: str, *parts: str, boundary: str = "=_1", date: str | None = DATE) -> bytes:
    """A multipart/report of whatever parts there are."""
    head = [
        "From: MAILER-DAEMON@mx.example.com (Mail Delivery System)",
        "To: bounce@example.com",
        "Subject: Undelivered Mail Returned to Sender",
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type={kind};\n\tboundary="{boundary}"',
    ]
    if date is not None:
        head.append(f"Date: {date}")
    body = "".join(f"\n--{boundary}\n{each}\n" for each in parts)
    return "\n".join([*head, "", f"This is a MIME-encapsulated message.{body}\n--{boundary}--\n"]).encode()


def block(fields: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\n" for name, value in fields.items())


def delivery_report(
    *recipients: Mapping[str, str],
    of_mail: Mapping[str, str] | None = None,
    part_type: str = "message/delivery-status",
    date: str | None = DATE,
) -> bytes:
    """A delivery report about these recipients, each with its fields; without any, about one that failed for good."""
    of_mail = {"Reporting-MTA": "dns; mx.example.com"} if of_mail is None else of_mail
    groups = [of_mail, *(recipients or (FAILED_FOR_GOOD,))]
    text = part("text/plain; charset=us-ascii", "I'm sorry to have to inform you.\n\nAction: delivered\n")
    original = part("message/rfc822", "From: accounts@example.com\nTo: me@example.com\nX-Uid: 00\n\nHello\n")
    status = part(part_type, "\n".join(block(group) for group in groups))
    return report("delivery-status", text, status, original, date=date)


def abuse_report(fields: Mapping[str, str] | None = None, date: str | None = DATE) -> bytes:
    if fields is None:
        fields = {
            "Feedback-Type": "abuse",
            "User-Agent": "SomeGenerator/1.0",
            "Version": "1",
            "Original-Rcpt-To": RECIPIENT,
            "Reporting-MTA": "dns; feedback.example.net",
        }
    text = part("text/plain", "This is an email abuse report.\n")
    original = part("message/rfc822", "From: accounts@example.com\n\nHello\n")
    return report("feedback-report", text, part("message/feedback-report", block(fields)), original, date=date)


POSTFIX = b"""\
Date: Wed, 27 Jan 2016 14:59:38 +0000 (UTC)
From: MAILER-DAEMON@relay.example.com (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: bounce+code@bounces.example.com
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4Pz1xW0Wb2z8sWM.1453906778/relay.example.com"
Message-Id: <20160127145938.4Pz1xW1Jt4z8sWN@relay.example.com>

This is a MIME-encapsulated message.

--4Pz1xW0Wb2z8sWM.1453906778/relay.example.com
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host relay.example.com.

<me@example.com>: host mx.example.com[192.0.2.7] said: 550 5.1.1
    <me@example.com>: no such user (in reply to RCPT TO command)

--4Pz1xW0Wb2z8sWM.1453906778/relay.example.com
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; relay.example.com
X-Postfix-Queue-ID: 4Pz1xW0Wb2z8sWM
X-Postfix-Sender: rfc822; bounce+code@bounces.example.com
Arrival-Date: Wed, 27 Jan 2016 14:59:37 +0000 (UTC)

Final-Recipient: rfc822; me@example.com
Original-Recipient: rfc822;Me@example.com
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1 <me@example.com>:
    no such user

--4Pz1xW0Wb2z8sWM.1453906778/relay.example.com
Content-Description: Undelivered Message
Content-Type: message/rfc822

From: accounts@example.com

Hello

--4Pz1xW0Wb2z8sWM.1453906778/relay.example.com--
"""

EXIM = b"""\
Received: from Debian-exim by relay.example.com with local (Exim 4.96)
X-Failed-Recipients: me@example.com
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@relay.example.com>
To: bounce+code@bounces.example.com
References: <0123456789abcdef0123456789abcdef@example.com>
Content-Type: multipart/report; report-type=delivery-status; boundary=1453906778-eximdsn-2104530886
MIME-Version: 1.0
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1aORq6-0001Bd-2V@relay.example.com>
Date: Wed, 27 Jan 2016 14:59:38 +0000

--1453906778-eximdsn-2104530886
Content-type: text/plain; charset=us-ascii

This message was created automatically by mail delivery software.

--1453906778-eximdsn-2104530886
Content-type: message/delivery-status

Reporting-MTA: dns; relay.example.com

Action: failed
Final-Recipient: rfc822;me@example.com
Status: 5.0.0
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; 550 5.1.1 no such user

--1453906778-eximdsn-2104530886
Content-type: message/rfc822

Return-path: <bounce+code@bounces.example.com>
From: accounts@example.com

Hello

--1453906778-eximdsn-2104530886--
"""

OUT_OF_OFFICE = b"""\
From: Me <me@example.com>
To: bounce@example.com
Subject: Automatic reply: Verify your account
Auto-Submitted: auto-replied
Content-Type: text/plain; charset=utf-8

I am on holiday until Monday.
Action: failed
Status: 5.1.1
"""
