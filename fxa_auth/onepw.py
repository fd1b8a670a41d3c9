"""The key arithmetic of the onepw protocol, server side. Pure functions over bytes.

A client never sends its password but ``authPW``, 32 bytes stretched from it. From that the server makes a slow
``stretched`` value (``workers`` does the slow part), and from ``stretched`` everything below. docs/protocol.md tells
the whole story; every function here is checked against vectors made by the original server.
"""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NAMESPACE = "identity.mozilla.com/picl/v1/"

SCRYPT_N, SCRYPT_R, SCRYPT_P = 65536, 8, 1
"""Cost of the password hash of verifier version 1; one hash takes 64 MiB."""

KEY_LENGTH = 32


def hkdf(key_material: bytes, name: str, length: int) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt, under the protocol's namespace."""
    return HKDF(SHA256(), length, None, (NAMESPACE + name).encode()).derive(key_material)


def xor(left: bytes, right: bytes) -> bytes:
    """Both of one length, which is the length of the answer."""
    return bytes(a ^ b for a, b in zip(left, right, strict=True))


def stretch_version_0(auth_pw: bytes, auth_salt: bytes) -> bytes:
    """The cheap verifier of development and tests."""
    return xor(auth_pw, auth_salt)


def _derivation_input(stretched: bytes, version: int) -> bytes:
    """Version 1 feeds the hex text of ``stretched`` to HKDF, as the accounts of the original server do."""
    return stretched.hex().encode() if version == 1 else stretched


def verify_hash(stretched: bytes, version: int) -> bytes:
    """What is stored to check the password by (32 bytes)."""
    return hkdf(_derivation_input(stretched, version), "verifyHash", KEY_LENGTH)


def swap_wrap(wrapped: bytes, stretched: bytes, version: int) -> bytes:
    """wrapKb from wrapWrapKb, or wrapWrapKb from wrapKb: the same XOR both ways (32 bytes)."""
    return xor(wrapped, hkdf(_derivation_input(stretched, version), "wrapwrapKey", KEY_LENGTH))


def key_bundle(bundle_key: bytes, ka: bytes, wrap_kb: bytes) -> bytes:
    """kA and wrapKb (32 bytes each), encrypted and authenticated under a keyFetchToken's bundleKey (96 bytes)."""
    keys = hkdf(bundle_key, "account/keys", 3 * KEY_LENGTH)
    hmac_key, xor_key = keys[:KEY_LENGTH], keys[KEY_LENGTH:]
    ciphertext = xor(ka + wrap_kb, xor_key)
    return ciphertext + hmac.digest(hmac_key, ciphertext, "sha256")
