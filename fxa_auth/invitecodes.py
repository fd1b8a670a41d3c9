"""Codes of invites: how one looks, and the hash by which it is found. Knows no invite.

A code is 120 random bits, so a hash of it without salt or stretching gives nothing away; only the hash is stored.
"""

from __future__ import annotations

import base64
from hashlib import sha256

ENTROPY_LENGTH = 15
LONGEST = 100
"""Characters of a code as somebody may write it; ours have 29."""

_GROUP = 4


def invite_code(entropy: bytes) -> str:
    """The code that these 15 random bytes make, for people to pass on: six groups of four letters and digits."""
    text = base64.b32encode(entropy).decode("ascii").lower()
    return "-".join(text[start : start + _GROUP] for start in range(0, len(text), _GROUP))


def code_hash(code: str) -> bytes:
    """What a code is stored and found by (32 bytes); case, hyphens and white space play no part."""
    plain = "".join(code.split()).replace("-", "").lower()
    return sha256(f"fxa-auth invite\0{plain}".encode()).digest()
