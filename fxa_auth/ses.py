"""What Amazon SES says of mails, as it arrives in a queue: from the text of a message to reports.

SES publishes JSON in two dialects, notifications and events, and SNS delivers it within an envelope of its own or,
with raw message delivery, as it is (docs/bounces.md, "What a message looks like"). By which queue it comes, and what
follows from a report, is not known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from fxa_auth.clock import time_ms
from fxa_auth.records import MailFate, MailReport

_log = Logger()

_UID_HEADER = "x-uid"
_UID_HEX = re.compile("[0-9a-f]{32}")


class Malformed(Exception):
    """A message that is none of SES's. The text says in a few words what is wrong, and quotes nothing of it."""


class Unrelated(Exception):
    """A message that is well-formed and asks for nothing; the text says what it is."""


class SesFeedback:
    """Reads messages and hands on the reports in them.

    ``report`` is given one after the other. What it raises comes out of ``handle``, whose message has then to be
    handled again, all of it.
    """

    def __init__(self, clock: IReactorTime, report: Callable[[MailReport], Awaitable[None]]) -> None:
        self._clock = clock
        self._report = report
        self._counts = {"unrelated": 0, "malformed": 0}

    async def handle(self, message_id: str, body: str) -> None:
        """Do what a message asks for; one that is not understood is logged, and that is all."""
        try:
            found = reports(body, time_ms(self._clock))
        except Unrelated as reason:
            self._counts["unrelated"] += 1
            _log.info("ses.unrelated", id=message_id, reason=str(reason))
        except Malformed as reason:
            self._counts["malformed"] += 1
            _log.warn("ses.malformed", id=message_id, reason=str(reason))
        else:
            for report in found:
                await self._report(report)

    def statistics(self) -> Mapping[str, object]:
        """Messages without a report since the process started."""
        return dict(self._counts)


def reports(body: str, now_ms: int) -> list[MailReport]:
    """What a message tells, one report for each recipient; ``now_ms`` stands in where it does not say when.

    :raises Unrelated: it tells neither of a bounce nor of abuse
    :raises Malformed: it is not understood
    """
    notice = _notice(_object(body))
    kind = notice.get("notificationType", notice.get("eventType"))
    if not isinstance(kind, str):
        raise Malformed("neither notificationType nor eventType")
    if kind == "Bounce":
        return list(_bounce(notice, now_ms))
    if kind == "Complaint":
        return list(_complaint(notice, now_ms))
    raise Unrelated(_word(kind))


def _notice(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """What SES wrote, taken out of SNS's envelope if there is one."""
    if "Message" not in message:
        return message
    if (envelope := message.get("Type", "Notification")) != "Notification":
        raise Unrelated(_word(envelope))
    if not isinstance(message["Message"], str):
        raise Malformed("Message is no text")
    return _object(message["Message"])


def _bounce(notice: Mapping[str, Any], now_ms: int) -> Iterator[MailReport]:
    bounce = _table(notice, "bounce")
    kind = bounce.get("bounceType")
    if not isinstance(kind, str):
        raise Malformed("bounce has no bounceType")
    fate = MailFate.BOUNCED if kind == "Permanent" else MailFate.DELAYED
    for recipient, address, uid in _recipients(notice, bounce, "bouncedRecipients"):
        words = (kind, bounce.get("bounceSubType"), recipient.get("status"))
        yield MailReport(fate, address, _time_ms(bounce, now_ms), _detail(words), uid)


def _complaint(notice: Mapping[str, Any], now_ms: int) -> Iterator[MailReport]:
    complaint = _table(notice, "complaint")
    kind = complaint.get("complaintFeedbackType")
    if kind != "abuse":
        raise Unrelated(f"Complaint {_word(kind)}")
    for _, address, uid in _recipients(notice, complaint, "complainedRecipients"):
        yield MailReport(MailFate.COMPLAINED, address, _time_ms(complaint, now_ms), kind, uid)


def _recipients(
    notice: Mapping[str, Any], part: Mapping[str, Any], name: str
) -> Iterator[tuple[Mapping[str, Any], str, bytes | None]]:
    """Each recipient: its table, its address, and the account that the mail was for, if the mail had one recipient."""
    recipients = part.get(name)
    if not isinstance(recipients, list) or not recipients:
        raise Malformed(f"no list of {name}")
    uid = _uid(notice) if len(recipients) == 1 else None
    for recipient in recipients:
        address = recipient.get("emailAddress") if isinstance(recipient, dict) else None
        if not isinstance(address, str) or "@" not in address:
            raise Malformed(f"{name} without an emailAddress")
        yield recipient, _bare(address), uid


def _bare(address: str) -> str:
    """``me@example.com`` of ``Me <me@example.com>``, which is how some mail servers report it."""
    return address[:-1].rpartition("<")[2] if address.endswith(">") else address


def _uid(notice: Mapping[str, Any]) -> bytes | None:
    """The uid (16 bytes) in the header X-Uid of the mail, where SES is set up to repeat the headers."""
    mail = notice.get("mail")
    headers = mail.get("headers") if isinstance(mail, dict) else None
    for header in headers if isinstance(headers, list) else ():
        name, value = (header.get("name"), header.get("value")) if isinstance(header, dict) else (None, None)
        is_uid = isinstance(name, str) and name.lower() == _UID_HEADER
        if is_uid and isinstance(value, str) and _UID_HEX.fullmatch(value):
            return bytes.fromhex(value)
    return None


def _time_ms(part: Mapping[str, Any], now_ms: int) -> int:
    """When it happened: ISO 8601, such as ``2016-01-27T14:59:38.237Z``."""
    try:
        moment = datetime.fromisoformat(part["timestamp"])
    except (KeyError, TypeError, ValueError):
        return now_ms
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _object(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Malformed("not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("not a JSON object")
    return value


def _table(notice: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = notice.get(name)
    if not isinstance(value, dict):
        raise Malformed(f"no object {name}")
    return value


def _detail(words: tuple[object, ...]) -> str:
    return " ".join(_word(word) for word in words if word is not None)


def _word(value: object) -> str:
    """A value that SES has a list of words for, as the log may have it."""
    return value if isinstance(value, str) and re.fullmatch(r"[\w. -]{1,40}", value, re.ASCII) else "(unknown)"
