"""The rows and values that the store and the domain hand to each other.

All are frozen. Identifiers, codes and keys are raw bytes; hex exists only at the edge of the HTTP floor. Secret
fields stay out of ``repr``, so that a record in a log line or a traceback gives nothing away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class TokenKind(Enum):
    """The five kinds of token; the value is the name the key derivation and the API use."""

    SESSION = "sessionToken"
    KEY_FETCH = "keyFetchToken"
    ACCOUNT_RESET = "accountResetToken"
    PASSWORD_FORGOT = "passwordForgotToken"
    PASSWORD_CHANGE = "passwordChangeToken"


@dataclass(frozen=True)
class Verifier:
    """What the store keeps of a password: see ``onepw`` for the arithmetic.

    ``auth_salt``, ``verify_hash`` and ``wrap_wrap_kb`` are 32 bytes each, ``version`` is 0 or 1.
    """

    version: int
    auth_salt: bytes = field(repr=False)
    verify_hash: bytes = field(repr=False)
    wrap_wrap_kb: bytes = field(repr=False)


@dataclass(frozen=True)
class Account:
    """``uid`` 16 bytes, ``email_code`` and ``unlock_code`` 16, ``ka`` 32; times in ms since the epoch.

    ``locked_at_ms`` and ``unlock_code`` are both set or both None.
    """

    uid: bytes
    email: str
    normalized_email: str
    email_code: bytes = field(repr=False)
    email_verified: bool
    ka: bytes = field(repr=False)
    verifier: Verifier
    verifier_set_at_ms: int
    created_at_ms: int
    locale: str | None
    locked_at_ms: int | None
    unlock_code: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Token:
    """A live token as the store knows it, with what is asked of its account at every use.

    ``id_hash`` is the SHA-256 of the token id (32 bytes), ``auth_key`` 32 bytes. ``pass_code`` (16 bytes) and
    ``tries`` belong to a passwordForgotToken only, as does ``data`` (32 bytes).
    """

    kind: TokenKind
    id_hash: bytes = field(repr=False)
    uid: bytes
    auth_key: bytes = field(repr=False)
    created_at_ms: int
    data: bytes | None = field(repr=False)
    pass_code: bytes | None = field(repr=False)
    tries: int | None
    email: str
    email_verified: bool
    verifier_set_at_ms: int
    locale: str | None


@dataclass(frozen=True)
class Tally:
    """How many there are of something (at least one), and when the oldest of them was made."""

    count: int
    oldest_at_ms: int


@dataclass(frozen=True)
class Client:
    """Who asks: the address that counts (``ip``), the language as stored, and when the request came in (ms)."""

    ip: str
    accept_language: str | None
    received_at_ms: int


@dataclass(frozen=True)
class LinkOptions:
    """What a client wants carried through a mail's link and back to it."""

    service: str | None = None
    redirect_to: str | None = None
    resume: str | None = None


@dataclass(frozen=True)
class Invite:
    """A permission to make so many accounts: ``id`` 8 bytes, times in ms since the epoch.

    It is for the owner of ``normalized_email``; where that is None, for whoever knows its code. ``expires_at_ms`` None
    means never.
    """

    id: bytes
    normalized_email: str | None
    uses: int
    uses_left: int
    created_at_ms: int
    expires_at_ms: int | None

    def is_expired(self, now_ms: int) -> bool:
        return self.expires_at_ms is not None and self.expires_at_ms <= now_ms


class MailKind(Enum):
    VERIFY = "verify"
    RESET = "reset"
    UNLOCK = "unlock"


@dataclass(frozen=True)
class Letter:
    """What a mail has to say; it becomes a message when its turn to be sent comes.

    ``to`` is the address as its owner typed it, ``code`` 16 bytes, ``token`` the 32 bytes of a passwordForgotToken
    (reset mails only), ``accept_language`` that of the request that caused the mail, as stored.
    """

    kind: MailKind
    uid: bytes
    to: str
    code: bytes = field(repr=False)
    token: bytes | None = field(repr=False, default=None)
    options: LinkOptions = LinkOptions()
    accept_language: str | None = None


@dataclass(frozen=True)
class ClaimedMail:
    """A mail that nobody else sends for a while: ``id`` 16 bytes, ``claim`` 16 random ones, times in ms.

    ``attempts`` are those at which the mail server got to hear of it, ``last_answer`` is what came of the latest one.
    """

    id: bytes
    claim: bytes
    letter: Letter
    queued_at_ms: int
    attempts: int
    last_answer: str | None


@dataclass(frozen=True)
class StoredMail:
    """A mail for people to look at: one that waits, or a dead letter (``dead_at_ms`` is set), which is tried no more.

    ``letter`` is None where the row cannot be read. While ``is_claimed``, somebody has the mail in hand, until
    ``due_at_ms`` at most.
    """

    id: bytes
    letter: Letter | None
    queued_at_ms: int
    due_at_ms: int
    attempts: int
    is_claimed: bool
    last_answer: str | None
    dead_at_ms: int | None


@dataclass(frozen=True)
class Outlook:
    """When the next mail wants to be sent, and since when the oldest one waits (ms); both None if none waits."""

    next_due_ms: int | None
    oldest_queued_at_ms: int | None


class EventKind(Enum):
    """What other services may be told of; the value is the name that they are told."""

    CREATED = "created"
    VERIFIED = "verified"
    LOGIN = "login"
    PASSWORD_CHANGE = "passwordChange"
    RESET = "reset"
    LOCK = "lock"
    UNLOCK = "unlock"
    DELETE = "delete"


@dataclass(frozen=True)
class Ban:
    """``subject`` is a lower-cased mail address, or the key of a network (see ``customs.networks``)."""

    subject: str
    reason: str
    banned_at_ms: int
    expires_at_ms: int


@dataclass(frozen=True)
class Counted:
    """One event that the abuse policy counts under a rule: a mail that was asked for, or a password that was tried.

    ``email`` is lower-cased, ``client`` is what the client is counted under (empty for mails, which count wherever they
    are asked for), ``id`` 16 bytes.
    """

    rule: str
    email: str
    client: str
    id: bytes


@dataclass(frozen=True)
class Recorded:
    """What the abuse policy has on record about one client and one address, in ms since the epoch.

    ``failures_ms`` are wrong passwords for this address from this client; ``under_way`` is how many of its
    passwords are being checked now.
    """

    bans: tuple[Ban, ...] = ()
    mails_ms: tuple[int, ...] = ()
    failures_ms: tuple[int, ...] = ()
    under_way: int = 0


@dataclass(frozen=True)
class Standing:
    """All times (ms) that are on record for one rule, one address and, where that matters, one client."""

    rule: str
    email: str
    client: str
    times_ms: tuple[int, ...]


@dataclass(frozen=True)
class Event:
    """An event that has its place in the log; ``number`` counts from 1.

    ``kind`` is a value of ``EventKind``, or one that a later version of this program has recorded. ``payload`` is what
    the event's receivers are told (docs/events.md, "Events"); it has no secrets.
    """

    number: int
    kind: str
    uid: bytes
    created_at_ms: int
    payload: Mapping[str, Any]


class MailFate(Enum):
    """What became of a mail that did not do what it was meant for."""

    BOUNCED = "bounce"
    """It cannot be delivered, now or later."""
    COMPLAINED = "complaint"
    """Its reader reported it as abuse."""
    DELAYED = "soft bounce"
    """It was not delivered, for a reason that may pass."""


@dataclass(frozen=True)
class MailReport:
    """What somebody on its way says of a mail.

    ``address`` is the recipient as the report has it, in any case of letters. ``uid`` (16 bytes) is the account that
    the mail was for, where that is known; the address, which may be one that it was forwarded to, then counts for
    nothing. ``happened_at_ms`` in ms since the epoch, by the reporter's clock. ``detail`` is what more there is to tell
    an operator, on one line, such as a status of RFC 3463.
    """

    fate: MailFate
    address: str
    happened_at_ms: int
    detail: str = ""
    uid: bytes | None = None


@dataclass(frozen=True)
class Suppression:
    """An account (``uid`` 16 bytes) to whose address no mail is sent until ``until_ms``, and why.

    ``reported_at_ms`` is when the mail bounced that is the reason.
    """

    uid: bytes
    email: str
    reason: str
    reported_at_ms: int
    until_ms: int
