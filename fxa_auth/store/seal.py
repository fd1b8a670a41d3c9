"""Encryption of the columns that hold secrets, under keys that are not in the database.

Every value is AES-256-GCM with a fresh 12-byte nonce and is bound to its table, column and row, so that it cannot be
moved elsewhere. It begins with the id of its key: one byte of format, eight of key id, the nonce, then ciphertext and
tag.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from fxa_auth.store.database import DatabaseUnavailable

KEY_LENGTH = 32
KEY_ID_LENGTH = 8
_NONCE_LENGTH = 12
_FORMAT = b"\x01"
_HEADER_LENGTH = len(_FORMAT) + KEY_ID_LENGTH


class BrokenSeal(Exception):
    """A value was sealed with a key that is not known here, for another place, or has been tampered with."""


@dataclass(frozen=True)
class SealedTable:
    """Which columns of a table are sealed, and the one that names the row."""

    name: str
    row: str
    columns: tuple[str, ...]


SEALED_TABLES = (
    SealedTable("accounts", "uid", ("email_code", "ka", "wrap_wrap_kb", "verify_hash", "unlock_code")),
    SealedTable("tokens", "id_hash", ("auth_key", "key_bundle", "token_data", "pass_code")),
    SealedTable("mails", "id", ("letter",)),
)


def key_id(key: bytes) -> bytes:
    """The public name of a sealing key (8 bytes); tells nothing about the key."""
    return hashlib.sha256(b"fxa-auth sealing key id\0" + key).digest()[:KEY_ID_LENGTH]


class Seal:
    """Seals with one key and opens with several; they arrive once the database has told which ones it wants."""

    def __init__(self) -> None:
        self._keys: tuple[bytes, ...] = ()
        self._ciphers: dict[bytes, AESGCM] = {}
        self._newest = b""

    def use(self, newest: bytes, *older: bytes) -> None:
        """Seal with ``newest`` from now on, and open what any of the keys (32 bytes each) has sealed."""
        self._keys = (newest, *older)
        self._newest = _FORMAT + key_id(newest)
        self._ciphers = {_FORMAT + key_id(key): AESGCM(key) for key in self._keys}

    def close(self, value: bytes, table: str, column: str, row: bytes) -> bytes:
        """Seal a value for its place; ``row`` is the row's primary key."""
        nonce = os.urandom(_NONCE_LENGTH)
        cipher = self.require_keys()[self._newest]
        return self._newest + nonce + cipher.encrypt(nonce, value, _place(table, column, row))

    def open(self, sealed: bytes, table: str, column: str, row: bytes) -> bytes:
        """The value that was sealed for this place.

        :raises BrokenSeal: it was not, or not with a key that is known here
        """
        cipher = self.require_keys().get(sealed[:_HEADER_LENGTH])
        if cipher is None:
            raise BrokenSeal(f"{table}.{column} is sealed with key {sealed[1:_HEADER_LENGTH].hex()}")
        nonce, ciphertext = sealed[_HEADER_LENGTH:][:_NONCE_LENGTH], sealed[_HEADER_LENGTH + _NONCE_LENGTH :]
        try:
            return cipher.decrypt(nonce, ciphertext, _place(table, column, row))
        except (InvalidTag, ValueError):  # ValueError: too short to hold a nonce
            raise BrokenSeal(f"{table}.{column} is damaged or was moved from another row") from None

    def derived_keys(self, purpose: str) -> list[bytes]:
        """For a purpose besides sealing, a key (32 bytes) made from each of the keys; the newest one's comes first.

        All daemons on the database have them in common. The purpose is a name that must not change.

        :raises DatabaseUnavailable: the keys are not loaded yet
        """
        self.require_keys()
        info = f"fxa-auth {purpose}".encode()
        return [HKDF(SHA256(), KEY_LENGTH, None, info).derive(key) for key in self._keys]

    @property
    def newest_id(self) -> str:
        """The id of the key that seals now, in hex.

        :raises DatabaseUnavailable: the keys are not loaded yet
        """
        self.require_keys()
        return self._newest[len(_FORMAT) :].hex()

    def is_newest(self, sealed: bytes) -> bool:
        """Tell whether the value was sealed with the key that seals now."""
        return sealed[:_HEADER_LENGTH] == self._newest

    def require_keys(self) -> dict[bytes, AESGCM]:
        """:raises DatabaseUnavailable: the keys are not loaded yet"""
        if not self._ciphers:
            raise DatabaseUnavailable("the sealing keys are not loaded yet")
        return self._ciphers


def _place(table: str, column: str, row: bytes) -> bytes:
    return f"{table}\0{column}\0".encode() + row
