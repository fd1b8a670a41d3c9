"""What a mail reports: delivery reports (RFC 3464, and RFC 6533 for addresses outside ASCII), abuse reports (RFC 5965).

Both are a multipart/report (RFC 6522) with fields for programs in one of its parts. Nothing else is looked at: not the
text for people, not the mail that came back. Whose account it is about is not read from here either, since anybody may
have written it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.message import Message
from email.parser import HeaderParser
from email.utils import parsedate_to_datetime

from fxa_auth.records import MailFate

MAX_HEAD = 32_768
"""Octets of the header fields of a mail, or of one of its parts."""

MAX_PARTS = 10
MAX_RECIPIENTS = 20
"""A mail of ours has one; whoever forwards it may make them more."""

MAX_CONTENT_TYPE = 1_000
"""Characters; the time that it takes to read one grows with the square of its length."""

_FAILED = "failed"
_HAS_ARRIVED = frozenset({"delivered", "relayed", "expanded"})
_NOT_FOR_THE_LOG = re.compile(r"[^\s<>@]+@[^\s<>@]+|[0-9A-Fa-f]{8,}")
"""Addresses, and what may be one of the codes that the mail had."""


class NoReport(Exception):
    """A mail that reports nothing that is of use here. The text says why, and quotes nothing of it but names."""


@dataclass(frozen=True)
class Reading:
    """What a report says: what became of the mail, whom it was for, and who says so.

    ``recipient`` and ``reporter`` are as the report has them, empty where it does not say. ``happened_at_ms`` is the
    report's own date, None if it has none. ``detail`` is a status of RFC 3463 and an answer of a server, or the type of
    complaint.
    """

    fate: MailFate
    recipient: str
    reporter: str
    happened_at_ms: int | None
    detail: str


def read(content: bytes) -> Reading:
    """Read a mail whose lines end with LF or CRLF; it may be garbage.

    :raises NoReport: it is no report, or one of something else
    """
    head, body = _entity(content.replace(b"\r\n", b"\n"))
    if head.get_content_type() != "multipart/report":
        raise NoReport("no multipart/report")
    kind = _parameter(head, "report-type").lower()
    if kind not in _FORMS:
        raise NoReport(f"report of the type {_word(kind)}")
    part_types, understand = _FORMS[kind]
    for part, part_body in _parts(head, body):
        if part.get_content_type() in part_types:
            part.set_payload(part_body.decode("ascii", "surrogateescape"))
            decoded = part.get_payload(decode=True)
            assert isinstance(decoded, bytes)
            return understand(head, decoded)
    raise NoReport(f"no part of the type {part_types[0]}")


def _delivery_report(head: Message, fields: bytes) -> Reading:
    """The fields of the mail, an empty line, and as many such groups for recipients.

    What was forwarded to several recipients and reached one of them has arrived.
    """
    groups = [group for group in re.split(rb"\n[ \t]*\n", fields.replace(b"\r\n", b"\n")) if group.strip()]
    if len(groups) > 1 + MAX_RECIPIENTS:
        raise NoReport("too many recipients")
    of_mail, *others = [_fields(group) for group in groups] or [{}]
    recipients = [group for group in others if "action" in group]
    if not recipients:
        raise NoReport("no recipient with an Action")
    actions = {_first_word(group["action"]) for group in recipients}
    if arrived := sorted(actions & _HAS_ARRIVED):
        raise NoReport(f"the mail was {arrived[0]}")
    has_failed = all(_first_word(group["action"]) == _FAILED and _is_for_good(group) for group in recipients)
    told = recipients[0]
    return Reading(
        MailFate.BOUNCED if has_failed else MailFate.DELAYED,
        _address(told.get("original-recipient") or told.get("final-recipient", "")),
        _after_type(of_mail.get("reporting-mta", "")),
        _date_ms(head),
        f"{_status(told)} {_harmless(_after_type(_diagnostic(told)))}".strip(),
    )


def _abuse_report(head: Message, fields: bytes) -> Reading:
    told = _fields(fields)
    kind = _first_word(told.get("feedback-type", ""))
    if kind != "abuse":
        raise NoReport(f"feedback of the type {_word(kind)}")
    reporter = _after_type(told.get("reporting-mta", "")) or told.get("user-agent", "")
    return Reading(MailFate.COMPLAINED, told.get("original-rcpt-to", ""), reporter, _date_ms(head), kind)


_FORMS: Mapping[str, tuple[tuple[str, ...], Callable[[Message, bytes], Reading]]] = {
    "delivery-status": (("message/delivery-status", "message/global-delivery-status"), _delivery_report),
    "feedback-report": (("message/feedback-report",), _abuse_report),
}
"""By report-type: in which part the fields are, and who understands them."""


def _is_for_good(group: Mapping[str, str]) -> bool:
    """Whether a recipient's failure says that mail cannot reach that mailbox, now or later.

    Not where it was refused for what it says (5.6) or by whom it comes (5.7), nor for lack of room (RFC 3463): that may
    pass, or is for an operator to mend.
    """
    status = _status(group)
    return status.startswith("5.") and not status.startswith(("5.6.", "5.7.")) and status not in ("5.2.2", "5.3.4")


def _status(group: Mapping[str, str]) -> str:
    """The status of a recipient, such as ``5.1.1``; empty where there is none.

    Exim writes 5.0.0 whatever has happened. Then the answer of the server counts, which may even be one of those that
    ask to try again (4yz).
    """
    found = re.match(r"\s*([245]\.\d{1,3}\.\d{1,3})(?!\d)", group.get("status", ""))
    status = found[1] if found else ""
    answer = re.match(r"\s*smtp\s*;\s*([245])\d\d[ -]?(?:([245]\.\d{1,3}\.\d{1,3})(?!\d))?", _diagnostic(group), re.I)
    if answer and status in ("", "5.0.0"):
        return answer[2] or f"{answer[1]}.0.0"
    return status


def _diagnostic(group: Mapping[str, str]) -> str:
    return group.get("diagnostic-code", "")


# What the fields look like.


def _fields(block: bytes) -> dict[str, str]:
    """Name in lower case and value, unfolded, of a group of fields; of several of one name the first counts."""
    message, _ = _entity(block.replace(b"\r\n", b"\n").lstrip(b"\n"))
    fields: dict[str, str] = {}
    for name, value in message.items():
        fields.setdefault(name.lower(), " ".join(value.split()))
    return fields


def _address(value: str) -> str:
    r"""The address in a field like ``rfc822; me@example.com``.

    In an ASCII form of ``utf-8;`` a character outside it stands as ``\x{20AC}`` (RFC 6533, 3).
    """
    kind, _, address = (part.strip() for part in value.partition(";"))
    if kind.lower() != "utf-8":
        return address
    return re.sub(r"\\x\{([0-9A-Fa-f]{2,6})\}", lambda found: _character(int(found[1], 16)), address)


def _character(number: int) -> str:
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"


def _after_type(value: str) -> str:
    """``mx.example.com`` of ``dns; mx.example.com``."""
    return value.partition(";")[2].strip()


def _first_word(value: str) -> str:
    """``failed`` of ``Failed (five days)``."""
    return re.match(r"[a-z-]*", value.strip().lower())[0]  # type: ignore[index]


def _harmless(text: str) -> str:
    """A server's answer for the log: without the address, and without what filters quote of the mail."""
    return _NOT_FOR_THE_LOG.sub("…", text)


def _word(text: str) -> str:
    """A name that there is a list of, as the log may have it."""
    return text if re.fullmatch(r"[\w.-]{1,40}", text, re.ASCII) else "(unknown)"


def _date_ms(head: Message) -> int | None:
    try:
        moment = parsedate_to_datetime(head["Date"])
        return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (TypeError, ValueError, OverflowError):
        return None


# What MIME looks like. The parser of whole messages would go into every part, at a cost that whoever writes it sets.


def _entity(content: bytes) -> tuple[Message, bytes]:
    """The header fields and the body of a mail or of a part; lines end with LF."""
    if content.startswith(b"\n"):
        head, body = b"", content[1:]
    else:
        head, _, body = content.partition(b"\n\n")
    if len(head) > MAX_HEAD:
        raise NoReport("its header is too long")
    message = HeaderParser().parsestr(head.decode("utf-8", "replace"))
    if len(message.get("Content-Type", "")) > MAX_CONTENT_TYPE:
        raise NoReport("its Content-Type is too long")
    return message, body


def _parameter(message: Message, name: str) -> str:
    """A parameter of the Content-Type, empty where it has none."""
    value = message.get_param(name, "")
    return value[2] if isinstance(value, tuple) else str(value)


def _parts(head: Message, body: bytes) -> Iterator[tuple[Message, bytes]]:
    """The first parts of a multipart body (RFC 2046, 5.1.1)."""
    boundary = _parameter(head, "boundary").rstrip().encode("utf-8", "replace")
    if not boundary:
        raise NoReport("no boundary between its parts")
    lines = re.compile(rb"^--%s(--)?[ \t]*$" % re.escape(boundary), re.MULTILINE)
    begins_at: int | None = None
    for number, line in enumerate(lines.finditer(body)):
        if begins_at is not None:
            yield _entity(body[begins_at : line.start()].removeprefix(b"\n"))
        if line[1] or number >= MAX_PARTS:
            return
        begins_at = line.end()
    if begins_at is not None:
        yield _entity(body[begins_at:].removeprefix(b"\n"))
