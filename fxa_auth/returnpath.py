"""Return paths: an address for each account, to which reports about its mails come back (VERP).

``bounce@example.com`` becomes ``bounce+CODE@example.com``. The code names the account and the day, and proves by a MAC
that it was made here; what is done with a report, and what a report says, is not known here. The code is base32 in
lower case, read in either case, as some relays change it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Callable, Sequence

CODE_LENGTH = 48
"""Characters: 30 bytes in base32, which are the uid, the day (2 bytes, from 1970) and the MAC."""

MAX_LOCAL_PART = 64
"""Characters of a local part that every relay takes (RFC 5321, 4.5.3.1.1)."""

MAX_PREFIX = MAX_LOCAL_PART - CODE_LENGTH - len("+")
"""Characters that may stand before the ``@`` of the address that return paths are made of."""

LIFETIME_DAYS = 14
"""A relay tries for about five days, and so does the one that brings its report."""

_MAC_LENGTH = 12
_DAY_MS = 24 * 60 * 60 * 1000


class NotAReturnPath(Exception):
    """An address that no report can be for; the text says why, in a few words."""


class ReturnPaths:
    """Makes and reads return paths like ``address`` (ASCII, no more than ``MAX_PREFIX`` characters before the ``@``).

    ``keys`` gives the keys of the MAC, 32 bytes each: the first makes codes, all of them prove codes. What it raises
    comes out of both methods.
    """

    def __init__(self, address: str, keys: Callable[[], Sequence[bytes]]) -> None:
        prefix, _, self.domain = address.rpartition("@")
        self._prefix = f"{prefix}+"
        self._keys = keys

    def address_of(self, uid: bytes, now_ms: int) -> str:
        """Where reports about a mail that is sent now to the account ``uid`` (16 bytes) are to go."""
        named = uid + (now_ms // _DAY_MS).to_bytes(2, "big")
        code = base64.b32encode(named + _mac(self._keys()[0], named)).decode("ascii").lower()
        return f"{self._prefix}{code}@{self.domain}"

    def uid_of(self, address: str, now_ms: int) -> bytes:
        """The uid of the account whose mail went out with this return path.

        :raises NotAReturnPath: there was no such mail, or it is too long ago
        """
        keys = self._keys()
        local_part, _, domain = address.lower().rpartition("@")
        code = local_part.removeprefix(self._prefix.lower())
        if domain != self.domain.lower() or code == local_part or len(code) != CODE_LENGTH:
            raise NotAReturnPath("not of the form of a return path")
        try:
            content = base64.b32decode(code.upper())
        except (binascii.Error, ValueError):
            raise NotAReturnPath("not of the form of a return path") from None
        named, mac = content[:-_MAC_LENGTH], content[-_MAC_LENGTH:]
        if not any(hmac.compare_digest(mac, _mac(key, named)) for key in keys):
            raise NotAReturnPath("wrong MAC")
        uid, day = named[:-2], int.from_bytes(named[-2:], "big")
        if now_ms // _DAY_MS - day > LIFETIME_DAYS:
            raise NotAReturnPath("lapsed")
        return uid


def _mac(key: bytes, named: bytes) -> bytes:
    return hmac.digest(key, named, "sha256")[:_MAC_LENGTH]
