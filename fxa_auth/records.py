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
class QueuedMail:
    """A letter waiting in the queue: ``id`` 16 bytes, ``attempts`` made so far."""

    id: bytes
    letter: Letter
    attempts: int


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
