"""Letters become messages: the link, the header fields and the two bodies of each mail (docs/protocol.md, "Mail").

It knows the templates and the address of the content server, and refuses to know how or when a message is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import policy
from email.header import Header
from email.message import EmailMessage
from email.utils import format_datetime, formataddr, parseaddr
from pathlib import Path
from urllib.parse import quote, urlencode

import jinja2
from twisted.internet.interfaces import IReactorTime

from fxa_auth.mail.addresses import mailbox
from fxa_auth.records import Letter, MailKind

MAX_LINE = 998
"""Octets in a line of a message, its CRLF not counted (RFC 5322, 2.1.1)."""

_LANGUAGE = "en"
_BODY_POLICY = policy.SMTP.clone(cte_type="7bit", max_line_length=MAX_LINE)


@dataclass(frozen=True)
class Message:
    """What goes to the SMTP server.

    ``sender`` and ``recipient`` are the envelope's, written as ``addresses.mailbox`` does; an empty sender wants no
    mail back. ``content`` is the whole message, its lines ended by CRLF; it carries codes and stays out of ``repr``.
    """

    sender: str
    recipient: str
    content: bytes = field(repr=False)


@dataclass(frozen=True)
class _Form:
    """What tells the three mails apart, besides their templates."""

    subject: str
    path: str
    code_header: str


_FORMS = {
    MailKind.VERIFY: _Form("Verify your account", "/v1/verify_email", "X-Verify-Code"),
    MailKind.RESET: _Form("Reset your password", "/v1/complete_reset_password", "X-Recovery-Code"),
    MailKind.UNLOCK: _Form("Re-verify your account", "/v1/complete_unlock_account", "X-Unlock-Code"),
}


class Composer:
    """Writes the three mails.

    ``content_server_url`` is what the links begin with, ``sender`` the From field (``Name <address>`` or a bare
    address), ``random_bytes(n)`` gives n random bytes (for the Message-ID). Undeliverable mails go back to
    ``return_path``: None is the address of ``sender``, ``<>`` nowhere. A template that is missing or does not parse
    raises ``jinja2.TemplateError`` here, not when the first mail is due; a sender without an ASCII address raises
    ``ValueError``.
    """

    def __init__(
        self,
        templates_dir: Path,
        content_server_url: str,
        sender: str,
        clock: IReactorTime,
        random_bytes: Callable[[int], bytes],
        return_path: str | None = None,
    ) -> None:
        name, address = parseaddr(sender)
        if "@" not in address:
            raise ValueError(f"no mail address in the sender {sender!r}")
        self._from = formataddr((name, address))
        self._domain = address.rpartition("@")[2]
        self._return_path = address if return_path is None else return_path.strip("<>")
        self._content_server_url = content_server_url.rstrip("/")
        self._clock = clock
        self._random_bytes = random_bytes
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(templates_dir),
            autoescape=lambda template: template is not None and template.endswith(".html"),
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
        )
        self._templates = {
            (kind, suffix): environment.get_template(f"{kind.value}.{suffix}")
            for kind in MailKind
            for suffix in ("txt", "html")
        }

    def compose(self, letter: Letter) -> Message:
        """The message for a letter, dated now. ``ValueError``: the letter lacks what its kind needs."""
        link = self._link(letter)
        recipient = mailbox(letter.to)
        head = "".join(
            f"{name}: {_field_value(name, value)}\r\n" for name, value in self._fields(letter, recipient, link)
        )
        return Message(self._return_path, recipient, head.encode() + self._body(letter.kind, link))

    def _link(self, letter: Letter) -> str:
        parameters: dict[str, str | None]
        if letter.kind is MailKind.RESET:
            if letter.token is None:
                raise ValueError("a reset mail needs the passwordForgotToken")
            parameters = {"token": letter.token.hex(), "code": letter.code.hex(), "email": letter.to}
        else:
            parameters = {"uid": letter.uid.hex(), "code": letter.code.hex()}
        options = letter.options
        parameters |= {"service": options.service, "redirectTo": options.redirect_to, "resume": options.resume}
        given = {name: value for name, value in parameters.items() if value is not None}
        query = urlencode(given, safe="", quote_via=quote)
        return f"{self._content_server_url}{_FORMS[letter.kind].path}?{query}"

    def _fields(self, letter: Letter, recipient: str, link: str) -> Iterator[tuple[str, str]]:
        form = _FORMS[letter.kind]
        yield "From", self._from
        yield "To", recipient
        yield "Subject", form.subject
        yield "Date", format_datetime(datetime.fromtimestamp(int(self._clock.seconds()), UTC))
        yield "Message-ID", f"<{self._random_bytes(16).hex()}@{self._domain}>"
        yield "Auto-Submitted", "auto-generated"
        yield "Content-Language", _LANGUAGE
        yield "X-Link", link
        yield "X-Uid", letter.uid.hex()
        yield form.code_header, letter.code.hex()
        if letter.options.service is not None and letter.kind is not MailKind.RESET:
            yield "X-Service-ID", letter.options.service

    def _body(self, kind: MailKind, link: str) -> bytes:
        """The MIME fields, the empty line and both bodies."""
        message = EmailMessage(policy=_BODY_POLICY)
        message.set_content(self._templates[kind, "txt"].render(link=link))
        message.add_alternative(self._templates[kind, "html"].render(link=link), subtype="html")
        return message.as_bytes()


def _field_value(name: str, value: str) -> str:
    """The value as it stands behind ``name: ``: plain in one line if it fits, else folded as RFC 2047 words.

    Addresses, which must never stand in such words (RFC 2047, 5), always fit. ``ValueError``: a control character,
    which could end the field and begin another.
    """
    if any(char < " " or char == "\x7f" for char in value):
        raise ValueError(f"control character in the header field {name}")
    if len(f"{name}: {value}") <= MAX_LINE:
        return value
    return Header(value, "utf-8", header_name=name).encode(linesep="\r\n")
