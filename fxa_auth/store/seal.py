"""Encryption of the columns that hold secrets, under a key that is not in the database.

Every value is AES-256-GCM with a fresh 12-byte nonce and is bound to its table, column and row, so that it cannot be
moved elsewhere. It begins with the id of its key: one byte of format, eight of key id, the nonce, then ciphertext and
tag.
"""

from __future__ import annotations

import hashlib
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fxa_auth.store.database import DatabaseUnavailable

KEY_LENGTH = 32
KEY_ID_LENGTH = 8
_NONCE_LENGTH = 12
_FORMAT = b"\x01"
_HEADER_LENGTH = len(_FORMAT) + KEY_ID_LENGTH


class BrokenSeal(Exception):
    """A value was sealed with another key, for another place, or has been tampered with."""


def key_id(key: bytes) -> bytes:
    """The public name of a sealing key (8 bytes); tells nothing about the key."""
    return hashlib.sha256(b"fxa-auth sealing key id\0" + key).digest()[:KEY_ID_LENGTH]


class Seal:
    """Seals and opens values with one key (32 bytes), which arrives once the database has told which one it wants."""

    def __init__(self) -> None:
        self._cipher: AESGCM | None = None
        self._header = b""

    def use(self, key: bytes) -> None:
        """Seal and open with this key from now on."""
        self._cipher = AESGCM(key)
        self._header = _FORMAT + key_id(key)

    def close(self, value: bytes, table: str, column: str, row: bytes) -> bytes:
        """Seal a value for its place; ``row`` is the row's primary key."""
        nonce = os.urandom(_NONCE_LENGTH)
        return self._header + nonce + self._loaded().encrypt(nonce, value, _place(table, column, row))

    def open(self, sealed: bytes, table: str, column: str, row: bytes) -> bytes:
        """The value that was sealed for this place.

        :raises BrokenSeal: it was not, or not with this key
        """
        cipher = self._loaded()
        if sealed[:_HEADER_LENGTH] != self._header:
            raise BrokenSeal(f"{table}.{column} is sealed with key {sealed[1:_HEADER_LENGTH].hex()}")
        nonce, ciphertext = sealed[_HEADER_LENGTH:][:_NONCE_LENGTH], sealed[_HEADER_LENGTH + _NONCE_LENGTH :]
        try:
            return cipher.decrypt(nonce, ciphertext, _place(table, column, row))
        except InvalidTag:
            raise BrokenSeal(f"{table}.{column} is damaged or was moved from another row") from None

    def _loaded(self) -> AESGCM:
        if self._cipher is None:
            raise DatabaseUnavailable("the sealing key is not loaded yet")
        return self._cipher


def _place(table: str, column: str, row: bytes) -> bytes:
    return f"{table}\0{column}\0".encode() + row
