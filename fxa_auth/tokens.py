"""The five kinds of token: how one is derived from its 32 bytes, and how long it lives.

The client keeps ``data`` and derives the same keys from it; the store finds a token by the hash of its id and never
sees the id itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from fxa_auth import onepw
from fxa_auth.records import TokenKind

DATA_LENGTH = 32


@dataclass(frozen=True)
class TokenKeys:
    """All a token is made of, 32 bytes each: what is handed to the client (``data``) and what comes from it."""

    kind: TokenKind
    data: bytes = field(repr=False)
    id: bytes = field(repr=False)
    auth_key: bytes = field(repr=False)
    bundle_key: bytes = field(repr=False)

    @property
    def id_hash(self) -> bytes:
        return hash_of_id(self.id)


def derive(kind: TokenKind, data: bytes) -> TokenKeys:
    """The keys of the token whose 32 bytes are ``data``."""
    keys = onepw.hkdf(data, kind.value, 96)
    return TokenKeys(kind, data, keys[:32], keys[32:64], keys[64:])


def hash_of_id(token_id: bytes) -> bytes:
    """By this a token is stored and found."""
    return hashlib.sha256(token_id).digest()


@dataclass(frozen=True)
class Lifetimes:
    """How long each kind of token is good for, in ms; a kind without an entry lives until it is used or destroyed."""

    by_kind: Mapping[TokenKind, int]

    def seconds_left(self, kind: TokenKind, created_at_ms: int, now_ms: int) -> int:
        """The ``ttl`` of a token of a limited kind: whole seconds, rounded up; 0 means expired."""
        left_ms = self.by_kind[kind] - (now_ms - created_at_ms)
        return max(0, -(-left_ms // 1000))

    def expired_before_ms(self, kind: TokenKind, now_ms: int) -> int:
        """Every token of a limited kind that was created before this time has expired."""
        return now_ms - max(self.by_kind[kind], 0)

    def is_expired(self, kind: TokenKind, created_at_ms: int, now_ms: int) -> bool:
        return kind in self.by_kind and self.seconds_left(kind, created_at_ms, now_ms) == 0
